"""TD3+BC(SA)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from algorithms import Batch
from reference import base, td3_bc
from reference.state_adaptive import Coefficient


class Program(td3_bc.Program):
    """TD3+BC whose squared error weighs β(s)."""

    def start(self, algorithm: Any, member: int) -> None:
        """As TD3+BC, and β."""
        super().start(algorithm, member)
        self.coefficient = Coefficient(algorithm.coefficient, self.h, member)

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """Critics; sometimes the policy and then β; sometimes the targets."""
        h, s, a = self.h, batch.observation, batch.action
        with torch.no_grad():
            y = self.backup(batch, self.target_critics, self.next_action(batch, noise))
        self.update_critics(s, a, y)
        if step % h["policy_frequency"] == 0:
            pi, trust = self.actor(s), batch.extra["trust"]
            q = self.q(self.critics[0], s, pi)
            error = (pi - a).pow(2)
            beta = self.coefficient.beta(s)
            weights = self.coefficient.weights(step, beta, trust)
            loss = -q.mean() / q.abs().mean().detach() + (weights.unsqueeze(1) * error).mean()
            base.descend(loss, self.optimiser)
            if h["coefficient"] == "learnt":
                w = 0.01 * self.coefficient.n**2 - error.detach().clamp(max=1).mean(1)
                self.coefficient.learn(step, beta, w, trust)
        if step % h["policy_frequency" if h["reproduce_defects"] else "target_frequency"] == 0:
            self.update_targets()

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """As TD3+BC, β and n."""
        yield from super().pairs(algorithm, member)
        yield from self.coefficient.pairs(algorithm.coefficient, member)
