"""A2PR: TD3+BC that is held near the better of the data's action and an autoencoder's version of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.base import Batch, batch_mean, layer_sizes, normal, per_member, register, static
from algorithms.networks import CVAE, Layers, ValueFunction
from algorithms.optimisers import Adam
from algorithms.td3_bc import TD3, TD3CoreHyperparameters, mean_magnitude


@dataclass(frozen=True, kw_only=True)
class A2PRHyperparameters(TD3CoreHyperparameters):
    """Hyperparameters of A2PR."""

    alpha: float = per_member(minimum=0)  # α
    advantage_threshold: float = per_member()  # ε_A
    vae_weight: float = per_member(minimum=0)  # w₁
    mask: float = per_member(minimum=0)  # w₂
    kl_weight: float = per_member(minimum=0)  # of the VAE's Kullback-Leibler term
    value_learning_rate: float = static(minimum=0)
    vae_learning_rate: float = static(minimum=0)
    critic_hidden_sizes: str = layer_sizes()
    value_hidden_sizes: str = layer_sizes()
    vae_hidden_sizes: str = layer_sizes()  # of its encoder, and of its decoder


@register("a2pr")
class A2PR(TD3):
    """Adaptive advantage-guided policy regularisation (A2PR; Liu et al., 2024, arXiv:2405.19909).

    A VAE learns those actions of the data that have an advantage A(s, a) = Q₁(s, a) - V(s). The policy is
    held near what the VAE makes of its own action or near the data's action, whichever has the larger
    advantage, and only where one of the two has any.

    Differences from the authors' code:
        the networks' depths and w₂ are by default those of the ASPC paper's Table 8, whose A2PR column has
        one setting for all datasets. The authors' code has deeper networks, w₂ = 0.5, and its own α, w₁, w₂
        and γ for some datasets; all are hyperparameters. It compares advantages with 0 only, ours with ε_A.
    """

    Hyperparameters = A2PRHyperparameters

    def build(self) -> None:
        """As TD3, and V and the VAE."""
        super().build()
        self.value = ValueFunction(self.initial, self.sizes, Layers(self.hyper.value_hidden_sizes))
        self.value_optimiser = Adam(self.value.parameters(), self.hyper.value_learning_rate)
        self.vae = CVAE(self.initial, self.sizes, Layers(self.hyper.vae_hidden_sizes))
        self.vae_optimiser = Adam(self.vae.parameters(), self.hyper.vae_learning_rate)
        latent = normal(self.hyper.batch_size, self.vae.latent)
        self.noise |= {"data_latent": latent, "policy_latent": latent}

    def critic_layers(self) -> Layers:
        """ReLU layers without LayerNorm."""
        return Layers(self.hyper.critic_hidden_sizes)

    def vae_loss(self, batch: Batch, advantage: Tensor, noise: Tensor) -> Tensor:
        """E[w₁ 1[A(s, a) > ε_A] (VAE(s, a) - a)²] + c E[KL(z ‖ N(0, 1))]: ``(M, 1)``.

        Means are over batch and dimensions; KL = -(1 + ln σ² - μ² - σ²) / 2 of each latent dimension.

        Args:
            batch: the minibatch.
            advantage: A(s, a) of the data, ``(M, B)``.
            noise: what samples z, ``(M, B, 2A)``.
        """
        action, mean, log_std = self.vae(batch.observation, batch.action, noise)
        weight = self.hyper.vae_weight * (advantage > self.hyper.advantage_threshold)
        reconstruction = batch_mean(weight.unsqueeze(-1) * (action - batch.action) ** 2)
        divergence = batch_mean(self.vae.divergence(mean, log_std))
        loss: Tensor = reconstruction + self.hyper.kl_weight * divergence
        return loss

    def actor_loss(self, batch: Batch, value: Tensor, advantage: Tensor, noise: Tensor) -> Tensor:
        """-λ E[Q₁(s, π(s))] + E[g (π(s) - ā)²], λ = α / E|Q₁(s, π(s))| held constant: ``(M, 1)``.

        With â = VAE(s, π(s)), through which the gradient flows into π,

            ā = â where A(s, â) ≥ A(s, a), else a
            g = w₂ 1[A(s, â) ≥ ε_A or A(s, a) > ε_A]

        Args:
            batch: the minibatch.
            value: V(s), ``(M, B)``.
            advantage: A(s, a) of the data, ``(M, B)``.
            noise: what samples z, ``(M, B, 2A)``.
        """
        action = self.actor(batch.observation)
        q = self.critic.first(batch.observation, action)
        own, _, _ = self.vae(batch.observation, action, noise)
        with torch.no_grad():
            own_advantage = self.critic.first(batch.observation, own) - value
            threshold = self.hyper.advantage_threshold
            gate = self.hyper.mask * ((own_advantage >= threshold) | (advantage > threshold))
        guide = torch.where((own_advantage >= advantage).unsqueeze(-1), own, batch.action)
        constraint = gate.unsqueeze(-1) * (action - guide) ** 2
        loss: Tensor = -self.hyper.alpha * batch_mean(q) / mean_magnitude(q) + batch_mean(constraint)
        return loss

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Critics; V; VAE; then, every second step, policy and targets.

        Advantages compare the critic after its step with V before its own.
        """
        next_action = self.target_action(batch, noise["target_action"])
        target = self.backup(batch, self.target_critic, next_action)
        metrics = self.fit_critic(batch, target)

        # V: E[(V(s) - min(y₂, y))²], y₂ as y but with the online critics
        target = torch.minimum(self.backup(batch, self.critic, next_action), target)
        value = self.value(batch.observation)
        value_loss = batch_mean((value - target) ** 2)
        self.value_optimiser.descend(value_loss)

        value = value.detach()
        with torch.no_grad():
            advantage = self.critic.first(batch.observation, batch.action) - value
        vae_loss = self.vae_loss(batch, advantage, noise["data_latent"])
        self.vae_optimiser.descend(vae_loss)
        metrics |= {"value_loss": value_loss.detach(), "vae_loss": vae_loss.detach()}

        if phase == "critic and actor":
            loss = self.actor_loss(batch, value, advantage, noise["policy_latent"])
            self.actor_optimiser.descend(loss)
            self.update_targets()
            metrics["actor_loss"] = loss.detach()
        return metrics
