"""ANQ."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms import Batch
from reference import base


class Program(base.Program):
    """V, critics with targets, a refiner with its target, and a policy that imitates what it refines."""

    def start(self, algorithm: Any, member: int) -> None:
        """Networks and optimisers."""
        self.actor = base.plain_mlp(algorithm.actor.network, member, None, nn.Tanh())
        self.refiner = base.plain_mlp(algorithm.refiner.network, member, None, nn.Tanh())
        self.value = base.plain_mlp(algorithm.value.network, member)
        self.heads = range(self.h["ensemble_size"])
        self.critics = [base.plain_mlp(algorithm.critic.network, member, head) for head in self.heads]
        self.target_critics = copy.deepcopy(self.critics)
        self.target_refiner = copy.deepcopy(self.refiner) if self.h["refiner_target"] else self.refiner
        critics = [p for critic in self.critics for p in critic.parameters()]
        self.value_optimiser = base.adam(self.value.parameters(), self.h["value_learning_rate"])
        self.critic_optimiser = base.adam(critics, self.h["critic_learning_rate"])
        self.refiner_optimiser = base.adam(self.refiner.parameters())
        self.optimiser = base.adam(self.actor.parameters())

    def q(self, critics: Sequence[nn.Module], s: Tensor, a: Tensor) -> Tensor:
        """All critics' values, ``(B, N)``."""
        x = torch.cat([s, a], 1)
        return torch.cat([critic(x) for critic in critics], 1)

    def one(self, q: Tensor, how: str) -> Tensor:
        """The ensemble's values as one, ``(B,)``."""
        return q.min(1).values if how == "min" else q.mean(1)

    def v(self, s: Tensor) -> Tensor:
        """V, ``(B,)``."""
        value: Tensor = self.value(s).squeeze(1)
        return value

    def refine(self, refiner: nn.Module, s: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Refined action and displacement."""
        delta = self.h["displacement_bound"] * refiner(torch.cat([s, a], 1))
        return (a + delta).clamp(-1, 1), delta

    def value_loss(self, batch: Batch) -> Tensor:
        """Expectile regression."""
        h, s = self.h, batch.observation
        with torch.no_grad():
            better, _ = self.refine(self.target_refiner, s, batch.action)
            q = self.one(self.q(self.target_critics, s, better), h["value_aggregate"])
        error = q - self.v(s)
        asymmetry = (h["expectile"] - (error.detach() < 0).to(s.dtype)).abs()
        loss: Tensor = (asymmetry * error**2).mean()
        return loss

    def critic_loss(self, batch: Batch) -> Tensor:
        """Squared errors, summed over critics."""
        with torch.no_grad():
            next_v = self.v(batch.next_observation)
            y = batch.reward + (1 - batch.terminal) * self.h["discount"] * next_v
        q = self.q(self.critics, batch.observation, batch.action)
        losses = [F.mse_loss(q[:, head], y) for head in self.heads]
        return torch.stack(losses).sum()

    def radius(self, s: Tensor, a: Tensor) -> Tensor:
        """f, ``(B,)``."""
        kind, alpha = self.h["radius"], self.h["radius_temperature"]
        q = self.q(self.target_critics, s, a)
        if kind == "uncertainty":
            deviation = ((q - q.mean(1, keepdim=True)) ** 2).mean(1).sqrt()
            return torch.exp(-alpha * deviation)
        advantage = self.one(q, self.h["radius_aggregate"]) - self.v(s)
        if kind == "exponential":
            return torch.exp(-alpha * advantage)
        return 2 * torch.sigmoid(-alpha * advantage) if kind == "sigmoid" else torch.ones_like(advantage)

    def refiner_loss(self, batch: Batch) -> Tensor:
        """Penalised climb of Q."""
        h, s, a = self.h, batch.observation, batch.action
        with torch.no_grad():
            weight = (1 / self.radius(s, a)).clamp(h["radius_weight_floor"], h["radius_weight_cap"])
        better, delta = self.refine(self.refiner, s, a)
        q = self.one(self.q(self.critics, s, better), h["refiner_aggregate"])
        size = delta.norm(dim=1) if h["penalty"] == "norm" else (delta**2).mean(1)
        scale = 1 / q.abs().mean().clamp(min=1e-6).detach() if h["normalize_q"] else 1.0
        loss: Tensor = -scale * q.mean() + h["constraint_weight"] * (weight * size).mean()
        return loss

    def actor_loss(self, batch: Batch) -> Tensor:
        """Weighted regression to refined actions; the exponent is cut, so that it cannot overflow."""
        h, s = self.h, batch.observation
        with torch.no_grad():
            better, _ = self.refine(self.refiner, s, batch.action)
            advantage = self.one(self.q(self.target_critics, s, better), h["policy_aggregate"]) - self.v(s)
            weight = torch.exp((h["beta"] * advantage).clamp(max=math.log(h["weight_cap"])))
        loss: Tensor = (weight[:, None] * (self.actor(s) - better) ** 2).mean()
        return loss

    def rate(self, update: int) -> float:
        """A cosine, at the policies' update 1, 2, …; CUDA's Adam takes it in float32."""
        done = (update - 1) / self.h["actor_decay_steps"]
        rate = self.h["actor_learning_rate"] * 0.5 * (1 + math.cos(math.pi * done))
        return torch.tensor(rate, dtype=torch.float32).item()

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """V, critics, and every second step refiner, policy and targets."""
        steps: list[tuple[Callable[[Batch], Tensor], torch.optim.Optimizer]] = [
            (self.value_loss, self.value_optimiser),
            (self.critic_loss, self.critic_optimiser),
        ]
        policies = step % self.h["policy_frequency"] == 0
        if policies:
            for adam in (self.refiner_optimiser, self.optimiser):
                adam.param_groups[0]["lr"] = self.rate(step // self.h["policy_frequency"])
            steps += [(self.refiner_loss, self.refiner_optimiser), (self.actor_loss, self.optimiser)]
        if self.h["update_order"] == "sequential":
            for loss_of, optimiser in steps:
                base.descend(loss_of(batch), optimiser)
        else:
            self.descend_jointly(batch, steps)
        if policies:
            base.follow(self.h["soft_update"], self.target_critics, self.critics)
            if self.h["refiner_target"]:
                base.follow(self.h["soft_update"], [self.target_refiner], [self.refiner])

    def descend_jointly(
        self, batch: Batch, steps: Sequence[tuple[Callable[[Batch], Tensor], torch.optim.Optimizer]]
    ) -> None:
        """All gradients, then all steps."""
        for loss, optimiser in steps:
            parameters = optimiser.param_groups[0]["params"]
            for parameter, gradient in zip(
                parameters, torch.autograd.grad(loss(batch), parameters), strict=True
            ):
                parameter.grad = gradient
        for _, optimiser in steps:
            optimiser.step()

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks."""
        names = ["actor", "refiner", *(["target_refiner"] if self.h["refiner_target"] else [])]
        for name in names:
            network = getattr(algorithm, name).network
            yield name, getattr(self, name), base.plain_mlp(network, member, None, nn.Tanh())
        yield "value", self.value, base.plain_mlp(algorithm.value.network, member)
        for head in self.heads:
            online, target = algorithm.critic.network, algorithm.target_critic.network
            yield f"critic {head}", self.critics[head], base.plain_mlp(online, member, head)
            yield f"target critic {head}", self.target_critics[head], base.plain_mlp(target, member, head)
