"""What is found in a person's own folders of specs besides YAML files: modules and algorithms."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import SpecError

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

    Raises:
        SpecError: two files of algorithms have the same name.
    """
    from harness import processes  # what only reads results starts none, and has no need of it

    _used.update(dict.fromkeys(folders))
    for folder in map(Path.resolve, folders):
        code, own = folder / "code", folder / "algorithms"
        for other in (code, folder / "datasets"):  # of readers; those of algorithms are known without
            processes.hold_to(other)
        if code.is_dir() and str(code) not in sys.path:
            sys.path.insert(0, str(code))
        if any(own.glob("*.py")):
            # not before there is need, and by name: readers of data import this module and need no torch
            registry = importlib.import_module("algorithms.registry")
            try:
                registry.add_folder(own)
            except registry.AlgorithmError as error:
                raise SpecError(str(error)) from None


def files(folders: Iterable[Path]) -> list[Path]:
    """The files of folders whose code may run once they are used."""
    return [
        path
        for folder in folders
        for pattern in ("algorithms/*.py", "datasets/*.py", "code/**/*.py")
        for path in sorted(folder.glob(pattern))
    ]
