"""Where transitions come from: D4RL's files, Minari's datasets, datasets made here, and one's own.

Loading never downloads and never builds. Everything here raises `harness.errors.DataError` with what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.datasets import cards, generated, minari
from harness.datasets.base import Transitions, hash_arrays, nothing
from harness.datasets.readers import Fetch, Progress, Say, block, reader, silent
from harness.errors import DataError
from harness.home import default_home
from harness.specs.models import Dataset, GeneratedSource, Lineage

__all__ = [
    "Transitions",
    "available",
    "build",
    "card",
    "count",
    "default_home",
    "export_to_minari",
    "fetches",
    "identity",
    "in_minari",
    "load",
    "missing_message",
    "nothing",
    "path",
    "pull",
    "size",
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
    block(dataset, lineage)
    return dataset.identity(lineage)


def path(dataset: Dataset, lineage: Lineage, home: Path | None = None) -> Path:
    """Where the data lie, or where they would lie.

    Args:
        dataset: The spec as it is used.
        lineage: Which of its sources.
        home: The data folder; None: `default_home`. Minari's data lie in Minari's own folder in any case.

    Raises:
        DataError: The dataset has no source of that lineage.
    """
    return reader(lineage).path(dataset, block(dataset, lineage), home or default_home())


def available(dataset: Dataset, lineage: Lineage, home: Path | None = None) -> bool:
    """Whether the data are there; their content is checked by `load`.

    Raises:
        DataError: The dataset has no source of that lineage.
    """
    return reader(lineage).available(dataset, block(dataset, lineage), home or default_home())


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
    dataset: Dataset,
    lineage: Lineage,
    home: Path | None = None,
    progress: Progress | None = None,
    say: Say = silent,
) -> Path:
    """Download a dataset, unless it is there; an interrupted download goes on where it ended.

    Args:
        dataset: The spec as it is used.
        lineage: Which of its sources.
        home: The data folder; None: `default_home`.
        progress: Called with bytes so far and in total (None if unknown); Minari shows its own.
        say: Called with what a person should know, as that one server did not have the file.

    Returns:
        Where the data lie.

    Raises:
        DataError: They cannot be had, or what was had is not the dataset.
    """
    source = block(dataset, lineage)
    return reader(lineage).obtain(dataset, source, home or default_home(), progress, say)


def fetches(dataset: Dataset, lineage: Lineage, home: Path | None = None) -> Sequence[Fetch]:
    """The files that a person can fetch in the place of `pull`; none of a lineage that has no such files.

    Raises:
        DataError: The dataset has no source of that lineage.
    """
    return reader(lineage).fetches(dataset, block(dataset, lineage), home or default_home())


def size(dataset: Dataset, lineage: Lineage) -> int | None:
    """Bytes of the data, as the spec says or from its rows; None where neither tells.

    Raises:
        DataError: The dataset has no source of that lineage.
    """
    return reader(lineage).size(dataset, block(dataset, lineage))


def count(dataset: Dataset, lineage: Lineage) -> int | None:
    """Rows of the data, as the spec says; None where it does not.

    Raises:
        DataError: The dataset has no source of that lineage.
    """
    return reader(lineage).count(block(dataset, lineage))


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
        waiting: Called again and again while another process makes the same data.

    Returns:
        Where the data lie.

    Raises:
        DataError: The dataset is of another lineage, or cannot be made or written.
    """
    source = block(dataset, lineage)
    if not isinstance(source, GeneratedSource):
        raise DataError(f"{dataset.id} ({lineage}) is not made here: run `harness data pull {dataset.id}`")
    name = identity(dataset, lineage)
    return generated.build(dataset, source, home or default_home(), name, progress, train, waiting)


def card(dataset: Dataset, home: Path | None = None, lineage: Lineage = "generated") -> dict[str, Any]:
    """The data card of a dataset that is on this machine; of a generated one the card beside its file.

    Args:
        dataset: The spec as it is used.
        home: The data folder; None: `default_home`.
        lineage: Which of its sources.

    Raises:
        DataError: The dataset is not here or damaged, or has no such source.
    """
    home, name, source = home or default_home(), identity(dataset, lineage), block(dataset, lineage)
    if isinstance(source, GeneratedSource):
        return generated.card(dataset, home, name)
    rows = reader(lineage).rows(dataset, source, home)
    return cards.describe(rows, dataset, name, hash_arrays(rows), {})


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
    stored = generated.read(dataset, home or default_home(), identity(dataset, "generated"))
    return minari.export(dataset, stored.rows, stored.content_hash, name)


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
    commands: dict[str, list[str]] = {}  # how each is had -> of which datasets
    advice: dict[str, None] = {}
    for dataset, lineage in missing:
        found, source = reader(lineage), block(dataset, lineage)
        looked = " and ".join(map(str, found.looked(dataset, source, home)))
        lines.append(f"  {dataset.id} ({lineage}), looked at {looked}")
        commands.setdefault(found.command(lineage, source), []).append(dataset.id)
        advice |= dict.fromkeys(found.advice())
    lines.append("What to do:")
    lines += [f"  {command.format(' '.join(ids))}" for command, ids in commands.items()]
    lines += [f"  or {text}" for text in advice]
    others = dict.fromkeys(
        other for dataset, lineage in missing for other in dataset.sources if other != lineage
    )
    if others:
        options = " or ".join(f"--data {lineage}" for lineage in others)
        lines.append(f"  or use another lineage with {options}; its scores are not comparable (N/C)")
    return "\n".join(lines)


def _load(dataset: Dataset, lineage: Lineage, home: Path | None, *, verify: bool) -> Transitions:
    source = block(dataset, lineage)
    name = identity(dataset, lineage)
    return reader(lineage).load(dataset, source, home or default_home(), name, verify=verify)
