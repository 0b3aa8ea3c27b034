"""Our means and intervals beside those of rliable, which the field's papers use."""

import math

import numpy as np
import pytest
from rliable import library, metrics

from harness.analysis.intervals import IntervalSettings, interval
from harness.analysis.verdicts import average, estimate

REPETITIONS = 10_000
LEVEL = 0.95


def test_mean_over_cells_is_rliables_aggregate_mean():
    scores = np.random.default_rng(0).normal(60, 15, size=(4, 7))  # (seeds, datasets)
    cells = [estimate(float(cell.mean()), float(cell.std(ddof=1)), len(cell), 1) for cell in scores.T]
    assert average(cells).mean == pytest.approx(metrics.aggregate_mean(scores))


@pytest.mark.filterwarnings("ignore:random_state is deprecated:FutureWarning")
@pytest.mark.parametrize("n", [7, 9, 15])  # enumerated, sampled, sampled
def test_interval_is_rliables_stratified_bootstrap(n):
    scores = np.random.default_rng(n).normal(60, 15, size=n)
    _, ends = library.get_interval_estimates(
        {"ours": scores[:, np.newaxis]},
        metrics.aggregate_mean,
        method="percentile",
        reps=REPETITIONS,
        confidence_interval_size=LEVEL,
        random_state=np.random.RandomState(0),
    )
    found = interval(scores, IntervalSettings(level=LEVEL, repetitions=REPETITIONS, seed=1))
    # standard error of a sampled 2.5 % quantile, where a normal density of this spread is 0.058 / spread
    spread = float(scores.std()) / math.sqrt(n)
    noise = math.sqrt(0.025 * 0.975 / REPETITIONS) / 0.058 * spread
    assert np.abs(np.ravel(ends["ours"]) - [found.low, found.high]).max() < 5 * noise
    assert noise < 0.05 * (found.high - found.low)
