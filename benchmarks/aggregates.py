"""Seconds for the statistics of 39 datasets with 4 seeds, ours and rliable's in the same process.

rliable resamples one replicate after the other, so its time grows with their number; where the number asked
for would take it minutes, fewer are timed and the time is scaled up, and the line says so.

    python benchmarks/aggregates.py [--repeats 3] [--seed 0]

It needs the extra 'oracle' (rliable and the versions it works with).
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from rliable import library, metrics

from harness.analysis.aggregates import (
    PROFILE_POINTS,
    BootstrapSettings,
    aggregate,
    improvements,
    probability_of_improvement,
    profile,
)

DATASETS, SEEDS, ALGORITHMS = 39, 4, 6
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """One thing to time.

    Attributes:
        name: what is computed.
        repetitions: resamples that are asked for.
        bound: seconds that ours may take.
        ours: does it.
        theirs: does it with rliable and the given number of resamples.
        timed: resamples that rliable is timed with, once; its seconds are scaled by repetitions / timed.
        scale: how often ``theirs`` would have to run for the same result.
    """

    name: str
    repetitions: int
    bound: float
    ours: Callable[[], object]
    theirs: Callable[[int], object]
    timed: int
    scale: int = 1


def _rliable_aggregates(scores: Scores, repetitions: int) -> object:
    def four(x: Scores) -> Scores:
        return np.array(
            [
                metrics.aggregate_mean(x),
                metrics.aggregate_median(x),
                metrics.aggregate_iqm(x),
                metrics.aggregate_optimality_gap(x, gamma=100),
            ]
        )

    return library.get_interval_estimates({"a": scores}, four, reps=repetitions)


def _rliable_profile(scores: Scores, repetitions: int, *, runs: bool) -> object:
    return library.create_performance_profile(
        {"a": scores}, np.array(PROFILE_POINTS), use_score_distribution=runs, reps=repetitions
    )


def _rliable_improvement(first: Scores, second: Scores, repetitions: int) -> object:
    return library.get_interval_estimates(
        {"a": [first, second]}, metrics.probability_of_improvement, reps=repetitions
    )


def tasks(seed: int) -> list[Task]:
    """What is timed, on random scores."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0, 110, DATASETS)
    scores = {f"a{i}": rng.normal(level + i, 8, (SEEDS, DATASETS)) for i in range(ALGORITHMS)}
    first, second = scores["a0"], scores["a1"]
    many, few = (
        BootstrapSettings(repetitions=50_000, seed=seed),
        BootstrapSettings(repetitions=2000, seed=seed),
    )
    return [
        Task(
            "four aggregates",
            50_000,
            0.5,
            lambda: aggregate(first, settings=many),
            lambda n: _rliable_aggregates(first, n),
            5000,
        ),
        Task(
            f"profile of runs, {len(PROFILE_POINTS)} points",
            50_000,
            1.0,
            lambda: profile(first, settings=many),
            lambda n: _rliable_profile(first, n, runs=True),
            2000,
        ),
        Task(
            f"profile of means, {len(PROFILE_POINTS)} points",
            50_000,
            1.0,
            lambda: profile(first, settings=many, kind="means"),
            lambda n: _rliable_profile(first, n, runs=False),
            2000,
        ),
        Task(
            "one probability of improvement",
            2000,
            0.2,
            lambda: probability_of_improvement(("a0", first), ("a1", second), few),
            lambda n: _rliable_improvement(first, second, n),
            100,
        ),
        Task(
            f"all pairs of {ALGORITHMS} algorithms",
            2000,
            2.0,
            lambda: improvements(scores, few),
            lambda n: _rliable_improvement(first, second, n),
            100,
            len(list(combinations(scores, 2))),
        ),
    ]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Time everything and print a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3, help="ours is the best of so many")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # rliable's own: it passes an argument that arch deprecates
    warnings.filterwarnings("ignore", category=FutureWarning)
    print(
        f"{DATASETS} datasets, {SEEDS} seeds; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"rliable 1.2.0; ours: best of {options.repeats}, rliable's: once"
    )
    print(f"{'':<34} {'resamples':>9} {'ours':>8} {'at most':>8} {'rliable':>9} {'ratio':>7}")
    for task in tasks(options.seed):
        ours = min(_seconds(task.ours) for _ in range(options.repeats))
        np.random.seed(options.seed)  # rliable takes no other seed
        theirs = _seconds(partial(task.theirs, task.timed))
        factor = task.repetitions / task.timed * task.scale
        within = "" if ours <= task.bound else "  TOO SLOW"
        print(
            f"{task.name:<34} {task.repetitions:9,} {ours:7.3f}s {task.bound:7.1f}s {theirs * factor:8.1f}s "
            f"{theirs * factor / ours:6.0f}x  rliable: {task.timed:,} resamples in {theirs:.2f} s, "
            f"scaled by {factor:g}{within}",
            flush=True,
        )


if __name__ == "__main__":
    main()
