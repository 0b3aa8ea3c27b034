"""What a worker does: train what it can claim of a table, until nothing is left for it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

from harness import files
from harness.errors import DataError
from harness.execution.local import missing_runs, ready_runs, train_planned
from harness.execution.progress import Reporter
from harness.execution.session import Outcome
from harness.execution.setup import Setup
from harness.planning.cells import ResolvedTable
from harness.planning.populations import PlannedRun
from harness.results.artefacts import kept_states
from harness.results.schema import Location
from harness.results.store import Store
from harness.specs import Specs

LOOK_SECONDS = 2.0
"""Between two looks of a worker that waits for others."""


def train_claimable(
    resolved: ResolvedTable,
    specs: Specs,
    store: Store,
    setup: Setup,
    reporter: Reporter,
    stop: Callable[[], bool],
    *,
    wait: bool = False,
    queued_only: bool = False,
) -> Outcome:
    """Train what of a table no other process holds, again and again until there is nothing to claim.

    What others finish meanwhile may let further runs begin, and what they leave is taken over.

    Args:
        resolved: the table.
        specs: those that it was resolved with.
        store: open results database.
        setup: how to train.
        reporter: progress for the user.
        stop: asked again and again; True ends training with a checkpoint.
        wait: stay while others hold runs of the table.
        queued_only: leave out runs that the database does not know yet.

    Raises:
        HarnessError: nothing can be trained, see `harness.execution.local.train_missing`.
    """
    counts: Counter[str] = Counter()
    told = False
    while not stop():
        free, others = _look(resolved, store, setup, queued_only=queued_only)
        if free:
            outcome = train_planned(free, resolved, specs, store, setup, reporter, stop)
            counts += Counter({name: int(value) for name, value in asdict(outcome).items()})
            if outcome.finished or outcome.failed or outcome.interrupted:
                told = False
                continue
        elif not (wait and others):
            break
        if not told:
            reporter.message("nothing to claim for now: waiting for runs that others hold")
            told = True
        pause(stop)
    return Outcome(counts["finished"], counts["failed"], counts["elsewhere"], interrupted=stop())


def _look(
    resolved: ResolvedTable, store: Store, setup: Setup, *, queued_only: bool
) -> tuple[list[PlannedRun], bool]:
    """The runs to claim, if some of them can begin; and whether others hold runs."""
    todo = missing_runs(resolved, store, setup.home)
    states = store.runs(run.record.key for run in todo)
    if queued_only:
        todo = [run for run in todo if run.record.key in states]
    free = [run for run in todo if run.record.key not in states or not states[run.record.key].alive]
    begin = ready_runs(free, store, kept_states(store, setup.home))
    return free if begin else [], len(free) < len(todo)


def pause(stop: Callable[[], bool]) -> None:
    """Wait until it is time for another look, or to stop."""
    end = time.monotonic() + LOOK_SECONDS
    while not stop() and time.monotonic() < end:
        time.sleep(0.1)


def require_shareable(location: Location) -> None:
    """Refuse a SQLite file that several processes cannot safely share.

    Raises:
        DataError: it lies on a network file system.
    """
    if location.path is not None and (kind := files.network_file_system(location.path)):
        raise DataError(
            f"{location} lies on a network file system ({kind}), where several processes cannot share a "
            "SQLite file; give a database server (--db postgresql://USER@HOST/NAME) or, on one machine, a "
            "path on a local disk"
        )
