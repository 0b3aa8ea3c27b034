"""Choosing among settings by the scores that they are judged by, and what that is worth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.analysis.measurements import Measured


def best(settings: Mapping[str, Sequence[Measured]]) -> str | None:
    """The setting of the highest mean over its cells, the first of several; None while a cell is incomplete.

    Args:
        settings: name -> its cells, of the same datasets.
    """
    means = {
        name: statistics.fmean(cell.mean for cell in cells if cell.mean is not None)
        for name, cells in settings.items()
        if all(cell.complete for cell in cells)
    }
    return max(means, key=means.__getitem__) if len(means) == len(settings) else None


def expected_best(scores: Sequence[float]) -> tuple[float, ...]:
    """The expected best score of k settings, for k = 1, 2, ... up to all of them.

    The mean of the maximum over all subsets of k settings (Dodge et al., 2019, 'Show Your Work', whose k
    settings are drawn with replacement; without it the estimate has no bias: Tang et al., 2020). Of n scores
    in ascending order the i-th is the largest in C(i - 1, k - 1) of the C(n, k) subsets.
    """
    ordered = sorted(scores)
    return tuple(
        sum(math.comb(below, k - 1) * score for below, score in enumerate(ordered))
        / math.comb(len(ordered), k)
        for k in range(1, len(ordered) + 1)
    )
