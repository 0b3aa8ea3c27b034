"""IQL."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms import Batch
from reference import base


class Program(base.Program):
    """V, twin critics with targets, and a policy that imitates by weight."""

    def start(self, algorithm: Any, member: int) -> None:
        """Networks and optimisers."""
        activation = base.gelu if self.h["networks"] == "flax" else nn.ReLU
        self.gaussian = self.h["policy"] == "gaussian"
        bound = [] if self.h["policy"] == "unit_gaussian" else [nn.Tanh()]
        self.actor = base.plain_mlp(algorithm.actor.network, member, None, *bound, activation=activation)
        self.log_std = nn.Parameter(
            torch.zeros_like(algorithm.actor.log_std[member, 0]) if self.gaussian else torch.zeros(0)
        )
        self.value = base.plain_mlp(algorithm.value.network, member, activation=activation)
        self.critics = [
            base.plain_mlp(algorithm.critic.network, member, head, activation=activation) for head in (0, 1)
        ]
        self.target_critics = copy.deepcopy(self.critics)
        self.value_optimiser = base.adam(self.value.parameters(), self.h["value_learning_rate"])
        self.critic_optimisers = [
            base.adam(critic.parameters(), self.h["critic_learning_rate"]) for critic in self.critics
        ]
        self.start_policy()

    def start_policy(self) -> None:
        """What moves the policy."""
        policy = [*self.actor.parameters(), *([self.log_std] if self.gaussian else [])]
        self.optimiser = base.adam(policy)

    def actor_rate(self, step: int) -> float:
        """A cosine, at step 1, 2, …, if it is to fall; CUDA's Adam takes it in float32."""
        if not self.h["actor_decay_steps"]:
            return float(self.h["actor_learning_rate"])
        done = (step - 1) / self.h["actor_decay_steps"]
        rate = self.h["actor_learning_rate"] * 0.5 * (1 + math.cos(math.pi * done))
        return torch.tensor(rate, dtype=torch.float32).item()

    def q(self, critic: nn.Module, s: Tensor, a: Tensor) -> Tensor:
        """One critic's values, ``(B,)``."""
        value: Tensor = critic(torch.cat([s, a], 1)).squeeze(1)
        return value

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """V, critics, targets, policy."""
        h, s, a = self.h, batch.observation, batch.action
        with torch.no_grad():
            next_v = self.value(batch.next_observation).squeeze(1)
            q = torch.min(*[self.q(critic, s, a) for critic in self.target_critics])
        advantage = q - self.value(s).squeeze(1)
        asymmetry = (h["expectile"] - (advantage.detach() < 0).to(s.dtype)).abs()
        weighing = advantage.detach()
        if h["advantage_critic"] == "online":
            with torch.no_grad():
                weighing = torch.min(*[self.q(critic, s, a) for critic in self.critics])
                weighing = weighing - self.value(s).squeeze(1)
        base.descend((asymmetry * advantage**2).mean(), self.value_optimiser)

        y = batch.reward + (1 - batch.terminal) * h["discount"] * next_v
        losses = [F.mse_loss(self.q(critic, s, a), y) for critic in self.critics]
        total = losses[0] + losses[1]
        old = copy.deepcopy(self.critics) if h["target_order"] == "before" else self.critics
        base.descend(total if h["critic_loss"] == "sum" else total / 2, *self.critic_optimisers)
        base.follow(h["soft_update"], self.target_critics, old)
        self.update_policy(step, s, a, weighing)

    def weight(self, beta: float | Tensor, advantage: Tensor) -> Tensor:
        """What each sample counts; the exponent is cut, so that it cannot overflow."""
        return torch.exp((beta * advantage).clamp(max=math.log(self.h["weight_cap"])))

    def imitation(self, mean: Tensor, log_std: Tensor, a: Tensor) -> Tensor:
        """Negative log-likelihood or squared error, ``(B,)``."""
        if self.h["policy"] == "deterministic":
            return ((mean - a) ** 2).sum(1)
        std = torch.ones_like(mean) if self.h["policy"] == "unit_gaussian" else log_std.clamp(-20, 2).exp()
        likelihood: Tensor = torch.distributions.Normal(mean, std).log_prob(a)  # type: ignore[no-untyped-call]
        return -likelihood.sum(1)

    def update_policy(self, step: int, s: Tensor, a: Tensor, advantage: Tensor) -> None:
        """One step of weighted regression."""
        self.optimiser.param_groups[0]["lr"] = self.actor_rate(step)
        loss = self.weight(self.h["beta"], advantage) * self.imitation(self.actor(s), self.log_std, a)
        base.descend(loss.mean(), self.optimiser)

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks, and ln σ."""
        yield "actor", self.actor, base.plain_mlp(algorithm.actor.network, member)
        if self.gaussian:
            yield "ln σ", self.log_std.detach(), algorithm.actor.log_std.detach()[member, 0]
        yield "value", self.value, base.plain_mlp(algorithm.value.network, member)
        for head in (0, 1):
            online, target = algorithm.critic.network, algorithm.target_critic.network
            yield f"critic {head}", self.critics[head], base.plain_mlp(online, member, head)
            yield f"target critic {head}", self.target_critics[head], base.plain_mlp(target, member, head)
