"""ASPC: TD3+BC whose α follows the second-order gradient of an outer loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.adaptive_scale import AdaptiveScale, AdaptiveScaleHyperparameters, outer_derivative
from algorithms.base import Batch, batch_mean, per_member, register, static
from algorithms.td3_bc import TD3, TD3Hyperparameters, constrained_loss, mean_magnitude


@dataclass(frozen=True, kw_only=True)
class ASPCHyperparameters(TD3Hyperparameters, AdaptiveScaleHyperparameters):
    """Hyperparameters of ASPC."""

    initial_alpha: float = per_member(above=0)  # α₀
    loss: str = static(choices=("L1", "L1+L2", "L1+L3", "L1+L2+L3"))
    l3_variant: int = static(choices=(1, 2, 3, 4, 5))
    outer_change: str = static(choices=("average", "step"), neutral="average")  # what L2 squares
    reward_centering: bool = static()  # train on r - E[r]


@register("aspc")
class ASPC(TD3):
    """Adaptive scaling of policy constraints (ASPC, arXiv:2508.19900).

    The inner step moves the policy θ → θ'(α) by Adam on TD3+BC's loss; every k-th time the outer step moves
    α = softplus(ξ) down the gradient of an outer loss of θ'. The paper writes the inner step as plain
    gradient descent; the authors' code differentiates through Adam, and so does this.

    Differences from the authors' code:
        The published script subtracts a `reward_mean` that it never defines, and so stops at its first step;
        `reward_centering`, off by default, subtracts the dataset's. ξ is kept in float64. The derivative of
        Adam's step is 0 where v = 0; the script's, by torchopt's accelerated operator, is 0 where m = 0. The
        V network that the script builds and never uses is left out. The rate of α scales with k / 10 as in
        the code; the paper gives only the rate. ``outer_change: step`` is what the paper says that L2 is,
        ``average``, the default, what the code computes.

    Reconstructed:
        ``l3_variant`` 1, 2, 3 and 5, the other columns of the paper's Table 13, see `third_loss`. The
        authors' code has 4 alone. The paper's formulas were not available when this was written; these follow
        its prose and are to be checked against the paper.
    """

    Hyperparameters = ASPCHyperparameters
    reward_offset: Tensor

    def build(self) -> None:
        """As TD3, and α = softplus(ξ) with its optimiser."""
        super().build()
        self.scale = AdaptiveScale(self.hyper.initial_alpha)
        self.scale_optimiser = self.scale.optimiser(self.hyper, self.hyper.policy_frequency)
        self.register_buffer("reward_offset", self._reward_offset())

    def _reward_offset(self) -> Tensor:
        means = [m.reward_mean if self.hyper.reward_centering else 0.0 for m in self.members]
        return torch.tensor(means, dtype=self.dtype, device=self.device).unsqueeze(1)

    @property
    def alpha(self) -> Tensor:
        """α, a constant to every loss: ``(M, 1)``."""
        return self.scale.value

    def phase(self, step: int) -> str:
        """As TD3; every `alpha_interval`-th policy update is followed by one of α."""
        every = self.hyper.policy_frequency * self.hyper.alpha_interval
        return "critic, actor and alpha" if step % every == 0 else super().phase(step)

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Critics; inner step θ → θ'; outer step of α on the same batch and critic; targets."""
        batch = batch._replace(reward=batch.reward - self.reward_offset)
        metrics = self.update_critic(batch, noise)
        if phase == "critic":
            return metrics

        # inner: L_in(θ; α) = -α E[Q₁(s, π_θ(s))] / n + E[(π_θ(s) - a)²],  n = E|Q₁(s, π_θ(s))|
        action = self.actor(batch.observation)
        q = self.critic.first(batch.observation, action)
        loss = constrained_loss(self.alpha, q, action, batch)
        outer = phase == "critic, actor and alpha"
        # h = ∇_θ E[Q₁(s, π_θ(s))], wanted at θ, hence before the step
        h = (
            torch.autograd.grad(batch_mean(q).sum(), self.actor_optimiser.parameters, retain_graph=True)
            if outer
            else ()
        )
        g = self.actor_optimiser.descend(loss)
        metrics |= {"actor_loss": loss.detach(), "alpha": self.alpha}

        if outer:
            metrics["outer_loss"] = self.update_alpha(batch, action.detach(), q.detach(), g, h)
        self.update_targets()
        return metrics

    def outer_loss(
        self, batch: Batch, old_action: Tensor, new_action: Tensor, old_q: Tensor, new_q: Tensor
    ) -> tuple[Tensor, Tensor]:
        """L_out(θ') = L1 + L2 + L3 as a function of the updated policy, and the new e, each ``(M, 1)``.

        L1 = -α E[q'] / E|q'| + E[(π' - a)²]
        L2 = Δ²,  Δ = change of e = ρ e + (1 - ρ) E[q'] since the last update of α, as the authors' code has;
            or E[q'] - E[q], the change over this inner step, as the paper prints it
        L3 = L2 · max b · max |b - b'|, or a variant, see `third_loss`
        """
        value = batch_mean(new_q)
        value_average = self.scale.averaged(self.hyper.ema, value)
        l1 = constrained_loss(self.alpha, new_q, new_action, batch)
        by_step = self.hyper.outer_change == "step"
        l2 = (value - batch_mean(old_q) if by_step else value_average - self.scale.value_average) ** 2
        old_error = ((old_action - batch.action) ** 2).mean(-1)
        new_error = ((new_action - batch.action) ** 2).mean(-1)
        l3 = self.third_loss(l2.detach(), old_error, (old_error - new_error).abs())
        terms = {"L1": l1, "L2": l2, "L3": l3}
        chosen = torch.stack([terms[name] for name in self.hyper.loss.split("+")])
        return chosen.sum(0), value_average.detach()

    def third_loss(self, l2: Tensor, error: Tensor, change: Tensor) -> Tensor:
        """L3 in the variant of the paper's Table 13 that is asked for: ``(M, 1)``.

        1: max |Δb|
        2: (max b)² · max |Δb|.  Also a reading of the text: (max |Δb|)³.
        3: L2 · max |Δb|
        4: L2 · max b · max |Δb|.  The paper takes the supremum over the dataset, the code over the batch.
        5: L2 · mean b · mean |Δb|.  Also a reading of the text: |mean Δb|.

        Args:
            l2: L2, held constant, ``(M, 1)``.
            error: b, the samples' squared errors before the inner step, held constant, ``(M, B)``.
            change: |Δb| = |b - b'|, b' those after it, ``(M, B)``.
        """
        variant = self.hyper.l3_variant
        if variant == 5:
            return l2 * batch_mean(error) * batch_mean(change)
        largest_error, largest_change = error.amax(1, keepdim=True), change.amax(1, keepdim=True)
        ones = torch.ones_like(l2)
        factor: Tensor = {1: ones, 2: largest_error**2, 3: l2, 4: l2 * largest_error}[variant]
        return factor * largest_change

    def update_alpha(
        self, batch: Batch, old_action: Tensor, old_q: Tensor, g: Sequence[Tensor], h: Sequence[Tensor]
    ) -> Tensor:
        """Outer step: dL_out/dα in closed form, Adam on ξ, decay of its rate. Returns L_out, ``(M, 1)``.

        g = ∇_θ L_in was the inner step's gradient. α enters L_in linearly: ∂²L_in/∂α∂θ = -h / n.
        """
        new_action = self.actor(batch.observation)
        new_q = self.critic.first(batch.observation, new_action)
        loss, value_average = self.outer_loss(batch, old_action, new_action, old_q, new_q)
        inner = self.actor_optimiser
        gradients = torch.autograd.grad(loss.sum(), inner.parameters)
        d_alpha = outer_derivative(inner, self.hyper.actor_learning_rate, g, gradients, h)
        d_alpha /= -mean_magnitude(old_q)
        self.scale.update(self.scale_optimiser, d_alpha, value_average)
        return loss.detach()
