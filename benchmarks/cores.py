"""Member-steps a second of a machine's cores: ours beside what a person would start on them instead.

Ours are populations of four members, each in a process of one thread, one for each core, as `reproduce`
trains them. Beside them, in turns in one run, so that a slow minute of the machine meets all:

    one    the plain program in ``reference/``, one seed, all cores as its threads
    each   as many plain programs as there are cores, one thread each
    jax    TD3+BC in JAX, see `jax_td3_bc.py`: as many seeds as ours in one process, which uses all cores

A turn ends when the last process of a side has done its steps. Printed are medians over rounds; × is the
median of the rounds' ratios of ours to the best of the others. The share is that of the floor by matrix
products and memory, see `training.py`, for which a core's rates are measured alone.

The last line is of `harness reproduce` on as many populations as cores, its data built beforehand. What a
command of twice the steps takes longer gives its rate while it trains, with leases, checkpoints and metrics;
the rest of its time is its start and its end. The same populations without all this are timed before and
after.

    python benchmarks/cores.py [--algorithms td3_bc td3_bc/vanilla aspc] [--rounds 9] [--compile]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import training

from harness.execution.devices import arithmetic
from harness.planning.plan import CAPACITIES
from harness.processes import Child, usable_cores
from harness.results.provenance import cpu_model

MEMBERS = CAPACITIES["cpu"]
STEPS = training.BLOCK
_DATASET, _TRANSITIONS = "maze2d-umaze-v1", 20_000
_MAZE = (4, 2)  # lengths of its observations and actions
_SPEC = """
id: timing
description: Long enough to be timed
label: timing protocol
lineage: generated
transitions: {transitions}
datasets: [{dataset}]
columns: []
extra_columns:
  - {{id: timed, label: Timed, algorithm: td3_bc, hyperparameters: {{critic: robust}}}}
seeds: {seeds}
steps: {steps}
evaluate_every: {steps}
episodes: 1
"""


def _population(algorithm: str, sizes: tuple[int, int], compiled: bool) -> Callable[[int], None]:
    how = arithmetic("cpu", compiled=compiled)
    return training.Population(algorithm, MEMBERS, training.data(*sizes), "cpu", how).advance


def _eager(algorithm: str, sizes: tuple[int, int], _: bool) -> Callable[[int], None]:
    step = training.eager(algorithm, training.data(*sizes), "cpu")
    return lambda steps: [step() for _ in range(steps)] and None


def _jax(algorithm: str, sizes: tuple[int, int], _: bool) -> Callable[[int], None]:
    from jax_td3_bc import trainer

    data, (_, h) = training.data(*sizes), training.settings(algorithm)
    columns = {
        "observation": data.observations,
        "action": data.actions,
        "reward": data.rewards,
        "next_observation": data.next_observations,
        "terminal": data.terminals,
    }
    return trainer(columns, usable_cores() * MEMBERS, h)


def _serve(
    connection: Connection, make: Callable[..., Callable[[int], None]], threads: int, *arguments: object
) -> None:
    """Body of a process: do as many steps as it is told, until the parent closes its end."""
    torch.set_num_threads(threads)
    advance = make(*arguments)
    while True:
        try:
            steps = connection.recv()
        except EOFError:
            return
        advance(steps)
        connection.send(None)


class Side:
    """Processes that train at once."""

    def __init__(
        self,
        make: Callable[..., Callable[[int], None]],
        algorithm: str,
        processes: int,
        *,
        threads: int = 1,
        members: int = 1,
        sizes: tuple[int, int] = (training.OBSERVATION, training.ACTION),
        compiled: bool = False,
    ) -> None:
        self._members = processes * members
        self._children = [Child(_serve, make, threads, algorithm, sizes, compiled) for _ in range(processes)]
        self.rate()  # sets things up, and compiles what is to be compiled

    def rate(self, steps: int = STEPS) -> float:
        """Member-steps a second, of all processes."""
        start = time.perf_counter()
        for child in self._children:
            child.connection.send(steps)
        for child in self._children:
            child.connection.recv()
        return self._members * steps / (time.perf_counter() - start)

    def close(self) -> None:
        """End the processes."""
        for child in self._children:
            child.end()


def row(algorithm: str, rounds: int, *, compiled: bool, ceilings: training.Ceilings) -> str:
    """Measure one algorithm."""
    cores = usable_cores()
    with ExitStack() as stack:

        def begin(*what: Any, **how: Any) -> Side:
            return stack.enter_context(closing(Side(*what, **how)))

        sides = [
            begin(_population, algorithm, cores, members=MEMBERS, compiled=compiled),
            begin(_eager, algorithm, 1, threads=cores),
            begin(_eager, algorithm, cores),
        ]
        if training.settings(algorithm)[0] == "td3_bc" and find_spec("jax"):  # not of its descendants
            sides.append(begin(_jax, algorithm, 1, members=cores * MEMBERS))
        rates = [[side.rate() for side in sides] for _ in range(rounds)]
    ratio = statistics.median(mine / max(others) for mine, *others in rates)
    mine, *others = (statistics.median(column) for column in zip(*rates, strict=True))
    population = training.Population(algorithm, MEMBERS, training.data(), "cpu", arithmetic("cpu"))
    share = ceilings.floor(population) * mine / (cores * MEMBERS)
    rates_of_others = [f"{rate:,.0f}" for rate in others] + ["–"] * (3 - len(others))
    return f"| {algorithm} | {' | '.join(rates_of_others)} | {mine:,.0f} | {ratio:.2f} | {share:.0%} |"


def command(steps: int) -> str:
    """The rate of the command beside that of its inner loop."""
    cores = usable_cores()
    members = cores * MEMBERS
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Side(_population, "td3_bc", cores, members=MEMBERS, sizes=_MAZE)) as loop,
    ):
        Path(folder, "presets").mkdir()
        _run(folder, "data", "build", _DATASET, "--transitions", str(_TRANSITIONS), "--no-minari")
        before = loop.rate(steps)
        short, long = (_reproduce(folder, members, length) for length in (steps, 2 * steps))
        alone = statistics.mean((before, loop.rate(steps)))
    rate = members * steps / (long - short)
    return (
        f"harness reproduce while it trains: {rate:,.0f} member-steps/s, {rate / alone:.0%} of the "
        f"{alone:,.0f} of its loop; start and end of the command: {2 * short - long:.1f} s"
    )


def _reproduce(folder: str, members: int, steps: int) -> float:
    """Seconds of a command that trains runs of so many steps."""
    Path(folder, "presets", "timing.yaml").write_text(
        _SPEC.format(seeds=list(range(members)), steps=steps, dataset=_DATASET, transitions=_TRANSITIONS)
    )
    start = time.perf_counter()
    _run(folder, "reproduce", "aspc-table1", "--preset", "timing", "--db", f"{folder}/{steps}.db")
    return time.perf_counter() - start


def _run(folder: str, *arguments: str) -> None:
    """A command with the data in a folder, whose specs it has, too."""
    command = [sys.executable, "-m", "harness", "--specs", folder, *arguments, "--data-home", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"harness {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--algorithms",
        nargs="+",
        default=["td3_bc", "td3_bc/vanilla", "aspc", "wpc", "iql", "bc"],
        help="also cql, which takes ten times as long; 'td3_bc/vanilla' is TD3+BC with that critic",
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="run our updates through torch.compile")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ceilings = training.Ceilings.measured("cpu")
    print(
        f"{cpu_model()}, {usable_cores()} cores, torch {torch.__version__}; batch {training.BATCH}, "
        f"{training.OBSERVATION} + {training.ACTION} dimensions, robust critic, {arguments.rounds} rounds. "
        f"A matrix product reaches {ceilings.operations / 1e9:.0f} GFLOP/s on one core. Member-steps a "
        "second:\n\n"
        "| Algorithm | One | Each | JAX | Ours | × | Of the floor |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        flush=True,
    )
    for algorithm in arguments.algorithms:
        print(row(algorithm, arguments.rounds, compiled=arguments.compile, ceilings=ceilings), flush=True)
    print(f"\n{command(10 * STEPS)}")


if __name__ == "__main__":
    main()
