"""What recorded scores predict of a few new ones, and that what is recorded notices what breaks training."""

import numpy as np
import pytest
from scipy import stats

from harness.analysis.prediction import forecast, judged, predict
from harness.analysis.verdicts import VerdictKind, average, estimate
from harness.specs import models

RNG = np.random.default_rng(0)


def known(scores):
    return estimate(float(np.mean(scores)), float(np.std(scores, ddof=1)), len(scores), 1)


def test_the_interval_is_students():
    scores = RNG.normal(30, 3, 10)
    found = predict(forecast(known(scores), 2), 33.0, 0.95)
    assert found
    reach = stats.t.ppf(0.975, 9) * scores.std(ddof=1) * np.sqrt(1 / 2 + 1 / 10)
    assert (found.low, found.high) == pytest.approx((scores.mean() - reach, scores.mean() + reach))


def test_it_holds_the_mean_of_two_further_seeds_as_often_as_it_says():
    draws = RNG.normal(30, 3, (4000, 12))
    held = 0
    for scores in draws:
        new = float(scores[10:].mean())
        found = predict(forecast(known(scores[:10]), 2), new, 0.95)
        assert found
        assert (found.low <= new <= found.high) == (found.p >= 0.05)
        held += found.low <= new <= found.high
    assert held / len(draws) == pytest.approx(0.95, abs=0.012)


def test_an_average_of_cells_of_unlike_deviations_holds_as_often_as_it_says():
    deviations = np.array([1.0, 5.0, 9.0])
    draws = RNG.normal(0, 1, (4000, 3, 12)) * deviations[:, None]
    held = 0
    for cells in draws:
        expected = average([forecast(known(scores[:10]), 2) for scores in cells])
        new = float(cells[:, 10:].mean())
        found = predict(expected, new, 0.95)
        assert found
        held += found.low <= new <= found.high
    assert held / len(draws) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(
    ("new", "kind"), [(30.5, VerdictKind.SAME), (20.0, VerdictKind.WORSE), (40.0, VerdictKind.BETTER)]
)
def test_a_cell_is_same_inside_of_its_interval(new, kind):
    recorded = known(RNG.normal(30, 1, 10))
    verdict, found = judged(forecast(recorded, 2), new, 2, models.Verdict(), 3)
    assert found
    assert verdict.kind == kind
    assert (verdict.kind is VerdictKind.SAME) == (found.low <= new <= found.high)
    assert (verdict.p_adjusted > 0.05) == (kind is VerdictKind.SAME)


@pytest.mark.parametrize(("new", "kind"), [(34.0, VerdictKind.SAME), (36.0, VerdictKind.BETTER)])
def test_without_a_deviation_the_margin_decides(new, kind):
    verdict, found = judged(forecast(known([30.0] * 10), 2), new, 2, models.Verdict(margin=5), 1)
    assert (verdict.kind, found) == (kind, None)
