"""Student's t distribution. SciPy has it too, but its import takes longer than a whole table's comparison."""

from __future__ import annotations

import math

_TINY = 1e-300
_PRECISION = 1e-15
_MOST_TERMS = 100_000


def cdf(t: float, df: float) -> float:
    """Probability that a t variable with ``df`` degrees of freedom (a positive number) is at most ``t``."""
    if t > 0:
        return 1.0 - cdf(-t, df)
    square = t * t
    return 0.5 * _beta(df / 2, 0.5, df / (df + square), square / (df + square))


def quantile(p: float, df: float) -> float:
    """The t that a t variable with ``df`` degrees of freedom is at most with probability ``p``, >= 0.5."""
    low, high = 0.0, 1.0
    while cdf(high, df) < p:
        low, high = high, 2 * high
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if cdf(middle, df) < p else (low, middle)
    return high


def _beta(a: float, b: float, x: float, rest: float) -> float:
    """The regularised incomplete beta function I_x(a, b), with ``rest`` = 1 - x to full precision."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly
        return 1.0 - _beta(b, a, rest, x)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    return math.exp(scale) * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """Its continued fraction by Lentz's method (Press et al., Numerical Recipes, section 6.4)."""
    c, d = 1.0, 1.0 / _apart_from_zero(1.0 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MOST_TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _apart_from_zero(1.0 + term * d)
            c = _apart_from_zero(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < _PRECISION:
            break
    return value


def _apart_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
