"""Datasets made here, by a recipe and a seed, and kept as HDF5 files in D4RL's layout."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets import files, hdf5
from harness.datasets.base import Transitions, hash_arrays, transitions
from harness.datasets.qlearning import qlearning
from harness.errors import DataError, HarnessError
from harness.results.records import canonical
from harness.specs.models import Dataset, Environment, GeneratedSource

Rows = dict[str, NDArray[Any]]


def path(dataset: Dataset, home: Path, identity: dict[str, Any]) -> Path:
    """Where the file lies or would lie; another identity is another file."""
    digest = hashlib.sha256(canonical(identity).encode()).hexdigest()
    return home / "generated" / f"{dataset.id}-{digest[:12]}.hdf5"


def build(dataset: Dataset, source: GeneratedSource, home: Path, identity: dict[str, Any]) -> Path:
    """Make the dataset, unless it is there.

    Raises:
        DataError: There is no such recipe or version, or the file cannot be written.
        HarnessError: The environment cannot be made.
    """
    target = path(dataset, home, identity)
    with files.locked(target):
        if target.exists():
            return target
        # an estimate: float32 observations, actions and rewards, goals at most, and two flags
        files.require_space(
            target, source.transitions * (4 * (dataset.observation_size + dataset.action_size + 3) + 2)
        )
        version, recipe = _RECIPES[source.recipe]
        if source.version != version:
            raise DataError(
                f"{dataset.id} asks for version {source.version} of the recipe {source.recipe!r}, "
                f"but this harness makes version {version}"
            )
        rows = recipe(_environment(dataset), source.transitions, source.seed)
        with files.atomic(target) as temporary:
            _write(temporary, rows, canonical(identity))
    return target


def load(
    dataset: Dataset,
    source: GeneratedSource,
    home: Path,
    identity: dict[str, Any],
) -> Transitions:
    """Read the file, hold it to the hash written with it, and turn its rows into transitions.

    Raises:
        DataError: The file is missing, damaged, changed or another one.
    """
    import h5py

    place = path(dataset, home, identity)
    if not place.is_file():
        raise DataError(missing(dataset, home, identity))
    rows = hdf5.read_rows(place, everything=True)
    with h5py.File(place, "r") as file:
        recorded, content_hash = file.attrs.get("identity"), file.attrs.get("content_hash")
    again = f"remove the file and run `harness data build {dataset.id}`"
    if recorded != (wanted := canonical(identity)):
        raise DataError(f"{place} was made for {recorded}, not for {wanted}; {again}")
    if content_hash != (found := hash_arrays(rows)):
        raise DataError(f"{place} was changed: its rows hash to {found}, but were {content_hash}; {again}")
    if len(rows["rewards"]) != source.transitions:
        raise DataError(f"{place} has {len(rows['rewards']):,} rows, not {source.transitions:,}; {again}")
    return transitions(qlearning(rows, None), dataset, identity, str(place))


def missing(dataset: Dataset, home: Path, identity: dict[str, Any]) -> str:
    """What to say when the file is not there."""
    return (
        f"{dataset.id} (generated) is missing: looked at {path(dataset, home, identity)}; "
        f"run `harness data build {dataset.id}`"
    )


def random_policy(environment: Environment, rows: int, seed: int) -> Rows:
    """Uniformly random actions, episode after episode, as D4RL's ``collect_data.py --random``.

    Args:
        environment: Where to act, and the length at which an episode is cut.
        rows: Rows to write; fewer rows are the beginning of more.
        seed: Seeds actions and starts.

    Returns:
        D4RL's fields: ``observations`` (N, S), ``actions`` (N, A), ``rewards`` (N,), ``terminals`` (N,) and
        ``timeouts`` (N,), where an episode that ends at its last step counts as cut, as in D4RL.
    """
    from gymnasium.spaces import Box

    from harness import environments

    # without wrappers: they would take a third of the time
    env = environments.make(environment).unwrapped
    space = env.action_space
    if not isinstance(space, Box):  # narrows the type for mypy; `make` lets no other space through
        raise TypeError(space)
    random = np.random.default_rng(seed)
    actions = random.uniform(space.low, space.high, (rows, *space.shape)).astype(np.float32)
    observation, _ = env.reset(seed=seed)
    observations = np.empty((rows, len(observation)), np.float32)
    rewards = np.empty(rows, np.float32)
    terminals, timeouts = np.zeros(rows, bool), np.zeros(rows, bool)
    length = 0
    for row in range(rows):
        observations[row] = observation
        observation, reward, terminated, _, _ = env.step(actions[row])
        rewards[row] = float(reward)
        length += 1
        timeouts[row] = length == environment.max_episode_steps
        terminals[row] = terminated and not timeouts[row]
        if terminals[row] or timeouts[row]:
            observation, _ = env.reset()
            length = 0
    env.close()
    return {
        "observations": observations,
        "actions": actions,
        "rewards": rewards,
        "terminals": terminals,
        "timeouts": timeouts,
    }


def maze2d_waypoints(environment: Environment, rows: int, seed: int) -> Rows:
    """The walk of `harness.datasets.waypoints` through the maze of the environment.

    Args:
        environment: One of ``harness/maze2d-*``, and the time for one goal.
        rows: Rows to write; fewer rows are the beginning of more.
        seed: Seeds starts, goals and waypoints.

    Returns:
        See `harness.datasets.waypoints.walk`.

    Raises:
        HarnessError: The environment is no maze of this project.
    """
    from harness.datasets.waypoints import walk
    from harness.environments.maze2d import MAZES

    layout = MAZES.get(environment.id.removeprefix("harness/maze2d-"))
    if layout is None:
        raise HarnessError(f"the recipe 'maze2d-waypoints' needs a harness/maze2d-*, not {environment.id!r}")
    return walk(layout, environment.max_episode_steps, rows, seed)


# name -> version, raised by any change that changes the data, and the code
_RECIPES: dict[str, tuple[int, Callable[[Environment, int, int], Rows]]] = {
    "random-policy": (1, random_policy),
    "maze2d-waypoints": (1, maze2d_waypoints),
}


def _environment(dataset: Dataset) -> Environment:
    if dataset.environment is None:
        raise DataError(f"{dataset.id} cannot be generated: its spec names no environment")
    return dataset.environment


def _write(target: Path, rows: Rows, made_for: str) -> None:
    import h5py

    with h5py.File(target, "w") as file:
        for name, array in rows.items():
            file.create_dataset(name, data=array)
        file.attrs["identity"] = made_for
        file.attrs["content_hash"] = hash_arrays(rows)
        # not part of the identity, but what to look at if two machines disagree on the content
        for package in ("gymnasium", "mujoco", "numpy"):
            file.attrs[f"{package}_version"] = importlib.metadata.version(package)
