"""What every lineage is loaded into, checked and hashed in one place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError
from harness.specs.models import Dataset

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Transitions:
    """N transitions with D4RL's ``qlearning_dataset`` semantics.

    Attributes:
        observations: (N, S) float32.
        actions: (N, A) float32.
        rewards: (N,) float32.
        next_observations: (N, S) float32.
        terminals: (N,) bool, true where the next state has no value; time limits are not terminals.
        next_actions: (N, A) float32, what was done next; without meaning where the episode ended.
        ordered: Whether what was done next is known; if not, as where rows were shuffled, every row's own
            action stands in for it.
        runs_on: Whether episodes run on after a terminal, as through a goal, and end only where they are cut.
        identity: What names the data: see `harness.datasets.identity`.
        content_hash: SHA-256 of the six arrays as they were loaded, in hexadecimal.
        extra: Further columns by name, (N,) float32 each.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    next_observations: NDArray[np.float32]
    terminals: NDArray[np.bool_]
    next_actions: NDArray[np.float32]
    identity: dict[str, Any]
    content_hash: str
    ordered: bool = True
    runs_on: bool = False
    extra: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rewards)

    def by_row(self) -> dict[str, NDArray[Any]]:
        """The arrays by name; where episodes run on after a terminal also ``ends`` (N,), where they end."""
        named = {name: getattr(self, name) for name in FIELDS}
        if self.runs_on:
            parted = (self.next_observations[:-1] != self.observations[1:]).any(1)
            named["ends"] = np.append(parted, True)
        return named

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Some of the transitions, by their numbers or a mask."""
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in FIELDS},
            extra={name: column[rows] for name, column in self.extra.items()},
        )

    def followed_by(self, other: Transitions) -> Self:
        """These transitions and then the other ones, by the name of these; a column that those lack is 1."""
        fields: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in FIELDS
        }
        return replace(
            self,
            **fields,
            ordered=self.ordered and other.ordered,
            extra={
                name: np.concatenate([column, other.extra.get(name, np.ones(len(other), np.float32))])
                for name, column in self.extra.items()
            },
        )


#: The arrays that every dataset has.
FIELDS = ("observations", "actions", "rewards", "next_observations", "terminals", "next_actions")


def transitions(
    arrays: Arrays,
    dataset: Dataset,
    identity: dict[str, Any],
    where: str,
    *,
    ordered: bool = True,
    runs_on: bool = False,
) -> Transitions:
    """Check six arrays against the spec and hash them.

    Args:
        arrays: The fields of `Transitions` by name, of any float (``terminals``: bool) type.
        dataset: Whose observation and action sizes hold.
        identity: Recorded in the result.
        where: File or source that the arrays came from, for messages.
        ordered: See `Transitions.ordered`.
        runs_on: See `Transitions.runs_on`.

    Raises:
        DataError: A shape differs from the spec, a value is not finite, or there are no transitions.
    """
    count = len(arrays["rewards"])
    if count == 0:
        raise DataError(f"{where} holds no transitions for {dataset.id}")
    shapes = {
        "observations": (count, dataset.observation_size),
        "actions": (count, dataset.action_size),
        "rewards": (count,),
        "next_observations": (count, dataset.observation_size),
        "terminals": (count,),
        "next_actions": (count, dataset.action_size),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise DataError(
                f"{where}: {name} have shape {arrays[name].shape}, but the spec of {dataset.id} says {shape}"
            )
    fields: dict[str, Any] = {
        name: np.ascontiguousarray(arrays[name], bool if name == "terminals" else np.float32)
        for name in shapes
    }
    for name, array in fields.items():
        if name != "terminals" and not np.isfinite(array).all():
            raise DataError(f"{where}: {name} of {dataset.id} hold values that are not finite")
    return Transitions(
        **fields, identity=identity, content_hash=hash_arrays(fields), ordered=ordered, runs_on=runs_on
    )


def nothing(dataset: Dataset) -> Transitions:
    """No transitions at all, of a dataset's sizes."""
    observations = np.zeros((0, dataset.observation_size), np.float32)
    actions = np.zeros((0, dataset.action_size), np.float32)
    rewards, terminals = np.zeros(0, np.float32), np.zeros(0, bool)
    return Transitions(
        observations, actions, rewards, observations, terminals, actions, identity={}, content_hash=""
    )


def hash_arrays(arrays: Arrays) -> str:
    """SHA-256, in hexadecimal, over names, types, shapes and bytes of the arrays, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
