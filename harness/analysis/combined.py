"""Numbers made of other cells: averages and sums over rows, means of columns, the best of settings."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from harness.analysis.measurements import Measured, Rounding, SeedScore, printed, unrounded
from harness.analysis.verdicts import Case, Estimate, average, estimate

if TYPE_CHECKING:
    from harness.specs.published import PublishedCell


@dataclass(frozen=True)
class Combined:
    """The mean of several cells, or their sum; it has a number once all of them are complete.

    Attributes:
        parts: the cells; none where the paper's number stands alone.
        rows: how many rows of the table they stand in.
        published: what the paper printed, or None.
        times: 1 for the mean; for the sum the number of parts.
        notes: what a reader must know beside the cells' own notes.
    """

    parts: tuple[Measured, ...]
    rows: int
    published: PublishedCell | None
    times: int = 1
    notes: tuple[str, ...] = ()

    @property
    def have(self) -> int:
        """Complete cells; of a mean of columns in one row the seeds that each has."""
        if self.rows == 1:
            return min((part.have for part in self.parts), default=0)
        return sum(part.complete for part in self.parts)

    @property
    def wanted(self) -> int:
        """What `have` must be."""
        wanted = [part.wanted for part in self.parts]
        return max(wanted, default=0) if self.rows == 1 else sum(each > 0 for each in wanted)

    @property
    def incomparable(self) -> tuple[str, ...]:
        """Why the number is not comparable with the printed one: the reasons of all cells."""
        return tuple(dict.fromkeys(reason for part in self.parts for reason in part.incomparable))

    @cached_property
    def estimate(self) -> Estimate | None:
        """The mean of the cells and how well it is known, also where the number is their sum."""
        found = [item for part in self.parts if (item := part.complete_estimate)]
        return average(found) if found and len(found) == len(self.parts) else None

    @property
    def mean(self) -> float | None:
        """The number: the mean of the cells or their sum."""
        return self.estimate.mean * self.times if self.estimate else None

    @property
    def scores(self) -> tuple[SeedScore, ...]:
        """The number by seed, of the seeds that every cell has."""
        return _by_seed([part.scores for part in self.parts], self.times) if self.estimate else ()

    @property
    def before(self) -> tuple[SeedScore, ...]:
        """The same before the first interaction, where all cells are online."""
        return _by_seed([part.before for part in self.parts], self.times) if self.estimate else ()

    @property
    def unavailable(self) -> str | None:
        """Why there is no number; None if there is one, or none to be had."""
        if self.estimate or self.incomparable or not self.wanted:
            return None
        why = [part.unavailable for part in self.parts if part.unavailable and self.rows == 1]
        return why[0] if why else f"{self.have} of {self.wanted}"

    @property
    def imported(self) -> bool:
        """Whether some of the scores were imported."""
        return any(part.imported for part in self.parts)

    @property
    def complete_estimate(self) -> Estimate | None:
        """As `estimate`, which there is only of complete cells."""
        return self.estimate

    def case(self, rounding: Rounding) -> Case:
        """The mean of the cells beside what the paper's number makes it: a sum is judged as its mean."""
        return Case(self.estimate, self._printed(rounding), self.have, self.wanted, self.incomparable)

    def _printed(self, rounding: Rounding) -> Estimate | None:
        """What the paper printed; how well that is known its own cells say, where it does not itself."""
        if self.published is None:
            return None
        if self.rows == 1 and self.published.std is not None:
            return printed(self.published, rounding)
        low, high = unrounded(self.published, rounding)
        mean, ends = self.published.mean / self.times, (low / self.times, high / self.times)
        known = [found for part in self.parts if (found := printed(part.published, rounding))]
        if not known or len(known) < len(self.parts):
            return estimate(mean, None, self.published.n, self.published.ddof, ends)
        derived = average(known)
        return Estimate(mean, derived.variance, derived.df, derived.n, ends)


def _by_seed(cells: Sequence[Iterable[SeedScore]], times: int) -> tuple[SeedScore, ...]:
    """Seed by seed the mean over cells, times a number; only seeds that every cell has."""
    scores = [{item.seed: item.score for item in cell} for cell in cells]
    common = [seed for seed in scores[0] if all(seed in cell for cell in scores)]
    return tuple(
        SeedScore(seed, times * statistics.fmean(cell[seed] for cell in scores), "") for seed in common
    )
