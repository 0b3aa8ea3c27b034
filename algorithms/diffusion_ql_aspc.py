"""Diffusion-QL+ASPC: Diffusion-QL whose η follows the second-order gradient of an outer loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.adaptive_scale import AdaptiveScale, AdaptiveScaleHyperparameters, outer_derivative
from algorithms.base import Batch, batch_mean, per_member, register, static
from algorithms.diffusion_ql import DiffusionPolicy, DiffusionQLSharedHyperparameters, PolicyLoss
from algorithms.optimisers import clip_factor, scaled
from algorithms.td3_bc import mean_magnitude


@dataclass(frozen=True, kw_only=True)
class DiffusionQLASPCHyperparameters(DiffusionQLSharedHyperparameters, AdaptiveScaleHyperparameters):
    """Hyperparameters of Diffusion-QL+ASPC."""

    initial_eta: float = per_member(above=0)  # η₀
    loss: str = static(choices=("L1", "L1+L2"))
    outer_value: str = static(choices=("host", "min", "mean"))  # which Q the outer loss takes
    outer_scale: str = static(choices=("eta", "one"))  # weight of L1's Q
    outer_change: str = static(choices=("average", "step"))  # what L2 squares


@register("diffusion_ql_aspc")
class DiffusionQLASPC(DiffusionPolicy):
    """Diffusion-QL with ASPC's adaptive scale in place of its fixed η (ASPC, arXiv:2508.19900, appendix).

    The inner step moves the policy θ → θ'(η) by Adam on L_d + η L_q, whose gradient is clipped as
    Diffusion-QL clips it; every k-th time the outer step moves η = softplus(ξ) down the gradient of an outer
    loss of θ'. Both losses see the same batch, times, noise and coin.

    Reconstructed:
        No code of Diffusion-QL+ASPC is published in the authors' repository; this follows the prose of the
        paper's appendix, and its formulas were not available for checking. The prose names a normalised Q
        term plus the host's own constraint on the updated network, and a term of the change of Q. All else is
        a choice made here: `loss`, `outer_value`, `outer_scale`, `outer_change`; the host's Adam as the step
        that is differentiated, what clipping multiplies its gradient by held constant; the same random
        numbers in both losses; `alpha_interval` counted in updates of the policy, which here are all updates;
        η₀ = Diffusion-QL's η. The policy's moving average and the target critics follow as they do there.
    """

    Hyperparameters = DiffusionQLASPCHyperparameters

    def build(self) -> None:
        """As Diffusion-QL, and η = softplus(ξ) with its optimiser."""
        super().build()
        self.scale = AdaptiveScale(self.hyper.initial_eta)
        self.scale_optimiser = self.scale.optimiser(self.hyper, 1)

    @property
    def eta(self) -> Tensor:
        """η, a constant to every loss: ``(M, 1)``."""
        return self.scale.value

    def phase(self, step: int) -> str:
        """As Diffusion-QL; every `alpha_interval`-th update of the policy is followed by one of η."""
        host = super().phase(step)
        return f"{host} and eta" if step % self.hyper.alpha_interval == 0 else host

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Critics; inner step θ → θ'; outer step of η on the same batch, noise and critics; averages."""
        metrics = self.update_critic(batch, noise)
        loss = self.policy_loss(batch, noise)
        metrics |= self.report(loss)
        if "eta" in phase:
            metrics["outer_loss"] = self.update_eta(batch, noise, loss)
        else:
            self.update_policy(loss)
        self.update_averages(phase)
        return metrics

    def update_eta(self, batch: Batch, noise: Mapping[str, Tensor], loss: PolicyLoss) -> Tensor:
        """Inner and outer step: dL_out/dη in closed form, Adam on ξ. Returns L_out, ``(M, 1)``.

        η enters L_in = L_d + η L_q linearly, so ∂²L_in/∂η∂θ = h = ∇_θ L_q. The inner step takes c g, with g =
        ∇_θ L_in and c what clipping makes of it, a constant; so what reaches Adam of h is c h.
        """
        inner = self.actor_optimiser
        cloning = torch.autograd.grad(loss.cloning.sum(), inner.parameters, retain_graph=True)
        h = torch.autograd.grad(loss.improvement.sum(), inner.parameters)
        g = [d + each for d, each in zip(cloning, scaled(h, self.eta), strict=True)]
        mixed = scaled(h, clip_factor(g, self.hyper.clip_norm))
        rate = inner.learning_rate
        own = inner.apply(g)

        outer, value_average = self.outer_loss(loss.q.detach(), self.policy_loss(batch, noise), noise)
        gradients = torch.autograd.grad(outer.sum(), inner.parameters)
        derivative = outer_derivative(inner, rate, own, gradients, mixed)
        self.scale.update(self.scale_optimiser, derivative, value_average)
        return outer.detach()

    def outer_loss(
        self, old_q: Tensor, new: PolicyLoss, noise: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """L_out(θ') = L1 (+ L2) as a function of the updated policy, and the new e, each ``(M, 1)``.

        L1 = -c E[q'] / E|scale| + L_d(θ'), c = η or 1; c and E|scale| constant
        L2 = Δ²,  Δ = change of e = ρ e + (1 - ρ) E[q'] since the last update of η, or of E[q] over the inner
            step

        Args:
            old_q: both critics' values of the samples before the inner step, ``(M, 2, B)``.
            new: what the policy's loss is made of after it.
            noise: of the update.
        """
        h = self.hyper
        q, scale = self.outer_values(new.q, noise)
        value = batch_mean(q)
        weight = self.eta if h.outer_scale == "eta" else 1
        value_average = self.scale.averaged(h.ema, value)
        loss = -weight * value / mean_magnitude(scale) + new.cloning
        if h.loss == "L1+L2":
            old = batch_mean(self.outer_values(old_q, noise)[0])
            change = value_average - self.scale.value_average if h.outer_change == "average" else value - old
            loss = loss + change**2
        return loss, value_average.detach()

    def outer_values(self, q: Tensor, noise: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The outer loss's q, and the values that scale it, each ``(M, B)``, of both critics', ``(M, 2, B)``.

        ``host``: those of the inner loss; ``min``, ``mean``: the smaller or the mean, scaled by itself.
        """
        if self.hyper.outer_value == "host":
            return self.climbed(q, noise)
        value = q.amin(1) if self.hyper.outer_value == "min" else q.mean(1)
        return value, value
