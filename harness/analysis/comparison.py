"""The one model of a reproduced table that every report is made from."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.analysis.audit import Finding, audit
from harness.analysis.intervals import Interval, IntervalSettings, interval
from harness.analysis.leading import leading
from harness.analysis.printed import CONVENTIONS, Printed
from harness.analysis.scores import Evaluated, deviation, first_counted, run_score
from harness.analysis.verdicts import Case, Estimate, VerdictKind, VerdictResult, average, estimate, verdicts
from harness.results.records import BEGINNING, CHANGED, commits, shortened, value_metric
from harness.specs.published import SOURCES

if TYPE_CHECKING:
    from harness.planning.cells import Cell, ResolvedTable
    from harness.results.rows import Evaluation
    from harness.results.store import Metric, RunState, Store
    from harness.specs import Specs, models
    from harness.specs.published import PublishedCell

Rounding = Literal["rounded", "cut off", "unknown"]
TOTAL = "total"


@dataclass(frozen=True)
class SeedScore:
    """The normalised score of one run."""

    seed: int
    score: float
    key: str


@dataclass(frozen=True)
class ComparedCell:
    """One cell, or one average: our number, the paper's, and the verdict.

    Attributes:
        row: dataset id; of an average the group's id, or ``total``.
        column: column id.
        mean: mean normalised score over seeds, of an average over its cells; None if there is none.
        std: standard deviation over seeds, with the comparison's ``ddof``; None for one seed and averages.
        n: seeds with a score; of an average its complete cells.
        wanted: seeds asked for; of an average all its cells.
        scores: the scores by seed; empty for averages.
        interval: of the mean; None for fewer than two seeds and averages.
        published: what the paper printed, or None.
        unavailable: why nothing can be run, for example ``no implementation``; None if it can.
        verdict: the verdict and its tests.
        notes: what a reader must know of this cell.
        leading: whether it is the best of its row or not shown to be worse than the best, as
            `harness.analysis.leading` has it; every report sets these in bold.
        imported: whether the number, or part of an average, was imported from a file, not trained here; every
            report marks these.
        protocol: how its runs train and are scored, after any preset and option; None for averages.
    """

    row: str
    column: str
    mean: float | None
    std: float | None
    n: int
    wanted: int
    scores: tuple[SeedScore, ...]
    interval: Interval | None
    published: PublishedCell | None
    unavailable: str | None
    verdict: VerdictResult
    notes: tuple[str, ...]
    leading: bool = False
    imported: bool = False
    protocol: models.Protocol | None = None

    @property
    def difference(self) -> float | None:
        """Reproduced minus published mean; None if the two must not or cannot be compared."""
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
    cells: tuple[ComparedCell, ...]


@dataclass(frozen=True)
class ComparedGroup:
    """Consecutive rows and, where the table has it, the row of their averages."""

    id: str
    label: str
    rows: tuple[ComparedRow, ...]
    average: ComparedRow | None


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
        environments: number of different environment fingerprints behind the scores.
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
    environments: int
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

    @property
    def cells(self) -> tuple[ComparedCell, ...]:
        """The cells proper, without averages, row by row."""
        return tuple(cell for group in self.groups for row in group.rows for cell in row.cells)

    @property
    def averages(self) -> tuple[ComparedCell, ...]:
        """The cells of the group averages and of the total."""
        rows = [*(group.average for group in self.groups), self.total]
        return tuple(cell for row in rows if row for cell in row.cells)

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
        return tuple(sorted({cell.wanted for cell in self.cells}))

    @property
    def counts(self) -> dict[VerdictKind, int]:
        """How many cells (without averages) have each verdict; all kinds, in the order of the legend."""
        counted = Counter(cell.verdict.kind for cell in self.cells)
        return {kind: counted[kind] for kind in VerdictKind}

    @property
    def incomparable(self) -> tuple[str, ...]:
        """All reasons for which some cell is not comparable, in order of appearance."""
        return tuple(dict.fromkeys(reason for cell in self.cells for reason in cell.verdict.reasons))


@dataclass(frozen=True)
class Measured:
    """What a database says of one cell.

    Attributes:
        cell: the cell.
        wanted: number of seeds that the protocol wants.
        scores: those that count, by seed: of runs trained here, or if there are none, imported ones.
        notes: what a reader must know of them.
        published: what the paper printed, or None.
        origin: of the scores, ``trained`` or ``imported``; None without a score.
    """

    cell: Cell
    wanted: int
    scores: tuple[SeedScore, ...]
    notes: tuple[str, ...]
    published: PublishedCell | None
    origin: str | None

    @property
    def complete(self) -> bool:
        """Whether every seed that the protocol wants has its score."""
        return len(self.scores) >= self.wanted

    @property
    def mean(self) -> float | None:
        """Mean score over seeds; None without a score."""
        return statistics.fmean(item.score for item in self.scores) if self.scores else None

    def std(self, ddof: int) -> float | None:
        """Standard deviation over seeds, with divisor n - ddof; None for fewer than two."""
        return deviation([item.score for item in self.scores], ddof)

    @property
    def estimate(self) -> Estimate | None:
        """The mean and how well it is known; None without a score."""
        return None if self.mean is None else estimate(self.mean, self.std(1), len(self.scores), 1)

    @property
    def complete_estimate(self) -> Estimate | None:
        """The estimate, if the cell is complete."""
        return self.estimate if self.complete else None

    def case(self, rounding: Rounding) -> Case:
        """The cell beside what the paper printed."""
        printed = _printed(self.published, rounding)
        return Case(self.estimate, printed, len(self.scores), self.wanted, self.cell.incomparable)


@dataclass(frozen=True)
class Measurements:
    """What a database says of a table.

    Attributes:
        cells: by (dataset id, column id), row by row.
        states: of the runs that the database knows, by key.
        fingerprints: of the environments behind the runs, by row id.
    """

    cells: Mapping[tuple[str, str], Measured]
    states: Mapping[str, RunState]
    fingerprints: Mapping[int, Mapping[str, str]]


def _printed(published: PublishedCell | None, rounding: Rounding) -> Estimate | None:
    if published is None:
        return None
    return estimate(
        published.mean, published.std, published.n, published.ddof, _unrounded(published, rounding)
    )


def _unrounded(published: PublishedCell, rounding: Rounding) -> tuple[float, float]:
    """The lowest and the highest mean that a paper would print like this."""
    printed = Printed.of(published.mean, published.decimals)
    ranges = [printed.range(one) for one in (CONVENTIONS if rounding == "unknown" else (rounding,))]
    return float(min(each.low for each in ranges)), float(max(each.high for each in ranges))


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
    ddof = table.published.ddof if table.published else 1
    # the whole table's, of which a preset or a glob may have left only a part
    published = specs.published(specs.table(table.id)) or {}
    found = measure(resolved, store, published)
    measured = found.cells
    label = resolved.preset.label if resolved.preset else None
    rounding = table.published.rounding if table.published else "unknown"
    results = verdicts([item.case(rounding) for item in measured.values()], table.verdict, label)
    leaders = {
        (row, column.id): flag
        for row in table.datasets
        for column, flag in zip(
            table.columns,
            leading(
                [measured[row, column.id].complete_estimate for column in table.columns], table.verdict.alpha
            ),
            strict=True,
        )
    }
    cells = {
        (row, column): ComparedCell(
            row=row,
            column=column,
            mean=item.mean,
            std=item.std(ddof),
            n=len(item.scores),
            wanted=item.wanted,
            scores=item.scores,
            interval=interval([score.score for score in item.scores], intervals),
            published=item.published,
            unavailable=item.cell.unavailable,
            verdict=result,
            notes=item.notes,
            leading=leaders[row, column],
            imported=item.origin == "imported",
            protocol=item.cell.protocol,
        )
        for ((row, column), item), result in zip(measured.items(), results, strict=True)
    }
    averages = _averages(table, measured, published, rounding, label)
    behind = {found.states[score.key].environment_id for item in measured.values() for score in item.scores}
    used = [found.fingerprints[i] for i in behind if i is not None]
    known = {commit for fingerprint in used for commit in commits(fingerprint)}
    return Comparison(
        table=table,
        lineage=resolved.lineage,
        preset=resolved.preset.id if resolved.preset else None,
        label=label,
        columns=table.columns,
        groups=tuple(
            ComparedGroup(
                id=group.id,
                label=group.label,
                rows=tuple(
                    ComparedRow(row, row, tuple(cells[row, column.id] for column in table.columns))
                    for row in group.datasets
                ),
                average=averages.get(group.id),
            )
            for group in table.groups
        ),
        total=averages.get(TOTAL),
        ddof=ddof,
        environments=len(used),
        commits=tuple(sorted(known)),
        environment_notes=_environment_notes(resolved.cells),
        findings=tuple(
            finding
            for finding in audit(specs.table(table.id), specs)
            if _is_shown(table, finding.rows, finding.columns)
        ),
    )


def _is_shown(table: models.Table, rows: Sequence[str], columns: Sequence[str]) -> bool:
    """Whether a table has one of these rows and one of these columns; none stands for any."""
    averages = [group.id for group in table.groups if group.average] + ([TOTAL] if table.total else [])
    there = {*table.datasets, *averages}
    return (not rows or not there.isdisjoint(rows)) and (
        not columns or any(column.id in columns for column in table.columns)
    )


def measure(
    resolved: ResolvedTable, store: Store, published: Mapping[tuple[str, str], PublishedCell]
) -> Measurements:
    """Read the scores of a table's cells, all in a few queries.

    Args:
        resolved: the table's cells and their runs.
        store: the results.
        published: what the paper printed, by (dataset id, column id).
    """
    runs = [run for cell in resolved.cells for run in cell.runs]
    states = store.runs([*(run.key for run in runs), *(run.imported_key for run in runs)])
    finished = {key for key, state in states.items() if state.status == "finished"}
    evaluations: dict[str, list[Evaluation]] = {}
    for protocol, some in resolved.protocols.items():
        keys = {key for cell in some for run in cell.runs for key in (run.key, run.imported_key)}
        evaluations |= store.evaluations(keys & finished, since=first_counted(protocol))
    identifiers = {state.environment_id for state in states.values() if state.environment_id is not None}
    fingerprints = store.environments(sorted(identifiers))
    reading = [run.key for cell in resolved.cells if cell.sources for run in cell.runs if run.key in states]
    read = store.metrics(reading, steps=[BEGINNING]) if reading else {}
    cells = {
        (cell.dataset.id, cell.column.id): _measure(
            cell,
            states,
            evaluations,
            fingerprints,
            published.get((cell.dataset.id, cell.column.id)),
            read,
        )
        for cell in resolved.cells
    }
    return Measurements(cells, states, fingerprints)


def _measure(
    cell: Cell,
    states: Mapping[str, RunState],
    evaluations: Mapping[str, Sequence[Evaluated]],
    fingerprints: Mapping[int, Mapping[str, str]],
    published: PublishedCell | None,
    read: Mapping[str, Sequence[Metric]],
) -> Measured:
    protocol = cell.protocol
    by_origin: dict[str, list[SeedScore]] = {"trained": [], "imported": []}
    for run in cell.runs:
        for key in (run.key, run.imported_key):
            score = run_score(evaluations.get(key, ()), protocol, cell.dataset.reference)
            if score is not None:
                by_origin[states[key].origin].append(SeedScore(run.seed, score, key))
    trained, imported = by_origin["trained"], by_origin["imported"]
    scores = trained or imported

    keys = [key for run in cell.runs for key in (run.key, run.imported_key) if key in states]
    failed = sum(states[key].status == "failed" for key in keys)
    unscored = sum(states[key].status == "finished" for key in keys) - len(trained) - len(imported)
    notes = [f"{failed} failed"] if failed else []
    if unscored:
        notes.append(f"{unscored} finished without the score that the protocol counts")
    if imported:
        notes.append(f"{len(imported)} imported, left out" if trained else "imported")
    for name, source in cell.sources.items():
        seeds: defaultdict[float, list[int]] = defaultdict(list)
        for run in cell.runs:
            for metric in read.get(run.key, ()):
                if metric.name == value_metric(name):
                    seeds[metric.value].append(run.seed)
        for value, some in sorted(seeds.items()):
            whose = f" (seed{'' if len(some) == 1 else 's'} {', '.join(map(str, some))})"
            notes.append(f"{name} {value:.6g}{whose if len(seeds) > 1 else ''}, from {source.cell.column.id}")
    used = {states[score.key].environment_id for score in scores}
    known = [fingerprints[i] for i in sorted(i for i in used if i is not None)]
    if differing := _differing(known):
        notes.append(f"environments differ: {', '.join(differing)}")
    for fingerprint in known:
        if moved := [f"{name} {shortened(value)}" for name, value in fingerprint.items() if CHANGED in value]:
            notes.append(f"environment changed while training: {', '.join(moved)}")
    if None in used and known:
        notes.append("environments differ: some are not recorded")
    if published and published.source != "own":
        notes.append(f"published number {SOURCES[published.source]}")
    if published and published.note:
        notes.append(f"published: {published.note}")
    origin = ("trained" if trained else "imported") if scores else None
    return Measured(cell, len(protocol.seeds), tuple(scores), tuple(notes), published, origin)


def _differing(fingerprints: Sequence[Mapping[str, str]]) -> list[str]:
    """The fields in which fingerprints differ, each with its values: ``torch 2.6/2.13``."""
    fields = dict.fromkeys(field for fingerprint in fingerprints for field in fingerprint)
    values = {
        field: list(dict.fromkeys(shortened(fingerprint.get(field, "none")) for fingerprint in fingerprints))
        for field in fields
        if len({fingerprint.get(field) for fingerprint in fingerprints}) > 1
    }
    return [f"{field} {'/'.join(seen)}" for field, seen in values.items()]


def _averages(
    table: models.Table,
    measured: Mapping[tuple[str, str], Measured],
    published: Mapping[tuple[str, str], PublishedCell],
    rounding: Rounding,
    label: str | None,
) -> dict[str, ComparedRow]:
    """The rows of averages by group id, and of the total.

    The paper's side of the test is the average that it printed; how well that is known follows from the
    deviations of the cells behind it.
    """
    rows = [(group.id, group.average, group.datasets) for group in table.groups if group.average]
    if table.total:
        rows.append((TOTAL, table.total, table.datasets))
    cases: dict[tuple[str, str], Case] = {}
    for row, _, datasets in rows:
        for column in table.columns:
            items = [measured[dataset, column.id] for dataset in datasets]
            complete = [found for item in items if (found := item.complete_estimate)]
            reasons = dict.fromkeys(reason for item in items for reason in item.cell.incomparable)
            cases[row, column.id] = Case(
                reproduced=average(complete) if len(complete) == len(datasets) else None,
                published=_printed_average(
                    published.get((row, column.id)),
                    [published.get((dataset, column.id)) for dataset in datasets],
                    rounding,
                ),
                have=len(complete),
                wanted=len(datasets),
                incomparable=tuple(reasons),
            )
    behind = {row: datasets for row, _, datasets in rows}
    results = dict(zip(cases, verdicts(list(cases.values()), table.verdict.of_averages, label), strict=True))

    def compared(row: str, column: str, leads: bool) -> ComparedCell:
        case = cases[row, column]
        return ComparedCell(
            row=row,
            column=column,
            mean=case.reproduced.mean if case.reproduced else None,
            std=None,
            n=case.have,
            wanted=case.wanted,
            scores=(),
            interval=None,
            published=published.get((row, column)),
            unavailable=None if case.reproduced or case.incomparable else f"{case.have} of {case.wanted}",
            verdict=results[row, column],
            notes=(),
            leading=leads,
            imported=any(measured[dataset, column].origin == "imported" for dataset in behind[row]),
        )

    def compared_row(row: str, label: str) -> ComparedRow:
        columns = [column.id for column in table.columns]
        leaders = leading([cases[row, column].reproduced for column in columns], table.verdict.alpha)
        return ComparedRow(row, label, tuple(map(compared, [row] * len(columns), columns, leaders)))

    return {row: compared_row(row, name or row) for row, name, _ in rows}


def _printed_average(
    printed: PublishedCell | None, behind: Sequence[PublishedCell | None], rounding: Rounding
) -> Estimate | None:
    """The average that the paper printed, with the variance that its own cells give it."""
    if printed is None:
        return None
    unrounded = _unrounded(printed, rounding)
    known = [found for cell in behind if (found := _printed(cell, rounding))]
    if len(known) < len(behind):
        return estimate(printed.mean, None, printed.n, printed.ddof, unrounded)
    derived = average(known)
    return Estimate(printed.mean, derived.variance, derived.df, derived.n, unrounded)


def _environment_notes(cells: Iterable[Cell]) -> tuple[str, ...]:
    datasets: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.dataset.environment and cell.dataset.environment.note:
            datasets.setdefault(cell.dataset.environment.note, {})[cell.dataset.id] = None
    return tuple(f"{', '.join(ids)}: {note}" for note, ids in datasets.items())
