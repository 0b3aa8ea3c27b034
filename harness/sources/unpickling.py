"""Pickles of NumPy arrays, dicts, lists, strings and numbers, read without running anything they name.

What a pickle names is never imported. The few names of NumPy's that such files need are answered by objects
of this module, which take apart the bytes themselves; all others are refused.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError

_TYPE = re.compile(r"[biuf][1248]", re.ASCII)
_HARMLESS = "NumPy arrays, dicts, lists, strings and numbers"


class _Refused(pickle.UnpicklingError):
    """The pickle has something that no file of scores needs."""


class _DType:
    """An element type: of numbers only."""

    def __init__(self, code: object = None, *rest: object) -> None:
        if not isinstance(code, str) or not _TYPE.fullmatch(code):
            raise _Refused(f"an array of the type {code!r}")
        self._code, self._order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, subarray, names, fields, *_ = state
        if order not in ("<", ">", "|", "=") or (subarray, names, fields) != (None, None, None):
            raise _Refused("an array whose elements have parts")
        self._order = "|" if order == "=" else order

    def array(self, shape: object, raw: object, *, fortran: bool = False) -> NDArray[Any]:
        """The numbers that some bytes are."""
        kind = np.dtype(self._order + self._code)
        content = raw.encode("latin-1") if isinstance(raw, str) else raw
        if not isinstance(shape, tuple) or not all(isinstance(size, int) and size >= 0 for size in shape):
            raise _Refused("an array without a shape")
        if not isinstance(content, bytes | bytearray) or len(content) != math.prod(shape) * kind.itemsize:
            raise _Refused("an array whose bytes do not fill its shape")
        return np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")


class _Array:
    """An array that gets its content after it is made, as NumPy writes them."""

    content: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        self.content = _typed(kind).array(shape, raw, fortran=bool(fortran))


def _typed(kind: object) -> _DType:
    if not isinstance(kind, _DType):
        raise _Refused("an array without an element type")
    return kind


def _scalar(kind: object, raw: object) -> Any:
    return _typed(kind).array((), raw)[()]


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused("an encoding other than latin1")
    return text.encode("latin-1")


class _Name:
    """What stands for a name of NumPy's; it can be called, and nothing else."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        """What calling the name gives."""
        return self._make(*arguments)

    def __setstate__(self, state: object) -> NoReturn:
        raise _Refused("a state for something that has none")


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    if kind is not _NDARRAY:
        raise _Refused("a subclass of NumPy's arrays")
    return _Array()


def _frombuffer(raw: object, kind: object, shape: object, order: object) -> NDArray[Any]:
    return _typed(kind).array(shape, raw, fortran=order == "F")


def _never(*arguments: object) -> NoReturn:
    raise _Refused("an array made otherwise than NumPy writes them")


_NDARRAY = _Name(_never)
_NAMES: dict[tuple[str, str], _Name] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Name(_DType),
    ("_codecs", "encode"): _Name(_encode),
    # how old pickles write no bytes at all
    ("__builtin__", "bytes"): _Name(lambda: b""),
    ("builtins", "bytes"): _Name(lambda: b""),
}
for _core in ("numpy.core", "numpy._core"):
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = _Name(_reconstruct)
    _NAMES[f"{_core}.multiarray", "scalar"] = _Name(_scalar)
    _NAMES[f"{_core}.numeric", "_frombuffer"] = _Name(_frombuffer)


class _Unpickler(pickle.Unpickler):
    """Looks up no name outside this module."""

    def find_class(self, module: str, name: str) -> _Name:
        """What stands for a name in the pickle."""
        if (module, name) not in _NAMES:
            raise _Refused(f"{module}.{name}")
        return _NAMES[module, name]


def load(path: Path) -> Any:
    """What a pickle holds: dicts, lists, tuples, strings, numbers and arrays of numbers.

    Raises:
        DataError: it names anything else, or is damaged; nothing that it names was run.
    """
    with path.open("rb") as file:
        try:
            return _Unpickler(file).load()
        except _Refused as error:
            raise DataError(
                f"{path} is refused: the pickle holds {error}, and one of scores holds {_HARMLESS} only; "
                "nothing of it was run"
            ) from None
        except MemoryError:
            raise
        except Exception as error:  # a damaged pickle raises whatever its opcodes meet
            raise DataError(f"{path} is no whole pickle of {_HARMLESS}: {error}") from None


def plain(value: Any) -> Any:
    """An array of the pickle's as NumPy's; anything else as it is."""
    return value.content if isinstance(value, _Array) else value
