"""wPC: TD3+BC that is held near those actions of the data which are better than usual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.base import Batch, batch_mean, layer_sizes, per_member, register, static
from algorithms.networks import Layers, ValueFunction
from algorithms.optimisers import Adam
from algorithms.td3_bc import TD3, ConstrainedLoss, TD3Hyperparameters, constrained_loss


@dataclass(frozen=True, kw_only=True)
class WPCHyperparameters(TD3Hyperparameters):
    """Hyperparameters of wPC."""

    alpha: float = per_member(minimum=0)  # α
    value_learning_rate: float = static(minimum=0)
    value_hidden_sizes: str = layer_sizes()


class WeightedTD3(TD3):
    """TD3 with a V of the data, whose constraint may skip the actions that are no better than V.

    V has no target network and is regressed on the critics' target at every step.
    """

    def build_value(self) -> None:
        """V and its optimiser."""
        self.value = ValueFunction(self.initial, self.sizes, Layers(self.hyper.value_hidden_sizes))
        self.value_optimiser = Adam(self.value.parameters(), self.hyper.value_learning_rate)

    def fit_value(self, batch: Batch, target: Tensor) -> tuple[Tensor, Tensor]:
        """One step of V down E[(V(s) - y)²]; V(s) before it, ``(M, B)``, and the loss, ``(M, 1)``.

        `target` is y, ``(M, B)``.
        """
        value = self.value(batch.observation)
        loss = batch_mean((value - target) ** 2)
        self.value_optimiser.descend(loss)
        return value.detach(), loss.detach()

    @torch.no_grad()
    def weight(self, batch: Batch, value: Tensor) -> Tensor:
        """1[Q₁(s, a) > V(s)], where `value` is V(s): ``(M, B)``."""
        return (self.critic.first(batch.observation, batch.action) > value).to(value.dtype)


@register("wpc")
class WPC(WeightedTD3):
    """Weighted policy constraints (wPC; Peng et al., AAAI 2023).

    TD3+BC whose constraint counts only the samples with w = 1[Q₁(s, a) > V(s)].

    Differences from the authors' code:
        none by default. The ASPC paper's wPC* columns have ``critic: robust``; its Table 7 prints a policy
        noise of 0.1, where both its authors' code and wPC's have 0.2.
    """

    Hyperparameters = WPCHyperparameters

    def build(self) -> None:
        """As TD3, and V."""
        super().build()
        self.build_value()

    def actor_loss(self, batch: Batch, weight: Tensor) -> ConstrainedLoss:
        """-λ E[Q₁(s, π(s))] + E[w (π(s) - a)²], λ = α / E|Q₁(s, π(s))| held constant."""
        action = self.actor(batch.observation)
        q = self.critic.first(batch.observation, action)
        return constrained_loss(self.hyper.alpha, q, action, batch, weight)

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Critics; V; then, every second step, policy and targets.

        The weight compares the critic after its step with V before its own.
        """
        target = self.target_value(batch, noise["target_action"])
        metrics = self.fit_critic(batch, target)
        value, metrics["value_loss"] = self.fit_value(batch, target)
        if phase == "critic and actor":
            weight = self.weight(batch, value)
            loss = self.actor_loss(batch, weight)
            self.actor_optimiser.descend(loss.whole)
            self.update_targets()
            metrics |= loss.metrics | {"weight": batch_mean(weight)}
        return metrics
