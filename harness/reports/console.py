"""Tables drawn for a terminal: as wide as it is, without anything that it would obey."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from harness import escaping
from harness.reports import wording

if TYPE_CHECKING:
    from harness.analysis.comparison import ComparedCell, Comparison
    from harness.reports.grids import Grid

STYLES = {
    "OK": "green",
    "OK*": "green dim",
    "SAME": "green",
    "UNDECIDED": "yellow",
    "BETTER": "cyan",
    "WORSE": "red",
    "MISSING": "dim",
    "N/C": "magenta",
}
_NAME = 16  # characters of a dataset's name, where there is not room for all
_NOTES = 3  # lines of them
_SHORTER = {"Difference": "Diff.", "p (adjusted)": "p adj."}
_WIDE = 100  # characters of a terminal with room for spaces in numbers


def table(
    comparison: Comparison, width: int, all_notes: str = "", *, digits: int = 1, with_published: bool = False
) -> Group:
    """The paper's layout, as `harness.reports.render` has it.

    Where it is too wide, marks go below their numbers and names are wrapped at hyphens; where that is not
    enough, the columns go into several tables, one below the other.

    Args:
        comparison: the table.
        width: of the terminal, in characters.
        all_notes: what prints all notes, where only the first are wanted; empty: they all are.
        digits: decimals of scores; printed numbers keep theirs.
        with_published: the paper's number in every cell, not only where we have none.
    """
    drawn = [
        [[_cell(cell, stacked, digits, with_published) for cell in row.cells] for row in comparison.rows]
        for stacked in (False, True)
    ]
    parts: list[Table] = []
    for stacked, columns in _layouts(comparison, drawn, width):
        name = _NAME if stacked else width
        grid = _grid(comparison.table.title if not parts else "")
        grid.add_column("Dataset", overflow="fold")
        for column in columns:
            label = comparison.columns[column].label
            grid.add_column(
                harmless(_wrapped(label, _width(label, drawn[stacked], column))),
                justify="right",
                overflow="fold",
            )
        last = {
            group.rows[-1].id if not group.summaries else group.summaries[-1].id
            for group in comparison.groups
        }
        for row, cells in zip(comparison.rows, drawn[stacked], strict=True):
            grid.add_row(
                harmless(_wrapped(row.label, name)),
                *(cells[column] for column in columns),
                style="italic" if row.kind != "dataset" else "",
                end_section=row.id in last,
            )
        parts.append(grid)
    return framed(
        comparison, parts, wording.table_notes(comparison, with_published=with_published), width, all_notes
    )


def _layouts(
    comparison: Comparison, drawn: Sequence[Sequence[Sequence[Text]]], width: int
) -> Iterable[tuple[bool, Sequence[int]]]:
    """Whether marks go below numbers, and which columns go into each table."""
    places = range(len(comparison.columns))
    labels = [column.label for column in comparison.columns]
    names = max((len(row.label) for row in comparison.rows), default=0)
    if names + sum(_width(labels[place], drawn[False], place) + 2 for place in places) <= width:
        return [(False, places)]
    needed = [_width(label, drawn[True], place) + 2 for place, label in enumerate(labels)]
    for tables in places[1:]:
        size = -(-len(places) // tables)
        parts = [places[start : start + size] for start in places[::size]]
        if all(_NAME + sum(needed[place] for place in part) <= width for part in parts):
            return [(True, part) for part in parts]
    return [(True, [place]) for place in places]


def _width(label: str, rows: Sequence[Sequence[Text]], column: int) -> int:
    """Characters that a column needs, whose label may be broken at spaces."""
    lines = [line for row in rows for line in row[column].plain.split("\n")]
    return max(map(len, (*lines, *label.split())))


def diff(comparison: Comparison, width: int, all_notes: str = "") -> Group:
    """The lines of `harness.reports.render_diff`, each dataset named once; see `table`."""
    grid = _grid(comparison.table.title)
    narrow = width < _WIDE
    shown = [
        (
            line,
            (
                harmless(line.column),
                *(harmless(_tight(text, narrow)) for text in (line.reproduced, line.published)),
                harmless(line.difference, style="dim" if line.difference.startswith("(") else ""),
                harmless(wording.mark(line.cell), style=STYLES.get(str(line.cell.verdict.kind), "")),
                harmless(line.p),
            ),
        )
        for line in wording.diff_lines(comparison)
    ]
    grid.add_column("Dataset", overflow="fold")
    taken = 0
    for place, full in enumerate(wording.DIFF_HEADER[1:]):
        header = _SHORTER.get(full, full) if narrow else full
        left = full in ("Column", "Verdict")
        grid.add_column(header, justify="left" if left else "right", overflow="fold")
        taken += 2 + max(map(len, (header, *(entries[place].plain for _, entries in shown))))
    name, before = max(width - taken, _NAME - 2), ""
    for line, entries in shown:
        grid.add_row(harmless(_wrapped(line.row, name) if line.row != before else ""), *entries)
        before = line.row
    return framed(comparison, [grid], wording.notes(comparison), width, all_notes)


def _grid(title: str) -> Table:
    return Table(
        title=harmless(title) if title else None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def _wrapped(text: str, width: int) -> str:
    """Text broken at spaces and hyphens."""
    return "\n".join(textwrap.wrap(text, max(width, 1))) or text


def _cell(cell: ComparedCell, stacked: bool, digits: int, with_published: bool) -> Text:
    bold = "bold" if cell.leading else ""
    parts = [
        harmless(_tight(wording.reproduced(cell, digits), stacked), style=bold),
        harmless(wording.mark(cell), style=STYLES.get(str(cell.verdict.kind), "")),
    ]
    if cell.published and (cell.mean is None or with_published):
        parts.append(harmless(_tight(f"[{wording.published(cell)}]", stacked), style="dim"))
    return Text("\n" if stacked else " ").join(part for part in parts if part.plain)


def _tight(text: str, stacked: bool) -> str:
    return text.replace(" \N{PLUS-MINUS SIGN} ", "\N{PLUS-MINUS SIGN}") if stacked else text


def harmless(text: str, style: str = "") -> Text:
    """Text in which brackets are no markup and nothing is a command to the terminal."""
    return Text(escaping.terminal(text), style=style)


def drawn(grid: Grid) -> Table:
    """A table of text."""
    table = _grid(grid.title)
    for heading, side in zip(grid.header, grid.columns, strict=True):
        table.add_column(harmless(heading), justify="left" if side == "l" else "right", overflow="fold")
    for row in grid.rows:
        table.add_row(*map(harmless, row))
    return table


def framed(
    comparison: Comparison,
    tables: Sequence[Table],
    notes: Sequence[wording.Note],
    width: int = 0,
    all_notes: str = "",
) -> Group:
    """The tables between their warning and their notes; see `table` for the rest."""
    warning = wording.warning(comparison)
    above = [harmless(warning, style="bold magenta")] if warning else []
    lines = [f"{note.title}: {note.text}" for note in notes]
    if all_notes and len(lines) > _NOTES:
        first = [line for line in lines if line.startswith(("Verdicts:", "Bold:"))]
        shown = [textwrap.shorten(line, width, placeholder=" …") for line in first[: _NOTES - 1]]
        lines = [*shown, f"{len(lines) - len(shown)} more notes: {all_notes}"]
    return Group(*above, *tables, *(harmless(line, style="dim") for line in lines))
