"""SSAR's coefficient β(s) and its threshold n."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reference import base


class Coefficient:
    """The network of β, its optimiser, and n.

    Args:
        coefficient: an `algorithms.state_adaptive.StateCoefficient`.
        hyper: the hyperparameters by name.
        member: whose.
    """

    def __init__(self, coefficient: Any, hyper: Mapping[str, Any], member: int) -> None:
        self.h, self.network = hyper, base.plain_mlp(coefficient.network.network, member)
        self.optimiser = base.adam(self.network.parameters(), hyper["coefficient_learning_rate"])
        self.n, self.stopped = hyper["threshold_start"], False

    def beta(self, s: Tensor) -> Tensor:
        """β(s), ``(B,)``."""
        value: Tensor = 1.5 * self.h["initial_coefficient"] * self.network(s).squeeze(-1).sigmoid()
        return value

    def annealing(self, step: int) -> float:
        """What is left of β at step 1, 2, … online."""
        done = step / self.h["decay_steps"]
        left: Mapping[str, float] = {
            "none": 1.0,
            "linear": max(1 - done, 0.0),
            "cosine": math.cos(math.pi / 2 * min(done, 1)),
        }
        return left[self.h["annealing"]]

    def weights(self, step: int, beta: Tensor, trust: Tensor) -> Tensor:
        """Of each sample's regulariser, ``(B,)``."""
        weights = beta.detach() * self.annealing(step)
        return weights * trust if self.h["mask_regulariser"] else weights

    def learn(self, step: int, beta: Tensor, w: Tensor, trust: Tensor) -> None:
        """The threshold's rule, then a step of the network."""
        if step % self.h["threshold_period"] == 0 and not self.stopped:
            if w[trust == 1].mean() > 0:
                self.stopped = True
            else:
                rise = (self.h["threshold_end"] - self.h["threshold_start"]) / self.h["threshold_raises"]
                self.n = min(self.n + rise, self.h["threshold_end"])
        self.optimiser.zero_grad()
        (w * beta * trust).mean().backward()  # type: ignore[no-untyped-call]  # torch has no types here
        nn.utils.clip_grad_norm_(self.network.parameters(), self.h["coefficient_clip_norm"])
        self.optimiser.step()

    def pairs(self, coefficient: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """As of `Program`."""
        yield "β", self.network, base.plain_mlp(coefficient.network.network, member)
        yield "n", torch.tensor(self.n, dtype=torch.float64), coefficient.threshold[member, 0]
        yield "stopped", torch.tensor(self.stopped), coefficient.stopped[member, 0]
