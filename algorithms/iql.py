"""IQL: an expectile of Q instead of a maximum, and a policy that copies what turned out well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from algorithms.base import (
    Algorithm,
    Batch,
    Hyperparameters,
    batch_mean,
    layer_sizes,
    per_member,
    register,
    static,
)
from algorithms.networks import (
    Critics,
    DeterministicActor,
    GaussianActor,
    Layers,
    UnitGaussianActor,
    ValueFunction,
    flax_layers,
)
from algorithms.optimisers import Adam, cosine_decay, soft_update, target_of

EXPLORATION = 0.03
"""Standard deviation of the noise that gathers data around a deterministic policy."""

POLICIES = {
    "gaussian": GaussianActor,
    "deterministic": DeterministicActor,
    "unit_gaussian": UnitGaussianActor,
}
GAUSSIAN = (GaussianActor, UnitGaussianActor)


@dataclass(frozen=True, kw_only=True)
class ExpectileHyperparameters(Hyperparameters):
    """What Q and V need, with or without a policy."""

    expectile: float = per_member(minimum=0, maximum=1)  # τ_e
    discount: float = per_member(minimum=0, maximum=1)  # γ
    soft_update: float = static(minimum=0, maximum=1)  # τ
    critic_learning_rate: float = static(minimum=0)
    value_learning_rate: float = static(minimum=0)
    critic_hidden_sizes: str = layer_sizes()
    value_hidden_sizes: str = layer_sizes()


@dataclass(frozen=True, kw_only=True)
class IQLSharedHyperparameters(ExpectileHyperparameters):
    """What IQL and IQL+ASPC share."""

    weight_cap: float = per_member(above=0)
    policy: str = static(choices=("gaussian", "deterministic", "unit_gaussian"))
    actor_learning_rate: float = static(minimum=0)
    # updates until the actor's rate is 0, and begins to rise; 0: it stays as it is
    actor_decay_steps: int = static(minimum=0)
    actor_hidden_sizes: str = layer_sizes()
    # what sets the program of OGBench's authors apart from CORL's
    networks: str = static(choices=("corl", "flax"), neutral="corl")
    advantage_critic: str = static(choices=("target", "online"), neutral="target")  # in the policy's weights
    target_order: str = static(choices=("before", "after"), neutral="after")  # whether Q̄ follows Q's old self
    critic_loss: str = static(choices=("mean", "sum"), neutral="mean")  # over both critics


@dataclass(frozen=True, kw_only=True)
class IQLHyperparameters(IQLSharedHyperparameters):
    """Hyperparameters of IQL."""

    beta: float = per_member(minimum=0)  # β, inverse temperature


class ExpectileValues(Algorithm):
    """V, an expectile of Q over the data's actions, and Q: what IQL learns apart from its policy."""

    def build_values(self, critics: int = 2) -> None:
        """That many Q with their targets, and V, which has none."""
        h = self.hyper
        self.critic = Critics(self.initial, self.sizes, self.value_layers(h.critic_hidden_sizes), critics)
        self.target_critic = target_of(self.critic)
        self.value = self.value_function()
        self.critic_optimiser = Adam(self.critic.parameters(), h.critic_learning_rate)
        self.value_optimiser = Adam(self.value.parameters(), h.value_learning_rate)

    def value_layers(self, hidden_sizes: str) -> Layers:
        """What Q and V are made of."""
        return Layers(hidden_sizes)

    @property
    def targets_first(self) -> bool:
        """Whether Q̄ follows Q as it was before its step."""
        return False

    def value_function(self) -> ValueFunction:
        """V as it begins."""
        return ValueFunction(self.initial, self.sizes, self.value_layers(self.hyper.value_hidden_sizes))

    def value_loss(self, advantage: Tensor) -> Tensor:
        """E[|τ_e - 1(A < 0)| A²], whose minimum over V is Q's expectile (eqs. 4 and 5): ``(M, 1)``."""
        expectile = self.hyper.expectile
        return batch_mean(torch.where(advantage < 0, 1 - expectile, expectile) * advantage**2)

    def backup(self, batch: Batch, next_value: Tensor) -> Tensor:
        """What Q aims at, y = r + γ (1 - d) V(s'): ``(M, B)``."""
        target: Tensor = batch.reward + self.hyper.discount * (1 - batch.terminal) * next_value
        return target

    def critic_loss(self, batch: Batch, next_value: Tensor) -> Tensor:
        """Half of E[(Q₁(s, a) - y)²] + E[(Q₂(s, a) - y)²] (eq. 6): ``(M, 1)``."""
        target = self.backup(batch, next_value)
        return batch_mean((self.critic(batch.observation, batch.action) - target.unsqueeze(1)) ** 2)

    def update_values(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of V, then of Q, then Q̄ follows.

        Returns:
            A = min_k Q̄_k(s, a) - V(s) as it was before these steps, ``(M, B)``, and metrics.
        """
        next_value = self.next_value(batch)
        advantage, metrics = self.update_value(batch)
        return advantage, metrics | self.update_critic(batch, next_value)

    @torch.no_grad()
    def next_value(self, batch: Batch) -> Tensor:
        """V(s'), constant: ``(M, B)``."""
        value: Tensor = self.value(batch.next_observation)
        return value

    def update_value(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of V.

        Returns:
            A = min_k Q̄_k(s, a) - V(s) as it was before, ``(M, B)``, and metrics.
        """
        with torch.no_grad():
            q = self.target_critic(batch.observation, batch.action).amin(1)
        advantage = q - self.value(batch.observation)
        loss = self.value_loss(advantage)
        self.value_optimiser.descend(loss)
        return advantage.detach(), {"value_loss": loss.detach()}

    def update_critic(self, batch: Batch, next_value: Tensor) -> dict[str, Tensor]:
        """One step of Q towards r + γ (1 - d) V(s'); Q̄ follows before or after it; V(s') is ``(M, B)``."""
        if self.targets_first:
            self.update_target()
        loss = self.critic_loss(batch, next_value)
        self.critic_optimiser.descend(loss)
        if not self.targets_first:
            self.update_target()
        return {"critic_loss": loss.detach()}

    def update_target(self) -> None:
        """Q̄ follows Q at rate τ."""
        soft_update(self.hyper.soft_update, (self.target_critic, self.critic))


@register("iql")
class IQL(ExpectileValues):
    """IQL (Kostrikov et al., 2021, arXiv:2110.06169).

    Differences from the authors' code:
        Everything here is as in CORL. The advantage and the target of Q come from V before its step; the
        authors take both after it. Q's loss is the mean over both critics, not the sum. Weights begin as
        PyTorch's layers do, not orthogonal; ln σ is clamped at -20, not -5. Observations are normalised, and
        rewards on two datasets only, not on all of Gym-MuJoCo. The deterministic policy is CORL's addition.
        CORL evaluates 10 episodes, on Maze2d and AntMaze 100; here the table's protocol decides.

    The program of OGBench's authors, https://github.com/seohongpark/fql, is this with ``networks: flax``,
    ``policy: unit_gaussian``, ``advantage_critic: online``, ``target_order: before``, ``critic_loss: sum``
    and ``actor_decay_steps: 0``, as on OGBench's datasets. Its one Adam on the sum of all losses, all of the
    networks before the step, is the same as the three here, whose losses do not see each other's steps: with
    the same weights and batches, in float64 and over 50 updates, no parameter differs by more than 2e-15.

    An online run that begins with an offline one's state goes on along the cosine of the actor's rate:
    from 0 it rises, as in CORL.
    """

    Hyperparameters: ClassVar[type[IQLSharedHyperparameters]] = IQLHyperparameters

    def build(self) -> None:
        """Policy, Q and V."""
        h = self.hyper
        self.actor = POLICIES[h.policy](self.initial, self.sizes, self.actor_layers())
        self.build_values()
        schedule = cosine_decay(h.actor_decay_steps) if h.actor_decay_steps else None
        self.actor_optimiser = Adam(self.actor.parameters(), h.actor_learning_rate, schedule)

    def actor_layers(self) -> Layers:
        """What the policy is made of."""
        sizes = self.hyper.actor_hidden_sizes
        return flax_layers(sizes, output_scale=0.01) if self.hyper.networks == "flax" else Layers(sizes)

    def value_layers(self, hidden_sizes: str) -> Layers:
        """What Q and V are made of."""
        if self.hyper.networks == "flax":
            return flax_layers(hidden_sizes, norm=True)
        return super().value_layers(hidden_sizes)

    @property
    def targets_first(self) -> bool:
        """Whether Q̄ follows Q as it was before its step."""
        first: bool = self.hyper.target_order == "before"
        return first

    def critic_loss(self, batch: Batch, next_value: Tensor) -> Tensor:
        """E[(Q₁(s, a) - y)²] + E[(Q₂(s, a) - y)²], or half of it (eq. 6): ``(M, 1)``."""
        mean = super().critic_loss(batch, next_value)
        return 2 * mean if self.hyper.critic_loss == "sum" else mean

    def update_values(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of V and of Q, and Q̄ follows.

        Returns:
            A for the policy's weights, min_k Q̄_k(s, a) - V(s) or min_k Q_k(s, a) - V(s) before these steps,
            ``(M, B)``, and metrics.
        """
        if self.hyper.advantage_critic == "target":
            return super().update_values(batch)
        with torch.no_grad():
            q = self.critic(batch.observation, batch.action).amin(1)
            advantage = q - self.value(batch.observation)
        return advantage, super().update_values(batch)[1]

    @property
    def beta(self) -> Tensor:
        """β: ``(M, 1)``."""
        beta: Tensor = self.hyper.beta
        return beta

    def weight(self, advantage: Tensor) -> Tensor:
        """The weight w = min(exp(β A), cap): ``(M, B)``."""
        return torch.minimum(torch.exp(self.beta * advantage), self.hyper.weight_cap)

    def imitation_loss(self, mean: Tensor, batch: Batch) -> Tensor:
        """l_BC of each sample: ``(M, B)``, where `mean` is μ(s).

        -ln π(a|s) of a Gaussian policy, Σ_j (μ(s) - a)_j² of the deterministic one.
        """
        if isinstance(self.actor, GAUSSIAN):
            return -self.actor.log_likelihood(mean, batch.action)
        return ((mean - batch.action) ** 2).sum(-1)

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """V, Q, and the policy by advantage-weighted regression E[w l_BC] (eq. 7)."""
        advantage, metrics = self.update_values(batch)
        imitation = self.imitation_loss(self.actor(batch.observation), batch)
        loss = batch_mean(self.weight(advantage) * imitation)
        self.actor_optimiser.descend(loss)
        return metrics | {"actor_loss": loss.detach()}

    def act(self, observation: Tensor) -> Tensor:
        """μ(s), clipped where no tanh keeps it in [-1, 1]."""
        action: Tensor = self.actor(observation)
        return action.clamp(-1, 1)

    def explore(self, observation: Tensor, noise: Tensor) -> Tensor:
        """A sample of the policy, clipped to [-1, 1]; the deterministic one's noise is CORL's N(0, 0.03²)."""
        if isinstance(self.actor, GAUSSIAN):
            return self.actor.sample(observation, noise).clamp(-1, 1)
        return (self.act(observation) + EXPLORATION * noise).clamp(-1, 1)
