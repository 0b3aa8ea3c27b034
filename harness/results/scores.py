"""Files of scores that were measured elsewhere: ``dataset,algorithm,seed,step,score`` and more columns."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness.errors import SpecError
from harness.specs.csv_file import Record, read_records
from harness.specs.text import short

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


def read_scores_csv(path: Path, mapping: Mapping[str, str] | None = None) -> list[ScoreRow]:
    """Read a file of scores: UTF-8, comma-separated, a header with the five columns in any order.

    A sixth, ``source``, may tell where each score comes from; ``return`` is what a score was made of and is
    not taken; any others are kept as labels.

    Args:
        path: the file.
        mapping: name of a column of ours, or of a label -> the file's name of it, or ``=`` and what stands in
            every row. Where there is one, the file's other columns are not taken.

    Returns:
        its rows, in order; blank lines are skipped.

    Raises:
        SpecError: the file cannot be read or does not say what it should; ``file:line`` is where.
    """
    rows: list[ScoreRow] = []
    seen: dict[tuple[str, str, int, int, str], int] = {}
    mapping = {**dict(zip(COLUMNS, COLUMNS, strict=True)), **mapping} if mapping else {}
    needed = [name for name in mapping.values() if not name.startswith("=")] if mapping else COLUMNS
    for found in read_records(path, needed, None, limit=_MAX_BYTES, refuse=partial(_not_scores, mapping)):
        record = _mapped(found, mapping)
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
                if name not in (*COLUMNS, "source", "return") and text.strip()
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


def _mapped(record: Record, mapping: Mapping[str, str]) -> Record:
    """A record with our names; of a run of Weights & Biases only if it has finished.

    Raises:
        SpecError: it has not.
    """
    fields = record.fields
    if {"Name", "State"} <= fields.keys() and fields["State"].strip() != "finished":
        raise SpecError(
            record.problem(
                f"the run is {fields['State']!r}, not finished; export finished runs only", "State"
            )
        )
    if mapping:
        fields = {
            name: given[1:] if given.startswith("=") else fields[given] for name, given in mapping.items()
        }
    return replace(record, fields=fields)


def _not_scores(mapping: Mapping[str, str], names: Sequence[str]) -> str:
    """Why a file with these columns is an export of Weights & Biases without scores; empty if it is none."""
    instead = (
        "its history is sampled and is not the scores; export the table of runs (Runs, Download, "
        "Export as CSV) and say by --map which columns are which"
    )
    if any(name.endswith(("__MIN", "__MAX")) for name in names):
        return f"this is a chart of Weights & Biases: {instead}"
    if {"_step", "_timestamp"} <= {*names} and not {"Name", "State", "seed"} & {*names}:
        return f"this is the history of a run of Weights & Biases: {instead}"
    if {"Name", "State"} <= {*names} and not mapping and not {*COLUMNS} <= {*names}:
        return (
            "this is Weights & Biases' table of runs; say which of its columns are which, as --map "
            f"dataset=env,algorithm=algo,seed=seed,step=_step,score=NAME; it has {', '.join(names)}"
        )
    return ""


def _name(record: Record, column: str) -> str:
    name = record.fields[column].strip()
    if not name:
        raise SpecError(record.problem("is empty", column))
    return name


def _count(record: Record, column: str) -> int:
    text = record.fields[column].strip()
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > _LARGEST:
        raise SpecError(record.problem(f"{short(text)} is not a whole number from 0 to 2^63 - 1", column))
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
        raise SpecError(record.problem(f"{short(text)} {problem}", "score"))
    return float(text)
