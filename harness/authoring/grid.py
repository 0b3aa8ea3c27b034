"""A printed table as a grid of text, whatever format it was written in."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.errors import HarnessError

_CELLS = 10_000  # of a table; the largest of papers have five hundred
LONGEST = 1000  # characters of a cell that are looked at; no number has as many


@dataclass(frozen=True)
class Cell:
    """One cell, its markup gone.

    Attributes:
        text: what is printed. What stands above or below the line is ``^{…}`` or ``_{…}``; markup that is not
            known stays as it is written, so that it is never taken for part of a number.
        line: of the file, from 1.
        bold: whether any of it is bold.
        across: columns that it spans.
        down: rows that it spans; below 0 the rows above it.
        doubt: why it is not certain what it says of its row and column; empty where it is.
    """

    text: str
    line: int
    bold: bool = False
    across: int = 1
    down: int = 1
    doubt: str = ""


@dataclass(frozen=True)
class Grid:
    """A table as printed.

    Attributes:
        rows: all of one length; a cell that spans several places is in each of them, the same object.
        line: where it begins.
        caption: as far as it has one.
    """

    rows: tuple[tuple[Cell, ...], ...]
    line: int
    caption: str = ""


def grid(
    rows: Sequence[Sequence[Cell]], line: int, caption: str = "", *, placeholders: bool = False
) -> Grid | None:
    """A grid of rows of cells; None where there is nothing in it.

    Args:
        rows: the cells that are written, in each row.
        line: where the table begins.
        caption: of the table.
        placeholders: whether an empty cell is written where another one spans into a row, as in LaTeX; else
            nothing is, as in HTML.

    Raises:
        HarnessError: it has more cells than any table.
    """
    placed: dict[tuple[int, int], Cell] = {}
    for y, row in enumerate(rows):
        x = 0
        for cell in map(_clean, row):
            while not placeholders and (y, x) in placed:
                x += 1
            for dx in range(cell.across):
                if (y, x + dx) not in placed or cell.text:
                    placed[y, x + dx] = cell
            step = 1 if cell.down >= 0 else -1
            for dy in range(step, cell.down, step):
                for dx in range(cell.across):
                    there = placed.get((y + dy, x + dx))
                    if 0 <= y + dy < len(rows) and (there is None or not there.text):
                        placed[y + dy, x + dx] = cell
            x += cell.across
            if len(placed) > _CELLS:
                raise HarnessError(f"the table in line {line} has more than {_CELLS:,} cells")
    width = max((x for _, x in placed), default=-1) + 1
    lines = [row[0].line if row else line for row in rows]
    full = [tuple(placed.get((y, x)) or Cell("", lines[y]) for x in range(width)) for y in range(len(rows))]
    kept = tuple(row for row in full if any(cell.text for cell in row))
    return Grid(kept, line, caption) if kept else None


def _clean(cell: Cell) -> Cell:
    """The cell without characters that print nothing, and not longer than is looked at."""
    text = visible(cell.text)
    return cell if text == cell.text else replace(cell, text=text)


def visible(text: str) -> str:
    """As much of a text as is looked at, without characters that print nothing."""
    return "".join(
        " " if c.isspace() and c < "\x80" else c for c in text[:LONGEST] if c.isspace() or _shown(c)
    )


def _shown(character: str) -> bool:
    category = unicodedata.category(character)
    return (
        category[0] != "C" or category == "Co"
    )  # private ones are shown: the minus of a font of symbols, say


def apart(pieces: Iterable[str]) -> str:
    """Pieces of markup as one text, with a space where digits of two would meet.

    A small, raised or linked digit behind a number is a footnote's, a rank or a deviation: only digits that
    are written side by side are one number.
    """
    text = ""
    for piece in pieces:
        text += f" {piece}" if text[-1:].isdigit() and piece[:1].isdigit() else piece
    return text
