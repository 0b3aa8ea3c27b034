"""FamCQL."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms import Batch
from reference import base, cql
from reference.cql import Policy, Samples


class Program(cql.Program):
    """CQL with k for the policy to see, and a model of k."""

    def start(self, algorithm: Any, member: int) -> None:
        """As CQL, and the balance model."""
        super().start(algorithm, member)
        self.balance_model = Policy(algorithm.balance_model, member)
        self.balance_optimiser = base.adam(self.balance_model.parameters(), self.h["balance_learning_rate"])

    def balance(self, s: Tensor, noise: Tensor) -> Tensor:
        """k(s), ``(B, 1)``."""
        x, _ = self.balance_model(s, noise)
        low, high = self.h["minimum_balance"], self.h["maximum_balance"]
        k: Tensor = (
            x * (high - low) + low if self.h["reproduce_defects"] else low + (high - low) * (x + 1) / 2
        )
        return k

    def seen(self, s: Tensor, k: Tensor) -> Tensor:
        """What the policy takes."""
        columns = []
        for i in range(self.h["embedding_frequencies"]):
            angle = k / self.h["embedding_base"] ** (i / self.h["embedding_frequencies"])
            columns += [angle.sin(), angle.cos()]
        return torch.cat([s, *columns], 1)

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """All losses and gradients, then all steps."""
        s, a, s2 = batch.observation, batch.action, batch.next_observation
        chosen = self.balance(s, noise["balance"])
        if self.h["balance"] == "random":
            low, high = self.h["minimum_balance"], self.h["maximum_balance"]
            k = low + (high - low) * noise["random_balance"].unsqueeze(1)
            balanced_a, _ = self.actor(self.seen(s, chosen), noise["balanced_action"])
        else:
            k = chosen.detach()
            balanced_a, _ = self.actor(self.seen(s, chosen), noise["action"])
        # policy, temperature, balance model
        new_a, log_prob = self.actor(self.seen(s, k), noise["action"])
        temperature_loss = -(self.log_temperature * (log_prob.detach() - a.shape[1])).mean()
        value = torch.min(*[self.q(critic, s, new_a) for critic in self.critics])
        actor_loss = (self.log_temperature.exp().detach() * log_prob - k.squeeze(1) * value).mean()
        balance_loss = -torch.min(*[self.q(critic, s, balanced_a) for critic in self.critics]).mean()
        # critics
        seen, seen2 = self.seen(s, k), self.seen(s2, chosen.detach())
        with torch.no_grad():
            a2, _ = self.actor(seen2, noise["target_action"])
            q2 = torch.min(*[self.q(critic, s2, a2) for critic in self.target_critics])
            y = batch.reward + (1 - batch.terminal) * self.h["discount"] * q2
        random = 2 * noise["random"] - 1
        uniform = Samples(random, torch.full_like(random[..., 0], math.log(0.5 ** a.shape[1])))
        samples = [
            uniform,
            self.policy_samples(seen2, noise["next"]),
            self.policy_samples(seen, noise["current"]),
        ]
        td = torch.stack([F.mse_loss(self.q(critic, s, a), y) for critic in self.critics]).sum()
        gaps = torch.stack([self.gap(critic, s, a, samples) for critic in self.critics]).sum()

        losses = {
            self.temperature_optimiser: temperature_loss,
            self.actor_optimiser: actor_loss,
            self.balance_optimiser: balance_loss,
            self.critic_optimiser: td + self.h["cql_alpha"] * gaps,
        }
        for optimiser, loss in losses.items():
            parameters = optimiser.param_groups[0]["params"]
            for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p.grad = gradient
        for optimiser in losses:
            optimiser.step()
        base.follow(self.h["soft_update"], self.target_critics, self.critics)

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """As CQL, and the balance model."""
        yield from super().pairs(algorithm, member)
        model = algorithm.balance_model
        yield "balance model", self.balance_model.network, base.plain_mlp(model.network, member)
        yield (
            "balance m",
            self.balance_model.multiplier.detach(),
            model.log_std_multiplier.detach()[member, 0, 0],
        )
        yield "balance c", self.balance_model.offset.detach(), model.log_std_offset.detach()[member, 0, 0]
