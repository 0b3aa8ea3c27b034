import errno
import json
import os
import signal
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from harness.errors import DataError, HarnessError
from harness.results import schema
from harness.results.leases import LeaseLostError
from harness.results.records import EvaluationRecord
from harness.results.store import Store


def test_sixteen_processes_lose_and_double_nothing(database, sixteen_writers):
    # as they get their turns: nobody waits for long while others commit again and again, nor on a busy
    # machine for more than a few of all sixteen's turns
    start = time.monotonic()
    longest = sixteen_writers(database, 50)
    assert longest < max(5.0, (time.monotonic() - start) / 5)


def test_a_writer_that_has_just_met_others_looks_no_sooner_than_they(database, store, monkeypatch):
    slept = []
    monkeypatch.setattr(schema.time, "sleep", slept.append)

    def write():
        slept.clear()
        with store.writing():
            pass
        return len(slept)

    assert write() == 0
    other = schema.connect_sqlite(database, writing=True)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(schema.time, "sleep", lambda seconds: (slept.append(seconds), other.rollback()))
    assert write() == 1
    assert [write(), write()] == [1, 0]
    other.close()


def test_sixteen_processes_create_one_database(database, workers):
    assert workers("create", 16, database).wait(timeout=60) == 0
    with Store.open(database) as store:
        assert len(store.runs()) == 16
        assert store.check() == []


def test_processes_claim_disjoint_runs(database, store, workers, record):
    keys = [record(seed).key for seed in range(40)]
    store.register([record(seed) for seed in range(40)])
    output, _ = workers("claim", 4, database, *keys).communicate(timeout=60)
    claimed = [key for line in output.splitlines() for key in json.loads(line)[1]]
    assert sorted(claimed) == sorted(keys)


def test_a_killed_owner_is_taken_over_at_once(database, store, workers, record):
    key = record().key
    store.register([record()])
    process = workers("hold", 1, database, key)
    pid, claimed = json.loads(process.stdout.readline())
    assert claimed == [key]
    assert store.claim([key]) == []
    assert store.runs([key])[key].alive

    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while store.runs([key])[key].alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert store.runs([key])[key].status == "running"
    assert store.claim([key]) == [key]
    assert store.runs([key])[key].attempt == 2


def test_a_silent_owner_loses_its_lease(database, store, record, monkeypatch):
    moment = datetime.now(UTC)
    monkeypatch.setattr("harness.results.store.now", lambda connection: moment)
    keys = [record(seed).key for seed in range(2)]
    with (
        Store.open(database, owner="elsewhere:1:2", lease_seconds=60) as silent,
        Store.open(database, owner="nowhere:1:2", lease_seconds=60) as heir,
    ):
        silent.register([record(seed) for seed in range(2)])
        assert silent.claim(keys) == keys
        assert heir.claim(keys) == []
        moment += timedelta(seconds=59)
        silent.heartbeat(keys[:1])
        assert heir.claim(keys) == []
        moment += timedelta(seconds=2)
        assert [heir.runs([key])[key].alive for key in keys] == [True, False]
        assert heir.claim(keys) == [keys[1]]

        late = [EvaluationRecord(key, 5, [1.0], [1]) for key in keys]
        for write in (
            lambda: silent.record_evaluations(late),
            lambda: silent.record_metrics(5, {key: {"q": 1.0} for key in keys}),
            lambda: silent.record_checkpoint(keys, "population", 5),
            lambda: silent.record_fingerprint(keys, {"device": "cpu"}, "population"),
            lambda: silent.finish(keys, 1.0, 1.0),
            lambda: silent.fail(keys[1], 5, "Traceback"),
            lambda: silent.heartbeat(keys),
        ):
            with pytest.raises(LeaseLostError, match="no longer holds") as caught:
                write()
            assert caught.value.keys == (keys[1],)
        silent.release(keys)

        states = heir.runs(keys)
        assert [states[key].status for key in keys] == ["interrupted", "running"]
        assert states[keys[1]].owner == "nowhere:1:2"
        assert heir.evaluations(keys) == heir.metrics(keys) == {key: [] for key in keys}
        assert all(state.checkpoint is None and state.population is None for state in states.values())


def test_a_finished_run_is_nobodys(store, record, train):
    train(store, record(), {5: [1.0]})
    with pytest.raises(LeaseLostError):
        store.record_evaluations([EvaluationRecord(record().key, 10, [1.0], [1])])
    assert store.claim([record().key]) == []


def test_a_locked_database_is_said_to_be_locked(database, store, record, monkeypatch):
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    locker = sqlite3.connect(database, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    with Store.open(database) as impatient:
        assert impatient.runs() == {}
        with pytest.raises(
            HarnessError, match=r"results\.db was locked by another process for more than 0\.1 s"
        ):
            impatient.register([record()])
    locker.close()


def test_a_database_in_use_is_waited_for(database, store, record):
    locker = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    locker.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, lambda: locker.execute("COMMIT")).start()
    assert store.register([record()]) == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_not_called_locked(database, store, record, monkeypatch, number):
    """SQLite says that it is busy there, too."""
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    locker = sqlite3.connect(database, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("fcntl.lockf", lambda *_: (_ for _ in ()).throw(OSError(number, "none")))
    with pytest.raises(DataError, match=r"results\.db cannot be locked: its file system lacks locks; keep"):
        store.register([record()])
    locker.close()


def test_a_store_does_not_survive_a_fork(store):
    child = os.fork()
    if child == 0:
        try:
            store.runs()
        except RuntimeError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
