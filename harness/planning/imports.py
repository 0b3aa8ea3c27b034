"""Joins scores that were measured elsewhere, in a file or a public source, with the runs of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import SpecError, UnknownNameError
from harness.planning.cells import Cell, ResolvedTable
from harness.results.transfer import ImportRow, ScoreRow
from harness.specs.published import PublishedCell
from harness.specs.text import shown

if TYPE_CHECKING:
    from harness.sources.scores import Curves, Scores
    from harness.specs import Specs
    from harness.specs.sources import ScoreSource

_FRACTION = 1.5  # the largest score on a scale where an expert has 1


def import_rows(
    resolved: ResolvedTable,
    scores: Sequence[ScoreRow],
    path: Path,
    source: str | None = None,
    times: float = 1.0,
    *,
    sourceless: bool = False,
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
        sourceless: the file was imported before sources were kept: its scores are those that say none.

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
        origin = "" if sourceless else score.source or source or path.name
        [record] = cell.with_seeds([score.seed]).imported(origin)
        joined.append(ImportRow(score, record, cell.dataset.reference.raw(score.score * times)))
    return joined


def source_rows(
    resolved: ResolvedTable, specs: Specs, scores: Scores
) -> tuple[list[tuple[Path, list[ImportRow]]], list[str]]:
    """What the scores of public sources are scores of, file by file, and what of them is left out.

    A column takes the scores of its algorithm, unless it sets hyperparameters of its own, which the source's
    runs did not have.

    Args:
        resolved: the table.
        specs: where the sources are.
        scores: of them.

    Returns:
        the rows of each file, with where they come from as labels; and sentences.
    """
    rows: dict[Path, list[ImportRow]] = {}
    left: dict[str, None] = {}
    settings = Counter((each.source, each.dataset, each.algorithm, each.phase) for each in scores.curves)
    for cell in resolved.cells:
        for curves in scores.curves:
            if (curves.dataset, curves.algorithm) != (cell.dataset.id, cell.column.algorithm):
                continue
            what = f"{curves.source}: {curves.label} is not imported as {cell.column.id}"
            if cell.column.hyperparameters:
                names = ", ".join(cell.column.hyperparameters)
                left[f"{what}: the column has settings of its own ({names})"] = None
            elif curves.phase or settings[curves.source, curves.dataset, curves.algorithm, ""] > 1:
                left[f"{what}: its runs have several phases or settings"] = None
            elif (curves.steps < 0).any():
                left[f"{what}: the source does not tell at which steps its scores were measured"] = None
            else:
                rows.setdefault(curves.file, []).extend(_rows_of(cell, specs.source(curves.source), curves))
    left |= {
        f"{each.source}: {each.label} has printed numbers only, whose seeds cannot be imported": None
        for each in scores.summaries
        if each.algorithm in {cell.column.algorithm for cell in resolved.cells}
    }
    return list(rows.items()), list(left)


def _rows_of(cell: Cell, source: ScoreSource, curves: Curves) -> Iterator[ImportRow]:
    names = source.settings.get(curves.algorithm, ())
    made = zip(names, curves.setting.split("|"), strict=False) if curves.setting else ()
    episodes = source.protocol.episodes_of(curves.dataset)
    labels = {
        "commit": source.commit or "",
        "licence": source.licence,
        "settings": " ".join(f"{name}={value}" for name, value in made),
        "protocol": source.protocol.note or "",
        "episodes": str(episodes or ""),
    }
    given = tuple((name, " ".join(text.split())) for name, text in labels.items() if text)
    for index, seed in enumerate(curves.seeds):
        [record] = cell.with_seeds([seed]).imported(source.id)
        for step, score in zip(curves.steps.tolist(), curves.scores[index].tolist(), strict=True):
            row = ScoreRow(0, curves.dataset, cell.column.id, seed, step, score, source.id, given)
            yield ImportRow(row, record, cell.dataset.reference.raw(score))


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
