from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DataError, HarnessError
from harness.execution.restart import restart
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.schema import Location
from harness.specs import Specs


@pytest.fixture
def keys(store):
    """Four interrupted runs of one population, whose checkpoint is there."""
    [cell] = resolve(
        Specs(), "aspc-table1", Choice(datasets=("hopper-medium-v2",), algorithms=("aspc",))
    ).cells
    keys = [run.key for run in cell.runs]
    store.register(cell.runs)
    store.claim(keys)
    store.record_fingerprint(keys, {"torch": "1"}, "together")
    store.record_checkpoint(keys, "together.pt", 100)
    store.release(keys)
    return keys


@pytest.fixture
def folder(store):
    folder = store.location.folder("checkpoints")
    folder.mkdir()
    for name in ("together.pt", "other.pt"):
        (folder / name).touch()
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_checkpoints_lie_beside_the_database_or_with_the_data():
    assert Location.parse("a/smoke.db").folder("checkpoints") == Path.cwd() / "a/smoke.checkpoints"
    server = Location.parse("postgresql://user:secret@host/harness")
    assert server.folder("checkpoints", Path("/data")) == Path("/data/checkpoints/harness")


def test_restart_deletes_the_checkpoint_of_the_runs_and_no_other(store, keys, folder):
    assert restart(store, keys) == 4
    assert names(folder) == ["other.pt"]
    assert {state.status for state in store.runs(keys).values()} == {"queued"}


def test_a_checkpoint_that_the_database_does_not_know_yet_goes_too(store, keys, folder):
    store.claim(keys)
    store.record_fingerprint(keys, {"torch": "1"}, "newer")
    store.release(keys)
    (folder / "newer.pt").touch()
    restart(store, keys)
    assert names(folder) == ["other.pt"]


def test_restart_refuses_to_take_others_checkpoint_away(store, keys, folder):
    with pytest.raises(HarnessError, match=r"3 unfinished run\(s\) outside this choice"):
        restart(store, keys[:1])
    assert names(folder) == ["other.pt", "together.pt"]
    assert {state.status for state in store.runs(keys).values()} == {"interrupted"}


def test_finished_and_failed_companions_do_not_need_it(store, keys, folder):
    store.claim(keys[1:])
    store.finish(keys[1:3], 1.0, 1.0)
    store.fail(keys[3], 5, "nan")
    assert restart(store, keys[:1]) == 1
    assert names(folder) == ["other.pt"]
    assert [state.status for state in store.runs(keys).values()] == [
        "queued",
        "finished",
        "finished",
        "failed",
    ]


def test_runs_that_are_being_trained_stay(store, keys, folder):
    store.claim(keys)
    assert restart(store, keys) == 0
    assert names(folder) == ["other.pt", "together.pt"]


@pytest.mark.parametrize("elsewhere", ["../results.db", "{folder}/../results.db", "..", "a/b", "a\\b", "a\0"])
def test_a_name_that_leads_out_of_the_folder_deletes_nothing(store, keys, folder, elsewhere):
    store.claim(keys)
    store.record_checkpoint(keys[:1], elsewhere.format(folder=folder), 100)
    store.release(keys)
    with pytest.raises(DataError, match="should be the name of a file in"):
        restart(store, keys)
    assert names(folder) == ["other.pt", "together.pt"]
    assert store.location.path.exists()
    assert {state.status for state in store.runs(keys).values()} == {"interrupted"}
