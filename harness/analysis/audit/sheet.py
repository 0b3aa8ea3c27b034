"""What an audit reads and what it says: a table's printed numbers, and findings about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from harness.analysis.printed import Printed
from harness.analysis.spread import PrintedInterval
from harness.counting import count
from harness.specs.published import PublishedCell
from harness.specs.rows import TOTAL

if TYPE_CHECKING:
    from harness.specs import Table

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
        of_low, of_high = cell.end_decimals
        return PrintedInterval(mean, Printed.of(cell.low, of_low), Printed.of(cell.high, of_high))

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


TELLING = 3  # the same for one number


def finer(value: Fraction, like: Printed, *, sign: bool = False) -> str:
    """A number with up to two digits more than another one was printed with."""
    text = f"{float(value):{'+' if sign else ''}.{len(str(like.unit.denominator)) + 1}f}"
    return text.rstrip("0").rstrip(".")


def as_printed(sheet: Sheet, row: str, column: str) -> str:
    """A cell as printed, without a sign between mean and deviation."""
    return " ".join(str(number) for number in (sheet.mean(row, column), sheet.std(row, column)) if number)


def made_of(cell: PublishedCell) -> str:
    """How a confirmed cell is made, as ``rebrac-2023, 10 seeds, ddof 1, cut off``."""
    parts = [cell.sample, count(cell.n, "seed")]
    parts += [] if cell.std is None else [f"ddof {cell.ddof}"]
    return ", ".join([*parts, *filter(None, [cell.rounding])])
