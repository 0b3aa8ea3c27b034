"""What the verbs print: data on stdout, everything else on stderr, nothing that a terminal would obey."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from harness import files
from harness.errors import DataError
from harness.escaping import terminal


def out(text: str = "") -> None:
    """A line (or more) of data."""
    sys.stdout.write(terminal(text) + "\n")


def note(text: str) -> None:
    """A line for the person at the keyboard."""
    sys.stderr.write(terminal(text) + "\n")


def error_out(text: str) -> None:
    """What went wrong."""
    note(f"error: {text}")


def json_out(value: Any) -> None:
    """A value as indented JSON; dataclasses become objects, paths text."""
    out(json_text(value).removesuffix("\n"))


def json_text(value: Any) -> str:
    """The same as text that ends with a line break."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)


def table_out(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns; numbers to the right, the last column unpadded."""
    # escaped before it is measured: the escapes are longer
    lines = [[terminal(_cell(value)) for value in row] for row in rows]
    numeric = [
        bool(lines) and all(line[i] in ("", "-") or line[i][0].isdigit() for line in lines)
        for i in range(len(header))
    ]
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    for line in (header, *lines):
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        out("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    return "-" if value is None else " ".join(str(value).split())


def rich_out(draw: Callable[[int], Any]) -> None:
    """Something that rich draws into a width, on stdout; without a terminal there is none to fit into."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(draw(console.width))


def write(path: Path | None, text: str) -> None:
    """Text that ends with a line break, to a file or, for None, to stdout.

    Raises:
        DataError: the file cannot be written.
    """
    if path is None:
        out(text.removesuffix("\n"))
        return
    try:
        if path.exists() and not path.is_file():  # a device or a pipe
            path.write_text(text, encoding="utf-8")
        else:  # what was there stays until all is written
            path.parent.stat()  # a folder that is not there is not made
            with files.atomic(files.real(path)) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error
    note(f"written to {path}")


def size(count: float | None) -> str | None:
    """Bytes for people: '150 MB'; None stays None."""
    if count is None:
        return None
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
