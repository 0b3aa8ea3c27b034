"""What a lineage is: something that has data and reads them."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from numpy.typing import NDArray
from pydantic import ValidationError

from harness import plugs
from harness.datasets.base import Transitions, transitions
from harness.datasets.qlearning import row_by_row
from harness.errors import DataError, HarnessError, UnknownNameError
from harness.specs.models import LINEAGES, Dataset, Source
from harness.specs.text import Location

S = TypeVar("S", bound=Source)
Rows = dict[str, NDArray[Any]]
Progress = Callable[[int, int | None], None]
Say = Callable[[str], None]


def silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Fetch:
    """A file that a person can fetch in the place of this program.

    Attributes:
        urls: Where it is, each the same bytes.
        size: Bytes; None where that is not known.
        sha256: Of the file; None where that is not known.
        place: Where it belongs.
    """

    urls: tuple[str, ...]
    size: int | None
    sha256: str | None
    place: Path


class Reader(ABC, Generic[S]):
    """How the data of one lineage are had and read.

    The project's are modules of this package; others are classes ``Reader`` in ``datasets/<lineage>.py`` of
    a folder of specs, or are named by an entry point ``harness.datasets`` of an installed package. What names
    the content is what the YAML says (`harness.specs.models.Source.identity`): keys take no reader.
    """

    #: What may stand in the block of a dataset's YAML.
    Source: ClassVar[type[Source]]
    #: Whether `obtain` or whoever made the data has looked into them already.
    examined: ClassVar[bool] = False

    @abstractmethod
    def path(self, dataset: Dataset, source: S, home: Path) -> Path:
        """Where the data lie, or where `obtain` would put them."""

    @abstractmethod
    def obtain(
        self, dataset: Dataset, source: S, home: Path, progress: Progress | None = None, say: Say = silent
    ) -> Path:
        """Fetch the data, unless they are there.

        Args:
            dataset: Its spec.
            source: Its block of this lineage.
            home: The data folder.
            progress: Called with bytes so far and in total (None if unknown).
            say: Called with what a person should know, as that one server did not have the file.

        Raises:
            DataError: They cannot be had, or what was had is not the dataset.
        """

    @abstractmethod
    def rows(self, dataset: Dataset, source: S, home: Path, *, verify: bool = False) -> Rows:
        """Read a row per step.

        Args:
            dataset: Its spec.
            source: Its block of this lineage.
            home: The data folder.
            verify: Check all that can be checked, however often that was done before.

        Returns:
            ``observations`` (N, S), ``actions`` (N, A), ``rewards`` (N,), ``terminals`` (N,) and, where they
            are known, ``next_observations`` (N, S) and ``timeouts`` (N,).

        Raises:
            DataError: The data are missing, damaged or others.
        """

    def load(
        self, dataset: Dataset, source: S, home: Path, identity: dict[str, Any], *, verify: bool = False
    ) -> Transitions:
        """Turn the rows, which have their next observations, into transitions.

        Raises:
            DataError: As `rows`; or they are not what the spec says.
        """
        rows = self.rows(dataset, source, home, verify=verify)
        return transitions(row_by_row(rows), dataset, identity, str(self.path(dataset, source, home)))

    def available(self, dataset: Dataset, source: S, home: Path) -> bool:
        """Whether the data are there; their content is checked when they are read."""
        return self.path(dataset, source, home).exists()

    def looked(self, dataset: Dataset, source: S, home: Path) -> list[Path]:
        """Where data that are missing were looked for."""
        return [self.path(dataset, source, home)]

    def command(self, lineage: str, source: S) -> str:
        """What a person types to have the data, with braces for the datasets' ids."""
        return f"harness data pull {{}} --data {lineage}"

    def advice(self) -> Sequence[str]:
        """What else a person can do."""
        return ()

    def fetches(self, dataset: Dataset, source: S, home: Path) -> Sequence[Fetch]:
        """The files that a person can fetch in the place of `obtain`."""
        return ()

    def size(self, dataset: Dataset, source: S) -> int | None:
        """Bytes of the data to be had, None where that is not known."""
        return getattr(source, "size", None)

    def count(self, source: S) -> int | None:
        """Rows of the data, None where that is not known without reading."""
        return getattr(source, "rows", None)

    def sha256(self, dataset: Dataset, source: S, home: Path) -> str | None:
        """What names the content, None where that is not known without reading."""
        return getattr(source, "sha256", None)


def reader(lineage: str) -> Reader[Any]:
    """The reader of a lineage.

    Raises:
        UnknownNameError: There is none.
        HarnessError: Its code cannot be loaded.
    """
    if lineage in LINEAGES:
        module = importlib.import_module(f"harness.datasets.{lineage}")
        found: Reader[Any] = module.Reader()
        return found
    for folder in plugs.folders():
        if (place := folder / "datasets" / f"{lineage}.py").is_file():
            return _made(functools.partial(_loaded, lineage, place), str(place))
    for entry in entry_points(group="harness.datasets", name=lineage):
        return _made(entry.load, f"entry point {entry.value}")
    raise UnknownNameError("reader of lineage", lineage, LINEAGES)


def _loaded(lineage: str, place: Path) -> Any:
    name = f"harness_reader_{lineage}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, place)
        assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - it ends in .py
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name].Reader


def _made(load: Callable[[], Any], where: str) -> Reader[Any]:
    try:
        made = load()()
    except Exception as error:
        raise HarnessError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(made, Reader):
        raise HarnessError(
            f"{where} is no reader: it should be a subclass of harness.datasets.readers.Reader"
        )
    return made


def block(dataset: Dataset, lineage: str) -> Any:
    """The dataset's block of a lineage, as its reader takes it.

    Raises:
        DataError: The dataset has none.
        HarnessError: Its reader cannot be loaded or does not take it.
    """
    source = dataset.source(lineage)
    if source is None:
        raise DataError(
            f"{dataset.id} has no {lineage} data; its spec has {', '.join(dataset.sources) or 'none'}"
        )
    for location, message in _problems(lineage, source):
        raise HarnessError(f"{dataset.id}: {'.'.join(map(str, location))}: {message}")
    return (
        source
        if lineage in LINEAGES
        else reader(lineage).Source.model_validate(source.model_extra, strict=True)
    )


def problems(dataset: Dataset) -> Iterator[tuple[Location, str]]:
    """Where in a dataset's YAML a reader does not take what stands there, and why; runs its code."""
    for lineage, source in dataset.sources.items():
        yield from _problems(lineage, source)


def _problems(lineage: str, source: Source) -> Iterator[tuple[Location, str]]:
    if lineage in LINEAGES:  # validated with the YAML
        return
    try:
        reader(lineage).Source.model_validate(source.model_extra, strict=True)
    except ValidationError as error:
        for each in error.errors(include_url=False):
            yield (lineage, *each["loc"]), each["msg"]
    except HarnessError as error:
        yield (lineage,), str(error)
