"""Cells and rows that repeat others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from harness.analysis.audit.averages import cells_behind, sum_range
from harness.analysis.audit.sheet import Finding, Sheet, as_printed, finer
from harness.analysis.printed import Printed, explained

if TYPE_CHECKING:
    from harness.specs import Column

_CHANCE = 8  # significant digits that numbers must share before that is no coincidence


def repeated_cells(sheet: Sheet) -> Iterator[Finding]:
    """Runs of cells of a column that are printed a second time below."""
    rows = sheet.table.datasets
    for column in sheet.table.columns:
        numbers = [(sheet.mean(row, column.id), sheet.std(row, column.id)) for row in rows]
        told: set[str] = set()
        for offset in range(2, len(rows)):
            start = 0
            while start + offset < len(rows):
                length = 0
                while (
                    length < offset
                    and start + offset + length < len(rows)
                    and numbers[start + length][0] is not None
                    and numbers[start + length] == numbers[start + offset + length]
                ):
                    length += 1
                first, second = (rows[at : at + length] for at in (start, start + offset))
                telling = sum(map(_telling, numbers[start : start + length])) >= _CHANCE
                if length >= 2 and telling and not told.issuperset(second):
                    told.update(second)
                    yield _repetition(sheet, column, first, second)
                start += max(length, 1)


def _telling(pair: tuple[Printed | None, Printed | None]) -> int:
    return sum(number.digits for number in pair if number)


def _repetition(sheet: Sheet, column: Column, first: tuple[str, ...], second: tuple[str, ...]) -> Finding:
    numbers = ", ".join(as_printed(sheet, row, column.id) for row in first)
    sentence = (
        f"{column.label}: {', '.join(second)} repeat {', '.join(first)} digit for digit ({numbers})"
        + _needed(sheet, column, second)
        + "."
    )
    return Finding("repeated cells", "error", tuple((row, column.id) for row in (*first, *second)), sentence)


def _needed(sheet: Sheet, column: Column, block: tuple[str, ...]) -> str:
    """What a block of cells must add up to where their group's printed average does not fit; else nothing."""
    for row, label, datasets in sheet.averages:
        printed, behind = (
            sheet.mean(row, column.id),
            cells_behind(sheet, column.id, [(name, 1) for name in datasets]),
        )
        part = cells_behind(sheet, column.id, [(name, 1) for name in block])
        if printed and behind and part and set(block) <= set(datasets) and row != "total":
            if printed.fits(behind.exact) or explained(printed, behind.possible):
                return ""
            total = part.exact * part.count
            rest = behind.exact * behind.count - total
            return (
                f"; if {label}, {printed}, is right, they add up to "
                f"{sum_range(printed, behind.count, rest)} and not to {finer(total, printed)}"
            )
    return ""


def repeated_rows(sheet: Sheet) -> Iterator[Finding]:
    """Rows that are printed twice."""
    columns = tuple(column.id for column in sheet.table.columns)
    seen: dict[tuple[tuple[Printed | None, Printed | None], ...], str] = {}
    for row in sheet.table.datasets:
        numbers = tuple((sheet.mean(row, column), sheet.std(row, column)) for column in columns)
        telling = sum(map(_telling, numbers)) >= _CHANCE
        first = seen.setdefault(numbers, row)
        if first != row and telling and len(columns) > 1 and all(mean for mean, _ in numbers):
            sentence = f"{row} repeats {first} digit for digit in all {len(columns)} columns."
            yield Finding("repeated rows", "error", tuple(product((first, row), columns)), sentence)
