"""The paper's layout and the long list as pages of Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import escaping
from harness.escaping import Raw
from harness.reports import grids, wording

if TYPE_CHECKING:
    from harness.analysis.comparison import ComparedCell, Comparison


def markdown_table(comparison: Comparison, *, with_published: bool = False, digits: int = 1) -> str:
    """The paper's layout with its notes.

    Args:
        comparison: the table.
        with_published: print the paper's number in brackets in every cell, not only where we have none.
        digits: decimals of scores; printed numbers keep theirs.
    """
    rows = [
        (
            row.label if row.kind == "dataset" else Raw(f"**{escaping.markdown(row.label)}**"),
            *(_cell(cell, with_published, digits) for cell in row.cells),
        )
        for row in comparison.rows
    ]
    grid = grids.Grid(("Dataset", *(column.label for column in comparison.columns)), rows)
    notes = wording.table_notes(comparison, with_published=with_published)
    return grids.page(comparison.table.title, wording.warning(comparison), [grid], notes)


def markdown_diff(comparison: Comparison) -> str:
    """The long list with its notes."""
    grid = grids.Grid(wording.DIFF_HEADER, [line.texts for line in wording.diff_lines(comparison)], "llrrrlr")
    notes = wording.notes(comparison)
    return grids.page(comparison.table.title, wording.warning(comparison), [grid], notes)


def _cell(cell: ComparedCell, with_published: bool, digits: int) -> Raw:
    number = escaping.markdown(wording.reproduced(cell, digits))
    parts = [f"**{number}**" if cell.leading else number, escaping.markdown(wording.mark(cell))]
    if cell.published and (cell.mean is None or with_published):
        parts.append(escaping.markdown(f"[{wording.published(cell)}]"))
    return Raw(" ".join(part for part in parts if part))
