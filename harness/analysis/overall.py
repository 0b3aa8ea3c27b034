"""A compared table's algorithms over its datasets: which cells can be used, and what they say together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.analysis import aggregates
from harness.analysis.aggregates import (
    METRICS,
    PROFILE_POINTS,
    THRESHOLD,
    Aggregate,
    BootstrapSettings,
    Floats,
    Improvement,
    Metric,
    Profile,
)
from harness.errors import IncompleteError

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison


@dataclass(frozen=True)
class LeftOut:
    """Something of the table that its statistics do not rest on.

    Attributes:
        kind: ``column``, ``dataset`` or ``seed``.
        id: which.
        reason: why.
    """

    kind: str
    id: str
    reason: str


@dataclass(frozen=True)
class Selection:
    """The largest part of a table in which every column has every dataset and seed.

    Attributes:
        datasets: their ids, in the table's order.
        seeds: ascending.
        scores: for each column a matrix (seeds, datasets) in points.
        left_out: the other columns and datasets.
    """

    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    scores: Mapping[str, Floats]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class Overall:
    """What a table says of its algorithms over all usable datasets.

    Attributes:
        selection: what it rests on.
        threshold: of the optimality gap, in points.
        aggregates: by column.
        leaders: by metric, the best column and those whose difference from it has an interval that holds 0.
        improvements: every ordered pair of columns; empty unless asked for.
        profiles: by column, of runs and of means; empty unless asked for.
    """

    selection: Selection
    threshold: float
    aggregates: Mapping[str, tuple[Aggregate, ...]]
    leaders: Mapping[Metric, frozenset[str]]
    improvements: tuple[Improvement, ...]
    profiles: Mapping[str, tuple[Profile, Profile]]


def select(comparison: Comparison, command: Callable[[str], str] = "harness {} TABLE".format) -> Selection:
    """Choose the cells that statistics over datasets can use.

    A column without any complete cell is left out, then each dataset that one of the other columns lacks:
    algorithms are compared on the same datasets, or not at all.

    Args:
        comparison: the table.
        command: from a verb to its command line, for advice.

    Raises:
        IncompleteError: nothing is left.
    """
    rows = [row for group in comparison.groups for row in group.rows]
    cells = {(row.id, cell.column): cell for row in rows for cell in row.cells}
    trained = [column.id for column in comparison.columns if column.algorithm]
    columns = [column for column in trained if any(cells[row.id, column].complete for row in rows)]
    left_out = [
        LeftOut("column", column.id, "no complete cell" if column.algorithm else "no algorithm of its own")
        for column in comparison.columns
        if column.id not in columns
    ]
    datasets = []
    for row in rows:
        lacking = [cell for column in columns if not (cell := cells[row.id, column]).complete]
        if lacking:
            counts = ", ".join(f"{cell.column} ({cell.n} of {cell.wanted} seeds)" for cell in lacking)
            reason = (
                f"incomplete: {counts}" if any(cells[row.id, name].n for name in columns) else "no scores"
            )
            left_out.append(LeftOut("dataset", row.id, reason))
        else:
            datasets.append(row.id)
    if not columns:
        raise IncompleteError(
            f"{comparison.table.id} has no complete cell, so there is nothing to aggregate; "
            f"`{command('reproduce')}` trains what is missing"
        )
    if not datasets:
        raise IncompleteError(
            f"no dataset is complete for all of {', '.join(columns)}; choose columns with --algorithms, or "
            "train what is missing"
        )
    by_seed = {
        (dataset, column): {item.seed: item.score for item in cells[dataset, column].scores}
        for dataset in datasets
        for column in columns
    }
    seeds = sorted(set.intersection(*map(set, by_seed.values())))
    more = sorted(set().union(*by_seed.values()) - {*seeds})
    left_out += [LeftOut("seed", str(seed), "not in every cell") for seed in more]
    scores = {
        column: aggregates.score_matrix(
            {
                f"{dataset} / {column}": [by_seed[dataset, column][seed] for seed in seeds]
                for dataset in datasets
            }
        )
        for column in columns
    }
    if len(seeds) < 2:
        raise IncompleteError("intervals over seeds need at least two seeds, but the protocol asks for one")
    return Selection(tuple(datasets), tuple(seeds), scores, tuple(left_out))


def overall(
    comparison: Comparison,
    metrics: Sequence[Metric] = tuple(METRICS),
    settings: BootstrapSettings | None = None,
    *,
    pairs: int | None = None,
    profiles: bool = False,
    command: Callable[[str], str] = "harness {} TABLE".format,
) -> Overall:
    """Aggregates of each column, and on request probabilities of improvement and performance profiles.

    Args:
        comparison: the table.
        metrics: which aggregates.
        settings: of the aggregates' intervals, and of the profiles' bands but for the method.
        pairs: number of resamples of the probabilities of improvement; None leaves them out.
        profiles: whether to compute profiles.
        command: from a verb to its command line, for advice.

    Raises:
        IncompleteError: too little is measured, see `select`.
    """
    settings = settings or BootstrapSettings()
    percentile = replace(settings, method="percentile")
    found = select(comparison, command)
    return Overall(
        selection=found,
        threshold=THRESHOLD,
        aggregates={
            column: aggregates.aggregate(scores, metrics, settings) for column, scores in found.scores.items()
        },
        leaders=aggregates.leaders(found.scores, metrics, percentile),
        improvements=aggregates.improvements(found.scores, replace(percentile, repetitions=pairs))
        if pairs is not None
        else (),
        profiles={
            column: (
                aggregates.profile(scores, PROFILE_POINTS, percentile, kind="runs"),
                aggregates.profile(scores, PROFILE_POINTS, percentile, kind="means"),
            )
            for column, scores in (found.scores.items() if profiles else ())
        },
    )
