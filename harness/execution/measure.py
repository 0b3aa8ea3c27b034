"""Times training steps on made-up data: what an estimate rests on where nothing has been trained yet."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from harness.datasets.base import Transitions
from harness.planning.plan import Kind
from harness.planning.populations import Population
from harness.specs import Dataset
from harness.training.engine import Engine, capture_cuda
from harness.training.population import Task, build
from harness.training.replay import BLOCK

_ROWS = 2_000
_CYCLE = 1_000  # steps over which the phases of the update cycle are counted
_REPEATS = {"cpu": 3, "gpu": 30}
_DRAWS = 3


def seconds_per_step(population: Population, kind: Kind) -> float:
    """The mean time of one training step of a whole population, evaluations left out.

    Each phase of the update cycle is run some times, and weighs as much as it occurs.

    Args:
        population: what to train; its data are made up.
        kind: which device of this machine.
    """
    device = {"cpu": "cpu", "gpu": "cuda"}[kind]
    # any number in the place of a value that is not known yet: it changes no operation
    records = [replace(run.record, resolved=dict.fromkeys(run.cell.sources, 1.0)) for run in population.runs]
    data = {run.cell.dataset.id: _made_up(run.cell.dataset) for run in population.runs}
    algorithm, replay, draws = build(
        Task(
            algorithm=population.algorithm,
            runs=records,
            data=[data[run.cell.dataset.id] for run in population.runs],
            environments=(),
            steps=_CYCLE,
            evaluate_every=_CYCLE,
            episodes=0,
        ),
        device,
    )
    engine = Engine(algorithm, replay, draws, capture_cuda if kind == "gpu" else None)
    phases = [algorithm.phase(step) for step in range(1, _CYCLE + 1)]
    counts, first = Counter(phases), {phase: phases.index(phase) + 1 for phase in phases}
    drawing = _time(draws.block, range(_DRAWS), kind) / BLOCK
    return drawing + sum(
        occurring / _CYCLE * _time(engine.step, [first[phase]] * (1 + _REPEATS[kind]), kind)
        for phase, occurring in counts.items()
    )


def _time(work: Callable[[int], object], arguments: Iterable[int], kind: Kind) -> float:
    """Median seconds of some calls, the first left out: it sets things up."""
    seconds = []
    for argument in arguments:
        _wait(kind)
        start = time.perf_counter()
        work(argument)
        _wait(kind)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def _wait(kind: Kind) -> None:
    if kind == "gpu":
        torch.cuda.synchronize()


def _made_up(dataset: Dataset) -> Transitions:
    """Random transitions of the dataset's sizes, in episodes of a hundred."""
    random = np.random.default_rng(0)

    def draw(size: int) -> NDArray[np.float32]:
        return random.uniform(-1, 1, (_ROWS, size)).astype(np.float32)

    return Transitions(
        observations=draw(dataset.observation_size),
        actions=draw(dataset.action_size),
        rewards=draw(1)[:, 0],
        next_observations=draw(dataset.observation_size),
        terminals=np.arange(1, _ROWS + 1) % 100 == 0,
        next_actions=draw(dataset.action_size),
        identity={"id": dataset.id},
        content_hash=dataset.id,
    )
