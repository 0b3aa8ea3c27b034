"""Changes in per cent that the cells do not give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from harness.analysis.audit.sheet import Finding, Kind, Severity, Sheet, finer
from harness.analysis.printed import CONVENTIONS, Convention, Printed, Range, explained

if TYPE_CHECKING:
    from harness.specs import Column


def changes(sheet: Sheet) -> Iterator[Finding]:
    """Each change against the two numbers that it is of."""
    rows = [*sheet.table.datasets, *(row for row, *_ in sheet.averages)]
    for column in sheet.table.columns:
        for row in rows:
            cell = sheet.cells.get((row, column.id))
            base = sheet.mean(row, column.change_from) if column.change_from else None
            number = sheet.mean(row, column.id)
            # a change from a number that may be 0 or below says nothing
            if cell and cell.change and base and number and base.value > base.unit:
                yield from _change(sheet, row, column, cell.change, number, base)


def _change(
    sheet: Sheet, row: str, column: Column, text: str, number: Printed, base: Printed
) -> Iterator[Finding]:
    exact = 100 * (number.value - base.value) / base.value
    printed = Printed.parse(text)
    signed = text[0] in "+-"
    where = f"{column.label}, {sheet.row(row)}: {text} % is printed"
    gives = f"{base} and {number} give {finer(exact, printed, sign=True)} %"
    turned = Printed(-printed.value, printed.unit, not printed.negative)

    def fits(change: Printed) -> bool:
        return bool(change.fits(exact)) or explained(change, _possible_changes(number, base))

    if exact < 0 and not signed and printed.value and fits(turned) and not printed.fits(exact):
        sentence = f"{where} without a sign, {gives}."
        yield Finding("sign of a change", "warning", ((row, column.id),), sentence)
        printed = turned
    how = printed.fits(exact)
    if "rounded" in how:
        return
    if how:
        kind: Kind = "change cut off"
    elif fits(printed):
        kind = "change within rounding"
    else:
        kind = "change"
    severity: Severity = "error" if kind == "change" else "info"
    yield Finding(kind, severity, ((row, column.id),), f"{where}, {gives}.")


def lone_changes(sheet: Sheet) -> Iterator[Finding]:
    """Changes printed without a number: what they make of their base, and averages too small for them."""
    columns = {column.id: column for column in sheet.table.columns}
    behind = {row: datasets for row, _, datasets in sheet.averages}
    for (row, name), text in sheet.changes.items():
        column = columns[name]
        if row in behind:
            yield from _lone_average(sheet, row, column, text, behind[row])
        base = sheet.mean(row, column.change_from) if column.change_from else None
        if base is None or base.value <= base.unit:
            continue
        change = Printed.parse(text).value / 100
        signs = (1, -1) if text[0] not in "+-" and change else (1,)
        numbers = [base.value * (1 + sign * change) for sign in signs]
        possible = " or ".join(finer(number, base) for number in numbers if number >= 0)
        where = f"{column.label}, {sheet.row(row)}"
        sentence = f"{where}: {text} % is printed without a number; from {base} that is {possible}."
        yield Finding("lone change", "info", ((row, name),), sentence)


def _lone_average(
    sheet: Sheet, row: str, column: Column, text: str, datasets: Sequence[str]
) -> Iterator[Finding]:
    """Whether an average's change is less than the cells' come to if all without a sign are increases."""
    changes = [change for dataset in datasets if (change := sheet.changes.get((dataset, column.id)))]
    bases = [base for each in datasets if (base := sheet.mean(each, column.change_from or ""))]
    nothing = Fraction()
    before = sum((base.value for base in bases), nothing)
    known = len(changes) == len(bases) == len(datasets)
    if not known or before <= 0 or all(change[0] in "+-" for change in changes):
        return
    printed = Printed.parse(text)
    pairs = list(zip(bases, map(Printed.parse, changes), strict=True))
    rise = sum((base.value * change.value for base, change in pairs), nothing)
    # no way of rounding gives less
    after = sum((_extremes(base)[0] * (100 + _extremes(change)[0]) for base, change in pairs), nothing)
    least = after / sum((_extremes(base)[1] for base in bases), nothing) - 100
    if least > _extremes(printed)[1]:
        gives = finer(rise / before, printed)
        sentence = (
            f"{column.label}, {sheet.row(row)}: {text} % is printed; were all changes behind it that have no "
            f"sign increases, it would be {gives} %, so some are decreases."
        )
        yield Finding("sign of a change", "warning", ((row, column.id),), sentence)


def _extremes(number: Printed) -> tuple[Fraction, Fraction]:
    """The least and the most that it may stand for, by whichever convention."""
    ranges = [number.range(convention) for convention in CONVENTIONS]
    return min(each.low for each in ranges), max(each.high for each in ranges)


def _possible_changes(number: Printed, base: Printed) -> dict[Convention, Range]:
    """The changes in per cent between the numbers before they were rounded or cut off."""
    possible: dict[Convention, Range] = {}
    for convention in CONVENTIONS:
        numbers, bases = number.range(convention), base.range(convention)
        ends = [100 * (end / by - 1) for end in (numbers.low, numbers.high) for by in (bases.low, bases.high)]
        possible[convention] = Range(min(ends), max(ends), convention == "rounded", convention == "rounded")
    return possible
