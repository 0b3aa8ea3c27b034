"""FQL+ASPC: the outer gradient by differentiating through the student's Adam step, nothing in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from reference import base, fql


class Program(fql.Program):
    """FQL whose α is learnt."""

    def start_policy(self) -> None:
        """Adam's moments by hand, and ξ."""
        device = next(self.actor.parameters()).device
        self.xi = torch.tensor(
            math.log(math.expm1(self.h["initial_alpha"])), dtype=torch.float64, device=device
        )
        self.xi.requires_grad_()
        self.alpha_optimiser = base.adam([self.xi])  # type: ignore[list-item]  # a leaf is as good
        self.first = [torch.zeros_like(p) for p in self.actor.parameters()]
        self.second = [torch.zeros_like(p) for p in self.actor.parameters()]
        self.alpha_updates, self.e = 0, torch.zeros((), device=device)

    def alpha_rate(self) -> float:
        """From 2e-3 (at k = 10) to a hundredth of it in a million steps; CUDA's Adam takes it in float32."""
        interval = self.h["alpha_interval"]
        decay = 0.01 ** (1 / int(1e6 / interval))
        rate = self.h["alpha_learning_rate"] * interval / 10 * decay**self.alpha_updates
        return torch.tensor(rate, dtype=torch.float32).item()

    def judged(self, theta: Sequence[Tensor], s: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """The action of a student with these parameters, ``(B, A)``, and Q of it, ``(B,)``."""
        pi = base.call(self.actor, theta, torch.cat([s, z], 1))
        return pi, self.values(self.critics, s, pi.clamp(-1, 1)).mean(1)

    def loss(self, scale: Tensor, pi: Tensor, q: Tensor, taught: Tensor) -> Tensor:
        """-α E[q] / E|q| + distance, or α before the distance."""
        improvement, distance = q.mean() / q.abs().mean().detach(), F.mse_loss(pi, taught)
        if self.h["scaled_term"] == "q":
            return distance - scale * improvement
        return scale * distance - improvement

    def update_policy(self, step: int, s: Tensor, z: Tensor, taught: Tensor) -> None:
        """Inner step, and every k-th time the outer step through it."""
        outer = step % self.h["alpha_interval"] == 0
        theta = [p.detach().requires_grad_() for p in self.actor.parameters()]
        alpha = F.softplus(self.xi).to(s.dtype)
        pi, q = self.judged(theta, s, z)
        inner = self.loss(alpha, pi, q, taught)
        gradients = torch.autograd.grad(inner, theta, create_graph=outer)
        moved, self.first, self.second = base.adam_step(
            theta, gradients, self.first, self.second, step, self.h["learning_rate"]
        )
        if outer:
            new_pi, new_q = self.judged(moved, s, z)
            b, new_b = ((pi.detach() - taught) ** 2).mean(1), ((new_pi - taught) ** 2).mean(1)
            l1 = self.loss(
                alpha.detach() if self.h["outer_scale"] == "coefficient" else torch.ones_like(alpha),
                new_pi,
                new_q,
                taught,
            )
            self.update_alpha(l1, q.mean().detach(), new_q.mean(), b, new_b)
        for p, new in zip(self.actor.parameters(), moved, strict=True):
            p.data = new.detach()

    def update_alpha(self, l1: Tensor, q: Tensor, new_q: Tensor, b: Tensor, new_b: Tensor) -> None:
        """L1 + L2 + L3 back to ξ."""
        e = self.h["ema"] * self.e + (1 - self.h["ema"]) * new_q
        l2 = (e - self.e) ** 2 if self.h["outer_change"] == "average" else (new_q - q) ** 2
        l3 = l2.detach() * b.max() * (b - new_b).abs().max()
        terms = {"L1": l1, "L2": l2, "L3": l3}
        outer = torch.stack([terms[name] for name in self.h["loss"].split("+")]).sum()
        (self.xi.grad,) = torch.autograd.grad(outer, [self.xi])
        self.alpha_optimiser.param_groups[0]["lr"] = self.alpha_rate()
        self.alpha_optimiser.step()
        self.alpha_updates += 1
        self.e = e.detach()

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks, ξ and e."""
        yield from super().pairs(algorithm, member)
        yield "ξ", self.xi.detach(), algorithm.scale.xi.detach()[member, 0]
        yield "e", self.e, algorithm.scale.value_average[member, 0]
