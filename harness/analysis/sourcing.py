"""A table's printed cells beside the scores of public sources: what follows from them, and what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis.derivation import Believed, Cell, Found, Known, Search
from harness.analysis.printed import Printed
from harness.planning.cells import resolve
from harness.specs.published import Check

if TYPE_CHECKING:
    from harness.sources.scores import Scores
    from harness.specs import Specs, Table
    from harness.specs.models import Column
    from harness.specs.published import PublishedCell

_TELLING = (Check.DERIVED, Check.MEAN, Check.OTHER)  # what the published file should say


@dataclass(frozen=True)
class Setting:
    """A hyperparameter behind a derived cell that the column's spec has otherwise.

    Attributes:
        row: dataset id.
        name: of the hyperparameter.
        source: what the source's runs had.
        spec: what the column's algorithm has here.
    """

    row: str
    name: str
    source: float
    spec: float


@dataclass(frozen=True)
class CheckedColumn:
    """What is found of a column's printed cells.

    Attributes:
        id: column id.
        label: as the table has it.
        cells: its printed cells, in the table's order.
        believed: the rules that explain some.
        searched: rules that were tried.
        settings: hyperparameters of derived cells that the column's spec has otherwise.
        recorded: rows where the published file says otherwise: (row, what it says).
    """

    id: str
    label: str
    cells: tuple[Found, ...]
    believed: tuple[Believed, ...]
    searched: int
    settings: tuple[Setting, ...]
    recorded: tuple[tuple[str, str], ...]

    def count(self, check: Check) -> int:
        """How many cells have that outcome."""
        return sum(cell.check == check for cell in self.cells)


@dataclass(frozen=True)
class CheckedTable:
    """What is found of a table: its columns that have printed cells, in order.

    Attributes:
        id: table id.
        title: its title.
        columns: the columns.
        sources: ids of the sources that were at hand.
        notes: what of sources was left out or is not here.
    """

    id: str
    title: str
    columns: tuple[CheckedColumn, ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...]


def check(table: Table, specs: Specs, scores: Scores) -> CheckedTable:
    """Join the sources' scores with a table's printed cells.

    Averages are left out: they follow from the cells or do not, which the audit says.

    Args:
        table: as its spec says.
        specs: where its printed numbers are.
        scores: of the sources at hand.

    Raises:
        SpecError: a file that the table names is wrong.
    """
    published = specs.published(table) or {}
    known = Known(scores)
    found = [_column(table, column, specs, published, known) for column in table.columns]
    columns = tuple(column for column in found if column is not None)
    return CheckedTable(table.id, table.title, columns, scores.sources, scores.notes)


def _column(
    table: Table,
    column: Column,
    specs: Specs,
    published: Mapping[tuple[str, str], PublishedCell],
    known: Known,
) -> CheckedColumn | None:
    cells = [
        Cell(row, group.id, Printed.of(cell.mean, cell.decimals), _std(cell))
        for group in table.groups
        for row in group.datasets
        if (cell := published.get((row, column.id))) is not None
    ]
    if not cells:
        return None
    judged = Search(known, column.algorithm or column.id, [cell.row for cell in cells]).judge(cells)
    return CheckedColumn(
        column.id,
        column.label,
        judged.cells,
        judged.believed,
        judged.searched,
        tuple(_settings(table, column, specs, judged.cells)),
        tuple(_recorded(judged.cells, published, column.id)),
    )


def _std(cell: PublishedCell) -> Printed | None:
    return None if cell.std is None else Printed.of(cell.std, cell.std_decimals)


def _settings(table: Table, column: Column, specs: Specs, cells: Sequence[Found]) -> Iterator[Setting]:
    """Where the runs behind derived cells had other hyperparameters than the column has here."""
    derived = [cell for cell in cells if cell.check == Check.DERIVED and cell.value and cell.value.setting]
    if not derived or not specs.has_algorithm(column.algorithm):
        return
    here = {
        cell.dataset.id: cell.runs[0].configuration["hyperparameters"]
        for cell in resolve(specs, table.id).cells
        if cell.column.id == column.id
    }
    for cell in derived:
        assert cell.value is not None  # noqa: S101 - of the derived ones
        names = specs.source(cell.value.source).settings.get(column.algorithm, ())
        for name, text in zip(names, cell.value.setting.split("|"), strict=False):
            ours = here.get(cell.row, {}).get(name)
            if isinstance(ours, int | float) and ours != float(text):
                yield Setting(cell.row, name, float(text), float(ours))


def _recorded(
    cells: Sequence[Found], published: Mapping[tuple[str, str], PublishedCell], column: str
) -> Iterator[tuple[str, str]]:
    """Cells of which the published file says something else than was found."""
    for cell in cells:
        written = published[cell.row, column]
        if cell.check not in _TELLING and not written.check:
            continue
        found: tuple[object, ...] = (cell.check,)
        says: tuple[object, ...] = (written.check,)
        if cell.check == Check.DERIVED and cell.rule and cell.value:
            found += (cell.rule.source, cell.value.n, cell.rule.rounding)
            says += (written.sample, written.n, written.rounding)
            if cell.rule.ddof is not None:
                found, says = (*found, cell.rule.ddof), (*says, written.ddof)
        if says != found:
            yield cell.row, " ".join(str(each) for each in says if each) or "nothing"
