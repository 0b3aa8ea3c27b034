"""ANQ: IQL over the best actions in neighbourhoods of the data's, small ones where the data are good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.base import Batch, Sizes, batch_mean, layer_sizes, per_member, register, static
from algorithms.iql import ExpectileHyperparameters, ExpectileValues
from algorithms.networks import DeterministicActor, Layers
from algorithms.optimisers import Adam, cosine_decay, soft_update, target_of
from algorithms.td3_bc import mean_magnitude

LEAST_SCALE = 1e-6
"""The least E|Q| that Q is divided by."""

RADII: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "exponential": lambda alpha, advantage, _: torch.exp(alpha * advantage),
    "fixed": lambda _, advantage, __: torch.ones_like(advantage),
    "sigmoid": lambda alpha, advantage, _: (1 + torch.exp(alpha * advantage)) / 2,
    "uncertainty": lambda alpha, _, spread: torch.exp(alpha * spread),
}
"""What each choice of `radius` makes 1 / f(s, a) of α, A(s, a) and the spread of Q̄_k(s, a) over k."""

AGGREGATES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "min": lambda q: q.amin(1),
    "mean": lambda q: q.mean(1),
}
"""How the values of an ensemble, ``(M, N, B)``, count as one, ``(M, B)``."""


@dataclass(frozen=True, kw_only=True)
class ANQHyperparameters(ExpectileHyperparameters):
    """Hyperparameters of ANQ."""

    ensemble_size: int = static(minimum=1)  # N
    constraint_weight: float = per_member(minimum=0)  # λ
    radius: str = static(choices=tuple(RADII))  # f
    radius_temperature: float = per_member(minimum=0)  # α, inverse
    radius_weight_floor: float = per_member(minimum=0, maximum=1)  # of 1 / f, which is 1 where A = 0
    radius_weight_cap: float = per_member(minimum=1)
    penalty: str = static(choices=("norm", "squared"))  # of the displacement
    normalize_q: bool = static()  # in the refiner's loss
    displacement_bound: float = per_member(above=0)  # of each dimension
    refiner_target: bool = static()  # whether V is fitted to μ̄'s actions or μ's
    # of the ensemble, in the target of V, A(s, a), the refiner's loss and the policy's weights
    value_aggregate: str = static(choices=tuple(AGGREGATES))
    radius_aggregate: str = static(choices=tuple(AGGREGATES))
    refiner_aggregate: str = static(choices=tuple(AGGREGATES))
    policy_aggregate: str = static(choices=tuple(AGGREGATES))
    beta: float = per_member(minimum=0)  # β, inverse temperature
    weight_cap: float = per_member(above=0)
    policy_frequency: int = static(minimum=1)  # updates of V and Q per update of μ and π
    update_order: str = static(choices=("sequential", "joint"))
    actor_learning_rate: float = static(minimum=0)  # of μ and π
    actor_decay_steps: int = static(minimum=1)  # their updates until the rate is 0
    actor_hidden_sizes: str = layer_sizes()  # of μ and π


@register("anq")
class ANQ(ExpectileValues):
    """Adaptive neighbourhood-constrained Q-learning (ANQ; Mao et al., 2025, arXiv:2511.02567).

    A refiner, the paper's auxiliary policy μ, moves each action of the data by δ = μ(s, a) to a better one
    within a radius that shrinks with the action's advantage. V is IQL's, an expectile of Q at the refined
    actions, and a policy π regresses to them, without which all the rest is learnt just the same.

    Its limits: as λ grows, δ falls to 0 and V is IQL's, of N critics; with λ = 0 nothing but
    `displacement_bound` and the range of actions holds δ, and ANQ is unconstrained Q-learning. With α = 0,
    or ``radius: fixed``, all radii are the same.

    Equation 13 as published is ``penalty: norm``, ``normalize_q: false``, ``radius_weight_floor: 0`` and a
    ``radius_weight_cap`` beyond reach, 1e30. Values of λ are not comparable between the two penalties, nor
    between Q and normalised Q.

    Differences from the authors' code:
        unknown: it could not be read. In its place stands a program that says to port it, see the settings,
        which is followed where the paper is silent and where the two differ: the squared penalty, on δ before
        the action is clipped, Q over its mean magnitude, the bound of 2, floor and caps, the minimum of four
        critics, errors as means over dimensions, policies and targets at every second step. Only the order of
        updates and the refiner's target μ̄ are the paper's all the same. With ``update_order: joint`` and
        ``refiner_target: false``, as in the port, the same weights and batches, in float64 and over 60
        updates, no parameter differs from the port's by more than 1e-10, since the policies' rate is rounded
        to float32.

    Choices of this project:
        The paper's framework takes any radius f(s, a) (eq. 16) and tries the exponential one. ``sigmoid`` and
        ``uncertainty`` are ours, see `radius_weight`; others override that method.
    """

    Hyperparameters = ANQHyperparameters

    def build(self) -> None:
        """Policy π, refiner μ and perhaps its target, V, and N critics with theirs."""
        h, (observation, action) = self.hyper, self.sizes
        layers = Layers(h.actor_hidden_sizes)
        self.actor = DeterministicActor(self.initial, self.sizes, layers)
        self.refiner = DeterministicActor(self.initial, Sizes(observation + action, action), layers)
        if h.refiner_target:
            self.target_refiner = target_of(self.refiner)
        self.build_values(h.ensemble_size)
        self.refiner_optimiser, self.actor_optimiser = (
            Adam(network.parameters(), h.actor_learning_rate, cosine_decay(h.actor_decay_steps))
            for network in (self.refiner, self.actor)
        )

    def phase(self, step: int) -> str:
        """Every step trains V and Q; every `policy_frequency`-th also μ, π and the targets."""
        return "values and policies" if step % self.hyper.policy_frequency == 0 else "values"

    def refine(self, refiner: DeterministicActor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The refined actions clip(a + δ, -1, 1), and δ = bound · tanh(…) = μ(s, a): twice ``(M, B, A)``."""
        output = refiner(torch.cat([batch.observation, batch.action], -1))
        displacement = self.hyper.displacement_bound.unsqueeze(-1) * output
        return (batch.action + displacement).clamp(-1, 1), displacement

    def value_objective(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """E[L₂^τ(Q̄(s, a + μ̄(s, a)) - V(s))] (eq. 14): ``(M, 1)``, and metrics."""
        h = self.hyper
        with torch.no_grad():
            refined, _ = self.refine(self.target_refiner if h.refiner_target else self.refiner, batch)
            q = AGGREGATES[h.value_aggregate](self.target_critic(batch.observation, refined))
        loss = self.value_loss(q - self.value(batch.observation))
        return loss, {"value_loss": loss.detach()}

    def critic_objective(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Σ_k E[(Q_k(s, a) - r - γ (1 - d) V(s'))²] (eq. 15): ``(M, 1)``, and metrics."""
        with torch.no_grad():
            target = self.backup(batch, self.value(batch.next_observation))
        q = self.critic(batch.observation, batch.action)
        loss = self.hyper.ensemble_size * batch_mean((q - target.unsqueeze(1)) ** 2)
        return loss, {"critic_loss": loss.detach(), "q": batch_mean(q.detach())}

    @torch.no_grad()
    def radius_weight(self, batch: Batch) -> Tensor:
        """1 / f(s, a), by which δ counts (eqs. 12 and 16), between its floor and its cap: ``(M, B)``.

        exponential: f = exp(-α A), A = Q̄(s, a) - V(s)
        fixed: f = 1
        sigmoid: f = 2 / (1 + exp(α A)), at most twice the radius of where A = 0
        uncertainty: f = exp(-α σ), σ the standard deviation of Q̄_k(s, a) over k
        """
        h = self.hyper
        q = self.target_critic(batch.observation, batch.action)
        advantage = AGGREGATES[h.radius_aggregate](q) - self.value(batch.observation)
        weight = RADII[h.radius](h.radius_temperature, advantage, q.std(1, correction=0))
        return weight.clamp(h.radius_weight_floor, h.radius_weight_cap)

    def refiner_objective(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """-E[Q(s, a + δ)] + λ E[p(δ) / f(s, a)] (eqs. 13 and 16): ``(M, 1)``, and metrics.

        norm: p = √(Σ_j δ_j²)
        squared: p = mean of δ_j²
        normalize_q: Q / E|Q(s, a + δ)|, the magnitude held constant

        The penalty pulls at δ where the action is clipped, too; Q does not.
        """
        h = self.hyper
        refined, displacement = self.refine(self.refiner, batch)
        q = AGGREGATES[h.refiner_aggregate](self.critic(batch.observation, refined))
        gain = batch_mean(q)
        if h.normalize_q:
            gain = gain / mean_magnitude(q).clamp(min=LEAST_SCALE)
        squares = displacement**2
        length = torch.linalg.vector_norm(displacement, dim=-1) if h.penalty == "norm" else squares.mean(-1)
        weight = self.radius_weight(batch)
        loss = h.constraint_weight * batch_mean(weight * length) - gain
        return loss, {
            "refiner_loss": loss.detach(),
            "refined_q": batch_mean(q.detach()),
            "displacement": batch_mean(squares.detach()).sqrt(),
            "radius_weight": batch_mean(weight),
        }

    def actor_objective(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """E[w mean_j (a + δ - π(s))_j²], w = min(exp(β (Q̄(s, a + δ) - V(s))), cap) (eq. 17).

        Returns:
            ``(M, 1)``, and metrics.
        """
        h = self.hyper
        with torch.no_grad():
            refined, _ = self.refine(self.refiner, batch)
            q = AGGREGATES[h.policy_aggregate](self.target_critic(batch.observation, refined))
            weight = torch.exp(h.beta * (q - self.value(batch.observation)))
            weight = torch.minimum(weight, h.weight_cap)
        error = ((self.actor(batch.observation) - refined) ** 2).mean(-1)
        loss = batch_mean(weight * error)
        return loss, {"actor_loss": loss.detach(), "policy_weight": batch_mean(weight)}

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """V and Q; then, every second step, μ, π and the targets (Alg. 1).

        sequential: each loss is of what the steps before it left
        joint: all four are of the networks as they were
        """
        h = self.hyper
        steps = [(self.value_optimiser, self.value_objective), (self.critic_optimiser, self.critic_objective)]
        if phase == "values and policies":
            steps += [
                (self.refiner_optimiser, self.refiner_objective),
                (self.actor_optimiser, self.actor_objective),
            ]
        metrics: dict[str, Tensor] = {}
        together = []
        for optimiser, loss_of in steps:
            loss, found = loss_of(batch)
            metrics |= found
            gradients = torch.autograd.grad(loss.sum(), optimiser.parameters)
            if h.update_order == "sequential":
                optimiser.apply(gradients)
            else:
                together.append((optimiser, gradients))
        for optimiser, gradients in together:
            optimiser.apply(gradients)
        if phase == "values and policies":
            soft_update(h.soft_update, (self.target_critic, self.critic))
            if h.refiner_target:
                soft_update(h.soft_update, (self.target_refiner, self.refiner))
        return metrics

    def act(self, observation: Tensor) -> Tensor:
        """π(s)."""
        action: Tensor = self.actor(observation)
        return action
