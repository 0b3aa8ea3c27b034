"""CVAE: a variational autoencoder of the data's actions, which tells how well an action is supported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from algorithms.base import (
    Algorithm,
    Batch,
    Hyperparameters,
    batch_mean,
    layer_sizes,
    normal,
    per_member,
    register,
    static,
)
from algorithms.networks import CVAE, Layers
from algorithms.optimisers import Adam


@dataclass(frozen=True, kw_only=True)
class CVAEHyperparameters(Hyperparameters):
    """Hyperparameters of the autoencoder."""

    learning_rate: float = static(minimum=0)
    kl_weight: float = per_member(minimum=0)  # β
    vae_hidden_sizes: str = layer_sizes()  # of the encoder, and of the decoder


@register("cvae")
class BehaviourCVAE(Algorithm):
    """The autoencoder that SPOT trains first (Wu et al., 2022, arXiv:2202.06239).

    It is a run of its own, whose network `vae` others read. It acts, too: the decoder's action at z = 0, the
    middle of what the data do; the paper has no such policy.

    Differences from the authors' code:
        their file of step 100,000 has 100,001 steps; here the protocol says how many there are.
    """

    Hyperparameters = CVAEHyperparameters
    policy = ("vae",)

    def build(self) -> None:
        """Encoder and decoder."""
        self.vae = CVAE(self.initial, self.sizes, Layers(self.hyper.vae_hidden_sizes))
        self.optimiser = Adam(self.vae.parameters(), self.hyper.learning_rate)
        self.noise = {"latent": normal(self.hyper.batch_size, self.vae.latent)}

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """One step down E[-ELBO(a|s)] of the data, see `CVAE.loss`."""
        loss = batch_mean(
            self.vae.loss(batch.observation, batch.action, noise["latent"], self.hyper.kl_weight)
        )
        self.optimiser.descend(loss)
        return {"vae_loss": loss.detach()}

    def act(self, observation: Tensor) -> Tensor:
        """The decoder's action at z = 0."""
        middle = observation.new_zeros(*observation.shape[:-1], self.vae.latent)
        action: Tensor = self.vae.decode(observation, middle)
        return action
