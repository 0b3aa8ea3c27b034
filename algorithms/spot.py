"""SPOT: TD3 whose policy is held where an autoencoder of the data finds its actions likely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from algorithms.base import Batch, batch_mean, layer_sizes, normal, per_member, register, static
from algorithms.networks import CVAE, Layers, within
from algorithms.td3_bc import TD3, TD3CoreHyperparameters, mean_magnitude


@dataclass(frozen=True, kw_only=True)
class SPOTHyperparameters(TD3CoreHyperparameters):
    """Hyperparameters of SPOT."""

    lambda_start: float = per_member(minimum=0)  # λ, from which it may fall
    lambda_floor: float = per_member(minimum=0, maximum=1, neutral=1.0)  # of λ, the least share left
    lambda_horizon: float = per_member(above=0, neutral=1e6)  # T, updates until nothing were left of λ
    kl_weight: float = per_member(minimum=0)  # β, as the autoencoder was trained with
    actor_dropout: float = static(minimum=0, maximum=0.99)
    actor_output_bound: float = static(minimum=0)  # of the last layer's first weights; 0: PyTorch's
    critic_output_bound: float = static(minimum=0)
    critic_hidden_sizes: str = layer_sizes()
    vae_hidden_sizes: str = layer_sizes()  # as the autoencoder has them


@register("spot")
class SPOT(TD3):
    """Supported policy optimisation (SPOT; Wu et al., 2022, arXiv:2202.06239).

    The input ``vae`` is the network of that name of a run of `cvae`, and stays as it is. Hidden units of the
    policy drop out in its loss and in the target policy, and never where it acts.

    Online λ falls, to λ · max(`lambda_floor`, 1 - t / `lambda_horizon`) after t updates. The authors' code
    has a floor of 0.2 and a horizon of 10⁶ whatever the length of the run; CORL's horizon is the length.
    The authors go on with the optimisers, and on antmaze-large discount by 0.995. CORL begins new
    optimisers (`start` with `state`: ``[actor, critic, target_actor, target_critic, vae]``) and discounts by
    0.995 on all of AntMaze. Both act with noise of 0.1, which CORL clips at ±0.5.

    Differences from the authors' code:
        none in the losses and their order. It ends a run whose mean Q₁ exceeds 10⁴; here a run fails where a
        metric is not finite. Their online program refuses normalised observations and so Gym-MuJoCo's
        settings; here these go on online as they are, dropout among them. CORL's SPOT has no dropout.
    """

    Hyperparameters = SPOTHyperparameters
    reads = ("vae",)

    def build(self) -> None:
        """As TD3, and the autoencoder."""
        super().build()
        self.vae = CVAE(self.initial, self.sizes, Layers(self.hyper.vae_hidden_sizes)).requires_grad_(False)
        self.begin_as("vae", "vae")
        size = self.hyper.batch_size
        self.noise["latent"] = normal(size, self.vae.latent)
        if self.hyper.actor_dropout:
            for name in ("actor", "target_actor"):
                self.noise |= self.actor.network.dropout_noise(name, size)

    def actor_layers(self) -> Layers:
        """ReLU layers with dropout."""
        h = self.hyper
        return Layers(h.actor_hidden_sizes, dropout=h.actor_dropout, **_last(h.actor_output_bound))

    def critic_layers(self) -> Layers:
        """ReLU layers."""
        return Layers(self.hyper.critic_hidden_sizes, **_last(self.hyper.critic_output_bound))

    def dropout(self, name: str, noise: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """The random numbers of a policy's dropout; none where nothing drops out."""
        return [each for key, each in noise.items() if key.startswith(f"{name}.")]

    @property
    def support_weight(self) -> Tensor:
        """λ of the present step t: λ · max(floor, 1 - t / T), ``(M, 1)``."""
        left = 1 - (self.clock + 1) / self.hyper.lambda_horizon
        weight: Tensor = self.hyper.lambda_start * torch.maximum(self.hyper.lambda_floor, left)
        return weight

    def update_critic(self, batch: Batch, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As TD3, with a target policy whose hidden units drop out."""
        with torch.no_grad():
            action = self.target_actor(batch.next_observation, self.dropout("target_actor", noise))
            action = self.smoothed(action, noise["target_action"])
        return self.fit_critic(batch, self.backup(batch, self.target_critic, action))

    def actor_loss(self, batch: Batch, noise: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """-E[Q₁(s, π(s))] / E|Q₁(s, π(s))| + λ E[-ELBO(π(s)|s)], the magnitude held constant.

        Returns:
            ``(M, 1)``, and metrics.
        """
        action = self.actor(batch.observation, self.dropout("actor", noise))
        q = self.critic.first(batch.observation, action)
        unlikelihood = batch_mean(
            self.vae.loss(batch.observation, action, noise["latent"], self.hyper.kl_weight)
        )
        loss = -batch_mean(q) / mean_magnitude(q) + self.support_weight * unlikelihood
        return loss, {
            "actor_loss": loss.detach(),
            "q": batch_mean(q.detach()),
            "unlikelihood": unlikelihood.detach(),
            "lambda": self.support_weight,
        }

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Critics; then, every second step, policy and targets on the same batch with the updated critic."""
        metrics = self.update_critic(batch, noise)
        if phase == "critic and actor":
            loss, found = self.actor_loss(batch, noise)
            self.actor_optimiser.descend(loss)
            self.update_targets()
            metrics |= found
        return metrics


def _last(bound: float) -> dict[str, Any]:
    """How `Layers` begins an output within a bound; 0: as PyTorch does."""
    return {"output_weights": within(bound), "output_bias": within(bound)} if bound else {}
