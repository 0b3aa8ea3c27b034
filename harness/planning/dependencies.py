"""Runs that read a value from other runs: what must be trained first, what waits, and the values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from harness.planning.cells import Cell, ResolvedTable, Source
from harness.results.records import BEGINNING, RunRecord, value_metric
from harness.results.store import RunState, Store


@dataclass(frozen=True)
class Waiting:
    """A cell whose runs cannot begin because runs that they read a value from do not give it.

    Attributes:
        dataset: dataset id.
        column: column id.
        runs: how many of its runs wait.
        reason: for which runs, and in what state they are.
        failed: whether training does not end it: some of these failed, or finished without the value.
        retriable: whether some of these failed, so that `harness retry` queues them again.
    """

    dataset: str
    column: str
    runs: int
    reason: str
    failed: bool
    retriable: bool

    def __str__(self) -> str:
        return f"{self.column} on {self.dataset} waits: {self.reason}"


def all_keys(resolved: ResolvedTable) -> list[str]:
    """Keys of the runs of all cells and of those that they read values from."""
    return list(dict.fromkeys(run.key for cell in resolved.with_sources for run in cell.runs))


def needed(resolved: ResolvedTable, states: Mapping[str, RunState]) -> dict[str, tuple[RunRecord, Cell]]:
    """The trainable runs of a table, by key, and those that unfinished ones of them read values from.

    Args:
        resolved: the table.
        states: of all its runs that the database knows, see `all_keys`.

    Returns:
        run key -> run and cell; runs stand after those that they read from.
    """
    found: dict[str, tuple[RunRecord, Cell]] = {}

    def add(cell: Cell) -> None:
        if any(_is_open(states.get(run.key)) for run in cell.runs):
            for source in cell.sources.values():
                add(source.cell)
        for run in cell.runs:
            found.setdefault(run.key, (run, cell))

    for cell in resolved.cells:
        if cell.unavailable is None:
            add(cell)
    return found


def open_runs(resolved: ResolvedTable, states: Mapping[str, RunState]) -> dict[str, tuple[RunRecord, Cell]]:
    """The needed runs that are neither finished nor failed; see `needed`."""
    return {key: run for key, run in needed(resolved, states).items() if _is_open(states.get(key))}


def waiting(
    runs: Mapping[str, tuple[RunRecord, Cell]],
    states: Mapping[str, RunState],
    store: Store | None,
    *,
    failed_only: bool = False,
) -> list[Waiting]:
    """The cells some of whose runs have not begun and cannot yet.

    Args:
        runs: those to judge, by key.
        states: of all runs that the database knows, these and those that they read from.
        store: the database that the states come from; None if there is none, and no state either.
        failed_only: only those that wait, directly or not, for a run that failed or finished without the
            value: training does not end that.

    Raises:
        HarnessError: the database cannot be read.
    """
    numbers: Counter[tuple[str, str]] = Counter()
    cells: dict[tuple[str, str], Cell] = {}
    for key, (_, cell) in runs.items():
        if key not in states or states[key].status == "queued":
            name = (cell.dataset.id, cell.column.id)
            numbers[name] += 1
            cells[name] = cell
    found = []
    for name, cell in cells.items():
        reasons = list(_reasons(cell, states, store))
        failed = any(reason.failed for reason in reasons)
        if failed or (reasons and not failed_only):
            text = "; ".join(reason.text for reason in reasons)
            retriable = any(reason.retriable for reason in reasons)
            found.append(Waiting(*name, numbers[name], text, failed, retriable))
    return found


class _Reason(NamedTuple):
    """What a cell's runs wait for; see `Waiting`."""

    text: str
    failed: bool
    retriable: bool


def _reasons(cell: Cell, states: Mapping[str, RunState], store: Store | None) -> Iterator[_Reason]:
    """What a cell's runs wait for."""
    for name, source in cell.sources.items():
        seeds: dict[str, list[int]] = {}
        for run in source.cell.runs:
            seeds.setdefault(_condition(states.get(run.key)), []).append(run.seed)
        reads = f"it reads {name} from {source.cell.column.id}"
        for condition, some in seeds.items():
            if condition != "finished":
                fails = condition == "failed"
                yield _Reason(f"{reads}, {_listed(some)} {condition}", fails, fails)
            elif store is not None and (lacking := sorted(set(some) - _reported(store, source).keys())):
                yield _Reason(
                    f"{reads}, which reported no finite {source.metric} at step {_last_step(source):,} "
                    f"({_listed(lacking)})",
                    failed=True,
                    retriable=False,
                )
        if "not finished" in seeds:
            yield from (reason for reason in _reasons(source.cell, states, store) if reason.failed)


def _listed(seeds: list[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def _condition(state: RunState | None) -> str:
    if state is not None and (state.status in ("finished", "failed")):
        return state.status
    return "being trained" if state is not None and state.alive else "not finished"


def _is_open(state: RunState | None) -> bool:
    return state is None or state.status not in ("finished", "failed")


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
        for name, source in cell.sources.items():
            value = recorded[key].get(value_metric(name))
            values[name] = means(source) if value is None else value
        known = {name: value for name, value in values.items() if value is not None}
        if len(known) == len(values):
            found[key] = known
    return found


class _Means:
    """Means of metrics over the runs of a cell, each asked of the database once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], float | None] = {}

    def __call__(self, source: Source) -> float | None:
        """The mean, over seeds, of the metric at the last step; None if a run is not finished or lacks it."""
        place = (source.cell.runs[0].configuration_key, source.metric)
        if place not in self._known:
            self._known[place] = self._mean(source)
        return self._known[place]

    def _mean(self, source: Source) -> float | None:
        keys = [run.key for run in source.cell.runs]
        states = self._store.runs(keys)
        if len(states) < len(keys) or any(state.status != "finished" for state in states.values()):
            return None
        values = _reported(self._store, source)
        return math.fsum(values.values()) / len(values) if len(values) == len(keys) else None


def _last_step(source: Source) -> int:
    return source.cell.protocol.length


def _reported(store: Store, source: Source) -> dict[int, float]:
    """Seed -> the metric at the last step, of the runs that reported a finite one."""
    seeds = {run.key: run.seed for run in source.cell.runs}
    metrics = store.metrics(seeds, name=source.metric, steps=[_last_step(source)])
    return {
        seeds[key]: metric.value
        for key, found in metrics.items()
        for metric in found
        if math.isfinite(metric.value)
    }
