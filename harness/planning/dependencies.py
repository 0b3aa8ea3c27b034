"""Runs that read from other runs: what must be trained first, what waits, and the values.

A run reads values, means over all seeds of another column, and states, each of the run of its own seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harness.planning.cells import Cell, ReadMetric, ResolvedTable
from harness.results.records import BEGINNING, RunRecord, countable, value_metric
from harness.results.store import RunState, Store

#: Whether the whole training state of a finished run, by its key, is there and as it was written.
Kept = Callable[[str], bool]


def nothing_kept(key: str) -> bool:
    """What holds where there is no database: no state is there."""
    return False


@dataclass(frozen=True)
class Waiting:
    """Runs of a cell that cannot begin because runs that they read from do not give what they need.

    Attributes:
        dataset: dataset id.
        column: column id.
        runs: how many runs wait.
        reason: for which runs, and in what state they are.
        failed: whether training does not end it: some of these failed, or finished without the value.
        retriable: whether some of these failed, so that `harness retry` queues them again.
        keys: of the runs that wait.
    """

    dataset: str
    column: str
    runs: int
    reason: str
    failed: bool
    retriable: bool
    keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.column} on {self.dataset} waits: {self.reason}"


def all_keys(resolved: ResolvedTable) -> list[str]:
    """Keys of the runs of all cells and of those that they read from."""
    return list(dict.fromkeys(run.key for cell in resolved.with_below for run in cell.runs))


def needed(
    resolved: ResolvedTable, states: Mapping[str, RunState], kept: Kept = nothing_kept
) -> dict[str, tuple[RunRecord, Cell]]:
    """The trainable runs of a table, by key, and those that unfinished ones of them read from.

    Args:
        resolved: the table.
        states: of all its runs that the database knows, see `all_keys`.
        kept: which of them have left their state.

    Returns:
        run key -> run and cell; runs stand after those that they read from.
    """
    return _needed(resolved, states, kept)[0]


def open_runs(
    resolved: ResolvedTable, states: Mapping[str, RunState], kept: Kept = nothing_kept
) -> dict[str, tuple[RunRecord, Cell]]:
    """The needed runs that are to be trained; see `needed`.

    They are neither finished nor failed; or finished, and an unfinished run reads the state that they ended
    with, which is not there any more or never was: these are trained again.
    """
    found, again = _needed(resolved, states, kept)
    return {key: run for key, run in found.items() if key in again or _is_open(states.get(key))}


def _needed(
    resolved: ResolvedTable, states: Mapping[str, RunState], kept: Kept
) -> tuple[dict[str, tuple[RunRecord, Cell]], set[str]]:
    """What `needed` says, and the finished runs among them that are trained again."""
    found: dict[str, tuple[RunRecord, Cell]] = {}
    again: set[str] = set()

    def add(run: RunRecord, cell: Cell, state_is_read: bool) -> None:
        state = states.get(run.key)
        lost = state_is_read and state is not None and _to_be_trained_again(state, kept)
        if run.key in found and not (lost and run.key not in again):
            return
        if _is_open(state) or lost:
            for metric in cell.metrics.values():
                for below in metric.cell.runs:
                    add(below, metric.cell, state_is_read=False)
            for read in cell.states.values():
                add(read.of(run.seed), read.cell, state_is_read=True)
        if lost:
            again.add(run.key)
        found.pop(run.key, None)
        found[run.key] = (run, cell)

    for cell in resolved.cells:
        if cell.unavailable is None:
            for run in cell.runs:
                add(run, cell, state_is_read=False)
    return found, again


def waiting(
    runs: Mapping[str, tuple[RunRecord, Cell]],
    states: Mapping[str, RunState],
    store: Store | None,
    kept: Kept = nothing_kept,
    *,
    failed_only: bool = False,
) -> list[Waiting]:
    """The cells some of whose runs cannot begin or go on yet.

    Args:
        runs: those to judge, by key; see `open_runs`.
        states: of all runs that the database knows, these and those that they read from.
        store: the database that the states come from; None if there is none, and no state either.
        kept: which runs have left their state.
        failed_only: only those that wait, directly or not, for a run that failed or finished without the
            value: training does not end that.

    Raises:
        HarnessError: the database cannot be read.
    """
    cells: dict[tuple[str, str, str], tuple[Cell, list[RunRecord]]] = {}
    for run, cell in runs.values():
        if run.key not in states or not states[run.key].alive:
            cells.setdefault((cell.table, cell.dataset.id, cell.column.id), (cell, []))[1].append(run)
    found = []
    for cell, some in cells.values():
        reasons = list(_reasons(cell, some, states, store, kept))
        hopeless = {key for reason in reasons if reason.failed for key in reason.keys}
        if failed_only:
            reasons = [reason for reason in reasons if hopeless.intersection(reason.keys)]
        if reasons:
            keys = hopeless if failed_only else {key for reason in reasons for key in reason.keys}
            found.append(
                Waiting(
                    cell.dataset.id,
                    cell.column.id,
                    len(keys),
                    "; ".join(reason.text for reason in reasons),
                    failed=bool(hopeless),
                    retriable=any(reason.retriable for reason in reasons),
                    keys=tuple(run.key for run in some if run.key in keys),
                )
            )
    return found


class _Reason(NamedTuple):
    """What some of a cell's runs wait for; see `Waiting`."""

    text: str
    failed: bool
    retriable: bool
    keys: tuple[str, ...]


def _reasons(
    cell: Cell, runs: Sequence[RunRecord], states: Mapping[str, RunState], store: Store | None, kept: Kept
) -> Iterator[_Reason]:
    """What unfinished runs of a cell wait for: values until they begin, states until they end."""
    new = [run for run in runs if run.key not in states or states[run.key].status == "queued"]
    if new:
        yield from _reasons_of_values(cell, tuple(run.key for run in new), states, store, kept)
    for name, read in cell.states.items():
        how = "it starts from" if name == "start" else f"it reads {name} from"
        readers = {run.seed: run.key for run in runs}
        below: dict[str, list[RunRecord]] = {}
        for run in read.cell.runs:
            if run.seed in readers and not kept(run.key):
                below.setdefault(_condition(states.get(run.key), state_is_read=True), []).append(run)
        for condition, some in below.items():
            seeds, failed = [run.seed for run in some], condition.startswith("failed")
            keys = tuple(readers[seed] for seed in seeds)
            text = f"{how} {read.cell.name_for(cell)}, {_listed(seeds)} {condition}"
            yield _Reason(text, failed, failed, keys)
            if not failed:
                keys_of = {run.key: readers[run.seed] for run in some}
                for reason in _reasons(read.cell, some, states, store, kept):
                    if reason.failed:
                        yield reason._replace(keys=tuple(keys_of[key] for key in reason.keys))


def _reasons_of_values(
    cell: Cell, keys: tuple[str, ...], states: Mapping[str, RunState], store: Store | None, kept: Kept
) -> Iterator[_Reason]:
    """What runs that have not begun wait for to read values."""
    for name, read in cell.metrics.items():
        below: dict[str, list[RunRecord]] = {}
        for run in read.cell.runs:
            below.setdefault(_condition(states.get(run.key)), []).append(run)
        reads = f"it reads {name} from {read.cell.column.id}"
        for condition, some in below.items():
            seeds = [run.seed for run in some]
            if condition != "finished":
                fails = condition == "failed"
                yield _Reason(f"{reads}, {_listed(seeds)} {condition}", fails, fails, keys)
            elif store is not None and (lacking := sorted(set(seeds) - _reported(store, read).keys())):
                yield _Reason(
                    f"{reads}, which reported no finite {read.metric} at step {_last_step(read):,} "
                    f"({_listed(lacking)})",
                    failed=True,
                    retriable=False,
                    keys=keys,
                )
        if unfinished := below.get("not finished"):
            for reason in _reasons(read.cell, unfinished, states, store, kept):
                if reason.failed:
                    yield reason._replace(keys=keys)


def _listed(seeds: list[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def _condition(state: RunState | None, *, state_is_read: bool = False) -> str:
    """What has become of a run, in words; of one whose state is read, and not there, why it is not."""
    if state is None or state.status not in ("finished", "failed"):
        return "being trained" if state is not None and state.alive else "not finished"
    if state.status == "failed" or not state_is_read:
        return state.status
    if state.error is not None:
        return "failed when it was trained again for its state"
    return "being trained again for its state" if state.alive else "to be trained again for its state"


def _to_be_trained_again(state: RunState, kept: Kept) -> bool:
    """Whether a run whose state is read has finished without it, and was not yet tried again in vain."""
    return state.status == "finished" and state.error is None and not kept(state.key)


def _is_open(state: RunState | None) -> bool:
    return state is None or state.status not in ("finished", "failed")


def readable(cell: Cell, run: RunRecord, kept: Kept) -> bool:
    """Whether all states that a run of the cell reads are there."""
    return all(kept(read.of(run.seed).key) for read in cell.states.values())


def read_values(store: Store, runs: Mapping[str, Cell]) -> dict[str, dict[str, float]]:
    """The values that runs depend on.

    A value that a run has begun with is never read anew.

    Args:
        store: the database.
        runs: run key -> its cell.

    Returns:
        run key -> hyperparameter -> value, of the runs all of whose values are known.
    """
    recorded = {
        key: {metric.name: metric.value for metric in metrics}
        for key, metrics in store.metrics(runs, steps=[BEGINNING]).items()
    }
    means = _Means(store)
    found: dict[str, dict[str, float]] = {}
    for key, cell in runs.items():
        values = {}
        for name, read in cell.metrics.items():
            value = recorded[key].get(value_metric(name))
            values[name] = means(read) if value is None else value
        known = {name: value for name, value in values.items() if value is not None}
        if len(known) == len(values):
            found[key] = known
    return found


class _Means:
    """Means of metrics over the runs of a cell, each asked of the database once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], float | None] = {}

    def __call__(self, read: ReadMetric) -> float | None:
        """The mean, over seeds, of the metric at the last step; None if a run is not finished or lacks it."""
        place = (read.cell.runs[0].configuration_key, read.metric)
        if place not in self._known:
            self._known[place] = self._mean(read)
        return self._known[place]

    def _mean(self, read: ReadMetric) -> float | None:
        keys = [run.key for run in read.cell.runs]
        states = self._store.runs(keys)
        if len(states) < len(keys) or any(state.status != "finished" for state in states.values()):
            return None
        values = _reported(self._store, read)
        return math.fsum(values.values()) / len(values) if len(values) == len(keys) else None


def _last_step(read: ReadMetric) -> int:
    return read.cell.protocol.length


def _reported(store: Store, read: ReadMetric) -> dict[int, float]:
    """Seed -> the metric at the last step, of the runs that reported one."""
    seeds = {run.key: run.seed for run in read.cell.runs}
    metrics = store.metrics(seeds, name=read.metric, steps=[_last_step(read)])
    return {
        seeds[key]: metric.value
        for key, found in metrics.items()
        for metric in found
        if countable(metric.value)
    }
