"""Whether a worker runs the code and the specs of the command that started it."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import algorithms
import harness
from harness.errors import EnvironmentUnusableError
from harness.specs import Specs

#: The variable that tells a worker the version of the command that started it.
VERSION = "HARNESS_VERSION"

_CODE = (".py",)
_SAID = (".py", ".yaml", ".csv")


def version_of(specs: Specs) -> str:
    """A hash of this project's code and of everything that the specs say, wherever they lie."""
    packages = [Path(str(module.__file__)).parent for module in (harness, algorithms)]
    digest = hashlib.sha256()
    for folder, kinds in (*((each, _CODE) for each in packages), *((each, _SAID) for each in specs.folders)):
        for path in sorted(path for path in folder.rglob("*") if path.suffix in kinds):
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def require_same_version(specs: Specs) -> None:
    """Refuse to train for a command that has other code or specs.

    Raises:
        EnvironmentUnusableError: it has.
    """
    wanted = os.environ.get(VERSION)
    if wanted and wanted != (here := version_of(specs)):
        raise EnvironmentUnusableError(
            f"{platform.node()} has another version of the project or of the specs ({here}) than the command "
            f"that started this worker ({wanted}); install the same on both, and run that command again"
        )
