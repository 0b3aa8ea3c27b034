"""The parts of a printed table, each below a heading of its own: rows and columns with their labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
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
# the same at the end of a heading that is an algorithm's: td3_bc_std, BC (mean)
_ENDING = re.compile(r"(.+?)[\s_]\(?(mean|std|std\.? dev|sd|stddev)\.?\)?", re.IGNORECASE)
# what begins like a number with decimals, also behind a macro that is not known; or has no letters
_LIKE = re.compile(r"(?:\\[A-Za-z]+\s*)*(?:[-+–(\[~≈<>]?\s*[0-9]+[.,][0-9]|(?=\D*[0-9])[\W\d_]*\Z)")
#: Roles of headings that stand together -> how a paper prints both in one cell, and which may be missing.
_JOINED = {("mean", "std"): (" ± ", 1), ("before", "after"): (" → ", 0)}
_SHARED = "it stands for several rows or columns"
_LONGER = "the row has more cells than there are headings"


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
    """The parts of a table, beside each other or each below a heading of its own."""
    for rows, first in _beside(table, comma):
        yield from _below(rows, first, comma)


def _below(table: Sequence[tuple[Cell, ...]], first: int, comma: Comma) -> Iterator[Block]:
    """Parts each below a heading of its own.

    Args:
        table: its rows.
        first: the first column of numbers.
        comma: what commas are.
    """
    numbers = [_holds_numbers(row[first:], comma) for row in table]
    last = max((y for y, holds in enumerate(numbers) if holds), default=len(table))
    headings: list[tuple[Cell, ...]] = []
    rows: list[tuple[tuple[Cell, ...], str]] = []
    group = ""
    for y, row in enumerate(table):
        said = {id(cell): cell.text for cell in row if cell.text}
        heads_nothing = y > last and len(said) > 1
        if numbers[y] or heads_nothing or (rows and _continues(row[first:])):
            rows.append((row, group))
        elif len(said) == 1 and (rows or (headings and row[0].text)):
            group = next(iter(said.values()))
        elif said:
            if rows:
                yield _block(headings, rows, first, comma)
                headings, rows, group = [], [], ""
            headings.append(row)
    if rows:
        yield _block(headings, rows, first, comma)


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


def _is_number(row: Sequence[Cell], x: int, comma: Comma) -> bool:
    """Whether a row has a number of its own in a column."""
    own = x == 0 or row[x] is not row[x - 1]
    return own and bool(re.match(r"[^±]*\d", row[x].text)) and _printed(row[x], comma)


def _beside(table: Grid, comma: Comma) -> Iterator[tuple[list[tuple[Cell, ...]], int]]:
    """Parts that stand beside each other, as where a long table is printed in two halves.

    Yields:
        the rows of one, and the first column of its numbers, which holds as many of them as other text.
    """

    def numeric(cell: Cell) -> bool:
        return bool(re.search(r"\d", cell.text)) and _holds_numbers([cell], comma)

    rows = [row for row in table.rows if any(map(numeric, row))]
    width = len(table.rows[0])
    numbers, words = [False] * width, [False] * width
    for x in range(width):
        cells = [cell for cell in {id(row[x]): row[x] for row in rows}.values() if cell.text]
        of_numbers = sum(map(numeric, cells))
        others = [cell for cell in cells if not numeric(cell) and cell.text not in ("-", "–", "—")]
        numbers[x] = of_numbers > 0 and of_numbers >= len(others)
        words[x] = not numbers[x] and any(
            re.match(r"[A-Za-z]{2}", cell.text) and not _printed(cell, comma) for cell in others
        )
    # labels behind numbers begin a part if numbers follow them, too
    starts = [
        x for x in range(1, width) if words[x] and not words[x - 1] and any(numbers[:x]) and any(numbers[x:])
    ]
    for start, end in pairwise([0, *starts, width]):
        first = next((x for x in range(start, end) if numbers[x]), end)
        yield [row[start:end] for row in table.rows], first - start


def _block(
    headings: Sequence[Sequence[Cell]], rows: Sequence[tuple[Sequence[Cell], str]], first: int, comma: Comma
) -> Block:
    """One part.

    Args:
        headings: the rows of its headings.
        rows: its rows of numbers, each with the label of its group.
        first: the first column of numbers.
        comma: what commas are.
    """
    headings = [row for row in headings if len({id(cell) for cell in row}) > 1]  # no title across all columns
    corner = " ".join(dict.fromkeys(cell.text for row in headings for cell in row[:first] if cell.text))
    columns = range(first, len(rows[0][0]))
    places = _under_one_heading(headings, columns)
    used = Counter(key for row, _ in rows for several in places for key in {id(row[x]) for x in several})
    longer = _longer(headings, [row for row, _ in rows], columns)
    crowded = [
        len(several) > 1 and sum(any(_is_number(row, x, comma) for row, _ in rows) for x in several) > 1
        for several in places
    ]
    entries: list[Entry] = []
    lines: list[list[Cell]] = []
    last: tuple[int, ...] = ()
    carried: list[Cell] = []
    for (row, group), doubtful in zip(rows, longer, strict=True):
        labels = tuple(dict.fromkeys(id(cell) for cell in row[:first] if cell.text))
        line = [
            _together([row[x] for x in several], used, "–" if numbers else "")
            for several, numbers in zip(places, crowded, strict=True)
        ]
        if doubtful:
            line = [replace(cell, doubt=_LONGER) for cell in line]
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


def _longer(
    headings: Sequence[Sequence[Cell]], rows: Sequence[Sequence[Cell]], columns: Iterable[int]
) -> list[bool]:
    """Which rows, of few, have a number where no heading is: all their numbers may stand a column too far."""
    bare = [x for x in columns if headings and not any(heading[x].text for heading in headings)]
    found = [any(re.search(r"\d", row[x].text) for x in bare) for row in rows]
    return found if 2 * sum(found) <= len(found) else [False] * len(found)


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


def _together(cells: Sequence[Cell], used: Mapping[int, int] = MappingProxyType({}), blank: str = "") -> Cell:
    """Cells that stand under one heading, as one.

    Args:
        cells: these.
        used: in how many places of the table each stands, by identity.
        blank: what an empty one beside others is.
    """
    distinct = list({id(cell): cell for cell in cells}.values())
    some = any(cell.text for cell in distinct)
    text = " ".join(filter(None, (cell.text or (blank if some else "") for cell in distinct)))
    doubts = [
        cell.doubt or _SHARED for cell in distinct if cell.text and (cell.doubt or used.get(id(cell), 1) > 1)
    ]
    return Cell(
        text, distinct[0].line, any(cell.bold for cell in distinct), doubt=doubts[0] if doubts else ""
    )


def _by_role(block: Block) -> Block:
    """Columns whose headings say mean and deviation, or before and after, as one each."""
    for pair, (sign, optional) in _JOINED.items():
        places: dict[tuple[str, ...], dict[str, int]] = {}
        for x, entry in enumerate(block.columns):
            for pieces, role in _roles(entry):
                if role in pair:
                    places.setdefault(pieces, {})[role] = x
        pairs = {
            where[pair[0]]: (where[pair[1]], pieces)
            for pieces, where in places.items()
            if len(where) == len(pair)
        }
        if not pairs:
            continue
        for line in block.cells:
            for one, (other, _) in pairs.items():
                both = [line[one], line[other]]
                texts = [cell.text for cell in both]
                alone = not re.search(r"\d", texts[optional])
                joined = " ".join(dict.fromkeys(texts)).strip() if alone else sign.join(texts)
                line[one] = replace(_together(both), text=joined)
        dropped = {other for other, _ in pairs.values()}
        kept = [x for x in range(len(block.columns)) if x not in dropped]
        columns = [
            replace(block.columns[x], pieces=pairs[x][1]) if x in pairs else block.columns[x] for x in kept
        ]
        return _by_role(Block(block.rows, columns, [[line[x] for x in kept] for line in block.cells]))
    return block


def _roles(entry: Entry) -> Iterator[tuple[tuple[str, ...], str]]:
    """What a column may be, and of what: (the name without the words that say so, the role)."""
    corner, *names = entry.pieces
    if len(names) > 1:  # the lowest heading says it, or the highest
        for said, rest in ((names[-1], names[:-1]), (names[0], names[1:])):
            if role := _ROLES.get(said.lower().strip(". ")):
                yield (corner, *rest), role
                return
    if names and (ending := _ENDING.fullmatch(names[-1])):
        yield (corner, *names[:-1], ending[1]), _ROLES[ending[2].lower().replace(".", "")]
    elif names:  # beside one that says deviation
        yield entry.pieces, "mean"
