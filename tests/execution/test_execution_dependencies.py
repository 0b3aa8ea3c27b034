"""ASPC, then TD3+BC with the α that it arrived at: order, values, interruptions, kills and failures."""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from harness.analysis.comparison import compare
from harness.execution import local, population
from harness.execution.progress import Reporter
from harness.execution.setup import Setup
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.records import BEGINNING, value_metric
from harness.results.store import Store
from harness.results.transfer import export
from harness.specs import Specs

SMALL = "batch_size: 16, actor_hidden_sizes: '16'"
SMALL_BLOCK = SMALL.replace(", ", "\n      ")
TABLE = f"""
id: own
version: 1
title: Own
paper: {{title: T, authors: A, year: 2020}}
lineage: generated
protocol: d4rl-1m
groups:
  - {{id: mazes, label: Mazes, datasets: [maze2d-umaze-v1, maze2d-medium-v1]}}
columns:
  - id: converged
    label: Converged
    algorithm: td3_bc
    hyperparameters: {{{SMALL}, alpha: {{column: aspc, metric: alpha}}}}
  - id: linear
    label: Linear
    algorithm: td3_bc
    hyperparameters:
      {SMALL_BLOCK}
      alpha_schedule: linear
      alpha_schedule_steps: 60
      final_alpha: {{column: aspc, metric: alpha}}
  - id: aspc
    label: ASPC
    algorithm: aspc
    hyperparameters: {{{SMALL}, alpha_interval: 2, alpha_learning_rate: 0.2}}
"""
PRESET = """
id: tiny
description: Seconds
label: tiny protocol
transitions: 500
seeds: [0, 1]
steps: 60
evaluate_every: 30
episodes: 1
"""
CELLS = 3 * 2


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def specs(tmp_path, write_files):
    files = {"tables/own.yaml": TABLE, "presets/tiny.yaml": PRESET}
    return Specs([write_files(tmp_path / "specs", files)])


@pytest.fixture
def train(specs, tmp_path, data):
    """Train what is missing; gives the outcome and what was said."""

    def run(store, stop=lambda: False, **choices):
        said = io.StringIO()
        setup = Setup.on("cpu", tmp_path / "checkpoints", home=data, checkpoint_seconds=0)
        resolved = resolve(specs, "own", Choice(preset="tiny", **choices))
        with Reporter(Console(file=said, width=500), quiet=True) as reporter:
            outcome = local.train_missing(resolved, specs, store, setup, reporter, stop)
        return outcome, said.getvalue()

    return run


@pytest.fixture
def trained(monkeypatch):
    """Run key -> hyperparameters that it was given, in the order of training; the last time counts."""
    trainer, found = population.Trainer, {}

    def spy(task, *rest):
        found.update({run.key: run.hyperparameters for run in task.runs})
        return trainer(task, *rest)

    monkeypatch.setattr(population, "Trainer", spy)
    return found


def runs(specs, column):
    resolved = resolve(specs, "own", Choice(preset="tiny"))
    return {
        cell.dataset.id: [r.key for r in cell.runs] for cell in resolved.cells if cell.column.id == column
    }


def register(store, specs):
    resolved = resolve(specs, "own", Choice(preset="tiny"))
    store.register(run.record for run in local.missing_runs(resolved, store))


def final_alphas(store, specs):
    """Dataset -> mean over seeds of ASPC's α at the last step."""
    return {
        dataset: sum(m.value for ms in store.metrics(keys, "alpha", [60]).values() for m in ms) / len(keys)
        for dataset, keys in runs(specs, "aspc").items()
    }


def content(store):
    """All that was measured, by key."""
    states = store.runs()
    return {
        key: (state.status, store.evaluations([key])[key], store.metrics([key])[key])
        for key, state in sorted(states.items())
    }


def test_the_dependants_train_with_what_their_sources_arrived_at(train, store, specs, trained, tmp_path):
    outcome, said = train(store)
    assert (outcome.finished, outcome.failed) == (2 * CELLS, 0)
    assert "waits" not in said
    alphas = final_alphas(store, specs)
    assert len(set(alphas.values())) == 2
    assert all(abs(alpha - 2.5) > 1e-3 for alpha in alphas.values())
    for column, name in (("converged", "alpha"), ("linear", "final_alpha")):
        for dataset, keys in runs(specs, column).items():
            for key in keys:
                assert trained[key][name] == alphas[dataset]
                [recorded] = store.metrics([key], value_metric(name))[key]
                assert (recorded.step, recorded.value) == (BEGINNING, alphas[dataset])
    order = list(trained)
    sources = {key for keys in runs(specs, "aspc").values() for key in keys}
    assert set(order[: len(sources)]) == sources
    populations = {state.population for key, state in store.runs().items() if key not in sources}
    assert len(populations) == 2  # both datasets train together, schedule by schedule

    compared = compare(resolve(specs, "own", Choice(preset="tiny")), specs, store)
    [cell] = [c for c in compared.cells if (c.row, c.column) == ("maze2d-umaze-v1", "converged")]
    assert f"alpha {alphas['maze2d-umaze-v1']:.6g}, from aspc" in cell.notes

    export(store, tmp_path / "all.json")
    exported = {run["key"]: run for run in json.loads((tmp_path / "all.json").read_text())["runs"]}
    one = runs(specs, "converged")["maze2d-umaze-v1"][0]
    assert exported[one]["resolved"] == {"alpha": alphas["maze2d-umaze-v1"]}
    assert exported[min(sources)]["resolved"] == {}


def test_interrupted_anywhere_it_ends_alike(train, store, specs, trained, tmp_path):
    train(store)
    whole = content(store)
    with Store.open(tmp_path / "other.db", create=True) as other:
        for stop_after in (50, 25, 70):  # asked once a step, and for each population
            left = iter(range(stop_after))
            if not train(other, stop=lambda left=left: next(left, None) is None)[0].interrupted:
                break
        train(other)
        assert content(other) == whole


def test_only_what_is_read_is_trained_beside_what_is_asked_for(train, store, specs):
    outcome, _ = train(store, algorithms=("converged",), datasets=("*-umaze-*",), seeds=(1,))
    assert outcome.finished == 2 + 1
    assert train(store, algorithms=("converged",), datasets=("*-umaze-*",))[0].finished == 1
    values = {
        metric.value
        for key in runs(specs, "converged")["maze2d-umaze-v1"]
        for metric in store.metrics([key], value_metric("alpha"))[key]
    }
    assert len(values) == 1  # whichever seeds were chosen


def test_a_failed_source_leaves_its_readers_with_a_message(train, store, specs, monkeypatch):
    bad = runs(specs, "aspc")["maze2d-umaze-v1"][1]
    register(store, specs)
    store.claim([bad])
    store.fail(bad, 5, "it diverged")
    outcome, said = train(store)
    assert (outcome.finished, outcome.failed) == (2 * CELLS - 1 - 4, 0)
    assert "converged on maze2d-umaze-v1 waits: it reads alpha from aspc, seed 1 failed" in said
    assert "linear on maze2d-umaze-v1 waits: it reads final_alpha from aspc, seed 1 failed" in said
    assert "Traceback" not in said
    store.retry([bad])
    assert train(store)[0].finished == 5
    assert {state.status for state in store.runs().values()} == {"finished"}


def test_a_source_too_short_to_have_the_metric_leaves_its_readers_with_a_message(train, store):
    """ASPC's actor, and α, are not updated in the first step."""
    for finished in (2, 0):
        outcome, said = train(store, datasets=("*-umaze-*",), algorithms=("converged",), steps=1)
        assert (outcome.finished, outcome.failed) == (finished, 0)
        assert "it reads alpha from aspc, which reported no finite alpha at step 1 (seeds 0, 1)" in said


def test_readers_wait_for_a_source_that_another_process_trains(train, store, specs, tmp_path):
    register(store, specs)
    held = runs(specs, "aspc")["maze2d-umaze-v1"][:1]
    with Store.open(tmp_path / "r.db", owner="elsewhere:1:x.1") as other:
        other.claim(held)
        outcome, said = train(store)
        assert "it reads alpha from aspc, seed 0 being trained" in said
        assert (outcome.finished, outcome.elsewhere) == (2 * CELLS - 1 - 4, 1)


def test_a_value_that_the_algorithm_does_not_take_fails_its_run_alone(train, store, specs, monkeypatch):
    bad = runs(specs, "converged")["maze2d-umaze-v1"][0]
    read = local.read_values
    monkeypatch.setattr(
        local, "read_values", lambda *a: {k: {"alpha": -1.0} if k == bad else v for k, v in read(*a).items()}
    )
    outcome, said = train(store)
    assert (outcome.finished, outcome.failed) == (2 * CELLS - 1, 1)
    assert "alpha is -1, but must be at least 0" in said
    assert store.runs([bad])[bad].status == "failed"


def begin(folder, data, name):
    """The command line's reproduce, in a process of its own."""
    command = [sys.executable, "-m", "harness", "--specs", folder / "specs", "reproduce", "own"]
    options = ["--preset", "tiny", "--db", folder / f"{name}.db", "--data-home", data, "--quiet"]
    return subprocess.Popen(
        [*command, *options, "--checkpoint-seconds", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_killed_at_random_moments(specs, data, tmp_path):
    begin(tmp_path, data, "whole").wait()  # which also builds the data
    (tmp_path / "whole.db").rename(tmp_path / "first.db")
    start = time.monotonic()
    assert begin(tmp_path, data, "whole").wait() == 0
    seconds = time.monotonic() - start
    moments, kills = random.Random(0), 0
    while kills < 4:
        process = begin(tmp_path, data, "killed")
        try:
            process.wait(moments.uniform(0.4, 1) * seconds)
            if kills:
                break
            # the machine was busier before: once more, with less time
            seconds /= 2
            (tmp_path / "killed.db").unlink()
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert begin(tmp_path, data, "killed").wait() == 0
    with Store.open(tmp_path / "whole.db") as whole, Store.open(tmp_path / "killed.db") as killed:
        assert content(killed) == content(whole)
        assert kills
