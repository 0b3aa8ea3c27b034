"""Confidence intervals of the mean of a few scores.

For up to seven scores the bootstrap is enumerated, not sampled: all multisets of n scores with their
multinomial weights give the resampled mean's exact distribution, so an interval needs no seed and does not
move between two runs. With so few scores a percentile interval is too narrow (about 80 % instead of 95 % at
n = 4), which is why verdicts never rest on it. BCa (Efron, 1987) corrects for bias and skewness, of which a
handful of scores says little: it is hardly wider.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.analysis import student
from harness.errors import HarnessError

EXACT_UP_TO = 7


def check_level(level: float) -> None:
    """Make sure that a nominal coverage is one.

    Raises:
        HarnessError: it is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise HarnessError(f"a level is between 0 and 1, as 0.95 for 95 %, not {level:g}")


@dataclass(frozen=True)
class IntervalSettings:
    """Which interval is asked for; ``repetitions`` and ``seed`` matter only where it is sampled.

    Raises:
        HarnessError: the level is no probability.
    """

    method: Literal["percentile", "bca", "t"] = "percentile"
    level: float = 0.95
    repetitions: int = 50_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_level(self.level)


@dataclass(frozen=True)
class Interval:
    """An interval and how it came about.

    Attributes:
        low: lower end, in the scores' unit.
        high: upper end.
        method: what was done, for example ``exact percentile bootstrap`` (enumerated), ``BCa bootstrap``
            (sampled) or ``Student t``.
        n: number of scores.
        repetitions: resamples: all distinct ones where exact; None for Student's t.
        seed: of the resampling; None where nothing was sampled.
        level: nominal coverage, for example 0.95.
    """

    low: float
    high: float
    method: str
    n: int
    repetitions: int | None
    seed: int | None
    level: float


@lru_cache
def _multisets(n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All multisets of n out of n: counts (K, n), and in how many ordered resamples each occurs (K,)."""
    counts = np.array(
        [np.bincount(chosen, minlength=n) for chosen in combinations_with_replacement(range(n), n)]
    )
    orders = [math.factorial(n) // math.prod(math.factorial(count) for count in row) for row in counts]
    return counts.astype(np.float64), np.array(orders, dtype=np.int64)


def _lower_end(means: NDArray[np.float64], weights: NDArray[np.int64], tail: float) -> float:
    """The smallest mean whose cumulative weight reaches ``tail`` of the whole."""
    order = np.argsort(means)
    cumulative = np.cumsum(weights[order])
    # rounding of tail * total must not push an exact hit to the next atom
    needed = tail * float(cumulative[-1]) * (1 - 1e-12)
    return float(means[order][np.searchsorted(cumulative, needed)])


def bca_levels(below: float, acceleration: float, level: float) -> tuple[float, float] | None:
    """The quantiles of the bootstrap distribution that are the ends of the BCa interval.

    Args:
        below: share of the resamples below the estimate, those equal to it counted half.
        acceleration: Efron's, from the jackknife.
        level: nominal coverage.

    Returns:
        Two shares between 0 and 1; None where they are undefined: no resample differs from the estimate, or
        all differ in one direction, or the acceleration is not finite or too large for the level.
    """
    if not 0 < below < 1 or not math.isfinite(acceleration):
        return None
    normal = NormalDist()
    bias = normal.inv_cdf(below)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        shifted = bias + normal.inv_cdf(tail)
        if acceleration * shifted >= 1:
            return None
        ends.append(normal.cdf(bias + shifted / (1 - acceleration * shifted)))
    return ends[0], ends[1]


def _mean_bca_levels(
    values: NDArray[np.float64], means: NDArray[np.float64], weights: NDArray[np.int64], level: float
) -> tuple[float, float] | None:
    mean = values.mean()
    tolerance = 1e-12 * max(1.0, abs(mean))  # sums of the same scores in another order
    below = weights[means < mean - tolerance].sum() + weights[means <= mean + tolerance].sum()
    away = values - mean
    spread = float((away**2).sum())
    if spread <= tolerance**2:
        return None
    return bca_levels(
        float(below) / (2 * float(weights.sum())), float((away**3).sum()) / (6 * spread**1.5), level
    )


def interval(scores: Sequence[float], settings: IntervalSettings | None = None) -> Interval | None:
    """The interval of the mean of ``scores``; None for fewer than two, which say nothing about their spread.

    The percentile bootstrap takes as lower end the smallest resampled mean with at least (1 - level) / 2 of
    all n**n resamples at or below it, and mirrors that for the upper end. Both invert the distribution
    function without interpolation, hence are what sampled percentiles tend to as repetitions grow. Up to
    `EXACT_UP_TO` scores all resamples are enumerated, above that ``settings.repetitions`` are drawn. BCa
    takes other quantiles of the same distribution in the same way; where they are undefined, as for equal
    scores, the interval is the percentile one, and its method says so.

    Args:
        scores: one score per seed, finite.
        settings: method, level and, where sampled, repetitions and seed.
    """
    settings = settings or IntervalSettings()
    values = np.asarray(scores, dtype=np.float64)
    n = len(values)
    if n < 2:
        return None
    tail = (1 - settings.level) / 2
    if settings.method == "t":
        half = student.quantile(1 - tail, n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
        mean = float(values.mean())
        return Interval(mean - half, mean + half, "Student t", n, None, None, settings.level)
    if n <= EXACT_UP_TO:
        counts, weights = _multisets(n)
        drawn, seed = "exact ", None
    else:
        rng = np.random.default_rng(settings.seed)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=settings.repetitions).astype(np.float64)
        weights = np.ones(settings.repetitions, dtype=np.int64)
        drawn, seed = "", settings.seed
    means = counts @ values / n
    levels, method = (tail, 1 - tail), "percentile bootstrap"
    if settings.method == "bca":
        found = _mean_bca_levels(values, means, weights, settings.level)
        levels, method = (found, "BCa bootstrap") if found else (levels, f"{method} (BCa undefined)")
    low, high = _lower_end(means, weights, levels[0]), -_lower_end(-means, weights, 1 - levels[1])
    return Interval(low, high, f"{drawn}{method}", n, len(weights), seed, settings.level)
