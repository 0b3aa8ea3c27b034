"""The specs of this project and of the user's own folders, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, TypeVar, get_args

import harness
from harness import files
from harness.errors import SpecError, UnknownNameError
from harness.specs.published import LoneChange, PublishedCell, read_listing
from harness.specs.text import shown

if TYPE_CHECKING:
    from harness.specs.loader import Document
    from harness.specs.models import Algorithm, Dataset, Model, Preset, Protocol, Table
    from harness.specs.sources import ScoreSource

M = TypeVar("M", bound="Model")
Kind = Literal["tables", "datasets", "algorithms", "protocols", "presets", "sources"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def shipped_folder() -> Path:
    """The folder of the specs that come with the project: inside the wheel, or the checkout's ``specs/``."""
    package = Path(harness.__file__).parent
    installed = package / "shipped_specs"
    return installed if installed.is_dir() else package.parent / "specs"


def installed_folders() -> list[Path]:
    """The folders of specs in installed packages, which entry points of the group ``harness.specs`` name.

    Such an entry point's value is a package, as ``some_package.specs``; nothing of it is imported.
    """
    from importlib.metadata import entry_points  # here, since a help page needs neither
    from importlib.util import find_spec

    found = []
    for entry in entry_points(group="harness.specs"):
        top, *below = entry.value.split(".")
        package = find_spec(top)
        places = (package and package.submodule_search_locations) or [f"{entry.name} = {top}"]
        found.append(Path(places[0], *below))
    return found


class Specs:
    """Tables, datasets, algorithms and what else a folder of specs holds: the shipped and further ones.

    An id is the name of its file without ``.yaml``; files whose names begin with ``_`` are only for
    including. Everything is read when first asked for, and kept.

    Args:
        extra_folders: Folders laid out like ``specs/``.

    Raises:
        SpecError: A folder that does not exist or holds none of the kinds, or one id in two folders.
    """

    def __init__(self, extra_folders: Sequence[Path] = ()) -> None:
        #: The user's own folders, as given.
        self.further = tuple(extra_folders)
        further = (*installed_folders(), *self.further)
        for folder in further:
            if not folder.is_dir():
                raise SpecError(
                    f"{shown(folder)}:1:1: no such folder; --specs takes one laid out like specs/"
                )
            if not any((folder / kind).is_dir() for kind in KINDS):
                raise SpecError(f"{shown(folder)}:1:1: no folder of specs: holds none of {', '.join(KINDS)}")
        #: The shipped folder, then those of installed packages and the user's, each once.
        self.folders = tuple({files.real(folder): folder for folder in (shipped_folder(), *further)}.values())
        self._loaded: dict[tuple[Kind, str], Any] = {}
        self._documents: dict[tuple[Kind, str], Document] = {}

    def ids(self, kind: Kind) -> list[str]:
        """All ids of a kind, sorted, from the names of the files alone."""
        return sorted(self._paths[kind])

    def table(self, name: str) -> Table:
        """The table with that id.

        Raises:
            UnknownNameError: There is none; the nearest names are given.
            SpecError: Its file is wrong.
        """
        from harness.specs.models import Table

        return self._load("tables", name, Table)

    def dataset(self, name: str) -> Dataset:
        """The dataset with that id; raises as ``table`` does.

        Blocks of lineages that are not the project's own are not looked into: their readers are code.
        """
        from harness.specs.models import Dataset, dataset_model

        if ("datasets", name) not in self._loaded:
            document = self.document("datasets", name)
            others = [key for key in document.data if key not in Dataset.model_fields]
            model = dataset_model(tuple(key for key in others if key in self.lineages))
            dataset = self._load("datasets", name, model)
            if dataset.file:
                places = {
                    field: f"{document.values['file', 'fields', field]}: file.fields.{field}: "
                    for field in dataset.file.fields
                }
                stands = document.values.get(("file", "path"), document.values["file",])
                file = dataset.file.located(stands.path.parent, places)
                self._loaded["datasets", name] = dataset.model_copy(update={"file": file})
        found: Dataset = self._loaded["datasets", name]
        return found

    @cached_property
    def lineages(self) -> tuple[str, ...]:
        """Every lineage that has a reader, known without running any code.

        The project's, those in ``datasets/*.py`` of the further folders, and those of installed packages, by
        their entry points ``harness.datasets``.
        """
        from importlib.metadata import entry_points

        from harness.specs.models import LINEAGES

        own = [path.stem for folder in self.folders for path in files.listed(folder / "datasets", "[!_]*.py")]
        installed = sorted(entry.name for entry in entry_points(group="harness.datasets"))
        return tuple(dict.fromkeys((*LINEAGES, *own, *installed)))

    def lineage(self, name: str) -> str:
        """The name of a lineage that there is.

        Raises:
            UnknownNameError: There is none of that name.
        """
        from harness.specs.models import LINEAGES

        if name not in LINEAGES and name not in self.lineages:  # looking for packages takes time
            raise UnknownNameError("lineage", name, self.lineages)
        return name

    def algorithm(self, name: str) -> Algorithm:
        """The algorithm with that id; raises as ``table`` does."""
        from harness.specs.models import Algorithm

        return self._load("algorithms", name, Algorithm)

    def protocol(self, name: str) -> Protocol:
        """The protocol with that id; raises as ``table`` does."""
        from harness.specs.models import Protocol

        return self._load("protocols", name, Protocol)

    def preset(self, name: str) -> Preset:
        """The preset with that id; raises as ``table`` does."""
        from harness.specs.models import Preset

        return self._load("presets", name, Preset)

    def source(self, name: str) -> ScoreSource:
        """The source of public scores with that id; raises as ``table`` does."""
        from harness.specs.sources import ScoreSource

        return self._load("sources", name, ScoreSource).located(self._paths["sources"][name].parent)

    def has_algorithm(self, name: str | None) -> TypeGuard[str]:
        """Whether an algorithm is named and has a spec; a column's without one has no implementation."""
        return name in self._paths["algorithms"]

    def published(self, table: Table) -> dict[tuple[str, str], PublishedCell] | None:
        """The numbers that a table's paper printed, by row and column; None where the table names none.

        Rows are dataset ids, group ids (their averages), those with ``:sum`` (their sums) and ``total``.

        Raises:
            SpecError: The CSV file is missing or wrong, or has a row or column that the table has not.
        """
        listing = self.listing(table)
        if listing is None:
            return None
        return {key: cell for key, cell in listing.items() if isinstance(cell, PublishedCell)}

    def listing(self, table: Table) -> dict[tuple[str, str], PublishedCell | LoneChange | None] | None:
        """As ``published``, with what is not printed, and changes printed alone; raises as it does."""
        if table.published is None:
            return None
        location = ("published", "file")
        referrer = self.document("tables", table.id).values[location]
        return read_listing(
            referrer.path.parent / table.published.file,
            table.published.seeds,
            table.published.ddof,
            rows=table.printed_rows,
            columns=[column.id for column in table.columns],
            referrer=referrer,
        )

    def document(self, kind: Kind, name: str) -> Document:
        """A spec's file as read, for messages that point into it; raises as ``table`` does."""
        from harness.specs.loader import read

        if name not in self._paths[kind]:
            raise UnknownNameError(kind.removesuffix("s"), name, self._paths[kind])
        if (kind, name) not in self._documents:
            self._documents[kind, name] = read(self._paths[kind][name])
        return self._documents[kind, name]

    def _load(self, kind: Kind, name: str, model: type[M]) -> M:
        if (kind, name) not in self._loaded:
            document = self.document(kind, name)
            spec: Any = document.validate(model)
            if spec.id != name:
                raise SpecError(document.problem(("id",), f"should be {name!r}, as the file is named"))
            self._loaded[kind, name] = spec
        loaded: M = self._loaded[kind, name]
        return loaded

    @cached_property
    def _paths(self) -> Mapping[Kind, Mapping[str, Path]]:
        return {kind: self._paths_of(kind) for kind in KINDS}

    def _paths_of(self, kind: Kind) -> dict[str, Path]:
        paths: dict[str, Path] = {}
        for folder in self.folders:
            for path in files.listed(folder / kind, "[!_]*.yaml"):
                if path.stem in paths:
                    raise SpecError(
                        f"{shown(path)}:1:1: {kind.removesuffix('s')} {path.stem!r} is defined twice; "
                        f"the other file is {shown(paths[path.stem])}"
                    )
                paths[path.stem] = path
        return paths
