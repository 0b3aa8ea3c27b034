"""The figures of a report: functions from a compared table and its runs' histories to matplotlib figures.

Every function gives None where its data do not exist, so that no axis is ever empty. Nothing that a spec says
is read as mathematics, and saved files are the same bytes whenever and wherever they are written.
"""

from __future__ import annotations

import math
import re
import statistics
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import escaping
from harness.analysis.aggregates import (
    METRICS,
    BootstrapSettings,
    Floats,
    aggregate,
    improvements,
    profile,
)
from harness.analysis.overall import select
from harness.analysis.verdicts import VerdictKind
from harness.counting import count
from harness.errors import IncompleteError
from harness.reports.history import thinned
from harness.reports.protocols import axis

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from harness.analysis.comparison import ComparedRow, Comparison
    from harness.reports.history import Histories, RunHistory

Matrices = Mapping[str, Floats]  # column id -> scores (seeds, datasets), the same datasets in all

_WIDTH = 3.3  # inches: a column of a two-column paper
_TITLE = 0.2  # inches: a line above a figure
_LONGEST = 28  # characters of a label
_MOST_STEPS = 100  # of a line
_MOST_SPOKES = 16  # that leave room for their labels

# Okabe and Ito's colours without yellow, which white paper swallows; then the same with other dashes
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
_DASHES = ("-", "--", ":", "-.")

_BOOTSTRAP = BootstrapSettings(repetitions=5000)

_VERDICTS: dict[VerdictKind, tuple[str, str]] = {
    # colour and marker
    VerdictKind.OK: ("#009E73", "o"),
    VerdictKind.CLOSE: ("#56B4E9", "o"),
    VerdictKind.UNDECIDED: ("#8C8C8C", "D"),
    VerdictKind.BETTER: ("#0072B2", "^"),
    VerdictKind.WORSE: ("#D55E00", "v"),
    VerdictKind.MISSING: ("#E69F00", "x"),
    VerdictKind.INCOMPARABLE: ("#CC79A7", "s"),
}

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "text.parse_math": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "harness",
}


@dataclass(frozen=True)
class Illustration:
    """A figure, or why there is none.

    Attributes:
        name: of its files, without an ending.
        title: a line.
        caption: what is drawn, with its statistics.
        figure: the figure; None if its data do not exist.
        missing: what it would need.
    """

    name: str
    title: str
    caption: str
    figure: Figure | None
    missing: str


def illustrations(comparison: Comparison, histories: Histories) -> tuple[Illustration, ...]:
    """All figures of a table, in the order shown."""
    import matplotlib as mpl

    band = "lines: mean over seeds, then over the group's datasets; bands: one standard error from the seeds"
    matrices = _score_matrices(comparison)
    labels = {column.id: _text(column.label) for column in comparison.columns}
    datasets = next((matrix.shape[1] for matrix in matrices.values()), 0)
    over = f"the {count(datasets, 'dataset')} on which no algorithm lacks a seed"
    resampled = (
        f"{_BOOTSTRAP.level:.0%} stratified percentile bootstrap over seeds, "
        f"{_BOOTSTRAP.repetitions} resamples, seed {_BOOTSTRAP.seed}"
    )
    gapless = "a dataset on which every measured algorithm has all its seeds, two or more"
    with mpl.rc_context(_STYLE):
        drawn = (
            Illustration(
                "published",
                "Published against reproduced",
                "A point per cell; on the diagonal both means are equal. Whiskers: the interval of our mean.",
                scatter(comparison),
                "a comparable cell with both numbers",
            ),
            Illustration(
                "radar",
                "Algorithms side by side",
                "Mean scores, scaled on each spoke from the lowest algorithm (centre) to the highest (rim); "
                "only algorithms and spokes without gaps.",
                radar(comparison),
                "three rows in which two algorithms have all their seeds",
            ),
            Illustration(
                "curves",
                "Learning curves",
                f"Normalised score over training; {band}.",
                learning_curves(comparison, histories),
                "a scored run with two evaluations",
            ),
            Illustration(
                "aggregates",
                "All datasets together",
                f"Aggregates over {over}; bars: {resampled}.",
                aggregates(matrices, labels),
                gapless,
            ),
            Illustration(
                "profiles",
                "Performance profiles",
                f"Share of runs above each normalised score, over {over}; bands: {resampled}, pointwise.",
                profiles(matrices, labels),
                gapless,
            ),
            Illustration(
                "improvement",
                "Probability of improvement",
                "How probable it is that a run of the row's algorithm scores above one of the column's on "
                f"the same dataset, averaged over {over}; small: {resampled}.",
                improvement(matrices, labels),
                f"{gapless}, for two algorithms",
            ),
            *(
                Illustration(
                    f"metric-{_file_name(name)}",
                    f"{name} over training",
                    f"{name}, as training reported it; {band}.",
                    metric_curves(comparison, histories, name),
                    "a scored run with two values",
                )
                for name in metric_names(histories)
            ),
            Illustration(
                "runtime",
                "Time to train",
                "Mean wall time of the populations that the runs trained in, whose members train at once; "
                "whiskers: shortest and longest.",
                runtime(comparison, histories),
                "a run trained here to its end",
            ),
        )
        # a figure is shown without its table, too
        reasons = [
            reason
            for reason in comparison.incomparable
            if all(reason in cell.verdict.reasons for cell in comparison.cells)
        ]
        for item in drawn:
            if item.figure and reasons:
                # the title takes room of its own: the smallest figures have none to spare
                item.figure.set_figheight(item.figure.get_figheight() + _TITLE)
                item.figure.suptitle(f"N/C: {_text('; '.join(reasons), 60)}", color="#9B3F86", fontsize=7)
    return drawn


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's suffix, without a date.

    Raises:
        OSError: the file cannot be written.
    """
    import matplotlib as mpl

    date = "CreationDate" if path.suffix == ".pdf" else "Date"
    with mpl.rc_context(_STYLE):
        figure.savefig(path, metadata={date: None, "Creator": "harness"})


# -- the figures -------------------------------------------------------------------------------------------


def scatter(comparison: Comparison) -> Figure | None:
    """Published (x) against reproduced (y) means of all comparable cells that have both."""
    cells = [
        cell
        for cell in comparison.cells
        if cell.mean is not None and cell.published and not cell.verdict.reasons
    ]
    if not cells:
        return None
    figure, axes = _figure(_WIDTH, 3.1)
    for kind, (colour, marker) in _VERDICTS.items():
        ours = [cell for cell in cells if cell.verdict.kind is kind]
        points = [(cell.published.mean, cell.mean) for cell in ours if cell.published]
        if not points:
            continue
        bars = [(x, cell.interval) for (x, _), cell in zip(points, ours, strict=True) if cell.interval]
        axes.vlines(
            [x for x, _ in bars],
            [bar.low for _, bar in bars],
            [bar.high for _, bar in bars],
            colors=colour,
            linewidth=0.6,
            alpha=0.6,
        )
        xs, ys = zip(*points, strict=True)
        axes.scatter(xs, ys, s=11, c=colour, marker=marker, linewidths=0.7, label=f"{kind} ({len(points)})")
    ends = [*axes.get_xlim(), *axes.get_ylim()]
    low, high = min(ends), max(ends)
    axes.plot([low, high], [low, high], color="#555555", linewidth=0.7, zorder=0)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set(xlabel="published normalised score", ylabel="reproduced normalised score")
    axes.legend(loc="upper left", handletextpad=0.2, borderaxespad=0.2)
    return figure


def radar(comparison: Comparison) -> Figure | None:
    """Min-max radar of the algorithms: a spoke per row, of the groups' averages where rows are too many."""
    rows = [row for group in comparison.groups for row in group.rows]
    if len(rows) > _MOST_SPOKES:
        rows = [row for group in comparison.groups for row in group.summaries if row.kind == "average"]
    trained = [place for place, column in enumerate(comparison.columns) if column.algorithm]
    shown, columns = _without_gaps(rows, trained)
    if len(shown) < 3 or len(columns) < 2:
        return None
    figure, axes = _figure(_WIDTH, 3.4, projection="polar")
    angles = [2 * math.pi * index / len(shown) for index in range(len(shown))]
    spokes = [_scaled([row.cells[column].mean or 0.0 for column in columns]) for row in shown]
    for place, column in enumerate(columns):
        values = [spoke[place] for spoke in spokes]
        axes.plot(
            [*angles, angles[0]],
            [*values, values[0]],
            marker="o",
            label=_text(comparison.columns[column].label),
            **_line(column),
        )
    axes.set_xticks(angles, [_text(row.label) for row in shown])
    for angle, label in zip(angles, axes.get_xticklabels(), strict=True):
        across = math.cos(angle)
        label.set_horizontalalignment("left" if across > 0.1 else "right" if across < -0.1 else "center")
    axes.set_yticks([0, 0.5, 1], ["", "", ""])
    axes.set_ylim(-0.15, 1.05)
    axes.spines["polar"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def learning_curves(comparison: Comparison, histories: Histories) -> Figure | None:
    """Normalised score over training, a panel per group of datasets, a line per column."""
    return _panels(comparison, histories, lambda run: run.curve, "normalised score")


def metric_curves(comparison: Comparison, histories: Histories, name: str) -> Figure | None:
    """One metric over training, laid out as `learning_curves`."""
    return _panels(comparison, histories, lambda run: run.metrics.get(name, ()), name)


def metric_names(histories: Histories) -> list[str]:
    """The metrics that any scored run has, sorted."""
    return sorted(
        {name for runs in histories.values() for run in runs if run.score is not None for name in run.metrics}
    )


def aggregates(matrices: Matrices, labels: Mapping[str, str]) -> Figure | None:
    """Interval estimates of each aggregate: a panel per metric, a line per algorithm."""
    if not matrices:
        return None
    found = {name: aggregate(matrix, settings=_BOOTSTRAP) for name, matrix in matrices.items()}
    titles = {"mean": "mean", "median": "median", "iqm": "interquartile mean", "og": "optimality gap"}
    figure = _empty(_WIDTH, 0.7 + 0.32 * len(matrices))
    for panel, metric in enumerate(METRICS):
        axes = figure.add_subplot(2, 2, panel + 1)
        for place, (name, estimates) in enumerate(found.items()):
            one = estimates[panel]
            colour = _line(list(labels).index(name))["color"]
            axes.plot(
                [one.interval.low, one.interval.high], [place, place], color=colour, linewidth=3, alpha=0.45
            )
            axes.plot([one.value], [place], color=colour, marker="o")
        axes.set_yticks(
            range(len(found)), [labels[name] for name in found] if panel % 2 == 0 else [""] * len(found)
        )
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_title(titles[metric])
        axes.xaxis.set_major_locator(_few_ticks())
    return figure


def profiles(matrices: Matrices, labels: Mapping[str, str]) -> Figure | None:
    """Performance profiles: the share of runs above each score, a line per algorithm."""
    if not matrices:
        return None
    figure, axes = _figure(_WIDTH, 2.6)
    for name, matrix in matrices.items():
        one = profile(matrix, settings=_BOOTSTRAP)
        style = _line(list(labels).index(name))
        axes.plot(one.thresholds, one.shares, label=labels[name], **style)
        axes.fill_between(one.thresholds, one.low, one.high, color=style["color"], alpha=0.2, linewidth=0)
    axes.set(xlabel="normalised score", ylabel="share of runs above", ylim=(-0.02, 1.02))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def improvement(matrices: Matrices, labels: Mapping[str, str]) -> Figure | None:
    """How probable it is that one algorithm beats another, for every pair."""
    if len(matrices) < 2:
        return None
    names = list(matrices)
    size = len(names)
    figure, axes = _figure(_WIDTH, 0.8 + 0.38 * size)
    for one in improvements(matrices, _BOOTSTRAP):
        x, y = names.index(one.than), names.index(one.better)
        # purple to orange through white, which colour-blind readers tell apart
        strength = min(abs(one.probability - 0.5) * 2, 1.0)
        axes.fill(
            [x - 0.5, x + 0.5, x + 0.5, x - 0.5],
            [y - 0.5, y - 0.5, y + 0.5, y + 0.5],
            color="#E69F00" if one.probability > 0.5 else "#A58AC9",
            alpha=0.85 * strength,
            linewidth=0,
        )
        axes.text(x, y, f"{one.probability:.2f}", ha="center", va="bottom" if size <= 8 else "center")
        if size <= 8:
            ends = f"{one.interval.low:.2f}\N{EN DASH}{one.interval.high:.2f}"
            axes.text(x, y + 0.08, ends, ha="center", va="top", fontsize=4.5)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
    axes.set_xticks(range(size), [labels[name] for name in names], rotation=30, ha="right")
    axes.set_yticks(range(size), [labels[name] for name in names])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set(
        xlabel="\N{HORIZONTAL ELLIPSIS} than this one", ylabel="this one is better \N{HORIZONTAL ELLIPSIS}"
    )
    return figure


def runtime(comparison: Comparison, histories: Histories) -> Figure | None:
    """Wall time of finished runs trained here: a bar per column and device."""
    bars: list[tuple[int, str, list[float]]] = []
    for index, column in enumerate(comparison.columns):
        seconds: dict[str, list[float]] = {}
        for (_, name), runs in histories.items():
            for run in runs if name == column.id else ():
                if run.status == "finished" and run.origin == "trained" and run.wall_seconds is not None:
                    device = run.environment.get("device", "device not recorded")
                    seconds.setdefault(device, []).append(run.wall_seconds)
        bars += [(index, device, seconds[device]) for device in sorted(seconds)]
    if not bars:
        return None
    longest = max(max(values) for _, _, values in bars)
    unit, length = next(
        ((unit, length) for unit, length in (("h", 3600), ("min", 60)) if longest > 2 * length), ("s", 1)
    )
    devices = sorted({device for _, device, _ in bars})
    hatches = ("", "////", "....", "xxxx")
    figure, axes = _figure(_WIDTH, 0.7 + 0.2 * len(bars) + 0.12 * len(devices))
    for place, (index, device, values) in enumerate(bars):
        mean = statistics.fmean(values) / length
        axes.barh(
            place,
            mean,
            xerr=[[mean - min(values) / length], [max(values) / length - mean]],
            color=_line(index)["color"],
            edgecolor="white",
            linewidth=0.3,
            hatch=hatches[devices.index(device) % len(hatches)],
            error_kw={"linewidth": 0.7, "capsize": 1.5},
        )
    axes.set_yticks(
        range(len(bars)),
        [f"{_text(comparison.columns[index].label)} ({len(values)})" for index, _, values in bars],
    )
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"wall time [{unit}]; in brackets: runs")

    from matplotlib.patches import Patch

    handles = [
        Patch(
            facecolor="#BBBBBB", edgecolor="white", hatch=hatches[place % len(hatches)], label=_text(device)
        )
        for place, device in enumerate(devices)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=1)
    return figure


# -- what they share ---------------------------------------------------------------------------------------


def _empty(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _figure(width: float, height: float, **subplot: Any) -> tuple[Figure, Axes]:
    figure = _empty(width, height)
    return figure, figure.add_subplot(**subplot)


def _panels(
    comparison: Comparison,
    histories: Histories,
    points: Callable[[RunHistory], Sequence[tuple[int, float]]],
    label: str,
) -> Figure | None:
    # by group and by what is counted: an update and a step in the environment share no axis
    found: dict[tuple[str, str], dict[int, list[list[dict[int, float]]]]] = {}
    for group in comparison.groups:
        for cells in zip(*(row.cells for row in group.rows), strict=True):
            for cell in cells:
                runs = histories.get((cell.row, cell.column), ())
                curves = [points(run) for run in runs if run.score is not None]
                if cell.protocol and (drawable := [dict(curve) for curve in curves if len(curve) > 1]):
                    columns = found.setdefault((group.label, axis(cell.protocol)), {})
                    columns.setdefault(_place(comparison, cell.column), []).append(drawable)
    panels = [
        (title, over, lines)
        for (title, over), columns in found.items()
        if (lines := {place: band for place, cells in columns.items() if (band := _band(cells))})
    ]
    if not panels:
        return None
    one_axis = len({over for _, over, _ in panels}) == 1
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    figure = _empty(_WIDTH, 0.6 + 1.35 * down)
    drawn: dict[str, Any] = {}
    for place, (title, over, lines) in enumerate(panels):
        axes = figure.add_subplot(down, across, place + 1)
        for index, band in lines.items():
            steps, means, errors = zip(*band, strict=True)
            low, high = zip(*((m - e, m + e) for m, e in zip(means, errors, strict=True)), strict=True)
            style = _line(index)
            (line,) = axes.plot(steps, means, **style)
            axes.fill_between(steps, low, high, color=style["color"], alpha=0.2, linewidth=0)
            drawn.setdefault(_text(comparison.columns[index].label), line)
        axes.set_title(_text(title))
        if place % across == 0:
            axes.set_ylabel(_text(label))
        if place + across >= len(panels) or not one_axis:
            axes.set_xlabel(over)
        axes.xaxis.set_major_locator(_few_ticks())
        axes.xaxis.set_major_formatter(lambda step, _: _short(step))
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=3)
    return figure


def _place(comparison: Comparison, column: str) -> int:
    """Of a column in the table, which its colour and dashes go by."""
    return [each.id for each in comparison.columns].index(column)


def _band(cells: Sequence[Sequence[Mapping[int, float]]]) -> list[tuple[int, float, float]]:
    """(step, mean, standard error) at the steps that all runs of all cells have.

    Args:
        cells: for each cell its runs, each step -> value.
    """
    if not cells:
        return []
    steps = sorted(set.intersection(*(set(run) for runs in cells for run in runs)))
    band = []
    for step in thinned(steps, _MOST_STEPS):
        values = [[run[step] for run in runs] for runs in cells]
        mean = statistics.fmean(statistics.fmean(seeds) for seeds in values)
        # not statistics.variance, which takes exact fractions and most of the time of all figures
        variance = sum(_squared_error(seeds) for seeds in values)
        band.append((step, mean, math.sqrt(variance) / len(cells)))
    return band


def _squared_error(values: Sequence[float]) -> float:
    """The squared standard error of the mean; 0 for one value, which says nothing about it."""
    n = len(values)
    if n < 2:
        return 0.0
    mean = math.fsum(values) / n
    return math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n


def _score_matrices(comparison: Comparison) -> Matrices:
    """The scores of the algorithms, each (seeds, datasets), on the datasets where none lacks a seed."""
    try:
        return select(comparison).scores
    except IncompleteError:
        return {}


def _without_gaps(rows: Sequence[ComparedRow], places: Sequence[int]) -> tuple[list[ComparedRow], list[int]]:
    """The rows, and of these places of columns those, that together have a complete mean everywhere.

    Columns without any go first, then every row that still has a gap.
    """
    columns = [place for place in places if any(row.cells[place].complete for row in rows)]
    return [row for row in rows if all(row.cells[place].complete for place in columns)], columns


def _scaled(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 1.0 for value in values]


def _line(index: int) -> dict[str, Any]:
    """The colour and dashes of a column, by its place in the table."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _DASHES[index // len(_COLOURS) % len(_DASHES)],
    }


def _text(text: str, longest: int = _LONGEST) -> str:
    """A label: one line, not too long; matplotlib hides what begins with an underscore."""
    line = " ".join(escaping.terminal(text).split())
    line = line if len(line) <= longest else f"{line[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"
    return f" {line}" if line.startswith("_") else line


def _short(step: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(step) >= size:
            return f"{step / size:g}{unit}"
    return f"{step:g}"


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4)


def _file_name(text: str) -> str:
    """Letters, digits, '_' and '-' only, never a path; different for different texts."""
    plain = re.sub(r"[^A-Za-z0-9_]", "-", text)
    return plain if plain == text else f"{plain}-{zlib.crc32(text.encode()):08x}"
