"""How members act while they gather: all at once, with random numbers of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from algorithms import Algorithm, Noise
from algorithms.base import normal
from harness.specs.models import ExplorationNoise
from harness.training.replay import BLOCK, numbers


class Explorer:
    """Chooses the actions of a population's members.

    Args:
        algorithm: the population.
        keys: of the members' random numbers.
        explore: how the policy acts; see `harness.specs.models.Gather`.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        keys: Sequence[str],
        explore: Literal["deterministic", "sample"] | ExplorationNoise,
    ) -> None:
        self._algorithm, self._explore, self._keys = algorithm, explore, keys
        self._like = torch.empty(0, device=algorithm.device, dtype=algorithm.dtype)
        self._blocks: dict[str, tuple[int, Tensor]] = {}

    @torch.no_grad()
    def __call__(self, observation: Tensor, number: int) -> Tensor:
        """Actions in [-1, 1] of interaction `number`: ``(M, B, S) -> (M, B, A)``.

        A member's random numbers are the same for each of its B observations.
        """
        learner = self._algorithm
        added = normal(learner.sizes.action)
        if self._explore == "sample":
            wanted = learner.acting_noise or added
            return learner.explore(observation, self._drawn("exploration", wanted, number, observation))
        action = self.settled(observation, number)
        if isinstance(self._explore, ExplorationNoise):
            noise = self._explore.noise * self._drawn("exploration", added, number, observation)
            if (clip := self._explore.clip) is not None:
                noise = noise.clamp(-clip, clip)
            action = (action + noise).clamp(-1, 1)
        return action

    @torch.no_grad()
    def settled(self, observation: Tensor, number: int) -> Tensor:
        """Actions as evaluations choose them, at interaction `number`: ``(M, B, S) -> (M, B, A)``."""
        own = self._algorithm.acting_noise
        return self._algorithm.act(
            observation, *([self._drawn("acting", own, number, observation)] if own else [])
        )

    def _drawn(self, stream: str, noise: Noise, number: int, like: Tensor) -> Tensor:
        """The numbers of an interaction, ``(M, B, *shape)`` for B as of `like`."""
        index, position = divmod(number, BLOCK)
        if self._blocks.get(stream, (-1,))[0] != index:
            self._blocks[stream] = index, numbers(self._keys, stream, noise, index, self._like)
        drawn = self._blocks[stream][1][position].unsqueeze(1)
        return drawn.expand(-1, like.shape[1], *drawn.shape[2:])
