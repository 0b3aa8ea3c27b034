"""TD3+BC: TD3 whose policy is held near the data by a squared error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

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
from algorithms.networks import CRITICS, Critics, DeterministicActor, Layers
from algorithms.optimisers import Adam, soft_update, target_of


@dataclass(frozen=True, kw_only=True)
class TD3CoreHyperparameters(Hyperparameters):
    """What all descendants of TD3 share, whatever their critics."""

    discount: float = per_member(minimum=0, maximum=1)  # γ
    soft_update: float = static(minimum=0, maximum=1)  # τ
    policy_noise: float = per_member(minimum=0)  # σ
    noise_clip: float = per_member(minimum=0)  # c
    policy_frequency: int = static(minimum=1)  # critic updates per policy update
    actor_learning_rate: float = static(minimum=0)
    critic_learning_rate: float = static(minimum=0)
    actor_hidden_sizes: str = layer_sizes()


@dataclass(frozen=True, kw_only=True)
class TD3Hyperparameters(TD3CoreHyperparameters):
    """What TD3+BC and the descendants that choose between its critics share."""

    critic: str = static(choices=("vanilla", "layer_norm", "robust"))


@dataclass(frozen=True, kw_only=True)
class TD3BCHyperparameters(TD3Hyperparameters):
    """Hyperparameters of TD3+BC."""

    alpha: float = per_member(minimum=0)  # α, at the start if it moves
    alpha_schedule: str = static(choices=("constant", "linear"))
    final_alpha: float = per_member(minimum=0)  # where the linear schedule ends
    alpha_schedule_steps: int = static(minimum=1)  # T, critic updates until it is there


class TD3(Algorithm):
    """What TD3+BC and its descendants share: critics, targets, delayed policy (Fujimoto et al., 2018).

    A descendant says what its policy minimises.
    """

    def build(self) -> None:
        """Actor, twin critics and the targets of both."""
        self.actor = DeterministicActor(self.initial, self.sizes, self.actor_layers())
        self.critic = Critics(self.initial, self.sizes, self.critic_layers())
        self.target_actor, self.target_critic = target_of(self.actor), target_of(self.critic)
        self.actor_optimiser = Adam(self.actor.parameters(), self.hyper.actor_learning_rate)
        self.critic_optimiser = Adam(self.critic.parameters(), self.hyper.critic_learning_rate)
        self.noise = {"target_action": normal(self.hyper.batch_size, self.sizes.action)}

    def actor_layers(self) -> Layers:
        """What the policy is made of."""
        return Layers(self.hyper.actor_hidden_sizes)

    def critic_layers(self) -> Layers:
        """What each critic is made of."""
        return CRITICS[self.hyper.critic]

    def phase(self, step: int) -> str:
        """Every step trains the critics; every `policy_frequency`-th also the policy and the targets."""
        return "critic and actor" if step % self.hyper.policy_frequency == 0 else "critic"

    def smoothed(self, action: Tensor, noise: Tensor) -> Tensor:
        """clip(a + ε, -1, 1), ε ~ clip(N(0, σ²), -c, c), of a target policy's action: ``(M, B, A)``."""
        clip = self.hyper.noise_clip.unsqueeze(-1)
        smoothing = torch.clamp(noise * self.hyper.policy_noise.unsqueeze(-1), -clip, clip)
        return (action + smoothing).clamp(-1, 1)

    @torch.no_grad()
    def target_action(self, batch: Batch, noise: Tensor) -> Tensor:
        """The action a' = clip(π̄(s') + ε, -1, 1), ε ~ clip(N(0, σ²), -c, c): ``(M, B, A)``."""
        return self.smoothed(self.target_actor(batch.next_observation), noise)

    @torch.no_grad()
    def backup(self, batch: Batch, critic: Critics, next_action: Tensor) -> Tensor:
        """What `critic` makes of a transition, r + γ (1 - d) min_k Q_k(s', a'): ``(M, B)``."""
        next_value = critic(batch.next_observation, next_action).amin(1)
        value: Tensor = batch.reward + self.hyper.discount * (1 - batch.terminal) * next_value
        return value

    def target_value(self, batch: Batch, noise: Tensor) -> Tensor:
        """What the critics aim at: ``(M, B)``.

        y = r + γ (1 - d) min_k Q̄_k(s', clip(π̄(s') + ε, -1, 1)),  ε ~ clip(N(0, σ²), -c, c)
        """
        return self.backup(batch, self.target_critic, self.target_action(batch, noise))

    def critic_loss(self, batch: Batch, target: Tensor) -> Tensor:
        """E[(Q₁(s, a) - y)²] + E[(Q₂(s, a) - y)²]: ``(M, 1)``."""
        error = self.critic(batch.observation, batch.action) - target.unsqueeze(1)
        return 2 * batch_mean(error**2)  # the mean over two critics is half of the sum

    def update_critic(self, batch: Batch, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One step of both critics towards their target y."""
        return self.fit_critic(batch, self.target_value(batch, noise["target_action"]))

    def fit_critic(self, batch: Batch, target: Tensor) -> dict[str, Tensor]:
        """One step of both critics towards `target`, ``(M, B)``."""
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

    Differences from the authors' code:
        none in the losses and their order. ``critic: vanilla``, the default, is the authors' critic;
        ``robust`` is the one behind the ASPC paper's TD3+BC* columns. The authors evaluate 10 episodes every
        5000 steps; here the table's protocol decides. All evaluations of a run begin in the same states, as
        theirs do, though not in the same as theirs.

    Reconstructed:
        ``alpha_schedule: linear`` is the linear column of the ASPC paper's Table 2, where α moves linearly
        from its initial to ASPC's last value. No code of it is published. The paper's initial value, 2.5, is
        from a reader's notes on the ICLR version.
    """

    Hyperparameters = TD3BCHyperparameters

    @property
    def alpha(self) -> Tensor:
        """α of the present step t: ``(M, 1)``.

        linear: α(t) = α + (final α - α) min(t / T, 1)
        """
        if self.hyper.alpha_schedule == "constant":
            constant: Tensor = self.hyper.alpha
            return constant
        t = self.clock + 1
        fraction = (t / self.hyper.alpha_schedule_steps).clamp(max=1)
        return torch.lerp(self.hyper.alpha, self.hyper.final_alpha, fraction)

    def actor_loss(self, batch: Batch) -> ConstrainedLoss:
        """-λ E[Q₁(s, π(s))] + E[(π(s) - a)²], λ = α / E|Q₁(s, π(s))| held constant (eq. 5)."""
        action = self.actor(batch.observation)
        q = self.critic.first(batch.observation, action)
        return constrained_loss(self.alpha, q, action, batch)

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Critics; then, every second step, policy and targets on the same batch with the updated critic."""
        metrics = self.update_critic(batch, noise)
        if phase == "critic and actor":
            metrics["alpha"] = self.alpha
            loss = self.actor_loss(batch)
            self.actor_optimiser.descend(loss.whole)
            self.update_targets()
            metrics |= loss.metrics
        return metrics


def mean_magnitude(q: Tensor) -> Tensor:
    """E|Q| as a constant, the scale that makes Q comparable with the constraint: ``(M, B) -> (M, 1)``."""
    return batch_mean(q.abs()).detach()


class ConstrainedLoss(NamedTuple):
    """-α E[q] / E|q| + E[w (π(s) - a)²] and its parts, each ``(M, 1)``."""

    whole: Tensor
    q: Tensor  # E[q]
    constraint: Tensor  # E[w (π(s) - a)²]

    @property
    def metrics(self) -> dict[str, Tensor]:
        """What training reports of it."""
        return {
            "actor_loss": self.whole.detach(),
            "q": self.q.detach(),
            "cloning_loss": self.constraint.detach(),
        }


def constrained_loss(
    alpha: Tensor, q: Tensor, action: Tensor, batch: Batch, weight: Tensor | None = None
) -> ConstrainedLoss:
    """-α E[q] / E|q| + E[w (π(s) - a)²], E|q| held constant.

    The second mean is over the batch and the action dimensions; samples of weight 0 count in it.

    Args:
        alpha: α, ``(M, 1)``.
        q: Q of the policy's actions, ``(M, B)``.
        action: π(s), ``(M, B, A)``.
        batch: whose actions it is held to.
        weight: w, ``(M, B)``; None for 1.
    """
    error = (action - batch.action) ** 2
    value, constraint = batch_mean(q), batch_mean(error if weight is None else weight.unsqueeze(-1) * error)
    return ConstrainedLoss(-alpha * value / mean_magnitude(q) + constraint, value, constraint)
