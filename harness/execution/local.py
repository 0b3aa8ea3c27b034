"""Trains a table's missing runs in this process, population after population."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.execution.data import examine, prepare
from harness.execution.loading import Loader, try_transforms
from harness.execution.packing import Packing
from harness.execution.population import title
from harness.execution.progress import Reporter
from harness.execution.session import Outcome, Tally
from harness.execution.setup import Setup
from harness.execution.trainers import Terms, trainers
from harness.planning.cells import ResolvedTable
from harness.planning.dependencies import Kept, all_keys, open_runs, read_values, readable, waiting
from harness.planning.populations import PlannedRun, populations
from harness.planning.states import configurations_read
from harness.planning.validation import check
from harness.results.artefacts import kept_states
from harness.results.store import Store
from harness.specs import Specs


def missing_runs(resolved: ResolvedTable, store: Store, home: Path | None = None) -> list[PlannedRun]:
    """What the table needs less what the database holds: runs neither finished nor failed.

    Also those, shown or not, that the table's runs read from; finished ones, too, whose state is not there.

    Args:
        resolved: the table.
        store: the database.
        home: data folder, None for the default.
    """
    states = store.runs(all_keys(resolved))
    left = open_runs(resolved, states, kept_states(store, home))
    return [
        PlannedRun(run, cell, again=key in states and states[key].status == "finished")
        for key, (run, cell) in left.items()
    ]


def train_missing(
    resolved: ResolvedTable,
    specs: Specs,
    store: Store,
    setup: Setup,
    reporter: Reporter,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train every missing run that can be trained, committing each score when it is measured.

    Runs that read from others are trained after these. Where one of these failed, or is trained by
    another process, they are left, with a message.

    Args:
        resolved: the table.
        specs: those that it was resolved with.
        store: open results database.
        setup: how to train.
        reporter: progress for the user.
        stop: asked between steps; True ends training with a checkpoint.

    Raises:
        SpecError: the specs are wrong or do not fit the code; nothing is trained.
        DataError: datasets are missing and cannot be had; names all of them.
        StoppedError: `stop` said so while data were made or fetched.
    """
    todo = missing_runs(resolved, store, setup.home)
    return train_planned(todo, resolved, specs, store, setup, reporter, stop)


def train_planned(
    todo: Sequence[PlannedRun],
    resolved: ResolvedTable,
    specs: Specs,
    store: Store,
    setup: Setup,
    reporter: Reporter,
    stop: Callable[[], bool],
) -> Outcome:
    """Train some of a table's missing runs, once specs and data are looked at; see `train_missing`."""
    if not todo:
        return Outcome(0, 0, 0, False)
    check(resolved, specs)
    for lineage in dict.fromkeys(run.cell.lineage for run in todo):
        runs = [run for run in todo if run.cell.lineage == lineage]
        wanted = {name: dataset for run in runs for name, dataset in run.cell.datasets.items()}
        prepare(wanted.values(), lineage, setup.home, reporter, setup.conditions.device, stop)
        trained = [
            (dataset, str(run.record.configuration["algorithm"]))
            for run in runs
            for dataset in run.cell.datasets.values()
        ]
        examine(trained, lineage, setup.home)
    load = Loader(setup.home, store, reporter)
    try_transforms(todo, load)
    return train_runs(todo, resolved, specs, store, setup, reporter, load, stop)


def train_runs(
    todo: Sequence[PlannedRun],
    resolved: ResolvedTable,
    specs: Specs,
    store: Store,
    setup: Setup,
    reporter: Reporter,
    load: Loader,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train runs of a table whose specs are right and whose data are there; see `train_missing`."""
    store.register(run.record for run in todo)
    algorithms = {str(run.record.configuration["algorithm"]) for run in todo}
    tally, read = Tally(), frozenset(configurations_read(specs, resolved))
    terms = Terms(setup, tuple(sorted(algorithms)), specs.folders, read)
    wanted = len(populations(todo, setup.capacity)) if setup.capacity else 1
    with trainers(terms, wanted, store, reporter, load, stop, tally) as train:
        for rank in sorted({run.cell.rank for run in todo}):
            some = [run for run in todo if run.cell.rank == rank]
            ready = _ready(some, resolved, store, setup.home, reporter)
            capacity = setup.capacity or Packing.of_gpu(setup.at_most)
            if train(populations(ready, capacity), capacity):
                return tally.outcome(interrupted=True)
    return tally.outcome(interrupted=False)


def _ready(
    runs: Sequence[PlannedRun],
    resolved: ResolvedTable,
    store: Store,
    home: Path | None,
    reporter: Reporter,
) -> list[PlannedRun]:
    """The runs that can begin, with the values that they read from other runs; the others are reported."""
    for run in runs:
        if run.again:
            reporter.message(f"{title(run)}: trained again for its state, which others read")
    kept = kept_states(store, home)
    ready = ready_runs(runs, store, kept)
    begin = {run.record.key for run in ready}
    left = {run.record.key: (run.record, run.cell) for run in runs if run.record.key not in begin}
    if left:
        for one in waiting(left, store.runs(all_keys(resolved)), store, kept):
            reporter.message(str(one))
    return ready


def ready_runs(runs: Sequence[PlannedRun], store: Store, kept: Kept) -> list[PlannedRun]:
    """Those of some missing runs that can begin or go on, with the values that they read from other runs.

    Args:
        runs: the missing runs.
        store: the database.
        kept: whether the state of a run, by its key, is there.
    """
    dependent = {run.record.key: run for run in runs if run.cell.below}
    values = read_values(store, {key: run.cell for key, run in dependent.items()}) if dependent else {}
    return [
        replace(run, record=replace(run.record, resolved=values[run.record.key])) if run.cell.below else run
        for run in runs
        if not run.cell.below or (run.record.key in values and readable(run.cell, run.record, kept))
    ]
