"""wPC: TD3+BC that is held near those actions of the data which are better than usual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.base import Batch, batch_mean, layer_sizes, per_member, register, static
from algorithms.networks import Layers, ValueFunction
from algorithms.optimisers import Adam
from algorithms.td3_bc import TD3, TD3Hyperparameters, mean_magnitude


@dataclass(frozen=True, kw_only=True)
class WPCHyperparameters(TD3Hyperparameters):
    """Hyperparameters of wPC."""

    alpha: float = per_member(minimum=0)  # α
    value_learning_rate: float = static(minimum=0)
    value_hidden_sizes: str = layer_sizes()


@register("wpc")
class WPC(TD3):
    """Weighted policy constraints (wPC; Peng et al., AAAI 2023).

    TD3+BC whose constraint counts only the samples with w = 1[Q₁(s, a) > V(s)]. V has no target network and
    is regressed on the critics' target at every step.

    Differences from the authors' code:
        none by default. The ASPC paper's wPC* columns have ``critic: robust``; its Table 7 prints a policy
        noise of 0.1, where both its authors' code and wPC's have 0.2.
    """

    Hyperparameters = WPCHyperparameters

    def build(self) -> None:
        """As TD3, and V."""
        super().build()
        self.value = ValueFunction(self.initial, self.sizes, Layers(self.hyper.value_hidden_sizes))
        self.value_optimiser = Adam(self.value.parameters(), self.hyper.value_learning_rate)

    @torch.no_grad()
    def weight(self, batch: Batch, value: Tensor) -> Tensor:
        """1[Q₁(s, a) > V(s)], where `value` is V(s): ``(M, B)``."""
        return (self.critic.first(batch.observation, batch.action) > value).to(value.dtype)

    def actor_loss(self, batch: Batch, weight: Tensor) -> Tensor:
        """-λ E[Q₁(s, π(s))] + E[w (π(s) - a)²], λ = α / E|Q₁(s, π(s))| held constant: ``(M, 1)``.

        The second mean is over the batch and the action dimensions; samples of weight 0 count in it.
        """
        action = self.actor(batch.observation)
        q = self.critic.first(batch.observation, action)
        constraint = weight.unsqueeze(-1) * (action - batch.action) ** 2
        loss: Tensor = -self.hyper.alpha * batch_mean(q) / mean_magnitude(q) + batch_mean(constraint)
        return loss

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Critics; V; then, every second step, policy and targets.

        The weight compares the critic after its step with V before its own.
        """
        target = self.target_value(batch, noise["target_action"])
        metrics = self.fit_critic(batch, target)

        # V: E[(V(s) - y)²]
        value = self.value(batch.observation)
        value_loss = batch_mean((value - target) ** 2)
        self.value_optimiser.descend(value_loss)
        metrics["value_loss"] = value_loss.detach()

        if phase == "critic and actor":
            weight = self.weight(batch, value)
            loss = self.actor_loss(batch, weight)
            self.actor_optimiser.descend(loss)
            self.update_targets()
            metrics |= {"actor_loss": loss.detach(), "weight": batch_mean(weight)}
        return metrics
