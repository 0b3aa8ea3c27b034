"""Diffusion-QL."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms import Batch
from reference import base


def mish_mlp(network: Any, member: int, head: int | None = None) -> nn.Sequential:
    """One member's (and head's) copy of an `algorithms.networks.MLP` with Mish."""
    layers: list[nn.Module] = []
    for linear in network.layers:
        layers += [base.plain_linear(linear, member, head), nn.Mish()]
    return nn.Sequential(*layers[:-1])


class NoiseModel(nn.Module):
    """ε(x, t, s)."""

    def __init__(self, actor: Any, member: int) -> None:
        super().__init__()
        self.frequencies = actor.seen.shape[1] // 2
        self.time = mish_mlp(actor.embed, member)
        step = base.plain_linear(actor.enter_time, member)
        data = actor.enter.detach()[member]
        first = nn.Linear(
            len(data) + step.in_features, step.out_features, device=data.device, dtype=data.dtype
        )
        first.weight.data = torch.cat([data.T, step.weight.data], 1)
        first.bias.data = step.bias.data
        layers: list[nn.Module] = [first]
        for linear in (*actor.hidden, actor.leave):
            layers += [nn.Mish(), base.plain_linear(linear, member)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Noise ``(B, A)`` at the steps t, ``(B,)``."""
        ratio = math.log(10000) / (self.frequencies - 1)
        frequency = torch.exp(-ratio * torch.arange(self.frequencies, device=x.device, dtype=x.dtype))
        angle = t.to(x.dtype)[:, None] * frequency[None, :]
        seen = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        noise: Tensor = self.layers(torch.cat([x, s, seen], 1))
        return noise


class Program(base.Program):
    """A denoising policy with its moving average, and twin critics with targets."""

    def start(self, algorithm: Any, member: int) -> None:
        """Networks, optimisers, and the constants of the chain."""
        h = self.h
        self.actor = NoiseModel(algorithm.actor, member)
        self.average = copy.deepcopy(self.actor)
        self.critics = [mish_mlp(algorithm.critic.network, member, head) for head in (0, 1)]
        self.target_critics = copy.deepcopy(self.critics)
        self.optimiser = base.adam(self.actor.parameters(), h["actor_learning_rate"])
        self.critic_optimiser = base.adam(self.both_parameters(), h["critic_learning_rate"])
        T = h["diffusion_steps"]  # noqa: N806 - the paper's
        t = torch.arange(1, T + 1, dtype=torch.float64)
        alpha = torch.exp(-0.1 / T - 0.5 * (10 - 0.1) * (2 * t - 1) / T**2)
        one = next(self.actor.parameters())
        self.alpha = alpha.to(one.device, one.dtype)
        self.alpha_bar = torch.cumprod(alpha, 0).to(one.device, one.dtype)

    def both_parameters(self) -> list[nn.Parameter]:
        """Those of both critics."""
        return [p for critic in self.critics for p in critic.parameters()]

    def rate(self, rate: float, step: int) -> float:
        """Of step 1, 2, …; CUDA's Adam takes it in float32."""
        if self.h["rate_decay"] == "none":
            return rate
        windows = (step - 1) // {"windows": 50_000, "epochs": 1_000}[self.h["rate_decay"]]
        rate *= 0.5 * (1 + math.cos(math.pi * windows / self.h["rate_decay_epochs"]))
        return torch.tensor(rate, dtype=torch.float32).item()

    def q(self, critics: Sequence[nn.Module], s: Tensor, a: Tensor) -> list[Tensor]:
        """Both critics' values, ``(B,)`` each."""
        return [critic(torch.cat([s, a], 1)).squeeze(1) for critic in critics]

    def sample(self, model: nn.Module, s: Tensor, noise: Tensor) -> Tensor:
        """Actions ``(B, A)`` at the ends of chains; `noise` is ``(B, T, A)``."""
        steps = noise.shape[1]
        x = noise[:, 0]
        for t in range(steps - 1, -1, -1):
            predicted = model(x, torch.full((len(s),), t, device=x.device), s)
            alpha, bar = self.alpha[t], self.alpha_bar[t]
            before = self.alpha_bar[t - 1] if t > 0 else torch.ones_like(bar)
            start = ((x - (1 - bar).sqrt() * predicted) / bar.sqrt()).clamp(-1, 1)
            x = alpha.sqrt() * (1 - before) / (1 - bar) * x + before.sqrt() * (1 - alpha) / (1 - bar) * start
            if t > 0:
                x = x + ((1 - alpha) * (1 - before) / (1 - bar)).sqrt() * noise[:, steps - t]
        return x.clamp(-1, 1)

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """Critics, policy, averages."""
        self.update_critics(step, batch, noise["target_action"])
        self.update_policy(step, batch, noise)
        h = self.h
        base.follow(h["soft_update"], self.target_critics, self.critics)
        done = step - 1
        if done % h["ema_interval"] == 0 and done >= h["ema_begin"]:
            base.follow(1 - h["ema_decay"], [self.average], [self.actor])

    def update_critics(self, step: int, batch: Batch, noise: Tensor) -> None:
        """One step of both critics; `noise` is ``(B, N, T, A)``."""
        h, s, a = self.h, batch.observation, batch.action
        count = noise.shape[1]
        with torch.no_grad():
            s2 = batch.next_observation.repeat_interleave(count, 0)
            a2 = self.sample(self.average, s2, noise.flatten(0, 1))
            best = [q.view(-1, count).max(1).values for q in self.q(self.target_critics, s2, a2)]
            y = batch.reward + (1 - batch.terminal) * h["discount"] * torch.min(*best)
        q1, q2 = self.q(self.critics, s, a)
        loss = F.mse_loss(q1, y) + F.mse_loss(q2, y)
        self.critic_optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.both_parameters(), h["clip_norm"])
        self.critic_optimiser.param_groups[0]["lr"] = self.rate(h["critic_learning_rate"], step)
        self.critic_optimiser.step()

    def cloning_loss(self, model: nn.Module, batch: Batch, noise: Mapping[str, Tensor]) -> Tensor:
        """Of the model of the noise."""
        t = (noise["time"] * self.h["diffusion_steps"]).long()
        bar = self.alpha_bar[t].unsqueeze(1)
        x = bar.sqrt() * batch.action + (1 - bar).sqrt() * noise["action"]
        return F.mse_loss(model(x, t, batch.observation), noise["action"])

    def climbed(self, model: nn.Module, batch: Batch, noise: Mapping[str, Tensor]) -> list[Tensor]:
        """The values that the policy climbs, and those that scale them."""
        a = self.sample(model, batch.observation, noise["policy_action"])
        q1, q2 = self.q(self.critics, batch.observation, a)
        if self.h["policy_value"] == "first":
            return [q1, q1]
        return [q1, q2] if noise["coin"].item() > 0.5 else [q2, q1]

    def update_policy(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """One step of the policy."""
        h = self.h
        q, scale = self.climbed(self.actor, batch, noise)
        loss = self.cloning_loss(self.actor, batch, noise) - h["eta"] * q.mean() / scale.abs().mean().detach()
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.actor.parameters(), h["clip_norm"])
        self.optimiser.param_groups[0]["lr"] = self.rate(h["actor_learning_rate"], step)
        self.optimiser.step()

    @torch.no_grad()
    def act(self, observation: Tensor, noise: Tensor) -> Tensor:
        """The action at one observation ``(S,)``; `noise` is ``(N T A + 1,)``."""
        count, steps = self.h["candidates"], self.h["diffusion_steps"]
        s = observation.expand(count, -1)
        a = self.sample(self.actor, s, noise[:-1].view(count, steps, -1))
        q = torch.min(*self.q(self.target_critics, s, a))
        if self.h["choice"] == "best":
            return a[q.argmax()]
        uniform = 0.5 * (1 + math.erf(noise[-1].item() / math.sqrt(2)))
        total = 0.0
        for index, probability in enumerate(torch.softmax(q, 0).tolist()):
            total += probability
            if total >= uniform:
                return a[index]
        return a[-1]

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks."""
        yield "actor", self.actor, NoiseModel(algorithm.actor, member)
        yield "average", self.average, NoiseModel(algorithm.ema_actor, member)
        for head in (0, 1):
            online, target = algorithm.critic.network, algorithm.target_critic.network
            yield f"critic {head}", self.critics[head], mish_mlp(online, member, head)
            yield f"target critic {head}", self.target_critics[head], mish_mlp(target, member, head)
