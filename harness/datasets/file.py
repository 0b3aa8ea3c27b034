"""Files of one's own: NumPy's npz, HDF5 and parquet, with a row per step and any names of their fields."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.datasets import apart, fields, local, readers
from harness.datasets.base import Transitions, transitions
from harness.datasets.qlearning import episode_ends, qlearning, row_by_row
from harness.datasets.readers import Fetch, Progress, Rows, Say, silent
from harness.errors import DataError
from harness.specs.models import Dataset, FileSource


class Reader(readers.Reader[FileSource]):
    """A file that lies where the spec says, or that is fetched from a URL into the data folder."""

    Source = FileSource

    def path(self, dataset: Dataset, source: FileSource, home: Path) -> Path:
        """Where the spec says; what comes from a URL lies in the data folder, under the dataset's id."""
        return Path(source.path) if source.path else home / "file" / f"{dataset.id}{source.suffix}"

    def obtain(
        self,
        dataset: Dataset,
        source: FileSource,
        home: Path,
        progress: Progress | None = None,
        say: Say = silent,
    ) -> Path:
        """Download the file from the first URL that has it; a file with a path must lie there."""
        from harness.datasets.download import download

        place = self.path(dataset, source, home)
        if source.url is None:
            return _there(dataset, source, place)

        def check(part: Path) -> None:
            rows = _rows(source, part, local.Record(part.with_name(f"{part.name}.sha256")))
            _transitions(dataset, rows, str(part), {})

        return download(
            source.url,
            place,
            size=source.size,
            begins=fields.SIGNATURES[source.stored_as],
            check=check,
            progress=progress,
            say=say,
        )

    def rows(self, dataset: Dataset, source: FileSource, home: Path, *, verify: bool = False) -> Rows:
        """Read the file, whose SHA-256 is compared first where the spec says it."""
        place = _there(dataset, source, self.path(dataset, source, home))
        return _rows(source, place, local.Record(home / "file" / f"{dataset.id}.sha256"), verify=verify)

    def load(
        self,
        dataset: Dataset,
        source: FileSource,
        home: Path,
        identity: dict[str, Any],
        *,
        verify: bool = False,
    ) -> Transitions:
        """Use the next observations where the file has them; else pair rows as D4RL does."""
        rows = self.rows(dataset, source, home, verify=verify)
        return _transitions(dataset, rows, str(self.path(dataset, source, home)), identity)

    def command(self, lineage: str, source: FileSource) -> str:
        """How a file comes to its place."""
        return (
            super().command(lineage, source)
            if source.url
            else "put the file of {} there, or correct its path"
        )

    def fetches(self, dataset: Dataset, source: FileSource, home: Path) -> Sequence[Fetch]:
        """The file of a URL."""
        place = self.path(dataset, source, home)
        return [Fetch(source.url, source.size, source.sha256, place)] if source.url else []


def _there(dataset: Dataset, source: FileSource, place: Path) -> Path:
    """The place, if a file is there.

    Raises:
        DataError: None is.
    """
    if not place.is_file():
        todo = (
            f"run `harness data pull {dataset.id} --data file`" if source.url else "its spec says it is there"
        )
        raise DataError(f"{dataset.id} (file) is missing: looked at {place}; {todo}")
    return place


def _rows(source: FileSource, place: Path, record: local.Record, *, verify: bool = False) -> Rows:
    local.check_size(place, source.size, "is it the right file?")
    if source.sha256 is not None:
        if (found := record.of(place, again=verify)) != source.sha256:
            raise DataError(
                f"{place} has SHA-256 {found}, but the spec says {source.sha256}; other content is another "
                "dataset, with another id or hash"
            )
        record.write(place, found)
    stored_as = source.stored_as
    names = source.fields
    written = {name: source.place(name) for name in names}
    if source.sha256 is not None:
        return fields.read(place, stored_as, names, written)
    libraries = fields.LIBRARIES[stored_as]
    return apart.call(fields.read, place, stored_as, names, written, libraries=libraries)


def _transitions(dataset: Dataset, rows: Rows, where: str, identity: dict[str, Any]) -> Transitions:
    if "next_observations" in rows:
        ordered = episode_ends(rows) is not None
        return transitions(row_by_row(rows), dataset, identity, where, ordered=ordered)
    if "timeouts" not in rows:
        raise DataError(
            f"{where} has neither next_observations nor timeouts, so where episodes were cut is unknown; "
            "map one of them in 'file.fields' (timeouts all 0 where none was)"
        )
    return transitions(qlearning(rows, None), dataset, identity, where)
