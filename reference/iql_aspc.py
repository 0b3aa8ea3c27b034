"""IQL+ASPC: the outer gradient by differentiating through the policy's Adam step, nothing in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from reference import base, iql


class Program(iql.Program):
    """IQL whose β is learnt."""

    def start_policy(self) -> None:
        """Adam's moments by hand, and ξ."""
        device = self.log_std.device
        self.xi = torch.tensor(
            math.log(math.expm1(self.h["initial_beta"])), dtype=torch.float64, device=device
        )
        self.xi.requires_grad_()
        self.beta_optimiser = base.adam([self.xi])  # type: ignore[list-item]  # a leaf is as good
        # the deterministic policy has no ln σ; an empty one gets no gradient worth the name
        self.policy = [*self.actor.parameters(), self.log_std]
        self.first = [torch.zeros_like(p) for p in self.policy]
        self.second = [torch.zeros_like(p) for p in self.policy]
        self.beta_updates, self.e = 0, torch.zeros((), device=device)

    def beta_rate(self) -> float:
        """From 2e-3 (at k = 10) to a hundredth of it in a million steps; CUDA's Adam takes it in float32."""
        interval = self.h["alpha_interval"]
        decay = 0.01 ** (1 / int(1e6 / interval))
        rate = self.h["alpha_learning_rate"] * interval / 10 * decay**self.beta_updates
        return torch.tensor(rate, dtype=torch.float32).item()

    def update_policy(self, step: int, s: Tensor, a: Tensor, advantage: Tensor) -> None:
        """Inner step, and every k-th time the outer step through it."""
        outer = step % self.h["alpha_interval"] == 0
        theta = [p.detach().requires_grad_() for p in self.policy]
        beta = F.softplus(self.xi).to(s.dtype)
        mean = base.call(self.actor, theta[:-1], s)
        weight = self.weight(beta, advantage)
        inner = (weight * self.imitation(mean, theta[-1], a)).mean()
        gradients = torch.autograd.grad(
            inner, theta, create_graph=outer, allow_unused=True, materialize_grads=True
        )
        moved, self.first, self.second = base.adam_step(
            theta, gradients, self.first, self.second, step, self.actor_rate(step)
        )
        if outer:
            self.update_beta(moved, mean.detach(), s, a, beta.detach(), weight.detach())
        for p, new in zip(self.policy, moved, strict=True):
            p.data = new.detach()

    def outer_q(self, s: Tensor, a: Tensor) -> Tensor:
        """Q of what would be done, as the outer loss takes it, ``(B,)``."""
        first, second = (self.q(critic, s, a.clamp(-1, 1)) for critic in self.critics)
        return {"min": torch.min(first, second), "mean": (first + second) / 2, "first": first}[
            self.h["outer_q"]
        ]

    def update_beta(
        self, moved: list[Tensor], mean: Tensor, s: Tensor, a: Tensor, beta: Tensor, weight: Tensor
    ) -> None:
        """L1 + L2 + L3 back to ξ."""
        h, new_mean = self.h, base.call(self.actor, moved[:-1], s)
        q = self.outer_q(s, new_mean)
        scale = {"coefficient": beta, "one": torch.ones_like(beta)}[h["outer_scale"]]
        weight = {"advantage": weight, "one": torch.ones_like(weight)}[h["outer_weight"]]
        l1 = -scale * q.mean() / q.abs().mean().detach()
        l1 = l1 + (weight * self.imitation(new_mean, moved[-1], a)).mean()
        e = h["ema"] * self.e + (1 - h["ema"]) * q.mean()
        old = {"average": self.e, "step": self.outer_q(s, mean).mean().detach()}[h["outer_change"]]
        l2 = ((e if h["outer_change"] == "average" else q.mean()) - old) ** 2
        b, new_b = ((mean - a) ** 2).mean(1), ((new_mean - a) ** 2).mean(1)
        l3 = l2.detach() * b.max() * (b - new_b).abs().max()
        terms = {"L1": l1, "L2": l2, "L3": l3}
        outer = torch.stack([terms[name] for name in h["loss"].split("+")]).sum()
        (self.xi.grad,) = torch.autograd.grad(outer, [self.xi])
        self.beta_optimiser.param_groups[0]["lr"] = self.beta_rate()
        self.beta_optimiser.step()
        self.beta_updates += 1
        self.e = e.detach()

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks, ξ and e."""
        yield from super().pairs(algorithm, member)
        yield "ξ", self.xi.detach(), algorithm.scale.xi.detach()[member, 0]
        yield "e", self.e, algorithm.scale.value_average[member, 0]
