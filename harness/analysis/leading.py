"""Which cells of a row lead it: the best, and those that are shown to be as good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.analysis.verdicts import Case, Estimate, VerdictKind, verdicts

if TYPE_CHECKING:
    from harness.specs import models

_SAME = 1e-9  # means that differ by less, relative to their size, differ by rounding alone


def leading(estimates: Sequence[Estimate | None], settings: models.Verdict) -> list[bool]:
    """Whether each cell of a row leads it.

    The highest mean leads, and so does each other one that would be ``OK`` if the highest were printed: two
    one-sided tests show it to be within the margin. A mean that spreads so much that nothing is shown does
    not lead, however little it is below the highest; nor does a mean of a single seed beside another, unless
    they are equal.

    Args:
        estimates: our means in a row, None where there is none or some of its seeds lack; shape (columns,).
        settings: the tests behind the verdicts on the row.

    Returns:
        One flag per cell; all False where fewer than two can be compared.
    """
    known = [item for item in estimates if item is not None]
    if len(known) < 2:
        return [False] * len(estimates)
    best = max(known, key=lambda item: item.mean)
    same = best.mean - _SAME * max(1.0, abs(best.mean))
    against = verdicts([Case(item, best, 1, 1) for item in known], settings)
    ties = iter([one.kind is VerdictKind.OK for one in against])
    return [item is not None and (next(ties) or item.mean >= same) for item in estimates]
