"""Numbers that a second source, or another table of the paper, gives otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.analysis.audit.sheet import Finding, Sheet
from harness.analysis.printed import CONVENTIONS, Printed
from harness.counting import count
from harness.errors import SpecError
from harness.specs.rows import TOTAL

if TYPE_CHECKING:
    from harness.specs import Column, Specs


def restated(sheet: Sheet) -> Iterator[Finding]:
    """Columns whose numbers should be another's and are not."""
    labels = {column.id: column.label for column in sheet.table.columns}
    for column in sheet.table.columns:
        both = {
            row: (number, printed)
            for row in sheet.table.printed_rows
            if column.restates
            and (number := sheet.mean(row, column.id))
            and (printed := sheet.mean(row, column.restates))
        }
        wrong = {
            row: f"{sheet.row(row)} {number}, where {printed} is printed"
            for row, (number, printed) in both.items()
            if not _may_be_equal(number, printed)
        }
        if wrong and column.restates:
            yield Finding(
                "restated",
                "error",
                tuple((row, each) for row in wrong for each in (column.id, column.restates)),
                f"{column.label}: of {count(len(both), 'number')} that {labels[column.restates]} has, too, "
                f"{len(wrong)} differ: {'; '.join(wrong.values())}.",
            )


def two_tables(sheet: Sheet, specs: Specs) -> Iterator[Finding]:
    """Each of the paper's other tables that shares rows and a configuration with this one."""
    table = sheet.table
    for name in specs.ids("tables"):
        try:
            other = specs.table(name)
            same = (other.paper.title, other.lineage) == (table.paper.title, table.lineage)
            cells = specs.published(other) if same and other.id != table.id else None
        except SpecError:  # is told where that table is asked for
            continue
        if cells:
            yield from _same_columns(sheet, Sheet(other, cells), specs)


def _same_columns(sheet: Sheet, other: Sheet, specs: Specs) -> Iterator[Finding]:
    from harness.specs.columns import columns_of, layered  # with pydantic, which a table needs not wait for

    def settings(sheet: Sheet, column: Column, dataset: str) -> tuple[str, dict[str, object]]:
        entries = layered(specs, columns_of(sheet.table)[column.id], dataset)
        return sheet.table.protocol_of(column, dataset), {
            name: entry.value for name, entry in entries.items()
        }

    for column in sheet.table.columns:
        for twin in other.table.columns:
            if column.algorithm is None or column.algorithm != twin.algorithm:
                continue
            differing = []
            for row, theirs, datasets in _same_rows(sheet, other):
                ours, printed = sheet.mean(row, column.id), other.mean(theirs, twin.id)
                if ours is None or printed is None or _may_be_equal(ours, printed):
                    continue
                if all(settings(sheet, column, name) == settings(other, twin, name) for name in datasets):
                    differing.append((row, f"{sheet.row(row)} {ours} and {printed}"))
            if differing:
                yield Finding(
                    "two tables",
                    "warning",
                    tuple((row, column.id) for row, _ in differing),
                    f"{column.label} here and {twin.label} in {other.table.title} are one configuration with "
                    f"other numbers: {', '.join(text for _, text in differing)}.",
                )


def _same_rows(sheet: Sheet, other: Sheet) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(row here, row there, datasets behind it) of the rows that both tables have."""
    for row in sheet.table.datasets:
        if row in other.table.datasets:
            yield row, row, (row,)
    for row, _, datasets in sheet.averages:
        for theirs, _, behind in other.averages:
            if set(datasets) == set(behind) and (row == TOTAL) == (theirs == TOTAL):
                yield row, theirs, datasets


def _may_be_equal(one: Printed, other: Printed) -> bool:
    """Whether one number can be printed both ways, with the same number of digits or with fewer."""
    if one.unit == other.unit:
        return one.value == other.value
    coarse, fine = sorted((one, other), key=lambda number: number.unit, reverse=True)
    return any(coarse.range(convention).meets(fine.range(convention)) for convention in CONVENTIONS)
