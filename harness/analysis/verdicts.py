"""The verdict on every cell of a table: does our reproduction agree with what the paper printed?

Both sides are known only as (mean, standard deviation, number of seeds), so the difference is tested with
Welch's t-test, the p-values are adjusted over the table (Benjamini and Hochberg, 1995), and agreement is
shown with two one-sided tests against a margin (TOST, Schuirmann 1987), not by the lack of a difference. A
printed mean is rounded, so it stands for an interval: a difference is tested against its nearer end,
agreement against its farther one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.analysis import student

if TYPE_CHECKING:
    from harness.specs import models


class VerdictKind(StrEnum):
    """What can be said of a cell; the value is what every output shows."""

    OK = "OK"
    CLOSE = "OK*"
    SAME = "SAME"
    UNDECIDED = "UNDECIDED"
    BETTER = "BETTER"
    WORSE = "WORSE"
    MISSING = "MISSING"
    INCOMPARABLE = "N/C"
    PRINTED = "PRINTED"
    UNPUBLISHED = "\N{EN DASH}"


LEGEND: dict[VerdictKind, str] = {
    VerdictKind.OK: "equivalent to the published mean within the margin",
    VerdictKind.CLOSE: "within the margin, but too few seeds to show equivalence",
    VerdictKind.SAME: "what the baseline's seeds predict of so few seeds",
    VerdictKind.UNDECIDED: "farther off than the margin, but not significantly: too few seeds to tell",
    VerdictKind.BETTER: "significantly above the published mean, not shown to be within the margin",
    VerdictKind.WORSE: "significantly below the published mean, not shown to be within the margin",
    VerdictKind.MISSING: "k of n seeds have a score",
    VerdictKind.INCOMPARABLE: "not comparable with the published number",
    VerdictKind.PRINTED: "a number of the paper's alone, for which nothing is trained",
    VerdictKind.UNPUBLISHED: "nothing published",
}


@dataclass(frozen=True)
class Estimate:
    """A mean and how well it is known.

    Attributes:
        mean: in points of normalised score.
        variance: squared standard error of the mean; None if unknown (one seed, or no deviation printed).
        df: degrees of freedom of ``variance``.
        n: seeds behind the mean.
        printed: lowest and highest number that a rounded ``mean`` may stand for; None if it is not rounded.
    """

    mean: float
    variance: float | None
    df: float
    n: int
    printed: tuple[float, float] | None = None


def estimate(
    mean: float, std: float | None, n: int, ddof: int, printed: tuple[float, float] | None = None
) -> Estimate:
    """The estimate that (mean, std, n) gives; its variance is unbiased whichever ``ddof`` the std has.

    Args:
        mean: mean over seeds.
        std: standard deviation over seeds, with divisor n - ddof; None if it is not known.
        n: number of seeds.
        ddof: 0 or 1.
        printed: as `Estimate` has it.
    """
    if std is None or n < 2 or not math.isfinite(std):
        return Estimate(mean, None, math.nan, n, printed)
    # deviations of equal scores are seldom exactly zero in floating point
    variance = 0.0 if std <= 1e-9 * max(1.0, abs(mean)) else std**2 / (n - 1 + ddof)
    return Estimate(mean, variance, n - 1, n, printed)


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The unweighted mean of independent estimates, with Satterthwaite's degrees of freedom."""
    mean = sum(item.mean for item in estimates) / len(estimates)
    n = min(item.n for item in estimates)
    parts = [
        (item.variance / len(estimates) ** 2, item.df) for item in estimates if item.variance is not None
    ]
    if len(parts) < len(estimates):
        return Estimate(mean, None, math.nan, n)
    return Estimate(mean, sum(variance for variance, _ in parts), _satterthwaite(parts), n)


def _satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of independent (variance, df); NaN if all variances are zero."""
    denominator = sum(variance**2 / df for variance, df in parts if variance > 0)
    return sum(variance for variance, _ in parts) ** 2 / denominator if denominator > 0 else math.nan


@dataclass(frozen=True)
class Case:
    """One cell, or one average, as `verdicts` sees it.

    Attributes:
        reproduced: our estimate; None if there is no score.
        published: the paper's estimate; None if it printed nothing.
        have: seeds with a score (for an average: complete cells).
        wanted: seeds asked for (for an average: all its cells); 0 where nothing is trained.
        incomparable: reasons why the two numbers must not be compared; empty if they may.
        same_sample: whether both numbers come from the same scores, so that no test applies.
    """

    reproduced: Estimate | None
    published: Estimate | None
    have: int
    wanted: int
    incomparable: tuple[str, ...] = ()
    same_sample: bool = False


@dataclass(frozen=True)
class VerdictResult:
    """A verdict and everything it rests on.

    Attributes:
        kind: the verdict.
        have: seeds with a score (for an average: complete cells).
        wanted: seeds asked for (for an average: all its cells).
        difference: reproduced minus published mean, also where these are not comparable; None if one lacks.
        p: two-sided p-value of Welch's test; None if no test was made.
        p_adjusted: the same, adjusted over the table.
        p_equivalence: p-value of the equivalence test; None if none was made.
        alpha: level of both tests; for the first a false-discovery rate over the table.
        margin: points of normalised score that count as equal.
        reasons: why the cell is not comparable.
        note: what a reader must know about the tests; empty for the usual case.
        label: of the preset, part of the verdict's text; None for the table's own protocol.
    """

    kind: VerdictKind
    have: int
    wanted: int
    difference: float | None
    p: float | None
    p_adjusted: float | None
    p_equivalence: float | None
    alpha: float
    margin: float
    reasons: tuple[str, ...] = ()
    note: str = ""
    label: str | None = None

    @property
    def mark(self) -> str:
        """The verdict in a word, with the number of seeds where some lack: ``OK*``, ``MISSING 2/4``."""
        return str(self.kind) if self.have >= self.wanted else f"{self.kind} {self.have}/{self.wanted}"

    @property
    def text(self) -> str:
        """The mark and, where a preset was used, its label: ``OK* (smoke protocol)``."""
        return f"{self.mark} ({self.label})" if self.label else self.mark

    def times(self, number: int) -> VerdictResult:
        """The verdict on a sum that was judged as the mean of so many numbers."""
        difference = None if self.difference is None else self.difference * number
        return replace(self, difference=difference, margin=self.margin * number)


def adjust(p_values: ArrayLike) -> NDArray[np.float64]:
    """Benjamini and Hochberg's adjusted p-values (shape (m,), in the order given)."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)[::-1]
    ranked = p[order] * len(p) / np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(ranked), 1.0)
    return adjusted


@dataclass(frozen=True)
class _Test:
    """Welch's test and TOST of one case; ``p`` is None where both deviations are zero or unknown.

    ``nearest`` and ``farthest`` are the distances from our mean to the two ends of the printed one; where the
    case is ``exact``, they alone decide.
    """

    difference: float
    nearest: float
    farthest: float
    p: float | None
    p_equivalence: float | None
    exact: bool
    note: str


def _test(
    ours: Estimate, theirs: Estimate, margin: float, sides: tuple[str, str], *, same_sample: bool
) -> _Test:
    difference = ours.mean - theirs.mean
    low, high = theirs.printed or (theirs.mean, theirs.mean)
    nearest = max(low - ours.mean, ours.mean - high, 0.0)
    farthest = max(ours.mean - low, high - ours.mean)
    distances = (difference, nearest, farthest)
    note = ""
    if same_sample:
        note = f"{sides[0]} and {sides[1]} from the same scores: not tested, held against the margin"
        return _Test(*distances, None, None, exact=True, note=note)
    if ours.variance is not None and theirs.variance is not None:
        variance = ours.variance + theirs.variance
        df = _satterthwaite([(ours.variance, ours.df), (theirs.variance, theirs.df)])
    else:
        # The side without a deviation borrows the other's: Student's test, which assumes them equal
        known, unknown = (ours, theirs) if ours.variance is not None else (theirs, ours)
        if known.variance is None:
            return _Test(
                *distances, None, None, exact=False, note="not testable: no deviation on either side"
            )
        variance, df = known.variance * (1 + known.n / unknown.n), known.df
        side = sides[unknown is theirs]
        note = f"{side} deviation unknown, taken to equal the other side's"
    if variance == 0:
        note = "; ".join(
            filter(None, (note, "deviations are zero: the difference is held against the margin"))
        )
        return _Test(*distances, None, None, exact=True, note=note)

    error = math.sqrt(variance)
    p = 2 * student.cdf(-nearest / error, df)
    p_equivalence = student.cdf((farthest - margin) / error, df)
    return _Test(*distances, p, p_equivalence, exact=False, note=note)


def _judge(test: _Test, p_adjusted: float | None, settings: models.Verdict) -> tuple[VerdictKind, str]:
    """The verdict on a complete, comparable case, and its note."""
    if test.exact:
        different, equivalent = test.nearest > settings.margin, test.farthest <= settings.margin
    else:
        different = p_adjusted is not None and p_adjusted <= settings.alpha
        equivalent = test.p_equivalence is not None and test.p_equivalence <= settings.alpha
    if equivalent:
        small = "differs significantly, but by less than the margin" if different else ""
        return VerdictKind.OK, "; ".join(filter(None, (test.note, small)))
    if different:
        return VerdictKind.BETTER if test.difference > 0 else VerdictKind.WORSE, test.note
    far = test.nearest > settings.margin
    return VerdictKind.UNDECIDED if far else VerdictKind.CLOSE, test.note


def verdicts(
    cells: Sequence[Case],
    settings: models.Verdict,
    label: str | None = None,
    sides: tuple[str, str] = ("reproduced", "published"),
) -> list[VerdictResult]:
    """The verdict on every cell of a table, in the order given.

    All cells go in at once because the p-values are adjusted over those that are tested: comparable,
    published and complete. Equivalence wins over a significant difference, which then is real but smaller
    than the margin, and the note says so. Where neither is shown, the verdict is ``OK*`` within the margin
    and ``UNDECIDED`` beyond it. Where one side's deviation is unknown (one seed, none printed), it is taken
    to equal the other's, and the note says so; where both are, nothing is tested. Where both are zero, or
    both numbers come from the same scores, the difference alone is held against the margin.

    Args:
        cells: all cells of the table.
        settings: alpha and margin.
        label: of the preset; part of every verdict's text.
        sides: what the notes call the two sides.
    """
    tests: dict[int, _Test] = {}
    kinds: dict[int, VerdictKind] = {}
    for index, case in enumerate(cells):
        if case.incomparable:
            kinds[index] = VerdictKind.INCOMPARABLE
        elif case.published is None:
            kinds[index] = VerdictKind.UNPUBLISHED
        elif case.wanted == 0:
            kinds[index] = VerdictKind.PRINTED
        elif case.reproduced is None or case.have < case.wanted:
            kinds[index] = VerdictKind.MISSING
        else:
            tests[index] = _test(
                case.reproduced, case.published, settings.margin, sides, same_sample=case.same_sample
            )

    tested = {index: test.p for index, test in tests.items() if test.p is not None}
    adjusted = dict(zip(tested, adjust(list(tested.values())).tolist(), strict=True))

    def result(index: int, case: Case) -> VerdictResult:
        test = tests.get(index)
        kind, note = _judge(test, adjusted.get(index), settings) if test else (kinds[index], "")
        difference = None
        if case.reproduced and case.published:
            difference = case.reproduced.mean - case.published.mean
        return VerdictResult(
            kind=kind,
            have=case.have,
            wanted=case.wanted,
            difference=difference,
            p=test.p if test else None,
            p_adjusted=adjusted.get(index),
            p_equivalence=test.p_equivalence if test else None,
            alpha=settings.alpha,
            margin=settings.margin,
            reasons=case.incomparable,
            note=note,
            label=label,
        )

    return [result(index, case) for index, case in enumerate(cells)]
