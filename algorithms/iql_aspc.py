"""IQL+ASPC: IQL whose β follows the second-order gradient of an outer loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.adaptive_scale import AdaptiveScale, AdaptiveScaleHyperparameters, outer_derivative
from algorithms.base import Batch, batch_mean, per_member, register, static
from algorithms.iql import IQL, IQLSharedHyperparameters


@dataclass(frozen=True, kw_only=True)
class IQLASPCHyperparameters(IQLSharedHyperparameters, AdaptiveScaleHyperparameters):
    """Hyperparameters of IQL+ASPC."""

    initial_beta: float = per_member(above=0)  # β₀
    loss: str = static(choices=("L1", "L1+L2", "L1+L3", "L1+L2+L3"))
    outer_scale: str = static(choices=("coefficient", "one"))  # of L1's Q: β or 1
    outer_weight: str = static(choices=("advantage", "one"))  # of L1's l_BC: w or 1
    outer_q: str = static(choices=("min", "mean", "first"))  # how the twins make Q
    outer_change: str = static(choices=("average", "step"))  # what L2 squares


@register("iql_aspc")
class IQLASPC(IQL):
    """IQL whose inverse temperature β is scaled adaptively (ASPC, arXiv:2508.19900, Table 3).

    The inner step moves the policy θ → θ'(β) by Adam on IQL's loss; every k-th time the outer step moves
    β = softplus(ξ) down the gradient of an outer loss of θ'.

    Reconstructed:
        No code was published, and the paper's formulas were not available when this was written; this follows
        its prose and is to be checked against the paper. The prose names the outer terms: a normalised Q and
        IQL's own policy loss of the updated network, and a change of Q. So `loss`, `outer_scale`,
        `outer_weight`, `outer_q`, `outer_change` and the hyperparameters of the outer step are choices made
        here, after ASPC itself. ``L3``, an option that the prose does not mention here, takes squared errors
        of μ, since -ln π may be negative.
    """

    Hyperparameters = IQLASPCHyperparameters

    def build(self) -> None:
        """As IQL, and β = softplus(ξ) with its optimiser."""
        super().build()
        self.scale = AdaptiveScale(self.hyper.initial_beta)
        self.scale_optimiser = self.scale.optimiser(self.hyper, 1)

    @property
    def beta(self) -> Tensor:
        """β, a constant to every loss: ``(M, 1)``."""
        return self.scale.value

    def phase(self, step: int) -> str:
        """Every `alpha_interval`-th update of the policy is followed by one of β."""
        return "update and beta" if step % self.hyper.alpha_interval == 0 else "update"

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """V and Q; inner step θ → θ'; outer step of β on the same batch and critic."""
        advantage, metrics = self.update_values(batch)
        # inner: L_in(θ; β) = E[w l_BC(θ)],  w = min(exp(β A), cap)
        weight, mean = self.weight(advantage), self.actor(batch.observation)
        imitation = self.imitation_loss(mean, batch)
        loss = batch_mean(weight * imitation)
        metrics |= {"actor_loss": loss.detach(), "beta": self.beta}
        if phase == "update":
            self.actor_optimiser.descend(loss)
            return metrics

        # ∂w/∂β = A w, and 0 where the cap holds; ∂²L_in/∂β∂θ is wanted at θ, hence before the step
        slope = torch.where(weight < self.hyper.weight_cap, advantage * weight, 0)
        parameters = self.actor_optimiser.parameters
        mixed = torch.autograd.grad(batch_mean(slope * imitation).sum(), parameters, retain_graph=True)
        rate = self.actor_optimiser.learning_rate
        own = self.actor_optimiser.descend(loss)
        return metrics | {"outer_loss": self.update_beta(batch, weight, mean.detach(), rate, own, mixed)}

    def outer_value(self, batch: Batch, action: Tensor) -> Tensor:
        """Q(s, clip(action, -1, 1)) of the online critics: ``(M, B)``."""
        action = action.clamp(-1, 1)  # as it would be done; nothing else keeps a unit Gaussian's mean there
        if self.hyper.outer_q == "first":
            first: Tensor = self.critic.first(batch.observation, action)
            return first
        q: Tensor = self.critic(batch.observation, action)
        return q.amin(1) if self.hyper.outer_q == "min" else q.mean(1)

    def outer_loss(
        self, batch: Batch, weight: Tensor, old_mean: Tensor, new_mean: Tensor
    ) -> tuple[Tensor, Tensor]:
        """L_out(θ') as a function of the updated policy, and the new e, each ``(M, 1)``.

        L1 = -β E[q'] / E|q'| + E[w l_BC(θ')],  q' = Q(s, clip(μ'(s), -1, 1)); β, w and E|q'| constant
        L2 = Δ²,  Δ = change of e = ρ e + (1 - ρ) E[q'] since the last update of β, or over this inner step
        L3 = L2 · max b · max |b - b'|,  b and b' the samples' squared errors of μ before and after the inner
            step, the first two factors held constant
        """
        q, h = self.outer_value(batch, new_mean), self.hyper
        scale = self.beta if h.outer_scale == "coefficient" else 1
        imitation = self.imitation_loss(new_mean, batch)
        constraint = weight * imitation if h.outer_weight == "advantage" else imitation
        l1 = -scale * batch_mean(q) / batch_mean(q.abs()).detach() + batch_mean(constraint)

        average = self.scale.averaged(h.ema, batch_mean(q))
        if h.outer_change == "average":
            change = average - self.scale.value_average
        else:
            change = batch_mean(q) - batch_mean(self.outer_value(batch, old_mean)).detach()
        l2 = change**2

        old_error, new_error = (((mean - batch.action) ** 2).mean(-1) for mean in (old_mean, new_mean))
        largest = (old_error - new_error).abs().amax(1, keepdim=True)
        l3 = l2.detach() * old_error.amax(1, keepdim=True) * largest

        terms = {"L1": l1, "L2": l2, "L3": l3}
        chosen = torch.stack([terms[name] for name in h.loss.split("+")])
        return chosen.sum(0), average.detach()

    def update_beta(
        self,
        batch: Batch,
        weight: Tensor,
        old_mean: Tensor,
        rate: float | Tensor,
        own: Sequence[Tensor],
        mixed: Sequence[Tensor],
    ) -> Tensor:
        """Outer step: dL_out/dβ in closed form, Adam on ξ, decay of its rate. Returns L_out, ``(M, 1)``.

        The inner step had the `rate` and its `own` gradients.
        """
        loss, average = self.outer_loss(batch, weight, old_mean, self.actor(batch.observation))
        inner = self.actor_optimiser
        gradients = torch.autograd.grad(loss.sum(), inner.parameters)
        derivative = outer_derivative(inner, rate, own, gradients, mixed)
        self.scale.update(self.scale_optimiser, derivative, average)
        return loss.detach()
