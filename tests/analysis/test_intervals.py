from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.intervals import IntervalSettings, bca_levels, interval

SCORES = np.array([61.2, 78.9, 44.0, 90.5, 70.1, 66.6, 52.3, 81.4, 75.0])


def brute_force(scores, level):
    """Percentiles of the mean over all n**n ordered resamples, each of equal weight."""
    means = np.sort([np.mean(resample) for resample in product(scores, repeat=len(scores))])
    tail = (1 - level) / 2
    low = np.quantile(means, tail, method="inverted_cdf")
    high = -np.quantile(-means[::-1], tail, method="inverted_cdf")
    return low, high


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_exact_equals_brute_force(n, level):
    found = interval(SCORES[:n], IntervalSettings(level=level))
    assert (found.low, found.high) == pytest.approx(brute_force(SCORES[:n], level))
    assert found.method == "exact percentile bootstrap"
    assert found.seed is None


def test_four_seeds_have_35_resamples():
    assert interval(SCORES[:4]).repetitions == 35


@pytest.mark.parametrize("n", [4, 7, 9])
def test_agrees_with_scipy(n):
    found = interval(SCORES[:n])
    oracle = scipy.stats.bootstrap(
        (SCORES[:n],), np.mean, method="percentile", n_resamples=40_000, batch=4000, rng=1
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(oracle), abs=0.6)


def test_sampled_is_seeded_and_says_so():
    first, again = (interval(SCORES, IntervalSettings(seed=3)) for _ in range(2))
    assert first == again
    assert (first.method, first.seed, first.repetitions, first.n) == ("percentile bootstrap", 3, 50_000, 9)
    assert first != interval(SCORES, IntervalSettings(seed=4))


def test_student_t():
    found = interval(SCORES[:5], IntervalSettings(method="t"))
    sem = scipy.stats.sem(SCORES[:5])
    oracle = scipy.stats.t.interval(0.95, 4, loc=SCORES[:5].mean(), scale=sem)
    assert (found.low, found.high) == pytest.approx(oracle)
    assert found.repetitions is None


def test_mirrored_scores_mirror_the_interval():
    found, mirrored = interval(SCORES[:5]), interval(-SCORES[:5])
    assert (found.low, found.high) == pytest.approx((-mirrored.high, -mirrored.low))


def test_an_end_that_is_hit_exactly_is_kept():
    # of the four resamples of (0, 1) a quarter has mean 0, so the lower 25 % point is 0, not 0.5
    found = interval([0.0, 1.0], IntervalSettings(level=0.5))
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize("scores", [[], [5.0]])
def test_too_few_scores(scores):
    assert interval(scores) is None


def test_no_spread():
    found = interval([3.0] * 4)
    assert (found.low, found.high) == (3.0, 3.0)


SKEWED = np.array([3.0, 4.5, 5.0, 6.5, 8.0, 11.0, 16.0, 35.0, 70.0])


@pytest.mark.parametrize("n", [5, 7, 9])
def test_bca_is_scipys(n):
    """Up to seven scores ours is what scipy's tends to; scipy interpolates between atoms."""
    scores = SKEWED[-n:]
    found = interval(scores, IntervalSettings(method="bca", repetitions=100_000))
    oracle = scipy.stats.bootstrap(
        (scores,), np.mean, method="BCa", n_resamples=100_000, batch=4000, rng=1
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(oracle), abs=1)
    assert found.method == ("exact BCa bootstrap" if n <= 7 else "BCa bootstrap")
    plain = interval(scores, IntervalSettings(repetitions=100_000))
    assert found.low > plain.low + 1  # BCa follows the skewness
    assert found.high > plain.high + 1


def test_bca_of_symmetric_scores_is_the_percentile_interval():
    found = interval([1.0, 2.0, 3.0, 4.0], IntervalSettings(method="bca"))
    plain = interval([1.0, 2.0, 3.0, 4.0])
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))


@pytest.mark.parametrize("scores", [[3.0] * 4, [0.1 + 0.2, 0.3, 0.3], [5.0] * 12])
def test_bca_without_spread_is_said(scores):
    found = interval(scores, IntervalSettings(method="bca"))
    assert (found.low, found.high) == pytest.approx((scores[0], scores[0]))
    assert found.method.endswith("percentile bootstrap (BCa undefined)")


@pytest.mark.parametrize(("below", "acceleration"), [(0.0, 0.0), (1.0, 0.0), (0.5, float("nan")), (0.5, 0.6)])
def test_bca_undefined(below, acceleration):
    assert bca_levels(below, acceleration, 0.95) is None


def test_bca_levels_by_hand():
    assert bca_levels(0.5, 0.0, 0.9) == pytest.approx((0.05, 0.95))
    # Efron and Tibshirani (1993), equation 14.10, with bias z = 0.1 and acceleration 0.05
    normal = scipy.stats.norm
    expected = [
        normal.cdf(0.1 + (0.1 + z) / (1 - 0.05 * (0.1 + z))) for z in (normal.ppf(0.05), normal.ppf(0.95))
    ]
    assert bca_levels(normal.cdf(0.1), 0.05, 0.9) == pytest.approx(expected)


@given(st.lists(st.floats(-50, 150), min_size=2, max_size=8), st.sampled_from(["percentile", "bca", "t"]))
def test_ends_are_ordered_and_bootstrap_ends_lie_among_the_scores(scores, method):
    found = interval(scores, IntervalSettings(method=method, repetitions=200))
    assert found.low <= found.high
    if method != "t":
        assert min(scores) - 1e-9 <= found.low
        assert found.high <= max(scores) + 1e-9
