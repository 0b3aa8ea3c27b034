"""Fields of a data file, in whatever format: what it says of them is checked before any of it is read."""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError, HarnessError, system_error

#: Of every dataset.
REQUIRED = ("observations", "actions", "rewards", "terminals")
_OPTIONAL = ("next_observations", "timeouts")
LIBRARIES: dict[str, tuple[str, ...]] = {"npz": (), "hdf5": ("h5py",), "parquet": ("pyarrow.parquet",)}
"""What reading a format imports."""
SIGNATURES = {"npz": b"PK\x03\x04", "hdf5": b"\x89HDF\r\n\x1a\n", "parquet": b"PAR1"}
"""How files of a format begin."""
_FLAGS = ("terminals", "timeouts")
_VECTORS = ("observations", "next_observations", "actions")


@dataclass(frozen=True)
class Column:
    """An array of a file, not read yet.

    Attributes:
        shape: As the file says.
        dtype: As the file says; None where it holds no plain numbers.
        says: What it holds instead of plain numbers, for a message.
        read: Reads it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    says: str
    read: Callable[[], NDArray[Any]]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory, without the limits of NumPy's integers."""
        return math.prod(self.shape) * (self.dtype.itemsize if self.dtype else 0)


def known(array: NDArray[Any]) -> Column:
    """An array that is in memory."""
    return Column(array.shape, array.dtype, f"values of type {array.dtype}", lambda: array)


Opened = Callable[[Path], AbstractContextManager[Mapping[str, Column]]]


def read(place: Path, stored_as: str, names: Mapping[str, str], written: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a file that a spec maps.

    Args:
        place: The file.
        stored_as: 'npz', 'hdf5' or 'parquet'.
        names: Our name -> the file's, where it is another.
        written: Our name -> where the spec maps it, as the beginning of a message.

    Returns:
        ``observations`` (N, S), ``actions`` (N, A), ``rewards`` (N,), ``terminals`` (N,) and, where the file
        has them, ``next_observations`` (N, S) and ``timeouts`` (N,), in the file's own types of numbers.

    Raises:
        DataError: The file is damaged or of another format, lacks a field, or a field holds no numbers, other
            than 0 and 1 for a flag, or another number of rows.
    """
    with opener(stored_as)(place) as columns:
        for ours, theirs in names.items():
            if theirs not in columns:
                raise DataError(f"{written.get(ours, '')}{place} has no {theirs!r}; it has {listed(columns)}")
        wanted = {name: names.get(name, name) for name in (*REQUIRED, *_OPTIONAL)}
        if missing := [name for name in REQUIRED if wanted[name] not in columns]:
            raise DataError(
                f"{place} lacks {', '.join(missing)}; it has {listed(columns)}; 'fields' of the spec map "
                "other names, as in {observations: obs}"
            )
        return rows(place, {ours: columns[theirs] for ours, theirs in wanted.items() if theirs in columns})


def heads(place: Path, stored_as: str) -> dict[str, NDArray[Any]]:
    """The shapes of the arrays of numbers in a file, by their names.

    Raises:
        DataError: The file is damaged or of another format.
    """
    with opener(stored_as)(place) as columns:
        return {name: np.array(each.shape) for name, each in columns.items() if each.dtype is not None}


@contextlib.contextmanager
def damaged(place: Path, stored_as: str) -> Iterator[None]:
    """Turn whatever a library raises over the bytes of a file into a sentence.

    Raises:
        DataError: Instead of any error but those that say it themselves; of what the system refuses, that.
    """
    try:
        yield
    except (HarnessError, MemoryError):
        raise
    except OSError as error:
        if error.errno is None:  # a library's own
            raise DataError(f"{place} is damaged or no {stored_as} file: {_line(error)}") from error
        refused = OSError(error.errno, os.strerror(error.errno), str(place))
        raise DataError(system_error(refused)) from error
    except Exception as error:  # damaged bytes lead to errors of every kind
        raise DataError(f"{place} is damaged or no {stored_as} file: {_line(error)}") from error


def _line(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())


def listed(names: Mapping[str, object]) -> str:
    """The first names of a file's fields, for a message."""
    shown = ", ".join(list(names)[:20])
    return f"{shown or 'nothing'}{', …' if len(names) > 20 else ''}"


def rows(place: Path, columns: Mapping[str, Column], counted: str = "rewards") -> dict[str, NDArray[Any]]:
    """Read columns with a row per step, once what the file says of them makes sense.

    Args:
        place: The file, for messages.
        columns: By our names; those required are there.
        counted: The column that says how many rows there are.

    Raises:
        DataError: See `read`.
    """
    count = columns[counted].shape[0] if columns[counted].shape else 1
    if not count:
        raise DataError(f"{place} holds no rows")
    for name, column in columns.items():
        if column.dtype is None or column.dtype.kind not in "biuf":
            raise DataError(f"{place}: {name} hold {column.says}, not numbers")
        dimensions = (1, 2) if name in _VECTORS else (1,)
        shape = column.shape[:1] if column.shape[1:] == (1,) and name not in _VECTORS else column.shape
        if shape[:1] != (count,) or (len(shape) not in dimensions and name in (*REQUIRED, *_OPTIONAL)):
            raise DataError(f"{place}: {name} have shape {column.shape}, but there are {count} {counted}")
    needed, memory = sum(column.nbytes for column in columns.values()), _memory()
    if needed > memory:
        raise DataError(
            f"{place}: {count:,} rows would take {needed / 1e9:,.1f} GB, but this machine has "
            f"{memory / 1e9:,.1f} GB of memory; the file is damaged, or takes another machine"
        )
    return {name: _plain(place, name, column.read()) for name, column in columns.items()}


def _plain(place: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    if name in _FLAGS:
        array = array.reshape(len(array))
        if array.dtype != bool and (wrong := array[(array != 0) & (array != 1)]).size:
            raise DataError(f"{place}: {name} are 0 or 1, or true or false, but {wrong[0]} stands there, too")
        return array.astype(bool, copy=False)
    if name == "rewards":
        return array.reshape(len(array))
    return array.reshape(len(array), -1) if name in _VECTORS else array


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def opener(stored_as: str) -> Opened:
    """What opens files of a format."""
    from harness.datasets import hdf5

    return {"npz": _npz, "parquet": _parquet, "hdf5": hdf5.columns}[stored_as]


@contextlib.contextmanager
def _npz(place: Path) -> Iterator[dict[str, Column]]:
    """Arrays of NumPy's zip file, without pickles; of each no more is unpacked than its head says."""
    import zipfile

    formats = np.lib.format
    with damaged(place, "npz"), zipfile.ZipFile(place) as archive:

        def column(member: str) -> Column:
            with archive.open(member) as file:
                version = formats.read_magic(file)
                head = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
                shape, _, dtype = head(file)

            def content() -> NDArray[Any]:
                with archive.open(member) as file:
                    return np.asarray(formats.read_array(file, allow_pickle=False))

            return Column(shape, dtype, f"values of NumPy's type {dtype}", content)

        members = [name for name in archive.namelist() if name.endswith(".npy")]
        if twice := [name for name, times in Counter(members).items() if times > 1]:
            raise DataError(f"{place} holds {twice[0].removesuffix('.npy')!r} twice; keep one of them")
        yield {member.removesuffix(".npy"): column(member) for member in members}


@contextlib.contextmanager
def _parquet(place: Path) -> Iterator[dict[str, Column]]:
    """Columns of numbers, or of lists of equally many numbers."""
    import pyarrow as pa
    from pyarrow import parquet

    with damaged(place, "parquet"), parquet.ParquetFile(place) as file:
        count = file.metadata.num_rows

        def column(field: pa.Field) -> Column:
            kind = field.type
            nested = (
                pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
            )
            number = kind.value_type if nested else kind
            plain = pa.types.is_floating(number) or pa.types.is_integer(number) or pa.types.is_boolean(number)
            dtype = np.dtype(number.to_pandas_dtype()) if plain else None
            width = _width(file, field.name) if nested and plain else 1
            shape = (count, width) if nested else (count,)
            says = f"values of parquet's type {kind}"
            return Column(shape, dtype, says, lambda: _values(place, file, field.name, shape))

        yield {field.name: column(field) for field in file.schema_arrow}


def _width(file: Any, name: str) -> int:
    """Numbers in the first list of a column."""
    first = next(file.iter_batches(1, columns=[name]), None)
    value = first.column(0)[0].as_py() if first is not None and len(first) else None
    return len(value or ())


def _values(place: Path, file: Any, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    column = file.read(columns=[name]).column(0).combine_chunks()
    flat = column.flatten() if len(shape) > 1 else column
    if column.null_count or flat.null_count:
        raise DataError(f"{place}: {name} lacks values in some rows")
    if len(shape) > 1 and (
        len(flat) != math.prod(shape) or {*column.value_lengths().unique().to_pylist()} - {shape[1]}
    ):
        raise DataError(f"{place}: the lists of {name} have different lengths")
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(shape)
