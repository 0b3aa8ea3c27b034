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


class Replay:
    """Transitions of all members, each distinct dataset held once however many members use it.

    A transition is one row, (s, a, r, s', d, a'), so that a minibatch is one gather.

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
        offset, length: ``(M,)``, where each member's rows lie in the storage.
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
        self._sizes = [datasets[0].observations.shape[1], datasets[0].actions.shape[1]]
        self.storage = torch.empty(
            sum(len(data.rewards) for data in distinct.values()),
            2 * sum(self._sizes) + 2,
            device=device,
            dtype=dtype,
        )
        statistics, places, reward_means, start = {}, {}, {}, 0
        for content, data in distinct.items():
            mean, scale = _statistics(data.observations, normalize, epsilon)
            stop = start + len(data.rewards)
            reward = rewards(data)
            self._fill(self.storage[start:stop], data, mean, scale, reward)
            statistics[content], places[content] = (mean, scale), (start, stop - start)
            reward_means[content] = float(reward.mean(dtype="float64"))
            start = stop
        self.mean = np.stack([statistics[data.content_hash][0] for data in datasets])
        self.scale = np.stack([statistics[data.content_hash][1] for data in datasets])
        self.reward_mean = [reward_means[data.content_hash] for data in datasets]
        self.offset = [places[data.content_hash][0] for data in datasets]
        self.length = [places[data.content_hash][1] for data in datasets]

    def _fill(
        self, rows: Tensor, data: Transitions, mean: np.ndarray, scale: np.ndarray, rewards: np.ndarray
    ) -> None:
        columns = self._columns(rows)
        columns[0].copy_(torch.from_numpy((data.observations - mean) / scale))
        columns[1].copy_(torch.from_numpy(data.actions))
        columns[2].copy_(torch.from_numpy(rewards).unsqueeze(1))
        columns[3].copy_(torch.from_numpy((data.next_observations - mean) / scale))
        columns[4].copy_(torch.from_numpy(data.terminals).unsqueeze(1))
        columns[5].copy_(torch.from_numpy(data.next_actions))

    def _columns(self, rows: Tensor) -> tuple[Tensor, ...]:
        observation, action = self._sizes
        return torch.split(rows, [observation, action, 1, observation, 1, action], -1)

    def batch(self, rows: Tensor) -> Batch:
        """Gather storage rows ``(M, B)`` into a minibatch."""
        gathered = self.storage.index_select(0, rows.flatten()).view(*rows.shape, -1)
        observation, action, reward, next_observation, terminal, next_action = self._columns(gathered)
        return Batch(
            observation, action, reward.squeeze(-1), next_observation, terminal.squeeze(-1), next_action
        )


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
    draws the same whoever trains beside it. The CPU and CUDA generators of torch differ: the device matters.
    """

    def __init__(
        self,
        keys: Sequence[str],
        replay: Replay,
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
        draw = torch.randn if noise.distribution == "normal" else torch.rand
        numbers = draw(BLOCK, *noise.shape, generator=self._generator(key, name, index), device=self._device)
        return numbers.to(self._dtype)

    def _generator(self, key: str, stream: str, index: int) -> torch.Generator:
        return generator(key, stream, index, self._device)
