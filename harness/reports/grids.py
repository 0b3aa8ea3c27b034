"""Tables of text, and a page of them, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import escaping
from harness.escaping import Raw

if TYPE_CHECKING:
    from harness.reports.wording import Note

_RULES = {"l": ":---", "r": "---:"}


@dataclass(frozen=True)
class Grid:
    """A table of text.

    Attributes:
        header: a heading for each column.
        rows: a text for each column; `Raw` where it is in the format's own syntax already.
        columns: ``l`` or ``r`` for each column, left or right; empty: the first left, the others right.
        title: above it.
    """

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    columns: str = ""
    title: str = ""

    @classmethod
    def of(cls, records: Iterable[Mapping[str, object]], columns: str = "", title: str = "") -> Grid:
        """A row for each record, all of which have the same names; without any an empty table."""
        lines = [*records]
        return cls(
            tuple(lines[0]) if lines else (),
            [tuple(map(str, line.values())) for line in lines],
            columns,
            title,
        )

    def __post_init__(self) -> None:
        if not self.columns:
            object.__setattr__(self, "columns", "l" + "r" * (len(self.header) - 1))


def page(title: str, warning: str, grids: Iterable[Grid], notes: Iterable[Note]) -> str:
    """A page of GitHub-flavoured Markdown."""
    escape = escaping.markdown
    lines = [f"# {escape(title)}", ""]
    lines += [f"**{escape(warning)}**", ""] if warning else []
    for grid in grids:
        lines += [f"## {escape(grid.title)}", ""] if grid.title else []
        lines += [*markdown(grid.header, grid.rows, grid.columns), ""]
    lines += [f"- {escape(note.title)}: {escape(note.text)}" for note in notes]
    return "\n".join(lines) + "\n"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], columns: str = "") -> Iterator[str]:
    """The lines of a table of GitHub-flavoured Markdown.

    Args:
        header: a heading for each column.
        rows: a text for each column.
        columns: ``l`` or ``r`` for each column: where its texts stand; empty: wherever the reader's program
            puts them.
    """
    yield _line(header)
    yield f"| {' | '.join(_RULES[each] for each in columns)} |" if columns else f"|{' --- |' * len(header)}"
    yield from map(_line, rows)


def _line(entries: Iterable[str]) -> str:
    return f"| {' | '.join(text if isinstance(text, Raw) else escaping.markdown(text) for text in entries)} |"
