"""What a database says of a table's cells: their scores by seed, and what a reader must know of them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from harness.analysis.printed import CONVENTIONS, Printed
from harness.analysis.scores import Evaluated, deviation, first_shown, run_score, score_before
from harness.analysis.verdicts import Case, Estimate, estimate
from harness.results.records import BEGINNING, CHANGED, shortened, value_metric
from harness.specs.published import SOURCES

if TYPE_CHECKING:
    from harness.planning.cells import Cell, ResolvedTable
    from harness.results.rows import Evaluation
    from harness.results.store import Metric, RunState, Store
    from harness.specs.published import PublishedCell

Rounding = Literal["rounded", "cut off", "unknown"]


@dataclass(frozen=True)
class SeedScore:
    """The normalised score of one run."""

    seed: int
    score: float
    key: str


@dataclass(frozen=True)
class Measured:
    """What a database says of one cell.

    Attributes:
        cell: the cell.
        wanted: number of seeds that the protocol wants.
        scores: those that count, by seed: of runs trained here, or if there are none, imported ones.
        before: those of online runs before their first interaction, by seed.
        notes: what a reader must know of them.
        published: what the paper printed, or None.
        origin: of the scores, ``trained`` or ``imported``; None without a score.
    """

    cell: Cell
    wanted: int
    scores: tuple[SeedScore, ...]
    before: tuple[SeedScore, ...]
    notes: tuple[str, ...]
    published: PublishedCell | None
    origin: str | None

    @property
    def have(self) -> int:
        """Seeds with a score."""
        return len(self.scores)

    @property
    def complete(self) -> bool:
        """Whether every seed that the protocol wants has its score."""
        return self.have >= self.wanted

    @cached_property
    def mean(self) -> float | None:
        """Mean score over seeds; None without a score."""
        return mean_of(self.scores)

    @property
    def imported(self) -> bool:
        """Whether the scores were imported."""
        return self.origin == "imported"

    @property
    def unavailable(self) -> str | None:
        """Why nothing can be run; None if it can."""
        return self.cell.unavailable

    @cached_property
    def estimate(self) -> Estimate | None:
        """The mean and how well it is known; None without a score."""
        return None if self.mean is None else estimate(self.mean, std_of(self.scores, 1), self.have, 1)

    @property
    def complete_estimate(self) -> Estimate | None:
        """The estimate, if the cell is complete."""
        return self.estimate if self.complete else None

    def case(self, rounding: Rounding) -> Case:
        """The cell beside what the paper printed."""
        theirs = printed(self.published, rounding)
        return Case(self.estimate, theirs, self.have, self.wanted, self.cell.incomparable)


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


def mean_of(scores: Sequence[SeedScore]) -> float | None:
    """Mean over seeds; None without a score."""
    return statistics.fmean(item.score for item in scores) if scores else None


def std_of(scores: Sequence[SeedScore], ddof: int) -> float | None:
    """Standard deviation over seeds, with divisor n - ddof; None for fewer than two."""
    return deviation([item.score for item in scores], ddof)


def printed(published: PublishedCell | None, rounding: Rounding) -> Estimate | None:
    """What a paper printed and how well that is known; None for nothing."""
    if published is None:
        return None
    return estimate(
        published.mean, published.std, published.n, published.ddof, unrounded(published, rounding)
    )


def unrounded(published: PublishedCell, rounding: Rounding) -> tuple[float, float]:
    """The lowest and the highest mean that a paper would print like this."""
    number = Printed.of(published.mean, published.decimals)
    ranges = [number.range(one) for one in (CONVENTIONS if rounding == "unknown" else (rounding,))]
    return float(min(each.low for each in ranges)), float(max(each.high for each in ranges))


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
        evaluations |= store.evaluations(keys & finished, since=first_shown(protocol))
    identifiers = {state.environment_id for state in states.values() if state.environment_id is not None}
    fingerprints = store.fingerprints(sorted(identifiers))
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
    reference = cell.dataset.reference
    by_origin: dict[str, list[SeedScore]] = {"trained": [], "imported": []}
    begun: dict[str, SeedScore] = {}
    for run in cell.runs:
        for key in (run.key, run.imported_key):
            found = evaluations.get(key, ())
            if (score := run_score(found, protocol, reference)) is not None:
                by_origin[states[key].origin].append(SeedScore(run.seed, score, key))
            if (score := score_before(found, protocol, reference)) is not None:
                begun[key] = SeedScore(run.seed, score, key)
    trained, imported = by_origin["trained"], by_origin["imported"]
    scores = trained or imported
    before = tuple(begun[score.key] for score in scores if score.key in begun)

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
    return Measured(cell, len(protocol.seeds), tuple(scores), before, tuple(notes), published, origin)


def _differing(fingerprints: Sequence[Mapping[str, str]]) -> list[str]:
    """The fields in which fingerprints differ, each with its values: ``torch 2.6/2.13``."""
    fields = dict.fromkeys(field for fingerprint in fingerprints for field in fingerprint)
    values = {
        field: list(dict.fromkeys(shortened(fingerprint.get(field, "none")) for fingerprint in fingerprints))
        for field in fields
        if len({fingerprint.get(field) for fingerprint in fingerprints}) > 1
    }
    return [f"{field} {'/'.join(seen)}" for field, seen in values.items()]
