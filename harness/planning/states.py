"""The states that runs read of others: their parts, and stand-ins for them before there are any."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal, TypeVar

from torch import Tensor

from algorithms import Algorithm, Member, Sizes, algorithm_class
from harness.errors import HarnessError, UnknownNameError
from harness.planning.cells import Cell, ResolvedTable, resolve
from harness.planning.choice import Choice
from harness.specs import Specs

T = TypeVar("T")


def parts(state: Mapping[str, T], wanted: Literal["all"] | tuple[str, ...]) -> dict[str, T]:
    """What is wanted of a training state.

    Args:
        state: by the names that `Algorithm.training_state` gives.
        wanted: 'all', or names of networks, buffers and optimisers, or of what is within a network
            (``critic``, ``critic_optimiser``, ``critic.layers``).

    Raises:
        UnknownNameError: the state has no such part.
    """
    if wanted == "all":
        return dict(state)
    found: dict[str, T] = {}
    for part in wanted:
        own = {name: each for name, each in state.items() if f"{name}.".startswith((f"{part}.", f"{part}/"))}
        if not own:
            known = {name.partition("/")[0].partition(".")[0] for name in state}
            raise UnknownNameError("part of the state", part, known)
        found |= own
    return found


def configurations_read(specs: Specs, resolved: ResolvedTable) -> set[str]:
    """Keys of the configurations whose runs' states are read by a column of any table, in the same preset."""
    preset = resolved.preset
    choice = Choice(preset=preset.id if preset else None, lineage=resolved.other_lineage)
    found = _read_by(resolved.with_below)
    for name in specs.ids("tables"):
        with contextlib.suppress(HarnessError):  # a table that is wrong, or that the preset is not for
            columns = (*specs.table(name).columns, *(preset.extra_columns if preset else ()))
            if any(column.reads_states for column in columns):
                steps = resolved.steps if name == resolved.table.id else None
                found |= _read_by(resolve(specs, name, replace(choice, steps=steps)).with_below)
    return found


def _read_by(cells: Iterable[Cell]) -> set[str]:
    return {read.cell.runs[0].configuration_key for cell in cells for read in cell.states.values()}


def untrained(cell: Cell) -> Algorithm:
    """What a run of the cell trains, alone and before its first step; for what it reads, stand-ins."""
    run = cell.runs[0]
    member = Member(run.key, replace(run, resolved=dict.fromkeys(cell.metrics, 1.0)).hyperparameters)
    sizes = Sizes(cell.dataset.observation_size, cell.dataset.action_size)
    learner = algorithm_class(run.configuration["algorithm"])
    return learner([replace(member, inputs=stand_ins(cell))], sizes)


def stand_ins(cell: Cell) -> dict[str, dict[str, Tensor]]:
    """Input -> a state like the one that a run of the cell reads: tensors ``(1, ...)``."""
    return {
        name: parts(untrained(read.cell).training_state(), read.state)
        for name, read in cell.states.items()
        if name != "start"
    }
