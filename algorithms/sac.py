"""SAC: an entropy-regularised actor-critic, the algorithm whose policies made D4RL's MuJoCo data."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.base import (
    Algorithm,
    Batch,
    Hyperparameters,
    batch_mean,
    layer_sizes,
    normal,
    per_member,
    register,
    static,
)
from algorithms.networks import Critics, Layers, TanhGaussianActor, within, xavier
from algorithms.optimisers import Adam, soft_update, target_of


@dataclass(frozen=True, kw_only=True)
class SACHyperparameters(Hyperparameters):
    """Hyperparameters of SAC."""

    discount: float = per_member(minimum=0, maximum=1)  # γ
    soft_update: float = static(minimum=0, maximum=1)  # τ
    entropy_per_dimension: float = per_member()  # target entropy / action dimensions
    actor_learning_rate: float = static(minimum=0)  # also the temperature's
    critic_learning_rate: float = static(minimum=0)
    actor_hidden_sizes: str = layer_sizes()
    critic_hidden_sizes: str = layer_sizes()
    activation: str = static(choices=("relu", "gelu_tanh"), neutral="relu")
    first_weights: str = static(choices=("rlkit", "fan_average"), neutral="rlkit")
    log_std_minimum: float = static(maximum=2, neutral=-20.0)
    temperature_loss: str = static(choices=("logarithm", "temperature"), neutral="logarithm")


@register("sac")
class SAC(Algorithm):
    """Soft actor-critic with a learnt temperature (Haarnoja et al., 2018, arXiv:1812.05905).

    It serves to make data online; trained on a fixed dataset it is an off-policy algorithm without any
    remedy for actions outside the data.

    Differences from the authors' code, rlkit's ``SACTrainer``, which is behind D4RL's data:
        All losses are computed from the networks as they were before the step, apart from the temperature,
        which steps first. So it was in rlkit until August 2020; later versions take it, too, as it was. Which
        of them made D4RL's data is not known. The target critics begin as copies of the critics; in rlkit's
        script they begin with weights of their own. rlkit draws the first layer's weights from U(±1/√256),
        whatever the size of its input, and the biases of ln σ from U(±1e-3); here it is U(±1/√inputs), and 0.

    With the settings for OGBench's data it is OGBench's SAC (``impls/agents/sac.py``), apart from these:
        The temperature steps before the other losses are taken, not with them. The target critics follow the
        critics after their step, not as they were before it. The policy's mean and ln σ are outputs of one
        layer, not of one each, so that its first weights are a little smaller. The critics' loss is the sum
        over both, not the mean, which is the same to Adam.
    """

    Hyperparameters = SACHyperparameters

    def build(self) -> None:
        """Stochastic policy, twin critics with targets, ln of the temperature."""
        flax = self.hyper.first_weights == "fan_average"
        layers = functools.partial(
            Layers,
            activation=self.hyper.activation,
            hidden_weights=xavier() if flax else None,
            hidden_bias=0.0,
            output_bias=0.0,
        )
        actor = layers(self.hyper.actor_hidden_sizes, output_weights=xavier(0.1) if flax else within(1e-3))
        critic = layers(self.hyper.critic_hidden_sizes, output_weights=xavier() if flax else within(3e-3))
        self.actor = TanhGaussianActor(
            self.initial, self.sizes, actor, log_std_minimum=self.hyper.log_std_minimum
        )
        self.critic = Critics(self.initial, self.sizes, critic)
        self.target_critic = target_of(self.critic)
        self.log_temperature = self.initial.constant((1,), 0.0)
        self.actor_optimiser = Adam(self.actor.parameters(), self.hyper.actor_learning_rate)
        self.critic_optimiser = Adam(self.critic.parameters(), self.hyper.critic_learning_rate)
        self.temperature_optimiser = Adam([self.log_temperature], self.hyper.actor_learning_rate)
        shape = (self.hyper.batch_size, self.sizes.action)
        self.noise = {"action": normal(*shape), "next_action": normal(*shape)}

    @property
    def temperature(self) -> Tensor:
        """T, a constant to every loss: ``(M, 1)``."""
        return self.log_temperature.detach().exp()

    def temperature_loss(self, log_density: Tensor) -> Tensor:
        """-x · E[ln π(ã|s) + H], H the target entropy, x = T (eq. 18) or rlkit's ln T: ``(M, 1)``."""
        target = self.hyper.entropy_per_dimension * self.sizes.action
        by_logarithm = self.hyper.temperature_loss == "logarithm"
        learnt = self.log_temperature if by_logarithm else self.log_temperature.exp()
        loss: Tensor = -learnt * (batch_mean(log_density.detach()) + target)
        return loss

    def actor_loss(self, batch: Batch, action: Tensor, log_density: Tensor) -> Tensor:
        """E[T ln π(ã|s) - min_k Q_k(s, ã)], ã ~ π(s) (eq. 7): ``(M, 1)``."""
        q = self.critic(batch.observation, action).amin(1)
        return batch_mean(self.temperature * log_density - q)

    @torch.no_grad()
    def target_value(self, batch: Batch, noise: Tensor) -> Tensor:
        """What the critics aim at: ``(M, B)``.

        y = r + γ (1 - d) (min_k Q̄_k(s', a') - T ln π(a'|s')),  a' ~ π(s')  (eq. 3, 5)
        """
        next_action, log_density = self.actor(batch.next_observation).sample(noise)
        q = self.target_critic(batch.next_observation, next_action).amin(1)
        soft_value = q - self.temperature * log_density
        target: Tensor = batch.reward + self.hyper.discount * (1 - batch.terminal) * soft_value
        return target

    def critic_loss(self, batch: Batch, target: Tensor) -> Tensor:
        """E[(Q₁(s, a) - y)²] + E[(Q₂(s, a) - y)²]: ``(M, 1)``."""
        error = self.critic(batch.observation, batch.action) - target.unsqueeze(1)
        return 2 * batch_mean(error**2)  # the mean over two critics is half of the sum

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Temperature; then policy and critics, each from the other as it was; then the targets."""
        action, log_density = self.actor(batch.observation).sample(noise["action"])
        self.temperature_optimiser.descend(self.temperature_loss(log_density))
        target = self.target_value(batch, noise["next_action"])
        actor_loss = self.actor_loss(batch, action, log_density)
        self.actor_optimiser.descend(actor_loss)
        critic_loss = self.critic_loss(batch, target)
        self.critic_optimiser.descend(critic_loss)
        soft_update(self.hyper.soft_update, (self.target_critic, self.critic))
        return {
            "actor_loss": actor_loss.detach(),
            "critic_loss": critic_loss.detach(),
            "target_value": batch_mean(target),
            "entropy": -batch_mean(log_density.detach()),
            "temperature": self.temperature,
        }

    def act(self, observation: Tensor) -> Tensor:
        """The policy without its noise, tanh μ(s)."""
        return torch.tanh(self.actor(observation).mean)

    def explore(self, observation: Tensor, noise: Tensor) -> Tensor:
        """ã ~ π(s): ``(M, B, S)`` and standard normal ``(M, B, A)`` to ``(M, B, A)``."""
        action: Tensor = self.actor(observation).sample(noise)[0]
        return action
