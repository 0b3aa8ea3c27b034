"""The original D4RL files, read without the d4rl package."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import environments, files
from harness.datasets import hdf5, local, readers
from harness.datasets.base import Transitions, transitions
from harness.datasets.qlearning import counted_timeouts, qlearning
from harness.datasets.readers import Fetch, Progress, Rows, Say, silent
from harness.errors import DataError
from harness.home import expanded
from harness.specs.models import D4RLSource, Dataset

_ORIGIN = "http://rail.eecs.berkeley.edu/datasets/offline_rl"


class Reader(readers.Reader[D4RLSource]):
    """Files in the project's own folder, or in the d4rl package's, which is only read."""

    Source = D4RLSource
    examined = True

    def path(self, dataset: Dataset, source: D4RLSource, home: Path) -> Path:
        """Where the file lies, under the dataset's id or the name that it has on the server."""
        own, *others = self.looked(dataset, source, home)
        if own.is_file():
            return own
        return next((place for place in others if place.is_file() and _is_it(source, place, home)), own)

    def looked(self, dataset: Dataset, source: D4RLSource, home: Path) -> list[Path]:
        """Its place, and where files lie that the d4rl package or an earlier harness has fetched."""
        name = source.url[0].rpartition("/")[2]
        packages = expanded(os.environ.get("D4RL_DATASET_DIR") or "~/.d4rl/datasets")
        return [home / "d4rl" / f"{dataset.id}.hdf5", home / "d4rl" / name, packages / name]

    def obtain(
        self,
        dataset: Dataset,
        source: D4RLSource,
        home: Path,
        progress: Progress | None = None,
        say: Say = silent,
    ) -> Path:
        """Download the file, or copy it from ``HARNESS_D4RL_MIRROR`` where that names a folder."""
        from harness.datasets.download import download

        target = self.path(dataset, source, home)
        if target.is_file():
            return target
        mirror = os.environ.get("HARNESS_D4RL_MIRROR")
        if mirror and not re.match(r"https?://", mirror):
            _copy(dataset, source, expanded(mirror), target)
            return target
        urls = (f"{mirror.rstrip('/')}/{_relative(source)}",) if mirror else source.url
        try:
            return download(
                urls,
                target,
                size=source.size,
                check=lambda part: _check(dataset, source, part),
                progress=progress,
                say=say,
            )
        except DataError as error:
            raise DataError(
                f"{error}. HARNESS_D4RL_MIRROR may name another URL or folder to take it from; "
                f"a file obtained otherwise belongs at {target}"
            ) from error

    def rows(self, dataset: Dataset, source: D4RLSource, home: Path, *, verify: bool = False) -> Rows:
        """Read the file, whose SHA-256 is compared first wherever it is known; cut as D4RL cuts it."""
        rows = self._held(dataset, source, home, verify=verify)[0]
        if "timeouts" not in rows and dataset.environment:
            limit = environments.time_limit(dataset.environment)
            rows["timeouts"] = counted_timeouts(rows["terminals"], limit)
        return rows

    def load(
        self,
        dataset: Dataset,
        source: D4RLSource,
        home: Path,
        identity: dict[str, Any],
        *,
        verify: bool = False,
    ) -> Transitions:
        """Pair each row with the next, as D4RL does.

        The file's SHA-256 is recorded at first use, in ``<file>.sha256`` of the data folder, and must be the
        same ever after.
        """
        rows, place, sha256 = self._held(dataset, source, home, verify=verify)
        result = _paired(dataset, rows, place, identity)
        _record(place, home).write(place, sha256)
        return result

    def sha256(self, dataset: Dataset, source: D4RLSource, home: Path) -> str | None:
        """As recorded at first use, else as the spec says."""
        place = self.path(dataset, source, home)
        return (_record(place, home).sha256 if place.is_file() else None) or source.sha256

    def command(self, lineage: str, source: D4RLSource) -> str:
        """Without the lineage, which is the default."""
        return "harness data pull {}"

    def advice(self) -> Sequence[str]:
        """Where else files can come from."""
        return (
            "set HARNESS_D4RL_MIRROR to a URL or folder with D4RL's files and pull from there",
            "put the files where was looked; D4RL_DATASET_DIR may name a folder that has them",
        )

    def fetches(self, dataset: Dataset, source: D4RLSource, home: Path) -> Sequence[Fetch]:
        """The file."""
        return [Fetch(source.url, source.size, source.sha256, self.looked(dataset, source, home)[0])]

    def _held(
        self, dataset: Dataset, source: D4RLSource, home: Path, *, verify: bool
    ) -> tuple[Rows, Path, str]:
        """The rows of a file that has the hash that it must have, as far as one is known; place; and hash."""
        place, again = self.path(dataset, source, home), f"run `harness data pull {dataset.id}`"
        if not place.is_file():
            looked = " and ".join(map(str, self.looked(dataset, source, home)))
            raise DataError(f"{dataset.id} (d4rl) is missing: looked at {looked}; {again}")
        local.check_size(place, source.size, f"remove the file and {again}")
        record = _record(place, home)
        sha256, recorded = record.of(place, again=verify), record.sha256
        for expected, whose in ((source.sha256, "the spec says"), (recorded, "at first use it was")):
            if expected not in (None, sha256):
                raise DataError(
                    f"{place} has SHA-256 {sha256}, but {whose} {expected}; remove the file and {again}, "
                    f"or, if the change is meant, remove {record.path}"
                )
        trusted = source.sha256 is not None or recorded is not None
        rows = hdf5.read_rows(place, everything=verify, trusted=trusted)
        return _counted(dataset, source, place, rows), place, sha256


def _record(place: Path, home: Path) -> local.Record:
    return local.Record(home / "d4rl" / f"{place.name}.sha256")


def _is_it(source: D4RLSource, place: Path, home: Path) -> bool:
    """Whether a file that has the name of the server's is this very one.

    D4RL's own names are unique; on other servers any file may have the same name, so its hash decides.
    """
    if source.size not in (None, place.stat().st_size):
        return False
    if source.sha256 is None:
        return source.url[0].startswith(_ORIGIN + "/")
    record = _record(place, home)
    found = record.of(place)
    if found == source.sha256:
        record.write(place, found)
    return found == source.sha256


def _relative(source: D4RLSource) -> str:
    """Path of the file below D4RL's root, or its name where the URL is another host's."""
    url = source.url[0]
    return url.removeprefix(_ORIGIN + "/") if url.startswith(_ORIGIN + "/") else url.rpartition("/")[2]


def _copy(dataset: Dataset, source: D4RLSource, folder: Path, target: Path) -> None:
    relative = _relative(source)
    places = [folder / relative, folder / relative.rpartition("/")[2]]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise DataError(
            f"HARNESS_D4RL_MIRROR has no file for {dataset.id}: looked at {places[0]} and {places[1]}"
        )
    _check(dataset, source, found)
    with files.locked(target), files.atomic(target) as copy, files.explained(target, found.stat().st_size):
        shutil.copyfile(found, copy)


def _check(dataset: Dataset, source: D4RLSource, place: Path) -> None:
    """Refuse a file that is damaged or not the dataset, before it gets its name."""
    local.check_size(place, source.size, f"is it {dataset.id}?")
    if source.sha256 is not None and (found := files.sha256(place)) != source.sha256:
        raise DataError(f"{place} has SHA-256 {found}, but the spec says {source.sha256}")
    rows = hdf5.read_rows(place, everything=True, trusted=source.sha256 is not None)
    _paired(dataset, _counted(dataset, source, place, rows), place, {})


def _counted(dataset: Dataset, source: D4RLSource, place: Path, rows: Rows) -> Rows:
    """The rows, if there are as many as the spec says."""
    if source.rows is not None and len(rows["rewards"]) != source.rows:
        raise DataError(
            f"{place} has {len(rows['rewards']):,} rows, but the spec of {dataset.id} says {source.rows:,}"
        )
    return rows


def _paired(dataset: Dataset, rows: Rows, place: Path, identity: dict[str, Any]) -> Transitions:
    if "timeouts" not in rows and dataset.environment is None:
        raise DataError(
            f"{place} has no timeouts, and the spec of {dataset.id} gives no environment to count"
        )
    counted = None if "timeouts" in rows else dataset.environment
    limit = environments.time_limit(counted) if counted else None
    return transitions(qlearning(rows, limit), dataset, identity, str(place))
