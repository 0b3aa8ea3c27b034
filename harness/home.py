"""Where data lie if nobody says otherwise."""

from __future__ import annotations

import os
from pathlib import Path


def default_home() -> Path:
    """The folder for data: ``HARNESS_DATA`` if set, else the user's cache folder."""
    if named := os.environ.get("HARNESS_DATA"):
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("harness"))
