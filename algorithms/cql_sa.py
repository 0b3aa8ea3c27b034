"""CQL(SA): CQL whose penalty has a learnt weight for each state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.base import Batch, batch_mean, per_member, register, static
from algorithms.cql import LagrangianCritics, LagrangianHyperparameters
from algorithms.networks import TanhGaussian
from algorithms.state_adaptive import StateAdaptiveHyperparameters, StateCoefficient

FLOOR = 10
"""Standard deviations within which the density of a dataset's action is bounded from below."""
REACH = 0.1
"""How far from tanh μ the bound of the density is looked for, for each standard deviation."""
INSIDE = 0.99999
"""The largest action of which a density is asked."""


@dataclass(frozen=True, kw_only=True)
class CQLSAHyperparameters(LagrangianHyperparameters, StateAdaptiveHyperparameters):
    """Hyperparameters of CQL(SA)."""

    reproduce_defects: bool = static(neutral=False)
    # used if `reproduce_defects`, as is second_critic_hidden_sizes
    cloning_weight: float = per_member(minimum=0)


@register("cql_sa")
class CQLSA(LagrangianCritics):
    """CQL with a state-adaptive coefficient (SSAR; Luo et al., 2025, arXiv:2505.19923).

    The critics minimise Σ_k TD_k + Σ_k E[β̃ g_k], where g_k is the difference that CQL penalises and
    β̃ = β_φ(s), times m(s, a) if `mask_regulariser`, times what `annealing` leaves of it online. With
    `lagrange` the second sum is α' Σ_k E[β̃ (g_k - gap)]. φ descends E[w β_φ(s) m(s, a)], w being how far
    the density of the data's action lies above C_n, the least that the policy has within n standard
    deviations; m is 1 for trusted transitions and else 0.

    Online φ and n are frozen and all else goes on; samples of the policy gather.

    Differences from the authors' code:
        On AntMaze the code gives five hidden layers to the first critic and three to the second
        (`second_critic_hidden_sizes`), and adds ½ ‖ã - a‖² to the policy's loss, offline and online, of which
        the paper says nothing (`cloning_weight`): ``reproduce_defects: true`` has both, ``false``, the
        default, two critics of `critic_hidden_sizes` and CQL's loss of the policy. With ``true``, the same
        weights, batches and noise, in float64 and over 60 updates, offline and online, with and without
        `lagrange`, no parameter and no n differs from those of the authors' class by more than 2e-13, which
        is rounding. On halfcheetah-medium and halfcheetah-medium-replay no trajectory has the return that the
        code asks for, 6000: the largest are about 5300 and 5000. Nothing is then trusted, and, with
        `mask_regulariser`, nothing penalised. Here the best tenth of their trajectories is trusted;
        ``trust: {by: return, above: 6000, allow_empty: true}`` does what the code does.

    Not a matter of this file:
        What the code gets wrong while it gathers, and ``reproduce_defects`` of a protocol's ``gather`` does,
        as for TD3+BC(SA): new transitions inherit the flags m of the slots they are put in, and evaluations
        spoil transitions. Its buffer on AntMaze, 1.5 million rows, is never full.

    What the code does and the paper does not say:
        C_n is looked for at most 0.1 n from tanh μ; the density of the data's action counts as at least
        C_10; densities are averaged over action dimensions and not joint; whether to raise n is decided by
        one minibatch, and one without a trusted transition raises it; online β fades along a cosine,
        where the paper has a line; the critics have layer normalisation, which CQL's and CORL's do not
        (``layer_norm`` of CQL shows what that does alone).
    """

    Hyperparameters = CQLSAHyperparameters
    columns = ("trust",)

    def build(self) -> None:
        """As CQL, and β_φ with its threshold."""
        super().build()
        self.coefficient = StateCoefficient(self.initial, self.sizes, self.hyper)
        self.coefficient_optimiser = self.coefficient.optimiser()

    def critic_sizes(self) -> tuple[str, str]:
        """The same for both critics, unless defects are reproduced."""
        first, second = super().critic_sizes()
        return first, second if self.hyper.reproduce_defects else first

    def actor_loss(self, batch: Batch, action: Tensor, log_prob: Tensor) -> Tensor:
        """As CQL; where defects are reproduced + `cloning_weight` E[‖ã - a‖²]: ``(M, 1)``."""
        loss = super().actor_loss(batch, action, log_prob)
        if self.hyper.reproduce_defects:
            squared_distance = ((action - batch.action) ** 2).sum(-1)
            loss = loss + self.hyper.cloning_weight * batch_mean(squared_distance)
        return loss

    @torch.no_grad()
    def slack(self, batch: Batch) -> Tensor:
        """w: how far the data's action is within n of the policy: ``(M, B)``.

        w = mean_j [max(ln π_j(a_j|s), C_10,j(s)) - C_n,j(s)]
        """
        policy = self.actor(batch.observation)
        floor = least_log_densities(policy, torch.full_like(self.coefficient.threshold, FLOOR))
        data = torch.maximum(policy.log_densities(batch.action.clamp(-INSIDE, INSIDE)), floor)
        return (data - least_log_densities(policy, self.coefficient.threshold)).mean(-1)

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """As CQL, with β̃ in the penalty; then φ, which looks at the policy after its step."""
        coefficient = self.coefficient(batch.observation)
        weights = self.coefficient.weight(coefficient, batch, self.clock)
        step = self.step(batch, noise, self.multiplier.detach(), weights)
        metrics = step.metrics | self.coefficient.metrics(coefficient, batch)
        metrics["value"] = batch_mean(step.critics.value)
        if self.hyper.lagrange:
            gap = 2 * self.hyper.target_gap * batch_mean(weights)
            self.multiplier_optimiser.descend(self.multiplier_loss(step.critics.penalty - gap))
        if self.hyper.coefficient == "learnt":
            slack = self.slack(batch)
            metrics |= self.coefficient.learn(
                self.coefficient_optimiser, coefficient, slack, batch, self.clock
            )
        return metrics


def least_log_densities(policy: TanhGaussian, deviations: Tensor) -> Tensor:
    """C_n: the smaller log-density of each action dimension's two ends of n standard deviations.

        C_n,j = min(ln π_j(a⁺), ln π_j(a⁻)),  a± = tanh(μ_j ± n σ_j), but at most 0.1 n from tanh μ_j

    Args:
        policy: of ``(M, B, A)``.
        deviations: n, ``(M, 1)``.

    Returns:
        ``(M, B, A)``.
    """
    n, centre = deviations.unsqueeze(-1), torch.tanh(policy.mean)
    spread = n * policy.log_std.exp()
    ends = (torch.tanh(policy.mean + sign * spread).clamp(-INSIDE, INSIDE) for sign in (1, -1))
    reached = (torch.clamp(end, centre - REACH * n, centre + REACH * n) for end in ends)
    first, second = (policy.log_densities(action) for action in reached)
    return torch.minimum(first, second)
