"""Figures of the final scores: cell by cell, side by side, and over all datasets."""

from __future__ import annotations

import math

import pandas as pd

from harness.analysis.verdicts import VerdictKind
from harness.reports import frames, wording
from harness.reports.figures.drawing import (
    BOOTSTRAP,
    GAPLESS,
    RESAMPLED,
    SCORE,
    Drawn,
    Source,
    column_legend,
    figure_kind,
    restyled,
    short_text,
)

_WIDEST = 2.2  # inches: a circle of them, in a paper
_MOST_SPOKES = 8  # that leave room for their labels
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


@figure_kind(
    "scatter",
    "Published against reproduced",
    "A point per cell; on the diagonal both means are equal. Whiskers: the interval of our mean.",
    missing="a comparable cell with both numbers",
)
def scatter(source: Source) -> Drawn | None:
    """A point per cell, published across and measured upwards."""
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
    across, upwards = (source.look.wrapped(f"{which} {SCORE}", 0.8) for which in ("published", "reproduced"))
    axes.set(xlabel=across, ylabel=upwards)
    levels = {f"whiskers: {item.level:.0%} intervals" for cell in cells if (item := cell.interval)}
    axes.legend(title="".join(levels) or None, loc="upper left", handletextpad=0.2, borderaxespad=0.2)
    return Drawn(figure, data)


@figure_kind(
    "radar",
    "Algorithms side by side",
    "Mean scores, scaled on each spoke from the lowest algorithm (centre) to the highest (rim); "
    "only algorithms and spokes without gaps.",
    missing="three to eight rows, or averages of groups, in which three algorithms have all their seeds",
)
def radar(source: Source) -> Drawn | None:
    """A spoke per row, a line around per algorithm."""
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
    labels = {row.id: look.wrapped(short_text(row.label), 0.26) for row in rows}
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
    column_legend(figure, source, list(scaled.index))
    data = pd.DataFrame({"mean": means.stack(), "scaled": scaled.stack()}).rename_axis(["column", "row"])
    return Drawn(figure, data.reset_index())


@figure_kind(
    "aggregates", "All datasets together", f"Aggregates over {{over}}; bars: {RESAMPLED}.", missing=GAPLESS
)
def aggregates(source: Source) -> Drawn | None:
    """A panel per aggregate, a bar per algorithm."""
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
    figure.supxlabel(source.look.wrapped(f"{SCORE}; bars: {BOOTSTRAP.level:.0%} bootstrap intervals"))
    return Drawn(figure, data)


@figure_kind(
    "profiles",
    "Performance profiles",
    f"Share of runs above each normalised score, over {{over}}; bands: {RESAMPLED}, pointwise.",
    missing=GAPLESS,
)
def profiles(source: Source) -> Drawn | None:
    """A line per algorithm over thresholds of the score."""
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
        xlabel=source.look.wrapped(f"{SCORE}; bands: {BOOTSTRAP.level:.0%} pointwise", 0.85),
        ylabel="share of runs above",
    )
    restyled(axes)
    column_legend(figure, source, list(runs))
    data = frames.profiles(source.comparison, found)
    return Drawn(figure, data[data["kind"] == "runs"])


@figure_kind(
    "improvement",
    "Probability of improvement",
    "How probable it is that a run of X scores above one of Y on the same dataset, averaged over {over}; "
    f"bars: {RESAMPLED}.",
    missing=f"{GAPLESS}, for two algorithms",
)
def improvement(source: Source) -> Drawn | None:
    """A bar per pair of algorithms."""
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
        xlabel=source.look.wrapped(f"P(X > Y); bars: {BOOTSTRAP.level:.0%} bootstrap intervals", 0.7),
    )
    for each in figure.axes:
        restyled(each)
        each.grid(visible=False, axis="y")
        each.set_ylabel("")
    axes.axvline(0.5, color="#555555", linewidth=0.8, linestyle=":")
    axes.set_xlim(0, 1)
    axes.set_title("X", loc="left")
    axes.set_title("Y", loc="right")
    return Drawn(figure, frames.improvements(source.comparison, found))
