"""How often intervals cover, how often verdicts alarm without cause, and what they miss, by simulation.

Cells are drawn from distributions whose means are known. 'Normal': means between 0 and 110 points, deviations
over seeds lognormal with median 2.7. 'Bimodal': the same, but a quarter of the seeds collapse to a score
eight deviations lower. A published mean and deviation are rounded to 0.1 as papers print them.

    python benchmarks/coverage.py [--draws 2000] [--tables 25] [--seed 0]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.analysis.aggregates import BootstrapSettings, aggregate, statistics
from harness.analysis.intervals import IntervalSettings, interval
from harness.analysis.verdicts import Case, Estimate, VerdictKind, average, estimate, verdicts
from harness.specs.models import Verdict

Shape = Literal["normal", "bimodal"]
SHAPES: tuple[Shape, ...] = ("normal", "bimodal")
SEEDS = (3, 4, 5, 10)
METHODS: tuple[Literal["percentile", "bca", "t"], ...] = ("percentile", "bca", "t")
CELLS, DATASETS = 468, 39
_COLLAPSED, _DEPTH = 0.25, 8.0


def draw(
    rng: np.random.Generator, shape: Shape, mean: NDArray[np.float64], std: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    """Scores of n seeds for each cell, shape (n, cells); ``mean`` and ``std`` are the upper mode's."""
    scores = rng.normal(mean, std, (n, len(mean)))
    if shape == "bimodal":
        scores -= _DEPTH * std * (rng.random(scores.shape) < _COLLAPSED)
    return scores


def moments(
    shape: Shape, mean: NDArray[np.float64], std: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of what `draw` draws, by cell."""
    if shape == "normal":
        return mean, std
    spread = np.sqrt(1 + _DEPTH**2 * _COLLAPSED * (1 - _COLLAPSED))
    return mean - _DEPTH * _COLLAPSED * std, std * spread


def cells(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and deviations of cells as tables have them."""
    return rng.uniform(0, 110, count), rng.lognormal(1, 1, count)


def interval_coverage(
    method: Literal["percentile", "bca", "t"], shape: Shape, n: int, draws: int, seed: int
) -> float:
    """Share of cells whose true mean lies in the 95 % interval of n seeds."""
    rng = np.random.default_rng(seed)
    mean, std = cells(rng, draws)
    scores, (true, _) = draw(rng, shape, mean, std, n).T, moments(shape, mean, std)
    hits = 0
    for index, values in enumerate(scores):
        found = interval(values.tolist(), IntervalSettings(method, repetitions=2000, seed=index))
        hits += found is not None and found.low <= true[index] <= found.high
    return hits / draws


def aggregate_coverage(shape: Shape, n: int, draws: int, seed: int) -> dict[str, float]:
    """Share of tables of 39 datasets whose true mean and IQM lie in the 95 % bootstrap interval."""
    rng = np.random.default_rng(seed)
    mean, std = cells(rng, DATASETS)
    true = statistics(draw(rng, shape, mean, std, 100_000), ("mean", "iqm"))
    hits = dict.fromkeys(true, 0)
    for index in range(draws):
        scores = draw(rng, shape, mean, std, n)
        for one in aggregate(scores, ("mean", "iqm"), BootstrapSettings(repetitions=1000, seed=index)):
            hits[one.metric] += one.interval.low <= float(true[one.metric]) <= one.interval.high
    return {metric: count / draws for metric, count in hits.items()}


def verdict_rates(shape: Shape, n: int, loss: float, tables: int, seed: int) -> dict[str, float]:
    """Shares of cells that alarm, in tables of 468 cells with n seeds on both sides.

    Args:
        shape: of the cells.
        n: seeds, ours and the paper's.
        loss: how much lower our true means are, in standard deviations over seeds.
        tables: number of simulated tables.
        seed: of the simulation.

    Returns:
        Welch's p at most 0.05 (``before``), adjusted p at most 0.05 (``after``), and of the verdicts
        ``WORSE`` or ``BETTER`` (``alarm``), ``OK``, ``OK*`` and ``UNDECIDED``.
    """
    rng = np.random.default_rng(seed)
    counts = dict.fromkeys(("before", "after", "alarm", "OK", "OK*", "UNDECIDED"), 0)
    for _ in range(tables):
        mean, std = cells(rng, CELLS)
        published = draw(rng, shape, mean, std, n)
        ours = draw(rng, shape, mean - loss * moments(shape, mean, std)[1], std, n)
        cases = [
            Case(_estimate(ours[:, cell]), _estimate(published[:, cell], printed=True), n, n)
            for cell in range(CELLS)
        ]
        for found in verdicts(cases, Verdict()):
            counts["before"] += found.p is not None and found.p <= found.alpha
            counts["after"] += found.p_adjusted is not None and found.p_adjusted <= found.alpha
            counts["alarm"] += found.kind in (VerdictKind.BETTER, VerdictKind.WORSE)
            if found.kind not in (VerdictKind.BETTER, VerdictKind.WORSE):
                counts[str(found.kind)] += 1
    return {name: count / (tables * CELLS) for name, count in counts.items()}


def average_rates(shape: Shape, datasets: int, loss: float, tables: int, seed: int) -> dict[str, float]:
    """Shares of verdicts on averages over datasets, four seeds on both sides, tested one at a time.

    Args:
        shape: of the cells.
        datasets: number of cells in an average.
        loss: how much lower all our true means are, in points.
        tables: number of simulated averages.
        seed: of the simulation.
    """
    rng = np.random.default_rng(seed)
    settings = Verdict(margin=Verdict().average_margin)
    counts = dict.fromkeys(("BETTER", "WORSE", "OK", "OK*", "UNDECIDED"), 0)
    for _ in range(tables):
        mean, std = cells(rng, datasets)
        sides = [draw(rng, shape, mean - shift, std, 4).T for shift in (loss, 0.0)]
        ours, published = (average([_estimate(scores) for scores in side]) for side in sides)
        [found] = verdicts([Case(ours, published, datasets, datasets)], settings)
        counts[str(found.kind)] += 1
    return {name: count / tables for name, count in counts.items()}


def _estimate(scores: NDArray[np.float64], *, printed: bool = False) -> Estimate:
    mean, std = float(scores.mean()), float(scores.std(ddof=1))
    if not printed:
        return estimate(mean, std, len(scores), 1)
    mean = round(mean, 1)
    return estimate(mean, round(std, 1), len(scores), 1, (mean - 0.05, mean + 0.05))


def report(draws: int, tables: int, seed: int) -> Iterator[str]:
    """The lines of the report, in Markdown."""
    heads = " | ".join(f"n = {n}" for n in SEEDS)
    yield f"| 95 % interval | cells | {heads} |"
    yield f"| :--- | :--- |{' ---: |' * len(SEEDS)}"
    for method, shape in product(METHODS, SHAPES):
        shares = [interval_coverage(method, shape, n, draws, seed) for n in SEEDS]
        yield f"| cell, {method} | {shape} | {' | '.join(f'{share:.1%}' for share in shares)} |"
    for shape in SHAPES:
        found = [aggregate_coverage(shape, n, max(100, draws // 4), seed) for n in SEEDS]
        for metric in found[0]:
            shares = [one[metric] for one in found]
            name = f"{DATASETS} datasets, {metric}, percentile"
            yield f"| {name} | {shape} | {' | '.join(f'{share:.1%}' for share in shares)} |"
    yield ""
    yield (
        "| reproduction | cells | n | p ≤ 0.05 | adjusted p ≤ 0.05 | verdict WORSE or BETTER | OK | OK\\* "
        "| UNDECIDED |"
    )
    yield "| :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for (name, loss), shape, n in product((("perfect", 0.0), ("2 σ worse", 2.0)), SHAPES, SEEDS):
        rates = verdict_rates(shape, n, loss, tables, seed)
        yield f"| {name} | {shape} | {n} | {' | '.join(f'{rate:.1%}' for rate in rates.values())} |"
    yield ""
    yield "| reproduction | cells | datasets | BETTER | WORSE | OK | OK\\* | UNDECIDED |"
    yield "| :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for (name, loss), shape, count in product(
        (("perfect", 0.0), ("3 points worse", 3.0)), SHAPES, (3, 9, 39)
    ):
        rates = average_rates(shape, count, loss, max(100, draws // 4), seed)
        yield f"| {name} | {shape} | {count} | {' | '.join(f'{rate:.1%}' for rate in rates.values())} |"


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--draws", type=int, default=2000, help="simulated cells for each interval")
    parser.add_argument(
        "--tables", type=int, default=25, help="simulated tables of 468 cells for each verdict rate"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.perf_counter()
    for line in report(options.draws, options.tables, options.seed):
        print(line, flush=True)
    print(
        f"\n{options.draws} cells, {max(100, options.draws // 4)} aggregates and {options.tables} tables for "
        f"each number, seed {options.seed}, {time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
