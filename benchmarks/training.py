"""Member-steps per second of population training against the loop a researcher would write.

Both sides do the same algorithm on the same data in one process, in turns, so that a slow minute of the
machine meets both; printed are the medians of both and of their ratio. The eager loop is the plain program in
``reference/``: one seed, nn.Sequential networks, torch.optim.Adam, `backward()`, and for ASPC autograd's
second-order gradient through the inner Adam step.

    python benchmarks/training.py [--members 1 4 8] [--algorithms td3_bc aspc] [--rounds 9]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from algorithms import Batch, algorithm_ids
from harness.datasets.base import Transitions
from harness.planning.cells import run_record
from harness.specs import Specs
from harness.training.engine import Engine, capture_cuda
from harness.training.population import Task, build
from reference import program

OBSERVATION, ACTION, BATCH, ROWS = 17, 6, 256, 100_000
# the ratio that each may reach at most; what is not named has the last
BOUNDS = {
    ("td3_bc", 4): 0.8,
    ("td3_bc", 8): 0.8,
    ("aspc", 1): 0.9,
    ("aspc", 4): 0.9,
    ("aspc", 8): 0.9,
}
BOUND = 1.1


def data() -> Transitions:
    """Random transitions of HalfCheetah's sizes."""
    rng = np.random.default_rng(0)
    return Transitions(
        observations=rng.normal(size=(ROWS, OBSERVATION)).astype(np.float32),
        actions=rng.uniform(-1, 1, (ROWS, ACTION)).astype(np.float32),
        rewards=rng.normal(size=ROWS).astype(np.float32),
        next_observations=rng.normal(size=(ROWS, OBSERVATION)).astype(np.float32),
        terminals=rng.random(ROWS) < 0.001,
        next_actions=rng.uniform(-1, 1, (ROWS, ACTION)).astype(np.float32),
        identity={"id": "synthetic"},
        content_hash="synthetic",
    )


def eager(algorithm: str, transitions: Transitions, device: str) -> Callable[[], None]:
    """A function that does one step of the plain one-seed program in ``reference/``."""
    learner = build(task(algorithm, 1, transitions), device)[0]
    member = learner.members[0]
    plain = program(algorithm)(learner, member.hyperparameters, 0, member.reward_mean)
    columns = [
        torch.from_numpy(array.astype(np.float32)).to(device)
        for array in (
            transitions.observations,
            transitions.actions,
            transitions.rewards,
            transitions.next_observations,
            transitions.terminals,
            transitions.next_actions,
        )
    ]
    step = 0

    def advance() -> None:
        nonlocal step
        step += 1
        rows = torch.randint(0, ROWS, (int(member.hyperparameters["batch_size"]),), device=device)
        noise = {
            name: (torch.randn if each.distribution == "normal" else torch.rand)(*each.shape, device=device)
            for name, each in learner.noise.items()
        }
        plain.update(step, Batch(*(column[rows] for column in columns)), noise)

    return advance


def task(algorithm: str, members: int, transitions: Transitions) -> Task:
    """A population with the shipped hyperparameters."""
    values = {name: h.value for name, h in Specs().algorithm(algorithm).hyperparameters.items()}
    if "critic" in values:
        values["critic"] = "robust"
    runs = [run_record({"algorithm": algorithm, "hyperparameters": values}, seed) for seed in range(members)]
    return Task(algorithm, runs, [transitions] * members, [], 1, 1, 1)


def population(
    algorithm: str, members: int, transitions: Transitions, device: str
) -> tuple[Callable[[], None], int]:
    """A function that does one step of all members, and the bytes of the data it holds."""
    learner, replay, draws = build(task(algorithm, members, transitions), device)
    engine = Engine(learner, replay, draws, capture_cuda if device == "cuda" else None)
    step = 0

    def advance() -> None:
        nonlocal step
        step += 1
        engine.step(step)

    return advance, replay.storage.numel() * replay.storage.element_size()


def seconds(advance: Callable[[], None], steps: int, device: str) -> float:
    """Seconds per call."""
    start = time.perf_counter()
    for _ in range(steps):
        advance()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--algorithms", nargs="+", default=algorithm_ids(), choices=algorithm_ids())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    device, transitions = arguments.device, data()
    name = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    print(
        f"torch {torch.__version__}, {name}; batch {BATCH}, {OBSERVATION} + {ACTION} dimensions, "
        "robust critic; milliseconds per member-step"
    )
    print(f"{'algorithm':9} {'M':>4} {'eager ms':>9} {'ours ms':>9} {'ratio':>6} {'bound':>6} {'data MB':>8}")
    for algorithm in arguments.algorithms:
        plain = eager(algorithm, transitions, device)
        seconds(plain, 40, device)
        for members in arguments.members:
            advance, size = population(algorithm, members, transitions, device)
            seconds(advance, 40, device)
            pairs = [
                (seconds(plain, 40, device), seconds(advance, 40, device) / members)
                for _ in range(arguments.rounds)
            ]
            ratio = statistics.median(ours / theirs for theirs, ours in pairs)
            theirs, ours = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
            bound = BOUNDS.get((algorithm, members), BOUND)
            print(
                f"{algorithm:9} {members:4} {theirs:9.2f} {ours:9.2f} {ratio:6.2f} "
                f"{bound:6.1f} {size / 1e6:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
