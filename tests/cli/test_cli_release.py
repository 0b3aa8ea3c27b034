"""Runs that a wrong clock or a lost machine holds are taken from it by a person, and go on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.leases import LeaseLostError
from harness.results.models import RunRow
from harness.results.records import EvaluationRecord
from harness.results.store import Store
from harness.specs import Specs

TABLE = ("aspc-table1", "--preset", "smoke", "--db", "held.db")


@pytest.fixture
def held(elsewhere):
    """A database whose runs another machine holds, with a heartbeat to come; the holder's store, keys."""
    runs = [
        run for cell in resolve(Specs(), "aspc-table1", Choice(preset="smoke")).cells for run in cell.runs
    ]
    keys = [run.key for run in runs]
    with Store.open("held.db", create=True, owner="another machine:1:2.3", lease_seconds=1e9) as store:
        store.register(runs)
        assert store.claim(keys) == keys
        store.record_evaluations([EvaluationRecord(keys[0], 500, [1.0], [2])])
        store.record_checkpoint(keys, "kept.pt", 500)
        with store.writing() as connection:
            late = datetime.now(UTC) + timedelta(seconds=80)
            connection.execute(update(RunRow).values(heartbeat=late))
        yield store, keys


def test_what_is_held_is_released_on_request_and_goes_on(cli, held):
    holder, keys = held
    with Store.open("held.db") as store:
        assert store.claim(keys) == []
        assert cli("retry", *TABLE, "--restart").err == "0 unfinished runs will begin anew\n"
        assert cli("retry", *TABLE).err == "0 failed runs queued again\n"
        released = cli("retry", *TABLE, "--release", "--algorithms", "bc")
        assert (released.code, released.err) == (0, "4 runs released\n")
        assert cli("retry", *TABLE, "--release").err == f"{len(keys) - 4} runs released\n"
        assert cli("retry", *TABLE, "--release").err == "0 runs released\n"
        states = store.runs(keys).values()
        assert {(s.status, s.owner, s.checkpoint, s.checkpoint_step) for s in states} == {
            ("interrupted", None, "kept.pt", 500)
        }
        assert [e.step for e in store.evaluations(keys)[keys[0]]] == [500]
        assert store.claim(keys) == keys
        with pytest.raises(LeaseLostError):  # a holder that lives after all is told
            holder.record_evaluations([EvaluationRecord(keys[0], 1000, [1.0], [2])])
        assert store.check() == []


def test_released_runs_can_begin_anew_at_once(cli, held):
    _, keys = held
    said = cli("retry", *TABLE, "--release", "--restart").err
    assert said == f"{len(keys)} runs released\n{len(keys)} unfinished runs will begin anew\n"
    with Store.open("held.db") as store:
        assert {(s.status, s.step, s.checkpoint) for s in store.runs(keys).values()} == {
            ("queued", None, None)
        }
