"""Files that others publish: fetched, or found where their package has them, and held to their hash."""

from __future__ import annotations

import os
import re
import shutil
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from harness import files
from harness.datasets import local, readers
from harness.datasets.base import Transitions
from harness.datasets.readers import Fetch, Progress, Rows, Say, silent
from harness.errors import DataError
from harness.home import expanded
from harness.specs.models import Dataset, PublishedSource

S = TypeVar("S", bound=PublishedSource)


class Reader(readers.Reader[S]):
    """Files in the project's own folder, or in that of the publisher's package, which is only read.

    A file whose SHA-256 no source tells is held to the one that it has at first use, which is recorded in
    ``<file>.sha256`` of the data folder.
    """

    examined = True
    #: Of the data folder; also the lineage.
    folder: ClassVar[str]
    #: URL below which the publisher has its files; their names are unique there.
    origin: ClassVar[str]
    #: Environment variable that may name another URL or folder with the files.
    mirror: ClassVar[str]
    #: The publisher's name for its files, for messages.
    whose: ClassVar[str]
    #: How a file begins.
    begins: ClassVar[bytes]

    @abstractmethod
    def packages(self) -> Path:
        """Where the publisher's package keeps its files."""

    @abstractmethod
    def names(self, dataset: Dataset, source: S) -> Sequence[str]:
        """What the file may be called in the project's own folder; the first is what it gets there."""

    @abstractmethod
    def read(self, dataset: Dataset, source: S, place: Path, *, everything: bool, trusted: bool) -> Rows:
        """What `rows` gives, of a file that has the right hash, as far as one is known.

        Args:
            dataset: Its spec.
            source: Its block of this lineage.
            place: The file.
            everything: Also read, and so check, what is of no use here.
            trusted: The hash was known before, so the file needs no process of its own to be read in.

        Raises:
            DataError: It is damaged, or not the dataset.
        """

    @abstractmethod
    def paired(
        self, dataset: Dataset, source: S, rows: Rows, place: Path, identity: dict[str, Any]
    ) -> Transitions:
        """Transitions of the rows.

        Raises:
            DataError: They are not what the spec says.
        """

    def path(self, dataset: Dataset, source: S, home: Path) -> Path:
        """Where the file lies, under one of its names."""
        own, *others = self.looked(dataset, source, home)
        if own.is_file():
            return own
        return next((place for place in others if place.is_file() and self._is_it(source, place, home)), own)

    def looked(self, dataset: Dataset, source: S, home: Path) -> list[Path]:
        """Its places, and where the publisher's package or an earlier harness has put it."""
        own = [home / self.folder / name for name in self.names(dataset, source)]
        return [*own, self.packages() / source.name]

    def obtain(
        self, dataset: Dataset, source: S, home: Path, progress: Progress | None = None, say: Say = silent
    ) -> Path:
        """Download the file, or copy it from the mirror where that is a folder."""
        from harness.datasets.download import download

        target = self.path(dataset, source, home)
        if target.is_file():
            return target
        mirror = os.environ.get(self.mirror)
        if mirror and not re.match(r"https?://", mirror):
            self._copy(dataset, source, expanded(mirror), target)
            return target
        urls = (f"{mirror.rstrip('/')}/{self._relative(source)}",) if mirror else source.url
        try:
            return download(
                urls,
                target,
                size=source.size,
                begins=self.begins,
                check=lambda part: self._check(dataset, source, part),
                progress=progress,
                say=say,
            )
        except DataError as error:
            raise DataError(
                f"{error}. {self.mirror} may name another URL or folder to take it from; "
                f"a file obtained otherwise belongs at {target}"
            ) from error

    def rows(self, dataset: Dataset, source: S, home: Path, *, verify: bool = False) -> Rows:
        """Read the file, whose SHA-256 is compared first wherever it is known."""
        return self._held(dataset, source, home, verify=verify)[0]

    def load(
        self, dataset: Dataset, source: S, home: Path, identity: dict[str, Any], *, verify: bool = False
    ) -> Transitions:
        """Pair the rows, and from now on hold the file to its SHA-256."""
        rows, place, sha256 = self._held(dataset, source, home, verify=verify)
        result = self.paired(dataset, source, rows, place, identity)
        self._record(place, home).write(place, sha256)
        return result

    def sha256(self, dataset: Dataset, source: S, home: Path) -> str | None:
        """As recorded at first use, else as the spec says."""
        place = self.path(dataset, source, home)
        return (self._record(place, home).sha256 if place.is_file() else None) or source.sha256

    def advice(self) -> Sequence[str]:
        """Where else files can come from."""
        return (f"set {self.mirror} to a URL or folder with {self.whose} files and pull from there",)

    def fetches(self, dataset: Dataset, source: S, home: Path) -> Sequence[Fetch]:
        """The file."""
        return [Fetch(source.url, source.size, source.sha256, self.looked(dataset, source, home)[0])]

    def _held(self, dataset: Dataset, source: S, home: Path, *, verify: bool) -> tuple[Rows, Path, str]:
        """The rows of a file that has the hash that it must have, as far as one is known; place; and hash."""
        place = self.path(dataset, source, home)
        again = f"run `{self.command(self.folder, source).format(dataset.id)}`"
        if not place.is_file():
            looked = " and ".join(map(str, self.looked(dataset, source, home)))
            raise DataError(f"{dataset.id} ({self.folder}) is missing: looked at {looked}; {again}")
        local.check_size(place, source.size, f"remove the file and {again}")
        record = self._record(place, home)
        sha256, recorded = record.of(place, again=verify), record.sha256
        for expected, whose in ((source.sha256, "the spec says"), (recorded, "at first use it was")):
            if expected not in (None, sha256):
                raise DataError(
                    f"{place} has SHA-256 {sha256}, but {whose} {expected}; remove the file and {again}, "
                    f"or, if the change is meant, remove {record.path}"
                )
        trusted = source.sha256 is not None or recorded is not None
        return self.read(dataset, source, place, everything=verify, trusted=trusted), place, sha256

    def _record(self, place: Path, home: Path) -> local.Record:
        return local.Record(home / self.folder / f"{place.name}.sha256")

    def _is_it(self, source: S, place: Path, home: Path) -> bool:
        """Whether a file that has the name of the server's is this very one.

        The publisher's own names are unique; on other servers any file may have the same name, so its hash
        decides.
        """
        if source.size not in (None, place.stat().st_size):
            return False
        if source.sha256 is None:
            return source.url[0].startswith(self.origin + "/")
        record = self._record(place, home)
        found = record.of(place)
        if found == source.sha256:
            record.write(place, found)
        return found == source.sha256

    def _relative(self, source: S) -> str:
        """Path of the file below the publisher's root, or its name where the URL is another host's."""
        url, root = source.url[0], self.origin + "/"
        return url.removeprefix(root) if url.startswith(root) else source.name

    def _copy(self, dataset: Dataset, source: S, folder: Path, target: Path) -> None:
        relative = self._relative(source)
        places = [folder / relative, folder / relative.rpartition("/")[2]]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            looked = " and ".join(map(str, dict.fromkeys(places)))
            raise DataError(f"{self.mirror} has no file for {dataset.id}: looked at {looked}")
        self._check(dataset, source, found)
        size = found.stat().st_size
        with files.locked(target), files.atomic(target) as copy, files.explained(target, size):
            shutil.copyfile(found, copy)

    def _check(self, dataset: Dataset, source: S, place: Path) -> None:
        """Refuse a file that is damaged or not the dataset, before it gets its name."""
        local.check_size(place, source.size, f"is it {dataset.id}?")
        if source.sha256 is not None and (found := files.sha256(place)) != source.sha256:
            raise DataError(f"{place} has SHA-256 {found}, but the spec says {source.sha256}")
        rows = self.read(dataset, source, place, everything=True, trusted=source.sha256 is not None)
        self.paired(dataset, source, rows, place, {})
