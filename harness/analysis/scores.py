"""From raw returns to the scores that tables show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from harness.specs import models


SCORE_RULES = {
    "last": "last evaluation",
    "mean_last": "mean of the last {k} evaluations",
    "best": "best evaluation (optimistic: chosen by its score)",
}


class Evaluated(Protocol):
    """What a score needs of one evaluation."""

    @property
    def step(self) -> int:
        """Updates done before the evaluation."""

    @property
    def mean_return(self) -> float:
        """Mean raw return over the evaluation's episodes."""


def normalise(value: float, reference: models.ReferenceScores) -> float:
    """The normalised score of a raw return: 0 is the reference minimum, 100 the maximum (D4RL, 2020)."""
    return reference.normalise(value)


def deviation(values: Sequence[float], ddof: int) -> float | None:
    """Standard deviation with divisor n - ddof; None for fewer than two values."""
    if len(values) < 2:
        return None
    # not statistics.stdev, whose exact fractions take a quarter of the time of a whole table
    mean = statistics.fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - ddof))


def run_return(evaluations: Sequence[Evaluated], protocol: models.Protocol) -> float | None:
    """The raw return that the protocol counts for one run, or None if the run has none yet.

    A run counts only once it was evaluated at the protocol's last step, whichever rule is used; otherwise
    ``best`` and ``mean_last`` of a half-trained run would pass for the whole. ``mean_last`` averages the last
    ``last_k`` evaluations after step 0, all of them where the protocol has fewer, and there is no score
    where some of these are missing. A return that is not finite is no score either.

    Args:
        evaluations: the run's evaluations, ordered by step.
        protocol: says the last step and which evaluations count.
    """
    counted = [evaluation for evaluation in evaluations if 0 < evaluation.step <= protocol.length]
    if not counted or counted[-1].step != protocol.length:
        return None
    returns = [evaluation.mean_return for evaluation in counted]
    match protocol.score:
        case "last":
            value = returns[-1]
        case "best":
            value = max(returns)
        case "mean_last":
            k = min(protocol.last_k, -(-protocol.length // protocol.interval))
            value = sum(returns[-k:]) / k if len(returns) >= k else math.nan
    return value if math.isfinite(value) else None


def first_shown(protocol: models.Protocol) -> int:
    """The first step whose evaluation can count, or is shown; what came before need not be read."""
    if protocol.online:
        return 0
    match protocol.score:
        case "last":
            return protocol.length
        case "mean_last":
            return max(protocol.length - protocol.last_k * protocol.interval, 0)
        case "best":
            return 0


def score_before(
    evaluations: Sequence[Evaluated], protocol: models.Protocol, reference: models.ReferenceScores
) -> float | None:
    """The normalised score of an online run before its first interaction; None if there is none."""
    first = evaluations[0] if evaluations else None
    if not protocol.online or first is None or first.step > 0 or not math.isfinite(first.mean_return):
        return None
    return normalise(first.mean_return, reference)


def run_score(
    evaluations: Sequence[Evaluated], protocol: models.Protocol, reference: models.ReferenceScores
) -> float | None:
    """The normalised score of one run (see `run_return` and `normalise`), or None."""
    value = run_return(evaluations, protocol)
    return None if value is None else normalise(value, reference)
