"""How many there are of something, in words."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """For example '1 run' and '1,200 runs'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
