"""What many recorded scores predict of the mean of a few new ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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


def forecast(recorded: Estimate, n: int) -> Estimate:
    """The mean that recorded scores let expect of n new ones, with the variance of what is seen around it.

    That is s² (1/n + 1/N) for N scores of the standard deviation s. The new seeds lend nothing to it: two
    would say hardly anything of their deviation. (Hahn and Meeker, Statistical Intervals, 1991, section 4.7.)
    """
    if recorded.variance is None:
        return recorded
    return replace(recorded, variance=recorded.variance * (1 + recorded.n / n))


def predict(expected: Estimate, mean: float, level: float) -> Prediction | None:
    """Student's prediction interval; scores are taken as normal.

    Args:
        expected: what `forecast` gives, or the average of several.
        mean: of the new scores.
        level: of the interval, between 0 and 1.

    Returns:
        None where the recorded scores have no deviation, so that they predict nothing.
    """
    if not expected.variance:
        return None
    error = math.sqrt(expected.variance)
    reach = student.quantile((1 + level) / 2, expected.df) * error
    p = 2 * student.cdf(-abs(mean - expected.mean) / error, expected.df)
    return Prediction(expected.mean - reach, expected.mean + reach, p)


def judged(
    expected: Estimate, mean: float, have: int, tests: models.Verdict, of: int
) -> tuple[VerdictResult, Prediction | None]:
    """The verdict on a few new seeds beside more recorded ones, and the interval that it rests on.

    The interval is Bonferroni's for all cells together, so that all of them hold in a share of 1 - alpha of
    faithful repetitions, and a cell is called other than recorded exactly where it lies outside of its own.

    Args:
        expected: what the many seeds let expect of the few, as `forecast` gives it.
        mean: of the few.
        have: how many these are; of an average its cells.
        tests: alpha, for all cells together, and the margin, which decides where nothing is predicted.
        of: how many cells are judged so.
    """
    difference = mean - expected.mean
    found = predict(expected, mean, 1 - tests.alpha / of)
    reach = (found.low, found.high) if found else (expected.mean - tests.margin, expected.mean + tests.margin)
    moved = VerdictKind.BETTER if difference > 0 else VerdictKind.WORSE
    result = VerdictResult(
        kind=VerdictKind.SAME if reach[0] <= mean <= reach[1] else moved,
        have=have,
        wanted=have,
        difference=difference,
        p=found.p if found else None,
        p_adjusted=min(1.0, found.p * of) if found else None,
        p_equivalence=None,
        alpha=tests.alpha,
        margin=tests.margin,
        note="" if found else "the recorded scores do not differ: held against the margin",
    )
    return result, found
