"""SSAR's coefficient: how much each state's regulariser weighs, learnt from what the policy does there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from algorithms.base import (
    Batch,
    Hyperparameters,
    Initial,
    Sizes,
    batch_mean,
    layer_sizes,
    per_member,
    static,
)
from algorithms.networks import Layers, ValueFunction, xavier
from algorithms.optimisers import Adam

EDGE = 0.01
"""A coefficient counts as at an end of its range within this share of it."""


@dataclass(frozen=True, kw_only=True)
class StateAdaptiveHyperparameters(Hyperparameters):
    """What SSAR adds to an algorithm's hyperparameters."""

    initial_coefficient: float = per_member(above=0)  # β₀
    coefficient_hidden_sizes: str = layer_sizes()
    coefficient_learning_rate: float = static(minimum=0)
    coefficient_clip_norm: float = per_member(above=0)
    threshold_start: float = per_member(above=0)  # n_start
    threshold_end: float = per_member(minimum=0)  # n_end
    threshold_period: int = static(minimum=1)  # T_inc, updates between raises
    threshold_raises: int = static(minimum=1)  # T / T_inc, how many lead from n_start to n_end
    mask_regulariser: bool = static()  # whether untrusted transitions go without a regulariser
    # online
    coefficient: str = static(choices=("learnt", "frozen"), neutral="learnt")
    annealing: str = static(choices=("none", "linear", "cosine"), neutral="none")
    decay_steps: float = per_member(above=0, neutral=400_000)  # N_end, updates of this run


class StateCoefficient(nn.Module):
    """β_φ(s) = 3/2 β₀ σ(z_φ(s)), and the threshold n of the deviation from the data that it allows.

    z begins near ln 2 and so β near β₀. φ descends E[w β_φ(s) m(s, a)], where the backbone says what w is:
    β falls where w > 0, where the policy is nearer to the data than n allows, and rises elsewhere; m is 1 for
    transitions that are trusted and else 0.

    Every `threshold_period` updates n rises by a part of n_end - n_start, to n_end at most, until for the
    first time the minibatch's mean w of trusted transitions is above 0 at such a time; then n stays.

    Args:
        initial: draws φ.
        sizes: of observations and actions.
        hyper: the algorithm's `StateAdaptiveHyperparameters`, per-member numbers as ``(M, 1)`` tensors.
    """

    threshold: Tensor
    stopped: Tensor

    def __init__(self, initial: Initial, sizes: Sizes, hyper: Any) -> None:
        super().__init__()
        layers = Layers(
            hyper.coefficient_hidden_sizes,
            hidden_weights=xavier(),
            hidden_bias=0.0,
            output_weights=xavier(),
            output_bias=0.6931,  # ln 2 as the authors write it
        )
        self.network, self._hyper = ValueFunction(initial, sizes, layers), hyper
        self.register_buffer("threshold", hyper.threshold_start.clone())  # n, (M, 1)
        self.register_buffer("stopped", torch.zeros_like(self.threshold, dtype=torch.bool))

    def optimiser(self) -> Adam:
        """Adam on φ; each member's gradient is clipped."""
        hyper = self._hyper
        return Adam(
            self.network.parameters(),
            hyper.coefficient_learning_rate,
            clip_norm=hyper.coefficient_clip_norm,
        )

    def forward(self, observation: Tensor) -> Tensor:
        """β_φ(s): ``(M, B, S) -> (M, B)``."""
        value: Tensor = 1.5 * self._hyper.initial_coefficient * torch.sigmoid(self.network(observation))
        return value

    def annealed(self, clock: Tensor) -> Tensor:
        """What is left of the coefficient at update N = `clock` + 1 of the run: ``(M, 1)``.

        linear: max(1 - N / N_end, 0);  cosine: cos(π/2 min(N / N_end, 1))
        """
        fraction: Tensor = ((clock + 1) / self._hyper.decay_steps).clamp(max=1)
        if self._hyper.annealing == "linear":
            return 1 - fraction
        if self._hyper.annealing == "cosine":
            return torch.cos(math.pi / 2 * fraction).clamp(min=0)
        return torch.ones_like(fraction)

    def weight(self, coefficient: Tensor, batch: Batch, clock: Tensor) -> Tensor:
        """How much each transition's regulariser weighs, a constant: ``(M, B)``.

        Args:
            coefficient: β_φ(s), ``(M, B)``.
            batch: with the column ``trust``.
            clock: updates done in the run, ``(M, 1)``.
        """
        weight = coefficient.detach() * self.annealed(clock)
        return weight * batch.extra["trust"] if self._hyper.mask_regulariser else weight

    def learn(
        self, optimiser: Adam, coefficient: Tensor, slack: Tensor, batch: Batch, clock: Tensor
    ) -> dict[str, Tensor]:
        """Test the threshold's rule and step φ, where the coefficient is not frozen.

        Args:
            optimiser: that of `optimiser()`.
            coefficient: β_φ(s), ``(M, B)``, with its graph.
            slack: w, how far the policy is within n of the data, a constant; ``(M, B)``.
            batch: with the column ``trust``.
            clock: updates done in the run, ``(M, 1)``.

        Returns:
            A metric, ``(M, 1)``.
        """
        trusted_slack = slack * batch.extra["trust"]
        self.raise_threshold(trusted_slack, clock)
        optimiser.descend(batch_mean(trusted_slack * coefficient))
        return {"slack": batch_mean(trusted_slack)}

    @torch.no_grad()
    def raise_threshold(self, trusted_slack: Tensor, clock: Tensor) -> None:
        """If it is time, raise n, or stop for good.

        Args:
            trusted_slack: w m, ``(M, B)``; its mean has the sign of the mean of w over trusted transitions.
            clock: updates done in the run, ``(M, 1)``.
        """
        hyper = self._hyper
        due = torch.remainder(clock + 1, hyper.threshold_period) == 0
        self.stopped |= due & (batch_mean(trusted_slack) > 0)
        rise = (hyper.threshold_end - hyper.threshold_start) / hyper.threshold_raises
        raised = torch.minimum(self.threshold + rise, hyper.threshold_end)
        self.threshold.copy_(torch.where(due & ~self.stopped, raised, self.threshold))

    def metrics(self, coefficient: Tensor, batch: Batch) -> dict[str, Tensor]:
        """β's mean and its shares at the ends of its range, n, and the share trusted: ``(M, 1)`` each."""
        share = coefficient.detach() / (1.5 * self._hyper.initial_coefficient)
        return {
            "coefficient": batch_mean(coefficient.detach()),
            "coefficient_at_zero": batch_mean((share < EDGE).to(share.dtype)),
            "coefficient_at_top": batch_mean((share > 1 - EDGE).to(share.dtype)),
            "threshold": self.threshold.clone(),
            "trusted": batch_mean(batch.extra["trust"]),
        }
