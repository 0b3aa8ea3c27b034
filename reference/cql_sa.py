"""CQL(SA)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from algorithms import Batch
from reference import cql
from reference.state_adaptive import Coefficient


class Program(cql.Program):
    """CQL whose penalty weighs β(s)."""

    def start(self, algorithm: Any, member: int) -> None:
        """As CQL, and β."""
        super().start(algorithm, member)
        self.coefficient = Coefficient(algorithm.coefficient, self.h, member)

    def weighed(self, differences: Tensor) -> Tensor:
        """Each difference weighs β̃."""
        return (self.weights * differences).mean()

    def policy_loss(self, new_a: Tensor, a: Tensor, log_prob: Tensor, value: Tensor) -> Tensor:
        """As CQL; the authors' code adds cloning."""
        loss = super().policy_loss(new_a, a, log_prob, value)
        if self.h["reproduce_defects"]:
            loss = loss + self.h["cloning_weight"] * ((new_a - a) ** 2).sum(1).mean()
        return loss

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """CQL's step, then the coefficient's."""
        s, trust = batch.observation, batch.extra["trust"]
        beta = self.coefficient.beta(s)
        self.weights = self.coefficient.weights(step, beta, trust)
        super().update(step, batch, noise)
        if self.h["coefficient"] == "learnt":
            self.coefficient.learn(step, beta, self.slack(s, batch.action), trust)

    @torch.no_grad()
    def slack(self, s: Tensor, a: Tensor) -> Tensor:
        """W of the policy as it is now, ``(B,)``."""
        mean, raw = self.actor.network(s).chunk(2, -1)
        std = (self.actor.multiplier * raw + self.actor.offset).clamp(-20, 2).exp()
        density = TransformedDistribution(Normal(mean, std), TanhTransform())

        def log_prob(action: Tensor) -> Tensor:
            value: Tensor = density.log_prob(action)  # type: ignore[no-untyped-call]  # torch has no types here
            return value

        def bound(n: float) -> Tensor:
            ends = [x.tanh().clamp(-0.99999, 0.99999) for x in (mean + n * std, mean - n * std)]
            lower, upper = mean.tanh() - 0.1 * n, mean.tanh() + 0.1 * n
            return torch.min(*[log_prob(end.clamp(lower, upper)) for end in ends])

        return (torch.max(log_prob(a), bound(10)) - bound(self.coefficient.n)).mean(1)

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """As CQL, β and n."""
        yield from super().pairs(algorithm, member)
        yield from self.coefficient.pairs(algorithm.coefficient, member)
