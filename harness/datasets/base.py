"""What every lineage is loaded into, checked and hashed in one place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
        identity: What names the data: see `harness.datasets.identity`.
        content_hash: SHA-256 of the six arrays, in hexadecimal.
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

    def __len__(self) -> int:
        return len(self.rewards)


def transitions(
    arrays: Arrays, dataset: Dataset, identity: dict[str, Any], where: str, *, ordered: bool = True
) -> Transitions:
    """Check six arrays against the spec and hash them.

    Args:
        arrays: The fields of `Transitions` by name, of any float (``terminals``: bool) type.
        dataset: Whose observation and action sizes hold.
        identity: Recorded in the result.
        where: File or source that the arrays came from, for messages.
        ordered: See `Transitions.ordered`.

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
    fields = {
        name: np.ascontiguousarray(arrays[name], bool if name == "terminals" else np.float32)
        for name in shapes
    }
    for name, array in fields.items():
        if name != "terminals" and not np.isfinite(array).all():
            raise DataError(f"{where}: {name} of {dataset.id} hold values that are not finite")
    return Transitions(**fields, identity=identity, content_hash=hash_arrays(fields), ordered=ordered)


def hash_arrays(arrays: Arrays) -> str:
    """SHA-256, in hexadecimal, over names, types, shapes and bytes of the arrays, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
