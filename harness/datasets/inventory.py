"""Which datasets there are and which of them are on this machine."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import datasets
from harness.datasets.readers import block, reader
from harness.errors import DataError
from harness.specs import Dataset, Lineage, Specs


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
    specs: Specs, names: Sequence[str], lineages: Collection[Lineage] = (), home: Path | None = None
) -> Iterator[Item]:
    """Every lineage of these datasets, in order.

    Args:
        specs: where the datasets are described.
        names: dataset ids.
        lineages: only these; all if there are none.
        home: data folder, None for the default.

    Raises:
        HarnessError: an id is unknown, or a spec is wrong.
    """
    for name in names:
        dataset = specs.dataset(name)
        for each in dataset.sources:
            if not lineages or each in lineages:
                yield _item(dataset, each, home)


def _item(dataset: Dataset, lineage: Lineage, home: Path | None) -> Item:
    found, source = reader(lineage), block(dataset, lineage)
    home = home or datasets.default_home()
    path, present = found.path(dataset, source, home), found.available(dataset, source, home)
    return Item(
        dataset.id,
        lineage,
        present,
        path,
        _bytes(path) if present else getattr(source, "size", None),
        found.sha256(dataset, source, home),
    )


def _bytes(path: Path) -> int:
    found = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in found)
