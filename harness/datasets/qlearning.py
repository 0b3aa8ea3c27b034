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
        timeouts = counted_timeouts(terminals, max_episode_steps)
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


def row_by_row(rows: Arrays) -> dict[str, NDArray[Any]]:
    """Turn N rows, each of which has its next observation, into N transitions.

    Args:
        rows: ``observations`` and ``next_observations`` (N, S), ``actions`` (N, A), ``rewards`` (N,),
            ``terminals`` (N,) and, where episodes are cut, ``timeouts`` (N,).

    Returns:
        The fields of `harness.datasets.Transitions` by name, in the rows' types. What was done next is known
        of rows in order; nothing was done after the last of an episode, whose own action stands in for it. Of
        rows that are not in order (see `episode_ends`) every one's own action does.
    """
    actions = np.asarray(rows["actions"])
    ends = episode_ends(rows)
    follows = np.zeros(len(actions), dtype=bool)
    if ends is not None:
        follows[:-1] = ~ends[:-1]
    following = np.concatenate([actions[1:], actions[-1:]])
    names = ("observations", "actions", "rewards", "next_observations", "terminals")
    return {
        **{name: np.asarray(rows[name]) for name in names},
        "next_actions": np.where(follows[:, None], following, actions),
    }


def episode_ends(rows: Arrays) -> NDArray[np.bool_] | None:
    """Rows at which an episode ended or was cut; None where rows do not follow each other, as if shuffled.

    Where rows have next observations, the row after begins with them, but where an episode ends. In a file
    that does not tell where it cut episodes, they were cut where that is not so, if it is so of most rows.
    Rows whose episodes run on after a terminal say themselves where these end, in ``ends``.
    """
    if "ends" in rows:
        return np.asarray(rows["ends"], dtype=bool)
    ends = np.array(rows["terminals"], dtype=bool)
    if "timeouts" in rows:
        ends |= np.asarray(rows["timeouts"], dtype=bool)
    if "next_observations" in rows:
        parted = ~(rows["next_observations"][:-1] == rows["observations"][1:]).all(1) & ~ends[:-1]
        if parted.any() if "timeouts" in rows else parted.mean() > 0.5:
            return None
        ends[:-1] |= parted
    return ends


def counted_timeouts(terminals: NDArray[np.bool_], limit: int) -> NDArray[np.bool_]:
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
