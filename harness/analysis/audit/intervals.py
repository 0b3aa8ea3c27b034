"""Intervals that are not in the middle, too wide, or not what the columns' own give."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness.analysis import spread
from harness.analysis.audit.sheet import Finding, Sheet
from harness.analysis.spread import PrintedInterval

if TYPE_CHECKING:
    from harness.specs import Column


def _with_intervals(sheet: Sheet) -> list[tuple[str, Column, PrintedInterval]]:
    """(row, column, interval) of all numbers that are printed with one."""
    return [
        (row, column, interval)
        for column in sheet.table.columns
        for row in sheet.table.printed_rows
        if (interval := sheet.interval(row, column.id))
    ]


def off_centre(sheet: Sheet) -> Iterator[Finding]:
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


def widths(sheet: Sheet) -> Iterator[Finding]:
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


def widths_of_means(sheet: Sheet) -> Iterator[Finding]:
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
