"""Loads data as runs train on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness import datasets, environments
from harness.datasets import Transitions, cards
from harness.datasets.transforms import (
    Floats,
    GoalTask,
    Inputs,
    Reward,
    TrustSelector,
    prepare,
    rescaled,
    shared,
    steps_of,
)
from harness.errors import DataError
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
            name = (dataset.id, cell.lineage, cell.dataset.environment)
            if name not in loaded:
                data = datasets.load(dataset, cell.lineage, self._home)
                self._store.record_dataset(data.identity, data.content_hash, len(data))
                loaded[name] = _as_acted(data, cell.dataset.environment)
                self._tell_of_actions(dataset.id, loaded[name])
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
        gather = run.cell.protocol.gather
        kept = (gather.keep, gather.capacity) if gather else ("all", None)
        if any(step.whole or step.cuts for step in steps) or kept not in (("all", None), ("none", None)):
            group = doubtful.setdefault((run.cell.dataset.id, run.cell.lineage), {})
            group[f"{shared(steps, run.record.seed)} {kept}"] = run
    for by_rows in doubtful.values():
        for run, (data, mixed) in zip(by_rows.values(), load([*by_rows.values()]), strict=True):
            prepared([run.stand_in], [data], [mixed], [_trust_all], run.cell.protocol.gather)


def _trust_all(observations: Floats, actions: Floats) -> NDArray[np.bool_]:
    """In the place of a selector that is not trained yet."""
    return np.ones(len(observations), bool)


def card(cell: Cell, home: Path | None) -> dict[str, Any]:
    """The data card of what a cell's first run trains on, after its transforms.

    Args:
        cell: of a table; it can be trained.
        home: data folder, None for the default.

    Raises:
        DataError: data are not here or damaged, or a transform finds nothing to keep.
    """
    if cell.unavailable:
        raise DataError(f"nothing trains on {cell.dataset.id} in column {cell.column.id}: {cell.unavailable}")
    run, there = cell.runs[0], cell.dataset.environment
    data, *others = (
        _as_acted(datasets.load(dataset, cell.lineage, home), there) for dataset in cell.datasets.values()
    )
    steps = steps_of(run.configuration)
    made = [step for step in steps if not isinstance(step, TrustSelector)]  # its run need not be there
    rows, _ = prepare(data, made, Inputs(run.seed, dict(zip(cell.mixed, others, strict=True))))
    described = cards.describe(
        {**rows.by_row(), **rows.extra},
        cell.dataset,
        rows.identity,
        data.content_hash,
        {},
        [
            *(map(repr, steps) if steps else ["in no way"]),
            *(f"{name} is 1 in {int(column.sum()):,} rows" for name, column in rows.extra.items()),
        ],
        ordered=rows.ordered and not any(step.cuts for step in steps),
    )
    if any(
        isinstance(step, Reward | GoalTask) for step in steps
    ):  # the reference scores are of other rewards
        described["normalised_returns"] = None
    return described


def _as_acted(data: Transitions, environment: Environment | None) -> Transitions:
    """The data with their actions mapped to [-1, 1], where those of the environment are."""
    if environment is None or not environment.rescale_actions:
        return data
    return rescaled(data, *environments.action_bounds(environment))
