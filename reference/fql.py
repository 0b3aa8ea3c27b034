"""FQL."""

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
    """Twin critics with targets, a flow of the data, and the student that acts."""

    def start(self, algorithm: Any, member: int) -> None:
        """Networks and optimisers."""
        rate = self.h["learning_rate"]
        self.actor = base.plain_mlp(algorithm.actor.network, member, activation=base.gelu)
        self.flow = base.plain_mlp(algorithm.flow.network, member, activation=base.gelu)
        self.critics = [
            base.plain_mlp(algorithm.critic.network, member, head, activation=base.gelu) for head in (0, 1)
        ]
        self.target_critics = copy.deepcopy(self.critics)
        self.flow_optimiser = base.adam(self.flow.parameters(), rate)
        self.critic_optimisers = [base.adam(critic.parameters(), rate) for critic in self.critics]
        self.start_policy()

    def start_policy(self) -> None:
        """What moves the student."""
        self.actor_optimiser = base.adam(self.actor.parameters(), self.h["learning_rate"])

    def values(self, critics: list[nn.Sequential], s: Tensor, a: Tensor) -> Tensor:
        """Both critics' values, ``(B, 2)``."""
        return torch.cat([critic(torch.cat([s, a], 1)) for critic in critics], 1)

    def transported(self, s: Tensor, z: Tensor) -> Tensor:
        """Euler's method from noise at time 0 to an action at time 1, ``(B, A)``."""
        steps, x = self.h["flow_steps"], z
        for k in range(steps):
            time = torch.full((len(s), 1), k / steps, dtype=s.dtype, device=s.device)
            x = x + self.flow(torch.cat([s, x, time], 1)) / steps
        return x.clamp(-1, 1)

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """Everything of the networks as they are; then student, flow, targets and critics move."""
        h, s, a = self.h, batch.observation, batch.action
        with torch.no_grad():
            s2 = batch.next_observation
            a2 = self.actor(torch.cat([s2, noise["next_action"]], 1)).clamp(-1, 1)
            q2 = self.values(self.target_critics, s2, a2)
            q2 = q2.min(1).values if h["target_aggregate"] == "min" else q2.mean(1)
            y = batch.reward + h["discount"] * (1 - batch.terminal) * q2
            taught = self.transported(s, noise["action"])

        self.update_policy(step, s, noise["action"], taught)

        t, x0 = noise["flow_time"].unsqueeze(1), noise["flow_start"]
        velocity = self.flow(torch.cat([s, (1 - t) * x0 + t * a, t], 1))
        base.descend(F.mse_loss(velocity, a - x0), self.flow_optimiser)

        base.follow(h["soft_update"], self.target_critics, self.critics)
        loss = ((self.values(self.critics, s, a) - y.unsqueeze(1)) ** 2).mean()
        base.descend(loss, *self.critic_optimisers)

    def update_policy(self, step: int, s: Tensor, z: Tensor, taught: Tensor) -> None:
        """One step of the student."""
        pi = self.actor(torch.cat([s, z], 1))
        q = self.values(self.critics, s, pi.clamp(-1, 1)).mean(1)
        scale = 1 / q.abs().mean().detach() if self.h["normalize_q_loss"] else 1.0
        base.descend(self.h["alpha"] * F.mse_loss(pi, taught) - scale * q.mean(), self.actor_optimiser)

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks."""
        yield "actor", self.actor, base.plain_mlp(algorithm.actor.network, member)
        yield "flow", self.flow, base.plain_mlp(algorithm.flow.network, member)
        for head in (0, 1):
            online, target = algorithm.critic.network, algorithm.target_critic.network
            yield f"critic {head}", self.critics[head], base.plain_mlp(online, member, head)
            yield f"target critic {head}", self.target_critics[head], base.plain_mlp(target, member, head)
