"""How far runs are: a table's, or all that a database knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import reason
from harness.planning.cells import ResolvedTable
from harness.planning.dependencies import Waiting, all_keys, needed, open_runs, waiting
from harness.results.artefacts import kept_states
from harness.results.store import RunState, Store

#: Every status of a run, and 'missing' for those that the database does not know.
STATUSES = ("finished", "running", "queued", "interrupted", "failed", "missing")


@dataclass(frozen=True)
class Told:
    """A run as a person knows it; the column is known of a table's runs only."""

    key: str
    dataset: str
    column: str | None
    algorithm: str
    seed: int
    step: int | None


@dataclass(frozen=True)
class Failure(Told):
    """A failed run: what it is, where it stopped and, in a line, why."""

    error: str


@dataclass(frozen=True)
class Work(Told):
    """A run under way, and by which process."""

    owner: str


@dataclass(frozen=True)
class Worker:
    """A living process that trains runs.

    Attributes:
        owner: its name, see `harness.results.leases.owner_id`.
        runs: how many it trains or is about to.
        populations: in how many batched programs.
        done: steps that their evaluations and checkpoints show, summed over its runs.
        steps: that they have in all; None where no table tells.
    """

    owner: str
    runs: int
    populations: int
    done: int
    steps: int | None


@dataclass(frozen=True)
class Status:
    """How far a set of runs is.

    Attributes:
        counts: status -> number of runs, for each of `STATUSES`.
        imported: scores from files among the finished runs; of a table always 0.
        workers: the living processes that train some of these runs.
        active: runs that a living process trains; finished ones are trained again for their state.
        stale: runs whose process died; the next `harness reproduce` takes them over.
        again: finished runs that are to be trained again, with the scores that they have, since others read
            the state that they ended with and it is not there, or not as it was; of a table only.
        failures: the failed runs.
        waiting: cells with runs that wait for others to read a value from; of a table only.
    """

    counts: Mapping[str, int]
    imported: int
    workers: tuple[Worker, ...]
    active: tuple[Work, ...]
    stale: tuple[Work, ...]
    again: tuple[Work, ...]
    failures: tuple[Failure, ...]
    waiting: tuple[Waiting, ...]


def trainable_keys(resolved: ResolvedTable, store: Store) -> list[str]:
    """Keys of all runs of a table's cells that can be trained, and of those that these still depend on."""
    return list(needed(resolved, store.runs(all_keys(resolved))))


def status(store: Store, resolved: ResolvedTable | None = None, home: Path | None = None) -> Status:
    """The state of a table's trainable runs, and of those that these still depend on.

    Args:
        store: the database.
        resolved: the table; None for every run of the database.
        home: data folder, where servers' artefacts lie; None for the default.

    Raises:
        HarnessError: the database cannot be read.
    """
    runs = store.runs(None if resolved is None else all_keys(resolved))
    keys, waits = None, list[Waiting]()
    to_train: dict[str, Any] = {}
    columns: dict[str, str] = {}
    lengths: dict[str, int] = {}
    if resolved is not None:
        kept = kept_states(store, home)
        wanted = needed(resolved, runs, kept)
        to_train = open_runs(resolved, runs, kept)
        waits = waiting(to_train, runs, store, kept)
        keys = list(wanted)
        columns = {key: cell.column.id for key, (_, cell) in wanted.items()}
        lengths = {key: cell.protocol.length for key, (_, cell) in wanted.items()}
        runs = {key: runs[key] for key in keys if key in runs}
    counted = Counter(run.status for run in runs.values())
    counted["missing"] = 0 if keys is None else len(keys) - len(runs)
    held = [run for run in runs.values() if run.held]
    return Status(
        counts={name: counted[name] for name in STATUSES},
        imported=sum(run.origin == "imported" for run in runs.values()),
        workers=tuple(_workers([run for run in held if run.alive], lengths)),
        active=tuple(_work(run, columns) for run in held if run.alive),
        stale=tuple(_work(run, columns) for run in held if not run.alive),
        again=tuple(_work(runs[key], columns) for key in to_train if key in runs and _again(runs[key])),
        failures=tuple(_failure(run, columns) for run in runs.values() if run.status == "failed"),
        waiting=tuple(waits),
    )


def _workers(runs: Sequence[RunState], lengths: Mapping[str, int]) -> Iterator[Worker]:
    for owner in sorted({run.owner or "unknown" for run in runs}):
        own = [run for run in runs if (run.owner or "unknown") == owner]
        known = all(run.key in lengths for run in own)
        yield Worker(
            owner,
            len(own),
            len({run.population for run in own if run.population}),
            sum(max(run.step or 0, run.checkpoint_step or 0) for run in own),
            sum(lengths[run.key] for run in own) if known else None,
        )


def _again(run: RunState) -> bool:
    return run.status == "finished" and not run.held


def _work(run: RunState, columns: Mapping[str, str]) -> Work:
    return Work(*_told(run, columns), run.step, run.owner or "unknown")


def _failure(run: RunState, columns: Mapping[str, str]) -> Failure:
    return Failure(*_told(run, columns), run.failed_step, reason(run.error or ""))


def _told(run: RunState, columns: Mapping[str, str]) -> tuple[str, str, str | None, str, int]:
    return run.key, run.dataset, columns.get(run.key), run.algorithm, run.seed
