"""Files on this machine, held to a SHA-256 before anything is read from them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import files
from harness.errors import DataError


@dataclass(frozen=True)
class Record:
    """What is remembered of a file's SHA-256.

    Attributes:
        path: A small JSON file in the data folder.
    """

    path: Path

    @property
    def sha256(self) -> str | None:
        """As it was when the file was first used, None before that."""
        return self._known.get("sha256")

    def of(self, place: Path, *, again: bool = False) -> str:
        """The SHA-256 of a file: computed, unless its place, size and time of change are the recorded ones.

        Args:
            place: The file.
            again: Compute it in any case.
        """
        known = self._known
        if (
            not again
            and known.get("sha256")
            and {key: known.get(key) for key in _seen(place)} == _seen(place)
        ):
            return str(known["sha256"])
        return files.sha256(place)

    def write(self, place: Path, sha256: str) -> None:
        """Remember the file, unless the data folder is only read here."""
        content = {"sha256": sha256, **_seen(place)}
        if content != self._known:
            with contextlib.suppress(DataError):
                files.write_json(self.path, content)

    @property
    def _known(self) -> Mapping[str, Any]:
        return files.read_json(self.path) or {}


def _seen(place: Path) -> dict[str, Any]:
    status = place.stat()
    return {"path": str(files.real(place)), "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def check_size(place: Path, size: int | None, advice: str) -> None:
    """Refuse a file of another size than the spec says.

    Args:
        place: The file.
        size: As the spec says; None where it does not.
        advice: What to do.

    Raises:
        DataError: It has another one.
    """
    found = place.stat().st_size
    if size is not None and found != size:
        raise DataError(f"{place} has {found:,} bytes, but the spec says {size:,}; {advice}")
