from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.stats

from harness.analysis.intervals import IntervalSettings, interval

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
