"""The parts of a printed table, each below a heading of its own: rows and columns with their labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from harness.authoring.grid import Cell, Grid
from harness.authoring.scores import Comma, score

#: What the lowest of several headings says of the numbers below it.
_ROLES = {
    **dict.fromkeys(("mean", "score", "return"), "mean"),
    **dict.fromkeys(("std", "std dev", "sd", "stddev", "±"), "std"),
    **dict.fromkeys(("before", "offline", "pre", "initial", "init"), "before"),
    **dict.fromkeys(("after", "online", "post", "final"), "after"),
}
# what begins like a number with decimals, also behind a macro that is not known
_LIKE = re.compile(r"(?:\\[A-Za-z]+\s*)*[-+–(\[~≈<>]?\s*[0-9]+[.,][0-9]")
_JOINED = {("mean", "std"): " ± ", ("before", "after"): " → "}


@dataclass(frozen=True)
class Entry:
    """A row or a column.

    Attributes:
        pieces: its name in pieces: the heading above the labels, those of the groups that it is in, its own.
        line: of the file.
    """

    pieces: tuple[str, ...]
    line: int

    @property
    def own(self) -> str:
        """Its own label; empty where it has none."""
        return self.pieces[-1] if len(self.pieces) > 1 else ""

    @property
    def group(self) -> tuple[str, ...]:
        """The labels of the groups that it is in, from the outermost."""
        return self.pieces[1:-1]


@dataclass
class Block:
    """A part of a table under one heading: rows and columns with their labels, and the cells."""

    rows: list[Entry]
    columns: list[Entry]
    cells: list[list[Cell]]

    def within(self, words: str) -> Block:
        """The same block, with words that are part of all its rows' and columns' names."""
        rows, columns = (
            [replace(entry, pieces=(f"{entry.pieces[0]} {words}", *entry.pieces[1:])) for entry in entries]
            for entries in (self.rows, self.columns)
        )
        return Block(rows, columns, self.cells)

    def transposed(self) -> Block:
        """The same block with its rows as columns."""
        return Block(self.columns, self.rows, [list(column) for column in zip(*self.cells, strict=True)])


def blocks(table: Grid, comma: Comma) -> Iterator[Block]:
    """The parts of a table, each below a heading of its own."""
    first = _first_column(table, comma)
    headings: list[tuple[Cell, ...]] = []
    rows: list[tuple[tuple[Cell, ...], str]] = []
    group = ""
    for row in table.rows:
        said = {id(cell): cell.text for cell in row if cell.text}
        if _holds_numbers(row[first:], comma) or (rows and _continues(row[first:])):
            rows.append((row, group))
        elif len(said) == 1 and (rows or (headings and row[0].text)):
            group = next(iter(said.values()))
        elif said:
            if rows:
                yield _block(headings, rows, first)
                headings, rows, group = [], [], ""
            headings.append(row)
    if rows:
        yield _block(headings, rows, first)


def _holds_numbers(cells: Sequence[Cell], comma: Comma) -> bool:
    """Whether cells are a row's numbers, even such as are not certain, and no headings."""
    texts = [cell for cell in cells if cell.text]
    alike = sum(bool(_LIKE.match(cell.text)) for cell in texts)
    return any(_printed(cell, comma) for cell in texts) or 2 * alike > len(texts)


def _continues(cells: Sequence[Cell]) -> bool:
    """Whether cells hold what belongs to the numbers above them: deviations or intervals."""
    texts = [cell.text for cell in cells if cell.text]
    return bool(texts) and all(re.match(r"[(\[_^{\s]*±|[(\[][-–\d.]", text) for text in texts)


def _printed(cell: Cell, comma: Comma) -> bool:
    """Whether a cell holds a number, or says that none was printed."""
    return bool(cell.text) and score(cell.text, comma) is not None


def _first_column(table: Grid, comma: Comma) -> int:
    """The first column that holds at least as many numbers as other text, headings aside."""

    def numeric(cell: Cell) -> bool:
        return bool(re.search(r"\d", cell.text)) and _holds_numbers([cell], comma)

    rows = [row for row in table.rows if any(map(numeric, row))]
    for x in range(len(table.rows[0])):
        said = Counter(
            numeric(cell)
            for cell in {id(row[x]): row[x] for row in rows}.values()
            if cell.text and cell.text not in ("-", "–", "—")
        )
        if said[True] and said[True] >= said[False]:
            return x
    return len(table.rows[0])


def _block(
    headings: Sequence[Sequence[Cell]], rows: Sequence[tuple[Sequence[Cell], str]], first: int
) -> Block:
    """One part.

    Args:
        headings: the rows of its headings.
        rows: its rows of numbers, each with the label of its group.
        first: the first column of numbers.
    """
    headings = [row for row in headings if len({id(cell) for cell in row}) > 1]  # no title across all columns
    corner = " ".join(dict.fromkeys(cell.text for row in headings for cell in row[:first] if cell.text))
    places = _under_one_heading(headings, range(first, len(rows[0][0])))
    used = Counter(key for row, _ in rows for several in places for key in {id(row[x]) for x in several})
    entries: list[Entry] = []
    lines: list[list[Cell]] = []
    last: tuple[int, ...] = ()
    carried: list[Cell] = []
    for row, group in rows:
        labels = tuple(dict.fromkeys(id(cell) for cell in row[:first] if cell.text))
        line = [_together([row[x] for x in several], used) for several in places]
        if lines and labels in ((), last) and _continues(line):
            lines[-1] = [_together(cells) for cells in zip(lines[-1], line, strict=True)]
            continue
        last = labels
        carried = _carried(row[:first], carried)
        names = dict.fromkeys(cell.text for cell in carried if cell.text)
        lines.append(line)
        entries.append(Entry((corner, *([group] if group else []), *names), row[0].line))
    return _by_role(Block(entries, [_column(headings, corner, x) for x, *_ in places], lines))


def _under_one_heading(headings: Sequence[Sequence[Cell]], columns: Iterable[int]) -> list[list[int]]:
    """The columns that stand under the same headings, together."""
    found: dict[tuple[int, ...], list[int]] = {}
    for x in columns:
        above = tuple(dict.fromkeys(id(row[x]) for row in headings if row[x].text))
        found.setdefault(above or (x,), []).append(x)
    return list(found.values())


def _column(headings: Sequence[Sequence[Cell]], corner: str, x: int) -> Entry:
    above = [row[x] for row in headings if row[x].text]
    return Entry((corner, *dict.fromkeys(cell.text for cell in above)), above[-1].line if above else 1)


def _carried(labels: Sequence[Cell], above: Sequence[Cell]) -> list[Cell]:
    """The labels of a row; one that is written once stands for the rows below it, until another follows."""
    if len(above) != len(labels):
        return list(labels)
    return [
        old if not cell.text and any(narrower.text for narrower in labels[x + 1 :]) else cell
        for x, (cell, old) in enumerate(zip(labels, above, strict=True))
    ]


def _together(cells: Sequence[Cell], used: Mapping[int, int] = MappingProxyType({})) -> Cell:
    """Cells that stand under one heading, as one.

    Args:
        cells: these.
        used: in how many places of the table each stands, by identity.
    """
    distinct = list({id(cell): cell for cell in cells}.values())
    text = " ".join(cell.text for cell in distinct if cell.text)
    shared = any(cell.shared or used.get(id(cell), 1) > 1 for cell in distinct if cell.text)
    return Cell(text, distinct[0].line, any(cell.bold for cell in distinct), shared=shared)


def _by_role(block: Block) -> Block:
    """Columns whose headings say mean and deviation, or before and after, as one each."""
    roles = [_ROLES.get(entry.own.lower().strip(". ")) for entry in block.columns]
    for pair, sign in _JOINED.items():
        places: dict[tuple[str, ...], dict[str, int]] = {}
        for x, (entry, role) in enumerate(zip(block.columns, roles, strict=True)):
            if role in pair and entry.group:
                places.setdefault(entry.pieces[:-1], {})[role] = x
        pairs = {where[pair[0]]: where[pair[1]] for where in places.values() if len(where) == len(pair)}
        if not pairs:
            continue
        for line in block.cells:
            for one, other in pairs.items():
                texts = [line[x].text for x in (one, other)]
                numbers = all(re.search(r"\d", text) for text in texts)
                joined = sign.join(texts) if numbers else " ".join(dict.fromkeys(texts)).strip()
                line[one] = Cell(joined, line[one].line, any(line[x].bold for x in (one, other)))
        kept = [x for x in range(len(block.columns)) if x not in pairs.values()]
        columns = [
            Entry(
                block.columns[x].pieces[:-1] if x in pairs else block.columns[x].pieces, block.columns[x].line
            )
            for x in kept
        ]
        return _by_role(Block(block.rows, columns, [[line[x] for x in kept] for line in block.cells]))
    return block
