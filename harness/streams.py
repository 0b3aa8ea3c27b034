"""Standard streams whose trouble is nobody else's: a reader that went away, a dead terminal, a full disk.

What is said on stderr is for a person; where it cannot be written it is lost, and nothing fails. What goes to
stdout is data: losing it is an error, except where its reader has read enough.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import sys
from typing import TYPE_CHECKING, TextIO

from harness.errors import DataError, masked

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_ESCAPE = "harness.escape"


def settle() -> None:
    """Replace this process's standard streams by such ones; a closed one leads nowhere.

    Characters that a stream's encoding lacks are escaped as in JSON. Streams that something else has put in
    the place of the process's own stay.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the next file to be opened would get its number, and what is said
            os.open(os.devnull, os.O_RDWR)
    sys.stderr = said()
    if sys.stdout is sys.__stdout__:
        file = _Data(1, "w", closefd=False)
        sys.stdout = _text(io.BufferedWriter(file), sys.stdout, line_buffering=file.isatty())


def said() -> TextIO:
    """A stream for what is only said: stderr, made harmless unless something else is in its place."""
    if sys.stderr is not sys.__stderr__:
        return sys.stderr
    # unbuffered, so that a signal's handler may speak in the midst of another line
    return _text(_Said(2, "w", closefd=False), sys.stderr, write_through=True)


def _text(file: io.RawIOBase | io.BufferedIOBase, like: TextIO | None, **buffering: bool) -> io.TextIOWrapper:
    codecs.register_error(_ESCAPE, _escaped)
    encoding = like.encoding if like else "utf-8"
    # the buffer may be a raw file where nothing is buffered
    return _Masked(file, encoding, _ESCAPE, **buffering)  # type: ignore[arg-type]


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - nothing is decoded with it
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


class _Masked(io.TextIOWrapper):
    """Text without passwords, also where others write it: tracebacks, warnings, wrong command lines."""

    def write(self, text: str, /) -> int:
        super().write(masked(text))
        return len(text)


class _Said(io.FileIO):
    """What is only said."""

    def write(self, data: ReadableBuffer) -> int:
        left = memoryview(data)
        with contextlib.suppress(OSError):
            while left:
                left = left[super().write(left) :]
        return memoryview(data).nbytes


class _Data(io.FileIO):
    """Data; after the first failure nothing more is tried."""

    _failed = False

    def write(self, data: ReadableBuffer) -> int:
        if not self._failed:
            try:
                return super().write(data)
            except BrokenPipeError:  # its reader has read enough
                self._failed = True
            except OSError as error:
                self._failed = True
                raise DataError(f"standard output cannot be written: {error.strerror}") from error
        return memoryview(data).nbytes
