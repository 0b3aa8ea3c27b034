"""The data of a population on its device, and the random numbers that its members draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from algorithms import Batch, Noise, generator
from harness.datasets.transforms import Prepared

BLOCK = 100
"""Steps whose random numbers are drawn at once. Part of what a run is: another value draws other numbers."""


def row_width(sizes: Sequence[int], extra: int = 0) -> int:
    """Numbers in a row, whose columns are those of `columns`; `extra` are those beside the usual ones."""
    return 2 * sum(sizes) + 2 + extra


def columns(rows: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """s, a, r, s', d, a' and extra columns of rows, each with an axis of its own.

    Args:
        rows: of the storage of a replay: ``(..., 2 S + 2 A + 2 + E)``.
        sizes: of observation and action.
    """
    observation, action = sizes
    extra = rows.shape[-1] - row_width(sizes)
    return torch.split(rows, [observation, action, 1, observation, 1, action, *[1] * extra], -1)


class Rows:
    """Transitions of all members in one storage, one row each: (s, a, r, s', d, a') and extra columns.

    So a minibatch is one gather.

    Args:
        rows: that the storage has room for.
        sizes: of observation and action.
        device: where the rows are held.
        dtype: of the rows.
        extra: names of the E columns beside the usual ones.

    Attributes:
        storage: ``(rows, 2 S + 2 A + 2 + E)``.
        offset, length: ``(M,)``, where each member's rows lie in the storage.
    """

    offset: list[int]
    length: list[int]

    def __init__(
        self,
        rows: int,
        sizes: Sequence[int],
        device: torch.device | str,
        dtype: torch.dtype,
        extra: Sequence[str] = (),
    ) -> None:
        self._sizes, self._extra = list(sizes), tuple(extra)
        self.storage = torch.empty(rows, row_width(sizes, len(extra)), device=device, dtype=dtype)

    def _fill(self, start: int, batch: Sequence[np.ndarray]) -> None:
        """Write transitions, in the order of `Batch.tensors`, from row `start` on."""
        rows = self.storage[start : start + len(batch[0])]
        for column, values in zip(columns(rows, self._sizes), batch, strict=True):
            column.copy_(torch.from_numpy(values).view(len(values), -1))

    def batch(self, rows: Tensor) -> Batch:
        """Gather storage rows ``(M, B)`` into a minibatch."""
        gathered = self.storage.index_select(0, rows.flatten()).view(*rows.shape, -1)
        parts = columns(gathered, self._sizes)
        observation, action, reward, next_observation, terminal, next_action, *extra = parts
        return Batch(
            observation,
            action,
            reward.squeeze(-1),
            next_observation,
            terminal.squeeze(-1),
            next_action,
            {name: column.squeeze(-1) for name, column in zip(self._extra, extra, strict=True)},
        )


class Replay(Rows):
    """Datasets of all members, each distinct one held once however many members use it.

    Args:
        data: one per member; members that share one give the same object.
        device: where the rows are held.
        dtype: of the rows.
        extra: names of the extra columns of the data that are held.

    Attributes:
        pipelines: one per member: what was done to its data, and is to be done to what it observes.
        reward_mean: ``(M,)``, of the rewards that are trained on.
    """

    def __init__(
        self,
        data: Sequence[Prepared],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        extra: Sequence[str] = (),
    ) -> None:
        distinct = {id(each): each.rows for each in data}
        sizes = [data[0].rows.observations.shape[1], data[0].rows.actions.shape[1]]
        super().__init__(sum(map(len, distinct.values())), sizes, device, dtype, extra)
        places, reward_means, start = {}, {}, 0
        for name, rows in distinct.items():
            self._fill(
                start,
                [
                    rows.observations,
                    rows.actions,
                    rows.rewards,
                    rows.next_observations,
                    rows.terminals,
                    rows.next_actions,
                    *(rows.extra[column] for column in extra),
                ],
            )
            places[name] = (start, len(rows))
            reward_means[name] = float(rows.rewards.mean(dtype="float64"))
            start += len(rows)
        self.pipelines = [each.steps for each in data]
        self.reward_mean = [reward_means[id(each)] for each in data]
        self.offset = [places[id(each)][0] for each in data]
        self.length = [places[id(each)][1] for each in data]


class GrowingReplay(Rows):
    """Transitions that members gather while they train, each up to `capacity`.

    Args:
        members: number of members.
        capacity: rows of each.
        sizes: of observation and action.
        device: where the rows are held.
        dtype: of the rows.
    """

    def __init__(
        self,
        members: int,
        capacity: int,
        sizes: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(members * capacity, sizes, device, dtype)
        self.offset = [member * capacity for member in range(members)]
        self.length = [0] * members

    def append(self, member: int, batch: Sequence[np.ndarray]) -> None:
        """Add a member's transitions, in the order of `Batch`."""
        self._fill(self.offset[member] + self.length[member], batch)
        self.length[member] += len(batch[0])

    def rows(self, member: int) -> Tensor:
        """What a member has gathered: ``(length, 2 S + 2 A + 2)``."""
        return self.storage[self.offset[member] :][: self.length[member]]

    def restore(self, member: int, rows: Tensor) -> None:
        """Put back what `rows` gave."""
        self.length[member] = len(rows)
        self.rows(member).copy_(rows)


class Block(NamedTuple):
    """Random numbers of `BLOCK` steps."""

    rows: Tensor  # (BLOCK, M, B), rows of the replay's storage
    noise: dict[str, Tensor]  # name -> (BLOCK, M, *shape)


class Draws:
    """Minibatch indices and noise, a pure function of (run key, stream, block).

    Nothing here has a state: a resumed run draws what an uninterrupted one would have drawn, and a member
    draws the same whoever trains beside it. The device matters: the CPU and CUDA generators of torch differ,
    and for large draws so do those of cards with other numbers of multiprocessors.
    """

    def __init__(
        self,
        keys: Sequence[str],
        replay: Rows,
        batch_size: int,
        noise: Mapping[str, Noise],
    ) -> None:
        self._keys, self._replay, self._batch_size, self._noise = keys, replay, batch_size, noise
        self._device, self._dtype = replay.storage.device, replay.storage.dtype

    def block(self, index: int) -> Block:
        """The numbers of steps ``index * BLOCK + 1`` to ``(index + 1) * BLOCK``."""
        rows = [
            torch.randint(
                length,
                (BLOCK, self._batch_size),
                generator=self._generator(key, "batch", index),
                device=self._device,
            ).add_(offset)
            for key, offset, length in zip(self._keys, self._replay.offset, self._replay.length, strict=True)
        ]
        noise = {
            name: torch.stack([self._numbers(key, name, each, index) for key in self._keys], 1)
            for name, each in self._noise.items()
        }
        return Block(torch.stack(rows, 1), noise)

    def _numbers(self, key: str, name: str, noise: Noise, index: int) -> Tensor:
        return noise.draw(self._generator(key, name, index), BLOCK).to(self._dtype)

    def _generator(self, key: str, stream: str, index: int) -> torch.Generator:
        return generator(key, stream, index, self._device)
