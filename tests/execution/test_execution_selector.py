"""Runs that trust what other runs select, and runs that are never evaluated."""

from __future__ import annotations

import io

import numpy as np
import pytest
import safetensors.torch
import torch
from rich.console import Console

from algorithms import Member, Sizes, algorithm_class
from harness import datasets
from harness.analysis.comparison import compare
from harness.execution import local
from harness.execution.loading import card
from harness.execution.progress import Reporter
from harness.execution.setup import Setup
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.plan import plan
from harness.planning.status import status
from harness.reports import render
from harness.results.models import POLICY, STATE
from harness.results.store import Store
from harness.specs import Specs
from reference import program

TRUSTING = """
from algorithms.bc import BC, BCHyperparameters
from algorithms.base import batch_mean, register


@register("trusting")
class Trusting(BC):
    Hyperparameters = BCHyperparameters
    columns = ("trust",)

    def update(self, batch, noise, phase):
        return super().update(batch, noise, phase) | {"trusted": batch_mean(batch.extra["trust"])}
"""
SMALL = "critic_hidden_sizes: '16', value_hidden_sizes: '16', batch_size: 16"
TABLE = f"""
id: own
version: 1
title: Own
paper: {{title: T, authors: A, year: 2026}}
lineage: generated
transitions: 500
protocol: short
groups:
  - {{id: mazes, label: Mazes, datasets: [maze2d-umaze-v1], average: Mean}}
columns:
  - {{id: judge, label: Judge, algorithm: iql_selector, protocol: unevaluated, hyperparameters: {{{SMALL}}}}}
  - id: reader
    label: Reader
    algorithm: trusting
    hyperparameters: {{batch_size: 500, actor_hidden_sizes: '16'}}
    data: [{{trust: {{by: selector}}}}, {{clip_actions: 0.5}}]
    inputs: {{selector: {{column: judge, state: [critic, value]}}}}
"""
SHORT = "id: short\ndescription: D\nsteps: 20\nevaluate_every: 10\nepisodes: 1\nseeds: [0, 1]\n"
UNEVALUATED = "id: unevaluated\ndescription: D\nsteps: 200\nseeds: [0, 1]\n"


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("specs")
    spec = Specs().document("algorithms", "bc").path.read_text().replace("id: bc", "id: trusting")
    for name, text in {
        "tables/own.yaml": TABLE,
        "protocols/short.yaml": SHORT,
        "protocols/unevaluated.yaml": UNEVALUATED,
        "algorithms/trusting.py": TRUSTING,
        "algorithms/trusting.yaml": spec,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Specs([folder])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def train(specs, home):
    """Train what is missing; gives the outcome and what was said."""

    def run(store, stop=lambda: False, **choices):
        said = io.StringIO()
        folder = store.location.folder("checkpoints", home)
        setup = Setup.on("cpu", folder, home=home, workers=1)
        with Reporter(Console(file=said, width=500), quiet=True) as reporter:
            resolved = resolve(specs, "own", Choice(**choices))
            outcome = local.train_missing(resolved, specs, store, setup, reporter, stop)
        return outcome, said.getvalue()

    return run


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    """A database with all runs of the table."""
    with Store.open(tmp_path_factory.mktemp("trained") / "r.db", create=True) as store:
        outcome, said = train(store)
        assert (outcome.finished, outcome.failed) == (4, 0), said
        yield store


def keys(resolved, column):
    return {run.seed: run.key for cell in resolved.cells if cell.column.id == column for run in cell.runs}


def test_what_is_trusted_is_what_the_same_seeds_selector_says_of_the_readers_data(specs, trained, home):
    resolved = resolve(specs, "own")
    judges, readers = keys(resolved, "judge"), keys(resolved, "reader")
    left = trained.artefacts([*judges.values(), *readers.values()])
    assert all(set(left[key]) == {POLICY, STATE} for key in judges.values())
    [cell] = [cell for cell in resolved.cells if cell.column.id == "judge"]
    data = datasets.load(cell.dataset, "generated", home)
    mean, scale = data.observations.mean(0), data.observations.std(0) + 1e-3
    s = torch.from_numpy(((data.observations - mean) / scale).astype(np.float32))
    a = torch.from_numpy(data.actions).clamp(-0.5, 0.5)
    values = cell.runs[0].hyperparameters
    for seed, key in judges.items():
        state = safetensors.torch.load_file(trained.location.folder("artefacts") / left[key][STATE].name)
        learner = algorithm_class("iql_selector")([Member(key, values)], Sizes(s.shape[1], a.shape[1]))
        learner.load_training_state(state)
        share = program("iql_selector")(learner, values).trusts(s, a).float().mean().item()
        # a batch as large as the data is drawn with replacement
        [measured] = trained.metrics([readers[seed]], "trusted", steps=[20])[readers[seed]]
        assert measured.value == pytest.approx(share, abs=0.1)
        assert 0.1 < share < 0.9
    [reader] = [cell for cell in resolved.cells if cell.column.id == "reader"]
    assert "TrustSelector()" in str(card(reader, home))  # without asking it
    # metrics are measured at the end although nothing is evaluated there
    assert {each.step for each in trained.metrics(judges.values(), "value_loss")[judges[0]]} == {200}


def test_a_run_without_evaluations_is_finished_and_shown_as_not_evaluated(specs, trained, home):
    resolved = resolve(specs, "own")
    assert plan(resolved, specs, trained, home=home).to_train == 0
    assert trained.check() == []
    assert status(trained, resolved).counts["finished"] == 4
    comparison = compare(resolved, specs, trained)
    [judge, reader] = comparison.cells
    assert (judge.mean, judge.wanted, judge.notes) == (None, 0, ("not evaluated",))
    assert judge.verdict.mark == "N/C"  # an environment of our own, and no count of seeds that lack
    assert reader.complete
    [mean, other] = comparison.summaries
    assert (mean.mean, mean.unavailable, mean.verdict.mark) == (None, None, "N/C")
    assert other.mean is not None
    assert "200 steps, not evaluated, seeds 0, 1" in render(comparison, "markdown")
    for output in ("latex", "csv", "json", "html"):
        render(comparison, output)


def test_an_interrupted_reader_trusts_the_same_when_it_goes_on(specs, train, trained, tmp_path):
    readers = keys(resolve(specs, "own"), "reader").values()
    with Store.open(tmp_path / "r.db", create=True) as store:
        train(store, algorithms=("judge",))
        asked = iter(range(1000))
        assert train(store, stop=lambda: next(asked) > 12)[0].interrupted
        outcome, said = train(store)
        assert outcome.finished == 2, said
        assert store.evaluations(readers) == trained.evaluations(readers)
