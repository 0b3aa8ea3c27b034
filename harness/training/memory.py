"""What one member of a population takes of a device's memory, found before anything is allocated there."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from algorithms import Algorithm, Member, Sizes, algorithm_class, example
from harness.training.engine import cycle_of
from harness.training.replay import BLOCK, row_width

_BLOCKS = 3  # of random numbers: the present one, the next, and what the next is put together from
_STATES = 2  # of training: the one that moves, and the copy that a capture's warm-up is undone with
_UPDATES = 2  # at work: what the graphs keep for theirs, and the warm-up of a graph that is captured later


def bytes_of_row(sizes: Sequence[int], extra: int = 0) -> int:
    """What a transition with so many extra columns takes in the replay."""
    return 4 * row_width(sizes, extra)


def bytes_of_member(
    algorithm: str,
    hyperparameters: Mapping[str, Any],
    sizes: Sizes,
    inputs: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> int:
    """The most that one member takes at any time, data apart.

    That is parameters, targets and moments, random numbers, and what an update holds while it is at work:
    activations and gradients. The last is measured, on updates of every phase, by following every tensor
    from its making to its end; everything grows in proportion to the members, so one tells for all.

    Args:
        algorithm: its id.
        hyperparameters: complete, by name.
        sizes: of observation and action.
        inputs: states like those that it reads.
    """
    learner = algorithm_class(algorithm)([Member("memory", hyperparameters, inputs=inputs or {})], sizes)
    state: int = sum(tensor.numel() * tensor.element_size() for tensor in learner.training_state().values())
    numbers: int = 8 * learner.hyper.batch_size + 4 * sum(math.prod(n.shape) for n in learner.noise.values())
    # those of a cycle lie once more where its graph reads them
    steps = _BLOCKS * BLOCK + max(1, len(cycle_of(learner)))
    return _STATES * state + steps * numbers + _UPDATES * _most_in_an_update(learner)


def _most_in_an_update(learner: Algorithm) -> int:
    batch, noise = example(learner)
    phases = tuple(dict.fromkeys(learner.phase(step) for step in range(1, 10 * BLOCK + 1)))
    with Watermark() as held:
        for phase in (*phases, *phases):  # twice, since a step still holds the gradients of the one before
            learner.update(batch, noise, phase)
    gathered: int = sum(column.nbytes for column in batch.tensors)
    return int(held.most) + gathered


class Watermark(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Follows the memory of the tensors made while it is on.

    Attributes:
        now: bytes of those that are alive.
        most: the largest that this has been.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and count what it made."""
        result = func(*args, **(kwargs or {}))
        given = storages((args, kwargs))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and _storage(tensor) not in given | self._alive:
                self._follow(tensor)
        return result

    def _follow(self, tensor: Tensor) -> None:
        storage, identity = tensor.untyped_storage(), _storage(tensor)
        size = storage.nbytes()
        self._alive.add(identity)
        self.now += size
        self.most = max(self.most, self.now)

        def end() -> None:
            self._alive.discard(identity)
            self.now -= size

        weakref.finalize(storage, end)


def storages(values: object) -> set[int]:
    """Which pieces of memory the tensors in nested values lie in."""
    return {_storage(leaf) for leaf in tree_leaves(values) if isinstance(leaf, Tensor)}


def _storage(tensor: Tensor) -> int:
    identity: int = tensor.untyped_storage()._cdata
    return identity
