"""ASPC: TD3+BC whose α follows the second-order gradient of an outer loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from algorithms.adaptive_scale import AdaptiveScale, AdaptiveScaleHyperparameters, outer_derivative
from algorithms.base import Batch, batch_mean, layer_sizes, per_member, register, static
from algorithms.td3_bc import TD3Hyperparameters, constrained_loss, mean_magnitude
from algorithms.wpc import WeightedTD3


@dataclass(frozen=True, kw_only=True)
class ASPCHyperparameters(TD3Hyperparameters, AdaptiveScaleHyperparameters):
    """Hyperparameters of ASPC."""

    initial_alpha: float = per_member(above=0)  # α₀
    loss: str = static(choices=("L1", "L1+L2", "L1+L3", "L1+L2+L3"))
    l3_variant: int = static(choices=(1, 2, 3, 4, 5))
    outer_change: str = static(choices=("average", "step"), neutral="average")  # what L2 squares
    cloning_weight: str = static(choices=("none", "advantage"), neutral="none")  # w
    value_learning_rate: float = static(minimum=0, neutral=3e-4)  # used if the cloning is weighted
    value_hidden_sizes: str = layer_sizes(neutral="256-256")  # used if the cloning is weighted
    reward_centering: bool = static()  # train on r - E[r]


class InnerStep(NamedTuple):
    """What the outer step reads of the inner one, all of it constant: θ is the policy before it."""

    action: Tensor  # π_θ(s), ``(M, B, A)``
    q: Tensor  # Q₁(s, π_θ(s)), ``(M, B)``
    weight: Tensor | None  # w, ``(M, B)``
    gradients: tuple[Tensor, ...]  # g = ∇_θ L_in
    q_gradients: tuple[Tensor, ...]  # h = ∇_θ E[Q₁(s, π_θ(s))]


@register("aspc")
class ASPC(WeightedTD3):
    """Adaptive scaling of policy constraints (ASPC, arXiv:2508.19900).

    The inner step moves the policy θ → θ'(α) by Adam on TD3+BC's loss; every k-th time the outer step moves
    α = softplus(ξ) down the gradient of an outer loss of θ'. The paper writes the inner step as plain
    gradient descent; the authors' code differentiates through Adam, and so does this.

    Differences from the authors' code:
        The published script subtracts a `reward_mean` that it never defines, and so stops at its first step;
        `reward_centering`, off by default, subtracts the dataset's. ξ is kept in float64. The derivative of
        Adam's step is 0 where v = 0; the script's, by torchopt's accelerated operator, is 0 where m = 0. The
        V network that the script builds and never uses is there only with ``cloning_weight: advantage``. The
        rate of α scales with k / 10 as in the code; the paper gives only the rate. ``outer_change: step`` is
        what the paper says that L2 is, ``average``, the default, what the code computes.

    Reconstructed:
        ``l3_variant`` 1, 2, 3 and 5, the other columns of the paper's Table 13, see `third_loss`. The
        authors' code has 4 alone. The paper's formulas were not available when this was written; these follow
        its prose and are to be checked against the paper.

        ``cloning_weight: advantage`` is the paper's Figure 9, for which no formula was found. All that the
        authors' code has of it is wPC's V network and, in a comment beside L1, a weight by the name that it
        has in their wPC. So it is wPC's here, w = 1[Q₁(s, a) > V(s)], with V learnt as in wPC; w weighs the
        constraint of the inner loss and of L1, and L3 still takes deviations as they are. A weight that grows
        with the advantage, such as exp(Q₁ - V), is another reading of the figure's words.
    """

    Hyperparameters = ASPCHyperparameters
    reward_offset: Tensor

    def build(self) -> None:
        """As TD3, α = softplus(ξ) with its optimiser, and V if the cloning is weighted."""
        super().build()
        if self.hyper.cloning_weight == "advantage":
            self.build_value()
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
        """Critics and V; inner step θ → θ'; outer step of α on the same batch and critic; targets."""
        batch = batch._replace(reward=batch.reward - self.reward_offset)
        target = self.target_value(batch, noise["target_action"])
        metrics, value = self.fit_critic(batch, target), None
        if self.hyper.cloning_weight == "advantage":
            value, metrics["value_loss"] = self.fit_value(batch, target)
        if phase == "critic":
            return metrics

        weight = None if value is None else self.weight(batch, value)
        # inner: L_in(θ; α) = -α E[Q₁(s, π_θ(s))] / n + E[w (π_θ(s) - a)²],  n = E|Q₁(s, π_θ(s))|
        action = self.actor(batch.observation)
        q = self.critic.first(batch.observation, action)
        loss = constrained_loss(self.alpha, q, action, batch, weight)
        outer = phase == "critic, actor and alpha"
        # h = ∇_θ E[Q₁(s, π_θ(s))], wanted at θ, hence before the step
        h = (
            torch.autograd.grad(loss.q.sum(), self.actor_optimiser.parameters, retain_graph=True)
            if outer
            else ()
        )
        g = self.actor_optimiser.descend(loss.whole)
        metrics |= loss.metrics | {"alpha": self.alpha}
        if weight is not None:
            metrics["weight"] = batch_mean(weight)

        if outer:
            inner = InnerStep(action.detach(), q.detach(), weight, tuple(g), h)
            metrics["outer_loss"] = self.update_alpha(batch, inner)
        self.update_targets()
        return metrics

    def outer_loss(
        self, batch: Batch, inner: InnerStep, new_action: Tensor, new_q: Tensor
    ) -> tuple[Tensor, Tensor]:
        """L_out(θ') = L1 + L2 + L3 as a function of the updated policy, and the new e, each ``(M, 1)``.

        L1 = -α E[q'] / E|q'| + E[w (π' - a)²]
        L2 = Δ²,  Δ = change of e = ρ e + (1 - ρ) E[q'] since the last update of α, as the authors' code has;
            or E[q'] - E[q], the change over this inner step, as the paper prints it
        L3 = L2 · max b · max |b - b'|, or a variant, see `third_loss`
        """
        value = batch_mean(new_q)
        value_average = self.scale.averaged(self.hyper.ema, value)
        l1 = constrained_loss(self.alpha, new_q, new_action, batch, inner.weight).whole
        by_step = self.hyper.outer_change == "step"
        l2 = (value - batch_mean(inner.q) if by_step else value_average - self.scale.value_average) ** 2
        old_error = ((inner.action - batch.action) ** 2).mean(-1)
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

    def update_alpha(self, batch: Batch, inner: InnerStep) -> Tensor:
        """Outer step: dL_out/dα in closed form, Adam on ξ, decay of its rate. Returns L_out, ``(M, 1)``.

        α enters L_in linearly: ∂²L_in/∂α∂θ = -h / n.
        """
        new_action = self.actor(batch.observation)
        new_q = self.critic.first(batch.observation, new_action)
        loss, value_average = self.outer_loss(batch, inner, new_action, new_q)
        optimiser, rate = self.actor_optimiser, self.hyper.actor_learning_rate
        gradients = torch.autograd.grad(loss.sum(), optimiser.parameters)
        derivative = outer_derivative(optimiser, rate, inner.gradients, gradients, inner.q_gradients)
        d_alpha = derivative / -mean_magnitude(inner.q)
        self.scale.update(self.scale_optimiser, d_alpha, value_average)
        return loss.detach()
