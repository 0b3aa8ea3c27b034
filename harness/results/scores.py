"""Files of scores that were measured elsewhere: ``dataset,algorithm,seed,step,score``."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SpecError

COLUMNS = ("dataset", "algorithm", "seed", "step", "score")

_FIELD = re.compile(r'"((?:[^"]|"")*)"(?=,|$)|([^",][^,]*|)(?=,|$)')
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class ScoreRow:
    """One normalised score (0 to 100 for the references) and where in the file its names stand."""

    line: int
    dataset: str
    algorithm: str
    seed: int
    step: int
    score: float
    dataset_column: int = dataclasses.field(default=1, compare=False)
    algorithm_column: int = dataclasses.field(default=1, compare=False)


@dataclass(frozen=True)
class _Field:
    text: str
    column: int


def read_scores_csv(path: Path) -> list[ScoreRow]:
    """Read a file of scores: UTF-8, comma-separated, a header with exactly the five columns in any order.

    Args:
        path: the file.

    Returns:
        its rows, in order; blank lines are skipped.

    Raises:
        SpecError: the file cannot be read or does not say what it should; ``file:line:column`` is where.
    """
    lines = [
        (number, line)
        for number, line in enumerate(re.split(r"\r\n|\r|\n", _text(path)), start=1)
        if line.strip()
    ]
    if not lines:
        raise SpecError(f"{path}:1:1: the file is empty; its first line names {', '.join(COLUMNS)}")
    header = _header(path, *lines[0])
    rows: list[ScoreRow] = []
    seen: dict[tuple[str, str, int, int], int] = {}
    for number, line in lines[1:]:
        row = _row(path, number, line, header)
        identity = (row.dataset, row.algorithm, row.seed, row.step)
        if identity in seen:
            raise SpecError(
                f"{path}:{number}:1: {row.dataset}, {row.algorithm}, seed {row.seed}, step {row.step} "
                f"is on line {seen[identity]} already; keep one of them"
            )
        seen[identity] = number
        rows.append(row)
    if not rows:
        raise SpecError(f"{path}:{lines[0][0]}:1: there is no score below the header")
    return rows


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}:1:1: the file cannot be read: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8-sig")) + 1
        raise SpecError(f"{path}:{line}:{column}: this is not UTF-8; save the file as UTF-8") from error


def _fields(path: Path, number: int, line: str) -> Iterator[_Field]:
    position = 0
    while True:
        match = _FIELD.match(line, position)
        if match is None:
            raise SpecError(f"{path}:{number}:{position + 1}: the quotes of this field are not closed")
        quoted, plain = match.groups()
        yield _Field(plain.strip() if quoted is None else quoted.replace('""', '"'), position + 1)
        position = match.end() + 1
        if match.end() == len(line):
            return


def _header(path: Path, number: int, line: str) -> list[str]:
    fields = list(_fields(path, number, line))
    if len(fields) == 1 and ";" in line:
        raise SpecError(
            f"{path}:{number}:{line.index(';') + 1}: separate the columns by commas, not semicolons"
        )
    names: list[str] = []
    for field in fields:
        where = f"{path}:{number}:{field.column}"
        if field.text not in COLUMNS:
            raise SpecError(f"{where}: unknown column {field.text!r}; the columns are {', '.join(COLUMNS)}")
        if field.text in names:
            raise SpecError(f"{where}: column {field.text!r} appears twice")
        names.append(field.text)
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise SpecError(f"{path}:{number}:{len(line) + 1}: column {', '.join(missing)} is missing")
    return names


def _row(path: Path, number: int, line: str, header: Sequence[str]) -> ScoreRow:
    fields = list(_fields(path, number, line))
    if len(fields) != len(header):
        extra = fields[len(header)].column if len(fields) > len(header) else len(line) + 1
        hint = "; a decimal comma? write 1.5, not 1,5" if len(fields) > len(header) else ""
        raise SpecError(
            f"{path}:{number}:{extra}: {len(fields)} fields where the header names {len(header)}{hint}"
        )
    row = dict(zip(header, fields, strict=True))
    return ScoreRow(
        number,
        _name(path, number, row["dataset"], "dataset"),
        _name(path, number, row["algorithm"], "algorithm"),
        _count(path, number, row["seed"], "seed"),
        _count(path, number, row["step"], "step"),
        _score(path, number, row["score"]),
        row["dataset"].column,
        row["algorithm"].column,
    )


def _name(path: Path, number: int, field: _Field, what: str) -> str:
    if not field.text:
        raise SpecError(f"{path}:{number}:{field.column}: the {what} is empty")
    return field.text


def _count(path: Path, number: int, field: _Field, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", field.text) or int(field.text) > _LARGEST:
        raise SpecError(
            f"{path}:{number}:{field.column}: {what} {field.text!r} is not a whole number from 0 to 2^63 - 1"
        )
    return int(field.text)


def _score(path: Path, number: int, field: _Field) -> float:
    where = f"{path}:{number}:{field.column}: score {field.text!r}"
    if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", field.text):
        raise SpecError(f"{where} has a comma as its decimal point; write {field.text.replace(',', '.')}")
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", field.text):
        raise SpecError(f"{where} is not a number; leave the line out if there is no score")
    value = float(field.text)
    if not math.isfinite(value):
        raise SpecError(f"{where} is too large")
    return value
