"""Figures over hyperparameters: how scores depend on a setting, and what tuning brings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.analysis.tuning import expected_best, sweeps
from harness.counting import count
from harness.reports.figures.drawing import (
    SCORE,
    Drawn,
    Illustration,
    Source,
    few_ticks,
    figure_kind,
    file_name,
    legend_below,
    panel_grid,
    short_text,
)

if TYPE_CHECKING:
    from harness.analysis.comparison import ComparedCell

_SWEPT = ("dataset", "setting", "line", "value", "mean", "low", "high")


def sensitivity(source: Source) -> Iterator[Illustration]:
    """A figure per setting in which columns differ."""
    data = pd.DataFrame(_over_settings(source), columns=[*_SWEPT])
    for name in [name for name in data["setting"].unique() if name] or [""]:
        kind = figure_kind(
            f"sensitivity-{file_name(name)}" if name else "sensitivity",
            f"Sensitivity to {name}",
            f"Score over values of {name}, which stand at equal distances, all else equal; bars: intervals "
            "over seeds; dotted: columns that are on no such line.",
            missing="three columns that differ in the value of one setting alone, with scores",
        )
        yield from kind(partial(_over_values, data=data, name=name))(source)


def _over_settings(source: Source) -> Iterator[tuple[object, ...]]:
    """Each score that is on a line over a setting's values, and as setting '' those that are on none."""
    labels = {column.id: column.label for column in source.comparison.columns}

    def point(cell: ComparedCell, setting: str, line: str, value: float) -> tuple[object, ...]:
        ends = (cell.interval.low, cell.interval.high) if cell.interval else (cell.mean, cell.mean)
        return (cell.row, setting, short_text(line), value, cell.mean, *ends)

    for row in (row for group in source.comparison.groups for row in group.rows):
        found = sweeps(row.cells)
        for sweep in found:
            line = _common([labels[cell.column] for cell in sweep.cells.values()])
            yield from (point(cell, sweep.setting, line, value) for value, cell in sweep.cells.items())
        swept = {cell.column for sweep in found for cell in sweep.cells.values()}
        for cell in row.cells if found else ():
            if cell.settings and cell.mean is not None and cell.column not in swept:
                yield point(cell, "", labels[cell.column], math.nan)


def _over_values(source: Source, data: pd.DataFrame, name: str) -> Drawn | None:
    """A panel per dataset: a line over the values of a setting for each rest of the settings."""
    rows = data.loc[data["setting"] == name, "dataset"].unique() if name else []
    if not len(rows):
        return None
    data = data[data["setting"].isin([name, ""]) & data["dataset"].isin(rows)]
    lines, values = list(data["line"].unique()), sorted(data["value"].dropna().unique())
    places = {value: place for place, value in enumerate(values)}
    colours = dict(zip(lines, source.look.colours(len(lines)), strict=True))
    figure, panels, across = panel_grid(source, len(rows))
    for axes, dataset in zip(panels, rows, strict=True):
        for line, part in data[data["dataset"] == dataset].groupby("line", sort=False):
            how: dict[str, Any] = {"color": colours[line], "label": line}
            if part["value"].isna().all():
                axes.axhline(part["mean"].iloc[0], linestyle=":", **how)
                continue
            spread = [part["mean"] - part["low"], part["high"] - part["mean"]]
            axes.errorbar(
                part["value"].map(places), part["mean"], yerr=spread, marker="o", elinewidth=0.8, **how
            )
        axes.set_title(source.look.wrapped(short_text(str(dataset)), 1 / across), fontsize="small")
        axes.yaxis.set_major_locator(few_ticks())
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    figure.supylabel(SCORE)
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    legend_below(figure, source, [handles[line] for line in lines], lines, short_text(name))
    return Drawn(figure, data)


def _common(labels: Sequence[str]) -> str:
    """The parts between commas that labels share, the label itself where it stands alone."""
    parts = [label.split(", ") for label in labels]
    shared = [part for part in parts[0] if all(part in others for others in parts)]
    return ", ".join(shared) or f"{labels[0]} to {labels[-1]}"


@figure_kind(
    "tuning",
    "What tuning brings",
    "Expected best mean score of so many settings drawn at random, chosen by the very scores that are shown "
    "(Dodge et al., 2019, without replacement), averaged over the datasets on which no setting lacks a seed. "
    "The best of noisy means is too high on average.",
    missing="a column that shows the best of others, and a dataset on which none of these lacks a seed",
)
def tuning(source: Source) -> Drawn | None:
    """A line per method over the number of settings tried."""
    comparison = source.comparison
    cells = {(cell.row, cell.column): cell for cell in comparison.cells}
    methods = dict.fromkeys(
        column.best_of
        for column in comparison.columns
        if column.best_of and {*column.best_of} <= {*comparison.labels}
    )
    rows = [
        row
        for row in comparison.table.datasets
        if all(cells[row, name].complete for settings in methods for name in settings)
    ]
    if not methods or not rows:
        return None
    figure = source.empty(2.4)
    axes = figure.subplots()
    lines = []
    for settings, colour in zip(methods, source.look.colours(len(methods)), strict=True):
        label = short_text(_common([comparison.labels[name] for name in settings]))
        best = [expected_best([cells[row, name].mean or 0.0 for name in settings]) for row in rows]
        means = [math.fsum(scores) / len(rows) for scores in zip(*best, strict=True)]
        tried = range(1, len(means) + 1)
        axes.plot(tried, means, marker="o", color=colour, label=label)
        lines += [{"line": label, "settings": k, "mean": mean} for k, mean in zip(tried, means, strict=True)]
    data = pd.DataFrame(lines)
    axes.set_xticks(sorted(data["settings"].unique()))
    axes.set_xlabel(f"settings tried; over {count(len(rows), 'dataset')}")
    axes.set_ylabel(source.look.wrapped(f"expected best {SCORE}", 0.6))
    legend_below(figure, source, *axes.get_legend_handles_labels())
    return Drawn(figure, data)
