"""TD3+BC: TD3 whose policy is held near the data by a squared error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
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
from algorithms.networks import CRITICS, DeterministicActor, Layers, TwinCritic
from algorithms.optimisers import Adam, soft_update, target_of


@dataclass(frozen=True, kw_only=True)
class TD3Hyperparameters(Hyperparameters):
    """What TD3+BC and its descendants share."""

    discount: float = per_member(minimum=0, maximum=1)  # γ
    soft_update: float = static(minimum=0, maximum=1)  # τ
    policy_noise: float = per_member(minimum=0)  # σ
    noise_clip: float = per_member(minimum=0)  # c
    policy_frequency: int = static(minimum=1)  # critic updates per policy update
    actor_learning_rate: float = static(minimum=0)
    critic_learning_rate: float = static(minimum=0)
    actor_hidden_sizes: str = layer_sizes()
    critic: str = static(choices=("vanilla", "robust"))


@dataclass(frozen=True, kw_only=True)
class TD3BCHyperparameters(TD3Hyperparameters):
    """Hyperparameters of TD3+BC."""

    alpha: float = per_member(minimum=0)  # α


class TD3(Algorithm):
    """What TD3+BC and its descendants share: critics, targets, delayed policy (Fujimoto et al., 2018).

    A descendant says what its policy minimises.
    """

    def build(self) -> None:
        """Actor, twin critics and the targets of both."""
        self.actor = DeterministicActor(self.initial, self.sizes, Layers(self.hyper.actor_hidden_sizes))
        self.critic = TwinCritic(self.initial, self.sizes, CRITICS[self.hyper.critic])
        self.target_actor, self.target_critic = target_of(self.actor), target_of(self.critic)
        self.actor_optimiser = Adam(self.actor.parameters(), self.hyper.actor_learning_rate)
        self.critic_optimiser = Adam(self.critic.parameters(), self.hyper.critic_learning_rate)
        self.noise = {"target_action": normal(self.hyper.batch_size, self.sizes.action)}

    def phase(self, step: int) -> str:
        """Every step trains the critics; every `policy_frequency`-th also the policy and the targets."""
        return "critic and actor" if step % self.hyper.policy_frequency == 0 else "critic"

    @torch.no_grad()
    def target_value(self, batch: Batch, noise: Tensor) -> Tensor:
        """What the critics aim at: ``(M, B)``.

        y = r + γ (1 - d) min_k Q̄_k(s', clip(π̄(s') + ε, -1, 1)),  ε ~ clip(N(0, σ²), -c, c)
        """
        clip = self.hyper.noise_clip.unsqueeze(-1)
        smoothing = torch.clamp(noise * self.hyper.policy_noise.unsqueeze(-1), -clip, clip)
        next_action = (self.target_actor(batch.next_observation) + smoothing).clamp(-1, 1)
        next_value = self.target_critic(batch.next_observation, next_action).amin(1)
        target: Tensor = batch.reward + self.hyper.discount * (1 - batch.terminal) * next_value
        return target

    def critic_loss(self, batch: Batch, target: Tensor) -> Tensor:
        """E[(Q₁(s, a) - y)²] + E[(Q₂(s, a) - y)²]: ``(M, 1)``."""
        error = self.critic(batch.observation, batch.action) - target.unsqueeze(1)
        return 2 * batch_mean(error**2)  # the mean over two critics is half of the sum

    def update_critic(self, batch: Batch, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One step of both critics."""
        target = self.target_value(batch, noise["target_action"])
        loss = self.critic_loss(batch, target)
        self.critic_optimiser.descend(loss)
        return {"critic_loss": loss.detach(), "target_value": batch_mean(target)}

    def update_targets(self) -> None:
        """Q̄ and π̄ follow Q and π at rate τ."""
        soft_update(
            self.hyper.soft_update, (self.target_critic, self.critic), (self.target_actor, self.actor)
        )

    def act(self, observation: Tensor) -> Tensor:
        """π(s), without noise."""
        action: Tensor = self.actor(observation)
        return action


@register("td3_bc")
class TD3BC(TD3):
    """TD3+BC (Fujimoto and Gu, 2021, arXiv:2106.06860).

    ``critic: vanilla`` is the authors' critic; ``robust`` is the one behind the ASPC paper's TD3+BC* columns.
    """

    Hyperparameters = TD3BCHyperparameters

    def actor_loss(self, batch: Batch) -> Tensor:
        """-λ E[Q₁(s, π(s))] + E[(π(s) - a)²], λ = α / E|Q₁(s, π(s))| held constant (eq. 5): ``(M, 1)``."""
        action = self.actor(batch.observation)
        q = self.critic.first(batch.observation, action)
        return constrained_loss(self.hyper.alpha, q, action, batch)

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Critics; then, every second step, policy and targets on the same batch with the updated critic."""
        metrics = self.update_critic(batch, noise)
        if phase == "critic and actor":
            loss = self.actor_loss(batch)
            self.actor_optimiser.descend(loss)
            self.update_targets()
            metrics["actor_loss"] = loss.detach()
        return metrics


def mean_magnitude(q: Tensor) -> Tensor:
    """E|Q| as a constant, the scale that makes Q comparable with the constraint: ``(M, B) -> (M, 1)``."""
    return batch_mean(q.abs()).detach()


def constrained_loss(alpha: Tensor, q: Tensor, action: Tensor, batch: Batch) -> Tensor:
    """-α E[q] / E|q| + E[(action - a)²]: ``(M, 1)``."""
    return -alpha * batch_mean(q) / mean_magnitude(q) + batch_mean((action - batch.action) ** 2)
