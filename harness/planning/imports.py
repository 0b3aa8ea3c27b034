"""Joins a file of scores with the runs of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import SpecError, UnknownNameError
from harness.planning.cells import ResolvedTable, run_record
from harness.results.transfer import ImportRow, ScoreRow
from harness.specs.text import shown


def import_rows(resolved: ResolvedTable, scores: Sequence[ScoreRow], path: Path) -> list[ImportRow]:
    """What each score of a file is a score of, and the raw mean return that it stands for.

    Seeds that the table does not ask for are kept too; it finds them once it asks. A score stays with its
    column when the algorithm is implemented or its defaults change; it goes with what the column itself sets.

    Args:
        resolved: the table, whose column ids the file names as ``algorithm``.
        scores: rows of the file, see `harness.results.scores.read_scores_csv`.
        path: the file, for messages.

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
        reference = cell.dataset.reference
        joined.append(
            ImportRow(
                score=score,
                record=run_record(cell.runs[0].configuration, score.seed, cell.runs[0].described),
                mean_return=reference.raw(score.score),
            )
        )
    return joined
