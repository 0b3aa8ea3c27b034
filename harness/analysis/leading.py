"""Which cells of a row lead it: the best, and those that are not shown to be worse than the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.analysis import student
from harness.analysis.verdicts import Estimate, average

_SAME = 1e-9  # means that differ by less, relative to their size, differ by rounding alone


def leading(estimates: Sequence[Estimate | None], alpha: float) -> list[bool]:
    """Whether each cell of a row leads it.

    The highest mean leads. So does each other one that a one-sided Welch's t-test against the highest does
    not show to be lower, p-values adjusted over the row by Holm's method (1979). A mean of a single seed, or
    any mean in a row whose highest is one, cannot be tested and leads only if it equals the highest.

    Args:
        estimates: our means in a row, None where there is none or some of its seeds lack; shape (columns,).
        alpha: probability of calling any mean of the row lower than the highest where none is.

    Returns:
        One flag per cell; all False where fewer than two can be compared.
    """
    known = {index: item for index, item in enumerate(estimates) if item is not None}
    if len(known) < 2:
        return [False] * len(estimates)
    best = max(known.values(), key=lambda item: item.mean)
    p_values = {index: _p_lower(item, best) for index, item in known.items()}
    others = {index: p for index, p in p_values.items() if known[index] is not best}
    lower = {
        index
        for index, adjusted in zip(others, _holm(list(others.values())), strict=True)
        if adjusted <= alpha
    }
    return [index in known and index not in lower for index in range(len(estimates))]


def _p_lower(item: Estimate, best: Estimate) -> float:
    """One-sided p-value of ``item`` being lower than ``best``; 0 or 1 where no test can be made."""
    difference = best.mean - item.mean
    if difference <= _SAME * max(1.0, abs(best.mean)):
        return 1.0
    # a difference has the variance and the degrees of freedom of the sum, which is twice the average
    half = average([item, best])
    if not half.variance:
        return 0.0
    return student.cdf(-difference / (2 * math.sqrt(half.variance)), half.df)


def _holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted
