"""Databases that this program did not write as they are: found, never merged, and no traceback."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import DataError
from harness.results import transfer
from harness.results.store import Store

FORGERIES = {
    "a trigger": "CREATE TRIGGER evil AFTER INSERT ON run BEGIN DELETE FROM evaluation; END",
    "a view": "ALTER TABLE metric RENAME TO m; CREATE VIEW metric AS SELECT * FROM m",
    "missing": "DROP TABLE metric",
    "lacks the column": "ALTER TABLE run RENAME COLUMN owner TO proprietor",
    "twice": "ALTER TABLE dataset RENAME TO d; CREATE TABLE dataset AS SELECT * FROM d",
    "another content": "UPDATE configuration SET content = replace(content, '2.5', '25.0')",
    "another configuration, seed or origin": "UPDATE run SET seed = 7",
    "seed or origin": "UPDATE run SET origin = 'imported'",
    "for a JSON object of texts": """UPDATE environment SET fingerprint = '{"torch":[2]}'""",
    "can't decode byte 0xff": "UPDATE run SET population = CAST(x'ff' AS TEXT)",
    "at another step than": "UPDATE evaluation SET step = step + 1",
    "says 9 episodes": "UPDATE evaluation SET episodes = 9",
    "episodes that is none": "UPDATE evaluation SET episodes = -2",
    "attempt that is none": "UPDATE run SET attempt = -1",
    "the means are not theirs": "UPDATE evaluation SET mean_return = 99",
    "refers to a row of configuration": "PRAGMA foreign_keys=OFF; DELETE FROM configuration",
    "refers to a row of environment": "PRAGMA foreign_keys=OFF; DELETE FROM environment",
    "another identity": "UPDATE dataset SET identity = replace(identity, 'd4rl', 'minari')",
    "fingerprint 1 has the hash": """UPDATE environment SET fingerprint = '{"torch":"9"}'""",
    "filed under another": "UPDATE configuration SET algorithm = 'iql'",
    "for a timestamp": "UPDATE run SET created = '2026-02-31 00:00:00.000000'",
    "created that is none": "UPDATE run SET created = 5",
    "for a JSON object": "UPDATE configuration SET content = '{'",
    "'[]' for a JSON": "UPDATE configuration SET content = '[]'",
    "mean_return that is none": "UPDATE evaluation SET mean_return = 'a lot'",
    "mean_return that": "UPDATE evaluation SET mean_return = 9e999",
    "rows of episode have a raw_return": "UPDATE episode SET raw_return = -1e300",
    "seed that is none": "UPDATE run SET seed = x'00'",
    "failed_step that is none": "UPDATE run SET failed_step = -1",
    "a checkpoint that is no file's name": "UPDATE run SET checkpoint = '../results.db'",
    "took less than no time": "UPDATE run SET wall_seconds = -1",
    "does not exist": "PRAGMA foreign_keys=OFF; UPDATE evaluation SET run_id = 99",
}


@pytest.fixture
def forged(tmp_path, record, train):
    """Makes a database of one finished run and applies SQL to it."""

    def make(sql):
        path = tmp_path / "forged.db"
        with Store.open(path, create=True) as store:
            train(store, record(), {5: [1.0, 2.0]}, finish=False)
            store.record_fingerprint([record().key], {"torch": "2"}, "population")
            store.record_metrics(5, {record().key: {"loss": 1.0}})
            store.finish([record().key], 1.0, 1.0)
            assert store.check() == []
        connection = sqlite3.connect(path)
        connection.executescript(sql)
        connection.close()
        return path

    return make


@pytest.mark.parametrize("said", FORGERIES)
def test_forgeries_are_found_and_not_merged(forged, store, said):
    path = forged(FORGERIES[said])
    with Store.open(path) as opened:
        assert any(said in problem for problem in opened.check()), opened.check()
    with pytest.raises(DataError, match="not as this program writes databases"):
        transfer.merge(store, path)
    with pytest.raises(DataError, match="not as this program writes databases"), Store.open(path) as into:
        transfer.merge(into, store.location.path)
    assert store.count() == 0


@pytest.mark.parametrize("said", FORGERIES)
def test_no_command_ends_in_a_traceback_over_them(forged, said, capsys, tmp_path):
    path = str(forged(FORGERIES[said]))
    for command in (
        ["db", "check"],
        ["status"],
        ["table", "aspc-table1"],
        ["db", "export", str(tmp_path / "out.json")],
        ["db", "export", str(tmp_path / "out.csv")],
    ):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--db", path])
        error = capsys.readouterr().err
        assert "Traceback" not in error
        assert ended.value.code in ((4,) if "check" in command else (None, 0, 3, 4)), command


def test_the_shipped_results_are_genuine():
    with Store.open(Path(__file__).parents[2] / "results.db") as store:
        assert store.check() == []


def test_rows_that_refer_to_nothing_end_no_retry(forged):
    with Store.open(forged(FORGERIES["refers to a row of configuration"])) as store:
        assert store.retry(["another"]) == 0
