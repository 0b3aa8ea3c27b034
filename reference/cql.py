"""CQL."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn
from torch.distributions import Normal, TanhTransform

from algorithms import Batch
from reference import base


class Samples(NamedTuple):
    """Actions and log-densities of one kind, ``(B, N, A)`` and ``(B, N)``."""

    action: Tensor
    log_density: Tensor


class Policy(nn.Module):
    """A tanh-Gaussian whose log-standard deviation has a learnt scale and offset."""

    def __init__(self, actor: Any, member: int) -> None:
        super().__init__()
        self.network = base.plain_mlp(actor.network, member)
        self.multiplier = nn.Parameter(actor.log_std_multiplier.detach()[member].squeeze().clone())
        self.offset = nn.Parameter(actor.log_std_offset.detach()[member].squeeze().clone())

    def forward(self, s: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions and their log-probabilities."""
        mean, raw = self.network(s).chunk(2, -1)
        std = (self.multiplier * raw + self.offset).clamp(-20, 2).exp()
        x = mean + std * noise
        a = x.tanh()
        log_prob = Normal(mean, std).log_prob(x) - TanhTransform().log_abs_det_jacobian(x, a)  # type: ignore[no-untyped-call]
        return a, log_prob.sum(-1)


class Program(base.Program):
    """Soft actor-critic with a penalty on the critics."""

    def start(self, algorithm: Any, member: int) -> None:
        """Networks and optimisers."""
        self.actor = Policy(algorithm.actor, member)
        self.critics = [base.plain_mlp(critic.network, member) for critic in algorithm.critics]
        self.target_critics = copy.deepcopy(self.critics)
        self.log_temperature = nn.Parameter(torch.zeros_like(self.actor.offset))
        self.actor_optimiser = base.adam(self.actor.parameters(), self.h["actor_learning_rate"])
        self.temperature_optimiser = base.adam([self.log_temperature], self.h["actor_learning_rate"])
        self.start_critics()

    def start_critics(self) -> None:
        """What moves the critics, and the multiplier."""
        rate = self.h["critic_learning_rate"]
        self.critic_optimiser = base.adam([p for c in self.critics for p in c.parameters()], rate)
        self.log_multiplier = nn.Parameter(torch.ones_like(self.log_temperature))
        self.multiplier_optimiser = base.adam([self.log_multiplier], rate)

    def q(self, critic: nn.Module, s: Tensor, a: Tensor) -> Tensor:
        """One critic's values, ``(B,)``, or ``(B, N)`` for N actions each."""
        if a.dim() == 3:
            s = s.unsqueeze(1).expand(-1, a.shape[1], -1)
        value: Tensor = critic(torch.cat([s, a], -1)).squeeze(-1)
        return value

    def policy_samples(self, s: Tensor, noise: Tensor) -> Samples:
        """N actions for each state."""
        with torch.no_grad():
            return Samples(*self.actor(s.unsqueeze(1), noise))

    def differences(self, critic: nn.Module, s: Tensor, a: Tensor, samples: Sequence[Samples]) -> Tensor:
        """What R of one critic is the mean of, ``(B,)``."""
        weighed = [self.q(critic, s, each.action) - each.log_density for each in samples]
        difference = torch.cat(weighed, 1).logsumexp(1) - self.q(critic, s, a)
        return difference.clamp(self.h["clamp_minimum"], self.h["clamp_maximum"])

    def gap(self, critic: nn.Module, s: Tensor, a: Tensor, samples: Sequence[Samples]) -> Tensor:
        """R of one critic."""
        return self.differences(critic, s, a, samples).mean()

    def weighed(self, differences: Tensor) -> Tensor:
        """The penalty that the critics' loss has for these."""
        penalty: Tensor = self.h["cql_alpha"] * differences.mean()
        return penalty

    def policy_loss(self, new_a: Tensor, a: Tensor, log_prob: Tensor, value: Tensor) -> Tensor:
        """Of actions ã ~ π(s), their log-probabilities and values."""
        return (self.log_temperature.exp().detach() * log_prob - value).mean()

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """All losses, then all steps."""
        s, a, s2 = batch.observation, batch.action, batch.next_observation
        # temperature and policy
        new_a, log_prob = self.actor(s, noise["action"])
        temperature_loss = -(self.log_temperature * (log_prob.detach() - a.shape[1])).mean()
        value = torch.min(*[self.q(critic, s, new_a) for critic in self.critics])
        actor_loss = self.policy_loss(new_a, a, log_prob, value)
        # targets
        with torch.no_grad():
            best = self.h["max_target_backup"]
            a2, _ = self.actor(s2.unsqueeze(1) if best else s2, noise["target_action"])
            q2 = torch.min(*[self.q(critic, s2, a2) for critic in self.target_critics])
            y = batch.reward + (1 - batch.terminal) * self.h["discount"] * (q2.max(1).values if best else q2)
        # sampled actions
        random = 2 * noise["random"] - 1
        uniform = Samples(random, torch.full_like(random[..., 0], math.log(0.5 ** a.shape[1])))
        samples = [uniform, self.policy_samples(s2, noise["next"]), self.policy_samples(s, noise["current"])]

        self.update_critics(step, s, a, y, samples, new_a.detach(), (temperature_loss, actor_loss))
        base.follow(self.h["soft_update"], self.target_critics, self.critics)

    def update_policy(self, temperature_loss: Tensor, actor_loss: Tensor) -> None:
        """Temperature and actor."""
        base.descend(temperature_loss, self.temperature_optimiser)
        base.descend(actor_loss, self.actor_optimiser)

    def update_critics(
        self,
        step: int,
        s: Tensor,
        a: Tensor,
        y: Tensor,
        samples: Sequence[Samples],
        new_a: Tensor,
        policy_losses: tuple[Tensor, Tensor],
    ) -> None:
        """The critics' loss; then everything steps."""
        td = sum(F.mse_loss(self.q(critic, s, a), y) for critic in self.critics)
        differences = [self.differences(critic, s, a, samples) for critic in self.critics]
        if self.h["lagrange"]:
            multiplier = self.log_multiplier.exp().clamp(0, 1e6)
            excess = torch.stack([self.weighed(each - self.h["target_gap"]) for each in differences]).sum()
            loss = td + multiplier.detach() * excess
            base.descend(-multiplier * excess.detach() / 2, self.multiplier_optimiser)
        else:
            loss = td + torch.stack([self.weighed(each) for each in differences]).sum()
        self.update_policy(*policy_losses)
        base.descend(loss, self.critic_optimiser)

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks and scalars."""
        actor = algorithm.actor
        yield "actor", self.actor.network, base.plain_mlp(actor.network, member)
        yield "m", self.actor.multiplier.detach(), actor.log_std_multiplier.detach()[member, 0, 0]
        yield "c", self.actor.offset.detach(), actor.log_std_offset.detach()[member, 0, 0]
        yield "ln T", self.log_temperature.detach(), algorithm.log_temperature.detach()[member, 0]
        for index in (0, 1):
            online, target = algorithm.critics[index].network, algorithm.target_critics[index].network
            yield f"critic {index}", self.critics[index], base.plain_mlp(online, member)
            yield f"target critic {index}", self.target_critics[index], base.plain_mlp(target, member)
        if self.h.get("lagrange"):
            yield "l", self.log_multiplier.detach(), algorithm.log_multiplier.detach()[member, 0]
