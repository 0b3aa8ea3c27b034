"""The original D4RL files, read without the d4rl package."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import environments, files
from harness.datasets import hdf5
from harness.datasets.base import Transitions, transitions
from harness.datasets.qlearning import qlearning
from harness.errors import DataError
from harness.specs.models import D4RLSource, Dataset

if TYPE_CHECKING:
    from harness.datasets.download import Progress, Retry

_ORIGIN = "http://rail.eecs.berkeley.edu/datasets/offline_rl"


def locations(source: D4RLSource, home: Path) -> list[Path]:
    """Where the file may lie: the project's own folder, then the d4rl package's, which is only read."""
    name = _relative(source).rpartition("/")[2]
    packages = Path(os.environ.get("D4RL_DATASET_DIR") or "~/.d4rl/datasets").expanduser()
    return [home / "d4rl" / name, packages / name]


def path(source: D4RLSource, home: Path) -> Path:
    """Where the file lies, or where `pull` would put it."""
    places = locations(source, home)
    return next((place for place in places if place.is_file()), places[0])


def pull(
    dataset: Dataset, source: D4RLSource, home: Path, progress: Progress | None, retry: Retry | None = None
) -> Path:
    """Download the file, or copy it from ``HARNESS_D4RL_MIRROR`` where that names a folder.

    Raises:
        DataError: It cannot be had, or what was had is not the dataset.
    """
    from harness.datasets.download import download

    target = path(source, home)
    if target.is_file():
        return target
    mirror = os.environ.get("HARNESS_D4RL_MIRROR")
    if mirror and not re.match(r"https?://", mirror):
        _copy(dataset, source, Path(mirror).expanduser(), target)
        return target
    url = f"{mirror.rstrip('/')}/{_relative(source)}" if mirror else source.url
    try:
        return download(
            url,
            target,
            size=source.size,
            check=lambda part: _check(dataset, source, part),
            progress=progress,
            retry=retry,
        )
    except DataError as error:
        raise DataError(
            f"{error}. HARNESS_D4RL_MIRROR may name another URL or folder to take it from; "
            f"a file obtained otherwise belongs at {target}"
        ) from error


def load(
    dataset: Dataset, source: D4RLSource, home: Path, identity: dict[str, Any], *, verify: bool = False
) -> Transitions:
    """Read the file and turn its rows into transitions.

    The file's SHA-256 is recorded at first use, in ``<home>/d4rl/<file>.sha256``, and must be the same ever
    after. It is computed again when the file's place, size or time of change differ from the recorded ones.

    Args:
        dataset: Gives the sizes, and the time limit for files without ``timeouts``.
        source: Gives what the file must be.
        home: The data folder.
        identity: Recorded in the result.
        verify: Compute the SHA-256 again and read every array of the file, whatever is recorded.

    Raises:
        DataError: The file is missing, damaged or another one.
    """
    place = path(source, home)
    if not place.is_file():
        raise DataError(missing(dataset, source, home))
    result = _read(dataset, source, place, identity, everything=verify)
    _hold_to_record(source, place, locations(source, home)[0], verify=verify)
    return result


def missing(dataset: Dataset, source: D4RLSource, home: Path) -> str:
    """What to say when the file is nowhere."""
    looked = " and ".join(str(place) for place in locations(source, home))
    return f"{dataset.id} (d4rl) is missing: looked at {looked}; run `harness data pull {dataset.id}`"


def _relative(source: D4RLSource) -> str:
    """Path of the file below D4RL's root, or its name where the URL is another host's."""
    if source.url.startswith(_ORIGIN + "/"):
        return source.url.removeprefix(_ORIGIN + "/")
    return source.url.rpartition("/")[2]


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
    _read(dataset, source, place, {}, everything=True)
    if source.sha256 is not None and (found := files.sha256(place)) != source.sha256:
        raise DataError(f"{place} has SHA-256 {found}, but the spec says {source.sha256}")


def _read(
    dataset: Dataset, source: D4RLSource, place: Path, identity: dict[str, Any], *, everything: bool
) -> Transitions:
    size = place.stat().st_size
    if source.size is not None and size != source.size:
        raise DataError(
            f"{place} has {size:,} bytes, but the spec of {dataset.id} says {source.size:,}; "
            f"remove the file and run `harness data pull {dataset.id}`"
        )
    rows = hdf5.read_rows(place, everything=everything)
    if source.rows is not None and len(rows["rewards"]) != source.rows:
        raise DataError(
            f"{place} has {len(rows['rewards']):,} rows, but the spec of {dataset.id} says {source.rows:,}"
        )
    if "timeouts" not in rows and dataset.environment is None:
        raise DataError(
            f"{place} has no timeouts, and the spec of {dataset.id} gives no environment to count"
        )
    counted = None if "timeouts" in rows else dataset.environment
    limit = environments.time_limit(counted) if counted else None
    return transitions(qlearning(rows, limit), dataset, identity, str(place))


def _hold_to_record(source: D4RLSource, place: Path, own: Path, *, verify: bool) -> None:
    """Compare the file's SHA-256 with the spec's and the recorded one; record it at first use."""
    record = own.with_name(own.name + ".sha256")
    status = place.stat()
    seen = {"path": str(place.resolve()), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    known = files.read_json(record) or {}
    recorded = known.get("sha256")
    unchanged = {key: known.get(key) for key in seen} == seen
    if unchanged and not verify and source.sha256 in (None, recorded):
        return
    found = files.sha256(place)
    for expected, whose in ((source.sha256, "the spec says"), (recorded, "at first use it was")):
        if expected is not None and found != expected:
            raise DataError(
                f"{place} has SHA-256 {found}, but {whose} {expected}; remove the file and pull it again, "
                f"or, if the change is meant, remove {record}"
            )
    files.write_json(record, {"sha256": found, **seen})
