"""Results as tidy pandas DataFrames: a line per observation, a column per variable, names as in the specs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness import escaping
from harness.analysis.history import RunHistory
from harness.reports import wording
from harness.reports.data import records

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.analysis.comparison import Comparison
    from harness.analysis.history import Histories
    from harness.analysis.overall import Overall
    from harness.analysis.sourcing import CheckedTable
    from harness.planning.cells import Cell, ResolvedTable

_PLACE = ("dataset", "group", "column", "label", "seed")  # what every line of a run begins with
SCORES = (*_PLACE, "step", "score", "return", "source", "status")
PRINTED = (
    *("dataset", "column", "label", "printed", "verdict"),
    *("rule", "source", "mean", "std", "n", "note"),
)
METRIC_VALUES = (*_PLACE, "step", "metric", "value", "status")


def scores(resolved: ResolvedTable, comparison: Comparison, histories: Histories) -> pd.DataFrame:
    """The scores that cells count: a line per cell and seed; ``step`` is the last that the score rests on."""
    counted = {score.key: score.score for cell in comparison.cells for score in cell.scores}
    return pd.DataFrame(
        [
            (*place, cell.protocol.length, score, cell.dataset.reference.raw(score), run.source, run.status)
            for cell, run, place in _runs(resolved, histories)
            if (score := counted.get(run.key)) is not None
        ],
        columns=SCORES,
    )


def curves(resolved: ResolvedTable, histories: Histories) -> pd.DataFrame:
    """Every evaluation of every run: a line each."""
    return pd.DataFrame(
        [
            (*place, step, score, cell.dataset.reference.raw(score), run.source, run.status)
            for cell, run, place in _runs(resolved, histories)
            for step, score in run.curve
        ],
        columns=SCORES,
    )


def metrics(resolved: ResolvedTable, histories: Histories) -> pd.DataFrame:
    """What training reported beside scores: a line per run, step and metric."""
    return pd.DataFrame(
        [
            (*place, step, name, value, run.status)
            for _, run, place in _runs(resolved, histories)
            for name, points in run.metrics.items()
            for step, value in points
        ],
        columns=METRIC_VALUES,
    )


def _runs(
    resolved: ResolvedTable, histories: Histories
) -> Iterator[tuple[Cell, RunHistory, tuple[str, str, str, str, int]]]:
    """The runs of the cells shown, each with its values of `_PLACE`."""
    groups = {dataset: group.id for group in resolved.table.groups for dataset in group.datasets}
    shown = {column.id for column in resolved.table.columns}
    for cell in resolved.cells:
        name, column = cell.dataset.id, cell.column
        for run in histories.get((name, column.id), ()) if column.id in shown else ():
            yield cell, run, (name, groups.get(name, ""), column.id, column.label, run.seed)


def printed(checked: CheckedTable) -> pd.DataFrame:
    """Whether printed cells follow from public scores: a line per printed cell."""
    return pd.DataFrame(
        [
            (
                *(cell.row, column.id, column.label, cell.printed, cell.check.value),
                cell.rule and cell.value and cell.rule.text(cell.value.n),
                *((value.source, value.mean, value.std, value.n) if (value := cell.value) else [None] * 4),
                cell.text,
            )
            for column in checked.columns
            for cell in column.cells
        ],
        columns=PRINTED,
    )


def csv(frame: pd.DataFrame) -> str:
    """A frame as CSV, whose texts no spreadsheet takes for formulas; RFC 4180, lines ended by LF."""
    text: str = frame.map(lambda value: escaping.csv(value) if isinstance(value, str) else value).to_csv(
        index=False, lineterminator="\n"
    )
    return text


def cells(comparison: Comparison) -> pd.DataFrame:
    """Everything that is known of each cell and average: a line each."""
    return pd.DataFrame(list(records(comparison)))


def layout(comparison: Comparison, digits: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The paper's layout as text, a row per dataset and a column per column's id; and which cells lead."""
    index = [row.label for row in comparison.rows]
    columns = [column.id for column in comparison.columns]
    texts = [
        [" ".join(filter(None, (wording.reproduced(cell, digits), wording.mark(cell)))) for cell in row.cells]
        for row in comparison.rows
    ]
    leading = [[cell.leading for cell in row.cells] for row in comparison.rows]
    return pd.DataFrame(texts, index, columns), pd.DataFrame(leading, index, columns)


# -- over all datasets -------------------------------------------------------------------------------------


def aggregates(comparison: Comparison, found: Overall) -> pd.DataFrame:
    """Aggregates over datasets with their intervals: a line per column and metric.

    ``leading`` are the best of each metric and those that are not told from it.
    """
    labels = comparison.labels
    return pd.DataFrame(
        [
            {"column": column, "label": labels[column], "metric": one.metric, "value": one.value}
            | asdict(one.interval)
            | {"leading": column in found.leaders[one.metric]}
            for column, each in found.aggregates.items()
            for one in each
        ]
    )


def improvements(comparison: Comparison, found: Overall) -> pd.DataFrame:
    """Probabilities of improvement: a line per ordered pair of columns."""
    labels = comparison.labels
    return pd.DataFrame(
        [
            {
                "better": one.better,
                "than": one.than,
                "better_label": labels[one.better],
                "than_label": labels[one.than],
                "probability": one.probability,
            }
            | asdict(one.interval)
            for one in found.improvements
        ]
    )


def profiles(comparison: Comparison, found: Overall) -> pd.DataFrame:
    """Performance profiles: a line per column, kind and threshold."""
    labels = comparison.labels
    return pd.concat(
        [
            pd.DataFrame({"column": column, "label": labels[column], **asdict(one)}).rename(
                columns={"thresholds": "threshold", "shares": "share"}
            )
            for column, both in found.profiles.items()
            for one in both
        ],
        ignore_index=True,
    )


def statistics(comparison: Comparison, found: Overall) -> pd.DataFrame:
    """All that was found, in one frame: ``statistic`` says what a line's ``value`` is."""
    parts = [aggregates(comparison, found).rename(columns={"metric": "statistic"})]
    if found.improvements:
        pairs = improvements(comparison, found).drop(columns=["better_label", "than_label"])
        pairs.insert(0, "statistic", "improvement")
        parts.append(pairs.rename(columns={"better": "column", "probability": "value"}))
    if found.profiles:
        lines = profiles(comparison, found).rename(columns={"share": "value"})
        lines.insert(0, "statistic", "profile of " + lines.pop("kind"))
        parts.append(lines)
    return pd.concat(parts, ignore_index=True).drop(columns="label")


@dataclass(frozen=True)
class Rliable:
    """A table's statistics in the shapes that rliable works with: dictionaries by the algorithms' labels.

    Scores and everything made of them are divided by 100, so that 1 is rliable's threshold. All numbers are
    this program's own estimates, which rliable's plots draw as they are.

    Attributes:
        scores: algorithm -> matrix (seeds, datasets).
        metrics: names of the aggregates, in the order of the next two.
        aggregates: algorithm -> aggregates (metrics,).
        aggregate_intervals: algorithm -> their intervals (2, metrics).
        thresholds: of the profiles; shape (T,).
        profiles: algorithm -> share of runs above each threshold (T,).
        profile_intervals: algorithm -> pointwise bands (2, T).
        improvements: 'X,Y' -> probability that X scores above Y.
        improvement_intervals: 'X,Y' -> its interval (2,).
    """

    scores: dict[str, NDArray[np.float64]]
    metrics: tuple[str, ...]
    aggregates: dict[str, NDArray[np.float64]]
    aggregate_intervals: dict[str, NDArray[np.float64]]
    thresholds: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    profiles: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    profile_intervals: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    improvements: dict[str, float] = field(default_factory=dict)
    improvement_intervals: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def rliable(comparison: Comparison, found: Overall) -> Rliable:
    """What was found over all datasets as rliable's dictionaries.

    Args:
        comparison: the table.
        found: its statistics, with or without pairs and profiles.
    """
    labels = comparison.labels
    if len({labels[column] for column in found.aggregates}) < len(found.aggregates):
        labels = {column: column for column in labels}  # a dictionary would lose one of two alike

    def by_label(values: dict[str, Any]) -> dict[str, Any]:
        return {labels[column]: value for column, value in values.items()}

    def pair(better: str, than: str) -> str:
        return f"{labels[better]},{labels[than]}"

    runs = {column: both[0] for column, both in found.profiles.items()}
    return Rliable(
        scores=by_label({column: matrix / 100 for column, matrix in found.selection.scores.items()}),
        metrics=tuple(wording.METRICS[one.metric] for one in next(iter(found.aggregates.values()))),
        aggregates=by_label(
            {c: np.array([one.value / 100 for one in each]) for c, each in found.aggregates.items()}
        ),
        aggregate_intervals=by_label(
            {
                c: np.array([(one.interval.low / 100, one.interval.high / 100) for one in each]).T
                for c, each in found.aggregates.items()
            }
        ),
        thresholds=np.array(next((one.thresholds for one in runs.values()), ())) / 100,
        profiles=by_label({column: np.array(one.shares) for column, one in runs.items()}),
        profile_intervals=by_label({column: np.array([one.low, one.high]) for column, one in runs.items()}),
        improvements={pair(one.better, one.than): one.probability for one in found.improvements},
        improvement_intervals={
            pair(one.better, one.than): np.array([one.interval.low, one.interval.high])
            for one in found.improvements
        },
    )
