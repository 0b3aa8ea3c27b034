"""The data of a population on its device, and the random numbers that its members draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from algorithms import Batch, Noise, generator
from harness.datasets.base import Transitions
from harness.training.rewards import RAW, RewardTransform

BLOCK = 100
"""Steps whose random numbers are drawn at once. Part of what a run is: another value draws other numbers."""


def row_width(sizes: Sequence[int]) -> int:
    """Numbers in a row, whose columns are those of `columns`."""
    return 2 * sum(sizes) + 2


def columns(rows: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """s, a, r, s', d and a' of rows ``(..., 2 S + 2 A + 2)``, each with an axis of its own.

    Args:
        rows: of the storage of a replay.
        sizes: of observation and action.
    """
    observation, action = sizes
    return torch.split(rows, [observation, action, 1, observation, 1, action], -1)


class Rows:
    """Transitions of all members in one storage, one row each: (s, a, r, s', d, a').

    So a minibatch is one gather.

    Args:
        rows: that the storage has room for.
        sizes: of observation and action.
        device: where the rows are held.
        dtype: of the rows.

    Attributes:
        storage: ``(rows, 2 S + 2 A + 2)``.
        offset, length: ``(M,)``, where each member's rows lie in the storage.
    """

    offset: list[int]
    length: list[int]

    def __init__(
        self, rows: int, sizes: Sequence[int], device: torch.device | str, dtype: torch.dtype
    ) -> None:
        self._sizes = list(sizes)
        self.storage = torch.empty(rows, row_width(sizes), device=device, dtype=dtype)

    def _fill(self, start: int, batch: Sequence[np.ndarray]) -> None:
        """Write transitions, in the order of `Batch`, from row `start` on."""
        rows = self.storage[start : start + len(batch[0])]
        for column, values in zip(columns(rows, self._sizes), batch, strict=True):
            column.copy_(torch.from_numpy(values).view(len(values), -1))

    def batch(self, rows: Tensor) -> Batch:
        """Gather storage rows ``(M, B)`` into a minibatch."""
        gathered = self.storage.index_select(0, rows.flatten()).view(*rows.shape, -1)
        observation, action, reward, next_observation, terminal, next_action = columns(gathered, self._sizes)
        return Batch(
            observation, action, reward.squeeze(-1), next_observation, terminal.squeeze(-1), next_action
        )


class Replay(Rows):
    """Datasets of all members, each distinct one held once however many members use it.

    Args:
        datasets: one per member; members that share one give the same object or equal content hashes.
        normalize: subtract the dataset's mean observation and divide by its standard deviation (ddof 0) plus
            `epsilon`, per dimension.
        epsilon: see `normalize`.
        rewards: from a dataset's rewards to those of the rows.
        device: where the rows are held.
        dtype: of the rows.

    Attributes:
        mean: ``(M, S)``; what evaluation subtracts from observations.
        scale: ``(M, S)``; what evaluation divides by.
        reward_mean: ``(M,)``, of the transformed rewards.
    """

    def __init__(
        self,
        datasets: Sequence[Transitions],
        *,
        normalize: bool,
        epsilon: float,
        rewards: RewardTransform = RAW,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        distinct = {data.content_hash: data for data in datasets}
        sizes = [datasets[0].observations.shape[1], datasets[0].actions.shape[1]]
        super().__init__(sum(len(data) for data in distinct.values()), sizes, device, dtype)
        statistics, places, reward_means, start = {}, {}, {}, 0
        for content, data in distinct.items():
            mean, scale = _statistics(data.observations, normalize, epsilon)
            reward = rewards(data)
            self._fill(
                start,
                [
                    (data.observations - mean) / scale,
                    data.actions,
                    reward,
                    (data.next_observations - mean) / scale,
                    data.terminals,
                    data.next_actions,
                ],
            )
            statistics[content], places[content] = (mean, scale), (start, len(data))
            reward_means[content] = float(reward.mean(dtype="float64"))
            start += len(data)
        self.mean = np.stack([statistics[data.content_hash][0] for data in datasets])
        self.scale = np.stack([statistics[data.content_hash][1] for data in datasets])
        self.reward_mean = [reward_means[data.content_hash] for data in datasets]
        self.offset = [places[data.content_hash][0] for data in datasets]
        self.length = [places[data.content_hash][1] for data in datasets]


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


def _statistics(observations: np.ndarray, normalize: bool, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    if not normalize:
        size = observations.shape[1]
        return np.zeros(size, np.float32), np.ones(size, np.float32)
    mean = observations.mean(0, dtype=np.float64)
    scale = observations.std(0, dtype=np.float64) + epsilon
    return mean.astype(np.float32), scale.astype(np.float32)


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
