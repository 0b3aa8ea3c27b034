"""Processes of one thread that train populations: the scores of one process, whatever befalls them."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import signal
from dataclasses import replace

import pytest
from rich.console import Console

from harness.errors import DataError, UnknownNameError
from harness.execution import local, trainers
from harness.execution.progress import Reporter
from harness.execution.session import Outcome
from harness.execution.setup import Setup
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.store import Store
from harness.specs import Specs

SMALL = "batch_size: 16, actor_hidden_sizes: '16'"
PRESET = f"""
id: several
description: Populations of which one reads from another and one fails
label: short protocol
lineage: generated
transitions: 500
datasets: [maze2d-umaze-v1]
columns: []
extra_columns:
  - {{id: own, label: ASPC, algorithm: aspc, hyperparameters: {{{SMALL}, alpha_interval: 2}}}}
  - {{id: bc, label: BC, algorithm: bc, hyperparameters: {{{SMALL}}}}}
  - {{id: wild, label: Wild, algorithm: bc, hyperparameters: {{batch_size: 16, learning_rate: 1.0e+30}}}}
  - id: reader
    label: Reader
    algorithm: td3_bc
    hyperparameters: {{{SMALL}, alpha: {{column: own, metric: alpha}}}}
seeds: [0, 1]
steps: 200
evaluate_every: 100
episodes: 1
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, write_files):
    folder = tmp_path_factory.mktemp("several")
    write_files(folder / "specs", {"presets/several.yaml": PRESET})
    return folder


@pytest.fixture(scope="module")
def train(place):
    """Train what is missing into a database of that name; gives the outcome and what was said."""

    def run(name, number, stop=lambda store: False):
        said = io.StringIO()
        specs = Specs([place / "specs"])
        resolved = resolve(specs, "aspc-table1", Choice(preset="several"))
        with Store.open(place / f"{name}.db", create=True) as store:
            folder = store.location.folder("checkpoints")
            setup = Setup.on("cpu", folder, home=place / "data", checkpoint_seconds=0, workers=1)
            setup = replace(setup, trainers=number)
            with Reporter(Console(file=said, width=500), quiet=True) as reporter:
                outcome = local.train_missing(
                    resolved, specs, store, setup, reporter, lambda: bool(stop(store))
                )
            return outcome, said.getvalue(), content(store)

    return run


def content(store):
    """All that was measured of a run, and how it ended, by key."""
    return {
        key: (state.status, store.returns(key), store.metrics([key])[key])
        for key, state in store.runs().items()
    }


@pytest.fixture(scope="module")
def expected(train):
    outcome, said, found = train("one", 1)
    assert outcome == Outcome(6, 2, 0, interrupted=False)
    assert said.count("training diverged") == 2
    return found


def test_two_processes_give_the_scores_of_one_although_one_is_killed(train, expected, place):
    killed = []

    def kill(store):
        begun = [state.owner for state in store.runs().values() if state.owner and state.checkpoint_step]
        if begun and not killed:
            killed.append(int(begun[0].split(":")[1]))
            assert killed[0] != os.getpid()
            os.kill(killed[0], signal.SIGKILL)

    outcome, said, found = train("killed", 2, kill)
    assert killed
    assert "died (exit code -9); another one goes on" in said
    assert outcome == Outcome(6, 2, 0, interrupted=False)
    assert found == expected
    with Store.open(place / "killed.db") as store:
        assert store.check() == []


def test_asked_to_stop_they_write_checkpoints_from_which_one_process_goes_on(train, expected, place):
    def stop(store):
        return any(state.checkpoint_step for state in store.runs().values())

    outcome, _, _ = train("stopped", 2, stop)
    assert outcome.interrupted
    with Store.open(place / "stopped.db") as store:
        states = store.runs().values()
        assert not any(state.alive for state in states if not state.over)
        assert any(state.checkpoint_step and not state.over for state in states)
    outcome, _, found = train("stopped", 1)
    assert not outcome.interrupted
    assert found == expected


def test_what_one_of_them_meets_ends_the_command(train, place):
    (place / "refused.checkpoints").write_text("no folder")
    with pytest.raises(NotADirectoryError, match=r"refused\.checkpoints"):
        train("refused", 2)


def test_who_is_killed_again_and_again_ends_the_command(train, monkeypatch):
    monkeypatch.setattr(trainers, "_LIVES", 1)

    def kill(store):
        for state in store.runs().values():
            if state.owner and state.alive:
                os.kill(int(state.owner.split(":")[1]), signal.SIGKILL)

    with pytest.raises(DataError, match=r"died .* 1 time; is there enough memory"):
        train("hopeless", 2, kill)


def test_one_that_dies_after_it_was_asked_to_stop_is_not_replaced(train, expected):
    asked = []

    def stop(store):
        if asked:
            for state in store.runs().values():
                if state.owner and state.alive:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(state.owner.split(":")[1]), signal.SIGKILL)
        elif any(state.checkpoint_step for state in store.runs().values()):
            asked.append(True)
            for state in store.runs().values():  # so that it does not come to write its checkpoint
                if state.owner and state.alive:
                    os.kill(int(state.owner.split(":")[1]), signal.SIGSTOP)
        return bool(asked)

    outcome, said, _ = train("unheard", 2, stop)
    assert outcome.interrupted
    assert "died (exit code -9); their last checkpoint stands" in said
    assert "another one goes on" not in said
    outcome, _, found = train("unheard", 1)
    assert not outcome.interrupted
    assert found == expected


def test_a_broken_connection_that_one_of_them_met_is_not_taken_for_its_death():
    """As of a server for data: it is said, and nobody goes on in its place."""

    class Told:
        population, bar = object(), None

    with pytest.raises(ConnectionResetError, match="by the server"):
        trainers._Crew._heed(None, Told(), "error", ConnectionResetError("by the server"))


def test_an_error_is_the_same_in_another_process():
    error = UnknownNameError("table", "aspc", ["aspc-table1"])
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.name) == (UnknownNameError, str(error), "aspc")
