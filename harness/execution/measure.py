"""Times training steps on made-up data: what an estimate rests on where nothing has been trained yet."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from algorithms import Algorithm, algorithm_class
from harness.datasets.base import Transitions
from harness.errors import HarnessError, reason
from harness.execution.devices import arithmetic, out_of_memory, recover
from harness.planning.plan import Kind, Measure
from harness.planning.populations import Population, halved
from harness.planning.states import stand_ins
from harness.results.records import RunRecord
from harness.specs import Dataset, Protocol
from harness.training.acting import Explorer
from harness.training.engine import (
    PLAIN,
    Arithmetic,
    Engine,
    Precision,
    capture_for,
    set_precision,
    single_core,
)
from harness.training.feeds import Gathering
from harness.training.population import Task, build
from harness.training.replay import BLOCK, GrowingReplay

_ROWS = 2_000
_CYCLE = 1_000  # steps over which the phases of the update cycle are counted
_PROTOCOL = Protocol(id="timing", description="", steps=_CYCLE, evaluate_every=_CYCLE, episodes=1, seeds=(0,))
_INTERACTIONS = 50
_REPEATS = 3  # of a phase on a CPU
_DRAWS = 3
_BLOCKS = 3  # on a GPU
_DEVICES: dict[Kind, str] = {"cpu": "cpu", "gpu": "cuda"}  # as torch calls them


def timer(precision: Precision | None = None, *, compiled: bool = False) -> Measure:
    """A function that times steps of a population on a device of this machine.

    One that is more than the memory holds it times in halves, as it would be trained.

    Args:
        precision: of a GPU's matrix products, None for TF32; a CPU's are in float32 whatever is asked.
        compiled: run updates through torch.compile.

    Raises:
        HarnessError: see `arithmetic`; also what the function raises where a run alone is too large.
    """
    cuda = torch.cuda.is_available()
    on: dict[Kind, Arithmetic] = {"cpu": arithmetic("cpu", None if cuda else precision, compiled=compiled)}
    if cuda:
        on["gpu"] = arithmetic("cuda", precision, compiled=compiled)

    def measure(population: Population, kind: Kind) -> float:
        try:
            return seconds_per_step(population, kind, on[kind])
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        recover("cuda")
        if len(population.runs) == 1:
            label = population.runs[0].cell.column.label
            raise HarnessError(
                f"one run of {label} is more than the GPU's memory holds; leave its column out "
                "with --algorithms"
            )
        return sum(measure(half, kind) for half in halved(population))

    return measure


def seconds_per_step(population: Population, kind: Kind, how: Arithmetic = PLAIN) -> float:
    """The mean time of one training step of a whole population, evaluations left out.

    On a CPU each phase of the update cycle is run some times, and weighs as much as it occurs. On a GPU,
    where whole cycles are launched at once, some blocks of steps are run.

    Args:
        population: what to train; its data are made up.
        kind: which device of this machine.
        how: how to compute.
    """
    with single_core(_DEVICES[kind]):
        return _seconds_per_step(population, kind, how)


def _seconds_per_step(population: Population, kind: Kind, how: Arithmetic) -> float:
    device = _DEVICES[kind]
    set_precision(how.precision, device)
    columns = algorithm_class(population.algorithm).columns
    data = {run.cell.dataset.id: _made_up(run.cell.dataset, columns) for run in population.runs}
    protocol = population.runs[0].cell.protocol
    task = Task(
        algorithm=population.algorithm,
        runs=[_untransformed(run.stand_in) for run in population.runs],
        data=[data[run.cell.dataset.id] for run in population.runs],
        environments=[place for run in population.runs if (place := run.cell.dataset.environment)],
        protocol=_shortened(protocol) if protocol.online else _PROTOCOL,
        inputs=[stand_ins(run.cell) for run in population.runs],
    )
    algorithm, replay, draws = build(task, device)
    interaction = (
        _seconds_per_interaction(task, algorithm, replay) if isinstance(replay, GrowingReplay) else 0
    )
    engine = Engine(algorithm, replay, draws, capture_for(device), compiled=how.compiled)
    if kind == "gpu":

        def block(index: int) -> None:
            done, end = index * BLOCK, (index + 1) * BLOCK
            while done < end:
                done = engine.advance(done, end)
            engine.prepare(end + 1)

        block(0)  # a cycle that does not fill a block is captured step by step up to the second one's middle
        return interaction + _time(block, range(1, 2 + _BLOCKS), kind) / BLOCK
    phases = [algorithm.phase(step) for step in range(1, _CYCLE + 1)]
    counts, first = Counter(phases), {phase: phases.index(phase) + 1 for phase in phases}
    drawing = _time(draws.block, range(_DRAWS), kind) / BLOCK
    return (
        interaction
        + drawing
        + sum(
            occurring / _CYCLE * _time(engine.step, [first[phase]] * (1 + _REPEATS), kind)
            for phase, occurring in counts.items()
        )
    )


def _shortened(protocol: Protocol) -> Protocol:
    """An online protocol of so many interactions as are timed, one after the other, beside made-up rows."""
    assert protocol.gather is not None  # noqa: S101 - online ones have it
    timed = {"every": 1, "warmup": 0, "keep": "all", "capacity": None, "reproduce_defects": False}
    gather = protocol.gather.model_copy(update=timed)
    return protocol.model_copy(
        update={"gather": gather, "interactions": _INTERACTIONS, "evaluate_every": _INTERACTIONS}
    )


def _seconds_per_interaction(task: Task, algorithm: Algorithm, replay: GrowingReplay) -> float:
    """The median time of one interaction of all members, without the update that follows."""

    def failed(member: int, text: str) -> None:
        raise HarnessError(f"{task.environments[member].id} cannot be timed: {reason(text)}")

    keys = [run.key for run in task.runs]
    assert task.protocol.gather is not None  # noqa: S101 - it is shortened from one that has it
    explorer = Explorer(algorithm, keys, task.protocol.gather.explore)
    with closing(Gathering(task.protocol, keys, task.environments, explorer, replay, failed)) as feed:
        return _time(lambda step: feed.fill(step, step + 1), range(_INTERACTIONS), "cpu")


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


def _untransformed(run: RunRecord) -> RunRecord:
    """The run without the transforms of its data, which may find nothing to keep in such as are made up."""
    configuration = {name: value for name, value in run.configuration.items() if name != "data"}
    return replace(run, configuration=configuration)


def _made_up(dataset: Dataset, columns: Iterable[str]) -> Transitions:
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
        extra={name: np.ones(_ROWS, np.float32) for name in columns},
    )
