"""What is found in a person's own folders of specs besides YAML files: modules and algorithms."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

_used: dict[Path, None] = {}


def folders() -> tuple[Path, ...]:
    """The folders of specs whose code is used in this process."""
    return tuple(_used)


def use(folders: Sequence[Path]) -> None:
    """Let modules in ``code/`` be imported and algorithms in ``algorithms/`` be found; again changes nothing.

    Whoever trains, evaluates or holds specs against code calls this first, worker processes too. What only
    reads results never does.

    Args:
        folders: of specs, see `Specs.folders`.
    """
    _used.update(dict.fromkeys(folders))
    for code in (str((folder / "code").resolve()) for folder in folders if (folder / "code").is_dir()):
        if code not in sys.path:
            sys.path.insert(0, code)
