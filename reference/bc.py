"""Behaviour cloning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms import Batch
from reference import base


class Program(base.Program):
    """A regression of the data's actions."""

    def start(self, algorithm: Any, member: int) -> None:
        """One actor."""
        self.actor = base.plain_mlp(algorithm.actor.network, member, None, nn.Tanh())
        self.optimiser = base.adam(self.actor.parameters(), self.h["learning_rate"])

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """One step."""
        base.descend(F.mse_loss(self.actor(batch.observation), batch.action), self.optimiser)

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """The actor."""
        yield "actor", self.actor, base.plain_mlp(algorithm.actor.network, member)
