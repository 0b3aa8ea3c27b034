"""Runs that say which transitions of a dataset others trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algorithms import Member, Selector, Sizes, algorithm_class
from harness.datasets.transforms import Floats

_ROWS = 2**16  # judged at once


@dataclass(frozen=True)
class SelectingRun:
    """A finished run that judges transitions, by its own algorithm's code.

    Attributes:
        key: of the run.
        algorithm: its id, of an `algorithms.Selector`.
        hyperparameters: its own.
        state: its training state, at least the submodules of the algorithm's `policy`: tensors ``(1, ...)``.
        device: where it judges.
    """

    key: str
    algorithm: str
    hyperparameters: Mapping[str, Any] = field(compare=False, repr=False)
    state: Mapping[str, Tensor] = field(compare=False, repr=False)
    device: str = "cpu"

    @torch.no_grad()
    def __call__(self, observations: Floats, actions: Floats) -> NDArray[np.bool_]:
        """Which transitions it trusts, ``(N,)``.

        Args:
            observations: as the run that asks is trained on them, ``(N, S)``.
            actions: likewise, ``(N, A)``.
        """
        sizes = Sizes(observations.shape[1], actions.shape[1])
        judge = algorithm_class(self.algorithm)([Member(self.key, self.hyperparameters)], sizes, self.device)
        assert isinstance(judge, Selector)  # noqa: S101 - planning sees to it
        judge.load_policy_state(self.state)
        trusted = []
        for start in range(0, len(observations), _ROWS):
            rows = (
                torch.from_numpy(column[start : start + _ROWS]).to(self.device, torch.float32).unsqueeze(0)
                for column in (observations, actions)
            )
            trusted.append(judge.trusts(*rows)[0].cpu().numpy())
        return np.concatenate(trusted)
