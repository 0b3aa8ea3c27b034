"""What every kind of figure is drawn with: its source, panels, legends and labels."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from harness import escaping
from harness.analysis.aggregates import BootstrapSettings
from harness.analysis.overall import Overall, overall
from harness.counting import count
from harness.errors import IncompleteError
from harness.reports.figures.look import Look

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from harness.analysis.comparison import Comparison
    from harness.analysis.history import Histories

SCORE = "normalised score [points]"
BOOTSTRAP = BootstrapSettings(repetitions=2000)
GAPLESS = "a dataset on which every measured algorithm has all its seeds, two or more"
RESAMPLED = (
    f"{BOOTSTRAP.level:.0%} stratified percentile bootstrap over seeds, {BOOTSTRAP.repetitions} resamples, "
    f"seed {BOOTSTRAP.seed}"
)
_LONGEST = 28  # characters of a label
_HANDLE = 6  # letters that a legend's line and the room around it take
_PAGE = 8.8  # inches: the height of a page's text
_PANEL = 0.65  # inches: the least height of one panel of many
_DASHES = ("-", "--", ":", "-.")


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


class Drawn(NamedTuple):
    """A figure, a line per point of it, and a sentence that its caption ends with."""

    figure: Figure | None = None
    data: pd.DataFrame = pd.DataFrame()
    note: str = ""


@dataclass(frozen=True)
class Source:
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
        labels = {column.id: short_text(column.label) for column in self.comparison.columns}
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
        pairs = BOOTSTRAP.repetitions
        try:
            return overall(
                self.comparison, ("iqm", "mean", "median", "og"), BOOTSTRAP, pairs=pairs, profiles=True
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


Kind = Callable[[Source], Iterator[Illustration]]


def figure_kind(
    name: str, title: str, caption: str, *, missing: str
) -> Callable[[Callable[[Source], Drawn | None]], Kind]:
    """A kind with one figure, made of what draws it; ``{over}`` in the caption are the datasets behind it."""

    def of(draw: Callable[[Source], Drawn | None]) -> Kind:
        def kind(source: Source) -> Iterator[Illustration]:
            figure, data, note = draw(source) or Drawn()
            over = source.over if "{over}" in caption else ""
            said = f"{caption.replace('{over}', over)} {note}".rstrip()
            yield Illustration(name, title, said, missing, figure, data)

        return kind

    return of


def panel_grid(source: Source, panels: int) -> tuple[Figure, list[Axes], int]:
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


def column_legend(figure: Figure, source: Source, names: Sequence[str], above: str = "") -> None:
    """Below the figure: the columns drawn, each with its line, and what must be said above them."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=source.colours[name], linestyle=source.dashes[name]) for name in names]
    legend_below(figure, source, handles, [source.labels[name] for name in names], above)


def legend_below(
    figure: Figure, source: Source, handles: Sequence[Artist], labels: Sequence[str], above: str = ""
) -> None:
    """A legend below the figure, with what must be said above it."""
    fitting = int(source.look.letters // (max(map(len, labels)) + _HANDLE))
    across = max(1, min(fitting, round(source.look.width / source.look.scale)))
    title = "\n".join(map(source.look.wrapped, above.splitlines()))
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=across, title=title or None)
    legend.get_title().set_multialignment("center")


def restyled(axes: Axes) -> None:
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


def short_text(text: str, longest: int = _LONGEST) -> str:
    """A label: one line, not too long; matplotlib hides what begins with an underscore."""
    line = " ".join(escaping.terminal(text).split())
    line = line if len(line) <= longest else f"{line[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"
    return f" {line}" if line.startswith("_") else line


def short_step(step: float) -> str:
    """A number of steps as an axis shows it: 50k, 1M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(step) >= size:
            return f"{step / size:g}{unit}"
    return f"{step:g}"


def few_ticks(most: int = 4) -> Any:
    """A locator that leaves room between ticks."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=most)


def file_name(text: str) -> str:
    """Letters, digits, '_' and '-' only, never a path; different for different texts."""
    plain = re.sub(r"[^A-Za-z0-9_]", "-", text)
    return plain if plain == text else f"{plain}-{zlib.crc32(text.encode()):08x}"
