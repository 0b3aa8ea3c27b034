"""Results on a real PostgreSQL, started on a free port."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa

from harness.errors import DataError, SchemaError
from harness.results import schema, transfer
from harness.results import store as stores
from harness.results.models import RunRow
from harness.results.records import EvaluationRecord
from harness.results.store import Store

if not os.environ.get("HARNESS_REQUIRE_POSTGRES"):
    pytest.importorskip("psycopg")
pytestmark = pytest.mark.xdist_group("servers")


@pytest.fixture
def database(server, request):
    """The URL of an empty database."""
    name = f"r{random.getrandbits(40):x}"
    server.sql(f"CREATE DATABASE {name}")
    return server.url(name)


def test_sixteen_processes_create_fill_and_double_nothing(database, sixteen_writers):
    sixteen_writers(database, 20)


def test_claims_are_disjoint_and_wait_for_nobody_for_ever(database, workers, record):
    """Four processes claim the same 3,000 runs, each in another order: deadlocks were seen."""
    with Store.open(database, create=True) as store:
        store.register(record(seed) for seed in range(3000))
    output, _ = workers("scramble", 4, database).communicate(timeout=120)
    claimed = [json.loads(line) for line in output.splitlines()]
    assert sum(claimed) == 3000
    assert len(claimed) == 4


def test_a_database_of_another_program_is_refused(server, database, monkeypatch):
    monkeypatch.setattr(schema, "OPEN_SECONDS", 0.0)
    engine = sa.create_engine(database)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE customers (id int)"))
    engine.dispose()
    with pytest.raises(SchemaError, match="not one of harness"):
        Store.open(database, create=True)
    with pytest.raises(DataError, match=r"does not answer|refuses"):
        Store.open(server.url("nowhere"))


def test_a_transfer_to_and_from_a_server(database, tmp_path, record, train):
    with Store.open(tmp_path / "a.db", create=True) as file, Store.open(database, create=True) as served:
        train(file, record(), {5: [1.0, 2.0], 10: [3.0]})
        transfer.merge(served, tmp_path / "a.db")
        assert served.check() == file.check() == []
        assert served.evaluations([record().key]) == file.evaluations([record().key])


def test_numbers_that_count_nothing_are_found(database, record, train):
    with Store.open(database, create=True) as store:
        train(store, record(0), {5: [1.0, 2.0]})
        engine = sa.create_engine(database)
        with engine.begin() as connection:
            connection.execute(sa.update(RunRow).values(attempt=-1))
        engine.dispose()
        assert store.check() == ["1 rows of run have a attempt that is none"]


def test_work_outlives_restarts_of_the_server(server, database, record, monkeypatch):
    said = []
    with Store.open(database, create=True) as store:
        store.tell = said.append
        key = record().key
        store.register([record()])
        assert store.claim([key]) == [key]
        for step, restart in enumerate((False, True, False, True)):
            if restart:
                server.stop()
                threading.Timer(1, server.start).start()
            store.record_evaluations([EvaluationRecord(key, step, [1.0], [1])])
            store.heartbeat([key])
        store.finish([key], 1.0, 1.0)
        assert [e.step for e in store.evaluations([key])[key]] == [0, 1, 2, 3]
        assert store.check() == []
    assert any("does not answer" in text for text in said)


def test_a_server_that_is_starting_is_waited_for_by_whoever_opens(server, database, capfd):
    Store.open(database, create=True).close()
    server.stop()
    threading.Timer(1, server.start).start()
    with Store.open(database) as store:
        assert store.check() == []
    assert "does not answer" in capfd.readouterr().err


def test_a_server_whose_connections_are_all_taken_is_waited_for(server, database, record, monkeypatch, capfd):
    psycopg = pytest.importorskip("psycopg")
    Store.open(database, create=True).close()
    taken, address = [], database.replace("+psycopg", "")

    def take_all():
        while True:
            taken.append(psycopg.connect(address))

    try:
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            take_all()
        with monkeypatch.context() as hasty:
            hasty.setattr(schema, "OPEN_SECONDS", 0.5)
            with pytest.raises(DataError, match="too many clients"):
                Store.open(database)
        threading.Timer(1, lambda: [connection.close() for connection in taken]).start()
        with Store.open(database) as store:
            assert store.register([record()]) == 1
    finally:
        for connection in taken:
            connection.close()
    assert "too many clients" in capfd.readouterr().err


def test_a_server_that_stays_away_is_a_sentence(server, database, record, monkeypatch):
    monkeypatch.setattr(stores, "RECONNECT_SECONDS", 0.5)
    with Store.open(database, create=True) as store:
        server.stop()
        try:
            with pytest.raises(DataError, match="does not answer"):
                store.register([record()])
        finally:
            server.start()
        assert store.register([record()]) == 1


def test_what_was_committed_before_the_answer_was_lost_is_not_lost(server, database, record, monkeypatch):
    """The connection breaks after the commit: repeating finds that it was done."""
    with Store.open(database, create=True) as store:
        key = record().key
        store.register([record()])
        commit, breaks = sa.engine.Connection._commit_impl, []

        def lose(self):
            commit(self)
            if breaks:
                breaks.pop()
                raise sa.exc.OperationalError("COMMIT", {}, Exception("server closed the connection"))

        monkeypatch.setattr(sa.engine.Connection, "_commit_impl", lose)
        breaks.append(1)
        assert store.claim([key]) == [key]
        assert store.runs([key])[key].owner == store.owner
        store.record_evaluations([EvaluationRecord(key, 5, [1.0], [1])])
        breaks.append(1)
        store.finish([key], 1.0, 1.0)
        assert store.runs([key])[key].status == "finished"


def test_leases_go_by_the_servers_clock(database, record, monkeypatch):
    with (
        Store.open(database, create=True, owner="far:1:x.1") as one,
        Store.open(database, owner="near:1:x.1") as other,
    ):
        key = record().key
        one.register([record()])
        monkeypatch.setattr(time, "time", lambda: 0.0)
        assert one.claim([key]) == [key]
        assert other.claim([key]) == []
        with one.writing() as connection:
            late = sa.func.timezone("UTC", sa.func.now()) + sa.text("interval '1 year'")
            connection.execute(sa.update(RunRow).values({"heartbeat": late}))
        assert other.claim([key]) == [key]


PRESET = """
id: served
description: Some seconds with many evaluations
label: served protocol
lineage: generated
transitions: 500
datasets: [maze2d-umaze-v1]
columns: []
extra_columns:
  - {id: bc, label: BC, algorithm: bc, hyperparameters: {batch_size: 16}}
  - {id: wide, label: Wide, algorithm: bc, hyperparameters: {batch_size: 32}}
seeds: [0, 1]
steps: 1200
evaluate_every: 100
episodes: 1
"""


@pytest.mark.slow
def test_training_outlives_two_restarts_of_the_server(server, database, tmp_path):
    """Two processes train, each with connections of its own."""
    (tmp_path / "specs" / "presets").mkdir(parents=True)
    (tmp_path / "specs" / "presets" / "served.yaml").write_text(PRESET)

    def begin(db):
        command = [sys.executable, "-m", "harness", "--specs", tmp_path / "specs", "reproduce", "aspc-table1"]
        options = ["--preset", "served", "--db", db, "--data-home", tmp_path / "data", "--device", "cpu"]
        return subprocess.Popen(
            [*command, *options, "--checkpoint-seconds", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"},
        )

    def scores(db):
        with Store.open(db) as store:
            assert store.check() == []
            return store.evaluations(store.runs())

    owners = set()

    def wait_for(evaluations):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(DataError, SchemaError), Store.open(database) as store:
                owners.update(state.owner for state in store.runs().values() if state.owner)
                if any(len(found) >= evaluations for found in store.evaluations(store.runs()).values()):
                    return
            time.sleep(0.1)
        pytest.fail("training does not go on")

    whole = begin(tmp_path / "whole.db")
    _, said = whole.communicate(timeout=300)
    assert whole.returncode == 0, said
    process = begin(database)
    for evaluations in (3, 10):
        wait_for(evaluations)
        server.stop()
        time.sleep(1)
        server.start()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert b"does not answer" in said
    assert len(owners) == min(2, len(os.sched_getaffinity(0)))
    assert scores(database) == scores(tmp_path / "whole.db")
