"""Why numbers must not be held against the printed ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Protocol


class Labelled(Protocol):
    """A cell, of the plan or of a report."""

    @property
    def incomparable(self) -> tuple[str, ...]:
        """Why its numbers are not comparable with the printed ones; empty if they are."""


def why_incomparable(cells: Collection[Labelled]) -> tuple[str, ...]:
    """The reasons of all cells, each with the number of its cells where it is not a reason for all."""
    counts = Counter(reason for cell in cells for reason in cell.incomparable)
    return tuple(
        reason if number == len(cells) else f"{reason} ({number} of {len(cells)} cells)"
        for reason, number in counts.items()
    )
