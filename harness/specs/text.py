"""Text files whose errors point at a line and a column."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SpecError


@dataclass(frozen=True, order=True)
class Place:
    """A position in a file; line and column count from 1, columns in characters."""

    path: Path
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{shown(self.path)}:{self.line}:{self.column}"


def shown(path: Path) -> str:
    """The path as messages name it: relative to the working folder if it lies below it, else absolute."""
    here = Path.cwd()
    path = Path(os.path.normpath(here / path))
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def place_at(path: Path, text: str, offset: int) -> Place:
    """The place of the character at ``offset`` in a file's text."""
    before = text[:offset]
    return Place(path, before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def read_text(path: Path, referrer: Place | None = None) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Args:
        path: The file.
        referrer: Where another file names it; an unreadable file is reported there.

    Raises:
        SpecError: The file cannot be read, is not UTF-8, or is empty.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{referrer or Place(path)}: cannot read {shown(path)}: {error.strerror}") from None
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
