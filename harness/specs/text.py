"""Text files whose errors point at a line and a column."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import SpecError

Location = tuple[str | int, ...]
#: The largest file that ships has 24,000.
MAX_BYTES = 1_000_000


@dataclass(frozen=True, order=True)
class Place:
    """A position in a file; line and column count from 1, columns in characters."""

    path: Path
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{shown(self.path)}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Parsed:
    """What a YAML text holds.

    Attributes:
        data: Mappings as dicts, lists as tuples, scalars as YAML 1.2 reads them.
        values: Where each value stands, by location.
        keys: Where each key of a mapping stands, by the location of its value.
    """

    data: Mapping[str, Any]
    values: Mapping[Location, Place]
    keys: Mapping[Location, Place]


def shown(path: Path) -> str:
    """The path as messages name it: relative to the working folder if it lies below it, else absolute."""
    here = Path.cwd()
    path = Path(os.path.normpath(here / path))
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def place_at(path: Path, text: str, offset: int) -> Place:
    """The place of the character at ``offset`` in a file's text."""
    before = text[:offset]
    return Place(path, before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def read_text(path: Path, referrer: Place | None = None, limit: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Args:
        path: The file.
        referrer: Where another file names it; an unreadable file is reported there.
        limit: Bytes that it may have.

    Raises:
        SpecError: The file cannot be read, is no regular file, too large, not UTF-8, or empty.
    """
    raw = _regular(path, referrer or Place(path), limit)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig")
        raise SpecError(
            f"{place_at(path, before, len(before))}: byte 0x{raw[error.start]:02x} is not UTF-8; "
            "save the file as UTF-8"
        ) from None
    if not text.strip():
        raise SpecError(f"{Place(path)}: the file is empty")
    return text


def _regular(path: Path, named: Place, limit: int) -> bytes:
    """The bytes of a regular file: a device or a pipe might never end."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                raw = file.read(limit + 1)
            if len(raw) <= limit:
                return raw
            why = f"it has more than {limit:,} bytes"
        else:
            why = "Is a directory" if stat.S_ISDIR(mode) else "no regular file"
    except OSError as error:
        why = str(error.strerror)
    except ValueError:  # a NUL in its name
        why = "no name of a file"
    raise SpecError(f"{named}: cannot read {shown(path)}: {why}")


def message_line(place: Place, location: Location, message: str) -> str:
    """One line, ``path:line:column: dotted.key: message``."""
    dotted = ".".join(str(part) for part in location)
    text = f"{place}: {dotted}: {message}" if dotted else f"{place}: {message}"
    # a key may hold anything; what would break the line, or the terminal, is shown as its code
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def short(value: object) -> str:
    """A wrong value, for a message."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case tuple():
            return "a list"
        case bool():
            return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
