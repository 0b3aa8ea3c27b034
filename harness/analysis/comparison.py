"""The one model of a reproduced table that every report is made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from harness.analysis.audit import audit
from harness.analysis.audit.sheet import Finding
from harness.analysis.combined import Combined
from harness.analysis.intervals import Interval, IntervalSettings, interval
from harness.analysis.leading import leading
from harness.analysis.measurements import Measured, SeedScore, mean_of, measure, std_of
from harness.analysis.tuning import best, settings_of
from harness.analysis.verdicts import VerdictKind, VerdictResult, verdicts
from harness.results.records import commits
from harness.specs.rows import TOTAL, Row

if TYPE_CHECKING:
    from harness.analysis.tuning import Settings
    from harness.planning.cells import Cell, ResolvedTable
    from harness.results.store import Store
    from harness.specs import Specs, models
    from harness.specs.published import PublishedCell
    from harness.specs.rows import RowKind


@dataclass(frozen=True)
class Before:
    """The scores of online runs before their first interaction: mean and standard deviation over seeds."""

    mean: float
    std: float | None


@dataclass(frozen=True)
class ComparedCell:
    """One cell, or what sums up several: our number, the paper's, and the verdict.

    Attributes:
        row: dataset id; of a row that sums up others its id.
        kind: of the row.
        column: column id.
        mean: mean normalised score over seeds, of an average or sum over its cells; None if there is none.
        std: standard deviation over seeds, with the comparison's ``ddof``; None for one seed, averages and
            sums.
        n: seeds with a score; of an average or sum its complete cells.
        wanted: seeds asked for; of an average or sum all its cells; 0 where the paper's number stands alone.
        scores: the scores by seed; of an average or sum of the seeds that all its cells have.
        before: the same of online runs before their first interaction; None if there is nothing.
        interval: of the mean; None for fewer than two seeds.
        published: what the paper printed, or None.
        unavailable: why nothing can be run, for example ``no implementation``; None if it can.
        verdict: the verdict and its tests.
        notes: what a reader must know of this cell.
        leading: whether it is the best of its row or shown to be as good, as `harness.analysis.leading` has
            it; every report sets these in bold.
        imported: whether the number, or part of an average, was imported from a file, not trained here; every
            report marks these.
        protocol: how its runs train and are scored, after any preset and option; None where none
            are its own.
        settings: what its runs are set to, as `harness.analysis.tuning.settings_of` has it; empty where none
            are its own.
    """

    row: str
    kind: RowKind
    column: str
    mean: float | None
    std: float | None
    n: int
    wanted: int
    scores: tuple[SeedScore, ...]
    before: Before | None
    interval: Interval | None
    published: PublishedCell | None
    unavailable: str | None
    verdict: VerdictResult
    notes: tuple[str, ...]
    leading: bool = False
    imported: bool = False
    protocol: models.Protocol | None = None
    settings: Settings = field(default_factory=dict)

    @property
    def difference(self) -> float | None:
        """Reproduced minus published mean, also where they are not comparable; None if one is missing."""
        return self.verdict.difference

    @property
    def complete(self) -> bool:
        """Whether every seed asked for (of an average, every cell) has its score."""
        return self.mean is not None and self.n >= self.wanted


@dataclass(frozen=True)
class ComparedRow:
    """A row of the table: its cells in the order of the columns."""

    id: str
    label: str
    kind: RowKind
    cells: tuple[ComparedCell, ...]


@dataclass(frozen=True)
class ComparedGroup:
    """Consecutive rows and, where the table has them, those of their averages and sums."""

    id: str
    label: str
    rows: tuple[ComparedRow, ...]
    summaries: tuple[ComparedRow, ...]


@dataclass(frozen=True)
class Comparison:
    """A table as reproduced, beside what the paper printed.

    Attributes:
        table: the table's spec: id, version, title, paper, settings of the verdicts, footnotes.
        lineage: of the data trained on.
        preset: id of the preset, or None.
        label: of the preset, or None.
        columns: as shown, in order.
        groups: rows by group, in order.
        total: average over all rows, where the table has one.
        ddof: convention of the reproduced standard deviations.
        fingerprints: number of different fingerprints of the software behind the scores.
        commits: git commits the scores were made at.
        environment_notes: how evaluation environments differ from the paper's, each with its datasets.
        findings: what cannot be right in the printed numbers of the rows and columns shown.
    """

    table: models.Table
    lineage: models.Lineage
    preset: str | None
    label: str | None
    columns: tuple[models.Column, ...]
    groups: tuple[ComparedGroup, ...]
    total: ComparedRow | None
    ddof: int
    fingerprints: int
    commits: tuple[str, ...]
    environment_notes: tuple[str, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def footnotes(self) -> tuple[str, ...]:
        """The table's own footnotes, without those that are about other rows or columns."""
        return tuple(
            footnote.text
            for footnote in self.table.footnotes
            if _is_shown(self.table, footnote.rows, footnote.columns)
        )

    @cached_property
    def labels(self) -> dict[str, str]:
        """Column id -> label."""
        return {column.id: column.label for column in self.columns}

    @property
    def cells(self) -> tuple[ComparedCell, ...]:
        """The cells proper, without averages, row by row."""
        return tuple(cell for group in self.groups for row in group.rows for cell in row.cells)

    @property
    def rows(self) -> tuple[ComparedRow, ...]:
        """All rows in the order shown."""
        rows = [row for group in self.groups for row in (*group.rows, *group.summaries)]
        return (*rows, self.total) if self.total else tuple(rows)

    @property
    def summaries(self) -> tuple[ComparedCell, ...]:
        """The cells of the rows that sum up others."""
        return tuple(cell for row in self.rows if row.kind != "dataset" for cell in row.cells)

    @property
    def protocols(self) -> dict[models.Protocol, tuple[ComparedCell, ...]]:
        """The protocols, in the order of their first cells, each with its cells."""
        found: dict[models.Protocol, tuple[ComparedCell, ...]] = {}
        for cell in self.cells:
            if cell.protocol:
                found[cell.protocol] = (*found.get(cell.protocol, ()), cell)
        return found

    @property
    def wanted(self) -> tuple[int, ...]:
        """Numbers of seeds that cells ask for, ascending."""
        return tuple(sorted({cell.wanted for cell in self.cells if cell.wanted}))

    @property
    def counts(self) -> dict[VerdictKind, int]:
        """How many cells (without averages) have each verdict; all kinds, in the order of the legend."""
        counted = Counter(cell.verdict.kind for cell in self.cells)
        return {kind: counted[kind] for kind in VerdictKind}

    @property
    def incomparable(self) -> tuple[str, ...]:
        """All reasons for which some cell is not comparable, in order of appearance."""
        return tuple(dict.fromkeys(reason for cell in self.cells for reason in cell.verdict.reasons))


def compare(
    resolved: ResolvedTable, specs: Specs, store: Store, *, intervals: IntervalSettings | None = None
) -> Comparison:
    """Hold what the database has for a table against what the paper printed.

    Scores are those of finished runs trained here; only where a cell has none of these do imported ones
    count, and its notes say so. Failed runs are counted in the notes and never averaged. Where the
    environment fingerprints of a cell's scores differ, its notes name the fields.

    Args:
        resolved: the table's cells and their runs.
        specs: where the published numbers are.
        store: the results.
        intervals: which intervals to compute.

    Raises:
        SpecError: the file of published numbers is not as it should be.
    """
    table = resolved.table
    # the whole table's, of which a preset or a glob may have left only a part
    published = specs.published(specs.table(table.id)) or {}
    found = measure(resolved, store, published)
    rows = _Rows(table, found.cells, published, intervals, resolved.preset.label if resolved.preset else None)
    datasets, summaries = rows.datasets(), rows.summaries()
    scores = [score for item in found.cells.values() for score in item.scores]
    behind = {found.states[score.key].fingerprint_id for score in scores}
    used = [found.fingerprints[i] for i in behind if i is not None]
    known = {commit for fingerprint in used for commit in commits(fingerprint)}
    return Comparison(
        table=table,
        lineage=resolved.lineage,
        preset=resolved.preset.id if resolved.preset else None,
        label=rows.label,
        columns=table.columns,
        groups=tuple(
            ComparedGroup(
                id=group.id,
                label=group.label,
                rows=tuple(datasets[row] for row in group.datasets),
                summaries=tuple(summaries[summary.id] for summary in group.summaries),
            )
            for group in table.groups
        ),
        total=summaries.get(TOTAL),
        ddof=rows.ddof,
        fingerprints=len(used),
        commits=tuple(sorted(known)),
        environment_notes=_environment_notes(resolved.cells),
        findings=tuple(
            finding
            for finding in audit(specs.table(table.id), specs)
            if any(_is_shown(table, (row,), (column,)) for row, column in finding.cells)
        ),
    )


@dataclass(frozen=True)
class _Rows:
    """What the rows of a table are made from.

    Attributes:
        measured: the cells that are trained, by (dataset id, column id).
        published: what the paper printed, by (row id, column id).
        intervals: which intervals to compute.
        label: of the preset, or None.
    """

    table: models.Table
    measured: Mapping[tuple[str, str], Measured]
    published: Mapping[tuple[str, str], PublishedCell]
    intervals: IntervalSettings | None
    label: str | None

    @property
    def ddof(self) -> int:
        """Convention of the standard deviations."""
        return self.table.published.ddof if self.table.published else 1

    def datasets(self) -> dict[str, ComparedRow]:
        """The rows proper, by dataset id."""
        items: dict[str, list[Measured | Combined]] = {
            row: [
                self.measured[row, column.id] if column.algorithm else self._combined(row, column, (row,))
                for column in self.table.columns
            ]
            for row in self.table.datasets
        }
        rows = [Row(row, row, "dataset", (row,)) for row in self.table.datasets]
        return self._compared(rows, items, self.table.verdict)

    def summaries(self) -> dict[str, ComparedRow]:
        """The rows that sum up others, by id."""
        rows = self.table.summaries
        items: dict[str, list[Measured | Combined]] = {
            row.id: [
                self._combined(row.id, column, row.datasets, total=row.kind == "sum")
                for column in self.table.columns
            ]
            for row in rows
        }
        return self._compared(rows, items, self.table.verdict.of_averages)

    def _combined(
        self, row: str, column: models.Column, datasets: Sequence[str], *, total: bool = False
    ) -> Combined:
        """What a cell that is made of others is made of."""
        parts = tuple(cell for dataset in datasets for cell in self._parts(dataset, column))
        times = len(datasets) if total else 1
        chosen = parts[0].cell.column.label if column.best_of and len(parts) == 1 else None
        notes = (f"of {len(column.parts)} settings: {chosen}",) if chosen else ()
        return Combined(parts, len(datasets), self.published.get((row, column.id)), times, notes)

    def _parts(self, dataset: str, column: models.Column) -> Sequence[Measured]:
        """The cells that a column's number on a dataset is made of; before a choice all candidates."""
        if not column.best_of:
            members = column.parts or ((column.id,) if column.algorithm else ())
            return [self.measured[dataset, member] for member in members]
        alike = [dataset]
        if column.per == "domain":
            domains = {name: cell.cell.dataset.domain for (name, _), cell in self.measured.items()}
            alike = [name for name in self.table.datasets if domains[name] == domains[dataset]]
        settings = {name: [self.measured[row, name] for row in alike] for name in column.best_of}
        chosen = best(settings)
        return (
            [self.measured[dataset, chosen]]
            if chosen
            else [cell for some in settings.values() for cell in some]
        )

    def _compared(
        self,
        rows: Sequence[Row],
        items: Mapping[str, Sequence[Measured | Combined]],
        tests: models.Verdict,
    ) -> dict[str, ComparedRow]:
        """Rows with their verdicts, which are adjusted over all of them."""
        rounding = self.table.published.rounding if self.table.published else "unknown"
        cases = [item.case(rounding) for row in rows for item in items[row.id]]
        results = iter(verdicts(cases, tests, self.label))
        return {row.id: self._row(row, items[row.id], results, tests) for row in rows}

    def _row(
        self,
        row: Row,
        items: Sequence[Measured | Combined],
        results: Iterator[VerdictResult],
        tests: models.Verdict,
    ) -> ComparedRow:
        trained = [
            item.complete_estimate if column.algorithm else None
            for column, item in zip(self.table.columns, items, strict=True)
        ]
        leads = leading(trained, tests)
        cells = map(self._cell, [row] * len(items), self.table.columns, items, results, leads)
        return ComparedRow(row.id, row.label, row.kind, tuple(cells))

    def _interval_settings(self, row: Row) -> IntervalSettings | None:
        """As asked for; a sum, whose printed intervals are Student's, has Student's."""
        if row.kind != "sum":
            return self.intervals
        return replace(self.intervals or IntervalSettings(), method="t")

    def _cell(
        self,
        row: Row,
        column: models.Column,
        item: Measured | Combined,
        result: VerdictResult,
        leads: bool,
    ) -> ComparedCell:
        before = mean_of(item.before)
        deviation = _no_deviation if row.kind in ("average", "total") else std_of
        times = item.times if isinstance(item, Combined) else 1
        return ComparedCell(
            row=row.id,
            kind=row.kind,
            column=column.id,
            mean=item.mean,
            std=deviation(item.scores, self.ddof),
            n=item.have,
            wanted=item.wanted,
            scores=item.scores,
            before=None if before is None else Before(before, deviation(item.before, self.ddof)),
            interval=interval([score.score for score in item.scores], self._interval_settings(row)),
            published=item.published,
            unavailable=item.unavailable,
            verdict=result.times(times),
            notes=item.notes,
            leading=leads,
            imported=item.imported,
            protocol=item.cell.protocol if isinstance(item, Measured) else None,
            settings=settings_of(item.cell.runs[0].configuration) if isinstance(item, Measured) else {},
        )


def _no_deviation(scores: Sequence[SeedScore], ddof: int) -> None:
    """Of averages none is shown, as papers have it: they have intervals."""


def _is_shown(table: models.Table, rows: Sequence[str], columns: Sequence[str]) -> bool:
    """Whether a table has one of these rows and one of these columns; none stands for any."""
    there = {*table.datasets, *(summary.id for summary in table.summaries)}
    return (not rows or not there.isdisjoint(rows)) and (
        not columns or any(column.id in columns for column in table.columns)
    )


def _environment_notes(cells: Iterable[Cell]) -> tuple[str, ...]:
    datasets: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.dataset.environment and cell.dataset.environment.note:
            datasets.setdefault(cell.dataset.environment.note, {})[cell.dataset.id] = None
    return tuple(f"{', '.join(ids)}: {note}" for note, ids in datasets.items())
