"""IDQL."""

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


def layer_norm(layer: Any, member: int) -> nn.LayerNorm:
    """One member's copy of an `algorithms.networks.LayerNorm`."""
    weight, bias = layer.weight.detach()[member, 0], layer.bias.detach()[member, 0]
    plain = nn.LayerNorm(len(weight), layer.epsilon, device=weight.device, dtype=weight.dtype)
    plain.weight.data, plain.bias.data = weight.clone(), bias.clone()
    return plain


class Block(nn.Module):
    """Dropout, normalisation and two linear layers beside what they get."""

    def __init__(self, block: Any, member: int) -> None:
        super().__init__()
        self.rate = block.dropout
        self.norm = layer_norm(block.norm, member)
        self.widen = base.plain_linear(block.widen, member)
        self.narrow = base.plain_linear(block.narrow, member)

    def forward(self, x: Tensor, dropped: Tensor | None) -> Tensor:
        """``(B, W)``."""
        y = x if dropped is None else x * (dropped >= self.rate) / (1 - self.rate)
        y = self.narrow(F.silu(self.widen(self.norm(y))))
        result: Tensor = x + y
        return result


class NoiseModel(nn.Module):
    """ε(s, x, t)."""

    def __init__(self, actor: Any, member: int) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(actor.frequencies.detach()[member, 0].clone())
        first, second = (base.plain_linear(layer, member) for layer in actor.embed.layers)
        self.embed = nn.Sequential(first, nn.SiLU(), second)
        self.enter = base.plain_linear(actor.enter, member)
        self.blocks = nn.ModuleList(Block(block, member) for block in actor.blocks)
        self.leave = base.plain_linear(actor.leave, member)

    def forward(self, s: Tensor, x: Tensor, t: Tensor, dropout: Sequence[Tensor] = ()) -> Tensor:
        """Noise ``(B, A)`` at the steps t, ``(B,)``."""
        angle = 2 * math.pi * t.to(x.dtype).unsqueeze(1) * self.frequencies
        y = self.enter(torch.cat([x, s, self.embed(torch.cat([angle.cos(), angle.sin()], 1))], 1))
        for index, block in enumerate(self.blocks):
            y = block(y, dropout[index] if dropout else None)
        noise: Tensor = self.leave(F.silu(y))
        return noise


class Program(base.Program):
    """V, twin critics with targets, and a model of the noise with its moving average."""

    def start(self, algorithm: Any, member: int) -> None:
        """Networks and optimisers."""
        h = self.h
        self.actor = NoiseModel(algorithm.actor, member)
        self.average = copy.deepcopy(self.actor)
        self.value = self.plain_value(algorithm, member)
        self.critics = [base.plain_mlp(algorithm.critic.network, member, head) for head in (0, 1)]
        self.target_critics = copy.deepcopy(self.critics)
        self.optimiser = torch.optim.AdamW(self.actor.parameters(), weight_decay=h["actor_weight_decay"])
        self.value_optimiser = base.adam(self.value.parameters(), h["value_learning_rate"])
        self.critic_optimisers = [
            base.adam(critic.parameters(), h["critic_learning_rate"]) for critic in self.critics
        ]
        T = h["diffusion_steps"]  # noqa: N806 - the paper's
        dtype, device = self.actor.frequencies.dtype, self.actor.frequencies.device
        t = torch.arange(1, T + 1, dtype=torch.float64)
        alpha = torch.exp(-0.1 / T - 0.5 * (10 - 0.1) * (2 * t - 1) / T**2)
        self.alpha = alpha.to(device, dtype)
        self.alpha_bar = torch.cumprod(alpha, 0).to(device, dtype)

    def plain_value(self, algorithm: Any, member: int) -> nn.Sequential:
        """A copy of V."""
        return nn.Sequential(
            layer_norm(algorithm.value.norm, member), base.plain_mlp(algorithm.value.network, member)
        )

    def actor_rate(self, step: int) -> float:
        """A cosine to 0, at step 1, 2, …; CUDA's Adam takes it in float32."""
        done = min(step - 1, self.h["actor_decay_steps"]) / self.h["actor_decay_steps"]
        rate = self.h["actor_learning_rate"] * 0.5 * (1 + math.cos(math.pi * done))
        return torch.tensor(rate, dtype=torch.float32).item()

    def q(self, critic: nn.Module, s: Tensor, a: Tensor) -> Tensor:
        """One critic's values, ``(B,)``."""
        value: Tensor = critic(torch.cat([s, a], 1)).squeeze(1)
        return value

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """The model, V, critics, targets."""
        h, s, a = self.h, batch.observation, batch.action
        t = (noise["time"] * h["diffusion_steps"]).long()
        kept = self.alpha_bar[t].unsqueeze(1)
        x = kept.sqrt() * a + (1 - kept).sqrt() * noise["action"]
        dropout = [numbers for name, numbers in noise.items() if name.startswith("actor.")]
        error = self.actor(s, x, t, dropout) - noise["action"]
        self.optimiser.param_groups[0]["lr"] = self.actor_rate(step)
        base.descend((error**2).sum(1).mean(), self.optimiser)
        base.follow(1 - h["ema_decay"], [self.average], [self.actor])

        with torch.no_grad():
            q = torch.min(*[self.q(critic, s, a) for critic in self.target_critics])
        advantage = q - self.value(s).squeeze(1)
        asymmetry = (h["expectile"] - (advantage.detach() < 0).to(s.dtype)).abs()
        base.descend((asymmetry * advantage**2).mean(), self.value_optimiser)

        with torch.no_grad():
            next_v = self.value(batch.next_observation).squeeze(1)
        y = batch.reward + (1 - batch.terminal) * h["discount"] * next_v
        losses = [F.mse_loss(self.q(critic, s, a), y) for critic in self.critics]
        base.descend((losses[0] + losses[1]) / 2, *self.critic_optimisers)
        base.follow(h["soft_update"], self.target_critics, self.critics)

    @torch.no_grad()
    def act(self, observation: Tensor, noise: Tensor) -> Tensor:
        """The action at one observation ``(S,)``; `noise` is ``(N, T, A)``."""
        count, steps, _ = noise.shape
        s, x = observation.expand(count, -1), noise[:, 0]
        for t in range(steps - 1, -1, -1):
            predicted = self.average(s, x, torch.full((count,), t, device=x.device))
            alpha, alpha_bar = self.alpha[t], self.alpha_bar[t]
            x = (x - (1 - alpha) / (1 - alpha_bar).sqrt() * predicted) / alpha.sqrt()
            if t > 0:
                x = x + (1 - alpha).sqrt() * noise[:, steps - t]
            x = x.clamp(-1, 1)
        best = torch.min(*[self.q(critic, s, x) for critic in self.target_critics]).argmax()
        return x[best]

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks."""
        yield "actor", self.actor, NoiseModel(algorithm.actor, member)
        yield "average", self.average, NoiseModel(algorithm.ema_actor, member)
        yield "value", self.value, self.plain_value(algorithm, member)
        for head in (0, 1):
            online, target = algorithm.critic.network, algorithm.target_critic.network
            yield f"critic {head}", self.critics[head], base.plain_mlp(online, member, head)
            yield f"target critic {head}", self.target_critics[head], base.plain_mlp(target, member, head)
