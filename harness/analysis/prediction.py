"""What many recorded scores predict of the mean of a few new ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis import student
from harness.analysis.verdicts import VerdictKind, VerdictResult

if TYPE_CHECKING:
    from harness.analysis.verdicts import Estimate
    from harness.specs import models


@dataclass(frozen=True)
class Prediction:
    """An interval for the mean of a few further seeds, if they are drawn as the recorded ones were.

    Attributes:
        low: its lower end, in points of normalised score.
        high: its upper end.
        p: two-sided p-value of the mean that was seen.
    """

    low: float
    high: float
    p: float


def predict(recorded: Estimate, mean: float, n: int, level: float) -> Prediction | None:
    """Student's prediction interval, m ± t s √(1/n + 1/N), with N - 1 degrees of freedom.

    m and s are mean and standard deviation of N recorded scores. The new seeds lend nothing to the deviation:
    two would say hardly anything of it. Scores are taken as normal. (Hahn and Meeker, Statistical Intervals,
    1991, section 4.7.)

    Args:
        recorded: of the N scores.
        mean: of the new ones.
        n: how many these are.
        level: of the interval, between 0 and 1.

    Returns:
        None where the recorded scores have no deviation, so that they predict nothing.
    """
    if not recorded.variance:
        return None
    error = math.sqrt(recorded.variance * (1 + recorded.n / n))
    reach = student.quantile((1 + level) / 2, recorded.df) * error
    p = 2 * student.cdf(-abs(mean - recorded.mean) / error, recorded.df)
    return Prediction(recorded.mean - reach, recorded.mean + reach, p)


def judged(
    recorded: Estimate, new: Estimate, tests: models.Verdict, of: int
) -> tuple[VerdictResult, Prediction | None]:
    """The verdict on a few new seeds beside more recorded ones, and the interval that it rests on.

    The interval is Bonferroni's for all cells together, so that all of them hold in a share of 1 - alpha of
    faithful repetitions, and a cell is called other than recorded exactly where it lies outside of its own.

    Args:
        recorded: the many seeds.
        new: the few.
        tests: alpha, for all cells together, and the margin, which decides where nothing is predicted.
        of: how many cells are judged so.
    """
    difference = new.mean - recorded.mean
    found = predict(recorded, new.mean, new.n, 1 - tests.alpha / of)
    reach = (found.low, found.high) if found else (recorded.mean - tests.margin, recorded.mean + tests.margin)
    moved = VerdictKind.BETTER if difference > 0 else VerdictKind.WORSE
    result = VerdictResult(
        kind=VerdictKind.SAME if reach[0] <= new.mean <= reach[1] else moved,
        have=new.n,
        wanted=new.n,
        difference=difference,
        p=found.p if found else None,
        p_adjusted=min(1.0, found.p * of) if found else None,
        p_equivalence=None,
        alpha=tests.alpha,
        margin=tests.margin,
        note="" if found else "the recorded scores do not differ: held against the margin",
    )
    return result, found
