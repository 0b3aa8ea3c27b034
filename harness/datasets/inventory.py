"""Which datasets there are and which of them are on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import datasets, files
from harness.datasets import d4rl, hdf5
from harness.errors import DataError
from harness.specs import D4RLSource, Dataset, GeneratedSource, Lineage, Specs


@dataclass(frozen=True)
class Item:
    """One dataset of one lineage.

    Attributes:
        dataset: dataset id.
        lineage: where it comes from.
        present: whether it is on this machine.
        path: where it lies or would lie.
        size: bytes on this machine, or of the file to be had; None where that is not known.
        sha256: of the file as recorded or as the spec says (d4rl), of the rows (generated), or None.
    """

    dataset: str
    lineage: Lineage
    present: bool
    path: Path
    size: int | None
    sha256: str | None


def sized(dataset: Dataset, transitions: int | None) -> Dataset:
    """The dataset with its generated data of another size; as it is for None.

    Raises:
        DataError: it has no generated data.
    """
    if transitions is None:
        return dataset
    if dataset.generated is None:
        raise DataError(f"{dataset.id} has no generated data, so their size cannot be chosen")
    source = dataset.generated.model_copy(update={"transitions": transitions})
    return dataset.model_copy(update={"generated": source})


def inventory(
    specs: Specs, names: Sequence[str], lineage: Lineage | None = None, home: Path | None = None
) -> Iterator[Item]:
    """Every lineage of these datasets, in order.

    Args:
        specs: where the datasets are described.
        names: dataset ids.
        lineage: only this one.
        home: data folder, None for the default.

    Raises:
        HarnessError: an id is unknown, or a spec is wrong.
    """
    lineages: tuple[Lineage, ...] = ("d4rl", "minari", "generated") if lineage is None else (lineage,)
    for name in names:
        dataset = specs.dataset(name)
        for each in lineages:
            if dataset.source(each) is not None:
                yield _item(dataset, each, home)


def _item(dataset: Dataset, lineage: Lineage, home: Path | None) -> Item:
    present = datasets.available(dataset, lineage, home)
    path = datasets.path(dataset, lineage, home)
    source = dataset.source(lineage)
    size = _bytes(path) if present else source.size if isinstance(source, D4RLSource) else None
    sha256 = None
    if isinstance(source, D4RLSource):
        own = d4rl.locations(source, home or datasets.default_home())[0]
        recorded = (files.read_json(own.with_name(own.name + ".sha256")) or {}).get("sha256")
        sha256 = (recorded if present else None) or source.sha256
    elif isinstance(source, GeneratedSource) and present:
        sha256 = _content_hash(path)
    return Item(dataset.id, lineage, present, path, size, sha256)


def _bytes(path: Path) -> int:
    found = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in found)


def _content_hash(path: Path) -> str | None:
    try:
        with hdf5.opened(path) as file:
            value = file.attrs.get("content_hash")
    except DataError:
        return None
    return None if value is None else str(value)
