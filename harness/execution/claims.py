"""What this process holds of a population is trained: from checkpoints, in halves where memory is short."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

from algorithms import algorithm_class
from harness import files
from harness.errors import DataError
from harness.execution.devices import recover
from harness.execution.packing import Packing
from harness.execution.population import LeasedPopulation, title
from harness.execution.progress import Reporter
from harness.execution.session import Session
from harness.planning.populations import PlannedRun, Population, halved
from harness.results.leases import LEASE_SECONDS, LeaseLostError
from harness.results.models import RUNNING
from harness.results.records import BEGINNING
from harness.results.store import RunState, Store
from harness.training import checkpoints
from harness.training.checkpoints import Checkpoint


def train(session: Session, population: Population, capacity: int | Packing) -> bool:
    """Train what of a population no other process holds; True if interrupted."""
    with held(population.runs, session.store, session.reporter) as (claimed, lost):
        session.tally.counts["elsewhere"] += len(population.keys) - len(claimed)
        fit = _fit(session, population.only(claimed))
        if fit and isinstance(capacity, Packing):
            taken = capacity.describe(fit.runs)
            session.reporter.message(f"{fit.algorithm}, {len(fit.runs)} runs at once: {taken}")
        return fit is not None and _train_or_halve(session, fit, lost)


@contextmanager
def held(
    runs: Sequence[PlannedRun], store: Store, reporter: Reporter
) -> Iterator[tuple[list[str], Set[str]]]:
    """Claim what of some runs no other process holds, and give back what is not finished in the end.

    Yields:
        the keys that were claimed; and those of them that were lost all the same, which grow.
    """
    claimed = store.claim(
        [run.record.key for run in runs], again={run.record.key for run in runs if run.again}
    )
    try:
        with _heartbeat(claimed, store, reporter) as lost:
            yield claimed, lost
    finally:
        store.release(claimed)


def _fit(session: Session, population: Population | None) -> Population | None:
    """Fail the runs that read a value which their algorithm does not take; the others."""
    if population is None:
        return None
    check = algorithm_class(population.algorithm).Hyperparameters.problems
    found = {run.record.key: check(run.record.hyperparameters) for run in population.runs}
    for run in population.runs:
        if problems := found[run.record.key]:
            text = "; ".join(f"{name} {problem}" for name, problem in problems.items())
            try:
                session.store.fail(run.record.key, BEGINNING, text)
            except LeaseLostError as error:
                session.tally.counts["elsewhere"] += 1
                session.reporter.message(str(error))
            else:
                session.tally.counts["failed"] += 1
                session.reporter.message(f"{title(run)}: {text}")
    return population.only(key for key, problems in found.items() if not problems)


def _train_or_halve(session: Session, population: Population, lost: Set[str]) -> bool:
    """Train claimed runs, in halves where the device's memory is too small; True if interrupted."""
    left = [population]
    while left:
        population, *left = left
        for part, states, checkpoint in _resumable(population, session):
            leased = LeasedPopulation(session, part, states, checkpoint)
            match leased.run(lost):
                case "interrupted":
                    return True
                case "too large":
                    left = [*_halves(session, leased, part), *left]
    return False


def _halves(session: Session, leased: LeasedPopulation, population: Population) -> list[Population]:
    """What is left of a population that was too large, in two."""
    session.pool.discard()
    if not recover(session.setup.conditions.device):
        raise DataError(leased.broken("out of memory"))
    running = population.only(session.store.held(population.keys))
    halves = halved(running) if running else []
    sizes = " and then ".join(str(len(half.runs)) for half in halves)
    session.reporter.message(
        f"{population.label}: more than the device's memory holds; going on from the last checkpoint with "
        f"{sizes} at once"
    )
    return halves


def _resumable(
    population: Population, session: Session
) -> Iterator[tuple[Population, dict[str, RunState], Checkpoint | None]]:
    """Cut claimed runs into parts that stand at the same point: each with its checkpoint, or at the start.

    A checkpoint that presumes what the database lacks, as after a power cut or beside a restored backup,
    would leave holes: such runs go back to the start, as those do whose checkpoint is gone. Where it is
    damaged they are left out.
    """
    store, folder = session.store, session.setup.checkpoints
    states, reported = store.runs(population.keys), store.reported(population.keys)
    behind = gone = 0
    loaded: dict[str, Checkpoint | None] = {}
    parts: defaultdict[str | None, list[str]] = defaultdict(list)
    for key in population.keys:
        # the file may be newer than the database: a kill can fall between writing the one and the other;
        # a run of no population was never begun, or is retried from the start, whatever files there are
        recorded = states[key].checkpoint
        name = recorded or f"{states[key].population}.pt"
        if name not in loaded and (path := files.inside(folder, name)).exists():
            loaded[name] = _loaded(path, session)
        checkpoint = loaded.get(name)
        if name in loaded and checkpoint is None:
            continue
        resumable = checkpoint is not None and key in checkpoint.keys
        if checkpoint and resumable and checkpoint.presumes(key, *reported[key]):
            behind, resumable = behind + 1, False
        gone += bool(recorded and not checkpoint and states[key].status == RUNNING)
        parts[name if resumable else None].append(key)
    if behind:
        session.reporter.message(
            f"{store.location} is older than the checkpoints of {behind} run(s) and lacks evaluations that "
            "they presume: these runs begin again at the start"
        )
    if gone:
        session.reporter.message(
            f"the checkpoints of {gone} run(s) are gone from {folder}: these runs begin again at the start"
        )
    for file, keys in parts.items():
        if part := population.only(keys):
            yield part, {key: states[key] for key in part.keys}, loaded[file] if file else None


def _loaded(path: Path, session: Session) -> Checkpoint | None:
    """A checkpoint; None where it is damaged, which is said."""
    try:
        return checkpoints.load(path)
    except DataError as error:
        session.tally.left_out.append(str(error))
        session.reporter.message(f"{error}; until then its runs are left out")
        return None


@contextmanager
def _heartbeat(keys: Sequence[str], store: Store, reporter: Reporter) -> Iterator[Set[str]]:
    """Keep claimed runs' leases alive from a thread, also of those whose turn has not come yet.

    Yields:
        the runs that were lost all the same; it grows.
    """
    ended, lost = threading.Event(), set[str]()

    def beat() -> None:
        while not ended.wait(LEASE_SECONDS / 4):
            try:
                try:
                    store.heartbeat(store.held(keys))
                except LeaseLostError as error:
                    lost.update(store.held(error.keys))  # the others this process has just ended itself
            except Exception as error:  # a busy database, no free file: the next beat may get through
                reporter.message(f"warning: this process's leases were not renewed: {error}")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        ended.set()
        thread.join(5)  # it may be waiting for a server
