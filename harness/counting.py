"""How much there is of something, in words."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """For example '1 run' and '1,200 runs'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """For example '40 s', '12 min', '3.5 h', '12 days'."""
    for limit, unit, length in ((90, "s", 1), (5400, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / length:.{0 if length < 3600 else 1}f} {unit}"
    return f"{seconds / 86_400:.0f} days"
