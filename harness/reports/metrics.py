"""A metric of training, in the table's layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.analysis.incomparable import why_incomparable
from harness.counting import count
from harness.reports import wording
from harness.reports.data import finite
from harness.reports.grids import Grid, page

if TYPE_CHECKING:
    from harness.analysis.metrics import ReportedCell
    from harness.planning.cells import ResolvedTable


def grid(resolved: ResolvedTable, cells: Sequence[ReportedCell]) -> Grid:
    """The table; columns and rows without any value are left out."""
    filled = [cell for cell in cells if cell.values]
    columns = {
        cell.column.id: cell.column.label
        for cell in resolved.cells
        if any(cell.column.id == one.column for one in filled)
    }
    shown = {(cell.row, cell.column): _text(cell) for cell in cells}
    rows = dict.fromkeys(cell.row for cell in filled)
    return Grid(
        ("Dataset", *columns.values()), [(row, *(shown[row, column] for column in columns)) for row in rows]
    )


def warning(cells: Sequence[ReportedCell]) -> str:
    """What must stand above the values shown, where they are not comparable with the paper's; else empty."""
    return wording.incomparable(why_incomparable([cell for cell in cells if cell.values]))


def caption(cells: Sequence[ReportedCell], name: str) -> str:
    """What the values shown are."""
    filled = [cell for cell in cells if cell.values]
    lengths = dict.fromkeys((cell.step, cell.unit) for cell in filled)
    after = " or ".join(count(*length) for length in lengths)
    seeds = " or ".join(count(wanted, "seed") for wanted in dict.fromkeys(cell.wanted for cell in filled))
    fewer = any(len(cell.values) < cell.wanted for cell in filled)
    return f"{name} after {after}: mean \N{PLUS-MINUS SIGN} standard deviation (ddof 1) over {seeds}" + (
        ", or over k of n where (k/n) stands" if fewer else ""
    )


def _text(cell: ReportedCell) -> str:
    """Mean ± standard deviation over seeds, and how many there are of them where some are missing."""
    if cell.mean is None:
        return "–"
    text = f"{cell.mean:#.4g}" + (f" ± {cell.std:.2g}" if cell.std is not None else "")
    return text if len(cell.values) == cell.wanted else f"{text} ({len(cell.values)}/{cell.wanted})"


def markdown(resolved: ResolvedTable, cells: Sequence[ReportedCell], name: str) -> str:
    """A page of Markdown: the table below what must be said of it."""
    values = wording.Note("Values", caption(cells, name))
    return page(f"{resolved.table.title}: {name}", warning(cells), [grid(resolved, cells)], [values])


def document(resolved: ResolvedTable, cells: Sequence[ReportedCell], name: str) -> dict[str, Any]:
    """Everything, as JSON values; what is not finite as null."""
    return {
        "table": resolved.table.id,
        "preset": resolved.preset.id if resolved.preset else None,
        "lineage": resolved.lineage,
        "warning": warning(cells),
        "caption": caption(cells, name),
        "metric": name,
        "cells": [finite(asdict(cell) | {"mean": cell.mean, "std": cell.std}) for cell in cells],
    }
