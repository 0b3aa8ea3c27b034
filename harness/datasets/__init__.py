"""Where transitions come from: D4RL's files, Minari's datasets, and datasets made here.

Loading never downloads and never builds. Everything here raises `harness.errors.DataError` with what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.datasets import d4rl, generated, minari
from harness.datasets.base import Transitions
from harness.datasets.home import default_home
from harness.errors import DataError
from harness.specs.models import D4RLSource, Dataset, GeneratedSource, Lineage, MinariSource

if TYPE_CHECKING:
    from harness.datasets.download import Progress

__all__ = [
    "Transitions",
    "available",
    "build",
    "card",
    "default_home",
    "export_to_minari",
    "identity",
    "in_minari",
    "load",
    "missing_message",
    "path",
    "pull",
    "verify",
]


def identity(dataset: Dataset, lineage: Lineage) -> dict[str, Any]:
    """What names a dataset's content, known without the data: part of every run's key.

    Args:
        dataset: The spec as it is used; a preset may have changed its ``transitions``.
        lineage: Which of its sources.

    Returns:
        `Dataset.identity`: id, lineage, and D4RL's file, Minari's id, or recipe and environment.

    Raises:
        DataError: The dataset has no source of that lineage.
    """
    _source(dataset, lineage)
    return dict(dataset.identity(lineage))


def path(dataset: Dataset, lineage: Lineage, home: Path | None = None) -> Path:
    """Where the data lie, or where they would lie.

    Args:
        dataset: The spec as it is used.
        lineage: Which of its sources.
        home: The data folder; None: `default_home`. Minari's data lie in Minari's own folder in any case.

    Raises:
        DataError: The dataset has no source of that lineage.
    """
    home = home or default_home()
    match _source(dataset, lineage):
        case D4RLSource() as source:
            return d4rl.path(source, home)
        case MinariSource() as source:
            return minari.path(source)
        case GeneratedSource():
            return generated.path(dataset, home, identity(dataset, lineage))


def available(dataset: Dataset, lineage: Lineage, home: Path | None = None) -> bool:
    """Whether the data are there; their content is checked by `load`.

    Raises:
        DataError: The dataset has no source of that lineage.
    """
    match _source(dataset, lineage):
        case MinariSource() as source:
            return minari.available(source)
        case _:
            return path(dataset, lineage, home).is_file()


def load(dataset: Dataset, lineage: Lineage, home: Path | None = None) -> Transitions:
    """Load and check the transitions of a dataset.

    Args:
        dataset: The spec as it is used.
        lineage: Which of its sources.
        home: The data folder; None: `default_home`.

    Raises:
        DataError: The data are missing, damaged, changed since first use, or not what the spec says.
    """
    return _load(dataset, lineage, home, verify=False)


def verify(dataset: Dataset, lineage: Lineage, home: Path | None = None) -> Transitions:
    """Load the dataset and check all that can be checked, however often that was done before.

    Raises:
        DataError: As `load`.
    """
    return _load(dataset, lineage, home, verify=True)


def pull(
    dataset: Dataset, lineage: Lineage, home: Path | None = None, progress: Progress | None = None
) -> Path:
    """Download a dataset, unless it is there; an interrupted download goes on where it ended.

    Args:
        dataset: The spec as it is used.
        lineage: Which of its sources.
        home: The data folder; None: `default_home`.
        progress: Called with bytes so far and in total (None if unknown); Minari shows its own.

    Returns:
        Where the data lie.

    Raises:
        DataError: They cannot be had, or what was had is not the dataset.
    """
    match _source(dataset, lineage):
        case D4RLSource() as source:
            return d4rl.pull(dataset, source, home or default_home(), progress)
        case MinariSource() as source:
            return minari.pull(dataset, source)
        case GeneratedSource():
            raise DataError(f"{dataset.id} (generated) is made here: run `harness data build {dataset.id}`")


def build(
    dataset: Dataset,
    lineage: Lineage = "generated",
    home: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
    train: Callable[[], generated.Trained] | None = None,
    waiting: Callable[[], None] = lambda: None,
) -> Path:
    """Make a generated dataset and its card, unless they are there.

    Args:
        dataset: The spec as it is used.
        lineage: 'generated'; no other data are made here.
        home: The data folder; None: `default_home`.
        progress: Called with the number of rows made so far, by recipes that take long.
        train: Makes the rows of the recipe 'sac-replay', which needs training; no other needs it.
        waiting: Called before waiting for another process that makes the same data.

    Returns:
        Where the data lie.

    Raises:
        DataError: The dataset is of another lineage, or cannot be made or written.
    """
    match _source(dataset, lineage):
        case GeneratedSource() as source:
            name = identity(dataset, lineage)
            return generated.build(dataset, source, home or default_home(), name, progress, train, waiting)
        case _:
            raise DataError(
                f"{dataset.id} ({lineage}) is not made here: run `harness data pull {dataset.id}`"
            )


def card(dataset: Dataset, home: Path | None = None) -> dict[str, Any]:
    """The data card of a generated dataset that is on this machine; made now where the file has none.

    Raises:
        DataError: The dataset is not here, or damaged, or no generated one.
    """
    return generated.card(dataset, home or default_home(), identity(dataset, "generated"))


def export_to_minari(dataset: Dataset, name: str, home: Path | None = None) -> Path:
    """Write a generated dataset that is on this machine as a dataset of Minari's, unless it is one already.

    Takes no network.

    Args:
        dataset: The spec as it is used.
        name: Its id in Minari, for example ``harness/hopper-medium-v2``.
        home: The data folder; None: `default_home`.

    Returns:
        Minari's folder.

    Raises:
        DataError: The dataset is not here or damaged, or Minari has another of that name or refuses the name.
    """
    rows, content_hash = generated.read(dataset, home or default_home(), identity(dataset, "generated"))
    return minari.export(dataset, rows, content_hash, name)


def in_minari(dataset: Dataset, name: str) -> bool:
    """Whether Minari has a dataset by that name that `export_to_minari` made of this recipe.

    Raises:
        DataError: Minari has another one by that name.
    """
    return minari.holds(dataset, name)


def missing_message(missing: Sequence[tuple[Dataset, Lineage]], home: Path | None = None) -> str:
    """One message for many datasets that are not there: which, where was looked, and what to do.

    Args:
        missing: At least one dataset with its lineage.
        home: The data folder; None: `default_home`.
    """
    home = home or default_home()
    lines = [f"{len(missing)} dataset{'s are' if len(missing) > 1 else ' is'} missing:"]
    lines += [
        f"  {dataset.id} ({lineage}), looked at {_looked(dataset, lineage, home)}"
        for dataset, lineage in missing
    ]
    lines.append("What to do:")
    commands: dict[str, list[str]] = {}  # how each is had -> of which datasets
    for dataset, lineage in missing:
        match dataset.source(lineage):
            case GeneratedSource(transitions=rows):
                command = f"build {{}} --transitions {rows}"
            case MinariSource():
                command = "pull {} --data minari"
            case _:
                command = "pull {}"
        commands.setdefault(command, []).append(dataset.id)
    lines += [f"  harness data {command.format(' '.join(ids))}" for command, ids in commands.items()]
    if any(lineage == "d4rl" for _, lineage in missing):
        lines.append("  or set HARNESS_D4RL_MIRROR to a URL or folder with D4RL's files and pull from there")
        lines.append("  or put the files where was looked; D4RL_DATASET_DIR may name a folder that has them")
    others = {
        other
        for dataset, lineage in missing
        for other in _LINEAGES
        if other != lineage and dataset.source(other) is not None
    }
    if others:
        options = " or ".join(f"--data {lineage}" for lineage in _LINEAGES if lineage in others)
        lines.append(f"  or use another lineage with {options}; its scores are not comparable (N/C)")
    return "\n".join(lines)


_LINEAGES: tuple[Lineage, ...] = ("d4rl", "minari", "generated")


def _source(dataset: Dataset, lineage: Lineage) -> D4RLSource | MinariSource | GeneratedSource:
    source = dataset.source(lineage)
    if source is None:
        has = ", ".join(other for other in _LINEAGES if dataset.source(other) is not None) or "none"
        raise DataError(f"{dataset.id} has no {lineage} data; its spec has {has}")
    return source


def _load(dataset: Dataset, lineage: Lineage, home: Path | None, *, verify: bool) -> Transitions:
    home = home or default_home()
    name = identity(dataset, lineage)
    match _source(dataset, lineage):
        case D4RLSource() as source:
            return d4rl.load(dataset, source, home, name, verify=verify)
        case MinariSource() as source:
            return minari.load(dataset, source, name)
        case GeneratedSource() as source:
            return generated.load(dataset, source, home, name)


def _looked(dataset: Dataset, lineage: Lineage, home: Path) -> str:
    match _source(dataset, lineage):
        case D4RLSource() as source:
            return " and ".join(str(place) for place in d4rl.locations(source, home))
        case _:
            return str(path(dataset, lineage, home))
