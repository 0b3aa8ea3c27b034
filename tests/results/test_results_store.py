import math
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.results.records import EvaluationRecord, RunRecord, canonical, digest, run_key
from harness.results.rows import Evaluation
from harness.results.store import Metric, Store


def test_life_of_a_run(store, record):
    key = record().key
    assert store.register([record(), record()]) == 1
    assert store.register([record()]) == 0
    assert store.runs([key, "unknown"])[key].status == "queued"
    assert store.claim([key, key, "unknown"]) == [key]
    store.record_fingerprint([key], {"device": "cpu"}, "population of 1")
    store.record_evaluations([EvaluationRecord(key, 5, [1.0, 2.0], [10, 20])])
    store.record_checkpoint([key], "abc", 5)
    store.release([key])

    state = store.runs()[key]
    assert (state.status, state.step, state.checkpoint, state.checkpoint_step) == ("interrupted", 5, "abc", 5)
    assert (state.algorithm, state.dataset, state.lineage) == ("td3_bc", "hopper-medium-v2", "d4rl")
    assert (state.configuration_key, state.seed, state.origin) == (record().configuration_key, 0, "trained")
    assert store.fingerprints([state.fingerprint_id]) == {state.fingerprint_id: {"device": "cpu"}}
    with pytest.raises(DataError, match="lacks fingerprint 99, which runs refer to"):
        store.fingerprints([state.fingerprint_id, 99])

    assert store.claim([key]) == [key]
    store.record_evaluations([EvaluationRecord(key, 10, [3.0, 4.0], [10, 20])])
    store.finish([key], wall_seconds=3.5, device_seconds=0.5)
    state = store.runs([key])[key]
    assert (state.status, state.attempt, state.population) == ("finished", 2, "population of 1")
    assert (state.wall_seconds, state.device_seconds, state.alive) == (3.5, 0.5, False)
    assert store.evaluations([key]) == {key: [Evaluation(5, 1.5, 15.0, 2), Evaluation(10, 3.5, 15.0, 2)]}
    assert state.created <= state.started <= state.finished
    assert state.finished.tzinfo is UTC
    assert abs(datetime.now(UTC) - state.finished) < timedelta(minutes=1)
    assert store.check() == []


def test_failed_runs_wait_for_retry(store, record):
    key = record().key
    store.register([record()])
    store.claim([key])
    store.record_evaluations([EvaluationRecord(key, 5, [1.0], [1])])
    store.record_metrics(5, {key: {"q": 1.0}})
    store.fail(key, 7, "Traceback: NaN")
    state = store.runs([key])[key]
    assert (state.status, state.failed_step, state.error) == ("failed", 7, "Traceback: NaN")
    assert store.claim([key]) == []
    assert store.retry([key, "unknown"]) == 1
    assert store.retry([key]) == 0
    assert store.claim([key]) == [key]
    assert store.runs([key])[key].error is None
    # the second attempt stands alone
    assert (store.evaluations([key])[key], store.metrics([key])[key]) == ([], [])


def test_claims_keep_the_order_asked_for(store, record):
    records = [record(seed) for seed in range(5)]
    store.register(records)
    keys = [r.key for r in reversed(records)]
    assert store.claim(keys) == keys


def test_an_evaluation_is_written_once(store, record):
    key = record().key
    store.register([record()])
    store.claim([key])
    for value in (1.0, 99.0):
        store.record_evaluations([EvaluationRecord(key, 5, [value, value], [1, 1])])
        store.record_metrics(5, {key: {"q": value}})
    # One call may bring old and new steps, in any order, and the same twice.
    again = EvaluationRecord(key, 3, [2.0], [1])
    store.record_evaluations([again, EvaluationRecord(key, 5, [7.0], [1]), again])
    assert [(e.step, e.mean_return) for e in store.evaluations([key])[key]] == [(3, 2.0), (5, 1.0)]
    assert store.metrics([key]) == {key: [Metric(5, "q", 1.0)]}
    assert store.runs([key])[key].step == 5
    assert store.check() == []


@pytest.mark.parametrize(
    ("returns", "lengths"),
    [
        ([1.0, math.nan], [1, 1]),
        ([math.inf], [1]),
        ([1.0], [1, 2]),
        ([], []),
    ],
)
def test_bad_evaluations_are_refused_whole(store, record, returns, lengths):
    key = record().key
    store.register([record()])
    store.claim([key])
    with pytest.raises(ValueError, match=f"run {key[:12]}, step 10"):
        store.record_evaluations(
            [EvaluationRecord(key, 5, [1.0], [1]), EvaluationRecord(key, 10, returns, lengths)]
        )
    assert store.evaluations([key]) == {key: []}


def test_metrics_keep_what_is_not_finite(store, record):
    key = record().key
    store.register([record()])
    store.claim([key])
    store.record_metrics(1, {key: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}})
    store.record_metrics(2, {key: {"inf": 0.5}})
    found = {metric.name: metric.value for metric in store.metrics([key])[key] if metric.step == 1}
    assert math.isnan(found["nan"])
    assert (found["inf"], found["-inf"]) == (math.inf, -math.inf)
    assert [metric.value for metric in store.metrics([key], "inf")[key]] == [math.inf, 0.5]


def test_a_dataset_has_one_content(store, record):
    identity = record().configuration["dataset"]
    store.register([record()])
    store.record_dataset(identity, "a" * 64, 100)
    store.record_dataset(dict(reversed(identity.items())), "a" * 64, 100)
    with pytest.raises(DataError, match=r"hopper-medium-v2 .*bbbbbbbbbbbb .*recorded aaaaaaaaaaaa"):
        store.record_dataset(identity, "b" * 64, 100)
    with store.reading() as connection:
        rows = connection.exec_driver_sql("SELECT content_hash, transitions FROM dataset").all()
    assert rows == [("a" * 64, 100)]


def test_runs_are_counted(store, record):
    assert store.count() == 0
    store.register([record(seed) for seed in range(6)])
    assert store.count() == 6


def test_more_keys_than_one_statement_takes(store, record):
    records = [record(seed) for seed in range(1203)]
    keys = [r.key for r in records]
    assert store.register(records) == 1203
    assert store.claim(keys) == keys
    store.record_evaluations([EvaluationRecord(key, 1, [1.0], [1]) for key in keys])
    store.heartbeat(keys)
    assert len(store.runs(keys)) == 1203
    assert all(len(evaluations) == 1 for evaluations in store.evaluations(keys).values())
    store.finish(keys, 1.0, 1.0)
    assert {state.status for state in store.runs(keys).values()} == {"finished"}


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE evaluation SET mean_return = mean_return + 0.001", "the means are not theirs"),
        ("UPDATE evaluation SET mean_length = 0", "the means are not theirs"),
        ("DELETE FROM episode WHERE number = 1", "says 2 episodes, 1 are stored"),
        ("DELETE FROM episode", "says 2 episodes, 0 are stored"),
        ("DELETE FROM episode; DELETE FROM evaluation; UPDATE run SET step = NULL", "has no evaluation"),
        ("UPDATE run SET step = 99", "at another step"),
        ("DELETE FROM run", "a row of evaluation refers to a row of run that does not exist"),
        ("UPDATE run SET status = 'running', owner = NULL", "is running and has no owner"),
        ("UPDATE run SET status = 'failed'", "does not say why"),
    ],
)
def test_check_finds(database, store, record, train, statement, problem):
    train(store, record(), {5: [1e6, 3.0]})
    assert store.check() == []
    with sqlite3.connect(database) as connection:
        connection.executescript(statement)
    assert any(problem in line for line in store.check())


def test_a_status_outside_the_five_is_refused(database, store, record):
    store.register([record()])
    with sqlite3.connect(database) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE run SET status = 'done'")


@settings(max_examples=30)
@given(st.lists(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=5), min_size=1, max_size=6))
def test_means_are_those_of_the_episodes(tmp_path_factory, returns):
    configuration = {"algorithm": "a", "dataset": {"id": "d", "lineage": "d4rl"}}
    record = RunRecord(run_key(canonical(configuration), 0), digest(configuration), configuration, 0)
    with Store.open(tmp_path_factory.mktemp("means") / "r.db", create=True) as store:
        store.register([record])
        store.claim([record.key])
        for step, values in enumerate(returns):
            store.record_evaluations([EvaluationRecord(record.key, step, values, [1] * len(values))])
        found = store.evaluations([record.key])[record.key]
        assert [e.mean_return for e in found] == [math.fsum(v) / len(v) for v in returns]
        assert store.check() == []
