"""Files of scores that were measured elsewhere: ``dataset,algorithm,seed,step,score`` and more columns."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SpecError
from harness.specs.csv_file import Record, read_records

COLUMNS = ("dataset", "algorithm", "seed", "step", "score")

_LARGEST = 2**63 - 1
_MAX_BYTES = 100_000_000


@dataclass(frozen=True)
class ScoreRow:
    """One normalised score (0 to 100 for the references), and the line of the file where it stands.

    Attributes:
        source: where it comes from; '' where the file has no such column.
        labels: what else the file says of it, by column.
    """

    line: int
    dataset: str
    algorithm: str
    seed: int
    step: int
    score: float
    source: str = ""
    labels: tuple[tuple[str, str], ...] = ()


def read_scores_csv(path: Path) -> list[ScoreRow]:
    """Read a file of scores: UTF-8, comma-separated, a header with the five columns in any order.

    A sixth, ``source``, may tell where each score comes from; any others are kept as labels.

    Args:
        path: the file.

    Returns:
        its rows, in order; blank lines are skipped.

    Raises:
        SpecError: the file cannot be read or does not say what it should; ``file:line`` is where.
    """
    rows: list[ScoreRow] = []
    seen: dict[tuple[str, str, int, int, str], int] = {}
    for record in read_records(path, COLUMNS, None, limit=_MAX_BYTES):
        if "" in record.fields:
            raise SpecError(Record(path, 1, {}).problem("a column has no name"))
        row = ScoreRow(
            record.line,
            _name(record, "dataset"),
            _name(record, "algorithm"),
            _count(record, "seed"),
            _count(record, "step"),
            _score(record),
            record.fields.get("source", "").strip(),
            tuple(
                (name, text.strip())
                for name, text in record.fields.items()
                if name not in (*COLUMNS, "source") and text.strip()
            ),
        )
        identity = (row.dataset, row.algorithm, row.seed, row.step, row.source)
        if identity in seen:
            where = f"{row.dataset}, {row.algorithm}, seed {row.seed}, step {row.step}"
            raise SpecError(record.problem(f"{where} is on line {seen[identity]} already; keep one of them"))
        seen[identity] = record.line
        rows.append(row)
    if not rows:
        raise SpecError(Record(path, 1, {}).problem("there is no score below the header"))
    return rows


def _name(record: Record, column: str) -> str:
    name = record.fields[column].strip()
    if not name:
        raise SpecError(record.problem("is empty", column))
    return name


def _count(record: Record, column: str) -> int:
    text = record.fields[column].strip()
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > _LARGEST:
        raise SpecError(record.problem(f"{text!r} is not a whole number from 0 to 2^63 - 1", column))
    return int(text)


def _score(record: Record) -> float:
    text = record.fields["score"].strip()
    problem = ""
    if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", text):
        problem = f"has a comma as its decimal point; write {text.replace(',', '.')}"
    elif not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        problem = "is not a number; leave the line out if there is no score"
    elif not math.isfinite(float(text)):
        problem = "is too large"
    if problem:
        raise SpecError(record.problem(f"{text!r} {problem}", "score"))
    return float(text)
