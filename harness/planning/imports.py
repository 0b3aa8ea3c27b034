"""Joins a file of scores with the runs of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import SpecError, UnknownNameError
from harness.planning.cells import ResolvedTable
from harness.results.transfer import ImportRow, ScoreRow
from harness.specs.published import PublishedCell
from harness.specs.text import shown

_FRACTION = 1.5  # the largest score on a scale where an expert has 1


def import_rows(
    resolved: ResolvedTable,
    scores: Sequence[ScoreRow],
    path: Path,
    source: str | None = None,
    times: float = 1.0,
) -> list[ImportRow]:
    """What each score of a file is a score of, and the raw mean return that it stands for.

    Seeds and steps that the table does not ask for are kept too; it finds them once it asks. A score stays
    with its column when the algorithm is implemented or its defaults change; it goes with what the column
    itself sets.

    Args:
        resolved: the table, whose column ids the file names as ``algorithm``.
        scores: rows of the file, see `harness.results.scores.read_scores_csv`.
        path: the file, for messages.
        source: where the scores come from that do not say; default: the file's name.
        times: what makes of a score in the file one of 0 to 100.

    Raises:
        SpecError: a dataset or column that the table does not have; ``file:line`` is where.
    """
    cells = {(cell.dataset.id, cell.column.id): cell for cell in resolved.cells}
    rows = list(dict.fromkeys(dataset for dataset, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    joined = []
    for score in scores:
        for kind, name, known in (("dataset", score.dataset, rows), ("column", score.algorithm, columns)):
            if name not in known:
                error = UnknownNameError(f"{kind} of {resolved.table.id}", name, known)
                raise SpecError(f"{shown(path)}:{score.line}: {error}")
        cell = cells[score.dataset, score.algorithm]
        [record] = cell.with_seeds([score.seed]).imported(score.source or source or path.name)
        joined.append(ImportRow(score, record, cell.dataset.reference.raw(score.score * times)))
    return joined


def looks_like_fractions(
    scores: Sequence[ScoreRow], published: Mapping[tuple[str, str], PublishedCell]
) -> bool:
    """Whether scores seem to be on a scale of 0 to 1, where the paper's are on one of 0 to 100.

    Args:
        scores: rows of a file.
        published: what the paper printed, by (dataset id, column id).
    """
    theirs = [
        published[place].mean
        for place in {(row.dataset, row.algorithm) for row in scores}
        if place in published
    ]
    return (
        bool(theirs)
        and max(map(abs, theirs)) > 10 * _FRACTION
        and max(abs(row.score) for row in scores) <= _FRACTION
    )
