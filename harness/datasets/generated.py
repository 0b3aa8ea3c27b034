"""Datasets made here, by a recipe and a seed, and kept as HDF5 files in D4RL's layout."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness import environments, files
from harness.datasets import apart, cards, hdf5, readers
from harness.datasets.base import Transitions, hash_arrays, transitions
from harness.datasets.qlearning import qlearning
from harness.errors import DataError, HarnessError
from harness.home import default_home
from harness.results.records import canonical, digest
from harness.specs.models import Dataset, Environment, GeneratedSource, PolicyFile

Rows = dict[str, NDArray[Any]]
Progress = Callable[[int], None]

_ATTRIBUTES = ("identity", "content_hash", "origin")

_SLACK = 2**20
"""Bytes that HDF5 may take besides the rows."""


class Reader(readers.Reader[GeneratedSource]):
    """Files that `build` makes."""

    Source = GeneratedSource
    examined = True

    def path(self, dataset: Dataset, source: GeneratedSource, home: Path) -> Path:
        """Where the file lies or would lie; another identity is another file."""
        return path(dataset, home, dataset.identity("generated"))

    def obtain(
        self,
        dataset: Dataset,
        source: GeneratedSource,
        home: Path,
        progress: object = None,
        say: object = None,
    ) -> Path:
        """Nothing is fetched.

        Raises:
            DataError: Always; it says how the data are made.
        """
        raise DataError(f"{dataset.id} (generated) is made here: run `harness data build {dataset.id}`")

    def rows(self, dataset: Dataset, source: GeneratedSource, home: Path, *, verify: bool = False) -> Rows:
        """Read the file and hold it to the hash written with it."""
        return read(dataset, home, dataset.identity("generated")).rows

    def load(
        self,
        dataset: Dataset,
        source: GeneratedSource,
        home: Path,
        identity: dict[str, Any],
        *,
        verify: bool = False,
    ) -> Transitions:
        """Pair each row with the next, as D4RL does, also where the file knows the next observations."""
        place = path(dataset, home, identity)
        rows = self.rows(dataset, source, home)
        short = len(rows["rewards"]) != source.transitions and source.recipe != "stitched"
        if short or len(rows["rewards"]) > source.transitions:
            raise DataError(
                f"{place} has {len(rows['rewards']):,} rows, not {source.transitions:,}; "
                f"{_again(dataset, home)}"
            )
        paired = qlearning(rows, None)
        return transitions(paired, dataset, identity, str(place), runs_on="ends" in rows)

    def command(self, lineage: str, source: GeneratedSource) -> str:
        """The command that makes as many rows."""
        return f"harness data build {{}} --transitions {source.transitions}"

    def size(self, dataset: Dataset, source: GeneratedSource) -> int:
        """What its rows will take."""
        return source.transitions * row_bytes(dataset)

    def count(self, source: GeneratedSource) -> int:
        """As many as are made."""
        return source.transitions

    def sha256(self, dataset: Dataset, source: GeneratedSource, home: Path) -> str | None:
        """Of the rows, as the card says; None before they are made."""
        place = self.path(dataset, source, home)
        return (cards.read(place) or {}).get("content_hash") if place.is_file() else None


class Stored(NamedTuple):
    """What is in a file that was made here: rows, their hash, and the ``origin`` of `cards.describe`."""

    rows: Rows
    content_hash: str
    origin: dict[str, Any]


class Trained(NamedTuple):
    """Rows that a training gathered, and what the card says of that training."""

    rows: Rows
    training: dict[str, Any]


def path(dataset: Dataset, home: Path, identity: dict[str, Any]) -> Path:
    """Where the file lies or would lie; another identity is another file."""
    return home / "generated" / f"{dataset.id}-{digest(identity)[:12]}.hdf5"


def row_bytes(dataset: Dataset) -> int:
    """Bytes that a row takes at most: float32 observations (twice), actions and rewards, and two flags."""
    return 4 * (2 * dataset.observation_size + dataset.action_size + 1) + 2


def build(
    dataset: Dataset,
    source: GeneratedSource,
    home: Path,
    identity: dict[str, Any],
    progress: Progress = lambda done: None,
    train: Callable[[], Trained] | None = None,
    waiting: Callable[[], None] = lambda: None,
) -> Path:
    """Make the dataset and its card, unless they are there.

    Args:
        dataset: Its spec.
        source: Its recipe.
        home: The data folder.
        identity: `Dataset.identity`.
        progress: Called with the number of rows made so far.
        train: Makes the rows of a recipe that needs training; no other needs it.
        waiting: Called again and again while another process makes the same file.

    Raises:
        DataError: There is no such recipe or version, or the file cannot be written.
        HarnessError: The environment cannot be made.
    """
    target = path(dataset, home, identity)
    if target.exists():  # perhaps in a folder that is only read
        card(dataset, home, identity)
        return target
    with files.locked(target, waiting):
        if target.exists():
            card(dataset, home, identity)
            return target
        files.require_space(target, source.transitions * row_bytes(dataset) + _SLACK)
        if source.version != VERSIONS[source.recipe]:
            raise DataError(
                f"{dataset.id} asks for version {source.version} of the recipe {source.recipe!r}, "
                f"but this harness makes version {VERSIONS[source.recipe]}"
            )
        environment = _environment(dataset)
        if environment.rescale_actions and source.recipe != "random-policy":
            raise DataError(
                f"{dataset.id}: policies of the recipe {source.recipe!r} act in [-1, 1], so its environment "
                "must take such actions without rescale_actions"
            )
        environments.check(environment, dataset.observation_size, dataset.action_size)
        if train:
            made, training = train()
        else:
            made, training = _RECIPES[source.recipe](dataset, source, home, progress), {}
        content_hash, origin = hash_arrays(made), {"made_with": cards.versions(), "training": training}
        with files.atomic(target) as temporary:
            _write(temporary, made, canonical(identity), content_hash, origin)
        cards.write(target, cards.describe(made, dataset, identity, content_hash, origin))
    return target


def read(dataset: Dataset, home: Path, identity: dict[str, Any]) -> Stored:
    """What is in the file.

    Raises:
        DataError: The file is missing, damaged, changed or another one, or its card is of other content.
    """
    place = path(dataset, home, identity)
    if not place.is_file():
        raise DataError(missing(dataset, home, identity))
    rows = apart.call(stored, place, libraries=("h5py",))
    recorded, content_hash, origin = (rows.pop(f"@{name}").item().decode() for name in _ATTRIBUTES)
    if recorded != (wanted := canonical(identity)):
        raise DataError(f"{place} was made for {recorded}, not for {wanted}; {_again(dataset, home)}")
    if content_hash != (found := hash_arrays(rows)):
        raise DataError(
            f"{place} was changed: its rows hash to {found}, but were {content_hash}; {_again(dataset, home)}"
        )
    described = cards.read(place)
    if described is not None and (said := described.get("content_hash", found)) != found:
        raise DataError(
            f"{cards.path(place)} describes other content than {place.name} has: "
            f"{said}, not {found}; remove both and run {_build(dataset, home)}"
        )
    return Stored(rows, found, json.loads(origin or "{}"))


def stored(place: Path) -> Rows:
    """The arrays of a file made here, and its attributes as texts whose names begin with '@'."""
    with hdf5.opened(place) as file:
        texts = {f"@{name}": np.array(str(file.attrs.get(name, "")).encode()) for name in _ATTRIBUTES}
        json.loads(texts["@origin"].item() or "{}")  # fails where it is damaged
    return hdf5.read(place, everything=True) | texts


def card(dataset: Dataset, home: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """The card of the file, made from its rows; one that is missing, or says otherwise, is written anew.

    Raises:
        DataError: As `read`.
    """
    found = _described(dataset, home, identity)
    with contextlib.suppress(DataError):  # where the folder is only read it is shown all the same
        _renew(path(dataset, home, identity), found)
    return found


def _described(dataset: Dataset, home: Path, identity: dict[str, Any]) -> dict[str, Any]:
    rows, content_hash, origin = read(dataset, home, identity)
    return cards.describe(rows, dataset, identity, content_hash, origin)


def _renew(place: Path, card: dict[str, Any]) -> None:
    if cards.read(place) != card or not cards.page(place).exists():
        cards.write(place, card)


def _build(dataset: Dataset, home: Path) -> str:
    """The command that makes this very dataset, whatever number of rows its spec names."""
    rows = f" --transitions {dataset.generated.transitions}" if dataset.generated else ""
    folder = f" --data-home {home}" if home != default_home() else ""
    return f"`harness data build {dataset.id}{rows}{folder}`"


def _again(dataset: Dataset, home: Path) -> str:
    return f"remove the file and run {_build(dataset, home)}"


def missing(dataset: Dataset, home: Path, identity: dict[str, Any]) -> str:
    """What to say when the file is not there."""
    return (
        f"{dataset.id} (generated) is missing: looked at {path(dataset, home, identity)}; "
        f"run {_build(dataset, home)}"
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

    # without wrappers: they would take a third of the time
    env = environments.make(environment).unwrapped
    space = env.action_space
    if not isinstance(space, Box):  # narrows the type for mypy; `make` lets no other space through
        raise TypeError(space)
    limit = environments.time_limit(environment)
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
        timeouts[row] = length == limit
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
    return walk(layout, environments.time_limit(environment), rows, seed)


def policy_rollout(
    dataset: Dataset, source: GeneratedSource, home: Path, progress: Progress = lambda done: None
) -> Rows:
    """A trained policy's drawn actions, episode after episode, as D4RL's ``collect_data.py``.

    Returns:
        See `harness.datasets.rollouts.collect`.

    Raises:
        DataError: The policy's file is missing, another one, or does not fit the environment.
    """
    return _rolled_out(dataset, source.policies[0], source.transitions, source.seed, home, progress)


def ant_navigate(
    dataset: Dataset, source: GeneratedSource, home: Path, progress: Progress = lambda done: None
) -> Rows:
    """The walk of `harness.datasets.navigation`, with the rewards of the dataset's task.

    Returns:
        See `harness.datasets.ogbench.relabelled`.

    Raises:
        DataError: The expert's file is missing, another one, or does not fit the ant.
        HarnessError: The environment is no maze of OGBench's.
    """
    from harness.datasets import navigation, ogbench, policies, rollouts

    expert = policies.wanted(source.policies[0], home, navigation.ANT, *navigation.SIZES)
    walk = rollouts.collect(
        expert,
        _environment(dataset),
        source.transitions,
        source.seed,
        progress=progress,
        crew=navigation.Navigators,
    )
    return ogbench.relabelled(walk, dataset)


def stitched(
    dataset: Dataset, source: GeneratedSource, home: Path, progress: Progress = lambda done: None
) -> Rows:
    """The rows of a first policy up to its last finished episode, then those of a second.

    As D4RL's ``stitch_dataset.py``: no episode of the first is left open, so half of the wanted rows less the
    open episode's come from the first, and half from the second.

    Raises:
        DataError: As `policy_rollout`.
    """
    half = source.transitions // 2
    if not half:
        raise DataError(f"{dataset.id} takes at least 2 rows: it is stitched from two datasets")
    first = _rolled_out(dataset, source.policies[0], half, source.seed, home, progress)
    rest = source.transitions - half
    second = _rolled_out(
        dataset, source.policies[1], rest, source.seed, home, lambda done: progress(half + done)
    )
    return stitch(first, second, source.transitions)


def stitch(first: Rows, second: Rows, largest: int) -> Rows:
    """All of the first up to its last end of an episode, then the second, at most ``largest`` rows.

    Where no episode of the first has ended, D4RL keeps its first row; so does this.
    """
    ends = np.flatnonzero(first["terminals"] | first["timeouts"])
    kept = int(ends[-1]) + 1 if len(ends) else 1
    return {name: np.concatenate([first[name][:kept], second[name]])[:largest] for name in first}


def _rolled_out(
    dataset: Dataset, wanted: PolicyFile, rows: int, seed: int, home: Path, progress: Progress
) -> Rows:
    from harness.datasets import policies, rollouts

    environment = _environment(dataset)
    policy = policies.wanted(wanted, home, environment, dataset.observation_size, dataset.action_size)
    return rollouts.collect(policy, environment, rows, seed, progress=progress)


def _untrained(dataset: Dataset, source: GeneratedSource, home: Path, progress: Progress) -> Rows:
    raise DataError(f"{dataset.id} (generated) needs training: run {_build(dataset, home)}")


#: Recipe -> version, raised by any change that changes the data.
VERSIONS = {
    "random-policy": 1,
    "maze2d-waypoints": 1,
    "policy-rollout": 1,
    "stitched": 1,
    "sac-replay": 2,
    "ant-navigate": 1,
}

_RECIPES: dict[str, Callable[[Dataset, GeneratedSource, Path, Progress], Rows]] = {
    "random-policy": lambda dataset, source, home, progress: random_policy(
        _environment(dataset), source.transitions, source.seed
    ),
    "maze2d-waypoints": lambda dataset, source, home, progress: maze2d_waypoints(
        _environment(dataset), source.transitions, source.seed
    ),
    "policy-rollout": policy_rollout,
    "stitched": stitched,
    "sac-replay": _untrained,
    "ant-navigate": ant_navigate,
}


def _environment(dataset: Dataset) -> Environment:
    if dataset.environment is None:
        raise DataError(f"{dataset.id} cannot be generated: its spec names no environment")
    return dataset.environment


def _write(target: Path, rows: Rows, made_for: str, content_hash: str, origin: dict[str, Any]) -> None:
    import h5py

    with h5py.File(target, "w", locking=False) as file:  # nobody else has its name
        for name, array in rows.items():
            file.create_dataset(name, data=array)
        file.attrs["identity"] = made_for
        file.attrs["content_hash"] = content_hash
        # not part of the identity, but what to look at if two machines disagree on the content
        file.attrs["origin"] = json.dumps(origin)
