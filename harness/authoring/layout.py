"""Which dataset and which algorithm each cell of a printed table belongs to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, get_args

from harness.authoring import naming
from harness.authoring.grid import Cell, Grid
from harness.authoring.naming import Names
from harness.authoring.scores import Comma, Score, commas, score
from harness.counting import count
from harness.specs.rows import TOTAL

Sums = Literal["average", "sum"]
_SUMS: tuple[Sums, ...] = get_args(Sums)
#: What the lowest of several headings says of the numbers below it.
_ROLES = {
    **dict.fromkeys(("mean", "score", "return"), "mean"),
    **dict.fromkeys(("std", "std dev", "sd", "stddev", "±"), "std"),
    **dict.fromkeys(("before", "offline", "pre", "initial", "init"), "before"),
    **dict.fromkeys(("after", "online", "post", "final"), "after"),
}
_RAW = 300  # beyond it numbers are hardly normalised scores; on Maze2d some are above 200
# what begins like a number with decimals, also behind a macro that is not known
_LIKE = re.compile(r"(?:\\[A-Za-z]+\s*)*[-+–(\[]?\s*[0-9]+[.,][0-9]")
_JOINED = {("mean", "std"): " ± ", ("before", "after"): " → "}


@dataclass(frozen=True)
class Unread:
    """A cell that was left out.

    Attributes:
        line: of the file.
        row: as it is labelled.
        column: as it is labelled.
        text: what is printed.
        why: it was left out.
    """

    line: int
    row: str
    column: str
    text: str
    why: str


@dataclass
class Rows:
    """Consecutive rows, and the labels of what sums them up.

    Attributes:
        id: of the group.
        label: as printed.
        datasets: their ids.
        average: label of the row of their averages; empty where there is none.
        sum: the same of their sums.
        whole: whether every row that is printed here is among the datasets.
    """

    id: str
    label: str
    datasets: list[str] = field(default_factory=list)
    average: str = ""
    sum: str = ""
    whole: bool = True


@dataclass(frozen=True)
class Column:
    """A column: an algorithm's.

    Attributes:
        id: in the table.
        label: as printed.
        algorithm: its id; of one that is not known the column's own.
        known: whether there is such an algorithm.
        mark: behind its label, as a footnote's; empty where there is none.
        line: of the file.
    """

    id: str
    label: str
    algorithm: str
    known: bool
    mark: str
    line: int


@dataclass
class Reading:
    """What was read of a printed table.

    Attributes:
        groups: its rows.
        columns: its columns.
        cells: what is printed, by ids of row and column.
        total: label of the average over all rows; empty where there is none.
        unread: cells that were left out.
        notes: what was taken for granted.
        cells_of_file: how many cells there are, read or not.
    """

    groups: list[Rows] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    cells: dict[tuple[str, str], Score] = field(default_factory=dict)
    total: str = ""
    unread: list[Unread] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cells_of_file: int = 0


@dataclass(frozen=True)
class _Entry:
    """A row or a column: its labels from the outermost to its own."""

    pieces: tuple[str, ...]
    line: int

    @property
    def own(self) -> str:
        return self.pieces[-1] if self.pieces else ""

    @property
    def group(self) -> tuple[str, ...]:
        return self.pieces[1:-1]  # the first is the heading above the labels


@dataclass
class _Block:
    """A part of a table under one heading: rows and columns with their labels, and the cells."""

    rows: list[_Entry]
    columns: list[_Entry]
    cells: list[list[Cell]]

    def within(self, words: str) -> _Block:
        """The same block, with words that are part of all its rows' and columns' names."""
        rows, columns = (
            [replace(entry, pieces=(f"{entry.pieces[0]} {words}", *entry.pieces[1:])) for entry in entries]
            for entries in (self.rows, self.columns)
        )
        return _Block(rows, columns, self.cells)

    def transposed(self) -> _Block:
        return _Block(self.columns, self.rows, [list(column) for column in zip(*self.cells, strict=True)])


def read(table: Grid, names: Names) -> Reading:
    """What a printed table says of the datasets and algorithms there are."""
    comma = commas(cell.text for row in table.rows for cell in row)
    blocks = [block for block in _blocks(table, comma) if block.cells and block.columns]
    if versions := " ".join(sorted(set(re.findall(r"\bv\d\b", table.caption.lower())))):
        blocks = [block.within(versions) for block in blocks]
    if not _hits(blocks, names, "columns") and not _hits(blocks, names, "rows"):
        blocks = [block.within(names.domain(table.caption)) for block in blocks]
    if _hits(blocks, names, "columns") > _hits(blocks, names, "rows"):
        blocks = [block.transposed() for block in blocks]
    reader = _Reader(names, comma, _deviation(table.caption))
    for block in blocks:
        reader.read(block)
    return reader.finished()


def _deviation(caption: str) -> str:
    """What a caption says that stands behind ±, if that is no standard deviation."""
    if re.search(r"(?i)standard dev|\bstds?\b|\bs\.d\.", caption):
        return ""
    found = re.search(r"(?i)standard err\w*|std\.? err\w*|stderr|confidence intervals?|\bCIs?\b", caption)
    return found[0] if found else ""


def _hits(blocks: Sequence[_Block], names: Names, axis: Literal["rows", "columns"]) -> int:
    """How many rows or columns are datasets."""
    return sum(
        len(names.dataset(entry.pieces).ids) == 1 for block in blocks for entry in getattr(block, axis)
    )


# -- blocks ------------------------------------------------------------------------------------------------


def _blocks(table: Grid, comma: Comma) -> Iterator[_Block]:
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


def _first_column(table: Grid, comma: Comma) -> int:
    """The first column that holds more numbers than other text."""
    width = len(table.rows[0])
    for x in range(width):
        said = Counter(
            "number" if re.search(r"\d", cell.text) and _holds_numbers([cell], comma) else "text"
            for cell in {id(row[x]): row[x] for row in table.rows}.values()
            if cell.text and cell.text not in ("-", "–", "—")
        )
        if said["number"] > said["text"] or (said["number"] and said["number"] == said["text"]):
            return x
    return width


def _block(
    headings: Sequence[Sequence[Cell]], rows: Sequence[tuple[Sequence[Cell], str]], first: int, comma: Comma
) -> _Block:
    width = len(rows[0][0])
    whole = [row for row in headings if len({id(cell) for cell in row}) > 1]  # not a title across all columns
    corner = " ".join(dict.fromkeys(cell.text for row in whole for cell in row[:first] if cell.text))
    under: dict[tuple[int, ...], list[int]] = {}
    for x in range(first, width):
        above = tuple(dict.fromkeys(id(row[x]) for row in whole if row[x].text))
        under.setdefault(above or (x,), []).append(x)
    columns = []
    for places in under.values():
        cells = [row[places[0]] for row in whole]
        pieces = tuple(dict.fromkeys(cell.text for cell in cells if cell.text))
        columns.append(_Entry((corner, *pieces), next((c.line for c in reversed(cells) if c.text), 1)))
    entries: list[_Entry] = []
    lines: list[list[Cell]] = []
    used = Counter(
        key for row, _ in rows for places in under.values() for key in {id(row[x]) for x in places}
    )
    last: tuple[int, ...] = ()
    carried: list[Cell] = []
    for row, group in rows:
        labels = {id(cell): cell.text for cell in row[:first] if cell.text}
        line = [_together([row[x] for x in places], used) for places in under.values()]
        continued = not labels or tuple(labels) == last
        if continued and lines and _continues(line):
            lines[-1] = [_together([above, below]) for above, below in zip(lines[-1], line, strict=True)]
            continue
        last = tuple(labels)
        # a label that is written once stands for the rows below it, until another one follows
        carried = _carried(row[:first], carried)
        names = dict.fromkeys(cell.text for cell in carried if cell.text)
        lines.append(line)
        entries.append(_Entry((corner, *([group] if group else []), *names), row[0].line))
    return _by_role(_Block(entries, columns, lines))


def _carried(labels: Sequence[Cell], above: Sequence[Cell]) -> list[Cell]:
    """The labels of a row: an empty one is the one above it if a narrower one is there."""
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


def _by_role(block: _Block) -> _Block:
    """Columns whose headings say mean and deviation, or before and after, as one each."""
    roles = [_ROLES.get(entry.own.lower().strip(". ")) for entry in block.columns]
    for pair, sign in _JOINED.items():
        places: dict[tuple[str, ...], dict[str, int]] = {}
        for x, (entry, role) in enumerate(zip(block.columns, roles, strict=True)):
            if role in pair and len(entry.pieces) > 2:
                places.setdefault(entry.pieces[:-1], {})[role] = x
        pairs = {where[pair[0]]: where[pair[1]] for where in places.values() if len(where) == len(pair)}
        if not pairs:
            continue
        for line in block.cells:
            for one, other in pairs.items():
                texts = [line[x].text for x in (one, other)]
                joined = (
                    sign.join(texts) if all(re.search(r"\d", text) for text in texts) else " ".join(texts)
                )
                line[one] = Cell(joined.strip(), line[one].line, any(line[x].bold for x in (one, other)))
        kept = [x for x in range(len(block.columns)) if x not in pairs.values()]
        columns = [
            _Entry(
                block.columns[x].pieces[:-1] if x in pairs else block.columns[x].pieces, block.columns[x].line
            )
            for x in kept
        ]
        return _by_role(_Block(block.rows, columns, [[line[x] for x in kept] for line in block.cells]))
    return block


# -- names -------------------------------------------------------------------------------------------------


class _Reader:
    """Reads blocks one after the other into one table."""

    def __init__(self, names: Names, comma: Comma, deviation: str) -> None:
        self.names, self.comma, self.deviation = names, comma, deviation
        self.reading = Reading()
        self._columns: dict[str, Column] = {}
        # of summaries: by the group's identity until that has an id
        self._summed: dict[tuple[int, str], dict[str, Score]] = {}
        self._how: Counter[str] = Counter()
        self._versions: list[str] = []
        self._remarks: list[str] = []

    def read(self, block: _Block) -> None:
        """Read one block."""
        columns = self._columns_of(block)
        here: Rows | None = None  # the rows that a summary would be about
        group: tuple[str, ...] = ()
        for entry, cells in zip(block.rows, block.cells, strict=True):
            self.reading.cells_of_file += len(cells)
            found = self.names.dataset(entry.pieces)
            if not found.ids and naming.is_summary(entry.own):
                self._sum_up(entry, cells, columns, here if entry.group == group else None)
                here = None
                continue
            known = next((rows for rows in self.reading.groups if set(found.ids) & set(rows.datasets)), None)
            if known:  # further columns of a row that stands above
                here = known
            elif here is None or entry.group != group:
                here = Rows("", " ".join(entry.group))
                self.reading.groups.append(here)
            group = entry.group
            self._read_row(entry, found, cells, columns, here)

    def _read_row(
        self,
        entry: _Entry,
        found: naming.Named,
        cells: Sequence[Cell],
        columns: Sequence[Column | None],
        here: Rows,
    ) -> None:
        """Read a row that sums up no others."""
        if len(found.ids) != 1:
            why = f"the row may be {' or '.join(found.ids)}" if found.ids else "no such dataset is known"
            self._leave_out(entry, cells, columns, why)
            here.whole = False
            return
        name = found.ids[0]
        if any((name, column.id) in self.reading.cells for column in columns if column):
            self._leave_out(entry, cells, columns, f"the row is {name}, which stands above, too")
            return
        if found.unversioned:
            self._versions.append(name)
        if name not in here.datasets:
            here.datasets.append(name)
        if mark := naming.mark(entry.own):
            self._remarks.append(
                f"line {entry.line}: row {_label(entry.own)} is taken as {name}, whatever {mark} says"
            )
        self._row(entry, name, cells, columns)

    def finished(self) -> Reading:
        """All that was read."""
        reading = self.reading
        reading.groups = [rows for rows in reading.groups if rows.datasets]
        self._name_groups()
        used = {column for _, column in reading.cells}
        reading.columns = [column for column in self._columns.values() if column.id in used]
        if self._versions:
            kinds = Counter(name.rpartition("-")[2] for name in self._versions)
            said = ", ".join(f"{count(n, 'row')} as -{version}" for version, n in kinds.items())
            reading.notes.append(
                f"names of datasets without a version are taken as those that are known: {said}"
            )
        for how, number in self._how.items():
            reading.notes.append(f"numbers {how} are taken as standard deviations: {count(number, 'cell')}")
        for column in reading.columns:
            if column.known and column.mark:
                reading.notes.append(
                    f"line {column.line}: column {column.label} is taken as {column.algorithm}; "
                    f"the mark {column.mark} may say that it was run otherwise"
                )
        unknown = [column.label for column in reading.columns if not column.known]
        if unknown:
            reading.notes.append(f"no algorithm is known by the name of {', '.join(unknown)}")
        if self.deviation:
            reading.notes.append(
                f"by the caption {self.deviation} stands behind ±, so that no standard deviations are read"
            )
        if self.comma == "point":
            reading.notes.append("commas within numbers are taken as points")
        reading.notes += [*self._remarks, *self._units()]
        return reading

    def _units(self) -> Iterator[str]:
        """What the numbers look like if they are no normalised scores."""
        means = [
            abs(float(cell.mean))
            for (row, _), cell in self.reading.cells.items()
            if cell.mean and row in self.names.datasets
        ]
        if means and max(means) > _RAW:
            yield f"some numbers are above {_RAW}: scores here are normalised, an expert has 100"
        if means and 0 < max(means) <= 1:
            yield "no number is above 1: scores here are normalised, an expert has 100"

    def _name_groups(self) -> None:
        """Give groups their ids, and the cells of their summaries with them."""
        taken = {TOTAL, *self.names.datasets}
        for rows in self.reading.groups:
            domains = dict.fromkeys(self.names.datasets[name] for name in rows.datasets)
            rows.label = rows.label or " and ".join(domains)
            rows.id = naming.slug(rows.label, taken)
            taken.add(rows.id)
            for how, name in (("average", rows.id), ("sum", f"{rows.id}:sum")):
                for column, found in self._summed.pop((id(rows), how), {}).items():
                    self.reading.cells[name, column] = found

    def _columns_of(self, block: _Block) -> list[Column | None]:
        """The algorithm of each column; None where it is none."""
        own = [naming.plain(entry.own) for entry in block.columns]
        found: list[Column | None] = []
        for entry, label in zip(block.columns, own, strict=True):
            shown = entry.own if own.count(label) == 1 else " ".join(entry.pieces[1:])
            if not shown or naming.is_other(shown):
                found.append(None)
                continue
            if shown in self._columns and self._columns[shown] not in found:
                found.append(self._columns[shown])
                continue
            algorithm = self.names.algorithm(shown)
            taken = {column.id for column in self._columns.values()}
            name = (
                naming.distinct(algorithm, taken)
                if algorithm
                else naming.slug(shown, {*taken, *self.names.algorithms})
            )
            column = Column(
                name, _label(shown), algorithm or name, algorithm is not None, naming.mark(shown), entry.line
            )
            self._columns[shown if shown not in self._columns else name] = column
            found.append(column)
        return found

    def _row(self, entry: _Entry, name: str, cells: Sequence[Cell], columns: Sequence[Column | None]) -> None:
        """Read the cells of a row that has an id."""
        self.reading.cells |= {(name, column): found for column, found in self._scores(entry, cells, columns)}

    def _scores(
        self, entry: _Entry, cells: Sequence[Cell], columns: Sequence[Column | None]
    ) -> Iterator[tuple[str, Score]]:
        """What the cells of a row say, by their columns."""
        means: dict[str, tuple[Decimal, bool]] = {}
        for cell, column in zip(cells, columns, strict=True):
            if column is None:
                self._unread(entry, cell, "", "the column is no algorithm's")
                continue
            found = None if cell.shared else score(cell.text, self.comma)
            if found is None:
                self._unread(entry, cell, column.label, _doubt(cell))
                found = Score(note=f"NOT READ, line {cell.line}: {cell.text}")
            elif found.std and self.deviation:
                found = replace(found, std="", note=f"± {found.std} printed, by the caption {self.deviation}")
            elif found.how:
                self._how[found.how] += 1
            if found.mean:
                means[column.label] = Decimal(found.mean), cell.bold
            yield column.id, found
        self._check_bold(entry, means)

    def _check_bold(self, entry: _Entry, means: Mapping[str, tuple[Decimal, bool]]) -> None:
        """Say so if the largest number of a row is not among those in bold, where only some are."""
        bold = [mean for mean, strong in means.values() if strong]
        best = max(means, key=lambda label: means[label][0], default="")
        if bold and len(bold) < len(means) and means[best][0] > max(bold):
            where = f"line {entry.line}: {' '.join(entry.pieces[1:])}"
            self._remarks.append(f"{where}: {best} has the largest number, {means[best][0]}, and is not bold")

    def _leave_out(
        self, entry: _Entry, cells: Sequence[Cell], columns: Sequence[Column | None], why: str
    ) -> None:
        for cell, column in zip(cells, columns, strict=True):
            self._unread(entry, cell, column.label if column else "", why)

    def _unread(self, entry: _Entry, cell: Cell, column: str, why: str) -> None:
        row = " ".join(entry.pieces[1:])
        self.reading.unread.append(Unread(cell.line, row, column, cell.text, why))

    # -- rows that sum up others ---------------------------------------------------------------------------

    def _sum_up(
        self, entry: _Entry, cells: Sequence[Cell], columns: Sequence[Column | None], here: Rows | None
    ) -> None:
        """Read a row that sums up others, if its label or the numbers tell which, and how.

        Args:
            entry: its labels.
            cells: its cells.
            columns: the algorithms of these.
            here: the rows directly above it, unless another summary stands between, or another group's label.
        """
        groups = [rows for rows in self.reading.groups if rows.datasets or not rows.whole]
        scopes: list[list[Rows]] = [groups, [here or groups[-1]]] if groups else []
        if here and not naming.is_of_all(entry.own):
            scopes.reverse()
        printed = {
            column.id: found.mean
            for cell, column in zip(cells, columns, strict=True)
            if column and (found := score(cell.text, self.comma)) and found.mean
        }
        chosen = self._summed_up(printed, scopes, naming.is_average(entry.own))
        why = "it is neither the sum nor the average of rows above it"
        if chosen:
            why = self._take(entry, cells, columns, *chosen)
        if why:
            self._leave_out(entry, cells, columns, why)

    def _summed_up(
        self, printed: Mapping[str, str], scopes: Sequence[Sequence[Rows]], averages: bool
    ) -> tuple[Sequence[Rows], Sums] | None:
        """The rows that most of the printed numbers sum up, and how; None where none can be told."""
        best: tuple[Sequence[Rows], Sums] | None = None
        most = 0
        for scope in scopes:
            for how in _SUMS:
                fitting, possible = self._fitting(printed, scope, how)
                if fitting > most and 2 * fitting > possible:
                    best, most = (scope, how), fitting
        if best is None and averages and scopes:  # as it is labelled: the audit says what does not add up
            best = scopes[0], "average"
        return best

    def _fitting(self, printed: Mapping[str, str], scope: Sequence[Rows], how: Sums) -> tuple[int, int]:
        """How many printed numbers sum up rows, within rounding, and of how many this can be told."""
        names = [name for rows in scope for name in rows.datasets]
        fitting = possible = 0
        for column, text in printed.items():
            cells = [self.reading.cells.get((name, column)) for name in names]
            means = [cell.mean for cell in cells if cell and cell.mean]
            if not means or len(means) < len(names):
                continue
            total, rounding = sum(map(Decimal, means), Decimal()), sum(map(_unit, means), Decimal())
            if how == "average":
                total, rounding = total / len(names), rounding / len(names)
            possible += 1
            fitting += abs(total - Decimal(text)) <= rounding + _unit(text)
        return fitting, possible

    def _take(
        self,
        entry: _Entry,
        cells: Sequence[Cell],
        columns: Sequence[Column | None],
        scope: Sequence[Rows],
        how: Sums,
    ) -> str:
        """Read a row that sums up certain others; why it cannot be, or nothing."""
        reading, label = self.reading, _label(entry.own)
        if not all(rows.whole and rows.datasets for rows in scope):
            return "rows that it sums up are left out"
        if how == "sum" and len(scope) > 1:
            if any(rows.average or rows.sum for rows in scope):
                return "a table has no sum over several groups"
            reading.groups = [Rows("", "", [name for rows in scope for name in rows.datasets])]
            scope = reading.groups
        if len(scope) > 1:
            if reading.total not in ("", label):
                return "an average over all rows stands above"
            reading.total = label
            self._row(entry, TOTAL, cells, columns)
            return ""
        rows = scope[0]
        if getattr(rows, how) not in ("", label):
            return f"another {how} of these rows stands above"
        setattr(rows, how, label)
        rows.label = rows.label or naming.without_summary(label)
        self._summed.setdefault((id(rows), how), {}).update(self._scores(entry, cells, columns))
        return ""


def _doubt(cell: Cell) -> str:
    """Why a cell is not read."""
    if cell.shared:
        return "it stands for several rows or columns"
    if macro := re.match(r"[^\\]*(\\[A-Za-z]+)", cell.text):
        return f"the macro {macro[1]} is not known; --macros FILE names the file that defines it"
    return "it is not certain which numbers these are"


def _unit(text: str) -> Decimal:
    """Of a number's last digit."""
    return Decimal(1).scaleb(int(Decimal(text).as_tuple().exponent))


def _label(text: str) -> str:
    """A label as it is shown: what stands above the line stands on it."""
    return re.sub(r"[\^_]\{([^}]*)\}", r"\1", text)
