"""Which dataset and which algorithm each cell of a printed table belongs to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal, get_args

from harness.authoring import naming
from harness.authoring.blocks import Block, Entry, blocks
from harness.authoring.grid import Cell, Grid
from harness.authoring.naming import Names
from harness.authoring.scores import Comma, Score, commas, score
from harness.counting import count
from harness.specs.rows import TOTAL

Sums = Literal["average", "sum"]
_SUMS: tuple[Sums, ...] = get_args(Sums)
# what captions say of the numbers behind ±: a standard deviation, several or a part of one, or something else
_ONE = re.compile(r"(?i)standard dev\w*|\bstds?\b(?!\.? err)|\bs\.d\.")
_SEVERAL = re.compile(
    r"(?i)\b(?:two|three|half|[02-9](?:\.\d+)?|1\.\d+)\s*[×*]?\s*(?:of )?(?:an? |the )?"
    r"(?:standard dev\w*|stds?\b)|standard deviations? of the mean"
)
_OTHER = re.compile(
    r"(?i)standard err\w*|std\.? err\w*|stderr|\bs\.e\.(?:m\.)?|(?-i:\bSEM?\b)|confidence intervals?|\bCIs?\b"
    r"|variances?|\b(?:inter)?quartiles?|\bIQR\b|\brange over\b"
)
_RAW = 300  # beyond it numbers are hardly normalised scores; on Maze2d some are above 200


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


def read(table: Grid, names: Names) -> Reading:
    """What a printed table says of the datasets and algorithms there are."""
    comma = commas(cell.text for row in table.rows for cell in row)
    parts = [block for block in blocks(table, comma) if block.columns]
    if versions := " ".join(sorted(set(re.findall(r"\bv\d\b", table.caption.lower())))):
        parts = [part.within(versions) for part in parts]
    if not _hits(parts, names, "columns") and not _hits(parts, names, "rows"):
        parts = [part.within(names.domain(table.caption)) for part in parts]
    if _hits(parts, names, "columns") > _hits(parts, names, "rows"):
        parts = [part.transposed() for part in parts]
    reader = _Reader(names, comma, _deviation(table.caption))
    if not reader.deviation and (other := _OTHER.search(table.caption)):
        reader.reading.notes.append(
            f"the caption says {other[0]!r}, too; what stands behind ± is taken as a standard deviation"
        )
    for part in parts:
        reader.read(part)
    return reader.finished()


def _deviation(caption: str) -> str:
    """What a caption says that stands behind ±, if that is no standard deviation, or not one."""
    if several := _SEVERAL.search(caption):
        return several[0]
    other = _OTHER.search(caption)
    return other[0] if other and not _ONE.search(caption) else ""


def _hits(parts: Sequence[Block], names: Names, axis: Literal["rows", "columns"]) -> int:
    """How many rows or columns are datasets."""
    return sum(len(names.dataset(entry.pieces).ids) == 1 for part in parts for entry in getattr(part, axis))


class _Reader:
    """Reads blocks one after the other into one table."""

    def __init__(self, names: Names, comma: Comma, deviation: str) -> None:
        self.names, self.comma, self.deviation = names, comma, deviation
        self.reading = Reading()
        self._columns: dict[str, Column] = {}
        # the average over all rows so far, and how many datasets these are
        self._total: tuple[Entry, Sequence[Cell], Sequence[Column | None], int] | None = None
        # of summaries: by the group's identity until that has an id
        self._summed: dict[tuple[int, str], dict[str, Score]] = {}
        self._how: Counter[str] = Counter()
        self._versions: list[str] = []
        self._remarks: list[str] = []

    def read(self, block: Block) -> None:
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
        entry: Entry,
        found: naming.Named,
        cells: Sequence[Cell],
        columns: Sequence[Column | None],
        here: Rows,
    ) -> None:
        """Read a row that sums up no others."""
        group = " ".join(entry.group)
        if naming.is_cost(group):
            self._leave_out(entry, cells, columns, f"rows under {group!r} are no scores")
            return
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
        if naming.of_part(group):
            remark = f"rows under {group!r} are taken as the datasets that they name"
            self._remarks += [remark] if remark not in self._remarks else []
        if mark := naming.mark(entry.own):
            self._remarks.append(
                f"line {entry.line}: row {_label(entry.own)} is taken as {name}, whatever {mark} says"
            )
        self._row(entry, name, cells, columns)

    def finished(self) -> Reading:
        """All that was read."""
        reading = self.reading
        reading.groups = [rows for rows in reading.groups if rows.datasets]
        self._drop_early_total()
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

    def _columns_of(self, block: Block) -> list[Column | None]:
        """The algorithm of each column; None where it is none."""
        own = [naming.plain(entry.own) for entry in block.columns]
        found: list[Column | None] = []
        for entry, label in zip(block.columns, own, strict=True):
            group = " ".join(entry.group)
            shown = " ".join(entry.pieces[1:])
            unlike = self.names.algorithm(group) and not self.names.algorithm(label)  # CQL's return
            if own.count(label) == 1 and not naming.of_part(group) and not unlike:
                shown = entry.own
            if not shown or naming.is_other(shown) or naming.is_cost(group):
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

    def _row(self, entry: Entry, name: str, cells: Sequence[Cell], columns: Sequence[Column | None]) -> None:
        """Read the cells of a row that has an id."""
        self.reading.cells |= {(name, column): found for column, found in self._scores(entry, cells, columns)}

    def _scores(
        self, entry: Entry, cells: Sequence[Cell], columns: Sequence[Column | None]
    ) -> Iterator[tuple[str, Score]]:
        """What the cells of a row say, by their columns."""
        means: dict[str, tuple[Decimal, bool]] = {}
        for cell, column in zip(cells, columns, strict=True):
            if column is None:
                self._unread(entry, cell, "", "the column is no algorithm's")
                continue
            found = None if cell.doubt else score(cell.text, self.comma)
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

    def _check_bold(self, entry: Entry, means: Mapping[str, tuple[Decimal, bool]]) -> None:
        """Say so if the largest number of a row is not among those in bold, where only some are."""
        bold = [mean for mean, strong in means.values() if strong]
        best = max(means, key=lambda label: means[label][0], default="")
        if bold and len(bold) < len(means) and means[best][0] > max(bold):
            where = f"line {entry.line}: {' '.join(entry.pieces[1:])}"
            self._remarks.append(f"{where}: {best} has the largest number, {means[best][0]}, and is not bold")

    def _leave_out(
        self, entry: Entry, cells: Sequence[Cell], columns: Sequence[Column | None], why: str
    ) -> None:
        for cell, column in zip(cells, columns, strict=True):
            self._unread(entry, cell, column.label if column else "", why)

    def _unread(self, entry: Entry, cell: Cell, column: str, why: str) -> None:
        row = " ".join(entry.pieces[1:])
        self.reading.unread.append(Unread(cell.line, row, column, cell.text, why))

    # -- rows that sum up others ---------------------------------------------------------------------------

    def _sum_up(
        self, entry: Entry, cells: Sequence[Cell], columns: Sequence[Column | None], here: Rows | None
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
            if column and not cell.doubt and (found := score(cell.text, self.comma)) and found.mean
        }
        chosen = self._summed_up(printed, scopes, naming.is_average(entry.own))
        why = "it is neither the sum nor the average of rows above it"
        if naming.is_of_some(entry.own):
            why = "it leaves rows out"
        elif chosen:
            why = self._take(entry, cells, columns, *chosen)
        if why:
            self._leave_out(entry, cells, columns, why)

    def _summed_up(
        self, printed: Mapping[str, str], scopes: Sequence[Sequence[Rows]], averages: bool
    ) -> tuple[Sequence[Rows], Sums] | None:
        """The rows that most of the printed numbers sum up, and how; None where none can be told."""
        best: tuple[Sequence[Rows], Sums] | None = None
        most = told = 0
        for scope in scopes:
            for how in _SUMS:
                fitting, possible = self._fitting(printed, scope, how)
                told += possible
                if fitting > most and 2 * fitting > possible:
                    best, most = (scope, how), fitting
        one = len({tuple(map(id, scope)) for scope in scopes}) == 1
        if best is None and averages and (told or one):  # as labelled: the audit says what does not add up
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
        entry: Entry,
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
            if reading.total not in ("", label) or any(
                (TOTAL, column.id) in reading.cells for column in columns if column
            ):
                return "an average over all rows stands above"
            reading.total = label
            self._total = entry, cells, columns, sum(len(rows.datasets) for rows in scope)
            self._row(entry, TOTAL, cells, columns)
            return ""
        rows = scope[0]
        above = self._summed.setdefault((id(rows), how), {})
        if getattr(rows, how) not in ("", label) or any(column.id in above for column in columns if column):
            return f"another {how} of these rows stands above"
        setattr(rows, how, label)
        rows.label = rows.label or naming.without_summary(label)
        above.update(self._scores(entry, cells, columns))
        return ""

    def _drop_early_total(self) -> None:
        """Leave out the average over all rows where more of them follow below it."""
        reading = self.reading
        datasets = sum(len(rows.datasets) for rows in reading.groups)
        if self._total and datasets > self._total[-1]:
            entry, cells, columns, _ = self._total
            reading.total = ""
            reading.cells = {key: cell for key, cell in reading.cells.items() if key[0] != TOTAL}
            self._leave_out(entry, cells, columns, "more rows follow below it")


def _doubt(cell: Cell) -> str:
    """Why a cell is not read."""
    if cell.doubt:
        return cell.doubt
    if macro := re.match(r"[^\\]*(\\[A-Za-z]+)", cell.text):
        return f"the macro {macro[1]} is not known; --macros FILE names the file that defines it"
    return "it is not certain which numbers these are"


def _unit(text: str) -> Decimal:
    """Of a number's last digit."""
    return Decimal(1).scaleb(int(Decimal(text).as_tuple().exponent))


def _label(text: str) -> str:
    """A label as it is shown: what stands above the line stands on it."""
    return re.sub(r"[\^_]\{([^}]*)\}", r"\1", text)
