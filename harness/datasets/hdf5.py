"""Reading HDF5 files: one array per field, all with one row per step, and all within the file."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets import apart, fields
from harness.errors import DataError

if TYPE_CHECKING:
    import h5py

_FIELDS = (*fields.REQUIRED, "timeouts")


def read_rows(place: Path, *, everything: bool = False, trusted: bool = False) -> dict[str, NDArray[Any]]:
    """Read the fields that ``qlearning_dataset`` uses.

    Args:
        place: The file.
        everything: Also read, and so check, and return every other array of numbers with a row per step.
        trusted: The file's hash is known and was compared. Any other file is read in a child process, since
            damaged ones crash or stall the library.

    Returns:
        ``observations`` (N, S), ``actions`` (N, A), ``rewards`` (N,), ``terminals`` (N,) and, where the file
        has them, ``timeouts`` (N,), in the file's own types of numbers; flags as bool.

    Raises:
        DataError: The file cannot be opened or read to the end, lacks a field, or its fields are no numbers
            of one length that the file itself holds.
    """
    if trusted:
        return read(place, everything)
    return apart.call(read, place, everything, libraries=("h5py",))


def read(place: Path, everything: bool) -> dict[str, NDArray[Any]]:
    """As `read_rows`, in this process."""
    with columns(place) as found:
        if missing := [name for name in fields.REQUIRED if name not in found]:
            raise DataError(f"{place} lacks {', '.join(missing)}, so it is no D4RL dataset")
        count = found["rewards"].shape[:1]
        wanted = {name: found[name] for name in _FIELDS if name in found}
        others = {
            name: column
            for name, column in found.items()
            if name not in wanted and column.dtype is not None and column.shape[:1] == count
        }
        return fields.rows(place, wanted | (others if everything else {}))


@contextlib.contextmanager
def columns(place: Path) -> Iterator[dict[str, fields.Column]]:
    """The arrays of a file by their names; links are not followed.

    Raises:
        DataError: The file cannot be opened, what is read within is damaged, or it lies outside the file.
    """
    import h5py

    with opened(place) as file:
        arrays: dict[str, h5py.Dataset] = {}

        def visit(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                name.encode()  # fails where a name is no text
                arrays[name] = item

        file.visititems(visit)
        yield {name: _column(place, name, array) for name, array in arrays.items()}


def _column(place: Path, name: str, array: h5py.Dataset) -> fields.Column:
    dtype = array.dtype if array.dtype.kind in "biuf" and not array.dtype.subdtype else None

    def content() -> NDArray[Any]:
        if array.is_virtual or array.external:
            raise DataError(f"{place}: {name} lie in other files, which are not read")
        if not _written(array):
            raise DataError(f"{place}: {name} say {array.shape[0]:,} rows, but not all of them were written")
        return np.asarray(array[()])

    return fields.Column(array.shape or (), dtype, f"values of type {array.dtype}", content)


def _written(array: h5py.Dataset) -> bool:
    """Whether every value is in the file; HDF5 reads a fill value for those that are not."""
    if not array.size or array.id.get_create_plist().get_layout() == 0:  # compact: in the head
        return True
    if array.chunks is None:
        return bool(array.id.get_storage_size())
    blocks = math.prod(-(-length // chunk) for length, chunk in zip(array.shape, array.chunks, strict=True))
    return bool(array.id.get_num_chunks() == blocks)


@contextlib.contextmanager
def opened(place: Path) -> Iterator[h5py.File]:
    """A file to read from, in this process.

    Raises:
        DataError: It cannot be opened, is being written, or what is read within is damaged.
    """
    with fields.damaged(place, "HDF5"), _open(place) as file:
        yield file


def _open(place: Path) -> h5py.File:
    import h5py

    try:
        return h5py.File(place, "r")
    except BlockingIOError as error:
        raise DataError(
            f"{place} is being written by another program; try again when that is done"
        ) from error
    except OSError as error:
        if "unable to lock file" in str(error):  # a file system without locks: nobody can hold one there
            return h5py.File(place, "r", locking=False)
        if "bad superblock version" in str(error):
            raise DataError(
                f"{place} is damaged, or of a newer format than HDF5 {h5py.version.hdf5_version} reads: "
                "install h5py anew"
            ) from error
        raise
