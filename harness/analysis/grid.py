"""Which means and standard deviations seeds can have when an episode's return is 0 or 1."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from typing import Literal

from harness.analysis.printed import CONVENTIONS, Convention, Printed, Range

MOST_OUTCOMES = 20_000  # beyond, the grid is finer than what is printed
Taken = tuple[Literal[0, 1], Convention]  # ddof of a standard deviation, and how it was printed
TAKEN: tuple[Taken, ...] = ((0, "rounded"), (0, "cut off"), (1, "rounded"), (1, "cut off"))


def countable(seeds: int, episodes: int) -> bool:
    """Whether there are few enough outcomes for the grid to exclude anything."""
    return seeds > 1 and math.comb(seeds + episodes, seeds) <= MOST_OUTCOMES


@cache
def outcomes(seeds: int, episodes: int) -> Mapping[int, frozenset[int]]:
    """Sum of the seeds' successes -> the sums of their squares that go with it."""
    reached = {(0, 0)}
    for _ in range(seeds):
        reached = {(s + k, squares + k * k) for s, squares in reached for k in range(episodes + 1)}
    found: dict[int, set[int]] = defaultdict(set)
    for total, squares in reached:
        found[total].add(squares)
    return {total: frozenset(squares) for total, squares in found.items()}


@cache
def ways(mean: Printed, std: Printed, seeds: int, episodes: int) -> frozenset[Taken]:
    """How a printed mean and deviation (in per cent) can come from that many seeds and episodes.

    Empty if they cannot.
    """
    found: set[Taken] = set()
    roots = {convention: std.range(convention) for convention in CONVENTIONS}
    possible = outcomes(seeds, episodes)
    trials = seeds * episodes
    # further away than one unit of its last digit nothing prints as this mean
    lowest = max(math.ceil((mean.value - mean.unit) * trials / 100), 0)
    highest = min(math.floor((mean.value + mean.unit) * trials / 100), trials)
    for total in range(lowest, highest + 1):
        as_mean = mean.fits(Fraction(100 * total, trials))
        for squares in possible[total] if as_mean else ():
            spread = (squares - Fraction(total * total, seeds)) * Fraction(100, episodes) ** 2
            found |= {
                (ddof, convention)
                for ddof, convention in TAKEN
                if convention in as_mean and _has_root(roots[convention], spread / (seeds - ddof))
            }
    return frozenset(found)


def _has_root(roots: Range, variance: Fraction) -> bool:
    """Whether the square root of a variance lies in a range; compared as squares, to stay exact."""
    above = roots.low < 0 or variance > roots.low**2 or (roots.low_closed and variance == roots.low**2)
    below = variance < roots.high**2 or (roots.high_closed and variance == roots.high**2)
    return above and below
