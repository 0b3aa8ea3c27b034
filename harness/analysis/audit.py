"""What cannot be right in the numbers that a paper printed, found from the numbers alone.

A printed number stands for all the numbers that are printed so (see `harness.analysis.printed`); a finding
that this can explain says so. Nothing here knows any paper, and nothing needs results of our own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product
from typing import TYPE_CHECKING, Literal

from harness.analysis import spread
from harness.analysis.grid import TAKEN, Taken, countable, ways
from harness.analysis.printed import CONVENTIONS, Convention, Printed, Range, explained, weighted_mean
from harness.analysis.spread import PrintedInterval
from harness.counting import count
from harness.errors import SpecError
from harness.specs.published import Check, LoneChange, PublishedCell
from harness.specs.rows import TOTAL

if TYPE_CHECKING:
    from harness.specs import Column, Dataset, Specs, Table

Severity = Literal["error", "warning", "info"]
Kind = Literal[
    "average",
    "interval off centre",
    "interval too wide",
    "interval of a mean",
    "repeated cells",
    "repeated rows",
    "mean is deviation",
    "deviation too large",
    "deviation off the grid",
    "change",
    "sign of a change",
    "two tables",
    "restated",
    "average within rounding",
    "average cut off",
    "digits of averages",
    "change within rounding",
    "change cut off",
    "lone change",
    "interval not explained",
    "convention",
    "confirmed",
    "no deviations",
]
HEADINGS: dict[Kind, str] = {
    "average": "averages and sums that the printed cells do not give",
    "interval off centre": "intervals without their number in the middle, where most of the table have it",
    "interval too wide": "intervals that are not those of a mean over seeds",
    "interval of a mean": "intervals of means of columns that the columns' own do not give",
    "repeated cells": "cells that repeat others",
    "repeated rows": "rows that repeat others",
    "mean is deviation": "mean and standard deviation are the same number",
    "deviation too large": "standard deviations that the scores' range does not allow",
    "deviation off the grid": "standard deviations that seeds and episodes do not allow",
    "change": "changes in per cent that the cells do not give",
    "sign of a change": "decreases printed without a sign",
    "two tables": "one configuration, other numbers in another table",
    "restated": "numbers that a second source gives otherwise",
    "average within rounding": "averages and sums that only unrounded cells can give",
    "average cut off": "averages and sums that the printed cells give cut off, not rounded",
    "digits of averages": "averages printed with unequal numbers of digits",
    "change within rounding": "changes in per cent that only unrounded cells can give",
    "change cut off": "changes in per cent that the printed numbers give cut off, not rounded",
    "lone change": "changes in per cent without a number",
    "interval not explained": "intervals that the printed standard deviations do not explain",
    "convention": "how standard deviations were taken",
    "confirmed": "cells that public scores give digit by digit",
    "no deviations": "no standard deviations",
}

_CHANCE = 8  # significant digits that numbers must share before that is no coincidence
_TELLING = 3  # the same for one number
_ERRORS = 3.0  # standard deviations of the mean rounding error beyond which rounding is no good explanation
_EXPERT = 100.0  # an expert's normalised score
_BEYOND = 1.1  # how far beyond the best that a row shows a single seed may score, as a factor


@dataclass(frozen=True)
class Finding:
    """One thing that a reader should know of the printed numbers.

    Attributes:
        kind: what it is; its heading is in `HEADINGS`.
        severity: ``error``, the numbers contradict each other; ``warning``, they are most likely wrong;
            ``info``, how they were made.
        cells: (row, column) of each number that it is about; a row is the id of a dataset, of a group (its
            average) or ``total``.
        sentence: the finding in words.
    """

    kind: Kind
    severity: Severity
    cells: tuple[tuple[str, str], ...]
    sentence: str

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows that it is about, each once."""
        return tuple(dict.fromkeys(row for row, _ in self.cells))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it is about, each once."""
        return tuple(dict.fromkeys(column for _, column in self.cells))


@dataclass(frozen=True)
class Sheet:
    """A table's printed numbers and what bounds them.

    Attributes:
        table: its rows and columns.
        cells: the printed numbers by row and column.
        binary: rows whose episodes return 0 or 1, printed in per cent.
        episodes: per seed, behind the printed numbers of cells, by row and column.
        changes: changes in per cent that stand alone, by row and column.
    """

    table: Table
    cells: Mapping[tuple[str, str], PublishedCell]
    binary: frozenset[str] = frozenset()
    episodes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    changes: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def mean(self, row: str, column: str) -> Printed | None:
        """The printed mean, or None."""
        cell = self.cells.get((row, column))
        return Printed.of(cell.mean, cell.decimals) if cell else None

    def std(self, row: str, column: str) -> Printed | None:
        """The printed standard deviation, or None."""
        cell = self.cells.get((row, column))
        return None if cell is None or cell.std is None else Printed.of(cell.std, cell.std_decimals)

    def interval(self, row: str, column: str) -> PrintedInterval | None:
        """The interval printed with the mean, or None."""
        cell, mean = self.cells.get((row, column)), self.mean(row, column)
        if cell is None or mean is None or cell.low is None or cell.high is None:
            return None
        return PrintedInterval(mean, *(Printed.of(end, cell.decimals) for end in (cell.low, cell.high)))

    @property
    def averages(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """(row, label, datasets behind it) of the groups' averages and the total."""
        groups = [(group.id, group.average or group.label, group.datasets) for group in self.table.groups]
        return [*groups, (TOTAL, self.table.total or TOTAL, self.table.datasets)]

    @property
    def sums(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """(row, label, datasets behind it) of the groups' sums."""
        return [(group.sum_id, group.sum or group.label, group.datasets) for group in self.table.groups]

    def row(self, name: str) -> str:
        """A row's label."""
        return next((label for row, label, _ in (*self.averages, *self.sums) if row == name), name)


def audit(table: Table, specs: Specs) -> list[Finding]:
    """Everything found in a table's printed numbers, by kind and then in the table's order.

    Args:
        table: as its spec says, with all rows and columns.
        specs: where its printed numbers, its datasets, its protocol and the same paper's other tables are.

    Raises:
        SpecError: a file that the table names is wrong.
        UnknownNameError: the table names a dataset or protocol that does not exist.
    """
    listing = specs.listing(table) or {}
    cells = {key: cell for key, cell in listing.items() if isinstance(cell, PublishedCell)}
    if not cells:
        return []
    rows = [row for row in table.datasets if any((row, column.id) in cells for column in table.columns)]
    sheet = Sheet(
        table,
        cells,
        frozenset(row for row in rows if _only_success_counts(specs.dataset(row))),
        {
            (row, column.id): specs.protocol(table.protocol_of(column, row)).episodes_scored
            for row in rows
            for column in table.columns
        },
        {key: cell.change for key, cell in listing.items() if isinstance(cell, LoneChange)},
    )
    return _ordered([*examine(sheet), *_two_tables(sheet, specs)])


def _only_success_counts(dataset: Dataset) -> bool:
    """Whether an episode tells no more than whether the goal was reached."""
    environment = dataset.environment
    # AntMaze's is the one domain of D4RL whose returns are that
    return dataset.domain == "antmaze" or (environment is not None and environment.scored_by_success)


def examine(sheet: Sheet) -> list[Finding]:
    """What one table shows by itself, ordered as by `audit`."""
    checks = (
        _averages,
        _means_of_columns,
        _off_centre,
        _widths,
        _widths_of_means,
        _repeated_cells,
        _repeated_rows,
        _means_that_are_deviations,
        _ranges,
        _grid,
        _confirmed,
        _changes,
        _lone_changes,
        _restated,
        _digits,
        _no_deviations,
    )
    return _ordered([finding for check in checks for finding in check(sheet)])


def _ordered(findings: list[Finding]) -> list[Finding]:
    kinds = list(HEADINGS)
    return sorted(findings, key=lambda finding: kinds.index(finding.kind))


# -- averages ----------------------------------------------------------------------------------------------


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


def _averages(sheet: Sheet) -> Iterator[Finding]:
    sums = {row for row, *_ in sheet.sums}
    for column in sheet.table.columns:
        for row, _, datasets in (*sheet.averages, *sheet.sums):
            printed = sheet.mean(row, column.id)
            if printed is None:
                continue
            cells = _behind(sheet, column.id, [(dataset, 1) for dataset in datasets])
            groups = None
            if row == TOTAL:
                weights = [(group.id, len(group.datasets)) for group in sheet.table.groups]
                groups = _behind(sheet, column.id, weights)
                groups = groups and replace(groups, what="averages of the groups")
            if cells and row in sums:
                cells = replace(cells, total=True)
            if behind := cells or groups:
                yield from _average(sheet, row, column, printed, behind, groups if cells else None)


def _means_of_columns(sheet: Sheet) -> Iterator[Finding]:
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


def _behind(sheet: Sheet, column: str, rows: Sequence[tuple[str, int]]) -> _Behind | None:
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
    gives = f"{printed} is printed, the printed {behind.what} {give} {_number(behind.exact, printed)}"
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
                f"the {behind.count} cells must add up to {_sum_range(printed, behind.count)} "
                f"and add up to {_number(total, printed)}"
            )
        if groups:
            agrees = printed.fits(groups.exact) or explained(printed, groups.possible)
            verb = "gives it" if agrees else "does not give it either"
            parts.append(
                "the weighted mean of the printed averages of the groups, "
                f"{_number(groups.exact, printed)}, {verb}"
            )
        yield Finding("average", "error", ((row, column.id),), "; ".join(parts) + ".")


def _sum_range(printed: Printed, count: int, less: Fraction = Fraction()) -> str:
    """What ``count`` numbers with that printed average add up to, the rest of the sum taken off."""
    ends = [printed.range(convention).scaled(Fraction(count)) for convention in CONVENTIONS]
    low, high = min(end.low for end in ends) - less, max(end.high for end in ends) - less
    return f"between {_number(low, printed)} and {_number(high, printed)}"


def _digits(sheet: Sheet) -> Iterator[Finding]:
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


# -- intervals ---------------------------------------------------------------------------------------------


def _with_intervals(sheet: Sheet) -> list[tuple[str, Column, PrintedInterval]]:
    """(row, column, interval) of all numbers that are printed with one."""
    return [
        (row, column, interval)
        for column in sheet.table.columns
        for row in sheet.table.printed_rows
        if (interval := sheet.interval(row, column.id))
    ]


def _off_centre(sheet: Sheet) -> Iterator[Finding]:
    """Numbers that lie beside the middle of their intervals, where most of a table's lie in it.

    Bootstrap intervals need not be centred; a table of these has no findings.
    """
    found = _with_intervals(sheet)
    off = [item for item in found if not item[2].centred]
    if 2 * len(off) >= len(found):
        return
    for row, column, interval in off:
        below, above = (
            abs(float(end.value - interval.number.value)) for end in (interval.low, interval.high)
        )
        yield Finding(
            "interval off centre",
            "warning",
            ((row, column.id),),
            f"{column.label}, {sheet.row(row)}: the interval of {interval.number}, {_ends(interval)}, "
            f"reaches {below:.1f} down and {above:.1f} up.",
        )


def _widths(sheet: Sheet) -> Iterator[Finding]:
    """What the intervals of sums are, by the standard deviations of the cells that are added up.

    Where rows are independent, the mean sum of n seeds has the half width t √Σ std² / √n. Without √n it is
    about that of a further seed's sum. One that fits alone may do so by chance.
    """
    seeds = sorted({cell.n for cell in sheet.cells.values() if cell.n > 1})
    wide: dict[int, list[tuple[str, Column, PrintedInterval]]] = {}
    other: list[tuple[str, Column, PrintedInterval, float]] = []
    behind = {row: datasets for row, _, datasets in sheet.sums}
    for row, column, interval in _with_intervals(sheet):
        deviations = [sheet.std(dataset, column.id) for dataset in behind.get(row, ())]
        known = [std for std in deviations if std]
        if column.mean_of or not known or len(known) < len(deviations):
            continue
        root = spread.root_of_squares(known)
        factors = {n: spread.quantile(n) for n in seeds}
        if any(interval.has_half(spread.scaled(root, t / math.sqrt(n))) for n, t in factors.items()):
            continue
        fits = [n for n, t in factors.items() if interval.has_half(spread.scaled(root, t))]
        for n in fits:
            wide.setdefault(n, []).append((row, column, interval))
        if not fits:
            exact = math.hypot(*(float(std.value) for std in known))
            other.append((row, column, interval, interval.half / exact))
    for n, some in wide.items():
        if len(some) > 1:
            yield Finding(
                "interval too wide",
                "warning",
                _places(some),
                f"{_listed(sheet, some)}: the half widths {_halves(some)} are Student's t of {n} seeds, "
                f"{spread.quantile(n):.3f}, times the root of the cells' summed squared standard deviations, "
                f"without 1/√{n}: about where one more seed's sum lies, {math.sqrt(n):.2f} times too wide "
                "for the mean over seeds.",
            )
    if other:
        ratios = ", ".join(f"{ratio:.2f}" for *_, ratio in other)
        some = [item[:3] for item in other]
        yield Finding(
            "interval not explained",
            "info",
            _places(some),
            f"{_listed(sheet, some)}: the half widths {_halves(some)} are {ratios} times the root of the "
            "cells' summed squared standard deviations: no interval of the mean over seeds, nor of one more "
            "seed, where rows are independent. Sums seed by seed, which are not printed, can have such ones.",
        )


def _widths_of_means(sheet: Sheet) -> Iterator[Finding]:
    """Intervals of columns that are means of others: √Σ h² / k, if the k columns are independent."""
    for column in sheet.table.columns:
        wide: list[tuple[str, Column, PrintedInterval]] = []
        for row in sheet.table.printed_rows if column.mean_of else ():
            interval = sheet.interval(row, column.id)
            members = [sheet.interval(row, name) for name in column.mean_of or ()]
            known = [member for member in members if member]
            if interval is None or len(known) < len(members):
                continue
            root = spread.root_of_halves(known)
            if interval.has_half(root):
                wide.append((row, column, interval))
            elif not interval.has_half(spread.scaled(root, 1 / len(known))):
                whole, count = sum(root) / 2, len(known)
                yield Finding(
                    "interval of a mean",
                    "warning",
                    ((row, column.id),),
                    f"{column.label}, {sheet.row(row)}: the half width of {_ends(interval)} is "
                    f"{_halves([(row, column, interval)])}; those of the {count} columns give "
                    f"{whole / count:.1f} for their mean, or {whole:.1f} if that is not divided by {count}.",
                )
        if wide:
            count = len(column.mean_of or ())
            yield Finding(
                "interval of a mean",
                "warning",
                _places(wide),
                f"{_listed(sheet, wide)}: the half width {_halves(wide)} is the root of the summed squares "
                f"of those of the {count} columns, not divided by {count}: {count} times too wide for their "
                "mean.",
            )


def _places(some: Sequence[tuple[str, Column, PrintedInterval]]) -> tuple[tuple[str, str], ...]:
    return tuple((row, column.id) for row, column, _ in some)


def _listed(sheet: Sheet, some: Sequence[tuple[str, Column, PrintedInterval]]) -> str:
    return "; ".join(f"{column.label}, {sheet.row(row)}" for row, column, _ in some)


def _halves(some: Sequence[tuple[str, Column, PrintedInterval]]) -> str:
    return ", ".join(f"{interval.half:.2f}".rstrip("0").rstrip(".") for *_, interval in some)


def _ends(interval: PrintedInterval) -> str:
    return f"{interval.low} to {interval.high}"


# -- repetitions -------------------------------------------------------------------------------------------


def _repeated_cells(sheet: Sheet) -> Iterator[Finding]:
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
    numbers = ", ".join(_pair(sheet, row, column.id) for row in first)
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
            _behind(sheet, column.id, [(name, 1) for name in datasets]),
        )
        part = _behind(sheet, column.id, [(name, 1) for name in block])
        if printed and behind and part and set(block) <= set(datasets) and row != "total":
            if printed.fits(behind.exact) or explained(printed, behind.possible):
                return ""
            total = part.exact * part.count
            rest = behind.exact * behind.count - total
            return (
                f"; if {label}, {printed}, is right, they add up to "
                f"{_sum_range(printed, behind.count, rest)} and not to {_number(total, printed)}"
            )
    return ""


def _repeated_rows(sheet: Sheet) -> Iterator[Finding]:
    columns = tuple(column.id for column in sheet.table.columns)
    seen: dict[tuple[tuple[Printed | None, Printed | None], ...], str] = {}
    for row in sheet.table.datasets:
        numbers = tuple((sheet.mean(row, column), sheet.std(row, column)) for column in columns)
        telling = sum(map(_telling, numbers)) >= _CHANCE
        first = seen.setdefault(numbers, row)
        if first != row and telling and len(columns) > 1 and all(mean for mean, _ in numbers):
            sentence = f"{row} repeats {first} digit for digit in all {len(columns)} columns."
            yield Finding("repeated rows", "error", tuple(product((first, row), columns)), sentence)


# -- deviations --------------------------------------------------------------------------------------------


def _deviations(
    sheet: Sheet, columns: Sequence[Column] | None = None
) -> Iterator[tuple[Column, str, Printed, Printed]]:
    """(column, row, mean, standard deviation) of the cells that have one, of all columns or of some."""
    for column in columns or sheet.table.columns:
        for row in sheet.table.datasets:
            mean, std = sheet.mean(row, column.id), sheet.std(row, column.id)
            if mean and std:
                yield column, row, mean, std


def _means_that_are_deviations(sheet: Sheet) -> Iterator[Finding]:
    for column, row, mean, std in _deviations(sheet):
        # of few outcomes some give twice the same number
        if mean == std and mean.digits >= _TELLING and row not in sheet.binary:
            yield Finding(
                "mean is deviation",
                "warning",
                ((row, column.id),),
                f"{column.label}, {row}: {mean} is printed as mean and as standard deviation.",
            )


def _reach(sheet: Sheet, row: str, column: str) -> tuple[float, float]:
    """The lowest and the highest score that a single seed of a cell can have had."""
    cell = sheet.cells[row, column]
    n = cell.n
    # all other seeds equal: the farthest that one can lie from the mean
    most = (cell.std or 0.0) * (math.sqrt(n - 1) if cell.ddof == 0 else (n - 1) / math.sqrt(n))
    return cell.mean - most, cell.mean + most


def _ranges(sheet: Sheet) -> Iterator[Finding]:
    """Cells whose deviation needs a seed far beyond any score that the row speaks for."""
    for column, row, mean, std in _deviations(sheet):
        bounds = _bounds(sheet, row, column.id)
        if bounds is None:
            continue
        lowest, highest = bounds
        cell = sheet.cells[row, column.id]
        needed = _needed_score(mean, std, cell.n, cell.ddof, lowest)
        binary = row in sheet.binary
        if needed > highest * (1 + 1e-9 if binary else _BEYOND):
            scale = "possible" if binary else "that the rest of the row speaks for"
            yield Finding(
                "deviation too large",
                "error" if binary else "warning",
                ((row, column.id),),
                f"{column.label}, {row}: {_pair(sheet, row, column.id)} needs a seed that scores at least "
                f"{needed:.0f} even if others score {lowest:.0f} (ddof {cell.ddof}); "
                f"the highest {scale} is {highest:.0f}.",
            )


def _bounds(sheet: Sheet, row: str, column: str) -> tuple[float, float] | None:
    """The lowest and the highest score to reckon with in a cell; None where too little is known."""
    cell = sheet.cells[row, column]
    others = [
        _reach(sheet, row, each.id)
        for each in sheet.table.columns
        if each.id != column and (row, each.id) in sheet.cells
    ]
    if cell.n < 2 or cell.mean <= 0:  # scores below a random policy's have no known floor
        return None
    if row in sheet.binary:
        return 0.0, 100.0
    if len(others) < 2:
        return None
    return min(0.0, *(low for low, _ in others)), max(_EXPERT, cell.mean, *(high for _, high in others))


def _needed_score(mean: Printed, std: Printed, n: int, ddof: int, lowest: float) -> float:
    """The least highest score that a deviation needs, by variance <= (highest - mean) (mean - lowest).

    The inequality is that of Bhatia and Davis (2000), for the population's variance.
    """
    variance = max(float(std.range("rounded").low), 0.0) ** 2 * (n - ddof) / n
    low, high = float(mean.range("rounded").low), float(mean.range("cut off").high)
    # of the means that are printed so, the one that needs the least
    at = min(max(lowest + math.sqrt(variance), low), high)
    return at + variance / (at - lowest) if variance else at


def _grid(sheet: Sheet) -> Iterator[Finding]:
    for column in sheet.table.columns:
        taken: dict[tuple[int, int], dict[str, frozenset[Taken]]] = {}
        for _, row, mean, std in _deviations(sheet, [column]):
            of = sheet.cells[row, column.id].n, sheet.episodes.get((row, column.id), 0)
            # where the scores themselves are known, nothing is left to be inferred
            if row in sheet.binary and countable(*of) and not sheet.cells[row, column.id].sample:
                taken.setdefault(of, {})[row] = ways(mean, std, *of)
        for (n, episodes), possible in taken.items():
            yield from _column_grid(sheet, column, f"{n} seeds of {episodes} episodes", possible)


def _column_grid(
    sheet: Sheet, column: Column, behind: str, possible: Mapping[str, frozenset[Taken]]
) -> Iterator[Finding]:
    """The convention that fits most of a column's cells, and the cells that it does not fit."""
    fitting = {taken: sum(taken in found for found in possible.values()) for taken in TAKEN}
    most = max(fitting.values())
    best = [taken for taken in TAKEN if fitting[taken] == most]
    off = [row for row, found in possible.items() if not found.intersection(best)]
    if 2 * most > len(possible):
        for row in off:
            other = " or ".join(_taken(taken) for taken in TAKEN if taken in possible[row])
            yield Finding(
                "deviation off the grid",
                "warning" if other else "error",
                ((row, column.id),),
                f"{column.label}, {row}: {_pair(sheet, row, column.id)} cannot come from {behind}"
                + (f" as the column's other cells do, only with {other}." if other else "."),
            )
    elif off:
        copied = all(sheet.cells[row, column.id].source == "copied" for row in off)
        numbers = ", ".join(f"{row} {_pair(sheet, row, column.id)}" for row in off)
        yield Finding(
            "deviation off the grid",
            "info" if copied else "warning",
            tuple((row, column.id) for row in off),
            f"{column.label}: {numbers} cannot come from {behind}"
            + ("; they are copied, so from another protocol." if copied else "."),
        )
    ddofs = {ddof for ddof, _ in best}
    stated = {sheet.cells[row, column.id].ddof for row in possible}
    if most == len(possible) > 1 and len(ddofs) == 1:
        rounding = best[0][1] if len(best) == 1 else "rounded or cut off"
        differs = "" if stated == ddofs else f"; the table takes ddof {', '.join(map(str, sorted(stated)))}"
        yield Finding(
            "convention",
            "info" if stated == ddofs else "warning",
            tuple((row, column.id) for row in possible),
            f"{column.label}: all {most} cells whose episodes return 0 or 1 can come from {behind}, but only "
            f"with ddof {best[0][0]}, {rounding}{differs}.",
        )


def _taken(taken: Taken) -> str:
    return f"ddof {taken[0]}, {taken[1]}"


def _confirmed(sheet: Sheet) -> Iterator[Finding]:
    """What checks against public scores found, as it is written down with the cells."""
    for column in sheet.table.columns:
        cells = [cell for row in sheet.table.datasets if (cell := sheet.cells.get((row, column.id)))]
        checked = [cell for cell in cells if cell.check]
        derived = [cell for cell in checked if cell.check == Check.DERIVED]
        if not derived:
            continue
        made = Counter(made_of(cell) for cell in derived)
        rules = "; ".join(f"{number} from {rule}" for rule, number in made.items())
        rest = ", ".join(f"{cell.row} {cell.check}" for cell in checked if cell.check != Check.DERIVED)
        yield Finding(
            "confirmed",
            "info",
            tuple((cell.row, column.id) for cell in derived),
            f"{column.label}: confirmed for {len(derived)} of {len(cells)} cells: {rules}"
            + (f"; not for {rest}." if rest else "."),
        )


def made_of(cell: PublishedCell) -> str:
    """How a confirmed cell is made, as ``rebrac-2023, 10 seeds, ddof 1, cut off``."""
    parts = [cell.sample, count(cell.n, "seed")]
    parts += [] if cell.std is None else [f"ddof {cell.ddof}"]
    return ", ".join([*parts, *filter(None, [cell.rounding])])


def _no_deviations(sheet: Sheet) -> Iterator[Finding]:
    printed = [cell for (row, _), cell in sheet.cells.items() if row in sheet.table.datasets]
    if printed and all(cell.std is None for cell in printed):
        yield Finding(
            "no deviations",
            "info",
            tuple((cell.row, cell.column) for cell in printed),
            "None of the cells is printed with a standard deviation.",
        )


# -- changes in per cent -----------------------------------------------------------------------------------


def _changes(sheet: Sheet) -> Iterator[Finding]:
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
    gives = f"{base} and {number} give {_number(exact, printed, sign=True)} %"
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


def _lone_changes(sheet: Sheet) -> Iterator[Finding]:
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
        possible = " or ".join(_number(number, base) for number in numbers if number >= 0)
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
        gives = _number(rise / before, printed)
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


# -- second sources ----------------------------------------------------------------------------------------


def _restated(sheet: Sheet) -> Iterator[Finding]:
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


# -- two tables --------------------------------------------------------------------------------------------


def _two_tables(sheet: Sheet, specs: Specs) -> Iterator[Finding]:
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


# -- words -------------------------------------------------------------------------------------------------


def _number(value: Fraction, like: Printed, *, sign: bool = False) -> str:
    """A number with up to two digits more than another one was printed with."""
    text = f"{float(value):{'+' if sign else ''}.{len(str(like.unit.denominator)) + 1}f}"
    return text.rstrip("0").rstrip(".")


def _pair(sheet: Sheet, row: str, column: str) -> str:
    """A cell as printed, without a sign between mean and deviation."""
    return " ".join(str(number) for number in (sheet.mean(row, column), sheet.std(row, column)) if number)
