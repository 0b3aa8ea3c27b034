from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.store import Store
from harness.specs import Specs
from harness.specs.catalogue import shipped_folder


@pytest.fixture
def imported(cli, scores):
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0


def cells(text):
    return {(row["row"], row["column"]): row for row in csv.DictReader(io.StringIO(text))}


def test_imported_scores_come_back_as_they_went_in(cli, scores):
    path = scores(seeds=[0, 1, 2, 3, 7])
    first = cli("db", "import", path, "--table", "aspc-table1")
    assert (first.code, first.out) == (0, "")
    assert "20 scores added" in first.err
    assert "0 scores added, 20" in cli("db", "import", path, "--table", "aspc-table1").err
    given = [
        float(row["score"])
        for row in csv.DictReader(path.open())
        if (row["dataset"], row["algorithm"]) == ("hopper-medium-v2", "aspc") and row["seed"] != "7"
    ]
    cell = cells(cli("table", "aspc-table1", "-f", "csv").out)["hopper-medium-v2", "aspc"]
    assert cell["n"] == "4"
    assert float(cell["mean"]) == pytest.approx(sum(given) / 4, abs=1e-9)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("hopper-medum-v2,aspc,0,1000000,1", "hopper-medium-v2"),
        ("hopper-medium-v2,apsc,0,1000000,1", "aspc"),
        ("hopper-medium-v2,aspc,0,1000000,x", "'x' is not a number"),
    ],
)
def test_import_points_at_the_wrong_line(cli, elsewhere, line, hint):
    (elsewhere / "bad.csv").write_text(f"dataset,algorithm,seed,step,score\n{line}\n")
    result = cli("db", "import", "bad.csv", "--table", "aspc-table1")
    assert result.code == 2
    assert result.err.startswith("error: bad.csv:2: ")
    assert hint in result.err
    assert not (elsewhere / "results.db").exists()


@pytest.mark.parametrize("form", ["markdown", "latex", "csv", "json"])
def test_table_in_every_format(cli, imported, elsewhere, form):
    result = cli("table", "aspc-table1", "-f", form)
    assert result.code == 0
    assert "hopper-medium-v2" in result.out
    to_file = cli("table", "aspc-table1", "-f", form, "-o", "out.txt")
    assert (to_file.code, to_file.out) == (0, "")
    assert (elsewhere / "out.txt").read_text() == result.out
    if form == "json":
        json.loads(result.out)


def test_standalone_latex_is_a_document(cli, imported):
    assert r"\documentclass" in cli("table", "aspc-table1", "-f", "latex", "--standalone").out


@pytest.mark.parametrize("form", ["console", "markdown", "csv", "json"])
def test_diff_in_every_format(cli, imported, form):
    result = cli("diff", "aspc-table1", "--datasets", "hopper-medium-v2", "-f", form)
    assert result.code == 0
    assert "hopper-medium-v2" in result.out
    if form == "json":
        json.loads(result.out)


def test_an_output_file_that_cannot_be_written(cli, imported):
    result = cli("table", "aspc-table1", "-o", "no/such/folder/t.md")
    assert result.code == 4
    assert "no/such/folder/t.md" in result.err


def test_an_output_file_stays_until_the_new_one_is_whole(cli, imported, elsewhere, monkeypatch):
    def full(self, text, **_):
        self.write_bytes(text.encode()[:10])
        raise OSError(28, "No space left on device")

    link = elsewhere / "link.md"
    link.symlink_to(elsewhere / "t.md")
    assert cli("table", "aspc-table1", "-o", link).code == 0
    before = (elsewhere / "t.md").read_text()
    assert link.is_symlink()
    monkeypatch.setattr(Path, "write_text", full)
    assert cli("table", "aspc-table1", "-o", link).code == 4
    assert (elsewhere / "t.md").read_text() == before


def test_without_a_database_nothing_is_made(cli, elsewhere):
    for verb in ("table", "diff", "status", "retry"):
        result = cli(verb, "aspc-table1")
        assert (result.code, result.out) == (4, "")
        assert "results.db" in result.err
        assert "run `harness reproduce aspc-table1` or give another by --db" in result.err
    chosen = cli("stats", "aspc-table1", "--preset", "lite", "--datasets", "hopper-*")
    assert "run `harness reproduce aspc-table1 --preset lite --datasets 'hopper-*'` or" in chosen.err
    assert "run `harness reproduce TABLE` or" in cli("db", "check").err
    assert cli("plan", "aspc-table1", "--algorithms", "iql").code == 0
    assert not list(elsewhere.glob("*.db*"))


def test_the_database_is_the_option_then_the_variable_then_the_presets(cli, scores, monkeypatch, elsewhere):
    for arguments, name in (
        (["--preset", "smoke"], "smoke.db"),
        (["--preset", "smoke", "--db", "mine.db"], "mine.db"),
        ([], "results.db"),
    ):
        path = scores(rows=["maze2d-umaze-v1"])
        done = cli("db", "import", path, "--table", "aspc-table1", *arguments)
        assert (done.code, "8 scores added" in done.err) == (
            3 if arguments else 0,
            True,
        )  # smoke ends at 2000
        assert (elsewhere / name).exists()
    monkeypatch.setenv("HARNESS_DB", "other.db")
    assert "other.db" in cli("table", "aspc-table1", "--preset", "smoke").err


def failed_run(db, step=300):
    """One failed run in a database, and one interrupted; the failed one's key."""
    [cell] = resolve(
        Specs(), "aspc-table1", Choice(datasets=("hopper-medium-v2",), algorithms=("aspc",))
    ).cells
    keys = [run.key for run in cell.runs[:2]]
    with Store.open(db, create=True) as store:
        store.register(cell.runs)
        store.claim(keys)
        store.fail(keys[0], step, "FloatingPointError: \x1b[31mQ is nan\nTraceback: more")
        store.release(keys)
    return keys[0]


def test_status_counts_and_lists_failures(cli):
    key = failed_run("results.db")
    result = cli("status", "aspc-table1", "--algorithms", "aspc", "--datasets", "hopper-*")
    assert result.code == 0
    counts = dict(line.split() for line in result.out.splitlines()[1:7])
    assert counts == {
        "finished": "0",
        "running": "0",
        "queued": "2",
        "interrupted": "1",
        "failed": "1",
        "missing": "20",
    }
    assert "\\u001b[31mQ is nan" in result.out
    assert "Traceback" not in result.out
    document = json.loads(cli("status", "--json").out)
    assert document["failures"][0]["key"] == key
    assert document["failures"][0]["step"] == 300
    assert document["counts"]["missing"] == 0


TRACEBACK = (
    'Traceback (most recent call last):\n  File "a.py", line 1, in train\n    1 / 0\n'
    'ZeroDivisionError: division by zero\nadvice\n"\n'
)


def test_a_failure_says_why_and_in_which_column(cli, elsewhere):
    cells = resolve(
        Specs(), "aspc-table2", Choice(datasets=("hopper-medium-v2",), algorithms=("naive",))
    ).cells
    [key, *_] = keys = [run.key for cell in cells for run in cell.runs]
    with Store.open("results.db", create=True) as store:
        store.register(run for cell in cells for run in cell.runs)
        store.claim(keys)
        store.fail(key, 300, TRACEBACK)
        named = cli("status", "aspc-table2").out
        [under_way] = re.findall(r"trained now:\n(.*)\n", named)
        store.release(keys)
    assert under_way.split() == ["column", "algorithm", "dataset", "seed", "step", "process"]
    [line] = re.findall(r"^naive .*", named.partition("failed:")[2], re.MULTILINE)
    assert line.split()[:5] == ["naive", "td3_bc", "hopper-medium-v2", "0", "300"]
    assert line.endswith("ZeroDivisionError: division by zero")
    [failure] = json.loads(cli("status", "aspc-table2", "--json").out)["failures"]
    assert (failure["column"], failure["error"]) == ("naive", "ZeroDivisionError: division by zero")
    everything = cli("status").out
    assert "ZeroDivisionError: division by zero" in everything
    assert "column" not in everything
    assert json.loads(cli("status", "--json").out)["failures"][0]["column"] is None


def test_suggested_commands_work_as_printed(cli, elsewhere):
    specs = elsewhere / "my specs/presets"
    specs.mkdir(parents=True)
    shutil.copy(shipped_folder() / "presets/smoke.yaml", specs / "tiny.yaml")
    (specs / "tiny.yaml").write_text(
        (specs / "tiny.yaml").read_text().replace("id: smoke", "id: tiny").replace("smoke.db", "tiny.db")
    )
    own = Specs([elsewhere / "my specs"])
    cells = resolve(own, "aspc-table1", Choice(preset="tiny", datasets=("maze2d-*",))).cells
    with Store.open("tiny.db", create=True) as store:
        store.register(run for cell in cells for run in cell.runs)
        [key] = store.claim([cells[0].runs[0].key])
        store.fail(key, 1, "it diverged")
    Store.open("empty.db", create=True).close()

    choices = ("aspc-table1", "--preset", "tiny", "--datasets", "maze2d-*")

    def suggested(verb, *more):
        result = cli("--specs", "my specs", verb, *choices, *more)
        [line] = re.findall("`(harness [^`]*)`", result.out + result.err)
        return " ".join(line.split())  # long lines on stdout are broken

    same = "harness --specs 'my specs' {} aspc-table1 --preset tiny --datasets 'maze2d-*'"
    assert suggested("plan") == same.format("retry")
    assert suggested("plan", "--seeds", "0") == same.format("retry") + " --seeds 0"
    for verb in ("stats", "report", "table", "diff"):
        assert suggested(verb) == same.format("reproduce")
        assert suggested(verb, "--score", "best") == same.format("reproduce")  # which has no --score
    assert suggested("drift") == same.format("accept") + " --reason TEXT"
    assert suggested("drift", "--baseline", "empty.db") == (
        same.format("accept") + " --baseline empty.db --reason TEXT"
    )
    assert "1 failed run queued again" in cli(*shlex.split(suggested("plan"))[1:]).err


def test_status_refuses_filters_without_a_table(cli):
    failed_run("results.db")
    result = cli("status", "--seeds", "0")
    assert result.code == 2
    assert "TABLE" in result.err


def test_retry_queues_only_what_failed_and_was_chosen(cli):
    failed_run("results.db")
    assert "0 failed runs" in cli("retry", "aspc-table1", "--algorithms", "td3_bc").err
    assert "0 failed runs" in cli("retry", "aspc-table1", "--seeds", "1-3").err
    assert "1 failed run queued" in cli("retry", "aspc-table1").err
    assert json.loads(cli("status", "aspc-table1", "--json").out)["counts"]["queued"] == 3


def test_retry_restart_begins_all_unfinished_anew(cli):
    failed_run("results.db")
    assert "4 unfinished runs" in cli("retry", "aspc-table1", "--restart").err
    assert json.loads(cli("status", "aspc-table1", "--json").out)["counts"]["queued"] == 4


def test_plan_says_what_is_there_and_what_cannot_be(cli):
    failed_run("results.db")
    plan = json.loads(cli("plan", "aspc-table1", "--datasets", "hopper-medium-v2", "--json").out)
    by_column = {cell["column"]: cell for cell in plan["cells"]}
    aspc = by_column["aspc"]
    assert (aspc["wanted"], aspc["failed"], aspc["queued"], aspc["missing"]) == (4, 1, 3, 0)
    assert plan["to_train"] == 6 * 4 - 1
    assert "to train: 23 of 24 runs" in cli("plan", "aspc-table1", "--datasets", "hopper-medium-v2").out


def test_plan_says_which_columns_have_no_code(cli, unimplemented):
    text = cli("--specs", unimplemented, "plan", "own").out
    assert "cannot be trained: 1 cell: no implementation" in text


def test_seeds_that_are_none(cli):
    for text in ("x", "3-1", "", "0-", "-1", "0,,1", "0-99999999"):
        result = cli("plan", "aspc-table1", f"--seeds={text}")
        assert result.code == 2
        assert "0-3" in result.err


@pytest.mark.parametrize(
    ("text", "seeds"), [("1", 1), ("0-3", 4), ("0,2,5", 3), ("0-1, 4", 3), ("2,2,0-2", 3)]
)
def test_seeds(cli, text, seeds):
    plan = json.loads(cli("plan", "aspc-table1", "--datasets", "pen-human-v1", "--seeds", text, "--json").out)
    assert {cell["wanted"] for cell in plan["cells"]} == {seeds}


def test_db_verbs(cli, imported, elsewhere):
    assert cli("db", "check").code == 0
    assert cli("db", "upgrade").code == 0
    assert cli("db", "backup", "copy.db").code == 0
    assert cli("db", "backup", "copy.db").code == 4
    assert cli("db", "merge", "copy.db", "--db", "new.db").code == 0
    assert "16 as they were" in cli("db", "merge", "copy.db").err
    assert cli("table", "aspc-table1", "--db", "new.db").out == cli("table", "aspc-table1").out
    for suffix in ("csv", "json"):
        assert cli("db", "export", f"all.{suffix}").code == 0
    assert len(json.loads((elsewhere / "all.json").read_text())["runs"]) == 16
    assert cli("db", "export", "all.xls").code == 2
    assert cli("db", "merge", "nowhere.db").code == 4


def test_a_file_that_is_no_database(cli, elsewhere):
    (elsewhere / "results.db").write_text("hello")
    result = cli("table", "aspc-table1")
    assert result.code == 4
    assert "not a SQLite database" in result.err
    doctor = cli("doctor")
    assert doctor.code == 4
    assert "FAIL  database" in doctor.out


def test_debug_shows_the_traceback(cli, monkeypatch):
    assert "Traceback" not in cli("table", "aspc-table1").err
    monkeypatch.setenv("HARNESS_DEBUG", "1")
    shown = cli("table", "aspc-table1")
    assert "Traceback" in shown.err
    assert shown.code == 4


def test_a_full_disk_is_no_traceback(cli, imported, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("harness.api.compare", full)
    result = cli("table", "aspc-table1")
    assert result.code == 4
    assert result.err == "error: the disk is full: somewhere; free space and run again\n"


def test_want_of_memory_is_no_traceback(cli, imported, monkeypatch):
    monkeypatch.setattr("harness.api.compare", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
    result = cli("table", "aspc-table1")
    assert result.code == 4
    assert result.err == "error: this takes more memory than there is; free some, or choose less at once\n"


def test_a_reader_that_goes_away_is_no_error(program, cli, imported):
    import subprocess
    import sys

    reader = subprocess.run(
        f"h='{sys.executable} -m harness'; $h ls datasets | true; $h table aspc-table1 | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert reader.stderr == ""
    assert reader.stdout == "# ASPC, Table 1\n"


def test_doctor(cli):
    result = cli("doctor")
    assert result.code == 0
    assert {line.split()[0] for line in result.out.splitlines()} <= {"ok", "warn"}
    findings = json.loads(cli("doctor", "--json").out)
    assert {"python", "torch", "device", "data folder", "disk", "database", "specs"} <= {
        finding["subject"] for finding in findings
    }


def test_data_verbs(cli, elsewhere):
    name = "maze2d-umaze-v1"
    listed = json.loads(cli("data", "ls", name, "--json").out)
    assert {item["lineage"]: item["present"] for item in listed}["generated"] is False
    built = cli("data", "build", name, "--transitions", "300")
    assert built.code == 0
    assert built.out.strip().endswith(".hdf5")
    assert cli("data", "build", name, "--transitions", "300").out == built.out
    path = cli("data", "path", name, "--lineage", "generated")
    assert path.code == 0
    assert path.out != built.out  # another number of transitions is another dataset
    none = cli("data", "verify", name, "--lineage", "generated")
    assert none.code == 4
    assert cli("data", "ls", "maze2d-umaz").code == 2
    assert cli("data", "pull", "pen-human-v1", "--lineage", "generated").code == 4
    assert cli("data", "build", "pen-human-v1", "--transitions", "0").code == 2
