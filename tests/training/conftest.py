from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest

from algorithms import algorithm_class
from harness.datasets.base import Transitions
from harness.planning.cells import run_record
from harness.specs import Environment, Protocol, Specs
from harness.training.population import Task

HOPPER = Environment(id="Hopper-v4", max_episode_steps=20)


def transitions(
    seed: int, rows: int = 400, observation: int = 11, action: int = 3, extra: Sequence[str] = ()
) -> Transitions:
    rng = np.random.default_rng(seed)
    arrays = {
        "observations": rng.normal(2.0, 3.0, (rows, observation)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (rows, action)).astype(np.float32),
        "rewards": rng.normal(size=rows).astype(np.float32),
        "next_observations": rng.normal(2.0, 3.0, (rows, observation)).astype(np.float32),
        "terminals": rng.random(rows) < 0.1,
        "next_actions": rng.uniform(-1, 1, (rows, action)).astype(np.float32),
    }
    columns = {name: (rng.random(rows) < 0.7).astype(np.float32) for name in extra}
    content = hashlib.sha256(b"".join(a.tobytes() for a in arrays.values())).hexdigest()
    return Transitions(**arrays, extra=columns, identity={"id": f"synthetic-{seed}"}, content_hash=content)


@pytest.fixture(scope="session")
def make_data():
    """Synthetic transitions, determined by their seed."""
    return transitions


def task(
    algorithm="td3_bc",
    seeds=(0, 1),
    steps=250,
    evaluate_every=100,
    episodes=2,
    data=None,
    gather=None,
    environment=HOPPER,
    **changes,
):
    """A population of an algorithm with its shipped hyperparameters on small synthetic data.

    With `gather`, a mapping, it is one that gathers while it trains: `steps` are interactions.
    """
    spec = Specs().algorithm(algorithm)
    values = {name: h.value for name, h in spec.hyperparameters.items()}
    values |= {"batch_size": 16} | changes
    runs = [
        run_record({"algorithm": algorithm, "hyperparameters": values, "dataset": {"id": "synthetic"}}, seed)
        for seed in seeds
    ]
    shared = transitions(7, extra=algorithm_class(algorithm).columns)
    return Task(
        algorithm=algorithm,
        runs=runs,
        data=data or [shared] * len(runs),
        environments=[environment] * len(runs),
        protocol=Protocol(
            id="test",
            description="",
            **({"steps": steps} if gather is None else {"interactions": steps, "gather": gather}),
            evaluate_every=min(evaluate_every, steps),
            episodes=episodes,
            seeds=seeds,
        ),
    )


@pytest.fixture
def make_task():
    """What makes a population for a test."""
    return task


class Recording:
    """Replays work on the memory it was captured with, as a CUDA graph does."""

    def __init__(self, work):
        self._work = work

    def replay(self):
        self._work()


def record(work):
    for _ in range(4):  # three warm-up runs and the capture itself change the state
        work()
    return Recording(work)


@pytest.fixture
def capture():
    """A stand-in for CUDA's capture that a CPU can run."""
    return record


class Notebook:
    """A recorder that remembers."""

    def __init__(self):
        self.scores, self.metrics, self.failures, self.checkpoints, self.steps = {}, {}, {}, [], []

    def evaluated(self, records):
        for record in records:
            assert (record.key, record.step) not in self.scores, "recorded twice"
            self.scores[record.key, record.step] = (list(record.returns), list(record.lengths))

    def measured(self, step, metrics):
        for key, values in metrics.items():
            self.metrics[key, step] = dict(values)

    def failed(self, key, step, text):
        self.failures[key] = (step, text)

    def checkpointing(self, keys):
        pass

    def checkpointed(self, keys, path, step):
        self.checkpoints.append(step)

    def progressed(self, step):
        self.steps.append(step)


@pytest.fixture
def notebook():
    return Notebook


@pytest.fixture(scope="session")
def pool():
    from harness.training.workers import EvaluationPool

    with EvaluationPool(1) as shared:
        yield shared
