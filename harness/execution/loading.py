"""Loads data as runs train on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness import datasets, environments
from harness.datasets import Transitions
from harness.datasets.transforms import rescaled, shared, steps_of
from harness.execution.progress import Reporter
from harness.planning.cells import Cell
from harness.planning.populations import PlannedRun
from harness.results.store import Store
from harness.specs import Dataset, Environment
from harness.training.population import prepared

_ROUNDING = 1e-5  # of an action of 1 that was stored in fewer digits


class Loader:
    """Loads data as runs train on them.

    Args:
        home: data folder, None for the default.
        store: remembers the content of every dataset, and refuses another one under the same name.
        reporter: progress for the user.
    """

    def __init__(self, home: Path | None, store: Store, reporter: Reporter) -> None:
        self._home, self._store, self._reporter = home, store, reporter
        self._told: set[str] = set()

    def __call__(self, runs: Sequence[PlannedRun]) -> list[RunData]:
        """For each run its data, and what its transforms mix in; each distinct dataset is loaded once.

        Actions are those that algorithms act in: mapped to [-1, 1] where the environment's are.

        Raises:
            DataError: data are missing, damaged, or not what they were before.
        """
        loaded: dict[tuple[str, str, Environment | None], Transitions] = {}

        def one(dataset: Dataset, cell: Cell) -> Transitions:
            if dataset.source(cell.lineage) is None:  # it names an environment alone, to gather in
                return datasets.nothing(dataset)
            there = cell.dataset.environment
            scaled_as = there if there and there.rescale_actions else None
            name = (dataset.id, cell.lineage, scaled_as)
            if name not in loaded:
                data = datasets.load(dataset, cell.lineage, self._home)
                self._store.record_dataset(data.identity, data.content_hash, len(data))
                if scaled_as:
                    data = rescaled(data, *environments.action_bounds(scaled_as))
                self._tell_of_actions(dataset.id, data)
                loaded[name] = data
            return loaded[name]

        return [
            RunData(one(cell.dataset, cell), {name: one(other, cell) for name, other in cell.mixed.items()})
            for cell in (run.cell for run in runs)
        ]

    def _tell_of_actions(self, name: str, data: Transitions) -> None:
        """Say once where actions are not such as the environment takes."""
        largest = np.abs(data.actions).max(1)
        if (outside := int((largest > 1 + _ROUNDING).sum())) and name not in self._told:
            self._told.add(name)
            self._reporter.message(
                f"warning: {outside:,} of {len(data):,} actions of {name} lie outside the bounds of its "
                f"environment, up to {largest.max():.4g} where 1 is the bound"
            )


class RunData(NamedTuple):
    """What a run trains on before its transforms, and the datasets that these mix in, by id."""

    data: Transitions
    mixed: Mapping[str, Transitions]


def try_transforms(runs: Iterable[PlannedRun], load: Loader) -> None:
    """Make once those transforms that may find nothing to keep, so that they fail before anything trains.

    Raises:
        DataError: as `harness.training.population.prepared`.
    """
    doubtful: dict[tuple[str, str], dict[str, PlannedRun]] = {}
    for run in runs:
        steps = steps_of(run.record.configuration)
        if any(step.whole or step.cuts for step in steps):
            group = doubtful.setdefault((run.cell.dataset.id, run.cell.lineage), {})
            group[shared(steps, run.record.seed)] = run
    for by_rows in doubtful.values():
        for run, (data, mixed) in zip(by_rows.values(), load([*by_rows.values()]), strict=True):
            prepared([run.stand_in], [data], [mixed])
