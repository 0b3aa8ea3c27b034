"""ASPC: the outer gradient by differentiating through the policy's Adam step, nothing in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms import Batch
from reference import base, td3_bc


class Program(td3_bc.Program):
    """TD3+BC whose α is learnt."""

    def start(self, algorithm: Any, member: int) -> None:
        """As TD3+BC, and V if the cloning is weighted."""
        super().start(algorithm, member)
        self.weighted = self.h["cloning_weight"] == "advantage"
        if self.weighted:
            self.v = base.plain_mlp(algorithm.value.network, member)
            self.v_optimiser = base.adam(self.v.parameters(), self.h["value_learning_rate"])

    def start_policy(self) -> None:
        """Adam's moments by hand, and ξ."""
        device = next(self.actor.parameters()).device
        self.xi = torch.tensor(
            math.log(math.exp(self.h["initial_alpha"]) - 1), dtype=torch.float64, device=device
        )
        self.xi.requires_grad_()
        self.alpha_optimiser = base.adam([self.xi])  # type: ignore[list-item]  # a leaf is as good
        self.first = [torch.zeros_like(p) for p in self.actor.parameters()]
        self.second = [torch.zeros_like(p) for p in self.actor.parameters()]
        self.count, self.alpha_updates = 0, 0
        self.e = torch.zeros((), device=device)

    def reward(self, batch: Batch) -> Tensor:
        """r, less its mean over the dataset if so asked."""
        return batch.reward - (self.reward_mean if self.h["reward_centering"] else 0.0)

    def alpha_rate(self) -> float:
        """From 2e-3 (at k = 10) to a hundredth of it in a million steps; CUDA's Adam takes it in float32."""
        decay = 0.01 ** (1 / int(1e6 / (2 * self.h["alpha_interval"])))
        rate = self.h["alpha_learning_rate"] * self.h["alpha_interval"] / 10 * decay**self.alpha_updates
        return torch.tensor(rate, dtype=torch.float32).item()

    def update_critics(self, s: Tensor, a: Tensor, y: Tensor) -> None:
        """As TD3+BC; then which actions are better than V, and V."""
        super().update_critics(s, a, y)
        if self.weighted:
            with torch.no_grad():
                self.better = self.q(self.critics[0], s, a) > self.v(s).squeeze(1)
            base.descend(F.mse_loss(self.v(s).squeeze(1), y), self.v_optimiser)

    def cloning(self, pi: Tensor, a: Tensor) -> Tensor:
        """E[(π - a)²], without the actions that are no better than V if it is weighted."""
        return ((pi - a) ** 2)[self.better].sum() / a.numel() if self.weighted else F.mse_loss(pi, a)

    def update_policy(self, step: int, s: Tensor, a: Tensor) -> None:
        """Inner step, and every k-th time the outer step through it."""
        outer = step % (self.h["policy_frequency"] * self.h["alpha_interval"]) == 0
        theta = [p.detach().requires_grad_() for p in self.actor.parameters()]
        alpha = F.softplus(self.xi)
        pi = base.call(self.actor, theta, s)
        q = self.q(self.critics[0], s, pi)
        inner = -alpha / q.abs().mean().detach() * q.mean() + self.cloning(pi, a)
        gradients = torch.autograd.grad(inner, theta, create_graph=outer)
        self.count += 1
        moved, self.first, self.second = base.adam_step(
            theta, gradients, self.first, self.second, self.count, self.h["actor_learning_rate"]
        )
        if outer:
            self.update_alpha(base.call(self.actor, moved, s), pi, q.mean().detach(), s, a, alpha)
        for p, new in zip(self.actor.parameters(), moved, strict=True):
            p.data = new.detach()

    def update_alpha(
        self, new_pi: Tensor, pi: Tensor, old_value: Tensor, s: Tensor, a: Tensor, alpha: Tensor
    ) -> None:
        """L1 + L2 + L3 back to ξ."""
        q = self.q(self.critics[0], s, new_pi)
        e = (1 - self.h["ema"]) * q.mean() + self.h["ema"] * self.e
        b, new_b = ((pi - a) ** 2).mean(1).detach(), ((new_pi - a) ** 2).mean(1)
        l1 = -alpha.detach() * q.mean() / q.abs().mean().detach() + self.cloning(new_pi, a)
        l2 = (e - self.e) ** 2 if self.h["outer_change"] == "average" else (q.mean() - old_value) ** 2
        change = (b - new_b).abs()
        if self.h["l3_variant"] == 1:
            l3 = change.max()
        elif self.h["l3_variant"] == 2:
            l3 = b.max() * b.max() * change.max()
        elif self.h["l3_variant"] == 3:
            l3 = l2.detach() * change.max()
        elif self.h["l3_variant"] == 4:
            l3 = l2.detach() * b.max() * change.max()
        else:
            l3 = l2.detach() * b.mean() * change.mean()
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
        if self.weighted:
            yield "V", self.v, base.plain_mlp(algorithm.value.network, member)
        yield "ξ", self.xi.detach(), algorithm.scale.xi.detach()[member, 0]
        yield "e", self.e, algorithm.scale.value_average[member, 0]
