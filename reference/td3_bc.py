"""TD3+BC."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms import Batch
from reference import base


class Program(base.Program):
    """Twin critics, a delayed policy, targets of all three."""

    def start(self, algorithm: Any, member: int) -> None:
        """Networks and optimisers."""
        self.actor = base.plain_mlp(algorithm.actor.network, member, None, nn.Tanh())
        self.critics = [base.plain_mlp(algorithm.critic.network, member, head) for head in (0, 1)]
        self.target_actor = copy.deepcopy(self.actor)
        self.target_critics = copy.deepcopy(self.critics)
        self.critic_optimisers = [
            base.adam(critic.parameters(), self.h["critic_learning_rate"]) for critic in self.critics
        ]
        self.start_policy()

    def start_policy(self) -> None:
        """What moves the policy."""
        self.optimiser = base.adam(self.actor.parameters(), self.h["actor_learning_rate"])

    def reward(self, batch: Batch) -> Tensor:
        """r, ``(B,)``."""
        return batch.reward

    def q(self, critic: nn.Module, s: Tensor, a: Tensor) -> Tensor:
        """One critic's values, ``(B,)``."""
        value: Tensor = critic(torch.cat([s, a], 1)).squeeze(1)
        return value

    def next_action(self, batch: Batch, noise: Mapping[str, Tensor]) -> Tensor:
        """The target policy's, smoothed."""
        h = self.h
        smoothing = (noise["target_action"] * h["policy_noise"]).clamp(-h["noise_clip"], h["noise_clip"])
        action: Tensor = (self.target_actor(batch.next_observation) + smoothing).clamp(-1, 1)
        return action

    def backup(self, batch: Batch, critics: Sequence[nn.Module], a2: Tensor) -> Tensor:
        """What y is with these critics: r + γ (1 - d) min Q(s', a')."""
        q2 = torch.min(*[self.q(critic, batch.next_observation, a2) for critic in critics])
        value: Tensor = self.reward(batch) + (1 - batch.terminal) * self.h["discount"] * q2
        return value

    def update_critics(self, s: Tensor, a: Tensor, y: Tensor) -> None:
        """One step of each."""
        for critic, optimiser in zip(self.critics, self.critic_optimisers, strict=True):
            base.descend(F.mse_loss(self.q(critic, s, a), y), optimiser)

    def update_targets(self) -> None:
        """All three."""
        base.follow(
            self.h["soft_update"], [self.target_actor, *self.target_critics], [self.actor, *self.critics]
        )

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """Critics, and every second step policy and targets."""
        s, a = batch.observation, batch.action
        with torch.no_grad():
            y = self.backup(batch, self.target_critics, self.next_action(batch, noise))
        self.update_critics(s, a, y)
        if step % self.h["policy_frequency"] == 0:
            self.update_policy(step, s, a)
            self.update_targets()

    def update_policy(self, step: int, s: Tensor, a: Tensor) -> None:
        """One step of the policy."""
        pi = self.actor(s)
        q = self.q(self.critics[0], s, pi)
        loss = -self.alpha(step) / q.abs().mean().detach() * q.mean() + F.mse_loss(pi, a)
        base.descend(loss, self.optimiser)

    def alpha(self, step: int) -> float:
        """α at critic step `step`."""
        first, last = float(self.h["alpha"]), float(self.h["final_alpha"])
        if self.h["alpha_schedule"] == "constant":
            return first
        total = self.h["alpha_schedule_steps"]
        return first + (last - first) * step / total if step < total else last

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks."""
        yield "actor", self.actor, base.plain_mlp(algorithm.actor.network, member)
        yield "target actor", self.target_actor, base.plain_mlp(algorithm.target_actor.network, member)
        for head in (0, 1):
            online, target = algorithm.critic.network, algorithm.target_critic.network
            yield f"critic {head}", self.critics[head], base.plain_mlp(online, member, head)
            yield f"target critic {head}", self.target_critics[head], base.plain_mlp(target, member, head)
