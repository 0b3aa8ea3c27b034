"""What runs end with, as files that other runs and people read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from harness import files
from harness.errors import DataError
from harness.results.records import Artefact


def write(folder: Path, key: str, kind: str, state: Mapping[str, Tensor]) -> Artefact:
    """Write a run's policy or training state, whole or not at all.

    Args:
        folder: the database's folder of artefacts.
        key: the run's key.
        kind: 'policy' or 'state'.
        state: name -> tensor ``(1, ...)``, on the CPU.

    Raises:
        DataError: the file cannot be written.
    """
    name = f"{key}.{kind}.safetensors"
    content = safetensors.torch.save({each: tensor.contiguous() for each, tensor in state.items()})
    with files.atomic(folder / name) as temporary:
        temporary.write_bytes(content)
    return Artefact(kind, name, hashlib.sha256(content).hexdigest(), len(content))


def read(folder: Path, artefact: Artefact) -> dict[str, Tensor]:
    """Read what `write` wrote: nothing of a file is looked at before its hash is compared.

    Raises:
        DataError: it is missing, or not as the database has it.
    """
    path = files.inside(folder, artefact.name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"the artefact {path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != artefact.sha256:
        raise DataError(
            f"the artefact {path} has changed since it was written; run the same command again, which trains "
            "the run that left it once more"
        )
    return safetensors.torch.load(content)
