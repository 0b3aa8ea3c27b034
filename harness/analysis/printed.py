"""What a printed number stands for: the values that give it when rounded, or when cut off.

All arithmetic is exact, in fractions: whether 58.383 may be printed as 58.3 must not hang on a float.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from typing import Literal, get_args

Convention = Literal["rounded", "cut off"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)


@dataclass(frozen=True)
class Range:
    """An interval of numbers; an end belongs to it where its ``closed`` says so."""

    low: Fraction
    high: Fraction
    low_closed: bool = True
    high_closed: bool = True

    def __contains__(self, value: Fraction) -> bool:
        above = value > self.low or (self.low_closed and value == self.low)
        return above and (value < self.high or (self.high_closed and value == self.high))

    def meets(self, other: Range) -> bool:
        """Whether some number lies in both."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return low < high or (low == high and low in self and low in other)

    def scaled(self, factor: Fraction) -> Range:
        """The numbers of this range times a factor above 0."""
        return Range(self.low * factor, self.high * factor, self.low_closed, self.high_closed)


@dataclass(frozen=True)
class Printed:
    """A number as printed.

    Attributes:
        value: what it says.
        unit: of its last digit, for example 1/10.
        negative: whether it has a minus sign; ``-0.0`` has one too.
    """

    value: Fraction
    unit: Fraction
    negative: bool

    @staticmethod
    def of(value: float, decimals: int) -> Printed:
        """From a number and how many digits were printed after the point."""
        return Printed.parse(f"{value:.{decimals}f}")

    @staticmethod
    @cache
    def parse(text: str) -> Printed:
        """From decimal notation without an exponent, such as ``-6.6``."""
        unit = Fraction(1, 10 ** len(text.partition(".")[2]))
        return Printed(Fraction(text), unit, text.startswith("-"))

    def __str__(self) -> str:
        """As it was printed."""
        return f"{'-' if self.negative else ''}{float(abs(self.value)):.{self.decimals}f}"

    @property
    def decimals(self) -> int:
        """Digits after the point."""
        return len(str(self.unit.denominator)) - 1

    @property
    def digits(self) -> int:
        """Significant digits, zeros at the end left out: what a coincidence would have to hit."""
        return len(str(abs(self.value / self.unit)).strip("0"))

    def range(self, convention: Convention) -> Range:
        """The numbers that are printed like this.

        A number half-way between two may be rounded to either; digits are cut off towards zero.
        """
        return self._ranges[convention]

    @cached_property
    def _ranges(self) -> dict[Convention, Range]:
        low, high = self.value - self.unit, self.value + self.unit
        if self.value:
            low, high = (low, self.value) if self.negative else (self.value, high)
        return {
            "rounded": Range(self.value - self.unit / 2, self.value + self.unit / 2),
            "cut off": Range(low, high, self.value > 0, self.value < 0),
        }

    def fits(self, value: Fraction) -> tuple[Convention, ...]:
        """The conventions under which a number is printed like this."""
        return tuple(convention for convention in CONVENTIONS if value in self.range(convention))


def weighted_mean(ranges: Iterable[tuple[Range, int]]) -> Range:
    """The means that numbers of these ranges, each with its weight, may have."""
    parts = list(ranges)
    total = sum(weight for _, weight in parts)
    return Range(
        sum((part.low * weight for part, weight in parts), Fraction()) / total,
        sum((part.high * weight for part, weight in parts), Fraction()) / total,
        all(part.low_closed for part, _ in parts),
        all(part.high_closed for part, _ in parts),
    )


def explained(printed: Printed, mean: dict[Convention, Range]) -> bool:
    """Whether some number that the ranges (by the convention of what they come from) allow prints so."""
    return any(
        printed.range(convention).meets(allowed) for convention in CONVENTIONS for allowed in mean.values()
    )
