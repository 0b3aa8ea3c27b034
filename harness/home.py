"""Where data lie if nobody says otherwise."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import DataError


def default_home() -> Path:
    """The folder for data: ``HARNESS_DATA`` if set, else the user's cache folder.

    Raises:
        DataError: The user has no home folder, as in some containers.
    """
    if named := os.environ.get("HARNESS_DATA"):
        return expanded(named)
    import platformdirs

    try:
        folder = Path(platformdirs.user_cache_dir("harness"))
    except RuntimeError:  # its later versions
        folder = Path()
    if not folder.is_absolute():
        raise DataError("there is no home folder to keep data in; set HARNESS_DATA to a folder, or HOME")
    return folder


def expanded(path: str | Path) -> Path:
    """A path with ``~`` as the home folder; as it is where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
