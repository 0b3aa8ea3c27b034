"""Behaviour cloning with a deterministic policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from algorithms.base import Algorithm, Batch, Hyperparameters, batch_mean, layer_sizes, register, static
from algorithms.networks import DeterministicActor, Layers
from algorithms.optimisers import Adam


@dataclass(frozen=True, kw_only=True)
class BCHyperparameters(Hyperparameters):
    """Hyperparameters of behaviour cloning."""

    learning_rate: float = static(minimum=0)
    actor_hidden_sizes: str = layer_sizes()


@register("bc")
class BC(Algorithm):
    """Behaviour cloning (Pomerleau, 1988): regression of the data's actions."""

    Hyperparameters = BCHyperparameters

    def build(self) -> None:
        """One actor."""
        self.actor = DeterministicActor(self.initial, self.sizes, Layers(self.hyper.actor_hidden_sizes))
        self.actor_optimiser = Adam(self.actor.parameters(), self.hyper.learning_rate)

    def actor_loss(self, batch: Batch) -> Tensor:
        """E[(π(s) - a)²], the mean over batch and action dimensions: ``(M, 1)``."""
        return batch_mean((self.actor(batch.observation) - batch.action) ** 2)

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """One step of regression."""
        loss = self.actor_loss(batch)
        self.actor_optimiser.descend(loss)
        return {"actor_loss": loss.detach()}

    def act(self, observation: Tensor) -> Tensor:
        """π(s)."""
        action: Tensor = self.actor(observation)
        return action
