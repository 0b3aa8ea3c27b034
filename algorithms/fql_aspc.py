"""FQL+ASPC: FQL whose α follows the second-order gradient of an outer loss of the student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.adaptive_scale import AdaptiveScale, AdaptiveScaleHyperparameters, outer_derivative
from algorithms.base import Batch, batch_mean, per_member, register, static
from algorithms.fql import FlowHyperparameters, FlowQLearning
from algorithms.td3_bc import mean_magnitude


@dataclass(frozen=True, kw_only=True)
class FQLASPCHyperparameters(FlowHyperparameters, AdaptiveScaleHyperparameters):
    """Hyperparameters of FQL+ASPC."""

    initial_alpha: float = per_member(above=0)  # α₀
    scaled_term: str = static(choices=("q", "distillation"))  # of the student's loss: what α multiplies
    loss: str = static(choices=("L1", "L1+L2", "L1+L3", "L1+L2+L3"))
    outer_scale: str = static(choices=("coefficient", "one"))  # weight of the scaled term in L1: α or 1
    outer_change: str = static(choices=("average", "step"))  # what L2 squares


@register("fql_aspc")
class FQLASPC(FlowQLearning):
    """FQL whose student has ASPC's adaptive scale (ASPC, arXiv:2508.19900, Table 4).

    The inner step moves the student θ → θ'(α) by Adam on FQL's loss with a normalised Q term; every k-th time
    the outer step moves α = softplus(ξ) down the gradient of an outer loss of θ'. Flow and critics are FQL's.

    Reconstructed:
        No code was published, and the paper's formulas were not available when this was written; this follows
        its prose and is to be checked against the paper. The prose lets the student's loss follow ASPC's own,
        with a normalised Q, which FQL by default has not, and names the outer terms: the same of the updated
        student, and a change of Q. All else is a choice made here, after ASPC itself: the step of which the
        outer loss is differentiated, Adam's; the same z, flow actions and critics inside and outside, Q the
        mean of both, as in FQL; `scaled_term`, ``q`` as in ASPC, or ``distillation`` as in FQL; `loss`,
        `outer_scale`, `outer_change`; α₀ = ASPC's; `alpha_interval` counted in updates. ``L3``, an option
        that the prose does not mention here, takes the student's distances from the flow, which constrain
        it, for ASPC's distances from the data.
    """

    Hyperparameters = FQLASPCHyperparameters

    def build(self) -> None:
        """As FQL, and α = softplus(ξ) with its optimiser."""
        super().build()
        self.scale = AdaptiveScale(self.hyper.initial_alpha)
        self.scale_optimiser = self.scale.optimiser(self.hyper, 1)

    @property
    def alpha(self) -> Tensor:
        """α, a constant to every loss: ``(M, 1)``."""
        return self.scale.value

    def phase(self, step: int) -> str:
        """Every `alpha_interval`-th update is followed by one of α."""
        return "update and alpha" if step % self.hyper.alpha_interval == 0 else "update"

    def terms(self, q: Tensor, error: Tensor) -> dict[str, Tensor]:
        """The student's loss term by term, -E[q] / E|q| with E|q| constant, and E[error]: ``(M, 1)`` each."""
        return {"q": -batch_mean(q) / mean_magnitude(q), "distillation": batch_mean(error)}

    def scaled(self, scale: Tensor, terms: dict[str, Tensor]) -> Tensor:
        """The sum of the terms, the one that `scaled_term` names times `scale`: ``(M, 1)``."""
        scaled = self.hyper.scaled_term
        loss: Tensor = sum((term for name, term in terms.items() if name != scaled), scale * terms[scaled])
        return loss

    def update_actor(self, batch: Batch, noise: Tensor, phase: str) -> dict[str, Tensor]:
        """Inner step θ → θ'; outer step of α on the same batch, z, flow and critics."""
        # inner: L_in(θ; α) = -α E[q] / E|q| + E[(μ(s, z) - flow(s, z))²], or α before the other term
        taught = self.flow_action(batch.observation, noise)
        q, error = self.student(batch, noise, taught)
        terms = self.terms(q, error)
        loss, alpha = self.scaled(self.alpha, terms), self.alpha
        metrics = {
            "actor_loss": loss.detach(),
            "distillation_loss": terms["distillation"].detach(),
            "alpha": alpha,
        }
        if phase == "update":
            self.actor_optimiser.descend(loss)
            return metrics

        # α enters L_in linearly: ∂²L_in/∂α∂θ is the scaled term's gradient, at θ, hence before the step
        scaled, parameters = terms[self.hyper.scaled_term], self.actor_optimiser.parameters
        mixed = torch.autograd.grad(scaled.sum(), parameters, retain_graph=True)
        own = self.actor_optimiser.descend(loss)
        new = self.student(batch, noise, taught)
        metrics["outer_loss"] = self.update_alpha((q.detach(), error.detach()), new, own, mixed)
        return metrics

    def outer_loss(self, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """L_out(θ') as a function of the updated student, and the new e, each ``(M, 1)``.

        L1 = the inner loss at θ', α, or 1 in its place, held constant
        L2 = Δ²,  Δ = change of e = ρ e + (1 - ρ) E[q'] since the last update of α, or of E[q] over this step
        L3 = L2 · max b · max |b - b'|,  b and b' the samples' squared distances from the flow before and
            after the inner step, the first two factors held constant

        Args:
            old: q and b of the student before the inner step, held constant, ``(M, B)`` each.
            new: q' and b' after it.
        """
        (old_q, old_error), (q, error), h = old, new, self.hyper
        scale = self.alpha if h.outer_scale == "coefficient" else torch.ones_like(self.alpha)
        l1 = self.scaled(scale, self.terms(q, error))
        value = batch_mean(q)
        average = self.scale.averaged(h.ema, value)
        by_average = h.outer_change == "average"
        l2 = (average - self.scale.value_average if by_average else value - batch_mean(old_q)) ** 2
        largest = (old_error - error).abs().amax(1, keepdim=True)
        l3 = l2.detach() * old_error.amax(1, keepdim=True) * largest
        terms = {"L1": l1, "L2": l2, "L3": l3}
        chosen = torch.stack([terms[name] for name in h.loss.split("+")])
        return chosen.sum(0), average.detach()

    def update_alpha(
        self,
        old: tuple[Tensor, Tensor],
        new: tuple[Tensor, Tensor],
        own: Sequence[Tensor],
        mixed: Sequence[Tensor],
    ) -> Tensor:
        """Outer step: dL_out/dα in closed form, Adam on ξ, decay of its rate. Returns L_out, ``(M, 1)``.

        `own` are the gradients of the inner step, `mixed` those of its scaled term.
        """
        loss, average = self.outer_loss(old, new)
        inner = self.actor_optimiser
        gradients = torch.autograd.grad(loss.sum(), inner.parameters)
        d_alpha = outer_derivative(inner, self.hyper.learning_rate, own, gradients, mixed)
        self.scale.update(self.scale_optimiser, d_alpha, average)
        return loss.detach()
