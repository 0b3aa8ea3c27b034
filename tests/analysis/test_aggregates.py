from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rliable import library, metrics

from harness.analysis import aggregates
from harness.analysis.aggregates import (
    METRICS,
    BootstrapSettings,
    aggregate,
    improvements,
    leaders,
    probability_of_improvement,
    profile,
    score_matrix,
    statistics,
)
from harness.errors import IncompleteError

QUICK = BootstrapSettings(repetitions=2000, seed=3)
SCORES = np.random.default_rng(0).normal(np.linspace(5, 120, 11), 12, (4, 11))
OTHER = np.random.default_rng(1).normal(np.linspace(0, 125, 11), 12, (5, 11))
POINTS = (0.0, 20.0, 40.5, 90.0, 130.0)

# whole and half points: sums are exact, ties happen
matrices = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 6), st.integers(1, 7)),
    elements=st.integers(-40, 300).map(lambda value: value / 2),
)


def one(scores, metric):
    return float(statistics(scores, (metric,))[metric])


# -- oracles -----------------------------------------------------------------------------------------------

RLIABLE = {
    "mean": metrics.aggregate_mean,
    "median": metrics.aggregate_median,
    "iqm": metrics.aggregate_iqm,
    "og": lambda scores: metrics.aggregate_optimality_gap(scores, gamma=100),
}


at_every_level = pytest.mark.parametrize("level", [0.5, 0.8, 0.95])


@pytest.fixture
def replayed(monkeypatch):
    """Makes ours use the resamples that rliable takes from numpy's global generator after the same seed."""

    def replay(seed, *shapes, repetitions):
        np.random.seed(seed)
        drawn = [
            [np.random.choice(n, (n, datasets), replace=True) for n, datasets in shapes]
            for _ in range(repetitions)
        ]
        chunk = [np.stack(each) for each in zip(*drawn, strict=True)]
        # in two chunks, as a long run comes in many
        halves = [[each[:7] for each in chunk], [each[7:] for each in chunk]]
        monkeypatch.setattr(aggregates, "draw", lambda *_: iter(halves))
        np.random.seed(seed)

    return replay


@pytest.mark.parametrize("shape", [(4, 11), (3, 1), (5, 6), (2, 3), (10, 39)])
@pytest.mark.parametrize("metric", METRICS)
def test_point_estimates_are_rliables(metric, shape):
    scores = np.random.default_rng(shape).normal(70, 40, shape)
    assert one(scores, metric) == pytest.approx(RLIABLE[metric](scores), rel=1e-12)


@pytest.mark.filterwarnings("ignore:random_state is deprecated:FutureWarning")
@at_every_level
@pytest.mark.parametrize("metric", METRICS)
def test_ends_are_rliables_on_the_same_resamples(replayed, metric, level):
    replayed(5, SCORES.shape, repetitions=300)
    points, ends = library.get_interval_estimates(
        {"a": SCORES}, RLIABLE[metric], reps=300, confidence_interval_size=level
    )
    [found] = aggregate(SCORES, (metric,), BootstrapSettings(level=level))
    assert found.value == pytest.approx(float(points["a"]), rel=1e-12)
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(ends["a"].ravel()), rel=1e-12)


@pytest.mark.filterwarnings("ignore:random_state is deprecated:FutureWarning")
@at_every_level
@pytest.mark.parametrize("kind", ["runs", "means"])
def test_profiles_are_rliables_on_the_same_resamples(replayed, kind, level):
    replayed(6, SCORES.shape, repetitions=100)
    shares, bands = library.create_performance_profile(
        {"a": SCORES},
        np.array(POINTS),
        use_score_distribution=kind == "runs",
        reps=100,
        confidence_interval_size=level,
    )
    found = profile(SCORES, POINTS, BootstrapSettings(level=level), kind=kind)
    assert found.shares == pytest.approx(tuple(shares["a"]), abs=1e-12)
    assert found.low == pytest.approx(tuple(bands["a"][0]), abs=1e-12)
    assert found.high == pytest.approx(tuple(bands["a"][1]), abs=1e-12)


@pytest.mark.filterwarnings("ignore:random_state is deprecated:FutureWarning")
@at_every_level
def test_probability_of_improvement_is_rliables_on_the_same_resamples(replayed, level):
    # whole points, so that scores tie, within and between algorithms, and once resampled still do
    first, second = SCORES.round(-1), OTHER.round(-1)
    replayed(7, first.shape, second.shape, repetitions=40)
    points, ends = library.get_interval_estimates(
        {"a": [first, second]},
        metrics.probability_of_improvement,
        reps=40,
        confidence_interval_size=level,
    )
    found = probability_of_improvement(("a", first), ("b", second), BootstrapSettings(level=level))
    assert found.probability == pytest.approx(float(points["a"]), rel=1e-12)
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(ends["a"].ravel()), rel=1e-12)


SCIPY = {
    "mean": lambda cells: np.mean([cell.mean(-1) for cell in cells], axis=0),
    "median": lambda cells: np.median([cell.mean(-1) for cell in cells], axis=0),
    "og": lambda cells: 100 - np.mean([np.minimum(cell, 100).mean(-1) for cell in cells], axis=0),
    "iqm": lambda cells: scipy.stats.trim_mean(np.concatenate(cells, axis=-1), 0.25, axis=-1),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_ends_are_scipys(metric, method):
    skewed = np.exp(np.random.default_rng(2).normal(3.5, 0.9, (5, 6)))

    def statistic(*cells, axis):
        lead = np.broadcast_shapes(*(cell.shape[:-1] for cell in cells))
        return SCIPY[metric]([np.broadcast_to(cell, (*lead, cell.shape[-1])) for cell in cells])

    oracle = scipy.stats.bootstrap(
        tuple(skewed.T),
        statistic,
        vectorized=True,
        axis=-1,
        n_resamples=30_000,
        batch=5000,
        method=method,
        rng=1,
    ).confidence_interval
    [found] = aggregate(skewed, (metric,), BootstrapSettings(method, repetitions=30_000))
    assert (
        found.interval.method
        == {
            "percentile": "stratified percentile bootstrap",
            "bca": "stratified BCa bootstrap",
        }[method]
    )
    width = oracle.high - oracle.low
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(oracle), abs=0.03 * width)
    if (metric, method) == ("mean", "bca"):  # it is not the percentile interval by another name
        [plain] = aggregate(skewed, (metric,), BootstrapSettings(repetitions=30_000))
        assert abs(plain.interval.high - found.interval.high) > 0.04 * width


# -- properties --------------------------------------------------------------------------------------------


@given(matrices, st.randoms(use_true_random=False))
def test_the_order_of_seeds_within_a_dataset_does_not_matter(scores, random):
    shuffled = scores.copy()
    for column in shuffled.T:
        column[:] = random.sample(list(column), len(column))
    for metric in METRICS:
        assert one(shuffled, metric) == pytest.approx(one(scores, metric), abs=1e-9)


@given(matrices, st.integers(-60, 60))
def test_a_shift_of_all_scores_shifts_the_averages(scores, shift):
    for metric in ("mean", "median", "iqm"):
        assert one(scores + shift, metric) == pytest.approx(one(scores, metric) + shift, abs=1e-9)
    moved = float(statistics(scores + shift, ("og",), 100 + shift)["og"])
    assert moved == pytest.approx(one(scores, "og"), abs=1e-9)


@settings(max_examples=40)
@given(matrices, st.sampled_from(["runs", "means"]))
def test_profiles_fall_from_one_to_zero_inside_their_bands(scores, kind):
    points = (-100.0, *range(-20, 151, 10), 200.0)
    found = profile(scores, points, BootstrapSettings(repetitions=200), kind=kind)
    for curve in (found.shares, found.low, found.high):
        assert (curve[0], curve[-1]) == (1, 0)
        assert all(a >= b for a, b in pairwise(curve))
    assert all(low <= high for low, high in zip(found.low, found.high, strict=True))
    values = scores if kind == "runs" else scores.mean(axis=0)
    assert found.shares == pytest.approx([float((values > point).mean()) for point in points])


@settings(max_examples=40)
@given(matrices, st.data())
def test_one_of_two_is_better(x, data):
    y = data.draw(hnp.arrays(np.float64, x.shape, elements=st.integers(-20, 150).map(float)))
    there, back = (
        probability_of_improvement(*pair, BootstrapSettings(repetitions=200))
        for pair in ((("x", x), ("y", y)), (("y", y), ("x", x)))
    )
    assert there.probability + back.probability == pytest.approx(1)
    by_hand = np.mean([[(a > b) + (a == b) / 2 for a in x[:, t] for b in y[:, t]] for t in range(x.shape[1])])
    assert there.probability == pytest.approx(by_hand)
    assert 0 <= there.interval.low <= there.interval.high <= 1


def test_every_ordered_pair():
    found = improvements({"a": SCORES, "b": SCORES + 1000, "c": OTHER}, QUICK)
    by_pair = {(item.better, item.than): item for item in found}
    assert len(by_pair) == len(found) == 6
    assert by_pair["b", "a"].probability == by_pair["b", "a"].interval.low == 1
    for (better, than), item in by_pair.items():
        back = by_pair[than, better]
        assert item.probability + back.probability == pytest.approx(1)
        assert item.interval.low + back.interval.high == pytest.approx(1)
    # a pair does not depend on who else is there
    assert improvements({"a": SCORES, "c": OTHER}, QUICK)[0] == by_pair["a", "c"]


def test_the_same_algorithm_twice_is_resampled_independently():
    found = probability_of_improvement(("a", SCORES), ("a again", SCORES), QUICK)
    assert found.probability == 0.5
    assert found.interval.low < 0.45 < 0.55 < found.interval.high


# -- seeds, chunks, errors ---------------------------------------------------------------------------------


def test_the_seed_decides_to_the_digit():
    def everything(chosen):
        return (
            aggregate(SCORES, settings=chosen),
            profile(SCORES, POINTS, chosen),
            improvements({"a": SCORES, "b": OTHER}, chosen),
        )

    assert everything(QUICK) == everything(QUICK)
    for first, second in zip(everything(QUICK), everything(replace(QUICK, seed=4)), strict=True):
        assert first != second
    [interval] = {
        (i.seed, i.repetitions, i.n) for i in (a.interval for a in aggregate(SCORES, settings=QUICK))
    }
    assert interval == (3, 2000, 4)


def test_chunks_are_complete_and_small(monkeypatch):
    monkeypatch.setattr(aggregates, "_CHUNK", 1000)
    chunks = [chunk for [chunk] in aggregates.draw([4], 11, BootstrapSettings(repetitions=100))]
    assert sum(map(len, chunks)) == 100
    assert max(chunk.size for chunk in chunks) <= 1000
    assert set(np.unique(np.concatenate(chunks))) == {0, 1, 2, 3}


def test_more_seeds_than_a_byte_counts():
    [chunk] = next(aggregates.draw([300], 2, BootstrapSettings(repetitions=50)))
    assert chunk.max() > 256


def test_bca_without_spread_is_said():
    flat = np.full((4, 3), 7.0)
    [found] = aggregate(flat, ("mean",), BootstrapSettings("bca", repetitions=200))
    assert (found.interval.low, found.interval.high) == (7, 7)
    assert found.interval.method == "stratified percentile bootstrap (BCa undefined)"


@pytest.mark.parametrize("metric", METRICS)
def test_the_jackknife_leaves_out_each_score(metric):
    found = aggregates._jackknife(SCORES, (metric,), 100.0)[metric]
    for i in range(SCORES.shape[0]):
        for j in range(SCORES.shape[1]):
            cells = [np.delete(cell, i) if t == j else cell for t, cell in enumerate(SCORES.T)]
            assert found[i, j] == pytest.approx(float(SCIPY[metric](cells)))


def test_ragged_cells_are_named():
    with pytest.raises(IncompleteError, match=r"hopper \(3\), pen \(1\)"):
        score_matrix({"hopper": [1, 2, 3], "walker": [1, 2, 3, 4], "pen": [1]})
    with pytest.raises(IncompleteError, match=r"finite.* pen$"):
        score_matrix({"hopper": [1, 2], "pen": [1, math.nan]})
    for empty in ({}, {"hopper": []}):
        with pytest.raises(IncompleteError):
            score_matrix(empty)
    assert score_matrix({"a": [1, 2], "b": [3, 4]}).tolist() == [[1, 3], [2, 4]]


def test_wrong_arguments():
    for scores in (SCORES[0], SCORES[:1], np.empty((4, 0)), [[1.0, math.nan], [1.0, 2.0]]):
        with pytest.raises(ValueError, match="at least two"):
            aggregate(scores)
    with pytest.raises(ValueError, match="increase"):
        profile(SCORES, (1.0, 1.0))
    with pytest.raises(ValueError, match="a has scores for 11 datasets and b for 3"):
        probability_of_improvement(("a", SCORES), ("b", SCORES[:, :3]))
    with pytest.raises(ValueError, match="percentile"):
        profile(SCORES, settings=BootstrapSettings("bca"))


def test_leaders_are_those_that_are_not_told_from_the_best():
    rng = np.random.default_rng(1)
    base = rng.normal(50, 5, (5, 6))
    scores = {"low": base - 20, "good": base, "near": rng.normal(50, 5, (5, 6))}
    found = leaders(scores, settings=BootstrapSettings(repetitions=500))
    assert found == dict.fromkeys(METRICS, frozenset({"good", "near"}))
    assert leaders({"one": base}, settings=BootstrapSettings(repetitions=100))["iqm"] == {"one"}


def test_leaders_have_the_intervals_of_differences_of_independent_samples():
    """Two samples drawn with the same resamples would hide, or make up, a difference."""
    rng = np.random.default_rng(2)
    a = rng.normal(50, 5, (4, 8))
    same = {"a": a, "b": a - 1.0}  # a constant difference: paired resamples would find it in every one
    assert leaders(same, ("mean",), BootstrapSettings(repetitions=500))["mean"] == {"a", "b"}
