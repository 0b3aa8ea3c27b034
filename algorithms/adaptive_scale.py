"""A coefficient that follows the second-order gradient of an outer loss (ASPC, arXiv:2508.19900)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms.base import Hyperparameters, per_member, static
from algorithms.optimisers import Adam, exponential_decay


@dataclass(frozen=True, kw_only=True)
class AdaptiveScaleHyperparameters(Hyperparameters):
    """How a coefficient is learnt, by ASPC itself and by what extends another algorithm with it."""

    alpha_interval: int = static(minimum=1)  # k, inner updates per update of the coefficient
    alpha_learning_rate: float = static(minimum=0)  # at k = 10; the authors' code scales it by k / 10
    # what is left of it after alpha_decay_steps
    alpha_learning_rate_final: float = static(above=0, maximum=1)
    alpha_decay_steps: int = static(minimum=1)  # critic updates
    ema: float = per_member(minimum=0, maximum=1)  # ρ, weight of the old value


class AdaptiveScale(nn.Module):
    """c = softplus(ξ) > 0 of every member, and the running average e of the Q values that it led to.

    Args:
        initial: c at the start, ``(M, 1)``.
    """

    value_average: Tensor

    def __init__(self, initial: Tensor) -> None:
        super().__init__()
        # ξ = ln(exp(c) - 1) in a form that large c do not overflow, and in float64: c then starts at its
        # initial value exactly, and small steps are not lost
        start = initial.double()
        self.xi = nn.Parameter(start + torch.log(-torch.expm1(-start)))
        self.register_buffer("value_average", torch.zeros_like(initial))  # e
        self._dtype = initial.dtype

    @property
    def value(self) -> Tensor:
        """c, a constant to every loss: ``(M, 1)``."""
        return F.softplus(self.xi.detach()).to(self._dtype)

    def optimiser(self, hyper: AdaptiveScaleHyperparameters, critic_steps: int) -> Adam:
        """Adam on ξ, whose rate decays exponentially.

        Args:
            hyper: see there.
            critic_steps: critic updates per inner update.
        """
        updates = int(hyper.alpha_decay_steps / (critic_steps * hyper.alpha_interval))
        return Adam(
            [self.xi],
            hyper.alpha_learning_rate * hyper.alpha_interval / 10,
            exponential_decay(hyper.alpha_learning_rate_final, max(updates, 1)),
        )

    def averaged(self, ema: Tensor, value: Tensor) -> Tensor:
        """The next e = ρ e + (1 - ρ) `value`; kept only by `update`."""
        return (1 - ema) * value + ema * self.value_average

    def update(self, optimiser: Adam, derivative: Tensor, value_average: Tensor) -> None:
        """Step ξ down dL_out/dξ = σ(ξ) dL_out/dc, and keep e."""
        optimiser.apply([torch.sigmoid(self.xi.detach()) * derivative])
        self.value_average.copy_(value_average)


def outer_derivative(
    inner: Adam,
    rate: float | Tensor,
    own: Sequence[Tensor],
    gradients: Sequence[Tensor],
    mixed: Sequence[Tensor],
) -> Tensor:
    """dL_out/dc in closed form, through the Adam step that the inner loss has just caused: ``(M, 1)``.

    The step was θ' = θ - η m̂ / (√v̂ + ε), and J its direction's derivative by its own gradient
    (`Adam.jacobian`), so with G = ∇L_out(θ')

        dL_out/dc = -η Σ_j G_j J_j (∂²L_in/∂c∂θ)_j

    Args:
        inner: the optimiser that did the step.
        rate: η of that step.
        own: g, the gradients of that step, one per parameter.
        gradients: G, one per parameter, at θ'.
        mixed: ∂²L_in/∂c∂θ, one per parameter, at θ.
    """
    products = [
        (outer * inner.jacobian(p, g) * h).flatten(1).sum(1, keepdim=True)
        for p, g, outer, h in zip(inner.parameters, own, gradients, mixed, strict=True)
    ]
    return -rate * torch.stack(products).sum(0)
