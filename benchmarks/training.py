"""Member-steps per second of population training against the loop a researcher would write.

Both sides do the same algorithm on the same data in one process, in turns, so that a slow minute of the
machine meets both; printed are the medians of both and of their ratio, as rows of a Markdown table. A turn is
as many steps as ours draws random numbers for at once, so that every turn has its share of them. The eager
loop is the plain program in ``reference/``: one seed, nn.Sequential networks, torch.optim.Adam, `backward()`,
and for ASPC autograd's second-order gradient through the inner Adam step.

The floor is the time below which no such program gets on this device: operations of the update's matrix
products over the rate of a large matrix product, or bytes over the bandwidth of a large copy, whichever takes
longer, phase by phase; rate and bandwidth are measured in the same run. Bytes are those that must move: what
a step touches of the state is read once, what it changes of it is written once, the minibatch's rows are read
and written, and the random numbers are read. State that stays in a cache can beat that.

With --online it times what gathering adds instead: TD3+BC on Hopper, an interaction and an update in turn,
at once ('overlap') or one after the other, against the update alone and the environments' own steps in this
process. Printed are medians and the ratio of the first to the sum of the others.

    python benchmarks/training.py --online [--members 4]
    python benchmarks/training.py [--members 1 4 8] [--algorithms td3_bc aspc] [--rounds 9]
    python benchmarks/training.py --device cuda --members 1 4 16 64 128 --algorithms bc td3_bc aspc
"""

from __future__ import annotations

import argparse
import gc
import itertools
import operator
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from algorithms import Batch, algorithm_ids
from harness import environments
from harness.datasets.base import Transitions
from harness.execution.devices import arithmetic
from harness.planning.cells import run_record
from harness.specs import Environment, Protocol, Specs
from harness.training.acting import Explorer
from harness.training.engine import Arithmetic, Engine, capture_for, kept_memory, set_precision
from harness.training.feeds import Gathering
from harness.training.memory import bytes_of_member, storages
from harness.training.population import Task, build
from harness.training.replay import BLOCK
from reference import program

OBSERVATION, ACTION, BATCH, ROWS = 17, 6, 256, 100_000
# the ratio that each may reach at most on a CPU; what is not named has the last
BOUNDS = {
    ("td3_bc", 4): 0.8,
    ("td3_bc", 8): 0.8,
    ("aspc", 1): 0.9,
    ("aspc", 4): 0.9,
    ("aspc", 8): 0.9,
    **{
        (name, members): 1.0
        for name in ("td3_bc_sa", "iql_selector", "fql", "fql_aspc")
        for members in (1, 4, 8)
    },
    **{(name, 4): 0.8 for name in ("diffusion_ql", "diffusion_ql_aspc", "fql", "fql_aspc")},
    **{(name, 1): 1.0 for name in ("cql", "cql_sa", "fam_cql", "cvae", "spot", "anq", "idql")},
    **{(name, 1): 1.0 for name in ("diffusion_ql", "diffusion_ql_aspc")},
}
BOUND = 1.1


def data(observation: int = OBSERVATION, action: int = ACTION) -> Transitions:
    """Random transitions, of HalfCheetah's sizes unless others are asked for."""
    rng = np.random.default_rng(0)
    return Transitions(
        observations=rng.normal(size=(ROWS, observation)).astype(np.float32),
        actions=rng.uniform(-1, 1, (ROWS, action)).astype(np.float32),
        rewards=rng.normal(size=ROWS).astype(np.float32),
        next_observations=rng.normal(size=(ROWS, observation)).astype(np.float32),
        terminals=rng.random(ROWS) < 0.001,
        next_actions=rng.uniform(-1, 1, (ROWS, action)).astype(np.float32),
        extra={"trust": (rng.random(ROWS) < 0.5).astype(np.float32)},
        identity={"id": "synthetic"},
        content_hash="synthetic",
    )


def eager(algorithm: str, transitions: Transitions, device: str) -> Callable[[], None]:
    """A function that does one step of the plain one-seed program in ``reference/``."""
    learner = build(task(algorithm, 1, transitions), device)[0]
    member = learner.members[0]
    plain = program(settings(algorithm)[0])(learner, member.hyperparameters, 0, member.reward_mean)

    def on_device(array: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(array.astype(np.float32)).to(device)

    everything = Batch(
        on_device(transitions.observations),
        on_device(transitions.actions),
        on_device(transitions.rewards),
        on_device(transitions.next_observations),
        on_device(transitions.terminals),
        on_device(transitions.next_actions),
        {name: on_device(transitions.extra[name]) for name in learner.columns},
    )
    step = 0

    def advance() -> None:
        nonlocal step
        step += 1
        rows = torch.randint(0, ROWS, (int(member.hyperparameters["batch_size"]),), device=device)
        noise = {
            name: (torch.randn if each.distribution == "normal" else torch.rand)(*each.shape, device=device)
            for name, each in learner.noise.items()
        }
        plain.update(step, everything.map(operator.itemgetter(rows)), noise)

    return advance


def settings(name: str) -> tuple[str, dict[str, Any]]:
    """An algorithm's id and the shipped hyperparameters with the critic that is named, or the robust one.

    Args:
        name: ``td3_bc``, or ``td3_bc/vanilla``.
    """
    algorithm, _, critic = name.partition("/")
    values = {name: h.value for name, h in Specs().algorithm(algorithm).hyperparameters.items()}
    if critic or values.get("critic") == "vanilla":
        values["critic"] = critic or "robust"
    return algorithm, values


def task(name: str, members: int, transitions: Transitions) -> Task:
    """A population of an algorithm; for its name see `settings`."""
    algorithm, values = settings(name)
    runs = [run_record({"algorithm": algorithm, "hyperparameters": values}, seed) for seed in range(members)]
    protocol = Protocol(id="timing", description="", steps=1, evaluate_every=1, episodes=1, seeds=(0,))
    return Task(algorithm, runs, [transitions] * members, [], protocol)


class Population:
    """All members on the device, as `harness reproduce` trains them."""

    def __init__(
        self, algorithm: str, members: int, transitions: Transitions, device: str, how: Arithmetic
    ) -> None:
        made = task(algorithm, members, transitions)
        self.learner, self.replay, self.draws = build(made, device)
        self._engine = Engine(
            self.learner, self.replay, self.draws, capture_for(device), compiled=how.compiled
        )
        self._done = 0
        each = bytes_of_member(made.algorithm, made.runs[0].hyperparameters, self.learner.sizes)
        self.expected = members * each + self.replay.storage.nbytes  # bytes, as the planner packs

    def advance(self, steps: int) -> None:
        """Do some steps."""
        end = self._done + steps
        with kept_memory():
            while self._done < end:
                self._done = self._engine.advance(self._done, end)
            self._engine.prepare(end + 1)


@dataclass(frozen=True)
class Ceilings:
    """What the device can do at most: operations and bytes a second."""

    operations: float
    bytes: float

    @classmethod
    def measured(cls, device: str) -> Ceilings:
        """Of a large matrix product of random numbers, and of a large copy, read and write counted."""
        size, length = (8192, 2**28) if device == "cuda" else (1024, 2**25)
        a, b = torch.randn(2, size, size, device=device)
        product = torch.empty_like(a)
        source = torch.randn(length, device=device)
        target = torch.empty_like(source)
        best = {
            name: min(timed(work, device) for _ in range(10))
            for name, work in {
                "product": lambda: torch.mm(a, b, out=product),
                "copy": lambda: target.copy_(source),
            }.items()
        }
        return cls(2 * size**3 / best["product"], 2 * source.nbytes / best["copy"])

    def floor(self, population: Population) -> float:
        """Least seconds of a step, averaged over the phases as they occur; trains a little on the way."""
        learner, block = population.learner, population.draws.block(0)
        batch = population.replay.batch(block.rows[0])
        noise = {name: values[0] for name, values in block.noise.items()}
        read = sum(tensor.nbytes for tensor in (block.rows[0], *noise.values()))
        read += sum(2 * column.nbytes for column in batch.tensors)
        phases = Counter(learner.phase(step) for step in range(1, 10 * BLOCK + 1))
        total = 0.0
        for phase, occurring in phases.items():
            before = {name: tensor.clone() for name, tensor in learner.training_state().items()}
            with FlopCounterMode(display=False) as counter, Touched() as touched:
                learner.update(batch, noise, phase)
            after = learner.training_state()
            changed = sum(t.nbytes for name, t in after.items() if not torch.equal(t, before[name]))
            state = sum(tensor.nbytes for tensor in after.values() if tensor in touched)
            least = max(counter.get_total_flops() / self.operations, (state + changed + read) / self.bytes)
            total += least * occurring / phases.total()
        return total


class Touched(TorchDispatchMode):
    """Which tensors the operations under it were given."""

    def __init__(self) -> None:
        super().__init__()
        self._storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and remember what it was given."""
        self._storages |= storages((args, kwargs))
        return func(*args, **(kwargs or {}))

    def __contains__(self, tensor: Tensor) -> bool:
        """Whether an operation was given this tensor, or another view of its memory."""
        return storages(tensor) <= self._storages


def timed(work: Callable[[], object], device: str) -> float:
    """Seconds of one call."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def wait(device: str) -> None:
    """Let the device finish."""
    if device == "cuda":
        torch.cuda.synchronize()


def row(
    algorithm: str,
    members: int,
    plain: Callable[[], None],
    transitions: Transitions,
    device: str,
    how: Arithmetic,
    ceilings: Ceilings,
    rounds: int,
) -> str:
    """Measure a population against the eager loop."""
    gc.collect()
    before = 0
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_reserved()
    ours = Population(algorithm, members, transitions, device, how)
    ours.advance(BLOCK)
    memory = f"{(torch.cuda.max_memory_reserved() - before) / 1e6:,.0f}" if device == "cuda" else "–"
    pairs = [
        (
            timed(lambda: [plain() for _ in range(BLOCK)], device) / BLOCK,
            timed(lambda: ours.advance(BLOCK), device) / BLOCK,
        )
        for _ in range(rounds)
    ]
    ratio = statistics.median(mine / members / theirs for theirs, mine in pairs)
    theirs, mine = (statistics.median(column) for column in zip(*pairs, strict=True))
    bound = f"{BOUNDS.get((algorithm, members), BOUND)}" if device == "cpu" else "–"
    floor = ceilings.floor(ours)
    fields = (
        algorithm,
        str(members),
        f"{1e3 * theirs:.2f}",
        f"{1e3 * mine / members:.3f}",
        f"{ratio:.3f}",
        bound,
        f"{members / mine:,.0f}",
        f"{1 / ratio:.1f}",
        f"{floor / mine:.0%}",
        memory,
        f"{ours.expected / 1e6:,.0f}",
    )
    return f"| {' | '.join(fields)} |"


def online(members: int, device: str, rounds: int, *, overlap: bool) -> str:
    """A row: seconds of gathering with updates, of updates alone, and of the environments' own steps."""
    hopper = Environment(id="Hopper-v4", max_episode_steps=1000)
    length = BLOCK * (rounds + 1)
    protocol = Protocol(
        id="timing",
        description="",
        interactions=length,
        gather={"explore": {"noise": 0.1}, "overlap": overlap},
        evaluate_every=length,
        episodes=1,
        seeds=(0,),
    )
    observation, action = 11, 3
    made = replace(
        task("td3_bc", members, data(observation, action)), environments=[hopper] * members, protocol=protocol
    )
    learner, replay, draws = build(made, device)
    engine = Engine(learner, replay, draws, capture_for(device))
    keys = [run.key for run in made.runs]
    explorer = Explorer(learner, keys, protocol.gather.explore)
    envs = [environments.make(hopper) for _ in range(members)]
    for env in envs:
        env.reset(seed=0)
    random = np.random.default_rng(0)
    done = 0

    def gather() -> None:
        nonlocal done
        for _ in range(BLOCK):
            done = engine.advance(done, feed.fill(done, done + 1))

    def update() -> None:
        for step in range(1, BLOCK + 1):
            engine.step(step)

    def step() -> None:
        for _ in range(BLOCK):
            for env in envs:
                _, _, terminated, truncated, _ = env.step(random.uniform(-1, 1, action).astype(np.float32))
                if terminated or truncated:
                    env.reset()

    with closing(Gathering(protocol, keys, made.environments, explorer, replay, print)) as feed:
        for work in (gather, update, step):
            work()
        rows = [[timed(work, device) / BLOCK for work in (gather, update, step)] for _ in range(rounds)]
    ratio = statistics.median(both / (alone + stepped) for both, alone, stepped in rows)
    times = (statistics.median(column) for column in zip(*rows, strict=True))
    fields = (str(members), "yes" if overlap else "no", *(f"{1e3 * each:.2f}" for each in times))
    return f"| {' | '.join(fields)} | {ratio:.2f} | 1.3 |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--algorithms", nargs="+", default=algorithm_ids(), choices=algorithm_ids())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--online", action="store_true", help="time what gathering adds instead")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", choices=["fp32", "tf32"], help="default: tf32 on CUDA")
    parser.add_argument("--compile", action="store_true", help="run our updates through torch.compile")
    arguments = parser.parse_args()
    device, transitions = arguments.device, data()
    how = arithmetic(device, arguments.precision, compiled=arguments.compile)
    set_precision(how.precision, device)
    name = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    if arguments.online:
        print(f"torch {torch.__version__}, {name}: TD3+BC on Hopper, milliseconds of a step of all members\n")
        print("| M | Overlap | Interaction and update | Update | Environments' steps | Ratio | Bound |")
        print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
        for members, overlap in itertools.product(arguments.members, (True, False)):
            print(online(members, device, arguments.rounds, overlap=overlap), flush=True)
        return
    ceilings = Ceilings.measured(device)
    print(
        f"torch {torch.__version__}, {name}, {how}; batch {BATCH}, {OBSERVATION} + {ACTION} dimensions, "
        f"robust critic. A matrix product reaches {ceilings.operations / 1e12:.3g} TFLOP/s, a copy "
        f"{ceilings.bytes / 1e9:.3g} GB/s. Ratio: ours over eager, in milliseconds per member-step.\n\n"
        "| Algorithm | M | Eager ms | Ours ms | Ratio | Bound | Member-steps/s | × eager | Of the floor "
        "| Peak MB | Expected MB |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        flush=True,
    )
    for algorithm in arguments.algorithms:
        plain = eager(algorithm, transitions, device)
        timed(lambda plain=plain: [plain() for _ in range(BLOCK)], device)
        for members in arguments.members:
            print(
                row(algorithm, members, plain, transitions, device, how, ceilings, arguments.rounds),
                flush=True,
            )


if __name__ == "__main__":
    main()
