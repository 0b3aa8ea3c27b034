"""What can be said of an algorithm over all datasets, with intervals from the stratified bootstrap.

The definitions are rliable's (Agarwal et al., 2021, 'Deep Reinforcement Learning at the Edge of the
Statistical Precipice'); seeds are resampled within each dataset, datasets are fixed. Scores are normalised
scores in points, so 100 is the threshold of the optimality gap, where rliable (scores from 0 to 1) has 1.
All resampling is from ``numpy.random.default_rng(seed)``, begun anew in every function: a result does not
depend on what was computed before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.analysis.intervals import Interval, bca_levels, check_level
from harness.errors import IncompleteError

Metric = Literal["mean", "median", "iqm", "og"]
Floats = NDArray[np.float64]

METRICS: dict[Metric, str] = {
    "mean": "mean of the datasets' means",
    "median": "median of the datasets' means",
    "iqm": "interquartile mean of all scores: a quarter is cut off at either end",
    "og": "mean distance below the threshold, 0 above it; less is better",
}
THRESHOLD = 100.0
#: Where profiles are computed unless told otherwise, in points.
PROFILE_POINTS: tuple[float, ...] = tuple(1.5 * step for step in range(101))

_CHUNK = 2**20  # scores held at once while resampling; part of what a seed means


@dataclass(frozen=True)
class BootstrapSettings:
    """How intervals are made.

    Attributes:
        method: ``percentile``, or ``bca`` (Efron, 1987), which only `aggregate` has.
        level: nominal coverage.
        repetitions: number of resamples.
        seed: of the resampling.

    Raises:
        HarnessError: the level is no probability.
    """

    method: Literal["percentile", "bca"] = "percentile"
    level: float = 0.95
    repetitions: int = 50_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_level(self.level)


@dataclass(frozen=True)
class Aggregate:
    """One number for an algorithm over all datasets, in points.

    Attributes:
        metric: which.
        value: the point estimate.
        interval: of the value; its ``n`` is the number of seeds of each dataset.
    """

    metric: Metric
    value: float
    interval: Interval


@dataclass(frozen=True)
class Profile:
    """Which share of the runs, or of the datasets' means, lies above each threshold.

    Attributes:
        kind: ``runs`` (rliable's score distribution) or ``means`` (its average-score distribution).
        thresholds: in points, increasing; shape (T,), as the next three.
        shares: between 0 and 1, decreasing.
        low: lower ends of the pointwise band.
        high: upper ends.
        method: of the band.
        n: seeds of each dataset.
        repetitions: number of resamples.
        seed: of the resampling.
        level: nominal coverage at each threshold, not of the band as a whole.
    """

    kind: Literal["runs", "means"]
    thresholds: tuple[float, ...]
    shares: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    method: str
    n: int
    repetitions: int
    seed: int
    level: float


@dataclass(frozen=True)
class Improvement:
    """How probable it is that a run of one algorithm scores above a run of another on the same dataset.

    Attributes:
        better: id of the first algorithm.
        than: id of the second.
        probability: averaged over datasets; a tie counts half.
        interval: of the probability; its ``n`` is the smaller number of seeds of the two.
    """

    better: str
    than: str
    probability: float
    interval: Interval


def score_matrix(cells: Mapping[str, Sequence[float]]) -> Floats:
    """The scores of one algorithm as a matrix (seeds, datasets), from the scores of each dataset.

    Raises:
        IncompleteError: datasets have unequal numbers of seeds, none, or a score that is not finite.
    """
    lengths = {name: len(scores) for name, scores in cells.items()}
    if not lengths:
        raise IncompleteError("no dataset has scores, so there is nothing to aggregate")
    usual = max(lengths.values())
    short = [f"{name} ({count})" for name, count in lengths.items() if count != usual]
    if short or not usual:
        raise IncompleteError(
            f"aggregates need equally many seeds for every dataset, but not all have {usual}: "
            f"{', '.join(short) or 'no dataset has any'}; train what is missing or leave these out"
        )
    matrix = np.array(list(cells.values()), dtype=np.float64).T
    if broken := [
        name for name, column in zip(cells, matrix.T, strict=True) if not np.isfinite(column).all()
    ]:
        raise IncompleteError(
            f"aggregates need finite scores, but these datasets have others: {', '.join(broken)}"
        )
    return matrix


def statistics(
    samples: ArrayLike, metrics: Sequence[Metric] = tuple(METRICS), threshold: float = THRESHOLD
) -> dict[Metric, Floats]:
    """The metrics of one or of many score matrices.

    Args:
        samples: shape (..., seeds, datasets), in points.
        metrics: which, in the order of the result.
        threshold: of the optimality gap, in points.

    Returns:
        For each metric an array of shape (...).
    """
    x = np.asarray(samples, dtype=np.float64)
    means = x.mean(axis=-2)

    def one(metric: Metric) -> Floats:
        match metric:
            case "mean":
                return np.asarray(means.mean(axis=-1))
            case "median":
                return np.asarray(np.median(means, axis=-1))
            case "iqm":
                flat = x.reshape(*x.shape[:-2], -1)
                cut = flat.shape[-1] // 4
                kept = (cut, flat.shape[-1] - cut)
                flat = np.partition(flat, (kept[0], kept[1] - 1), axis=-1)
                return np.asarray(flat[..., slice(*kept)].mean(axis=-1))
            case "og":
                return np.asarray(threshold - np.minimum(x, threshold).mean(axis=(-2, -1)))

    return {metric: one(metric) for metric in metrics}


def draw(
    seeds: Sequence[int], datasets: int, settings: BootstrapSettings
) -> Iterator[list[NDArray[np.unsignedinteger]]]:
    """Chunks of resamples of one or more algorithms: which seed takes the place of each.

    Args:
        seeds: number of seeds of each algorithm.
        datasets: number of datasets.
        settings: say how many, and from which seed.

    Yields:
        For each algorithm an array of shape (chunk, seeds, datasets).
    """
    rng = np.random.default_rng(settings.seed)
    chunk = max(1, _CHUNK // (max(seeds) * datasets))
    kind = np.uint8 if max(seeds) <= 256 else np.uint32
    for start in range(0, settings.repetitions, chunk):
        size = min(chunk, settings.repetitions - start)
        yield [rng.integers(0, n, (size, n, datasets), dtype=kind) for n in seeds]


def _ends(values: Floats, level: float) -> Floats:
    """The ends of the percentile interval, shape (2, ...), of replicates in shape (..., repetitions)."""
    tail = 50 * (1 - level)
    return np.asarray(np.percentile(values, (tail, 100 - tail), axis=-1))


def aggregate(
    scores: ArrayLike,
    metrics: Sequence[Metric] = tuple(METRICS),
    settings: BootstrapSettings | None = None,
    *,
    threshold: float = THRESHOLD,
) -> tuple[Aggregate, ...]:
    """The metrics of an algorithm, each with its interval from the stratified bootstrap.

    Where BCa is undefined (all resamples alike, or the estimate at their very edge) the interval is the
    percentile one, and its method says so.

    Args:
        scores: shape (seeds, datasets), in points; see `score_matrix`.
        metrics: which, in the order of the result.
        settings: of the intervals.
        threshold: of the optimality gap, in points.

    Raises:
        ValueError: the scores are not a matrix with at least two seeds.
    """
    settings = settings or BootstrapSettings()
    matrix = _checked(scores)
    n, datasets = matrix.shape
    values = statistics(matrix, metrics, threshold)
    columns = np.arange(datasets)
    chunks = [
        statistics(matrix[chosen, columns], metrics, threshold) for [chosen] in draw([n], datasets, settings)
    ]
    resampled = {metric: np.concatenate([chunk[metric] for chunk in chunks]) for metric in metrics}
    removed = _jackknife(matrix, metrics, threshold) if settings.method == "bca" else {}

    def one(metric: Metric) -> Aggregate:
        value, spread = float(values[metric]), resampled[metric]
        low, high = _ends(spread, settings.level)
        method = "stratified percentile bootstrap"
        if settings.method == "bca":
            levels = bca_levels(_share_below(spread, value), _acceleration(removed[metric]), settings.level)
            method = "stratified BCa bootstrap" if levels else f"{method} (BCa undefined)"
            if levels:
                low, high = np.quantile(spread, levels)
        return Aggregate(metric, value, _interval(low, high, method, n, settings))

    return tuple(one(metric) for metric in metrics)


def leaders(
    scores: Mapping[str, ArrayLike],
    metrics: Sequence[Metric] = tuple(METRICS),
    settings: BootstrapSettings | None = None,
    *,
    threshold: float = THRESHOLD,
) -> dict[Metric, frozenset[str]]:
    """The algorithms that are best in each metric, and those that are not told from the best.

    These are the ones whose difference from the best has a percentile interval that holds 0; each is compared
    at ``settings.level``, whatever their number.

    Args:
        scores: for each algorithm a matrix (seeds, datasets), all with the same datasets in the same order.
        metrics: which.
        settings: of the intervals, whose method is the percentile one.
        threshold: of the optimality gap, in points.

    Raises:
        ValueError: as `aggregate`.
    """
    settings = settings or BootstrapSettings()
    matrices = {name: _checked(each) for name, each in scores.items()}
    columns = np.arange(next(iter(matrices.values())).shape[1])
    seeds = [len(matrix) for matrix in matrices.values()]
    resampled: dict[Metric, dict[str, list[Floats]]] = {
        one: {name: [] for name in matrices} for one in metrics
    }
    for chunk in draw(seeds, len(columns), settings):
        for (name, matrix), chosen in zip(matrices.items(), chunk, strict=True):
            for one, drawn in statistics(matrix[chosen, columns], metrics, threshold).items():
                resampled[one][name].append(drawn)
    found = {}
    for one in metrics:
        sign = -1.0 if one == "og" else 1.0  # of which less is better
        values = {
            name: sign * float(statistics(matrix, [one], threshold)[one]) for name, matrix in matrices.items()
        }
        spread = {name: sign * np.concatenate(chunks) for name, chunks in resampled[one].items()}
        best = max(values, key=values.__getitem__)
        found[one] = frozenset(
            name
            for name in matrices
            if name == best or _ends(spread[best] - spread[name], settings.level)[0] <= 0
        )
    return found


def _checked(scores: ArrayLike) -> Floats:
    matrix = np.asarray(scores, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] < 2 or not matrix.shape[1] or not np.isfinite(matrix).all():
        raise ValueError(
            "a bootstrap over seeds needs finite scores as a matrix (seeds, datasets) with at least two "
            f"seeds, but these have shape {matrix.shape}"
        )
    return matrix


def _interval(low: float, high: float, method: str, n: int, settings: BootstrapSettings) -> Interval:
    return Interval(float(low), float(high), method, n, settings.repetitions, settings.seed, settings.level)


def _share_below(resampled: Floats, value: float) -> float:
    """Which share of the resamples lies below the estimate; what equals it counts half."""
    tolerance = 1e-12 * max(1.0, abs(value))  # sums of the same scores in another order
    below = np.count_nonzero(resampled < value - tolerance)
    return float(below + np.count_nonzero(resampled <= value + tolerance)) / (2 * len(resampled))


def _jackknife(matrix: Floats, metrics: Sequence[Metric], threshold: float) -> dict[Metric, Floats]:
    """Each metric without each score in turn, shape (seeds, datasets).

    Datasets keep equal weights in mean and optimality gap, though one has a seed less.
    """
    n, datasets = matrix.shape

    def means(values: Floats) -> Floats:
        """The datasets' means (seeds, datasets, datasets) without score [i, j]."""
        kept = np.broadcast_to(values.mean(axis=0), (n, datasets, datasets)).copy()
        each = np.arange(datasets)
        kept[:, each, each] = (values.sum(axis=0) - values) / (n - 1)
        return kept

    def one(metric: Metric) -> Floats:
        match metric:
            case "mean":
                return np.asarray(means(matrix).mean(axis=-1))
            case "median":
                return np.asarray(np.median(means(matrix), axis=-1))
            case "iqm":
                return _iqm_without_each(matrix.ravel()).reshape(n, datasets)
            case "og":
                return np.asarray(threshold - means(np.minimum(matrix, threshold)).mean(axis=-1))

    return {metric: one(metric) for metric in metrics}


def _iqm_without_each(values: Floats) -> Floats:
    """The interquartile mean of N values without each of them in turn, shape (N,)."""
    order = np.argsort(values)
    sums = np.concatenate([[0.0], np.cumsum(values[order])])
    cut = (len(values) - 1) // 4
    first, last = cut, len(values) - 1 - cut
    # without the value of rank r, those of higher rank move down by one
    hole = np.clip(np.arange(len(values)), first, last)
    total = sums[hole] - sums[first] + sums[last + 1] - sums[hole + 1]
    found = np.empty_like(values)
    found[order] = total / (last - first)
    return found


def _acceleration(removed: Floats) -> float:
    """Efron's acceleration of independent samples, from the jackknife (seeds, datasets); NaN if all agree."""
    n = removed.shape[0]
    influence = (n - 1) * (removed.mean(axis=0) - removed)
    spread = (influence**2).sum() / n**2
    return float((influence**3).sum() / n**3 / (6 * spread**1.5)) if spread > 0 else math.nan


def profile(
    scores: ArrayLike,
    thresholds: Sequence[float] = PROFILE_POINTS,
    settings: BootstrapSettings | None = None,
    *,
    kind: Literal["runs", "means"] = "runs",
) -> Profile:
    """The performance profile of an algorithm, with a pointwise percentile band.

    Args:
        scores: shape (seeds, datasets), in points; see `score_matrix`.
        thresholds: increasing, in points, shape (T,).
        settings: of the band; its method must be ``percentile``.
        kind: share of ``runs`` above the thresholds, or of the datasets' ``means``.

    Raises:
        ValueError: the scores are not a matrix with at least two seeds, the thresholds do not increase, or
            the settings ask for another method.
    """
    settings = _percentile_only(settings)
    matrix = _checked(scores)
    n, datasets = matrix.shape
    points = np.asarray(thresholds, dtype=np.float64)
    if not len(points) or (np.diff(points) <= 0).any():
        raise ValueError("the thresholds of a performance profile must increase")
    shares = _shares(matrix[np.newaxis] if kind == "runs" else matrix.mean(axis=0)[np.newaxis], points)[0]
    # single precision counts exactly up to 2**24
    above = (matrix[..., np.newaxis] > points).astype(np.float32).reshape(n * datasets, -1)
    columns = np.arange(datasets)
    chunks = []
    for [chosen] in draw([n], datasets, settings):
        if kind == "runs":
            chunks.append(_counts(chosen, n).reshape(len(chosen), -1) @ above)
        else:
            means = matrix[chosen, columns].mean(axis=1)
            chunks.append((_shares(means, points) * datasets).round().astype(np.float32))
    # a threshold's replicates side by side: sorting them is most of the work
    counted = np.concatenate(chunks).T.astype(np.float64, order="C")
    low, high = _ends(counted, settings.level) / (n * datasets if kind == "runs" else datasets)
    return Profile(
        kind=kind,
        thresholds=tuple(points.tolist()),
        shares=tuple(shares.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        method="stratified percentile bootstrap, pointwise",
        n=n,
        repetitions=settings.repetitions,
        seed=settings.seed,
        level=settings.level,
    )


def _percentile_only(settings: BootstrapSettings | None, repetitions: int = 50_000) -> BootstrapSettings:
    settings = settings or BootstrapSettings(repetitions=repetitions)
    if settings.method != "percentile":
        raise ValueError("profiles and probabilities have percentile intervals only; BCa is for aggregates")
    return settings


def _counts(chosen: NDArray[np.integer], n: int) -> NDArray[np.float32]:
    """How often each seed was drawn, shape (chunk, n, datasets)."""
    return np.stack([(chosen == seed).sum(axis=1, dtype=np.float32) for seed in range(n)], axis=1)


def _shares(values: Floats, points: Floats) -> Floats:
    """For each of the first axis which share of its values lies above each point, shape (len(values), T)."""
    flat = values.reshape(len(values), -1)
    # a value lies above as many points as this says, and these are the first ones
    passed = (
        np.searchsorted(points, flat, side="left") + (len(points) + 1) * np.arange(len(flat))[:, np.newaxis]
    )
    by_count = np.bincount(passed.ravel(), minlength=len(flat) * (len(points) + 1)).reshape(len(flat), -1)
    return np.asarray(by_count[:, :0:-1].cumsum(axis=1)[:, ::-1] / flat.shape[1])


def probability_of_improvement(
    better: tuple[str, ArrayLike], than: tuple[str, ArrayLike], settings: BootstrapSettings | None = None
) -> Improvement:
    """The probability that the first algorithm scores above the second on a dataset, averaged over datasets.

    Args:
        better: id and scores (seeds, datasets) of the first.
        than: those of the second, for the same datasets in the same order; it may have other seeds.
        settings: of the interval; its method must be ``percentile``. Default: 2000 resamples, as rliable has.

    Raises:
        ValueError: the scores are not matrices with at least two seeds and the same number of datasets, or
            the settings ask for another method.
    """
    settings = _percentile_only(settings, 2000)
    x, y = _checked(better[1]), _checked(than[1])
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"{better[0]} has scores for {x.shape[1]} datasets and {than[0]} for {y.shape[1]}; "
            "compare them on the same ones"
        )
    wins = _wins(x, y)
    scale = len(x) * len(y) * x.shape[1]
    resampled = np.concatenate(
        [
            _resampled_wins(wins, first, second) / scale
            for first, second in draw((len(x), len(y)), x.shape[1], settings)
        ]
    )
    low, high = _ends(resampled, settings.level)
    interval = _interval(low, high, "stratified percentile bootstrap", min(len(x), len(y)), settings)
    return Improvement(better[0], than[0], float(wins.sum(dtype=np.float64)) / scale, interval)


def _wins(x: Floats, y: Floats) -> NDArray[np.float32]:
    """1 where a score of x is above one of y, a half where they tie, shape (datasets, seeds x, seeds y)."""
    first, second = x.T[:, :, np.newaxis], y.T[:, np.newaxis, :]
    return np.asarray((first > second) + 0.5 * (first == second), dtype=np.float32)


def _resampled_wins(
    wins: NDArray[np.float32], first: NDArray[np.integer], second: NDArray[np.integer]
) -> Floats:
    """Wins of x over y, summed over pairs of seeds and datasets, in each resample, shape (chunk,)."""
    x = _counts(first, wins.shape[1]).transpose(2, 0, 1)  # (datasets, chunk, seeds x)
    y = _counts(second, wins.shape[2]).transpose(2, 0, 1)
    return np.asarray((np.matmul(x, wins) * y).sum(axis=(0, 2)), dtype=np.float64)


def improvements(
    scores: Mapping[str, ArrayLike], settings: BootstrapSettings | None = None
) -> tuple[Improvement, ...]:
    """The probability of improvement of every ordered pair of algorithms.

    Of each two, the earlier in ``scores`` is compared with the later; the other way round is its complement.

    Args:
        scores: for each algorithm a matrix (seeds, datasets), all with the same datasets in the same order.
        settings: as `probability_of_improvement` takes them, and it raises the same errors.
    """
    found = []
    for better, than in combinations(scores.items(), 2):
        one = probability_of_improvement(better, than, settings)
        low, high = 1 - one.interval.high, 1 - one.interval.low
        mirrored = replace(one.interval, low=low, high=high)
        found += [one, Improvement(one.than, one.better, 1 - one.probability, mirrored)]
    return tuple(found)
