"""Printed intervals: how wide they are, and what standard deviations would make of them.

A printed number stands for all the numbers that are printed so; what is reckoned from several is a range,
here of floats, since roots and quantiles have no exact values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from harness.analysis import student
from harness.analysis.printed import CONVENTIONS, Printed

_LEVEL = 0.95
_EXACT = 1e-9  # what floats may be off where a range ends


@dataclass(frozen=True)
class PrintedInterval:
    """An interval printed with a number.

    Attributes:
        number: that it is of.
        low: its lower end.
        high: its upper end.
    """

    number: Printed
    low: Printed
    high: Printed

    @property
    def half(self) -> float:
        """Half its width."""
        return float(self.high.value - self.low.value) / 2

    @property
    def halves(self) -> tuple[float, float]:
        """The half widths that may stand behind the printed ends, rounded or cut off."""
        lost = float(self.low.unit + self.high.unit) / 4
        return self.half - lost, self.half + lost

    @property
    def centred(self) -> bool:
        """Whether the number may be its centre."""
        off = (self.low.value + self.high.value) / 2 - self.number.value
        return abs(off) <= (self.low.unit + self.high.unit) / 4 + self.number.unit / 2

    def has_half(self, halves: tuple[float, float]) -> bool:
        """Whether some half width of a range is one that it may have."""
        low, high = self.halves
        return halves[0] <= high + _EXACT and low <= halves[1] + _EXACT


def quantile(seeds: int) -> float:
    """Student's t whose two tails hold 5 %, with so many seeds less one degrees of freedom."""
    return student.quantile((1 + _LEVEL) / 2, seeds - 1)


def root_of_squares(numbers: Iterable[Printed]) -> tuple[float, float]:
    """The range of the root of the sum of the squares of printed numbers, none of them negative."""
    known = list(numbers)
    ranges = [[number.range(convention) for number in known] for convention in CONVENTIONS]
    lows = [math.hypot(*(max(float(each.low), 0.0) for each in some)) for some in ranges]
    return min(lows), max(math.hypot(*(float(each.high) for each in some)) for some in ranges)


def root_of_halves(intervals: Iterable[PrintedInterval]) -> tuple[float, float]:
    """The same of the half widths of intervals."""
    low, high = zip(*(interval.halves for interval in intervals), strict=True)
    return math.hypot(*low), math.hypot(*high)


def scaled(ends: tuple[float, float], factor: float) -> tuple[float, float]:
    """A range times a factor above 0."""
    return ends[0] * factor, ends[1] * factor
