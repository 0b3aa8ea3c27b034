"""ReBRAC: TD3 whose policy and whose critics' targets are both held near the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from algorithms.base import Batch, batch_mean, layer_sizes, per_member, register, static
from algorithms.networks import Layers, flax_layers, within
from algorithms.td3_bc import TD3, TD3CoreHyperparameters, mean_magnitude


@dataclass(frozen=True, kw_only=True)
class ReBRACHyperparameters(TD3CoreHyperparameters):
    """Hyperparameters of ReBRAC."""

    actor_bc_coefficient: float = per_member(minimum=0)  # β₁
    critic_bc_coefficient: float = per_member(minimum=0)  # β₂
    critic_hidden_sizes: str = layer_sizes()
    norm_epsilon: float = static(above=0)  # of the critics' LayerNorm
    # whether the targets follow before or after the policy's step
    target_order: str = static(choices=("before", "after"))
    # what sets the program of OGBench's authors apart
    networks: str = static(choices=("edac", "flax"), neutral="edac")
    optimiser: str = static(choices=("separate", "joint"), neutral="separate")  # of critics and policy
    policy_first: bool = static(neutral=True)  # whether the first step trains the policy
    critic_loss: str = static(choices=("sum", "mean"), neutral="sum")  # over both critics


@register("rebrac")
class ReBRAC(TD3):
    """ReBRAC (Tarasov et al., 2023, arXiv:2305.09836).

    Both penalties sum over the action dimensions, where TD3+BC's constraint averages over them.

    Differences from the authors' code:
        none by default. What it does and the paper does not say: both critics count in the policy's loss, by
        their minimum; the policy moves at the first step and every second one after it; and
        ``target_order: before``, the target policy follows the policy as it was before its step. Where the
        code's coefficients differ from those in the ASPC paper's Table 12, the code's are the default. The
        code evaluates 10 episodes every 5000 steps, on AntMaze 100 every 50,000; here the table's protocol
        decides.

    The program of OGBench's authors, https://github.com/seohongpark/fql, is this with ``networks: flax``,
    ``optimiser: joint``, ``policy_first: false`` and ``critic_loss: mean``, as on OGBench's datasets. There
    one Adam moves critics and policy. In steps that train the critics alone the policy's gradient is 0, and
    yet the policy moves, by Adam's momentum. All losses are of the networks before the step, whom the targets
    follow, too. With the same weights, batches and noise, in float64 and over 50 updates, no parameter
    differs by more than 2e-15. At the end of an episode that program takes for the data's next action the
    next episode's first; here it is the one that was done there.
    """

    Hyperparameters = ReBRACHyperparameters
    reads_next_action = True

    def actor_layers(self) -> Layers:
        """As in EDAC: hidden biases begin at 0.1, the output within 0.001; or as in flax."""
        if self.hyper.networks == "flax":
            return flax_layers(self.hyper.actor_hidden_sizes, output_scale=0.01)
        return Layers(
            self.hyper.actor_hidden_sizes,
            hidden_bias=0.1,
            output_weights=within(1e-3),
            output_bias=within(1e-3),
        )

    def critic_layers(self) -> Layers:
        """As in EDAC, and LayerNorm after each ReLU; or as in flax."""
        if self.hyper.networks == "flax":
            layers = flax_layers(self.hyper.critic_hidden_sizes, norm=True)
            return replace(layers, norm_epsilon=self.hyper.norm_epsilon)
        return Layers(
            self.hyper.critic_hidden_sizes,
            norm="after",
            norm_epsilon=self.hyper.norm_epsilon,
            hidden_bias=0.1,
            output_weights=within(3e-3),
            output_bias=within(3e-3),
        )

    def phase(self, step: int) -> str:
        """As TD3, but counted from 0 if the first step is to train the policy, too."""
        return super().phase(step - self.hyper.policy_first)

    def target_value(self, batch: Batch, noise: Tensor) -> Tensor:
        """What the critics aim at: ``(M, B)``.

        y = r + γ (1 - d) (min_k Q̄_k(s', a') - β₂ Σ_j (a' - â')_j²),  a' the target policy's smoothed action,
        â' the one of the data
        """
        action = self.target_action(batch, noise)
        penalty = self.hyper.critic_bc_coefficient * squared_distance(action, batch.next_action)
        value = self.backup(batch, self.target_critic, action)
        target: Tensor = value - self.hyper.discount * (1 - batch.terminal) * penalty
        return target

    def critic_loss(self, batch: Batch, target: Tensor) -> Tensor:
        """E[(Q₁(s, a) - y)²] + E[(Q₂(s, a) - y)²], or half of it: ``(M, 1)``."""
        total = super().critic_loss(batch, target)
        return total / 2 if self.hyper.critic_loss == "mean" else total

    def actor_loss(self, batch: Batch) -> Tensor:
        """E[β₁ Σ_j (π(s) - a)_j² - λ min_k Q_k(s, π(s))], λ = 1 / E|min_k Q_k| held constant: ``(M, 1)``."""
        action = self.actor(batch.observation)
        q = self.critic(batch.observation, action).amin(1)
        penalty = batch_mean(squared_distance(action, batch.action))
        loss: Tensor = self.hyper.actor_bc_coefficient * penalty - batch_mean(q) / mean_magnitude(q)
        return loss

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Critics; then, every second step, targets and, on the same batch with the new critics, policy."""
        if self.hyper.optimiser == "joint":
            return self.update_jointly(batch, noise, phase)
        metrics = self.update_critic(batch, noise)
        if phase == "critic and actor":
            if self.hyper.target_order == "before":
                self.update_targets()
            loss = self.actor_loss(batch)
            self.actor_optimiser.descend(loss)
            if self.hyper.target_order == "after":
                self.update_targets()
            metrics["actor_loss"] = loss.detach()
        return metrics

    def update_jointly(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """One step of one Adam on the losses of the networks before it, whom targets follow if they do.

        Adam works element by element, so that its step of critics and policy is one of each. The policy's is
        first, since its loss sees the critics.
        """
        target, old = self.target_value(batch, noise["target_action"]), self.hyper.target_order == "before"
        if phase == "critic":  # no gradient, but momentum
            self.actor_optimiser.apply([torch.zeros_like(p) for p in self.actor_optimiser.parameters])
            return self.fit_critic(batch, target)
        if old:
            self.update_targets()
        loss = self.actor_loss(batch)
        self.actor_optimiser.descend(loss)
        metrics = self.fit_critic(batch, target)
        if not old:
            self.update_targets()
        return metrics | {"actor_loss": loss.detach()}


def squared_distance(one: Tensor, other: Tensor) -> Tensor:
    """Σ_j (one - other)_j², the sum over action dimensions: ``(M, B, A), (M, B, A) -> (M, B)``."""
    return ((one - other) ** 2).sum(-1)
