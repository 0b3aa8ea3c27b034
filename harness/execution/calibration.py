"""Whether the environments still give the returns that were recorded with the shipped policies.

A release of MuJoCo or Gymnasium may move the scores of one and the same policy; no other test would see it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness import environments
from harness.datasets import policies, rollouts
from harness.datasets.policies import Policy
from harness.errors import HarnessError
from harness.execution.doctor import CheckResult
from harness.specs import Environment
from harness.training.rollout import roll_out

TOLERANCE = 1e-6
"""Relative difference of two returns that count as the same. A return is the sum of up to 1000 rewards, each
rounded to float32; that is all that may differ while the simulation is the same. Where one digit of the
simulation differs, episodes part for good, and only their distributions can be compared."""

ALPHA = 0.01
"""Probability that any of all the tests made at once raises a false alarm."""


def calibrate(home: Path) -> Iterator[CheckResult]:
    """Evaluate every policy here as its card says and compare the returns with the card's.

    Drawn actions go through the rollouts that make datasets, the others through those that score runs, so a
    change of either is seen.

    Args:
        home: data folder, which may hold policies beside the shipped ones.
    """
    places = policies.found(home)
    if not places:
        yield CheckResult("warn", "calibration", "no policies are shipped yet, so nothing was compared")
    for place in places:
        try:
            yield _compare(place, ALPHA / (2 * len(places)))
        except HarnessError as error:
            yield CheckResult("FAIL", f"calibration {place.stem}", str(error))


def _compare(place: Path, alpha: float) -> CheckResult:
    card = policies.card(place)
    recorded, subject = card.recorded, f"calibration {card.id}"
    before = recorded.returns
    policy, seed = policies.read(place), recorded.seed
    drawn = rollouts.returns(policy, card.environment, len(before.stochastic), seed, noisy=True)
    kinds = {
        "stochastic": (before.stochastic, drawn),
        "deterministic": (
            before.deterministic,
            _scored(policy, card.environment, len(before.deterministic), seed),
        ),
    }
    means = ", ".join(
        f"{name} {np.mean(new):.1f} (recorded {np.mean(old):.1f})" for name, (old, new) in kinds.items()
    )
    if all(np.allclose(old, new, rtol=TOLERANCE, atol=TOLERANCE) for old, new in kinds.values()):
        return CheckResult("ok", subject, f"every return as recorded: {means}")
    now = policies.versions()
    changed = ", ".join(
        f"{name} {recorded.versions.get(name, 'unknown')} → {now[name]}"
        for name in now
        if now[name] != recorded.versions.get(name)
    )
    p = float(np.min([welch(old, new) for old, new in kinds.values()]))  # NaN if either is
    text = f"{means}; {changed or 'the same versions and processor'}"
    if not p >= alpha:
        return CheckResult(
            "FAIL",
            subject,
            f"returns have moved: {text}; Welch's p = {p:.2g}",
            "scores measured here do not compare with earlier ones; go back to the recorded versions",
        )
    if changed:
        return CheckResult("ok", subject, f"other digits, no shift shown: {text}; Welch's p = {p:.2g}")
    return CheckResult(
        "warn",
        subject,
        f"other digits, no shift shown: {text}; Welch's p = {p:.2g}",
        "the same versions should give the same returns: another library or thread count may be in use",
    )


def _scored(policy: Policy, environment: Environment, episodes: int, seed: int) -> tuple[float, ...]:
    """Returns without the policy's noise, of episodes rolled out as those behind scores are."""
    envs = [environments.make(environment) for _ in range(episodes)]
    found, _ = roll_out(lambda seen, _: policy.act(seen), envs, rollouts.starts(policy, seed, episodes))
    for env in envs:
        env.close()
    return tuple(found)


def welch(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Two-sided p-value of Welch's t-test; where neither sample varies, 1 if they are equal, else 0."""
    from scipy import stats

    if np.ptp(one) == np.ptp(other) == 0:
        return float(np.isclose(one[0], other[0], rtol=TOLERANCE))
    return float(stats.ttest_ind(one, other, equal_var=False).pvalue)
