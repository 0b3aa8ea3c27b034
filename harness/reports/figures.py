"""Figures: from a compared table and its runs' histories to matplotlib figures, each with the data drawn.

All numbers are this program's own estimates; seaborn and rliable's plot functions draw them. A figure whose
data do not exist is None, so that no axis is ever empty. Nothing that a spec says is read as mathematics, and
saved files are the same bytes whenever and wherever they are written.
"""

from __future__ import annotations

import math
import re
import textwrap
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from harness import escaping
from harness.analysis.aggregates import BootstrapSettings, aggregate
from harness.analysis.history import thinned
from harness.analysis.intervals import IntervalSettings, interval
from harness.analysis.overall import Overall, overall
from harness.analysis.tuning import expected_best, sweeps
from harness.analysis.verdicts import VerdictKind
from harness.counting import count
from harness.errors import DataError, HarnessError, IncompleteError, UnknownNameError
from harness.reports import frames, wording
from harness.reports.protocols import axis

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from harness.analysis.comparison import ComparedCell, Comparison
    from harness.analysis.history import Histories, RunHistory
    from harness.analysis.overall import Selection
    from harness.specs.models import PaperFigure

WIDTHS = {"single": 3.3, "double": 6.9}  # inches: a column and the page of a two-column paper
_TITLE = 0.2  # inches: a line above a figure
_LONGEST = 28  # characters of a label
_MOST_STEPS = 50  # of a line
_MOST_RESAMPLED = 25  # of a line whose every step is resampled
_PANEL = 0.65  # inches: the least height of one panel of many
_PAGE = 8.8  # inches: the height of a page's text
_WIDEST = 2.2  # inches: a circle of them, in a paper
_MOST_SPOKES = 8  # that leave room for their labels
_MOST_NAMED = 3  # runs that a figure names
_CENTIMETRE = 1 / 2.54
_POINTS = 72  # of an inch
_LETTER = 0.56  # of the size of type: the width of a letter
_HANDLE = 6  # letters that a legend's line and the room around it take
_STYLE = Path(__file__).parent / "templates" / "figures.mplstyle"
_DASHES = ("-", "--", ":", "-.")
_COLORBLIND = (  # seaborn's palette of that name
    *("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"),
    *("#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"),
)
_BOOTSTRAP = BootstrapSettings(repetitions=2000)
_SCORE = "normalised score [points]"

_VERDICTS: dict[VerdictKind, tuple[str, str]] = {
    # colour and marker
    VerdictKind.OK: ("#009E73", "o"),
    VerdictKind.CLOSE: ("#56B4E9", "o"),
    VerdictKind.SAME: ("#009E73", "s"),
    VerdictKind.UNDECIDED: ("#8C8C8C", "D"),
    VerdictKind.BETTER: ("#0072B2", "^"),
    VerdictKind.WORSE: ("#D55E00", "v"),
    VerdictKind.MISSING: ("#E69F00", "X"),
    VerdictKind.INCOMPARABLE: ("#CC79A7", "s"),
}


@dataclass(frozen=True)
class Look:
    """How figures look.

    Attributes:
        width: in inches.
        scale: of all type: 1 for a paper, 2 for a talk.
        palette: seaborn's name of it.
    """

    width: float = WIDTHS["single"]
    scale: float = 1.0
    palette: str = "colorblind"

    @classmethod
    def of(cls, width: str = "single", style: str = "paper", palette: str = "colorblind") -> Look:
        """The look that options ask for: a width in centimetres or by name, ``paper`` or ``talk``.

        Raises:
            HarnessError: the width is none, or there is no such palette.
        """
        inches = WIDTHS.get(width)
        if inches is None:
            if not re.fullmatch(r"\d+(\.\d+)?", width) or not 4 <= float(width) <= 100:
                raise HarnessError(f"a width is single, double or from 4 to 100 (centimetres), not {width!r}")
            inches = float(width) * _CENTIMETRE
        look = cls(inches, 2.0 if style == "talk" else 1.0, palette)
        look.colours(1)
        return look

    def colours(self, count: int) -> Sequence[Any]:
        """So many of the palette's colours, from its beginning again where it has fewer.

        Raises:
            HarnessError: there is no such palette.
        """
        if self.palette == "colorblind":  # at hand: loading seaborn takes a second
            return [_COLORBLIND[place % len(_COLORBLIND)] for place in range(count)]
        import seaborn as sns

        try:
            found: Sequence[Any] = sns.color_palette(self.palette, count)
        except ValueError as error:
            raise HarnessError(
                f"seaborn has no palette {self.palette!r}; colorblind, deep and tab10 are some"
            ) from error
        return found

    @property
    def size(self) -> float:
        """Of type, in points."""
        return 7 * self.scale

    @property
    def letters(self) -> float:
        """How many letters the figure's width has room for."""
        return self.width * _POINTS / (_LETTER * self.size)

    def wrapped(self, text: str, part: float = 1.0) -> str:
        """Text broken at spaces and hyphens into lines that a part of the figure's width has room for."""
        return textwrap.fill(text, int(part * self.letters))

    @property
    def settings(self) -> dict[Any, Any]:
        """Matplotlib's."""
        import matplotlib as mpl

        line = 0.6 * self.scale
        return mpl.rc_params_from_file(_STYLE, use_default_template=False) | {
            "font.size": self.size,
            **dict.fromkeys(
                ("legend.fontsize", "legend.title_fontsize", "xtick.labelsize", "ytick.labelsize"),
                0.93 * self.size,
            ),
            **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), line),
            "grid.linewidth": 0.8 * line,
            "lines.linewidth": 1.8 * line,
            "lines.markersize": 3 * self.scale,
        }


@dataclass(frozen=True)
class Illustration:
    """A figure, or why there is none.

    Attributes:
        name: of its files, without an ending.
        title: a line.
        caption: what is drawn, with its statistics.
        missing: what it would need.
        figure: the figure; None if its data do not exist.
        data: what is drawn, a line per point.
    """

    name: str
    title: str
    caption: str
    missing: str
    figure: Figure | None = None
    data: pd.DataFrame = field(default_factory=pd.DataFrame)


class _Drawn(NamedTuple):
    """A figure, a line per point of it, and a sentence that its caption ends with."""

    figure: Figure | None = None
    data: pd.DataFrame = pd.DataFrame()
    note: str = ""


def illustrations(
    comparison: Comparison,
    histories: Callable[[], Histories],
    kinds: Sequence[str] | None = None,
    look: Look | None = None,
) -> tuple[Illustration, ...]:
    """Figures of a table, in the order asked for.

    Args:
        comparison: the table.
        histories: reads those of its runs; called where a kind needs them.
        kinds: of `KINDS`, or ids of the paper's figures in the table's spec; None for all of `KINDS` that the
            table has columns for.
        look: how they look.

    Raises:
        UnknownNameError: there is no such kind.
    """
    import matplotlib as mpl

    known = {figure.id: _of_paper(figure) for figure in comparison.table.figures} | KINDS
    if unknown := [kind for kind in kinds or () if kind not in known]:
        raise UnknownNameError("kind of figure", unknown[0], known)
    look = look or Look()
    source = _Source(comparison, histories, look)
    with mpl.rc_context(look.settings):
        drawn = tuple(item for kind in kinds or KINDS for item in known[kind](source))
        # a figure is shown without its table, too
        reasons = [
            reason
            for reason in comparison.incomparable
            if all(reason in cell.verdict.reasons for cell in comparison.cells)
        ]
        for item in drawn:
            if item.figure and reasons:
                # the title takes room of its own: the smallest figures have none to spare
                item.figure.set_figheight(item.figure.get_figheight() + _TITLE * look.scale)
                item.figure.suptitle(
                    look.wrapped(f"N/C: {_text('; '.join(reasons), 60)}", 0.8), color="#9B3F86"
                )
            if item.figure and (layout := item.figure.get_layout_engine()):
                # once, not before every time that it is saved
                layout.execute(item.figure)
                item.figure.set_layout_engine("none")
    return tuple(item for item in drawn if item.figure or kinds or item.name not in _SELDOM)


def save(figure: Figure, path: Path, look: Look | None = None) -> None:
    """Write a figure in the format of the path's suffix, without a date.

    Raises:
        OSError: the file cannot be written.
    """
    import matplotlib as mpl

    dates = {
        ".pdf": {"CreationDate": None, "Creator": "harness"},
        ".svg": {"Date": None, "Creator": "harness"},
    }
    with mpl.rc_context((look or Look()).settings):
        figure.savefig(path, metadata=dates.get(path.suffix), dpi=300)


def write(drawn: Sequence[Illustration], folder: Path, form: str, look: Look) -> Iterator[Path]:
    """Write figures, and what each is drawn from beside it as CSV.

    Args:
        drawn: the figures; those without data are left out.
        folder: where to; it is made.
        form: ``pdf``, ``svg`` or ``png``.
        look: how they look.

    Yields:
        the figures' paths.

    Raises:
        DataError: a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for item in drawn:
            if item.figure:
                path = folder / f"{item.name}.{form}"
                save(item.figure, path, look)
                path.with_suffix(".csv").write_text(frames.csv(item.data), encoding="utf-8")
                yield path
    except OSError as error:
        raise DataError(f"{error.filename or folder} cannot be written: {error.strerror}") from error


@dataclass(frozen=True)
class _Source:
    """What figures are drawn from."""

    comparison: Comparison
    read: Callable[[], Histories]
    look: Look

    @cached_property
    def histories(self) -> Histories:
        """Of the table's runs, read when they are first asked for."""
        return self.read()

    @cached_property
    def labels(self) -> dict[str, str]:
        """Column id -> label, with the id where others have it, too."""
        labels = {column.id: _text(column.label) for column in self.comparison.columns}
        shared = Counter(labels.values())
        return {name: f"{label} ({name})" if shared[label] > 1 else label for name, label in labels.items()}

    @cached_property
    def colours(self) -> dict[str, Any]:
        """Column id -> colour, by its place in the table, whichever columns are drawn."""
        ids = list(self.labels)
        return dict(zip(ids, self.look.colours(len(ids)), strict=True))

    @cached_property
    def dashes(self) -> dict[str, Any]:
        """Column id -> dashes, others once a palette's colours begin anew."""
        return {name: _DASHES[place // 10 % len(_DASHES)] for place, name in enumerate(self.labels)}

    @cached_property
    def overall(self) -> Overall | None:
        """Statistics over the datasets on which no algorithm lacks a seed; None where there is none."""
        pairs = _BOOTSTRAP.repetitions
        try:
            return overall(
                self.comparison, ("iqm", "mean", "median", "og"), _BOOTSTRAP, pairs=pairs, profiles=True
            )
        except IncompleteError:
            return None

    @property
    def over(self) -> str:
        """What the statistics are over."""
        datasets = len(self.overall.selection.datasets) if self.overall else 0
        return f"the {count(datasets, 'dataset')} on which no algorithm lacks a seed"

    def empty(self, height: float) -> Figure:
        """A figure of the look's width; height in inches of a single column."""
        from matplotlib.figure import Figure

        return Figure(figsize=(self.look.width, height * self.look.scale), layout="constrained")


_GAPLESS = "a dataset on which every measured algorithm has all its seeds, two or more"
_RESAMPLED = (
    f"{_BOOTSTRAP.level:.0%} stratified percentile bootstrap over seeds, {_BOOTSTRAP.repetitions} resamples, "
    f"seed {_BOOTSTRAP.seed}"
)


_Kind = Callable[[_Source], Iterator[Illustration]]
_Points = Callable[["RunHistory"], Sequence[tuple[int, float]]]  # (step, value) of a run, in order


def _kind(
    name: str, title: str, caption: str, *, missing: str
) -> Callable[[Callable[[_Source], _Drawn | None]], _Kind]:
    """A kind with one figure, made of what draws it; ``{over}`` in the caption are the datasets behind it."""

    def of(draw: Callable[[_Source], _Drawn | None]) -> _Kind:
        def kind(source: _Source) -> Iterator[Illustration]:
            figure, data, note = draw(source) or _Drawn()
            over = source.over if "{over}" in caption else ""
            said = f"{caption.replace('{over}', over)} {note}".rstrip()
            yield Illustration(name, title, said, missing, figure, data)

        return kind

    return of


# -- the figures -------------------------------------------------------------------------------------------


@_kind(
    "aggregates", "All datasets together", f"Aggregates over {{over}}; bars: {_RESAMPLED}.", missing=_GAPLESS
)
def _aggregates(source: _Source) -> _Drawn | None:
    found = source.overall
    if found is None:
        return None
    import matplotlib as mpl
    import seaborn.objects as so

    across = 4 if source.look.width / source.look.scale > 5 else 2
    titles = {
        metric: source.look.wrapped(title, 0.85 / across)
        for metric, title in (wording.METRICS | {"og": "Opt. gap (less is better)"}).items()
    }
    data = frames.aggregates(source.comparison, found).assign(
        label=lambda each: each["column"].map(source.labels), panel=lambda each: each["metric"].map(titles)
    )
    figure = source.empty(0.75 + 0.16 * len(found.aggregates) * (4 // across))
    (
        so.Plot(data, y="label", color="column")
        .facet("panel", wrap=across)
        .add(so.Range(linewidth=5 * source.look.scale, alpha=0.55), legend=False, xmin="low", xmax="high")
        .add(so.Dash(color="black", width=0.5, linewidth=1.2 * source.look.scale), legend=False, x="value")
        .scale(x=so.Continuous().tick(upto=4), color=source.colours)
        .share(x=False)
        .label(x="", y="")
        .theme({name: mpl.rcParams[name] for name in so.Plot.config.theme})
        .on(figure)
        .plot()
    )
    figure.supxlabel(source.look.wrapped(f"{_SCORE}; bars: {_BOOTSTRAP.level:.0%} bootstrap intervals"))
    return _Drawn(figure, data)


@_kind(
    "profiles",
    "Performance profiles",
    f"Share of runs above each normalised score, over {{over}}; bands: {_RESAMPLED}, pointwise.",
    missing=_GAPLESS,
)
def _profiles(source: _Source) -> _Drawn | None:
    found = source.overall
    if found is None:
        return None
    from rliable import plot_utils

    runs = {name: both[0] for name, both in found.profiles.items()}
    figure = source.empty(2.4)
    axes = figure.subplots()
    plot_utils.plot_performance_profiles(
        {name: one.shares for name, one in runs.items()},
        next(iter(runs.values())).thresholds,
        {name: (one.low, one.high) for name, one in runs.items()},
        ax=axes,
        colors=source.colours,
        linestyles=source.dashes,
        xlabel=source.look.wrapped(f"{_SCORE}; bands: {_BOOTSTRAP.level:.0%} pointwise", 0.85),
        ylabel="share of runs above",
    )
    _restyled(axes)
    _legend(figure, source, list(runs))
    data = frames.profiles(source.comparison, found)
    return _Drawn(figure, data[data["kind"] == "runs"])


@_kind(
    "improvement",
    "Probability of improvement",
    "How probable it is that a run of X scores above one of Y on the same dataset, averaged over {over}; "
    f"bars: {_RESAMPLED}.",
    missing=f"{_GAPLESS}, for two algorithms",
)
def _improvement(source: _Source) -> _Drawn | None:
    found = source.overall
    if found is None or not found.improvements:
        return None
    from rliable import plot_utils

    # of each pair the way round that is not below a half
    shown = [
        one if one.probability >= 0.5 else other
        for one, other in zip(*[iter(found.improvements)] * 2, strict=True)
    ]
    pairs = {f"{source.labels[one.better]}\0{source.labels[one.than]}": one for one in shown}
    figure = source.empty(0.7 + 0.2 * len(pairs))
    axes = figure.subplots()
    plot_utils.plot_probability_of_improvement(
        {name: one.probability for name, one in pairs.items()},
        {name: (one.interval.low, one.interval.high) for name, one in pairs.items()},
        pair_separator="\0",
        ax=axes,
        colors=[source.colours[one.better] for one in pairs.values()],
        xlabel=source.look.wrapped(f"P(X > Y); bars: {_BOOTSTRAP.level:.0%} bootstrap intervals", 0.7),
    )
    for each in figure.axes:
        _restyled(each)
        each.grid(visible=False, axis="y")
        each.set_ylabel("")
    axes.axvline(0.5, color="#555555", linewidth=0.8, linestyle=":")
    axes.set_xlim(0, 1)
    axes.set_title("X", loc="left")
    axes.set_title("Y", loc="right")
    return _Drawn(figure, frames.improvements(source.comparison, found))


@_kind(
    "scatter",
    "Published against reproduced",
    "A point per cell; on the diagonal both means are equal. Whiskers: the interval of our mean.",
    missing="a comparable cell with both numbers",
)
def _scatter(source: _Source) -> _Drawn | None:
    import seaborn as sns

    cells = [
        cell
        for cell in source.comparison.cells
        if cell.mean is not None and cell.published and not cell.verdict.reasons
    ]
    if not cells:
        return None
    counts = {kind: sum(cell.verdict.kind is kind for cell in cells) for kind in _VERDICTS}
    names = {kind: f"{kind} ({number})" for kind, number in counts.items() if number}
    data = pd.DataFrame(
        {
            "dataset": cell.row,
            "column": cell.column,
            "published": cell.published.mean if cell.published else None,
            "reproduced": cell.mean,
            "low": cell.interval.low if cell.interval else cell.mean,
            "high": cell.interval.high if cell.interval else cell.mean,
            "verdict": names[cell.verdict.kind],
        }
        for cell in cells
    )
    figure = source.empty(min(source.look.width / source.look.scale, 4.0))
    axes = figure.subplots()
    colours = {name: _VERDICTS[kind][0] for kind, name in names.items()}
    shades = data["verdict"].map(colours)
    axes.vlines(data["published"], data["low"], data["high"], colors=shades, alpha=0.5, linewidth=0.6)
    sns.scatterplot(
        data,
        x="published",
        y="reproduced",
        hue="verdict",
        style="verdict",
        hue_order=list(colours),
        style_order=list(colours),
        palette=colours,
        markers={name: _VERDICTS[kind][1] for kind, name in names.items()},
        s=14 * source.look.scale,
        ax=axes,
    )
    ends = [*axes.get_xlim(), *axes.get_ylim()]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color="#555555", linewidth=0.7, zorder=0)
    axes.set(xlim=(min(ends), max(ends)), ylim=(min(ends), max(ends)), aspect="equal")
    across, upwards = (source.look.wrapped(f"{which} {_SCORE}", 0.8) for which in ("published", "reproduced"))
    axes.set(xlabel=across, ylabel=upwards)
    levels = {f"whiskers: {item.level:.0%} intervals" for cell in cells if (item := cell.interval)}
    axes.legend(title="".join(levels) or None, loc="upper left", handletextpad=0.2, borderaxespad=0.2)
    return _Drawn(figure, data)


@_kind(
    "radar",
    "Algorithms side by side",
    "Mean scores, scaled on each spoke from the lowest algorithm (centre) to the highest (rim); "
    "only algorithms and spokes without gaps.",
    missing="three to eight rows, or averages of groups, in which three algorithms have all their seeds",
)
def _radar(source: _Source) -> _Drawn | None:
    comparison = source.comparison
    rows = [row for group in comparison.groups for row in group.rows]
    if len(rows) > _MOST_SPOKES:
        rows = [row for group in comparison.groups for row in group.summaries if row.kind == "average"]
    trained = {column.id for column in comparison.columns if column.algorithm}
    # algorithms without any go first, then every row that still has a gap
    means = pd.DataFrame(
        {
            row.id: {cell.column: cell.mean for cell in row.cells if cell.complete and cell.column in trained}
            for row in rows
        },
        [name for name in source.labels if name in trained],
        dtype=float,
    )
    means = means.dropna(how="all").dropna(axis="columns")
    if min(means.shape) < 3:
        return None
    scaled = ((means - means.min()) / (means.max() - means.min())).fillna(1.0)
    look = source.look
    labels = {row.id: look.wrapped(_text(row.label), 0.26) for row in rows}
    # the layout leaves no room beside a circle: what its labels need there, its height must leave
    longest = max(len(line) for label in labels.values() for line in label.splitlines())
    across = look.width * (1 - 2 * (longest + 3) / look.letters)
    figure = source.empty(0.75 + min(across / look.scale, _WIDEST))
    axes = figure.add_subplot(projection="polar")
    angles = [2 * math.pi * index / len(scaled.columns) for index in range(len(scaled.columns))]
    for name, values in scaled.iterrows():
        colour, dashes = source.colours[str(name)], source.dashes[str(name)]
        around = [*values, values.iloc[0]]
        axes.plot([*angles, 0], around, marker="o", color=colour, linestyle=dashes, clip_on=False)
    axes.set_xticks(angles, [labels[row] for row in scaled.columns])
    for angle, label in zip(angles, axes.get_xticklabels(), strict=True):
        side = math.cos(angle)
        label.set_horizontalalignment("left" if side > 0.1 else "right" if side < -0.1 else "center")
    axes.set_yticks([0, 0.5, 1], ["", "", ""])
    axes.set_ylim(-0.15, 1.05)
    axes.spines["polar"].set_visible(False)
    _legend(figure, source, list(scaled.index))
    data = pd.DataFrame({"mean": means.stack(), "scaled": scaled.stack()}).rename_axis(["column", "row"])
    return _Drawn(figure, data.reset_index())


@_kind(
    "curves",
    "Learning curves",
    "Normalised score over training, a panel per dataset; lines: mean over seeds.",
    missing="a scored run with two evaluations",
)
def _curves(source: _Source) -> _Drawn | None:
    return _panels(source, {_SCORE: _curve})


def _metrics(source: _Source) -> Iterator[Illustration]:
    for name in metric_names(source.histories):
        kind = _kind(
            f"metric-{_file_name(name)}",
            f"{name} over training",
            f"{name}, as training reported it, a panel per dataset; lines: mean over seeds.",
            missing="a scored run with two values",
        )
        yield from kind(partial(_panels, quantities={name: partial(_metric, name)}))(source)


def _curve(run: RunHistory) -> Sequence[tuple[int, float]]:
    return run.curve


def _metric(name: str, run: RunHistory) -> Sequence[tuple[int, float]]:
    return run.metrics.get(name, ())


def _of_paper(wanted: PaperFigure) -> _Kind:
    """A figure of the paper, as the table's spec has it."""
    quantities: dict[str, _Points] = {
        _SCORE if name == "score" else name: _curve if name == "score" else partial(_metric, name)
        for name in wanted.draws
    }
    kind = _kind(
        wanted.id,
        wanted.title,
        f"{wanted.title}. Over training: {', '.join(quantities)}; lines: mean over seeds.",
        missing=f"a scored run with two values of {' or '.join(quantities)}",
    )
    return kind(partial(_panels, quantities=quantities, columns=wanted.columns or None))


def metric_names(histories: Histories) -> list[str]:
    """The metrics that any scored run has, sorted."""
    return sorted(
        {name for runs in histories.values() for run in runs if run.score is not None for name in run.metrics}
    )


@_kind(
    "efficiency",
    "IQM over training",
    f"Interquartile mean over {{over}}, at the evaluations that all their runs have; bands: {_RESAMPLED}.",
    missing=f"{_GAPLESS}, with two evaluations of each run",
)
def _efficiency(source: _Source) -> _Drawn | None:
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
            ylabel=f"IQM, {_SCORE}",
        )
    _restyled(axes)
    said = f"{data['over'].iloc[0]}; bands: {_BOOTSTRAP.level:.0%} bootstrap intervals"
    axes.set_xlabel(source.look.wrapped(said, 0.85))
    axes.xaxis.set_major_locator(_few_ticks())
    axes.xaxis.set_major_formatter(lambda step, _: _short(step))
    _legend(figure, source, list(by_column))
    return _Drawn(figure, data)


def _iqm_curves(source: _Source, selection: Selection) -> Iterator[dict[str, Any]]:
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
            [one] = aggregate(np.array([[run[step] for run in each] for each in runs]), ("iqm",), _BOOTSTRAP)
            yield {
                "column": name,
                "label": source.labels[name],
                "over": overs.get(name, ""),
                "step": step,
                "value": one.value,
                "low": one.interval.low,
                "high": one.interval.high,
            }


def _sensitivity(source: _Source) -> Iterator[Illustration]:
    data = pd.DataFrame(_over_settings(source), columns=[*_SWEPT])
    for name in [name for name in data["setting"].unique() if name] or [""]:
        kind = _kind(
            f"sensitivity-{_file_name(name)}" if name else "sensitivity",
            f"Sensitivity to {name}",
            f"Score over values of {name}, which stand at equal distances, all else equal; bars: intervals "
            "over seeds; dotted: columns that are on no such line.",
            missing="three columns that differ in the value of one setting alone, with scores",
        )
        yield from kind(partial(_over_values, data=data, name=name))(source)


_SWEPT = ("dataset", "setting", "line", "value", "mean", "low", "high")


def _over_settings(source: _Source) -> Iterator[tuple[object, ...]]:
    """Each score that is on a line over a setting's values, and as setting '' those that are on none."""
    labels = {column.id: column.label for column in source.comparison.columns}

    def point(cell: ComparedCell, setting: str, line: str, value: float) -> tuple[object, ...]:
        ends = (cell.interval.low, cell.interval.high) if cell.interval else (cell.mean, cell.mean)
        return (cell.row, setting, _text(line), value, cell.mean, *ends)

    for row in (row for group in source.comparison.groups for row in group.rows):
        found = sweeps(row.cells)
        for sweep in found:
            line = _common([labels[cell.column] for cell in sweep.cells.values()])
            yield from (point(cell, sweep.setting, line, value) for value, cell in sweep.cells.items())
        swept = {cell.column for sweep in found for cell in sweep.cells.values()}
        for cell in row.cells if found else ():
            if cell.settings and cell.mean is not None and cell.column not in swept:
                yield point(cell, "", labels[cell.column], math.nan)


def _common(labels: Sequence[str]) -> str:
    """The parts between commas that labels share, the label itself where it stands alone."""
    parts = [label.split(", ") for label in labels]
    shared = [part for part in parts[0] if all(part in others for others in parts)]
    return ", ".join(shared) or f"{labels[0]} to {labels[-1]}"


def _over_values(source: _Source, data: pd.DataFrame, name: str) -> _Drawn | None:
    """A panel per dataset: a line over the values of a setting for each rest of the settings."""
    rows = data.loc[data["setting"] == name, "dataset"].unique() if name else []
    if not len(rows):
        return None
    data = data[data["setting"].isin([name, ""]) & data["dataset"].isin(rows)]
    lines, values = list(data["line"].unique()), sorted(data["value"].dropna().unique())
    places = {value: place for place, value in enumerate(values)}
    colours = dict(zip(lines, source.look.colours(len(lines)), strict=True))
    figure, panels, across = _grid(source, len(rows))
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
        axes.set_title(source.look.wrapped(_text(str(dataset)), 1 / across), fontsize="small")
        axes.yaxis.set_major_locator(_few_ticks())
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    figure.supylabel(_SCORE)
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    _below(figure, source, [handles[line] for line in lines], lines, _text(name))
    return _Drawn(figure, data)


@_kind(
    "tuning",
    "What tuning brings",
    "Expected best mean score of so many settings drawn at random, chosen by the very scores that are shown "
    "(Dodge et al., 2019, without replacement), averaged over the datasets on which no setting lacks a seed. "
    "The best of noisy means is too high on average.",
    missing="a column that shows the best of others, and a dataset on which none of these lacks a seed",
)
def _tuning(source: _Source) -> _Drawn | None:
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
        label = _text(_common([comparison.labels[name] for name in settings]))
        best = [expected_best([cells[row, name].mean or 0.0 for name in settings]) for row in rows]
        means = [math.fsum(scores) / len(rows) for scores in zip(*best, strict=True)]
        tried = range(1, len(means) + 1)
        axes.plot(tried, means, marker="o", color=colour, label=label)
        lines += [{"line": label, "settings": k, "mean": mean} for k, mean in zip(tried, means, strict=True)]
    data = pd.DataFrame(lines)
    axes.set_xticks(sorted(data["settings"].unique()))
    axes.set_xlabel(f"settings tried; over {count(len(rows), 'dataset')}")
    axes.set_ylabel(source.look.wrapped(f"expected best {_SCORE}", 0.6))
    _below(figure, source, *axes.get_legend_handles_labels())
    return _Drawn(figure, data)


@_kind(
    "runtime",
    "Time to train",
    "Mean wall time of the populations that the runs trained in, whose members train at once; "
    "whiskers: shortest and longest.",
    missing="a run trained here to its end",
)
def _runtime(source: _Source) -> _Drawn | None:
    import seaborn as sns

    data = pd.DataFrame(
        {
            "dataset": dataset,
            "column": column,
            "label": source.labels[column],
            "seed": run.seed,
            "device": _text(run.environment.get("device", "device not recorded")),
            "seconds": run.wall_seconds,
        }
        for column in source.labels
        for (dataset, name), runs in source.histories.items()
        for run in runs
        if name == column
        and run.status == "finished"
        and run.origin == "trained"
        and run.wall_seconds is not None
    )
    if data.empty:
        return None
    longest = data["seconds"].max()
    unit, length = next(
        ((unit, length) for unit, length in (("h", 3600), ("min", 60)) if longest > 2 * length), ("s", 1)
    )
    numbers = data.groupby("column", sort=False).size()
    data["bar"] = [
        f"{label} ({numbers[column]})" for label, column in zip(data["label"], data["column"], strict=True)
    ]
    data["time"] = data["seconds"] / length
    devices = sorted(data["device"].unique())
    figure = source.empty(0.75 + 0.16 * len(numbers) * len(devices) + 0.12 * len(devices))
    axes = figure.subplots()
    sns.barplot(
        data,
        x="time",
        y="bar",
        hue="device",
        hue_order=devices,
        palette=source.look.palette,
        errorbar=("pi", 100),
        err_kws={"linewidth": 0.8},
        ax=axes,
    )
    axes.grid(visible=False, axis="y")
    axes.set(
        xlabel=source.look.wrapped(
            f"wall time [{unit}]; whiskers: shortest and longest; in brackets: runs", 0.6
        ),
        ylabel="",
    )
    handles, names = axes.get_legend_handles_labels()
    if own := axes.get_legend():
        own.remove()
    figure.legend(handles, names, loc="outside lower center")
    return _Drawn(figure, data.drop(columns=["bar", "time"]))


#: Kind -> what draws its figures; `metrics` has one for each metric, `sensitivity` for each setting.
KINDS: dict[str, _Kind] = {
    "scatter": _scatter,
    "radar": _radar,
    "curves": _curves,
    "efficiency": _efficiency,
    "aggregates": _aggregates,
    "profiles": _profiles,
    "improvement": _improvement,
    "metrics": _metrics,
    "sensitivity": _sensitivity,
    "tuning": _tuning,
    "runtime": _runtime,
}


_SELDOM = {"sensitivity", "tuning"}  # few tables have columns for them: not missed where nobody asks


# -- what they share ---------------------------------------------------------------------------------------


def _panels(
    source: _Source, quantities: Mapping[str, _Points], columns: Collection[str] | None = None
) -> _Drawn | None:
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
    figure, grid, across = _grid(source, len(panels))
    for place, (axes, ((*_, over), part)) in enumerate(zip(grid, panels, strict=True)):
        for name, line in part.groupby("column", sort=False):
            step, mean, low, high = (line[each].to_numpy() for each in ("step", "mean", "low", "high"))
            colour = source.colours[name]
            axes.plot(step, mean, color=colour, linestyle=source.dashes[name], label=source.labels[name])
            axes.fill_between(step, low, high, color=colour, alpha=0.2, linewidth=0)
        titles = [source.look.wrapped(_text(part[name].iloc[0]), 1 / across) for name in several]
        axes.set_title("\n".join(titles), fontsize="small")
        axes.tick_params(labelsize="small")
        if len(overs) == 1:
            axes.set_xlim(0, data["step"].max())
            axes.tick_params(labelbottom=place >= len(panels) - across)
        axes.xaxis.set_major_locator(_few_ticks(3))
        axes.yaxis.set_major_locator(_few_ticks(3))
        axes.xaxis.set_major_formatter(lambda step, _: _short(step))
        axes.set_xlabel("" if len(overs) == 1 else str(over))
    shared = [*overs] if len(overs) == 1 else []
    shared.append(f"bands: 95% {data['method'].iloc[0]}" if data["method"].any() else "one seed, no band")
    cut = _cut_off(source, cells, next(iter(quantities.values())))
    named = [*cut[:_MOST_NAMED], *([f"{len(cut) - _MOST_NAMED} more"] if len(cut) > _MOST_NAMED else [])]
    lines = ["; ".join(shared), *([f"cut off, not drawn: {', '.join(named)}"] if cut else [])]
    if len(quantities) == 1:
        figure.supylabel(_text(next(iter(quantities))))
        data = data.drop(columns="quantity")
    _legend(figure, source, list(data["column"].unique()), "\n".join(lines))
    return _Drawn(figure, data, f"Bands: 95% {data['method'].iloc[0] or 'of one seed, none'}.")


def _grid(source: _Source, panels: int) -> tuple[Figure, list[Axes], int]:
    """A figure with so many panels, no higher than a page; and how many are side by side."""
    scale = source.look.scale
    across = min(
        panels, max(2, round(source.look.width / scale / 1.7), -(-panels // int(_PAGE / _PANEL / scale)))
    )
    down = -(-panels // across)
    figure = source.empty(min(0.75 + 1.15 * down, _PAGE / scale))
    grid = list(figure.subplots(down, across, squeeze=False).ravel())
    for axes in grid[panels:]:
        axes.remove()
    return figure, grid[:panels], across


def _band(source: _Source, cell: ComparedCell, points: _Points) -> Iterator[dict[str, Any]]:
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


def _cut_off(source: _Source, cells: Sequence[ComparedCell], points: _Points) -> list[str]:
    """The runs that have points but no score: failed or under way."""
    return [
        f"{_text(cell.row)} / {source.labels[cell.column]} seed {run.seed} at {_short(curve[-1][0])}"
        for cell in cells
        for run in source.histories.get((cell.row, cell.column), ())
        if run.score is None and run.origin == "trained" and (curve := points(run))
    ]


def _restyled(axes: Axes) -> None:
    """What rliable draws in sizes of its own, in the look's."""
    import matplotlib as mpl

    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set_fontsize(mpl.rcParams["axes.labelsize"])
    axes.tick_params(labelsize=mpl.rcParams["xtick.labelsize"])
    for place, spine in axes.spines.items():
        spine.set_linewidth(mpl.rcParams["axes.linewidth"])
        if place in ("left", "bottom"):
            spine.set_position(("outward", 0))
    for line in axes.lines:
        line.set_linewidth(mpl.rcParams["lines.linewidth"])


def _legend(figure: Figure, source: _Source, names: Sequence[str], above: str = "") -> None:
    """Below the figure: the columns drawn, each with its line, and what must be said above them."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=source.colours[name], linestyle=source.dashes[name]) for name in names]
    _below(figure, source, handles, [source.labels[name] for name in names], above)


def _below(
    figure: Figure, source: _Source, handles: Sequence[Artist], labels: Sequence[str], above: str = ""
) -> None:
    """A legend below the figure, with what must be said above it."""
    fitting = int(source.look.letters // (max(map(len, labels)) + _HANDLE))
    across = max(1, min(fitting, round(source.look.width / source.look.scale)))
    title = "\n".join(map(source.look.wrapped, above.splitlines()))
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=across, title=title or None)
    legend.get_title().set_multialignment("center")


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


def _few_ticks(most: int = 4) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=most)


def _file_name(text: str) -> str:
    """Letters, digits, '_' and '-' only, never a path; different for different texts."""
    plain = re.sub(r"[^A-Za-z0-9_]", "-", text)
    return plain if plain == text else f"{plain}-{zlib.crc32(text.encode()):08x}"
