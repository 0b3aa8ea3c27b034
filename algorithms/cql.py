"""CQL: an actor-critic whose critics are pushed down on actions that the data do not have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from algorithms.base import (
    Algorithm,
    Batch,
    Hyperparameters,
    Sizes,
    batch_mean,
    layer_sizes,
    normal,
    per_member,
    register,
    static,
    uniform,
)
from algorithms.networks import (
    Critic,
    Layers,
    TanhGaussian,
    TanhGaussianActor,
    fan_in,
    lecun_normal,
    orthogonal,
    xavier,
)
from algorithms.optimisers import Adam, soft_update, target_of

PARTS = 8
"""Into how many parts of the minibatch the evaluation of the sampled actions is cut, to save memory."""

ORTHOGONAL: Mapping[str, Any] = {
    "hidden_weights": orthogonal(2**0.5),
    "hidden_bias": 0.0,
    "output_weights": orthogonal(2**0.5),
    "output_bias": 0.0,
}
JAX: Mapping[str, Any] = {
    "hidden_weights": lecun_normal,
    "hidden_bias": 0.0,
    "output_weights": fan_in(0.01),
    "output_bias": 0.0,
}
ACTORS_BEGIN: Mapping[str, Mapping[str, Any]] = {
    "small_outputs": {"output_weights": xavier(0.01), "output_bias": 0.0},
    "orthogonal": ORTHOGONAL,
    "jax": JAX,
}
"""How a policy's first weights are drawn, by `initialisation`."""
CRITICS_BEGIN: Mapping[str, Mapping[str, Any]] = {
    "small_outputs": {**ORTHOGONAL, "output_weights": orthogonal(0.01)},
    "orthogonal": ORTHOGONAL,
    "jax": JAX,
}
"""How a critic's first weights are drawn, by `initialisation`."""


@dataclass(frozen=True, kw_only=True)
class ConservativeHyperparameters(Hyperparameters):
    """What CQL and its descendants share."""

    discount: float = per_member(minimum=0, maximum=1)  # γ
    soft_update: float = static(minimum=0, maximum=1)  # τ
    actor_learning_rate: float = static(minimum=0)  # also the temperature's
    critic_learning_rate: float = static(minimum=0)  # also the Lagrange multiplier's
    actor_hidden_sizes: str = layer_sizes()
    critic_hidden_sizes: str = layer_sizes()
    second_critic_hidden_sizes: str = layer_sizes()
    log_std_multiplier: float = static()  # m at the start
    log_std_offset: float = static()  # c at the start
    sampled_actions: int = static(minimum=1)  # N, of each of the three kinds
    max_target_backup: bool = static()
    clamp_minimum: float = per_member()
    clamp_maximum: float = per_member()
    layer_norm: bool = static(neutral=False)  # in the critics, before each activation
    norm_epsilon: float = static(above=0, neutral=1e-5)  # used if `layer_norm`
    initialisation: str = static(choices=tuple(ACTORS_BEGIN), neutral="small_outputs")


@dataclass(frozen=True, kw_only=True)
class LagrangianHyperparameters(ConservativeHyperparameters):
    """What CQL and CQL(SA) share."""

    lagrange: bool = static()
    target_gap: float = per_member()  # what R is to come down to; used if `lagrange`


@dataclass(frozen=True, kw_only=True)
class CQLHyperparameters(LagrangianHyperparameters):
    """Hyperparameters of CQL."""

    cql_alpha: float = per_member(minimum=0)  # α


class SampledActions(NamedTuple):
    """Actions at which the critics are compared with the data's, and the log-densities they came from."""

    action: Tensor  # (M, B, 3N, A)
    log_density: Tensor  # (M, B, 3N)


class CriticStep(NamedTuple):
    """What a step of the critics used and found."""

    samples: SampledActions
    value: Tensor  # min_k Q_k(s, a) before the step, (M, B)
    penalty: Tensor  # Σ_k R_k before the step, (M, 1)
    penalty_gradients: list[Tensor]  # ∇ of that, one per parameter of the critics
    gradients: list[Tensor]  # those that the step took
    metrics: dict[str, Tensor]


class Step(NamedTuple):
    """What a training step used and found, for what is learnt besides."""

    action: Tensor  # ã ~ π(s), (M, B, A)
    critics: CriticStep
    metrics: dict[str, Tensor]


class ConservativeCritics(Algorithm):
    """What CQL and its descendants share: soft actor-critic with the penalty R on its critics.

    A descendant says how much the penalty weighs.
    """

    def build(self) -> None:
        """Tanh-Gaussian actor, temperature, two critics and their targets."""
        hyper, sizes = self.hyper, self.sizes
        self.actor = TanhGaussianActor(
            self.initial,
            self.actor_sizes(),
            self.actor_layers(),
            log_std_multiplier=hyper.log_std_multiplier,
            log_std_offset=hyper.log_std_offset,
        )
        # two networks and not two heads of one: their depths may differ
        self.critics = nn.ModuleList(
            Critic(self.initial, sizes, self.critic_layers(hidden)) for hidden in self.critic_sizes()
        )
        self.target_critics = target_of(self.critics)
        self.log_temperature = self.initial.constant((1,), 0.0)
        self.actor_optimiser = Adam(self.actor.parameters(), hyper.actor_learning_rate)
        self.temperature_optimiser = Adam([self.log_temperature], hyper.actor_learning_rate)
        self.critic_optimiser = Adam(self.critics.parameters(), hyper.critic_learning_rate)
        one = (hyper.batch_size, sizes.action)
        many = (hyper.batch_size, hyper.sampled_actions, sizes.action)
        self.noise = {
            "action": normal(*one),
            "target_action": normal(*(many if hyper.max_target_backup else one)),
            "random": uniform(*many),
            "next": normal(*many),
            "current": normal(*many),
        }

    def actor_sizes(self) -> Sizes:
        """What the policy takes and gives."""
        return self.sizes

    def actor_layers(self) -> Layers:
        """What the policy is made of."""
        return Layers(self.hyper.actor_hidden_sizes, **ACTORS_BEGIN[self.hyper.initialisation])

    def critic_sizes(self) -> tuple[str, str]:
        """The hidden layers of either critic."""
        return self.hyper.critic_hidden_sizes, self.hyper.second_critic_hidden_sizes

    def critic_layers(self, hidden_sizes: str) -> Layers:
        """What a critic with these hidden layers is made of."""
        return Layers(
            hidden_sizes,
            norm="before" if self.hyper.layer_norm else None,
            norm_epsilon=self.hyper.norm_epsilon,
            **CRITICS_BEGIN[self.hyper.initialisation],
        )

    # -- losses --

    def temperature_loss(self, log_prob: Tensor) -> Tensor:
        """-E[ln T · (ln π(ã|s) - d_a)]: the target entropy is -d_a. ``(M, B) -> (M, 1)``."""
        return -self.log_temperature * (batch_mean(log_prob.detach()) - self.sizes.action)

    def actor_loss(self, batch: Batch, action: Tensor, log_prob: Tensor) -> Tensor:
        """E[T ln π(ã|s) - min_k Q_k(s, ã)], T constant: ``(M, 1)``."""
        value = minimum(self.critics, batch.observation, action)
        return batch_mean(self.log_temperature.detach().exp() * log_prob - value)

    @torch.no_grad()
    def target_value(self, batch: Batch, next_policy: TanhGaussian, noise: Tensor) -> Tensor:
        """What the critics aim at, without an entropy: ``(M, B)``.

        y = r + γ (1 - d) min_k Q̄_k(s', a'),  a' ~ π(s'); with `max_target_backup` the largest of N minima.
        """
        next_value = minimum(self.target_critics, batch.next_observation, next_policy.sample(noise)[0])
        if self.hyper.max_target_backup:
            next_value = next_value.amax(-1)
        target: Tensor = batch.reward + self.hyper.discount * (1 - batch.terminal) * next_value
        return target

    def td_loss(self, batch: Batch, target: Tensor) -> tuple[Tensor, Tensor]:
        """Σ_k E[(Q_k(s, a) - y)²], ``(M, 1)``, and min_k Q_k(s, a), a constant, ``(M, B)``."""
        first, second = (critic(batch.observation, batch.action) for critic in self.critics)
        loss = batch_mean((first - target) ** 2) + batch_mean((second - target) ** 2)
        return loss, torch.minimum(first, second).detach()

    @torch.no_grad()
    def sampled(
        self, policy: TanhGaussian, next_policy: TanhGaussian, noise: Mapping[str, Tensor]
    ) -> SampledActions:
        """N actions each, drawn uniformly, from π(s') and from π(s); all are going to be evaluated at s."""
        random = 2 * noise["random"] - 1
        log_uniform = torch.full_like(random[..., 0], self.sizes.action * math.log(0.5))
        next_action, next_log_prob = next_policy.sample(noise["next"])
        action, log_prob = policy.sample(noise["current"])
        return SampledActions(
            torch.cat([random, next_action, action], 2), torch.cat([log_uniform, next_log_prob, log_prob], 2)
        )

    def conservatism(
        self, critic: nn.Module, observation: Tensor, action: Tensor, samples: SampledActions
    ) -> Tensor:
        """How far a critic's soft maximum over all actions lies above its value of the data's: ``(M, B)``.

        clamp(ln Σ_j exp(Q(s, a_j) - ln μ(a_j)) - Q(s, a)),  μ the density that a_j was drawn from

        This is the paper's CQL(H) by importance sampling. The sum is not divided by the number of actions.
        """
        value = critic(observation, torch.cat([samples.action, action.unsqueeze(2)], 2))
        soft_maximum = torch.logsumexp(value[..., :-1] - samples.log_density, -1)
        difference = soft_maximum - value[..., -1]
        clamped: Tensor = difference.clamp(self.hyper.clamp_minimum, self.hyper.clamp_maximum)
        return clamped

    def penalty(
        self, batch: Batch, samples: SampledActions, weights: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Σ_k R_k, R_k the mean of `conservatism`, and its gradient.

        Evaluating and differentiating 3N actions per observation takes nearly all of the memory and time of
        CQL. States do not interact, so one critic and one part of the minibatch are done at a time; what they
        needed is freed before the next.

        Args:
            batch: the minibatch.
            samples: for each of its observations.
            weights: of each observation in the mean, constants, ``(M, B)``; None: 1.

        Returns:
            ``(M, 1)``, and one tensor per parameter of the critics.
        """
        size = math.ceil(self.hyper.batch_size / PARTS)
        weights = torch.ones_like(batch.reward) if weights is None else weights
        columns = (weights, batch.observation, batch.action, *samples)
        split = [torch.split(x, size, 1) for x in columns]
        parts = [(w, s, a, SampledActions(*drawn)) for w, s, a, *drawn in zip(*split, strict=True)]
        total, gradients = torch.zeros_like(self.hyper.discount), list[Tensor]()
        for critic in self.critics:
            parameters = list(critic.parameters())
            gradient = [torch.zeros_like(p) for p in parameters]
            for weight, *part in parts:
                weighed = weight * self.conservatism(critic, *part)
                share = weighed.sum(1, keepdim=True) / self.hyper.batch_size
                torch._foreach_add_(gradient, torch.autograd.grad(share.sum(), parameters))
                total += share.detach()
            gradients += gradient
        return total, gradients

    # -- a step --

    def step(
        self,
        batch: Batch,
        noise: Mapping[str, Tensor],
        weight: Tensor,
        sample_weights: Tensor | None = None,
    ) -> Step:
        """Temperature, actor, critics on Σ_k TD_k + `weight` · Σ_k R_k, targets.

        All losses are those of the networks as they were before any of them moved.

        Args:
            batch: the minibatch.
            noise: as of `update`.
            weight: ``(M, 1)``, a constant.
            sample_weights: of each observation within R_k, see `penalty`.
        """
        policy = self.actor(batch.observation)
        with torch.no_grad():
            next_policy = self.actor(batch.next_observation)
        samples = self.sampled(policy, next_policy, noise)
        target = self.target_value(batch, next_policy, noise["target_action"])
        action, log_prob = policy.sample(noise["action"])
        actor_loss = self.actor_loss(batch, action, log_prob)

        self.temperature_optimiser.descend(self.temperature_loss(log_prob))
        self.actor_optimiser.descend(actor_loss)

        critics = self.update_critics(batch, target, samples, weight, sample_weights)
        metrics = critics.metrics | {
            "actor_loss": actor_loss.detach(),
            "entropy": -batch_mean(log_prob.detach()),
            "temperature": self.log_temperature.detach().exp(),
        }
        return Step(action.detach(), critics, metrics)

    def update_critics(
        self,
        batch: Batch,
        target: Tensor,
        samples: SampledActions,
        weight: Tensor,
        sample_weights: Tensor | None = None,
    ) -> CriticStep:
        """Critics on Σ_k TD_k + `weight` · Σ_k R_k, then their targets.

        Args:
            batch: the minibatch.
            target: y, ``(M, B)``.
            samples: the actions that are penalised.
            weight: as of `step`.
            sample_weights: as of `step`.
        """
        td_loss, value = self.td_loss(batch, target)
        td_gradients = torch.autograd.grad(td_loss.sum(), self.critic_optimiser.parameters)
        penalty, penalty_gradients = self.penalty(batch, samples, sample_weights)
        gradients = [
            g + weight.unsqueeze(-1) * h for g, h in zip(td_gradients, penalty_gradients, strict=True)
        ]
        self.critic_optimiser.apply(gradients)
        soft_update(self.hyper.soft_update, (self.target_critics, self.critics))
        metrics = {
            "critic_loss": td_loss.detach(),
            "penalty": penalty,
            "target_value": batch_mean(target),
        }
        return CriticStep(samples, value, penalty, penalty_gradients, gradients, metrics)

    def act(self, observation: Tensor) -> Tensor:
        """The policy's mode before tanh, through it: tanh μ(s)."""
        return torch.tanh(self.actor(observation).mean)

    def explore(self, observation: Tensor, noise: Tensor) -> Tensor:
        """ã ~ π(s): ``(M, B, S)`` and standard normal ``(M, B, A)`` to ``(M, B, A)``."""
        action: Tensor = self.actor(observation).sample(noise)[0]
        return action


class LagrangianCritics(ConservativeCritics):
    """What CQL and CQL(SA) share: with `lagrange`, a learnt multiplier of the penalty."""

    def build(self) -> None:
        """With `lagrange` also l."""
        super().build()
        if self.hyper.lagrange:
            self.log_multiplier = self.initial.constant((1,), 1.0)
            self.multiplier_optimiser = Adam([self.log_multiplier], self.hyper.critic_learning_rate)

    @property
    def multiplier(self) -> Tensor:
        """α' = clamp(exp(l), 0, 10⁶), 1 without `lagrange`: ``(M, 1)``."""
        if not self.hyper.lagrange:
            return torch.ones_like(self.hyper.target_gap)
        multiplier: Tensor = self.log_multiplier.exp().clamp(0, 1e6)
        return multiplier

    def multiplier_loss(self, excess: Tensor) -> Tensor:
        """-½ α' · `excess`, by how much both critics' penalties are above the gap: ``(M, 1)``."""
        loss: Tensor = -self.multiplier * excess / 2
        return loss


@register("cql")
class CQL(LagrangianCritics):
    """CQL(H) (Kumar et al., 2020, arXiv:2006.04779), as CORL has it, which the ASPC paper's code took over.

    The critics minimise Σ_k TD_k + α Σ_k R_k. With `lagrange` the penalty weighs α' α, and the multiplier
    α' = exp(l), whose l begins at 1, rises while R_k is above `target_gap`: it descends
    -½ Σ_k α' α (R_k - gap). The temperature T begins at 1.

    CORL's configurations evaluate 100 episodes on AntMaze (every 50,000 steps) and on Maze2d, 10 elsewhere;
    here the table's protocol decides.

    Differences from the paper, all of them in CORL's code and the ASPC repository's:
        - The TD loss is not halved.
        - The log standard deviation of the policy passes through two learnt scalars; the policy's last layer
          begins with weights by Glorot and Bengio times 0.01, and the critics begin orthogonal.
        - The difference that is penalised may be clamped (AntMaze: at -200).
        - On AntMaze the first critic has five hidden layers and the second three, because the code hands the
          depth to the first only: `second_critic_hidden_sizes`.
        - No entropy in the target; on AntMaze it is the best of ten actions.

    CORL's fine-tuning has ``initialisation: orthogonal``, every layer's first weights orthogonal times √2 and
    biases of 0, and critics of equal depth. ``layer_norm`` is nobody's CQL: it is there to tell how much of
    CQL(SA)'s gain comes from the layer normalisation of its critics.
    """

    Hyperparameters = CQLHyperparameters

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Temperature, actor, critics, targets; and the multiplier, on the critics as they were."""
        step = self.step(batch, noise, self.multiplier.detach() * self.hyper.cql_alpha)
        if self.hyper.lagrange:
            excess = self.hyper.cql_alpha * (step.critics.penalty - 2 * self.hyper.target_gap)
            self.multiplier_optimiser.descend(self.multiplier_loss(excess))
        return step.metrics


def minimum(critics: nn.ModuleList, observation: Tensor, action: Tensor) -> Tensor:
    """min_k Q_k(s, a): ``(M, B)``, or ``(M, B, N)`` for N actions each."""
    first, second = (critic(observation, action) for critic in critics)
    return torch.minimum(first, second)
