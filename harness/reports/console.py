"""Tables on a console."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from harness import escaping
from harness.reports import wording

if TYPE_CHECKING:
    from harness.analysis.comparison import ComparedCell, ComparedRow, Comparison

_STYLES = {
    "OK": "green",
    "OK*": "green dim",
    "UNDECIDED": "yellow",
    "BETTER": "cyan",
    "WORSE": "red",
    "MISSING": "dim",
    "N/C": "magenta",
}


def table(comparison: Comparison) -> Group:
    """The paper's layout, as `harness.reports.render` has it, for ``rich.print``."""
    grid = Table(title=_text(comparison.table.title))
    grid.add_column("Dataset", overflow="fold")
    for column in comparison.columns:
        grid.add_column(_text(column.label), justify="right")
    for group in comparison.groups:
        for row in group.rows:
            grid.add_row(*_row(row))
        for row in group.summaries:
            grid.add_row(*_row(row), style="italic")
        grid.add_section()
    if comparison.total:
        grid.add_row(*_row(comparison.total), style="italic")
    return _framed(comparison, grid, wording.table_notes(comparison))


def diff(comparison: Comparison) -> Group:
    """The lines of `harness.reports.render_diff` with their notes, for ``rich.print``."""
    table = Table(title=_text(comparison.table.title))
    for header in ("Dataset", "Column"):
        table.add_column(header, overflow="fold")
    for header in ("Reproduced (n)", "Published (n)", "Difference"):
        table.add_column(header, justify="right")
    table.add_column("Verdict")
    table.add_column("p (adjusted)", justify="right")
    for line in wording.diff_lines(comparison):
        table.add_row(
            *map(_text, (line.row, line.column, line.reproduced, line.published, line.difference)),
            _text(line.verdict, style=_STYLES.get(line.verdict.split(" ")[0], "")),
            _text(line.p),
        )
    return _framed(comparison, table, wording.notes(comparison))


def _row(row: ComparedRow) -> list[Text]:
    return [_text(row.label), *map(_cell, row.cells)]


def _cell(cell: ComparedCell) -> Text:
    mark = wording.mark(cell)
    bold = "bold" if cell.leading else ""
    parts = [
        _text(wording.reproduced(cell), style=bold),
        _text(mark, style=_STYLES.get(str(cell.verdict.kind), "")),
    ]
    if cell.mean is None and cell.published:
        parts.append(_text(f"[{wording.published(cell)}]", style="dim"))
    return Text(" ").join(part for part in parts if part.plain)


def _text(text: str, style: str = "") -> Text:
    """Text in which brackets are no markup and nothing is a command to the terminal."""
    return Text(escaping.terminal(text), style=style)


def _framed(comparison: Comparison, table: Table, notes: Iterable[wording.Note]) -> Group:
    """The table between its warning and its notes."""
    warning = wording.warning(comparison)
    above = [_text(warning, style="bold magenta")] if warning else []
    below = [_text(f"{note.title}: {note.text}", style="dim") for note in notes]
    return Group(*above, table, *below)
