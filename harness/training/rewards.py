"""The rewards that an algorithm trains on, made from a dataset's own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.datasets.base import Transitions
from harness.errors import DataError

EPISODE = 1000  # transitions at which CORL's `return_range` ends an episode, whatever the environment


class RewardTransform(NamedTuple):
    """r ← scale · r · (1000 / (largest - smallest return) if normalize) + shift."""

    normalize: bool = False
    scale: float = 1.0
    shift: float = 0.0

    def __call__(self, data: Transitions) -> NDArray[np.float32]:
        """The rewards of `data`, transformed: (N,).

        Raises:
            DataError: returns are to be normalised, but no two of them differ.
        """
        factor = self.scale
        if self.normalize:
            low, high = return_range(data.rewards, data.terminals)
            if not low < high:
                raise DataError(
                    f"the rewards of {data.identity.get('id')} cannot be normalised: "
                    f"all returns of whole episodes are {low:g}"
                )
            factor *= 1000 / (high - low)
        return (data.rewards.astype(np.float64) * factor + self.shift).astype(np.float32)


RAW = RewardTransform()
"""Rewards as the dataset has them."""


def return_range(rewards: NDArray[np.float32], terminals: NDArray[np.bool_]) -> tuple[float, float]:
    """Smallest and largest return of the episodes in (N,) transitions, as CORL counts them.

    An episode ends at a terminal or after 1000 transitions; what is left at the end does not count. Since
    D4RL drops the row at which an episode was cut, an episode of 1000 steps has 999 transitions, and the
    count runs into the next one: CORL's IQL and CQL train with that.

    Returns:
        (0, 0) if there is no whole episode.
    """
    ends: list[int] = []
    start = 0
    for terminal in [*np.flatnonzero(terminals).tolist(), len(rewards)]:
        ends += range(start + EPISODE - 1, min(terminal + 1, len(rewards)), EPISODE)
        if terminal < len(rewards) and (not ends or ends[-1] != terminal):
            ends.append(terminal)
        start = terminal + 1
    if not ends:
        return 0.0, 0.0
    # sums of the transitions after one end up to the next
    totals = np.cumsum(rewards, dtype=np.float64)[ends]
    returns = np.diff(totals, prepend=0.0)
    return float(returns.min()), float(returns.max())
