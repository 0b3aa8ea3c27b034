"""CQL+ASPC: the outer gradient by differentiating through the critics' Adam step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from reference import base, cql
from reference.cql import Samples


class Moved(nn.Module):
    """A network at other parameters, through which gradients flow."""

    def __init__(self, network: nn.Module, parameters: Sequence[Tensor]) -> None:
        super().__init__()
        self.original, self.moved = [network], parameters

    def forward(self, x: Tensor) -> Tensor:
        """As the network would."""
        return base.call(self.original[0], self.moved, x)


class Program(cql.Program):
    """CQL whose α is learnt."""

    def start_critics(self) -> None:
        """Adam's moments by hand, and ξ."""
        parameters = [p for c in self.critics for p in c.parameters()]
        device = parameters[0].device
        self.xi = nn.Parameter(
            torch.tensor(math.log(math.exp(self.h["initial_alpha"]) - 1), dtype=torch.float64, device=device)
        )
        self.alpha_optimiser = base.adam([self.xi])
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self.count, self.alpha_updates = 0, 0
        self.e = torch.zeros((), device=device)

    def alpha_rate(self) -> float:
        """From 2e-3 (at k = 10) to a hundredth of it in a million steps; CUDA's Adam takes it in float32."""
        decay = 0.01 ** (1 / int(1e6 / self.h["alpha_interval"]))
        rate = self.h["alpha_learning_rate"] * self.h["alpha_interval"] / 10 * decay**self.alpha_updates
        return torch.tensor(rate, dtype=torch.float32).item()

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
        """Inner step, and every k-th time the outer step through it."""
        outer = step % self.h["alpha_interval"] == 0
        phi = [p.detach().requires_grad_() for c in self.critics for p in c.parameters()]
        half = len(list(self.critics[0].parameters()))

        def at(parameters: Sequence[Tensor]) -> list[Moved]:
            each = (parameters[:half], parameters[half:])
            return [Moved(critic, own) for critic, own in zip(self.critics, each, strict=True)]

        alpha = F.softplus(self.xi)
        td = sum(F.mse_loss(self.q(critic, s, a), y) for critic in at(phi))
        loss = td + alpha * sum(self.gap(critic, s, a, samples) for critic in at(phi))
        gradients = torch.autograd.grad(loss, phi, create_graph=outer)
        self.count += 1
        moved, self.first, self.second = base.adam_step(
            phi, gradients, self.first, self.second, self.count, self.h["critic_learning_rate"]
        )
        if outer:
            self.update_alpha(at(moved), s, a, samples, new_a, alpha)
        self.update_policy(*policy_losses)
        for p, new in zip((p for c in self.critics for p in c.parameters()), moved, strict=True):
            p.data = new.detach()

    def outer_q(self, critics: Sequence[nn.Module], s: Tensor, a: Tensor) -> Tensor:
        """Q as the outer loss takes it, ``(B,)``."""
        both = torch.stack([self.q(critic, s, a) for critic in critics])
        return both.mean(0) if self.h["outer_value"] == "mean" else both.min(0).values

    def update_alpha(
        self,
        critics: Sequence[nn.Module],
        s: Tensor,
        a: Tensor,
        samples: Sequence[Samples],
        new_a: Tensor,
        alpha: Tensor,
    ) -> None:
        """L1 + L2 back to ξ."""
        q = self.outer_q(critics, s, new_a)
        scale = alpha.detach() if self.h["outer_scale"] == "alpha" else 1.0
        gap = sum(self.gap(critic, s, a, samples) for critic in critics) / 2
        e = (1 - self.h["ema"]) * q.mean() + self.h["ema"] * self.e
        outer = -q.mean() / q.abs().mean().detach() + scale * gap
        if self.h["loss"] == "L1+L2":
            before = self.outer_q(self.critics, s, new_a).mean().detach()  # they have not moved yet
            change = {"average": e - self.e, "step": q.mean() - before}[self.h["outer_change"]]
            outer = outer + change**2
        (self.xi.grad,) = torch.autograd.grad(outer, [self.xi])
        self.alpha_optimiser.param_groups[0]["lr"] = self.alpha_rate()
        self.alpha_optimiser.step()
        self.alpha_updates += 1
        self.e = e.detach()

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """As CQL, ξ and e."""
        yield from super().pairs(algorithm, member)
        yield "ξ", self.xi.detach(), algorithm.scale.xi.detach()[member, 0]
        yield "e", self.e, algorithm.scale.value_average[member, 0]
