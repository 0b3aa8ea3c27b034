"""Figures over training: scores and metrics by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.analysis.aggregates import aggregate
from harness.analysis.history import thinned
from harness.analysis.intervals import IntervalSettings, interval
from harness.reports.figures.drawing import (
    BOOTSTRAP,
    GAPLESS,
    RESAMPLED,
    SCORE,
    Drawn,
    Illustration,
    Kind,
    Source,
    column_legend,
    few_ticks,
    figure_kind,
    file_name,
    panel_grid,
    restyled,
    short_step,
    short_text,
)
from harness.reports.protocols import axis

if TYPE_CHECKING:
    from harness.analysis.comparison import ComparedCell
    from harness.analysis.history import Histories, RunHistory
    from harness.analysis.overall import Selection
    from harness.specs.models import PaperFigure

_MOST_STEPS = 50  # of a line
_MOST_RESAMPLED = 25  # of a line whose every step is resampled
_MOST_NAMED = 3  # runs that a figure names
_Points = Callable[["RunHistory"], Sequence[tuple[int, float]]]  # (step, value) of a run, in order


@figure_kind(
    "curves",
    "Learning curves",
    "Normalised score over training, a panel per dataset; lines: mean over seeds.",
    missing="a scored run with two evaluations",
)
def curves(source: Source) -> Drawn | None:
    """Scores by step."""
    return _panels(source, {SCORE: _curve})


def metrics(source: Source) -> Iterator[Illustration]:
    """A figure per metric that runs reported."""
    for name in _metric_names(source.histories):
        kind = figure_kind(
            f"metric-{file_name(name)}",
            f"{name} over training",
            f"{name}, as training reported it, a panel per dataset; lines: mean over seeds.",
            missing="a scored run with two values",
        )
        yield from kind(partial(_panels, quantities={name: partial(_metric, name)}))(source)


def of_paper(wanted: PaperFigure) -> Kind:
    """A figure of the paper, as the table's spec has it."""
    quantities: dict[str, _Points] = {
        SCORE if name == "score" else name: _curve if name == "score" else partial(_metric, name)
        for name in wanted.draws
    }
    kind = figure_kind(
        wanted.id,
        wanted.title,
        f"{wanted.title}. Over training: {', '.join(quantities)}; lines: mean over seeds.",
        missing=f"a scored run with two values of {' or '.join(quantities)}",
    )
    return kind(partial(_panels, quantities=quantities, columns=wanted.columns or None))


def _metric_names(histories: Histories) -> list[str]:
    """The metrics that any scored run has, sorted."""
    return sorted(
        {name for runs in histories.values() for run in runs if run.score is not None for name in run.metrics}
    )


@figure_kind(
    "efficiency",
    "IQM over training",
    f"Interquartile mean over {{over}}, at the evaluations that all their runs have; bands: {RESAMPLED}.",
    missing=f"{GAPLESS}, with two evaluations of each run",
)
def efficiency(source: Source) -> Drawn | None:
    """The IQM by step, a line per algorithm."""
    lines = list(_iqm_curves(source, source.overall.selection)) if source.overall else []
    if not lines:
        return None
    from rliable import plot_utils

    data = pd.DataFrame(lines)
    by_column = dict(iter(data.groupby("column", sort=False)))
    figure = source.empty(2.4)
    axes = figure.subplots()
    for name, part in by_column.items():
        plot_utils.plot_sample_efficiency_curve(
            part["step"],
            {name: part["value"]},
            {name: (part["low"], part["high"])},
            ax=axes,
            colors=source.colours,
            marker="",
            linewidth=1.1 * source.look.scale,
            xlabel="",
            ylabel=f"IQM, {SCORE}",
        )
    restyled(axes)
    said = f"{data['over'].iloc[0]}; bands: {BOOTSTRAP.level:.0%} bootstrap intervals"
    axes.set_xlabel(source.look.wrapped(said, 0.85))
    axes.xaxis.set_major_locator(few_ticks())
    axes.xaxis.set_major_formatter(lambda step, _: short_step(step))
    column_legend(figure, source, list(by_column))
    return Drawn(figure, data)


def _iqm_curves(source: Source, selection: Selection) -> Iterator[dict[str, Any]]:
    """The IQM of each column at the steps that all its runs have."""
    import numpy as np

    overs = {cell.column: axis(cell.protocol) for cell in source.comparison.cells if cell.protocol}
    for name in selection.scores:
        curves = [
            {
                run.seed: dict(run.curve)
                for run in source.histories.get((dataset, name), ())
                if run.score is not None
            }
            for dataset in selection.datasets
        ]
        runs = [[by_seed.get(seed, {}) for by_seed in curves] for seed in selection.seeds]
        steps = sorted(set.intersection(*(set(run) for each in runs for run in each)))
        for step in thinned(steps, _MOST_RESAMPLED) if len(steps) > 1 else ():
            [one] = aggregate(np.array([[run[step] for run in each] for each in runs]), ("iqm",), BOOTSTRAP)
            yield {
                "column": name,
                "label": source.labels[name],
                "over": overs.get(name, ""),
                "step": step,
                "value": one.value,
                "low": one.interval.low,
                "high": one.interval.high,
            }


def _panels(
    source: Source, quantities: Mapping[str, _Points], columns: Collection[str] | None = None
) -> Drawn | None:
    """A panel per dataset, quantity and what is counted: updates and interactions share no axis.

    However many they are, they fit on a page. Lines and bands are matplotlib's: with 39 panels seaborn takes
    seconds more.

    Args:
        source: what it is drawn from.
        quantities: by label, what a run has over training.
        columns: ids of those to draw; None for all.
    """
    cells = [c for c in source.comparison.cells if columns is None or c.column in columns]
    data = pd.DataFrame(
        line | {"quantity": label}
        for cell in cells
        for label, points in quantities.items()
        for line in _band(source, cell, points)
    )
    if data.empty:
        return None
    several = [name for name in ("dataset", "quantity") if data[name].nunique() > 1] or ["dataset"]
    panels = list(data.groupby(["dataset", "quantity", "over"], sort=False))
    overs = data["over"].unique()
    figure, grid, across = panel_grid(source, len(panels))
    for place, (axes, ((*_, over), part)) in enumerate(zip(grid, panels, strict=True)):
        for name, line in part.groupby("column", sort=False):
            step, mean, low, high = (line[each].to_numpy() for each in ("step", "mean", "low", "high"))
            colour = source.colours[name]
            axes.plot(step, mean, color=colour, linestyle=source.dashes[name], label=source.labels[name])
            axes.fill_between(step, low, high, color=colour, alpha=0.2, linewidth=0)
        titles = [source.look.wrapped(short_text(part[name].iloc[0]), 1 / across) for name in several]
        axes.set_title("\n".join(titles), fontsize="small")
        axes.tick_params(labelsize="small")
        if len(overs) == 1:
            axes.set_xlim(0, data["step"].max())
            axes.tick_params(labelbottom=place >= len(panels) - across)
        axes.xaxis.set_major_locator(few_ticks(3))
        axes.yaxis.set_major_locator(few_ticks(3))
        axes.xaxis.set_major_formatter(lambda step, _: short_step(step))
        axes.set_xlabel("" if len(overs) == 1 else str(over))
    shared = [*overs] if len(overs) == 1 else []
    shared.append(f"bands: 95% {data['method'].iloc[0]}" if data["method"].any() else "one seed, no band")
    cut = _cut_off(source, cells, next(iter(quantities.values())))
    named = [*cut[:_MOST_NAMED], *([f"{len(cut) - _MOST_NAMED} more"] if len(cut) > _MOST_NAMED else [])]
    lines = ["; ".join(shared), *([f"cut off, not drawn: {', '.join(named)}"] if cut else [])]
    if len(quantities) == 1:
        figure.supylabel(short_text(next(iter(quantities))))
        data = data.drop(columns="quantity")
    column_legend(figure, source, list(data["column"].unique()), "\n".join(lines))
    return Drawn(figure, data, f"Bands: 95% {data['method'].iloc[0] or 'of one seed, none'}.")


def _band(source: Source, cell: ComparedCell, points: _Points) -> Iterator[dict[str, Any]]:
    """Mean and interval over seeds at the steps that all scored runs of a cell have."""
    settings = IntervalSettings()
    runs = source.histories.get((cell.row, cell.column), ())
    curves = [dict(curve) for run in runs if run.score is not None and len(curve := points(run)) > 1]
    steps = sorted(set.intersection(*map(set, curves))) if curves and cell.protocol else []
    for step in thinned(steps, _MOST_STEPS):
        values = [curve[step] for curve in curves]
        mean = math.fsum(values) / len(values)
        found = interval(values, settings)
        yield {
            "dataset": cell.row,
            "column": cell.column,
            "label": source.labels[cell.column],
            "over": axis(cell.protocol) if cell.protocol else "",
            "step": step,
            "mean": mean,
            "low": found.low if found else mean,
            "high": found.high if found else mean,
            "seeds": len(values),
            "method": f"{found.method} over seeds" if found else "",
        }


def _cut_off(source: Source, cells: Sequence[ComparedCell], points: _Points) -> list[str]:
    """The runs that have points but no score: failed or under way."""
    return [
        f"{short_text(cell.row)} / {source.labels[cell.column]} seed {run.seed} at {short_step(curve[-1][0])}"
        for cell in cells
        for run in source.histories.get((cell.row, cell.column), ())
        if run.score is None and run.origin == "trained" and (curve := points(run))
    ]


def _curve(run: RunHistory) -> Sequence[tuple[int, float]]:
    return run.curve


def _metric(name: str, run: RunHistory) -> Sequence[tuple[int, float]]:
    return run.metrics.get(name, ())
