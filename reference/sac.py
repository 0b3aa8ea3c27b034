"""SAC."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, distributions, nn

from algorithms import Batch
from reference import base


class Program(base.Program):
    """A tanh-Gaussian policy from torch's own distributions."""

    def start(self, algorithm: Any, member: int) -> None:
        """Networks, temperature and optimisers."""
        self.actor = self.plain(algorithm.actor.network, member)
        self.critics = [self.plain(algorithm.critic.network, member, head) for head in (0, 1)]
        self.target_critics = copy.deepcopy(self.critics)
        self.log_temperature = nn.Parameter(algorithm.log_temperature.detach()[member, 0].clone())
        self.actor_optimiser = base.adam(self.actor.parameters(), self.h["actor_learning_rate"])
        self.critic_optimisers = [
            base.adam(critic.parameters(), self.h["critic_learning_rate"]) for critic in self.critics
        ]
        self.temperature_optimiser = base.adam([self.log_temperature], self.h["actor_learning_rate"])

    def plain(self, network: Any, member: int, head: int | None = None) -> nn.Sequential:
        """A copy of a network with the activation of the run."""
        by_name: dict[str, Callable[[], nn.Module]] = {
            "relu": nn.ReLU,
            "gelu_tanh": lambda: nn.GELU("tanh"),
        }
        return base.plain_mlp(network, member, head, activation=by_name[self.h["activation"]])

    def sample(self, s: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """An action for each state and its log-density."""
        mean, log_std = self.actor(s).chunk(2, 1)
        std = log_std.clamp(self.h["log_std_minimum"], 2).exp()
        policy = distributions.TransformedDistribution(
            distributions.Normal(mean, std), distributions.TanhTransform(cache_size=1)
        )
        action = policy.transforms[0](mean + std * noise)
        return action, policy.log_prob(action).sum(1)  # type: ignore[no-untyped-call]  # torch has no types here

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """All losses first, then the steps; the temperature before them."""
        s, s2 = batch.observation, batch.next_observation
        action, log_density = self.sample(s, noise["action"])
        entropy_target = self.h["entropy_per_dimension"] * batch.action.shape[1]
        by_logarithm = self.h["temperature_loss"] == "logarithm"
        learnt = self.log_temperature if by_logarithm else self.log_temperature.exp()
        base.descend(-(learnt * (log_density + entropy_target).detach()).mean(), self.temperature_optimiser)
        temperature = self.log_temperature.detach().exp()
        with torch.no_grad():
            action2, log_density2 = self.sample(s2, noise["next_action"])
            q2 = torch.min(*[c(torch.cat([s2, action2], 1)).squeeze(1) for c in self.target_critics])
            y = batch.reward + self.h["discount"] * (1 - batch.terminal) * (q2 - temperature * log_density2)
        q = torch.min(*[c(torch.cat([s, action], 1)).squeeze(1) for c in self.critics])
        base.descend((temperature * log_density - q).mean(), self.actor_optimiser)
        for critic, optimiser in zip(self.critics, self.critic_optimisers, strict=True):
            base.descend(F.mse_loss(critic(torch.cat([s, batch.action], 1)).squeeze(1), y), optimiser)
        base.follow(self.h["soft_update"], self.target_critics, self.critics)

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks and the temperature."""
        yield "actor", self.actor, self.plain(algorithm.actor.network, member)
        for head in (0, 1):
            online, target = algorithm.critic.network, algorithm.target_critic.network
            yield f"critic {head}", self.critics[head], self.plain(online, member, head)
            yield f"target critic {head}", self.target_critics[head], self.plain(target, member, head)
        yield "ln T", self.log_temperature.detach(), algorithm.log_temperature.detach()[member, 0]
