"""SSAR's selector: IQL without its policy."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms import Batch
from reference import base


class Program(base.Program):
    """V, and twin critics with targets."""

    def start(self, algorithm: Any, member: int) -> None:
        """Networks and optimisers."""
        self.value = base.plain_mlp(algorithm.value.network, member)
        self.critics = [base.plain_mlp(algorithm.critic.network, member, head) for head in (0, 1)]
        self.target_critics = copy.deepcopy(self.critics)
        self.value_optimiser = base.adam(self.value.parameters(), self.h["value_learning_rate"])
        self.critic_optimisers = [
            base.adam(critic.parameters(), self.h["critic_learning_rate"]) for critic in self.critics
        ]

    def smaller(self, critics: list[nn.Sequential], s: Tensor, a: Tensor) -> Tensor:
        """The smaller of two critics' values, ``(B,)``."""
        value: Tensor = torch.min(*[critic(torch.cat([s, a], 1)).squeeze(1) for critic in critics])
        return value

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """V, critics, targets."""
        h, s, a = self.h, batch.observation, batch.action
        with torch.no_grad():
            next_v = self.value(batch.next_observation).squeeze(1)
            q = self.smaller(self.target_critics, s, a)
        u = q - self.value(s).squeeze(1)
        asymmetry = (h["expectile"] - (u.detach() < 0).to(s.dtype)).abs()
        base.descend((asymmetry * u**2).mean(), self.value_optimiser)

        y = batch.reward + (1 - batch.terminal) * h["discount"] * next_v
        first, second = (F.mse_loss(critic(torch.cat([s, a], 1)).squeeze(1), y) for critic in self.critics)
        base.descend((first + second) / 2, *self.critic_optimisers)
        base.follow(h["soft_update"], self.target_critics, self.critics)

    def trusts(self, s: Tensor, a: Tensor) -> Tensor:
        """Which transitions are trusted, ``(B,)``."""
        with torch.no_grad():
            trusted: Tensor = self.smaller(self.critics, s, a) >= self.value(s).squeeze(1)
        return trusted

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks."""
        yield "value", self.value, base.plain_mlp(algorithm.value.network, member)
        for head in (0, 1):
            online, target = algorithm.critic.network, algorithm.target_critic.network
            yield f"critic {head}", self.critics[head], base.plain_mlp(online, member, head)
            yield f"target critic {head}", self.target_critics[head], base.plain_mlp(target, member, head)
