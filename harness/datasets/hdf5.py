"""Reading HDF5 files in D4RL's layout: one array per field, all with one row per step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError

if TYPE_CHECKING:
    import h5py

_REQUIRED = ("observations", "actions", "rewards", "terminals")
_OPTIONAL = ("timeouts",)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """A file to read from.

    Raises:
        DataError: It cannot be opened, or what is read within is damaged.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    # a damaged file can hold names, types and texts of any kind
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged or no HDF5 file: {error}") from error


def read_rows(path: Path, *, everything: bool = False) -> dict[str, NDArray[Any]]:
    """Read the fields that ``qlearning_dataset`` uses.

    Args:
        path: The file.
        everything: Also read, and so check, and return every other array with a row per step.

    Returns:
        ``observations`` (N, S), ``actions`` (N, A), ``rewards`` (N,), ``terminals`` (N,) and, where the file
        has them, ``timeouts`` (N,), in the file's own types.

    Raises:
        DataError: The file cannot be opened or read to the end, lacks a field, or its fields' lengths differ.
    """
    import h5py

    rows: dict[str, NDArray[Any]] = {}
    with opened(path) as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        "".join(names).encode()  # fails where a name is no text
        if missing := [name for name in _REQUIRED if name not in names]:
            raise DataError(f"{path} lacks {', '.join(missing)}, so it is no D4RL dataset")
        for name in names:
            if everything or name in _REQUIRED + _OPTIONAL:
                rows[name] = np.asarray(file[name])
    count = len(rows["rewards"]) if rows["rewards"].ndim else 0
    for name in (*_REQUIRED, *_OPTIONAL):
        if name not in rows:
            continue
        if rows[name].shape == (count, 1) and name not in ("observations", "actions"):
            rows[name] = rows[name][:, 0]
        dimensions = 2 if name in ("observations", "actions") else 1
        if rows[name].ndim != dimensions or len(rows[name]) != count:
            raise DataError(f"{path}: {name} have shape {rows[name].shape}, but there are {count} rewards")
    return rows
