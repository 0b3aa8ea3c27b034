"""A paper's printed columns against the seeds of public sources: does one beat the other?

A printed cell is known as mean, standard deviation and number of seeds, a source's by its scores; the tests
are those of the verdicts.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis.measurements import Rounding, printed
from harness.analysis.scores import deviation
from harness.analysis.verdicts import Case, VerdictKind, VerdictResult, average, estimate, verdicts

if TYPE_CHECKING:
    from harness.sources.scores import Curves, Scores
    from harness.specs import Specs, Table
    from harness.specs.published import PublishedCell

_SIDES = ("the source's", "printed")


@dataclass(frozen=True)
class Against:
    """A printed column against a source's algorithm, on the datasets that both have.

    Attributes:
        column: column id.
        label: as the table has it.
        source: id.
        algorithm: the source's name of the algorithm, with the phase of its runs.
        rows: dataset ids.
        higher: rows whose printed mean is significantly above the source's.
        lower: rows where it is below.
        equal: rows where both are equivalent within the margin.
        same: rows whose printed cell is made of these very scores.
        difference: printed minus the source's mean, over these rows.
        p: of that difference, adjusted over the answer; None where nothing could be tested.
        cells: the verdict on each row, from the source's side: BETTER where it is above the printed mean.
    """

    column: str
    label: str
    source: str
    algorithm: str
    rows: tuple[str, ...]
    higher: int
    lower: int
    equal: int
    same: int
    difference: float
    p: float | None
    cells: tuple[VerdictResult, ...]


def against(
    table: Table, specs: Specs, scores: Scores, datasets: Sequence[str], columns: Sequence[str]
) -> list[Against]:
    """Every printed column against every algorithm of the sources at hand.

    A seed's last score counts. p-values of cells are adjusted over all cells of the answer, those of columns
    over all its columns.

    Args:
        table: as its spec says.
        specs: where its printed numbers are.
        scores: of the sources.
        datasets: ids of the rows to compare.
        columns: ids of those to compare.

    Raises:
        SpecError: a file that the table names is wrong.
    """
    published = specs.published(table) or {}
    rounding: Rounding = table.published.rounding if table.published else "unknown"
    blocks: dict[tuple[str, str], dict[str, Curves]] = {}
    for each in scores.curves:
        blocks.setdefault((each.source, f"{each.label} {each.phase}".strip()), {})[each.dataset] = each
    pairs = []
    for column in table.columns:
        for block, theirs in blocks.items() if column.id in columns else ():
            rows = [row for row in datasets if (row, column.id) in published and row in theirs]
            if rows:
                cases = [
                    _case(published[row, column.id], theirs[row], rounding, column.algorithm) for row in rows
                ]
                pairs.append((column, block, rows, cases))
    judged = iter(verdicts([case for *_, some in pairs for case in some], table.verdict, sides=_SIDES))
    overall = verdicts([_overall(some) for *_, some in pairs], table.verdict.of_averages, sides=_SIDES)
    found = []
    for (column, (source, algorithm), rows, cases), whole in zip(pairs, overall, strict=True):
        verdict = tuple(next(judged) for _ in cases)
        kinds = [each.kind for each in verdict]
        found.append(
            Against(
                column.id,
                column.label,
                source,
                algorithm,
                tuple(rows),
                kinds.count(VerdictKind.WORSE),
                kinds.count(VerdictKind.BETTER),
                kinds.count(VerdictKind.OK),
                sum(case.same_sample for case in cases),
                -(whole.difference or 0.0),
                whole.p_adjusted,
                verdict,
            )
        )
    return found


def _case(cell: PublishedCell, curves: Curves, rounding: Rounding, algorithm: str | None) -> Case:
    seeds = curves.scores[:, -1].tolist()
    theirs = estimate(statistics.fmean(seeds), deviation(seeds, 1), len(seeds), 1)
    same = (cell.sample, cell.n, algorithm) == (curves.source, len(seeds), curves.algorithm)
    return Case(theirs, printed(cell, rounding), 1, 1, same_sample=same)


def _overall(cases: Sequence[Case]) -> Case:
    """The mean over the rows of both sides."""
    theirs = average([case.reproduced for case in cases if case.reproduced])
    ours = average([case.published for case in cases if case.published])
    return Case(theirs, ours, 1, 1, same_sample=all(case.same_sample for case in cases))
