"""Diffusion-QL+ASPC: the outer gradient by differentiating through the policy's Adam step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms import Batch
from reference import base, diffusion_ql


class Moved(nn.Module):
    """The model of the noise at other parameters, through which gradients flow."""

    def __init__(self, model: nn.Module, parameters: Sequence[Tensor]) -> None:
        super().__init__()
        names = [name for name, _ in model.named_parameters()]
        self.original, self.moved = [model], dict(zip(names, parameters, strict=True))

    def forward(self, *inputs: Tensor) -> Tensor:
        """As the model would."""
        result: Tensor = torch.func.functional_call(self.original[0], self.moved, inputs)
        return result


class Program(diffusion_ql.Program):
    """Diffusion-QL whose η is learnt."""

    def start(self, algorithm: Any, member: int) -> None:
        """As Diffusion-QL, Adam's moments by hand, and ξ."""
        super().start(algorithm, member)
        parameters = list(self.actor.parameters())
        start = math.log(math.exp(self.h["initial_eta"]) - 1)
        device = parameters[0].device
        self.xi = nn.Parameter(torch.tensor(start, dtype=torch.float64, device=device))
        self.eta_optimiser = base.adam([self.xi])
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self.eta_updates = 0
        self.e = torch.zeros((), device=device)

    def eta_rate(self) -> float:
        """From 2e-3 (at k = 10) to a hundredth in two million steps; CUDA's Adam takes it in float32."""
        decay = 0.01 ** (1 / int(2e6 / self.h["alpha_interval"]))
        rate = self.h["alpha_learning_rate"] * self.h["alpha_interval"] / 10 * decay**self.eta_updates
        return torch.tensor(rate, dtype=torch.float32).item()

    def update_policy(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """Inner step, and every k-th time the outer step through it."""
        h, outer = self.h, step % self.h["alpha_interval"] == 0
        theta = list(self.actor.parameters())
        q, scale = self.climbed(self.actor, batch, noise)
        improvement = -q.mean() / scale.abs().mean().detach()
        loss = self.cloning_loss(self.actor, batch, noise) + F.softplus(self.xi) * improvement
        gradients = torch.autograd.grad(loss, theta, create_graph=outer)
        norm = torch.cat([g.detach().flatten() for g in gradients]).norm()
        clip = (h["clip_norm"] / (norm + 1e-6)).clamp(max=1)
        moved, self.first, self.second = base.adam_step(
            theta,
            [clip * g for g in gradients],
            self.first,
            self.second,
            step,
            self.rate(h["actor_learning_rate"], step),
        )
        if outer:
            self.update_eta(Moved(self.actor, moved), batch, noise)
        for p, new in zip(theta, moved, strict=True):
            p.data = new.detach()

    def outer_values(self, model: nn.Module, batch: Batch, noise: Mapping[str, Tensor]) -> list[Tensor]:
        """The outer loss's Q, and what scales it."""
        if self.h["outer_value"] == "host":
            return self.climbed(model, batch, noise)
        a = self.sample(model, batch.observation, noise["policy_action"])
        both = torch.stack(self.q(self.critics, batch.observation, a))
        value = both.mean(0) if self.h["outer_value"] == "mean" else both.min(0).values
        return [value, value]

    def update_eta(self, model: nn.Module, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """L1 + L2 back to ξ."""
        q, scale = self.outer_values(model, batch, noise)
        weight = F.softplus(self.xi).detach() if self.h["outer_scale"] == "eta" else 1.0
        outer = -weight * q.mean() / scale.abs().mean().detach() + self.cloning_loss(model, batch, noise)
        e = (1 - self.h["ema"]) * q.mean() + self.h["ema"] * self.e
        if self.h["loss"] == "L1+L2":
            before = self.outer_values(self.actor, batch, noise)[0].mean().detach()  # it has not moved yet
            change = {"average": e - self.e, "step": q.mean() - before}[self.h["outer_change"]]
            outer = outer + change**2
        (self.xi.grad,) = torch.autograd.grad(outer, [self.xi])
        self.eta_optimiser.param_groups[0]["lr"] = self.eta_rate()
        self.eta_optimiser.step()
        self.eta_updates += 1
        self.e = e.detach()

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """As Diffusion-QL, ξ and e."""
        yield from super().pairs(algorithm, member)
        yield "ξ", self.xi.detach(), algorithm.scale.xi.detach()[member, 0]
        yield "e", self.e, algorithm.scale.value_average[member, 0]
