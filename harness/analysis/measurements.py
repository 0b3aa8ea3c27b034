"""What a database says of a table's cells: their scores by seed, and what a reader must know of them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from harness.analysis.printed import CONVENTIONS, Printed
from harness.analysis.scores import Evaluated, deviation, first_shown, run_score, score_before
from harness.analysis.verdicts import Case, Estimate, estimate
from harness.results.records import BEGINNING, CHANGED, LABEL, UNKNOWN, shortened, value_metric
from harness.specs.published import SOURCES

if TYPE_CHECKING:
    from harness.planning.cells import Cell, ResolvedTable
    from harness.results.records import RunRecord
    from harness.results.rows import Evaluation
    from harness.results.store import Metric, RunState, Store
    from harness.specs.published import PublishedCell

Rounding = Literal["rounded", "cut off", "unknown"]
Place = tuple[str, str]  # dataset id, column id


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
        wanted: number of seeds that the protocol wants scores of; 0 where it has no evaluations.
        scores: those that count, by seed: of runs trained here, or if there are none, imported ones.
        before: those of online runs before their first interaction, by seed.
        notes: what a reader must know of them.
        published: what the paper printed, or None.
        source: where the scores were imported from; None where they were trained here, or there are none.
        environments: what the file of imported scores says of where they were measured; '' where it does not.
    """

    cell: Cell
    wanted: int
    scores: tuple[SeedScore, ...]
    before: tuple[SeedScore, ...]
    notes: tuple[str, ...]
    published: PublishedCell | None
    source: str | None = None
    environments: frozenset[str] = frozenset()

    @property
    def have(self) -> int:
        """Seeds with a score."""
        return len(self.scores)

    @property
    def complete(self) -> bool:
        """Whether every seed that the protocol wants has its score."""
        return self.have >= self.wanted > 0

    @cached_property
    def mean(self) -> float | None:
        """Mean score over seeds; None without a score."""
        return mean_of(self.scores)

    @property
    def imported(self) -> bool:
        """Whether the scores were imported."""
        return self.source is not None

    @property
    def origin(self) -> str | None:
        """Of the scores, ``trained`` or ``imported``; None without a score."""
        if not self.scores:
            return None
        return "imported" if self.imported else "trained"

    @property
    def incomparable(self) -> tuple[str, ...]:
        """Why the number is not comparable with the printed one; empty if it is.

        Scores from elsewhere have met the dataset's environment only if their file says so.
        """
        environment = self.cell.dataset.environment
        if not self.imported or (environment and self.environments == {environment.id}):
            return self.cell.incomparable
        return self.cell.incomparable_elsewhere

    @property
    def same_sample(self) -> bool:
        """Whether the printed number was made of these very scores."""
        theirs = self.published
        if not self.imported or theirs is None:
            return False
        if theirs.sample:
            return theirs.sample == self.source and theirs.n == self.have
        mean, std = self.mean, std_of(self.scores, theirs.ddof)
        if mean is None or std is None or theirs.std is None or theirs.n != self.have:
            return False
        ours = (f"{mean:.{theirs.decimals}f}", f"{std:.{theirs.std_decimals}f}")
        return ours == (f"{theirs.mean:.{theirs.decimals}f}", f"{theirs.std:.{theirs.std_decimals}f}")

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
        return Case(
            self.estimate, theirs, self.have, self.wanted, self.incomparable, same_sample=self.same_sample
        )


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
    rounding = published.rounding or rounding
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
    sources = store.sources()
    runs: dict[Place, dict[str | None, tuple[RunRecord, ...]]] = {
        (cell.dataset.id, cell.column.id): {
            None: cell.runs,
            **{source: cell.imported(source) for source in sources},
        }
        for cell in resolved.cells
    }
    states = store.runs(run.key for by_source in runs.values() for some in by_source.values() for run in some)
    finished = {key for key, state in states.items() if state.status == "finished"}
    evaluations: dict[str, list[Evaluation]] = {}
    for protocol, cells in resolved.protocols.items():
        by_sources = [runs[cell.dataset.id, cell.column.id].values() for cell in cells]
        keys = {run.key for by_source in by_sources for some in by_source for run in some}
        evaluations |= store.evaluations(keys & finished, since=first_shown(protocol))
    identifiers = {state.fingerprint_id for state in states.values() if state.fingerprint_id is not None}
    fingerprints = store.fingerprints(sorted(identifiers))
    reading = [run.key for cell in resolved.cells if cell.metrics for run in cell.runs if run.key in states]
    read = store.metrics(reading, steps=[BEGINNING]) if reading else {}
    return Measurements(
        {
            place: _measure(cell, runs[place], states, evaluations, fingerprints, published.get(place), read)
            for cell in resolved.cells
            for place in ((cell.dataset.id, cell.column.id),)
        },
        states,
        fingerprints,
    )


def _measure(
    cell: Cell,
    runs: Mapping[str | None, Sequence[RunRecord]],
    states: Mapping[str, RunState],
    evaluations: Mapping[str, Sequence[Evaluated]],
    fingerprints: Mapping[int, Mapping[str, str]],
    published: PublishedCell | None,
    read: Mapping[str, Sequence[Metric]],
) -> Measured:
    """A cell's scores; `runs` by the source of imported ones, None for those trained here."""
    protocol, reference = cell.protocol, cell.dataset.reference
    scores: dict[str | None, tuple[SeedScore, ...]] = {}
    begun: dict[str, SeedScore] = {}
    for source, some in runs.items():
        counted = []
        for run in some:
            found = evaluations.get(run.key, ())
            if (score := run_score(found, protocol, reference)) is not None:
                counted.append(SeedScore(run.seed, score, run.key))
            if (score := score_before(found, protocol, reference)) is not None:
                begun[run.key] = SeedScore(run.seed, score, run.key)
        scores[source] = tuple(counted)
    # what was trained here goes first, then what has most seeds, then what was imported first
    shown = max(scores, key=lambda source: (source is None and bool(scores[source]), len(scores[source])))
    used = [fingerprints[i] for i in _environments(scores[shown], states) if i is not None]
    return Measured(
        cell=cell,
        wanted=len(protocol.seeds) if protocol.evaluate_every else 0,
        scores=scores[shown],
        before=tuple(begun[score.key] for score in scores[shown] if score.key in begun),
        notes=(
            *(_state_notes(runs, scores, states) if protocol.evaluate_every else ["not evaluated"]),
            *_source_notes(scores, shown, used),
            *_value_notes(cell, read),
            *([] if shown is not None else _environment_notes(scores[None], states, used)),
            *_published_notes(published),
        ),
        published=published,
        source=shown,
        environments=frozenset(fingerprint.get(f"{LABEL}environment", "") for fingerprint in used),
    )


def _state_notes(
    runs: Mapping[str | None, Sequence[RunRecord]],
    scores: Mapping[str | None, Sequence[SeedScore]],
    states: Mapping[str, RunState],
) -> Iterator[str]:
    statuses = [states[run.key].status for some in runs.values() for run in some if run.key in states]
    if failed := statuses.count("failed"):
        yield f"{failed} failed"
    if unscored := statuses.count("finished") - sum(map(len, scores.values())):
        yield f"{unscored} finished without the score that the protocol counts"


def _source_notes(
    scores: Mapping[str | None, Sequence[SeedScore]],
    shown: str | None,
    used: Sequence[Mapping[str, str]],
) -> Iterator[str]:
    """Where imported scores come from, what is said of them, and those that another source has."""
    if shown is not None and scores[shown]:
        labels = [
            f"{name.removeprefix(LABEL)} {'/'.join(dict.fromkeys(values))}"
            for name in dict.fromkeys(name for each in used for name in each if name.startswith(LABEL))
            if len(set(values := [each.get(name, UNKNOWN) for each in used])) == 1
        ]
        yield ", ".join([f"imported from {shown}" if shown else "imported", *labels])
    for source, others in scores.items():
        if others and source != shown and source is not None:
            mean, std = mean_of(others), std_of(others, 1)
            number = f"{mean:.1f}" + (f" \N{PLUS-MINUS SIGN} {std:.1f}" if std is not None else "")
            whose = f" from {source}" if source else ""
            yield f"also imported{whose}: {number} ({len(others)} seed{'' if len(others) == 1 else 's'})"


def _value_notes(cell: Cell, read: Mapping[str, Sequence[Metric]]) -> Iterator[str]:
    """Values that runs read from others."""
    for name, metric_read in cell.metrics.items():
        seeds: defaultdict[float, list[int]] = defaultdict(list)
        for run in cell.runs:
            for metric in read.get(run.key, ()):
                if metric.name == value_metric(name):
                    seeds[metric.value].append(run.seed)
        for value, some in sorted(seeds.items()):
            whose = f" (seed{'' if len(some) == 1 else 's'} {', '.join(map(str, some))})"
            yield f"{name} {value:.6g}{whose if len(seeds) > 1 else ''}, from {metric_read.cell.column.id}"


def _environments(scores: Sequence[SeedScore], states: Mapping[str, RunState]) -> list[int | None]:
    """Row ids of the environments behind scores, each once, ascending."""
    found = {states[score.key].fingerprint_id for score in scores}
    return sorted(found, key=lambda i: -1 if i is None else i)


def _environment_notes(
    scores: Sequence[SeedScore], states: Mapping[str, RunState], known: Sequence[Mapping[str, str]]
) -> Iterator[str]:
    """How the software that scores come from differs, among them and over time."""
    if differing := _differing(known):
        yield f"environments differ: {', '.join(differing)}"
    for fingerprint in known:
        if moved := [f"{name} {shortened(value)}" for name, value in fingerprint.items() if CHANGED in value]:
            yield f"environment changed while training: {', '.join(moved)}"
    if known and None in _environments(scores, states):
        yield "environments differ: some are not recorded"


def _published_notes(published: PublishedCell | None) -> Iterator[str]:
    if published and published.source != "own":
        yield f"published number {SOURCES[published.source]}"
    if published and published.note:
        yield f"published: {published.note}"


def _differing(fingerprints: Sequence[Mapping[str, str]]) -> list[str]:
    """The fields in which fingerprints differ, each with its values: ``torch 2.6/2.13``."""
    fields = dict.fromkeys(field for fingerprint in fingerprints for field in fingerprint)
    values = {
        field: list(dict.fromkeys(shortened(fingerprint.get(field, "none")) for fingerprint in fingerprints))
        for field in fields
        if len({fingerprint.get(field) for fingerprint in fingerprints}) > 1
    }
    return [f"{field} {'/'.join(seen)}" for field, seen in values.items()]
