"""What the runs behind a table went through: their curves, metrics, times and environments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from harness.analysis.scores import normalise
from harness.errors import reason

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison
    from harness.planning.cells import ResolvedTable
    from harness.results.store import Metric, Store
    from harness.specs import models

_METRIC_POINTS = 30  # of every run and metric; a panel of half a column shows no more

T = TypeVar("T")


@dataclass(frozen=True)
class RunHistory:
    """One run, from its first evaluation on.

    Attributes:
        key: the run's key.
        seed: its seed.
        origin: ``trained`` here or ``imported``.
        status: ``finished``, ``failed``, ``running``, ``interrupted`` or ``queued``.
        score: the normalised score that its cell counts; None if the cell does not count it.
        curve: (step, normalised score) of every evaluation, ordered by step.
        metrics: name -> (step, value), ordered by step, finite values only, thinned.
        wall_seconds: of its training, which the runs of a population share; None if not known.
        environment: the fingerprint that it trained under; empty if none is recorded.
        failure: where and why it failed, in a line; empty if it did not.
    """

    key: str
    seed: int
    origin: str
    status: str
    score: float | None
    curve: tuple[tuple[int, float], ...]
    metrics: Mapping[str, tuple[tuple[int, float], ...]]
    wall_seconds: float | None
    environment: Mapping[str, str]
    failure: str

    @property
    def source(self) -> str:
        """Where the scores come from: ``trained``, or what an imported file says, else ``imported``."""
        return self.environment.get("source", "") or self.origin


Histories = Mapping[tuple[str, str], tuple[RunHistory, ...]]


def thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """At most ``most`` (two or more) of the items, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def histories(
    resolved: ResolvedTable, comparison: Comparison, store: Store, metric_points: int | None = _METRIC_POINTS
) -> Histories:
    """Read the runs of all cells from the database, every evaluation once.

    Args:
        resolved: the table's cells and their runs.
        comparison: the same table as compared, which says which scores count.
        store: the results.
        metric_points: of every run and metric, evenly spread; None for all.

    Returns:
        (row, column) -> its runs, by seed; runs that were never begun are left out.
    """
    sources = store.sources()
    runs = {
        (cell.dataset.id, cell.column.id): [
            run.key for each in (cell.runs, *map(cell.imported, sources)) for run in each
        ]
        for cell in resolved.cells
    }
    keys = [key for each in runs.values() for key in each]
    states = {key: state for key, state in store.runs(keys).items() if state.status != "queued"}
    evaluations = store.evaluations(states)
    steps = sorted({item.step for curve in evaluations.values() for item in curve})
    metrics = store.metrics(states, steps=thinned(steps, metric_points) if metric_points else None)
    fingerprints = store.fingerprints({i for state in states.values() if (i := state.fingerprint_id)})
    counted = {score.key: score.score for cell in comparison.cells for score in cell.scores}

    def history(key: str, reference: models.ReferenceScores) -> RunHistory:
        state = states[key]
        return RunHistory(
            key=key,
            seed=state.seed,
            origin=state.origin,
            status=state.status,
            score=counted.get(key),
            curve=tuple((item.step, normalise(item.mean_return, reference)) for item in evaluations[key]),
            metrics=_by_name(metrics[key]),
            wall_seconds=state.wall_seconds,
            environment=fingerprints.get(state.fingerprint_id or 0, {}),
            failure=_failure(state.failed_step, state.error) if state.status == "failed" else "",
        )

    return {
        (cell.dataset.id, cell.column.id): tuple(
            history(key, cell.dataset.reference)
            for key in runs[cell.dataset.id, cell.column.id]
            if key in states
        )
        for cell in resolved.cells
    }


def _by_name(metrics: Iterable[Metric]) -> dict[str, tuple[tuple[int, float], ...]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for metric in metrics:
        if math.isfinite(metric.value):
            found.setdefault(metric.name, []).append((metric.step, metric.value))
    return {name: tuple(points) for name, points in found.items()}


def _failure(step: int | None, error: str | None) -> str:
    """The step, and why, in a line."""
    return ": ".join(filter(None, ("" if step is None else f"at step {step}", reason(error or ""))))
