"""Small tables of text in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from harness import escaping

_RULES = {"l": ":---", "r": "---:"}


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], columns: str = "") -> Iterator[str]:
    """The lines of a table of GitHub-flavoured Markdown.

    Args:
        header: a heading for each column.
        rows: a text for each column.
        columns: ``l`` or ``r`` for each column: where its texts stand; empty: wherever the reader's program
            puts them.
    """
    yield _line(map(escaping.markdown, header))
    yield _line(_RULES[each] for each in columns) if columns else f"|{' --- |' * len(header)}"
    yield from (_line(map(escaping.markdown, row)) for row in rows)


def _line(entries: Iterable[str]) -> str:
    return f"| {' | '.join(entries)} |"
