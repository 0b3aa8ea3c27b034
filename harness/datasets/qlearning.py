"""Rows of a D4RL file to transitions, as D4RL's ``qlearning_dataset`` does it row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.base import Arrays


def qlearning(rows: Arrays, max_episode_steps: int | None) -> dict[str, NDArray[Any]]:
    """Turn N consecutive rows into transitions.

    Row i becomes the transition to the observation and the action of row i + 1. The last row has no successor
    and is dropped; so is a row at which an episode was cut (``timeouts``), because the next row belongs to
    another episode. Terminal rows stay, with the next episode's first observation as theirs: it is never
    used, since nothing is bootstrapped there.

    Args:
        rows: ``observations`` (N, S), ``actions`` (N, A), ``rewards`` (N,), ``terminals`` (N,) and, in most
            files, ``timeouts`` (N,).
        max_episode_steps: Where a file without ``timeouts`` cuts its episodes.

    Returns:
        The fields of `harness.datasets.Transitions` by name, float32 and bool.

    Raises:
        ValueError: There are neither ``timeouts`` nor ``max_episode_steps``.
    """
    terminals = np.asarray(rows["terminals"], dtype=bool)[:-1]
    if "timeouts" in rows:
        timeouts = np.asarray(rows["timeouts"], dtype=bool)[:-1]
    elif max_episode_steps is not None:
        timeouts = _counted_timeouts(terminals, max_episode_steps)
    else:
        raise ValueError("rows without timeouts need max_episode_steps")
    keep = ~timeouts
    observations = np.asarray(rows["observations"], dtype=np.float32)
    actions = np.asarray(rows["actions"], dtype=np.float32)
    return {
        "observations": observations[:-1][keep],
        "actions": actions[:-1][keep],
        "rewards": np.asarray(rows["rewards"], dtype=np.float32)[:-1][keep],
        "next_observations": observations[1:][keep],
        "terminals": terminals[keep],
        "next_actions": actions[1:][keep],
    }


def _counted_timeouts(terminals: NDArray[np.bool_], limit: int) -> NDArray[np.bool_]:
    """Rows at which D4RL's step counter reaches ``limit - 1``.

    D4RL resets the counter to 0 at a terminal row and then counts that very row, so the episode after a
    terminal is cut one row early. A row that is both terminal and cut is skipped before it is counted.
    """
    timeouts = np.zeros(len(terminals), dtype=bool)
    start = counter = 0
    for end in np.flatnonzero(terminals).tolist():
        timeouts[start + limit - 1 - counter : end + 1 : limit] = True
        counter = 0 if timeouts[end] else 1
        start = end + 1
    timeouts[start + limit - 1 - counter :: limit] = True
    return timeouts
