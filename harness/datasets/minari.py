"""Datasets of the Minari registry."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.base import Transitions, transitions
from harness.errors import DataError
from harness.specs.models import Dataset, MinariSource


def path(source: MinariSource) -> Path:
    """Minari's own folder for it, below ``MINARI_DATASETS_PATH`` or ``~/.minari/datasets``."""
    # as Minari does it, whose import takes longer than everything else that only asks for a path
    folder = os.environ.get("MINARI_DATASETS_PATH")
    return (Path(folder) if folder is not None else Path("~/.minari/datasets").expanduser()) / source.id


def available(source: MinariSource) -> bool:
    """Whether Minari holds the dataset on this machine."""
    return (path(source) / "data").is_dir()


def pull(dataset: Dataset, source: MinariSource) -> Path:
    """Download the dataset into Minari's own folder.

    Raises:
        DataError: Minari's server cannot be reached or does not have it.
    """
    import minari

    if not available(source):
        try:
            minari.download_dataset(source.id)
        except ImportError as error:
            raise DataError(f"cannot download Minari's {source.id!r} for {dataset.id}: {error}") from error
        # whatever the client of Minari's storage raises: there are several, each with errors of its own
        except Exception as error:
            raise DataError(
                f"cannot download Minari's {source.id!r} for {dataset.id}: {error}; is the network up? "
                f"A copy of the dataset belongs at {path(source)}"
            ) from error
        if not available(source):
            raise DataError(f"Minari downloaded {source.id!r} for {dataset.id}, but {path(source)} is empty")
    return path(source)


def load(dataset: Dataset, source: MinariSource, identity: dict[str, Any]) -> Transitions:
    """Turn each episode of T steps and T + 1 observations into T transitions.

    D4RL must drop the step at which an episode was cut, because its files lack the observation after it.
    Minari has that observation, so every step is kept; nothing was done after the last,
    whose own action stands in for the next. Terminations become terminals, truncations do not. Of
    the dictionaries that goal environments observe, only ``observation`` is used, [x, y, vx, vy] for the
    point mazes; ``desired_goal`` is dropped, and the frame is Gymnasium-Robotics', centred on the maze.

    Raises:
        DataError: The dataset is missing, damaged or of other sizes than the spec's.
    """
    import minari

    if not available(source):
        raise DataError(missing(dataset, source))
    try:
        episodes = list(minari.load_dataset(source.id).iterate_episodes())
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise DataError(f"{path(source)} is damaged: {error}") from error
    where = f"Minari's {source.id}"
    if not episodes:
        raise DataError(f"{where} holds no episodes")
    observations = [_flat(episode.observations, where) for episode in episodes]
    for observed, episode in zip(observations, episodes, strict=True):
        if len(observed) != len(episode.rewards) + 1:
            raise DataError(
                f"{where}: episode {episode.id} has {len(episode.rewards)} steps, "
                f"but {len(observed)} observations"
            )
    arrays = {
        "observations": np.concatenate([observed[:-1] for observed in observations]),
        "actions": np.concatenate([np.asarray(episode.actions) for episode in episodes]),
        "rewards": np.concatenate([episode.rewards for episode in episodes]),
        "next_observations": np.concatenate([observed[1:] for observed in observations]),
        "terminals": np.concatenate([episode.terminations for episode in episodes]),
        "next_actions": np.concatenate([_next(np.asarray(episode.actions)) for episode in episodes]),
    }
    return transitions(arrays, dataset, identity, where)


def missing(dataset: Dataset, source: MinariSource) -> str:
    """What to say when Minari does not hold the dataset here."""
    return (
        f"{dataset.id} (minari) is missing: looked at {path(source)}; "
        f"run `harness data pull {dataset.id} --data minari`"
    )


def _next(actions: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([actions[1:], actions[-1:]])


def _flat(observations: Any, where: str) -> NDArray[Any]:
    if isinstance(observations, dict):
        observations = observations.get("observation")
    if not isinstance(observations, np.ndarray):
        raise DataError(f"{where} has observations that are neither arrays nor hold an 'observation'")
    return observations
