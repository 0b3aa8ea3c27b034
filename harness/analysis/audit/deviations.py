"""Standard deviations that scores, seeds and episodes do not allow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.analysis.audit.sheet import TELLING, Finding, Sheet, as_printed, made_of
from harness.analysis.grid import TAKEN, Taken, countable, ways
from harness.analysis.printed import Printed
from harness.specs.published import Check

if TYPE_CHECKING:
    from harness.specs import Column

_EXPERT = 100.0  # an expert's normalised score
_BEYOND = 1.1  # how far beyond the best that a row shows a single seed may score, as a factor


def _deviations(
    sheet: Sheet, columns: Sequence[Column] | None = None
) -> Iterator[tuple[Column, str, Printed, Printed]]:
    """(column, row, mean, standard deviation) of the cells that have one, of all columns or of some."""
    for column in columns or sheet.table.columns:
        for row in sheet.table.datasets:
            mean, std = sheet.mean(row, column.id), sheet.std(row, column.id)
            if mean and std:
                yield column, row, mean, std


def means_that_are_deviations(sheet: Sheet) -> Iterator[Finding]:
    """Cells whose mean and deviation are the same number."""
    for column, row, mean, std in _deviations(sheet):
        # of few outcomes some give twice the same number
        if mean == std and mean.digits >= TELLING and row not in sheet.binary:
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


def too_large(sheet: Sheet) -> Iterator[Finding]:
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
                f"{column.label}, {row}: {as_printed(sheet, row, column.id)} needs a seed that scores at "
                f"least {needed:.0f} even if others score {lowest:.0f} (ddof {cell.ddof}); "
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


def off_grid(sheet: Sheet) -> Iterator[Finding]:
    """Deviations that no scores of so many seeds and episodes have."""
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
                f"{column.label}, {row}: {as_printed(sheet, row, column.id)} cannot come from {behind}"
                + (f" as the column's other cells do, only with {other}." if other else "."),
            )
    elif off:
        copied = all(sheet.cells[row, column.id].source == "copied" for row in off)
        numbers = ", ".join(f"{row} {as_printed(sheet, row, column.id)}" for row in off)
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


def confirmed(sheet: Sheet) -> Iterator[Finding]:
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


def no_deviations(sheet: Sheet) -> Iterator[Finding]:
    """A table without any deviation."""
    printed = [cell for (row, _), cell in sheet.cells.items() if row in sheet.table.datasets]
    if printed and all(cell.std is None for cell in printed):
        yield Finding(
            "no deviations",
            "info",
            tuple((cell.row, cell.column) for cell in printed),
            "None of the cells is printed with a standard deviation.",
        )
