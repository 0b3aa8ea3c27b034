"""Columns that read a value from another column's runs: keys, order, what waits, the values."""

from __future__ import annotations

import re

import pytest

from harness.errors import SpecError
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.dependencies import (
    all_keys,
    needed,
    open_runs,
    read_values,
    waiting,
)
from harness.planning.plan import plan
from harness.planning.status import status, trainable_keys
from harness.planning.validation import validate_algorithms
from harness.results.records import BEGINNING, EvaluationRecord, value_metric
from harness.specs import Specs
from harness.specs.validation import validate

TABLE = """id: own
version: 1
title: Own
paper: {title: T, authors: A, year: 2020}
lineage: generated
protocol: short
groups:
  - {id: mazes, label: Mazes, datasets: [maze2d-umaze-v1, maze2d-medium-v1]}
columns:
  - {id: fixed, label: Fixed, algorithm: td3_bc}
  - id: read
    label: Read
    algorithm: td3_bc
    hyperparameters:
      alpha: {column: source, metric: alpha}
  - {id: source, label: Source, algorithm: aspc}
"""
PROTOCOL = """id: short
description: D
steps: 100
evaluate_every: 50
episodes: 1
seeds: [1, 0]
"""
PRESET = "id: less\ndescription: D\nlabel: less\nlineage: generated\ncolumns: [read]\nsteps: 60\n"


@pytest.fixture
def own(tmp_path, monkeypatch, write_files):
    """Writes a folder of specs, perhaps with something else in the table; gives the specs."""
    monkeypatch.chdir(tmp_path)

    def write(old="", new=""):
        assert old in TABLE
        files = {
            "tables/own.yaml": TABLE.replace(old, new) if old else TABLE,
            "protocols/short.yaml": PROTOCOL,
            "presets/less.yaml": PRESET,
        }
        return Specs([write_files(tmp_path / "specs", files)])

    return write


def cell(resolved, column, dataset="maze2d-umaze-v1"):
    [found] = [c for c in resolved.cells if (c.column.id, c.dataset.id) == (column, dataset)]
    return found


def finish(store, runs, values):
    keys = [run.key for run in runs]
    store.register(runs)
    assert store.claim(keys) == keys
    store.record_metrics(50, {key: {"alpha": 99.0} for key in keys})
    store.record_metrics(100, {key: {"alpha": v, "other": 7} for key, v in zip(keys, values, strict=True)})
    store.record_evaluations([EvaluationRecord(key, step, [1.0], [1]) for key in keys for step in (50, 100)])
    store.finish(keys, 1.0, 1.0)


# -- keys --------------------------------------------------------------------------------------------------


def test_the_key_holds_the_dependency_and_no_value(own):
    resolved = resolve(own(), "own")
    source = cell(resolved, "source")
    assert cell(resolved, "read").runs[0].configuration["hyperparameters"]["alpha"] == {
        "mean_of": "alpha",
        "configuration": source.runs[0].configuration_key,
        "seeds": [0, 1],
    }
    assert (cell(resolved, "read").rank, source.rank, cell(resolved, "fixed").rank) == (1, 0, 0)


def test_the_key_hangs_on_the_source_and_not_on_what_was_chosen(own):
    specs = own()
    whole = cell(resolve(specs, "own"), "read").runs
    part = (
        resolve(specs, "own", Choice(algorithms=("read",), seeds=(0,), datasets=("*-umaze-*",))).cells[0].runs
    )
    assert [run.key for run in part] == [run.key for run in whole if run.seed == 0]
    others = [
        resolve(own("algorithm: aspc}", f"algorithm: aspc, hyperparameters: {{{change}}}}}"), "own")
        for change in ("ema: 0.9", "initial_alpha: 1")
    ]
    others.append(resolve(own("metric: alpha", "metric: actor_loss"), "own"))
    others.append(resolve(own(), "own", Choice(steps=60)))
    keys = {run.key for other in others for run in cell(other, "read").runs} | {run.key for run in whole}
    assert len(keys) == 2 * 5
    same = resolve(own("label: Source", "label: Renamed, note: n"), "own")
    assert [run.key for run in cell(same, "read").runs] == [run.key for run in whole]


def test_a_preset_that_leaves_the_source_out_resolves_it_alike(own):
    [found, _] = resolve(own(), "own", Choice(preset="less")).cells
    source = found.metrics["alpha"].cell
    assert (source.column.id, source.runs[0].configuration["protocol"]["steps"]) == ("source", 60)


# -- what is needed and what waits -------------------------------------------------------------------------


def test_sources_are_trained_whether_they_are_shown_or_not(own, store):
    specs = own()
    resolved = resolve(specs, "own", Choice(algorithms=("read",), seeds=(0,), datasets=("*-umaze-*",)))
    assert [(c.column.id, run.seed) for run, c in needed(resolved, {}).values()] == [
        ("source", 1),
        ("source", 0),
        ("read", 0),
    ]
    made = plan(resolved, specs, None)
    assert made.to_train == 3
    assert [(each.column, each.runs, each.readers) for each in made.also] == [
        ("source", 2, ("read reads alpha",))
    ]
    assert {each.populations for each in made.estimates} == {2}
    runs = [run for run, _ in needed(resolved, {}).values()]
    finish(store, runs[2:], [1.0])
    assert open_runs(resolved, store.runs(all_keys(resolved))) == {}  # nothing left that reads from them


def test_a_failed_source_stops_its_readers_and_nobody_else(own, store):
    specs = own()
    resolved = resolve(specs, "own")
    bad = cell(resolved, "source").runs
    finish(store, bad[1:], [1.0])
    store.register(bad)
    store.claim([bad[0].key])
    store.fail(bad[0].key, 3, "it diverged")
    made = plan(resolved, specs, store)
    [one] = made.waiting
    assert str(one) == "read on maze2d-umaze-v1 waits: it reads alpha from source, seed 1 failed"
    assert (one.runs, one.failed, one.retriable) == (2, True, True)
    assert made.to_train == 12 - 1 - 1 - 2
    assert [c.waiting for c in made.cells if (c.dataset, c.column) == ("maze2d-umaze-v1", "read")] == [2]
    assert status(store, resolved).waiting[0] == one
    part = resolve(specs, "own", Choice(algorithms=("read",)))
    assert store.retry(trainable_keys(part, store)) == 1
    assert plan(part, specs, store).waiting == ()


def test_what_waits_says_who_trains_it(own, store):
    resolved = resolve(own(), "own", Choice(datasets=("*-umaze-*",)))
    source = cell(resolved, "source").runs
    store.register(source)
    store.claim([source[0].key])
    states = store.runs(all_keys(resolved))
    [one] = waiting(open_runs(resolved, states), states, store)
    assert one.reason == (
        "it reads alpha from source, seed 1 being trained; it reads alpha from source, seed 0 not finished"
    )
    assert not one.failed
    assert status(store, resolved).waiting == (one,)
    assert plan(resolved, own(), store).waiting == ()


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_source_that_finished_without_the_metric_is_said(own, store, value):
    specs = own()
    resolved = resolve(specs, "own", Choice(datasets=("*-umaze-*",)))
    source = cell(resolved, "source").runs
    finish(store, source[:1], [2.0])
    key = source[1].key
    store.register(source)
    store.claim([key])
    store.record_metrics(100, {key: {"critic_loss": 1.0} if value is None else {"alpha": value}})
    store.finish([key], 1.0, 1.0)
    [one] = status(store, resolved).waiting
    assert one.reason == ("it reads alpha from source, which reported no finite alpha at step 100 (seed 0)")
    assert (one.runs, one.failed, one.retriable) == (2, True, False)
    made = plan(resolved, specs, store)
    assert made.waiting == (one,)
    assert made.to_train == 2  # the column that reads nothing


# -- values ------------------------------------------------------------------------------------------------


def test_the_value_is_the_mean_over_seeds_at_the_last_step(own, store):
    resolved = resolve(own(), "own")
    read = cell(resolved, "read")
    runs = {run.key: read for run in read.runs}
    source = cell(resolved, "source").runs
    finish(store, source[:1], [2.0])
    assert read_values(store, runs) == {}
    finish(store, source[1:], [3.0])
    assert read_values(store, runs) == {key: {"alpha": 2.5} for key in runs}
    other = cell(resolved, "read", "maze2d-medium-v1")
    assert read_values(store, {run.key: other for run in other.runs}) == {}


def test_what_a_run_began_with_is_never_read_anew(own, store):
    resolved = resolve(own(), "own")
    read = cell(resolved, "read")
    store.register(read.runs)
    [first, second] = [run.key for run in read.runs]
    store.claim([first])
    store.record_metrics(BEGINNING, {first: {value_metric("alpha"): 8.0}})
    finish(store, cell(resolved, "source").runs, [2.0, 3.0])
    values = read_values(store, {first: read, second: read})
    assert values == {first: {"alpha": 8.0}, second: {"alpha": 2.5}}
    store.fail(first, 1, "nan")
    store.retry([first])
    assert read_values(store, {first: read}) == {first: {"alpha": 2.5}}


# -- bad input ---------------------------------------------------------------------------------------------

BAD = [
    (
        "column: source",
        "column: sauce",
        r"15:23: columns.1.hyperparameters.alpha.column: no column named 'sauce'",
    ),
    ("column: source", "column: read", r"15:14: .*alpha: columns depend on each other: read -> read"),
    (
        "{column: source, metric: alpha}",
        "{column: source}",
        r"15:14: .*should be .*\{column: ID, metric: NAME\}",
    ),
    ("{column: source, metric: alpha}", "[1]", r"15:14: .*alpha: should be text, a number"),
    (
        "algorithm: aspc}",
        "algorithm: td3_bc, per_dataset: {'*-medium-*': {alpha: {column: read, metric: alpha}}}}",
        r"16:88: .*columns depend on each other: (read -> source -> read|source -> read -> source)",
    ),
]


@pytest.mark.parametrize(("old", "new", "problem"), BAD)
def test_bad_dependencies_have_a_place(own, old, new, problem):
    specs = own(old, new)
    assert any(re.match(f"specs/tables/own.yaml:{problem}", line) for line in validate(specs, ["own"])), (
        validate(specs, ["own"])
    )
    with pytest.raises(SpecError, match=f"specs/tables/own.yaml:{problem}"):
        resolve(specs, "own")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("metric: alpha", "metric: alfa", r"15:39: .*alpha.metric: no metric of aspc named 'alfa'.*alpha"),
        (
            "      alpha:",
            "      policy_frequency:",
            r"15:25: .*policy_frequency is one value for all members",
        ),
    ],
)
def test_bad_dependencies_that_only_the_code_shows(own, old, new, problem):
    specs = own(old, new)
    assert validate(specs, ["own"]) == []
    [line] = validate_algorithms(specs, ["own"])
    assert re.match(f"specs/tables/own.yaml:{problem}", line), line
    with pytest.raises(SpecError, match=problem):
        plan(resolve(specs, "own"), specs, None)
