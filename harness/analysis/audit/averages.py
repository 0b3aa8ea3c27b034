"""Averages and sums that the printed cells do not give."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from harness.analysis.audit.sheet import Finding, Sheet, finer
from harness.analysis.printed import CONVENTIONS, Convention, Printed, Range, explained, weighted_mean
from harness.specs.rows import TOTAL

if TYPE_CHECKING:
    from harness.specs import Column

_ERRORS = 3.0  # standard deviations of the mean rounding error beyond which rounding is no good explanation


@dataclass(frozen=True)
class _Behind:
    """Numbers that an average or a sum is taken over.

    Attributes:
        numbers: each with how many rows it stands for.
        what: they are, in words.
        total: whether they are added up.
    """

    numbers: list[tuple[Printed, int]]
    what: str = "cells"
    total: bool = False

    @property
    def count(self) -> int:
        return sum(weight for _, weight in self.numbers)

    @property
    def exact(self) -> Fraction:
        """The average or sum of the numbers as printed."""
        total = sum((number.value * weight for number, weight in self.numbers), Fraction())
        return total if self.total else total / self.count

    @property
    def possible(self) -> dict[Convention, Range]:
        """The averages or sums of the numbers before they were rounded or cut off."""
        times = Fraction(self.count if self.total else 1)
        return {
            convention: weighted_mean(
                (number.range(convention), weight) for number, weight in self.numbers
            ).scaled(times)
            for convention in CONVENTIONS
        }

    def errors(self, printed: Printed) -> float:
        """How far off the average is, in standard deviations of its error if digits are lost at random."""
        variance = sum(float(number.unit * weight) ** 2 / 12 for number, weight in self.numbers)
        spread = math.sqrt(variance) / (1 if self.total else self.count)
        distances = []
        for allowed in self.possible.values():
            middle = (allowed.low + allowed.high) / 2
            for convention in CONVENTIONS:
                wanted = printed.range(convention)
                if wanted.meets(allowed):
                    distances.append(max(wanted.low - middle, middle - wanted.high, Fraction()))
        return float(min(distances)) / spread


def averages(sheet: Sheet) -> Iterator[Finding]:
    """Each average, sum and total against the cells above it."""
    sums = {row for row, *_ in sheet.sums}
    for column in sheet.table.columns:
        for row, _, datasets in (*sheet.averages, *sheet.sums):
            printed = sheet.mean(row, column.id)
            if printed is None:
                continue
            cells = cells_behind(sheet, column.id, [(dataset, 1) for dataset in datasets])
            groups = None
            if row == TOTAL:
                weights = [(group.id, len(group.datasets)) for group in sheet.table.groups]
                groups = cells_behind(sheet, column.id, weights)
                groups = groups and replace(groups, what="averages of the groups")
            if cells and row in sums:
                cells = replace(cells, total=True)
            if behind := cells or groups:
                yield from _average(sheet, row, column, printed, behind, groups if cells else None)


def means_of_columns(sheet: Sheet) -> Iterator[Finding]:
    """Numbers of columns that are means of others, in every row that is printed."""
    labels = {column.id: column.label for column in sheet.table.columns}
    for column in sheet.table.columns:
        members = column.mean_of or ()
        for row in sheet.table.printed_rows if members else ():
            printed, numbers = sheet.mean(row, column.id), [sheet.mean(row, name) for name in members]
            known = [(number, 1) for number in numbers if number]
            if printed and len(known) == len(members):
                what = f"numbers of {' and '.join(labels[name] for name in members)}"
                yield from _average(sheet, row, column, printed, _Behind(known, what), None)


def cells_behind(sheet: Sheet, column: str, rows: Sequence[tuple[str, int]]) -> _Behind | None:
    """The numbers of some rows; None if one of them is not printed."""
    found = [(sheet.mean(row, column), weight) for row, weight in rows]
    numbers = [(number, weight) for number, weight in found if number is not None]
    return _Behind(numbers) if len(numbers) == len(found) else None


def _average(
    sheet: Sheet, row: str, column: Column, printed: Printed, behind: _Behind, groups: _Behind | None
) -> Iterator[Finding]:
    fits = printed.fits(behind.exact)
    if "rounded" in fits:
        return
    where = f"{column.label}, {sheet.row(row)}"
    give = "add up to" if behind.total else "give"
    gives = f"{printed} is printed, the printed {behind.what} {give} {finer(behind.exact, printed)}"
    if fits:
        yield Finding("average cut off", "info", ((row, column.id),), f"{where}: {gives}.")
    elif explained(printed, behind.possible):
        unlikely = behind.errors(printed) > _ERRORS
        yield Finding(
            "average within rounding",
            "warning" if unlikely else "info",
            ((row, column.id),),
            f"{where}: {gives}; the digits that these have lost can make up for the difference"
            + (", but only if nearly all of them point the same way." if unlikely else "."),
        )
    else:
        parts = [f"{where}: {gives}"]
        if behind.what == "cells" and not behind.total:
            total = behind.exact * behind.count
            parts.append(
                f"the {behind.count} cells must add up to {sum_range(printed, behind.count)} "
                f"and add up to {finer(total, printed)}"
            )
        if groups:
            agrees = printed.fits(groups.exact) or explained(printed, groups.possible)
            verb = "gives it" if agrees else "does not give it either"
            parts.append(
                "the weighted mean of the printed averages of the groups, "
                f"{finer(groups.exact, printed)}, {verb}"
            )
        yield Finding("average", "error", ((row, column.id),), "; ".join(parts) + ".")


def sum_range(printed: Printed, count: int, less: Fraction = Fraction()) -> str:
    """What ``count`` numbers with that printed average add up to, the rest of the sum taken off."""
    ends = [printed.range(convention).scaled(Fraction(count)) for convention in CONVENTIONS]
    low, high = min(end.low for end in ends) - less, max(end.high for end in ends) - less
    return f"between {finer(low, printed)} and {finer(high, printed)}"


def digits(sheet: Sheet) -> Iterator[Finding]:
    """Averages of one column that are printed with unequal numbers of digits."""
    for column in sheet.table.columns:
        found = {
            row: sheet.cells[row, column.id] for row, *_ in sheet.averages if (row, column.id) in sheet.cells
        }
        common = min((cell.decimals for cell in found.values()), default=0)
        longer = [row for row, cell in found.items() if cell.decimals > common]
        if longer:
            numbers = ", ".join(
                f"{sheet.row(row)} {found[row].mean:.{found[row].decimals}f}" for row in longer
            )
            yield Finding(
                "digits of averages",
                "info",
                tuple((row, column.id) for row in longer),
                f"{column.label}: {numbers} have more digits than the column's other averages.",
            )
