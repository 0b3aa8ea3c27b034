"""Whether our own results moved: those of now against those of a baseline.

Cells are the same where their runs' configurations have the same keys. Scores are the protocol's, differences
are judged by `harness.analysis.verdicts` with the baseline in the place of the published numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from harness.analysis.incomparable import why_incomparable
from harness.analysis.measurements import Measured, Measurements, measure
from harness.analysis.prediction import Prediction, forecast, judged
from harness.analysis.verdicts import Case, Estimate, VerdictKind, VerdictResult, average, verdicts
from harness.errors import HarnessError
from harness.planning.seeds import with_every_seed
from harness.results.records import digest
from harness.specs import models
from harness.specs.rows import TOTAL

if TYPE_CHECKING:
    from harness.planning.cells import ResolvedTable
    from harness.results.store import Store

Gate = Literal["aggregates", "cells", "both"]

_COMPARED = frozenset(
    {
        VerdictKind.OK,
        VerdictKind.CLOSE,
        VerdictKind.SAME,
        VerdictKind.UNDECIDED,
        VerdictKind.BETTER,
        VerdictKind.WORSE,
    }
)
_MOST_FIELDS = 6  # of two configurations that a message lists
_SIDES = ("current", "baseline's")


class Judgement(StrEnum):
    """What a gate makes of a table."""

    PASSED = "passed"
    DRIFT = "drift"
    INCOMPLETE = "incomplete"

    @property
    def exit_code(self) -> int:
        """0, 1 and 3."""
        return {Judgement.PASSED: 0, Judgement.DRIFT: 1, Judgement.INCOMPLETE: 3}[self]


@dataclass(frozen=True)
class DriftSettings:
    """What is gated and how it is tested.

    Attributes:
        gate: what decides: the aggregates, the cells, or both.
        alpha: false-discovery rate of the differences; None for the table's.
        margin: points of normalised score that count as equal, of cells and aggregates alike; None for the
            table's two margins.

    Raises:
        HarnessError: alpha is not between 0 and 1, or the margin is not a positive number.
    """

    gate: Gate = "aggregates"
    alpha: float | None = None
    margin: float | None = None

    def __post_init__(self) -> None:
        if self.alpha is not None and not 0 < self.alpha < 1:
            raise HarnessError(f"alpha is a probability between 0 and 1, not {self.alpha:g}")
        if self.margin is not None and not 0 < self.margin < math.inf:
            raise HarnessError(f"the margin is a positive number of points, not {self.margin:g}")


@dataclass(frozen=True)
class Change:
    """A field of the provenance whose values differ: those behind the baseline, and those of now."""

    field: str
    baseline: tuple[str, ...]
    now: tuple[str, ...]


@dataclass(frozen=True)
class DriftCell:
    """One cell, or one aggregate: the baseline's number, ours of now, and the verdict.

    Attributes:
        row: dataset id; of an aggregate the group's id, or ``total``.
        label: of the row.
        column: column id.
        column_label: of the column.
        gated: whether the judgement hangs on it.
        baseline: mean normalised score in the baseline; None without one.
        now: mean normalised score of now; None without one.
        n_baseline: seeds behind ``baseline``; of an aggregate its cells compared.
        n_now: seeds behind ``now``; of an aggregate its cells compared.
        wanted: seeds that the baseline has; of an aggregate the cells that it has.
        identical: seeds that both sides have with the same score; of an aggregate 0.
        verdict: the verdict on now, and its tests; `–` where the baseline has nothing.
        predicted: what the baseline's seeds predict of fewer seeds; None where as many were compared, in all
            cells of an aggregate.
        changes: what differs between the provenance of the two sides; of an aggregate over all its cells.
        notes: what a reader must know.
    """

    row: str
    label: str
    column: str
    column_label: str
    gated: bool
    baseline: float | None
    now: float | None
    n_baseline: int
    n_now: int
    wanted: int
    identical: int
    verdict: VerdictResult
    predicted: Prediction | None
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def drifted(self) -> bool:
        """Whether it is significantly worse than the baseline."""
        return self.verdict.kind is VerdictKind.WORSE

    @property
    def improved(self) -> bool:
        """Whether it is significantly better than the baseline."""
        return self.verdict.kind is VerdictKind.BETTER

    @property
    def as_recorded(self) -> bool:
        """Whether all its seeds of now are in the baseline, with the same scores to the last bit."""
        return 0 < self.identical == self.n_now

    @property
    def compared(self) -> bool:
        """Whether the two sides were held against each other."""
        return self.verdict.kind in _COMPARED

    @property
    def untested(self) -> bool:
        """Whether they were, and differ, and neither side has a deviation that would allow a test."""
        undecided = self.verdict.kind in (VerdictKind.CLOSE, VerdictKind.UNDECIDED)
        return undecided and self.verdict.p is None and bool(self.verdict.difference)


@dataclass(frozen=True)
class Drift:
    """A table's results of now against those of a baseline.

    Attributes:
        table: the table's spec, restricted to what was asked for.
        preset: id of the preset, or None.
        lineage: of the data trained on.
        incomparable: why the cells' numbers, of either side, are not comparable with the paper's: other
            data, another protocol or environment; empty if those are the table's.
        now: name of the database of now.
        baseline: name of the baseline.
        gate: what decides.
        tests: the tests behind the verdicts; the averages' margin is that of aggregates.
        aggregates: a mean for each group and for all rows, by column, over the cells compared.
        cells: those that either side has scores of, row by row.
        problem: why nothing at all could be compared; empty if something was.
        absent: whether the baseline has no run at all of the table's algorithms on its datasets.
    """

    table: models.Table
    preset: str | None
    lineage: models.Lineage
    incomparable: tuple[str, ...]
    now: str
    baseline: str
    gate: Gate
    tests: models.Verdict
    aggregates: tuple[DriftCell, ...]
    cells: tuple[DriftCell, ...]
    problem: str
    absent: bool

    @property
    def gated(self) -> tuple[DriftCell, ...]:
        """What the judgement hangs on."""
        return tuple(item for item in (*self.aggregates, *self.cells) if item.gated)

    @property
    def unchecked(self) -> tuple[DriftCell, ...]:
        """Cells of the baseline that were not compared, and what is gated and could not be tested."""
        lost = [cell for cell in self.cells if cell.baseline is not None and not cell.compared]
        return (*lost, *(item for item in self.gated if item.untested))

    @property
    def judgement(self) -> Judgement:
        """What the gate says. Where not all of the baseline was compared it is never `Judgement.PASSED`."""
        if any(item.drifted for item in self.gated):
            return Judgement.DRIFT
        compared = any(item.compared for item in self.gated)
        return Judgement.PASSED if compared and not self.unchecked else Judgement.INCOMPLETE


def drift(
    resolved: ResolvedTable,
    now: Store,
    baseline: Store,
    settings: DriftSettings | None = None,
    command: Callable[[str], str] = "harness {} TABLE".format,
) -> Drift:
    """Hold what one database has for a table against what another has.

    A cell is compared when now has as many seeds as the baseline, or all that the table asks for; the seeds
    may be others. Fewer than the baseline's are held against what those predict of so few. Scores that were
    trained are never compared with imported ones, and each side counts imported ones only where it
    trained none. An aggregate is the mean over the cells of its rows that were compared.

    Args:
        resolved: the table's cells and their runs.
        now: the results to judge.
        baseline: the results to hold them against; only read.
        settings: what is gated and how it is tested.
        command: from a verb to its command line, for advice.

    Raises:
        HarnessError: a database cannot be read.
    """
    settings = settings or DriftSettings()
    table = resolved.table
    asked = {"alpha": settings.alpha, "margin": settings.margin, "average_margin": settings.margin}
    tests = table.verdict.model_copy(update={key: value for key, value in asked.items() if value is not None})
    ours, theirs = measure(resolved, now, {}), measure(with_every_seed(resolved, baseline), baseline, {})
    pairs = {
        key: (theirs.cells[key], ours.cells[key])
        for key in ours.cells
        if theirs.cells[key].scores or ours.cells[key].scores
    }
    cases = {key: _case(*pair) for key, pair in pairs.items()}
    results = _predictions(cases, pairs, tests)
    # what is predicted has an adjustment of its own, so it counts in nobody else's
    rest = {key: case for key, case in cases.items() if key not in results}
    for key, verdict in zip(rest, verdicts(list(rest.values()), tests, sides=_SIDES), strict=True):
        results[key] = verdict, None
    hashes = (baseline.content_hashes(), now.content_hashes())
    cells = {
        key: _cell(
            before,
            after,
            *results[key],
            _changes((theirs, ours), (before, after), hashes),
            settings.gate,
        )
        for key, (before, after) in pairs.items()
    }
    there = {(run.algorithm, run.dataset) for run in baseline.runs().values()}
    compared = {key: pair for key, pair in pairs.items() if cells[key].compared}
    return Drift(
        table=table,
        preset=resolved.preset.id if resolved.preset else None,
        lineage=resolved.lineage,
        incomparable=why_incomparable([before.cell for before, _ in pairs.values()]),
        now=str(now.location),
        baseline=str(baseline.location),
        gate=settings.gate,
        tests=tests,
        aggregates=tuple(_aggregates(table, cells, compared, tests.of_averages, settings.gate)),
        cells=tuple(cells.values()),
        problem="" if compared else _nothing(resolved, now, baseline, ours, theirs, cells.values(), command),
        absent=there.isdisjoint((cell.column.algorithm, cell.dataset.id) for cell in resolved.cells),
    )


def overall(drifts: Sequence[Drift]) -> Judgement:
    """The judgement over several tables; those that the baseline has nothing of do not count.

    Returns:
        `Judgement.INCOMPLETE` also where no table counts.
    """
    found = {each.judgement for each in drifts if not each.absent}
    if Judgement.DRIFT in found:
        return Judgement.DRIFT
    return Judgement.PASSED if found == {Judgement.PASSED} else Judgement.INCOMPLETE


def _case(before: Measured, after: Measured) -> Case:
    reasons: tuple[str, ...] = ()
    if before.scores and after.scores and before.origin != after.origin:
        reasons = (f"{after.origin} now, {before.origin} in the baseline",)
    wanted = min(len(before.scores), len(after.cell.runs))
    return Case(after.estimate, before.estimate, len(after.scores), wanted, reasons)


def _predictions(
    cases: Mapping[tuple[str, str], Case],
    pairs: Mapping[tuple[str, str], tuple[Measured, Measured]],
    tests: models.Verdict,
) -> dict[tuple[str, str], tuple[VerdictResult, Prediction | None]]:
    """The verdicts on cells that are complete and have fewer seeds than the baseline."""
    few = {
        key: (case.published, case.reproduced)
        for key, case in cases.items()
        if case.published and case.reproduced and not case.incomparable
        if case.wanted <= case.have < len(pairs[key][0].scores)
    }
    return {
        key: judged(forecast(recorded, new.n), new.mean, new.n, tests, len(few))
        for key, (recorded, new) in few.items()
    }


def _cell(
    before: Measured,
    after: Measured,
    verdict: VerdictResult,
    predicted: Prediction | None,
    changes: tuple[Change, ...],
    gate: Gate,
) -> DriftCell:
    old, new = ({item.seed: item.score for item in side.scores} for side in (before, after))
    identical = sum(new.get(seed) == score for seed, score in old.items())
    notes = [f"baseline: {note}" for note in before.notes] + [f"now: {note}" for note in after.notes]
    if predicted is None and old and new and old.keys() != new.keys():
        notes.append(f"seeds {_listed(sorted(new))} now, {_listed(sorted(old))} in the baseline")
    if identical and identical == min(len(old), len(new)):
        notes.append("the seeds that both sides have score the same")
    if verdict.note:
        notes.append(verdict.note)
    return DriftCell(
        row=before.cell.dataset.id,
        label=before.cell.dataset.id,
        column=before.cell.column.id,
        column_label=before.cell.column.label,
        gated=gate != "aggregates" and bool(old),
        baseline=before.mean,
        now=after.mean,
        n_baseline=len(old),
        n_now=len(new),
        wanted=len(old),
        identical=identical,
        verdict=verdict,
        predicted=predicted,
        changes=changes,
        notes=tuple(notes),
    )


def _aggregates(
    table: models.Table,
    cells: Mapping[tuple[str, str], DriftCell],
    compared: Mapping[tuple[str, str], tuple[Measured, Measured]],
    tests: models.Verdict,
    gate: Gate,
) -> Iterator[DriftCell]:
    """The means over the cells compared, by group and over all rows; none where no cell was compared."""
    rows = [(group.id, group.average or group.label, group.datasets) for group in table.groups]
    rows.append((TOTAL, table.total or "Total", table.datasets))
    found = []
    for row, label, datasets in rows:
        for column in table.columns:
            keys = [(dataset, column.id) for dataset in datasets]
            if common := [key for key in keys if key in compared]:
                had = sum(key in cells and cells[key].baseline is not None for key in keys)
                found.append((row, label, column, common, had))
    cases: dict[int, Case] = {}
    expected: dict[int, Estimate] = {}
    for index, (*_, common, _) in enumerate(found):
        estimates = [(b.estimate, a.estimate) for b, a in (compared[key] for key in common)]
        sides = [(before, after) for before, after in estimates if before and after]
        before, after = (average(side) for side in zip(*sides, strict=True))
        cases[index] = Case(after, before, len(common), len(common))
        if before.variance is not None and any(cells[key].predicted for key in common):
            expected[index] = average([forecast(old, new.n) for old, new in sides])
    results = {
        index: judged(mean, case.reproduced.mean, case.have, tests, len(expected))
        for index, mean in expected.items()
        if (case := cases[index]).reproduced
    }
    rest = {index: case for index, case in cases.items() if index not in results}
    for index, tested in zip(rest, verdicts(list(rest.values()), tests, sides=_SIDES), strict=True):
        results[index] = tested, None
    for index, (row, label, column, common, had) in enumerate(found):
        case, (verdict, predicted) = cases[index], results[index]
        notes = [f"over {len(common)} of the baseline's {had} cells"] if len(common) < had else []
        yield DriftCell(
            row=row,
            label=label,
            column=column.id,
            column_label=column.label,
            gated=gate != "cells",
            baseline=case.published.mean if case.published else None,
            now=case.reproduced.mean if case.reproduced else None,
            n_baseline=len(common),
            n_now=len(common),
            wanted=had,
            identical=0,
            verdict=verdict,
            predicted=predicted,
            changes=_joined(change for key in common for change in cells[key].changes),
            notes=(*notes, verdict.note) if verdict.note else tuple(notes),
        )


# -- provenance --------------------------------------------------------------------------------------------


def _changes(
    sides: tuple[Measurements, Measurements],
    cells: tuple[Measured, Measured],
    hashes: tuple[Mapping[str, str], Mapping[str, str]],
) -> tuple[Change, ...]:
    """The fields of the provenance in which two sides of a cell differ; none where one has no score."""
    if not all(cell.scores for cell in cells):
        return ()
    before, after = (_provenance(*side) for side in zip(sides, cells, hashes, strict=True))
    return tuple(
        Change(field, before.get(field, ()), after.get(field, ()))
        for field in dict.fromkeys((*before, *after))
        if before.get(field) != after.get(field)
    )


def _provenance(
    measurements: Measurements, measured: Measured, hashes: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Field -> its values behind a cell's scores, sorted."""
    content = hashes.get(digest(measured.cell.runs[0].configuration["dataset"]))
    behind = {measurements.states[score.key].fingerprint_id for score in measured.scores}
    known = [measurements.fingerprints[number] for number in behind if number is not None]
    values: dict[str, set[str]] = {"data": {content}} if content else {}
    for fingerprint in known:
        for field, value in fingerprint.items():
            values.setdefault(field, set()).add(str(value))
    return {field: tuple(sorted(found)) for field, found in values.items()}


def _joined(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Changes of several cells, one for each field."""
    fields: dict[str, Change] = {}
    for change in changes:
        known = fields.setdefault(change.field, change)
        fields[change.field] = replace(
            known,
            baseline=tuple(sorted({*known.baseline, *change.baseline})),
            now=tuple(sorted({*known.now, *change.now})),
        )
    return tuple(fields.values())


# -- why nothing could be compared -------------------------------------------------------------------------


def _nothing(
    resolved: ResolvedTable,
    now: Store,
    baseline: Store,
    ours: Measurements,
    theirs: Measurements,
    cells: Iterable[DriftCell],
    command: Callable[[str], str],
) -> str:
    """Why no cell could be compared, and what to do about it."""
    name = resolved.table.id
    in_baseline = sum(bool(item.scores) for item in theirs.cells.values())
    in_now = sum(bool(item.scores) for item in ours.cells.values())
    if not in_baseline:
        configurations = baseline.configurations()
        if not configurations:
            return (
                f"the baseline {baseline.location} holds no finished runs; "
                f"`{command('accept')} --reason TEXT` makes one that does"
            )
        wanted = {run.configuration_key for cell in resolved.cells for run in cell.runs}
        if wanted.isdisjoint(configurations):
            return _nearest(resolved, baseline, list(configurations.values()), command)
        return (
            f"the baseline {baseline.location} has runs of {name}, but none with the seeds asked for and the "
            f"score that the protocol counts"
        )
    if not in_now:
        return f"nothing of {name} is measured in {now.location}; `{command('reproduce')}` does it"
    reasons = dict.fromkeys(reason for cell in cells for reason in cell.verdict.reasons)
    if reasons:
        return f"no cell of {name} can be compared: {'; '.join(reasons)}"
    return (
        f"no cell of {name} has all the seeds of the baseline; cells with scores: {in_now} in "
        f"{now.location}, {in_baseline} in the baseline {baseline.location}; train the rest, or choose cells "
        f"by --datasets and --algorithms"
    )


def _nearest(
    resolved: ResolvedTable,
    baseline: Store,
    configurations: Sequence[Mapping[str, Any]],
    command: Callable[[str], str],
) -> str:
    """The baseline's configuration that is most like one of the table's, and how they differ."""
    there = [dict(_flat(configuration)) for configuration in configurations]
    here = [(cell, dict(_flat(cell.runs[0].configuration))) for cell in resolved.cells]
    differing = ((cell, _difference(ours, theirs)) for cell, ours in here for theirs in there)
    cell, fields = min(differing, key=lambda found: len(found[1]))
    listed = [f"{field} {ours!r} now, {theirs!r} there" for field, (ours, theirs) in fields.items()]
    more = f" and {len(listed) - _MOST_FIELDS} more" if len(listed) > _MOST_FIELDS else ""
    what = "no cell in common" if {"algorithm", "dataset.id"} & fields.keys() else "other settings"
    return (
        f"the baseline {baseline.location} has no run of {resolved.table.id} as it is configured now "
        f"({what}); the nearest to {cell.column.id} on "
        f"{cell.dataset.id} differs in: {'; '.join(listed[:_MOST_FIELDS])}{more}. Give a baseline of this "
        f"protocol, or make one by `{command('accept')} --reason TEXT`"
    )


def _difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Field -> its two values, for the fields that differ."""
    return {
        field: (ours.get(field), theirs.get(field))
        for field in sorted({*ours, *theirs})
        if ours.get(field) != theirs.get(field)
    }


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a configuration, named by their paths."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))
