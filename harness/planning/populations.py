"""Groups runs into populations: what one batched program can train together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from harness.counting import count
from harness.planning.cells import Cell
from harness.results.records import RunRecord, canonical


@dataclass(frozen=True)
class PlannedRun:
    """A run and the cell it belongs to.

    Attributes:
        again: whether it has finished, and is trained again for the state that it ends with.
    """

    record: RunRecord
    cell: Cell
    again: bool = False

    @property
    def stand_in(self) -> RunRecord:
        """The run with any number in the place of values that are not known yet: it computes as much."""
        return replace(self.record, resolved=dict.fromkeys(self.cell.metrics, 1.0))


@dataclass(frozen=True)
class Population:
    """Runs of equal algorithm, static hyperparameters, sizes, protocol and rank."""

    algorithm: str
    runs: tuple[PlannedRun, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Run keys of the members."""
        return tuple(run.record.key for run in self.runs)

    @property
    def label(self) -> str:
        """What it trains, for the user."""
        columns = sorted({run.cell.column.label for run in self.runs})
        names = sorted({run.cell.dataset.id for run in self.runs})
        rows = names[0] if len(names) == 1 else f"{len(names)} datasets"
        return f"{'/'.join(columns)}, {rows}, {count(len(self.runs), 'run')}"

    def only(self, keys: Iterable[str]) -> Population | None:
        """Those members that have one of these keys, in their order; None if no member has."""
        wanted = set(keys)
        members = tuple(run for run in self.runs if run.record.key in wanted)
        return replace(self, runs=members) if members else None


#: Of runs of one shape, how many of the first can train together; at least one.
Fit = Callable[[Sequence[PlannedRun]], int]


@functools.cache  # asked once a run, and each time the class is looked for in the folder
def _static_names(algorithm: str) -> frozenset[str]:
    from algorithms import algorithm_class

    return algorithm_class(algorithm).Hyperparameters.static_names()


#: From an algorithm to the hyperparameters that members of a population share.
Static = Callable[[str], Collection[str]]


def populations(
    runs: Iterable[PlannedRun], capacity: int | Fit, static: Static = _static_names
) -> list[Population]:
    """Group runs, at most `capacity` to a population, lower ranks first, else keeping their order.

    Runs of a higher rank may read values from those of a lower one, so they never share a population. Seeds
    of one cell stand together, so that a population needs few datasets.

    Args:
        runs: the runs.
        capacity: most members, or of how many of the first of some runs of one shape is decided.
        static: asked instead of the algorithms' classes.
    """
    groups: dict[str, list[PlannedRun]] = {}
    for run in sorted(runs, key=lambda run: run.cell.rank):
        groups.setdefault(shape(run, static), []).append(run)
    made = []
    for members in groups.values():
        algorithm, left = members[0].record.configuration["algorithm"], members
        while left:
            count = capacity(left) if callable(capacity) else capacity
            made.append(Population(algorithm, tuple(left[:count])))
            left = left[count:]
    return made


def shape(run: PlannedRun, static: Static = _static_names) -> str:
    """What members of one population must share, as text."""
    configuration, dataset = run.record.configuration, run.cell.dataset
    shared = static(configuration["algorithm"])
    return canonical(
        {
            "algorithm": configuration["algorithm"],
            "static": {k: v for k, v in configuration["hyperparameters"].items() if k in shared},
            "sizes": [dataset.observation_size, dataset.action_size],
            "protocol": configuration["protocol"],
            "rank": run.cell.rank,
            # states of one size, after as many steps
            "states": {
                name: [shape(PlannedRun(read.cell.runs[0], read.cell), static), read.state]
                for name, read in run.cell.states.items()
            },
        }
    )


def halved(population: Population) -> list[Population]:
    """A population in two, or as it is where it has but one run."""
    middle = (len(population.runs) + 1) // 2
    parts = population.runs[:middle], population.runs[middle:]
    return [Population(population.algorithm, part) for part in parts if part]
