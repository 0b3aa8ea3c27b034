"""wPC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms import Batch
from reference import base, td3_bc


class Program(td3_bc.Program):
    """TD3+BC with a V network, whose constraint skips actions that are no better than V."""

    def start(self, algorithm: Any, member: int) -> None:
        """As TD3+BC, and V."""
        super().start(algorithm, member)
        self.v = base.plain_mlp(algorithm.value.network, member)
        self.v_optimiser = base.adam(self.v.parameters(), self.h["value_learning_rate"])

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """Critics, V, and every second step policy and targets."""
        s, a = batch.observation, batch.action
        with torch.no_grad():
            y = self.backup(batch, self.target_critics, self.next_action(batch, noise))
        self.update_critics(s, a, y)
        with torch.no_grad():
            better = self.q(self.critics[0], s, a) > self.v(s).squeeze(1)
        base.descend(F.mse_loss(self.v(s).squeeze(1), y), self.v_optimiser)
        if step % self.h["policy_frequency"] == 0:
            pi = self.actor(s)
            q = self.q(self.critics[0], s, pi)
            constraint = ((pi - a) ** 2)[better].sum() / a.numel()
            loss = -self.h["alpha"] / q.abs().mean().detach() * q.mean() + constraint
            base.descend(loss, self.optimiser)
            self.update_targets()

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks."""
        yield from super().pairs(algorithm, member)
        yield "V", self.v, base.plain_mlp(algorithm.value.network, member)
