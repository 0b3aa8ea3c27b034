"""Figures: from a compared table and its runs' histories to matplotlib figures, each with the data drawn.

All numbers are this program's own estimates; seaborn and rliable's plot functions draw them. A figure whose
data do not exist is None, so that no axis is ever empty. Nothing that a spec says is read as mathematics, and
saved files are the same bytes whenever and wherever they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import DataError, UnknownNameError
from harness.reports import frames
from harness.reports.figures.drawing import Illustration, Kind, Source, short_text
from harness.reports.figures.look import Look
from harness.reports.figures.runtime import runtime
from harness.reports.figures.scores import aggregates, improvement, profiles, radar, scatter
from harness.reports.figures.settings import sensitivity, tuning
from harness.reports.figures.training import curves, efficiency, metrics, of_paper

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from harness.analysis.comparison import Comparison
    from harness.analysis.history import Histories

_TITLE = 0.2  # inches: a line above a figure
#: Kind -> what draws its figures; `metrics` has one for each metric, `sensitivity` for each setting.
KINDS: dict[str, Kind] = {
    "scatter": scatter,
    "radar": radar,
    "curves": curves,
    "efficiency": efficiency,
    "aggregates": aggregates,
    "profiles": profiles,
    "improvement": improvement,
    "metrics": metrics,
    "sensitivity": sensitivity,
    "tuning": tuning,
    "runtime": runtime,
}
_SELDOM = {"sensitivity", "tuning"}  # few tables have columns for them: not missed where nobody asks


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

    known = {figure.id: of_paper(figure) for figure in comparison.table.figures} | KINDS
    if unknown := [kind for kind in kinds or () if kind not in known]:
        raise UnknownNameError("kind of figure", unknown[0], known)
    look = look or Look()
    source = Source(comparison, histories, look)
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
                    look.wrapped(f"N/C: {short_text('; '.join(reasons), 60)}", 0.8), color="#9B3F86"
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
