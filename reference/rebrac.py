"""ReBRAC."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from algorithms import Batch
from reference import base


class Program(base.Program):
    """Written after the equations alone: nothing is shared with TD3+BC's program."""

    def start(self, algorithm: Any, member: int) -> None:
        """Networks and optimisers."""
        activation = base.gelu if self.h["networks"] == "flax" else nn.ReLU
        self.actor = base.plain_mlp(algorithm.actor.network, member, None, nn.Tanh(), activation=activation)
        self.critics = [
            base.plain_mlp(algorithm.critic.network, member, head, activation=activation) for head in (0, 1)
        ]
        self.target_actor = copy.deepcopy(self.actor)
        self.target_critics = copy.deepcopy(self.critics)
        self.actor_optimiser = base.adam(self.actor.parameters(), self.h["actor_learning_rate"])
        both = [parameter for critic in self.critics for parameter in critic.parameters()]
        self.critic_optimiser = base.adam(both, self.h["critic_learning_rate"])
        self.optimiser = torch.optim.Adam(
            [
                {"params": both, "lr": self.h["critic_learning_rate"]},
                {"params": self.actor.parameters(), "lr": self.h["actor_learning_rate"]},
            ]
        )

    def smallest(self, critics: list[nn.Sequential], s: Tensor, a: Tensor) -> Tensor:
        """The smaller value of the two, ``(B,)``."""
        values = torch.cat([critic(torch.cat([s, a], 1)) for critic in critics], 1)
        return values.min(1).values

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """Critics; at steps 1, 3, …, or 2, 4, …, policy and targets."""
        h = self.h
        with torch.no_grad():
            smoothing = (h["policy_noise"] * noise["target_action"]).clamp(-h["noise_clip"], h["noise_clip"])
            a2 = (self.target_actor(batch.next_observation) + smoothing).clamp(-1, 1)
            distance = (a2 - batch.next_action).square().sum(1)
            q2 = self.smallest(self.target_critics, batch.next_observation, a2)
            next_value = q2 - h["critic_bc_coefficient"] * distance
            y = batch.reward + h["discount"] * (1 - batch.terminal) * next_value
        x = torch.cat([batch.observation, batch.action], 1)
        losses = [(critic(x).squeeze(1) - y).square().mean() for critic in self.critics]
        loss = losses[0] + losses[1] if h["critic_loss"] == "sum" else (losses[0] + losses[1]) / 2
        turn = (step - 1 if h["policy_first"] else step) % h["policy_frequency"] == 0
        if h["optimiser"] == "joint":
            self.update_all(batch.observation, batch.action, loss, turn=turn)
            return
        base.descend(loss, self.critic_optimiser)
        if turn:
            self.update_policy(batch.observation, batch.action)

    def update_all(self, s: Tensor, a: Tensor, loss: Tensor, *, turn: bool) -> None:
        """One step of one optimiser on the sum of both losses; the policy's is 0 where it is not its turn."""
        old = [copy.deepcopy(network) for network in (self.actor, *self.critics)]
        nothing = sum(0 * parameter.sum() for parameter in self.actor.parameters())
        policy = self.actor_loss(old[1:], s, a) if turn else nothing
        base.descend(loss + policy, self.optimiser)
        if turn:
            leaders = old if self.h["target_order"] == "before" else [self.actor, *self.critics]
            targets = [self.target_actor, *self.target_critics]
            base.follow(self.h["soft_update"], targets, leaders)

    def actor_loss(self, critics: list[nn.Sequential], s: Tensor, a: Tensor) -> Tensor:
        """Penalty, less the smaller Q over its mean magnitude."""
        pi = self.actor(s)
        q = self.smallest(critics, s, pi)
        penalty = (pi - a).square().sum(1)
        loss: Tensor = (self.h["actor_bc_coefficient"] * penalty - q / q.abs().mean().detach()).mean()
        return loss

    def update_policy(self, s: Tensor, a: Tensor) -> None:
        """One step of the policy, and the targets: that of the policy may follow its old parameters."""
        old = copy.deepcopy(self.actor)
        base.descend(self.actor_loss(self.critics, s, a), self.actor_optimiser)
        leader = old if self.h["target_order"] == "before" else self.actor
        targets = [self.target_actor, *self.target_critics]
        base.follow(self.h["soft_update"], targets, [leader, *self.critics])

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks."""
        yield "actor", self.actor, base.plain_mlp(algorithm.actor.network, member)
        yield "target actor", self.target_actor, base.plain_mlp(algorithm.target_actor.network, member)
        for head in (0, 1):
            online, target = algorithm.critic.network, algorithm.target_critic.network
            yield f"critic {head}", self.critics[head], base.plain_mlp(online, member, head)
            yield f"target critic {head}", self.target_critics[head], base.plain_mlp(target, member, head)
