"""CSV files with a header, and errors that point at file and line."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SpecError
from harness.specs.text import MAX_BYTES, Place, read_text, shown


@dataclass(frozen=True)
class Record:
    """A record of a CSV file.

    Attributes:
        path: The file.
        line: Where it begins, from 1; text in double quotes may go on over several lines.
        fields: The texts by column.
    """

    path: Path
    line: int
    fields: Mapping[str, str]

    def problem(self, message: str, column: str = "") -> str:
        """One line, ``path:line: column: message``."""
        return f"{shown(self.path)}:{self.line}: {column and f'{column}: '}{message}"


def read_records(
    path: Path,
    required: Sequence[str],
    optional: Collection[str] | None = (),
    *,
    referrer: Place | None = None,
    limit: int = MAX_BYTES,
    refuse: Callable[[Sequence[str]], str] | None = None,
) -> list[Record]:
    """The records below the header, in their order; blank lines are skipped.

    Args:
        path: The file: UTF-8, comma-separated, columns in any order.
        required: Columns that must be there.
        optional: Columns that may be there; None for any.
        referrer: Where another file names this one.
        limit: Bytes that the file may have.
        refuse: From the names of its columns to why it is another kind of file; empty if it is not.

    Raises:
        SpecError: The file cannot be read, or its header or the length of a record is wrong; a line for each.
    """
    lines = list(_lines(path, read_text(path, referrer, limit)))
    if not lines:
        raise SpecError(f"{Place(path)}: the file is empty")
    (start, header), *lines = lines
    names = [name.strip() for name in header]
    problems = [f"column {name!r} stands twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if optional is not None:
        allowed = (*required, *optional)
        unknown = [name for name in names if name not in allowed]
        problems += [f"unknown column {name!r}; allowed: {', '.join(allowed)}" for name in unknown]
    problems += [f"column {name!r} is missing" for name in required if name not in names]
    if refuse and (why := refuse(names)):
        problems = [why]
    if problems and len(header) == 1 and ";" in header[0]:
        problems = ["separate the columns by commas, not semicolons"]
    if problems:
        raise SpecError("\n".join(Record(path, start, {}).problem(problem) for problem in problems))
    problems = [
        Record(path, line, {}).problem(
            f"{len(values)} values for {len(names)} columns; write a decimal point as '.', "
            "and text with a comma in double quotes"
        )
        for line, values in lines
        if len(values) != len(names)
    ]
    if problems:
        raise SpecError("\n".join(problems))
    return [Record(path, line, dict(zip(names, values, strict=True))) for line, values in lines]


def _lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a text that is not blank, the header too, and the lines where they begin."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for values in reader:
            if len(values) > 1 or "".join(values).strip():
                yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        raise SpecError(f"{shown(path)}:{line}: no valid CSV: {error}") from None
