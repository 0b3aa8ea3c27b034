import contextlib
import csv
import json
import math
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError, HarnessError, SpecError
from harness.results import schema, transfer
from harness.results.records import (
    BEGINNING,
    EvaluationRecord,
    RunRecord,
    canonical,
    digest,
    imported_key,
    run_key,
    value_metric,
)
from harness.results.scores import ScoreRow, read_scores_csv
from harness.results.store import Store


@pytest.fixture
def other(tmp_path):
    with Store.open(tmp_path / "other.db", create=True) as opened:
        yield opened


def content(store):
    """Everything that a merge must carry over, without row ids."""
    with store.reading() as connection:
        queries = (
            "SELECT run.key, c.key, c.content, d.identity, d.content_hash, seed, origin, status, attempt,"
            " error, failed_step, step, wall_seconds, created, finished, population, fingerprint FROM run"
            " JOIN configuration c ON c.id = configuration_id JOIN dataset d ON d.id = dataset_id"
            " LEFT JOIN environment e ON e.id = environment_id",
            "SELECT key, e.step, mean_return, mean_length, episodes, number, raw_return, length FROM run"
            " JOIN evaluation e ON e.run_id = run.id LEFT JOIN episode ON evaluation_id = e.id",
            "SELECT key, m.step, name, value FROM run JOIN metric m ON m.run_id = run.id",
        )
        return [sorted(connection.exec_driver_sql(query).all(), key=repr) for query in queries]


def test_merge_copies_everything(store, other, record, train):
    key = record().key
    other.register([record()])
    other.claim([key])
    other.record_fingerprint([key], {"device": "H100"}, "four seeds")
    other.record_dataset(record().configuration["dataset"], "a" * 64, 10)
    other.record_evaluations([EvaluationRecord(key, 5, [0.1, 0.2], [3, 4])])
    other.record_metrics(5, {key: {"alpha": math.nan, "q": 1.0}})
    other.finish([key], 9.0, 8.0)
    train(store, record(1), {5: [1.0]})
    store.record_dataset(record().configuration["dataset"], "a" * 64, 10)

    report = transfer.merge(store, other.location.path)
    assert report == transfer.MergeReport((key,), (), (), (), ())
    assert set(store.runs()) == {key, record(1).key}
    for mine, theirs in zip(content(store), content(other), strict=True):
        assert [row for row in mine if row[0] == key] == theirs
    assert store.fingerprints([store.runs()[key].fingerprint_id]) == {
        store.runs()[key].fingerprint_id: {"device": "H100"}
    }
    assert store.check() == []

    before = content(store)
    assert transfer.merge(store, other.location.path).unchanged == (key,)
    assert content(store) == before


def test_merge_reports_other_scores_and_keeps_ours(store, other, record, train):
    train(store, record(0), {5: [1.0, 2.0], 10: [3.0]})
    train(other, record(0), {5: [1.0, 2.0], 10: [4.0], 15: [5.0]})
    train(other, record(1), {5: [1.0]})
    before = store.evaluations([record(0).key])
    report = transfer.merge(store, other.location.path)
    assert report.added == (record(1).key,)
    assert report.updated == report.unchanged == ()
    (conflict,) = report.conflicts
    assert (conflict.key, conflict.step, conflict.ours, conflict.theirs) == (record(0).key, 10, 3.0, 4.0)
    assert "td3_bc on hopper-medium-v2, seed 0, step 10" in str(conflict)
    assert store.evaluations([record(0).key]) == before


def test_merge_completes_a_run_that_the_other_finished(store, other, record, train):
    key = record().key
    train(store, record(), {5: [1.0]}, finish=False)
    store.record_checkpoint([key], "name", 5)
    store.release([key])
    train(other, record(), {5: [1.0], 10: [2.0, 4.0]})
    assert transfer.merge(store, other.location.path).updated == (key,)
    assert content(store) == content(other)
    # The other way round there is nothing to gain.
    with Store.open(store.location.path) as again:
        assert transfer.merge(again, other.location.path).unchanged == (key,)
    assert store.runs()[key].checkpoint is None


@pytest.fixture
def begun(record):
    """Adds the run as begun with a value read from other runs, with scores, then released or ended."""

    def add(store, value, scores=(), end=Store.release):
        key = record().key
        store.register([record()])
        store.claim([key])
        store.record_fingerprint([key], {"value": str(value)}, "p")
        store.record_metrics(BEGINNING, {key: {value_metric("alpha"): value}})
        for step in scores:
            store.record_evaluations([EvaluationRecord(key, step, [1.0], [1])])
            store.record_metrics(step, {key: {"q": value}})
        store.record_checkpoint([key], "p.pt", 3)
        end(store, [key])
        return key

    return add


def finish(store, keys):
    store.finish(keys, 1.0, 1.0)


def fail(store, keys):
    store.fail(keys[0], 3, "it diverged")


@pytest.mark.parametrize("end", [finish, Store.release])
def test_a_run_without_scores_gives_way_with_the_value_that_it_read(store, other, begun, end):
    key = begun(store, 0.5)
    begun(other, 0.003, [5, 10], end)
    assert transfer.merge(store, other.location.path).updated == (key,)
    assert content(store) == content(other)
    assert store.runs()[key].checkpoint is None
    assert transfer.merge(store, other.location.path).unchanged == (key,)


@pytest.mark.parametrize(
    ("ours", "end", "theirs"),
    [
        ([5], Store.release, [5, 10]),  # the same score, by chance
        ([5, 10], finish, [5]),
        ([], fail, [5]),
    ],
)
def test_another_value_read_is_a_conflict(store, other, begun, ours, end, theirs):
    key = begun(store, 0.5, ours, end)
    begun(other, 0.003, theirs)
    before = content(store)
    report = transfer.merge(store, other.location.path)
    assert report.updated == report.unchanged == ()
    [conflict] = report.conflicts
    assert (conflict.key, conflict.step, conflict.ours, conflict.theirs) == (key, BEGINNING, 0.5, 0.003)
    assert "value read for alpha 0.5 here and 0.003 there" in str(conflict)
    assert content(store) == before


@pytest.mark.parametrize(
    ("steps", "after"),
    [([2], "failed"), ([2, 5], "interrupted")],  # the other side failed at step 3
)
@pytest.mark.parametrize("failed_here", [False, True])
def test_a_failure_does_not_end_a_run_that_got_beyond_it(store, other, begun, steps, after, failed_here):
    one, two = (other, store) if failed_here else (store, other)
    key = begun(one, 0.5, steps, Store.release)
    begun(two, 0.5, [2], fail)
    transfer.merge(store, other.location.path)
    state = store.runs()[key]
    assert (state.status, state.failed_step) == (after, 3 if after == "failed" else None)
    assert [evaluation.step for evaluation in store.evaluations([key])[key]] == steps


@pytest.mark.parametrize("scores", [[5], []])
def test_a_begun_run_there_takes_nothing_from_ours(store, other, begun, scores):
    key = begun(store, 0.5, scores)
    begun(other, 0.003)
    before = content(store)
    assert transfer.merge(store, other.location.path).unchanged == (key,)
    assert content(store) == before


def test_the_same_value_read_is_no_conflict(store, other, begun):
    key = begun(store, 0.5, [5])
    begun(other, 0.5, [5, 10], finish)
    assert transfer.merge(store, other.location.path).updated == (key,)
    assert content(store) == content(other)


def test_merge_leaves_running_runs_alone(store, other, record, train):
    key = record().key
    train(store, record(), {5: [1.0]}, finish=False)
    train(other, record(), {5: [1.0], 10: [2.0]})
    assert transfer.merge(store, other.location.path).busy == (key,)
    assert [e.step for e in store.evaluations([key])[key]] == [5]
    store.heartbeat([key])


@pytest.mark.parametrize("known", [True, False])
def test_a_run_claimed_while_merging_is_left_to_its_trainer(store, other, record, train, monkeypatch, known):
    key = record().key
    if known:
        train(store, record(), {5: [1.0]}, finish=False)
        store.release([key])
    train(other, record(), {5: [1.0], 10: [2.0]})
    before = store.evaluations([key])
    read = Store.metrics

    def claimed_meanwhile(self, *arguments, **options):
        """What a merge asks for last before it decides."""
        if self is not store and not trainer.claim([key]):
            trainer.register([record()])
            assert trainer.claim([key]) == [key]
        return read(self, *arguments, **options)

    with Store.open(store.location.path, owner="a trainer") as trainer:
        monkeypatch.setattr(Store, "metrics", claimed_meanwhile)
        assert transfer.merge(store, other.location.path).busy == (key,)
        trainer.heartbeat([key])
        assert trainer.runs()[key].owner == "a trainer"
    assert store.evaluations([key]) == before


def test_running_runs_arrive_interrupted(store, other, record, train):
    train(other, record(), {5: [1.0]}, finish=False)
    other.record_checkpoint([record().key], "a file that stays there", 5)
    transfer.merge(store, other.location.path)
    state = store.runs()[record().key]
    assert (state.status, state.owner, state.checkpoint) == ("interrupted", None, None)
    assert store.claim([record().key]) == [record().key]


def test_merge_refuses_other_data_before_writing(store, other, record, train):
    identity = record().configuration["dataset"]
    train(other, record(), {5: [1.0]})
    store.record_dataset(identity, "a" * 64, 10)
    other.record_dataset(identity, "b" * 64, 10)
    other.register([record(dataset="antmaze")])
    with pytest.raises(DataError, match=r"hopper-medium-v2 .* content aaaaaaaaaaaa .* and bbbbbbbbbbbb"):
        transfer.merge(store, other.location.path)
    with store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM dataset").scalar_one() == 1
    assert store.runs() == {}


def test_merge_with_itself(store, tmp_path):
    (tmp_path / "link.db").symlink_to(store.location.path)
    with pytest.raises(DataError, match="is the database to merge into"):
        transfer.merge(store, tmp_path / "link.db")


RUNS = st.dictionaries(
    st.integers(0, 5),
    st.dictionaries(st.integers(0, 20), st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3), max_size=3),
    max_size=4,
)


@settings(max_examples=10)
@given(ours=RUNS, theirs=RUNS)
def test_merging_disjoint_sets_commutes_and_repeats(tmp_path_factory, ours, theirs):
    folder = tmp_path_factory.mktemp("merge")

    def fill(name, runs, algorithm):
        with Store.open(folder / name, create=True) as store:
            for seed, scores in runs.items():
                configuration = {"algorithm": algorithm, "dataset": {"id": "d", "lineage": "d4rl"}}
                key = run_key(canonical(configuration), seed)
                record = RunRecord(key, digest(configuration), configuration, seed)
                store.register([record])
                store.claim([record.key])
                store.record_evaluations(
                    [EvaluationRecord(record.key, step, r, [1] * len(r)) for step, r in scores.items()]
                )
                store.release([record.key])

    fill("a.db", ours, "a")
    fill("b.db", theirs, "b")
    merged = []
    for name, order in (("ab.db", "abab"), ("ba.db", "ba")):
        with Store.open(folder / name, create=True) as store:
            for letter in order:
                assert transfer.merge(store, folder / f"{letter}.db").conflicts == ()
            assert store.check() == []
            merged.append(content(store))
    assert merged[0] == merged[1]
    assert len(merged[0][0]) == len(ours) + len(theirs)


# -- export and backup --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "json", "db"])
def test_odd_names_survive_every_format(store, record, train, tmp_path, suffix):
    names = ['it\'s "quoted", yes', "../../etc/passwd", "=1+1", "@SUM(A1)", "-5", "+cmd|' /C calc'", "é\nü"]
    for name in names:
        train(store, record(algorithm=name, dataset=name), {5: [0.1, 0.2], 10: [1e-300]})
    path = tmp_path / f"export.{suffix}"
    assert transfer.export(store, path) == len(names)
    assert [p.name for p in tmp_path.glob("*export*")] == [path.name]

    if suffix == "csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 2 * len(names)
        expected = [f"'{name}" if name[0] in "=@+" else name for name in names]
        assert [row["algorithm"] for row in rows[::2]] == [row["dataset"] for row in rows[::2]] == expected
        assert float(rows[0]["mean_return"]) == math.fsum([0.1, 0.2]) / 2
        assert (rows[1]["step"], rows[1]["episodes"], rows[1]["origin"]) == ("10", "1", "trained")
    elif suffix == "json":
        document = json.loads(path.read_text(encoding="utf-8"))
        found = [
            document["configurations"][run["configuration_key"]]["algorithm"] for run in document["runs"]
        ]
        assert found == names
        assert document["runs"][0]["evaluations"][1] == {
            "step": 10,
            "mean_return": 1e-300,
            "mean_length": 7.0,
            "episodes": 1,
        }
    else:
        with Store.open(path) as copy:
            assert content(copy) == content(store)


def test_export_refuses(store, tmp_path):
    with pytest.raises(HarnessError, match=r"\.csv, \.json or \.db"):
        transfer.export(store, tmp_path / "results.xlsx")
    with pytest.raises(DataError, match="cannot be written: No such file"):
        transfer.export(store, tmp_path / "none" / "results.csv")
    with pytest.raises(DataError, match="exists already"):
        transfer.export(store, store.location.path)
    link = tmp_path / "link.csv"
    link.symlink_to(store.location.path)
    with pytest.raises(DataError, match="is the database itself"):
        transfer.export(store, link)
    with sqlite3.connect(store.location.path) as connection:
        connection.execute("SELECT * FROM run")


def test_backup_of_a_database_in_use(store, record, train, tmp_path):
    train(store, record(), {5: [1.0]})
    path = tmp_path / "copy.db"
    transfer.backup(store, path)
    with Store.open(path) as copy:
        assert content(copy) == content(store)
    with pytest.raises(DataError, match="exists already and is not overwritten"):
        transfer.backup(store, path)
    with pytest.raises(DataError, match="does not exist"):
        transfer.backup(store, tmp_path / "none" / "copy.db")
    assert not list(tmp_path.glob("*.partial"))


# -- import -------------------------------------------------------------------------------------------------


def joined(path, record):
    return [
        transfer.ImportRow(score, replace(run, key=run.imported_key), 20 + score.score / 100 * 3000)
        for score in read_scores_csv(path)
        for run in (record(score.seed, dataset=score.dataset),)
    ]


def test_imported_scores_stand_beside_trained_ones(store, record, train, tmp_path):
    train(store, record(), {5: [1.0]})
    path = tmp_path / "scores.csv"
    path.write_text("dataset,algorithm,seed,step,score\nd,td3_bc,0,5,50\nd,td3_bc,0,10,60\nd,td3_bc,1,5,70\n")
    rows = joined(path, record)
    assert transfer.import_scores(store, rows, path) == transfer.ImportReport(3, 0)
    before = content(store)
    assert transfer.import_scores(store, rows, path) == transfer.ImportReport(0, 3)
    assert content(store) == before

    key = imported_key(record(0, dataset="d").key)
    state = store.runs([key])[key]
    assert (state.origin, state.status, state.seed, state.step) == ("imported", "finished", 0, 10)
    assert [(e.step, e.mean_return, e.mean_length, e.episodes) for e in store.evaluations([key])[key]] == [
        (5, 1520.0, None, 0),
        (10, 1820.0, None, 0),
    ]
    fingerprint = store.fingerprints([state.fingerprint_id])[state.fingerprint_id]
    assert (fingerprint["origin"], fingerprint["file"]) == ("imported", "scores.csv")
    assert len(fingerprint["sha256"]) == 64
    assert store.runs([record().key])[record().key].origin == "trained"
    assert store.claim([key]) == []
    assert store.check() == []


def test_another_score_is_a_conflict_and_nothing_is_imported(store, record, tmp_path):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("dataset,algorithm,seed,step,score\nd,a,0,5,50\n")
    second.write_text("dataset,algorithm,seed,step,score\nd,a,1,5,50\nd,a,0,10,50\nd,a,0,5,51\n")
    transfer.import_scores(store, joined(first, record), first)
    before = content(store)
    with pytest.raises(DataError, match=r"second\.csv:4: a on d, seed 0, step 5 was imported before"):
        transfer.import_scores(store, joined(second, record), second)
    assert content(store) == before
    second.write_text("dataset,algorithm,seed,step,score\nd,a,0,10,50\n")
    assert transfer.import_scores(store, joined(second, record), second).added == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e300])
def test_import_refuses_returns_that_nothing_can_be_computed_of(store, record, tmp_path, value):
    row = transfer.ImportRow(ScoreRow(2, "d", "a", 0, 5, 1.0), record(), value)
    path = tmp_path / "scores.csv"
    path.touch()
    with pytest.raises(SpecError, match=r"scores\.csv:2: score: 1\.0 is too large"):
        transfer.import_scores(store, [row], path)


def test_imported_scores_merge(store, other, record, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("dataset,algorithm,seed,step,score\nd,a,0,5,50\n")
    transfer.import_scores(other, joined(path, record), path)
    assert len(transfer.merge(store, other.location.path).added) == 1
    assert content(store) == content(other)


def test_every_transaction_is_done_again_where_its_connection_was_lost(
    store, other, record, train, tmp_path, monkeypatch
):
    """Whatever reads or writes: training, merge, export, import, check."""
    rows = "dataset,algorithm,seed,step,score\n" + "".join(f"d,a,{seed},5,{seed}\n" for seed in range(2))
    path = tmp_path / "scores.csv"
    path.write_text(rows)
    lost = []

    def breaking(transaction):
        @contextlib.contextmanager
        def begin(self):
            lost.append(self)
            if len(lost) % 3 == 1:  # a method with two of them ends all the same
                raise schema.ConnectionLostError("the server closed the connection")
            with transaction(self) as connection:
                yield connection

        return begin

    monkeypatch.setattr(Store, "reading", breaking(Store.reading))
    monkeypatch.setattr(Store, "writing", breaking(Store.writing))
    monkeypatch.setattr(schema.time, "sleep", lambda seconds: None)
    store.tell = other.tell = lambda text: None

    train(other, record(0), {5: [1.0, 2.0]})
    other.record_dataset(record(0).configuration["dataset"], "a" * 64, 10)
    other.register([record(1)])
    assert other.claim([record(1).key]) == [record(1).key]
    assert other.set_free([record(1).key]) == 1
    assert len(transfer.merge(store, other.location.path).added) == 2
    assert transfer.import_scores(store, joined(path, record), path).added == 2
    for suffix in (".csv", ".json", ".db"):
        assert transfer.export(store, tmp_path / f"all{suffix}") > 0
    assert store.check() == []
    store.require_genuine()
    configuration = record(0).configuration_key
    assert (store.count(), store.seeds([configuration])) == (4, {configuration: (0,)})
    assert len(store.configurations()) == 2
    assert len(store.imported()) == len(store.sources()) == 1
    assert store.content_hashes()
    assert len(lost) > 60
