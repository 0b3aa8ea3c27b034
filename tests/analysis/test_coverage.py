"""The promises about error rates, by a short run of the simulation whose long one the docs show."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def coverage():
    path = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("benchmark_coverage", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(
    ("method", "n", "low", "high"),
    [
        ("t", 3, 0.93, 0.97),
        ("t", 10, 0.93, 0.97),
        ("percentile", 4, 0.76, 0.84),
        ("percentile", 10, 0.86, 0.93),
        ("bca", 4, 0.76, 0.84),
    ],
)
def test_intervals_of_normal_cells_cover_as_the_docs_say(coverage, method, n, low, high):
    assert low < coverage.interval_coverage(method, "normal", n, 1500, 1) < high


def test_bimodal_cells_are_covered_less(coverage):
    assert coverage.interval_coverage("t", "bimodal", 4, 1500, 1) < 0.85


def test_the_true_moments_are_those_of_the_draws(coverage):
    rng = coverage.np.random.default_rng(0)
    mean, std = coverage.cells(rng, 5)
    for shape in coverage.SHAPES:
        drawn = coverage.draw(rng, shape, mean, std, 200_000)
        for found, expected in zip(
            (drawn.mean(0), drawn.std(0)), coverage.moments(shape, mean, std), strict=True
        ):
            assert found == pytest.approx(expected, rel=0.02, abs=0.5)


def test_aggregates_are_covered(coverage):
    assert 0.85 < coverage.aggregate_coverage("normal", 4, 150, 1)["mean"] < 0.98


@pytest.mark.parametrize("shape", ["normal", "bimodal"])
@pytest.mark.parametrize("n", [3, 4, 10])
def test_a_perfect_reproduction_seldom_alarms(coverage, shape, n):
    rates = coverage.verdict_rates(shape, n, 0.0, 5, 1)
    assert rates["before"] <= 0.05
    assert rates["after"] <= 0.01
    assert rates["alarm"] <= 0.01


def test_a_loss_is_seen_where_it_is_larger_than_the_margin(coverage):
    rates = coverage.verdict_rates("normal", 10, 2.0, 3, 1)
    assert rates["after"] > 0.95
    # the others lost less than the margin, and nearly all of these are shown to
    assert rates["alarm"] + rates["OK"] > 0.97


def test_averages_find_what_cells_cannot(coverage):
    perfect = coverage.average_rates("normal", 39, 0.0, 150, 1)
    assert perfect["BETTER"] + perfect["WORSE"] <= 0.1
    assert coverage.average_rates("normal", 39, 3.0, 150, 1)["WORSE"] > 0.8
