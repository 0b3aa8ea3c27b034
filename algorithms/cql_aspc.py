"""CQL+ASPC: CQL whose α follows the second-order gradient of an outer loss of the critics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.adaptive_scale import AdaptiveScale, AdaptiveScaleHyperparameters, outer_derivative
from algorithms.base import Batch, batch_mean, per_member, register, static
from algorithms.cql import ConservativeCritics, ConservativeHyperparameters, Step
from algorithms.td3_bc import mean_magnitude


@dataclass(frozen=True, kw_only=True)
class CQLASPCHyperparameters(ConservativeHyperparameters, AdaptiveScaleHyperparameters):
    """Hyperparameters of CQL+ASPC."""

    initial_alpha: float = per_member(above=0)  # α₀
    loss: str = static(choices=("L1", "L1+L2"))
    outer_value: str = static(choices=("min", "mean"))  # of the two critics
    outer_scale: str = static(choices=("alpha", "one"))  # weight of the penalty in the outer loss
    outer_change: str = static(choices=("average", "step"))  # what L2 squares


@register("cql_aspc")
class CQLASPC(ConservativeCritics):
    """CQL with ASPC's adaptive scale in place of its fixed α (ASPC, arXiv:2508.19900, appendix).

    The inner step moves the critics φ → φ'(α) by Adam on Σ_k TD_k + α Σ_k R_k; every k-th time the outer step
    moves α = softplus(ξ) down the gradient of an outer loss of φ'. More α is more conservatism, the opposite
    of ASPC itself.

    Reconstructed:
        No code of CQL+ASPC is published in the authors' repository; this follows the prose of the paper's
        appendix, and its formulas were not available for checking. The prose names a normalised Q term plus
        the host's own constraint on the updated network, and a term of the change of Q. All else is a choice
        made here: the critics as the networks whose step is differentiated; `loss`, `outer_value`,
        `outer_scale`, `outer_change`; `alpha_interval` counted in updates of the critics; α₀ = CQL's α; no
        Lagrange multiplier. ASPC's L3 measures the policy's deviation from the data, which a step of the
        critics does not change, and so it is not offered.
    """

    Hyperparameters = CQLASPCHyperparameters

    def build(self) -> None:
        """As CQL, and α = softplus(ξ) with its optimiser."""
        super().build()
        self.scale = AdaptiveScale(self.hyper.initial_alpha)
        self.scale_optimiser = self.scale.optimiser(self.hyper, 1)

    @property
    def alpha(self) -> Tensor:
        """α, a constant to every loss: ``(M, 1)``."""
        return self.scale.value

    def phase(self, step: int) -> str:
        """Every `alpha_interval`-th step is followed by one of α."""
        return "all and alpha" if step % self.hyper.alpha_interval == 0 else "all"

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """As CQL; then the outer step of α on the same batch and the same sampled actions."""
        alpha, outer = self.alpha, phase == "all and alpha"
        old_value = self.old_value(batch, noise) if outer and self.hyper.outer_change == "step" else None
        step = self.step(batch, noise, alpha)
        metrics = step.metrics | {"alpha": alpha}
        if outer:
            metrics["outer_loss"] = self.update_alpha(batch, step, old_value)
        return metrics

    def q(self, batch: Batch, action: Tensor) -> Tensor:
        """The smaller or the mean of the critics' values at (s, `action`): ``(M, B)``."""
        values = torch.stack([critic(batch.observation, action) for critic in self.critics], 1)
        return values.amin(1) if self.hyper.outer_value == "min" else values.mean(1)

    @torch.no_grad()
    def old_value(self, batch: Batch, noise: Mapping[str, Tensor]) -> Tensor:
        """E[q(s, ã)] of the critics before the step, at the same ã as the step will draw: ``(M, 1)``."""
        action, _ = self.actor(batch.observation).sample(noise["action"])
        return batch_mean(self.q(batch, action))

    def value_loss(self, q: Tensor, old_value: Tensor | None) -> tuple[Tensor, Tensor]:
        """-E[q'] / E|q'| (+ L2), and the new e: the outer loss without the penalty, each ``(M, 1)``.

        E|q'| is held constant. L2 = Δ², Δ the change of e = ρ e + (1 - ρ) E[q'] since the last update of α,
        or that of E[q] over this inner step.

        Args:
            q: q' = q(s, ã) of the updated critics, ``(M, B)``.
            old_value: E[q(s, ã)] before the step if Δ is the change over it, else None.
        """
        value = batch_mean(q)
        value_average = self.scale.averaged(self.hyper.ema, value)
        loss = -value / mean_magnitude(q)
        if self.hyper.loss == "L1+L2":
            change = value_average - self.scale.value_average if old_value is None else value - old_value
            loss = loss + change**2
        return loss, value_average.detach()

    def update_alpha(self, batch: Batch, step: Step, old_value: Tensor | None) -> Tensor:
        """Outer step: dL_out/dα in closed form, Adam on ξ, decay of its rate. Returns L_out, ``(M, 1)``.

        L_out(φ') = -E[q'] / E|q'| + c · ½ Σ_k R_k(φ') (+ L2), c = α held constant, or 1. α enters the inner
        loss linearly: ∂²L_in/∂α∂φ = ∇_φ Σ_k R_k, which the inner step has computed already.
        """
        inner, critics = self.critic_optimiser, step.critics
        value_loss, value_average = self.value_loss(self.q(batch, step.action), old_value)
        penalty, penalty_gradients = self.penalty(batch, critics.samples)
        scale = (self.alpha if self.hyper.outer_scale == "alpha" else torch.ones_like(self.alpha)) / 2
        gradients = [
            g + scale.unsqueeze(-1) * h
            for g, h in zip(
                torch.autograd.grad(value_loss.sum(), inner.parameters), penalty_gradients, strict=True
            )
        ]
        d_alpha = outer_derivative(
            inner, self.hyper.critic_learning_rate, critics.gradients, gradients, critics.penalty_gradients
        )
        self.scale.update(self.scale_optimiser, d_alpha, value_average)
        return value_loss.detach() + scale * penalty
