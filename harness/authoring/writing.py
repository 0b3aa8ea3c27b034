"""The table's YAML and the CSV of its printed numbers, from what was read of a paper's table."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import files
from harness.authoring.layout import Column, Reading
from harness.authoring.scores import Score
from harness.errors import HarnessError

_COLUMNS = (
    "row",
    "column",
    "mean",
    "std",
    "low",
    "high",
    "before_mean",
    "before_std",
    "change",
    "source",
    "note",
)
_ALWAYS = ("row", "column", "mean", "std", "source", "note")
_PLAIN = re.compile(
    r"(?!(?:true|false|null|yes|no|on|off)$)[A-Za-z][\w .+/()-]*[\w)+]|[A-Za-z]", re.IGNORECASE
)


@dataclass(frozen=True)
class Assumed:
    """What a table says beside its numbers, and which of it is a guess that somebody has to confirm.

    Attributes:
        seeds: behind each number.
        seeds_known: whether the file or its reader said so.
        protocol: id.
        lineage: of the data.
        title: above the table.
    """

    seeds: int
    seeds_known: bool
    protocol: str
    lineage: str
    title: str


def published(reading: Reading) -> str:
    """The CSV file of the printed numbers: a line for each cell, also of those that are empty or not read."""
    lines = list(_records(reading))
    used = [name for name in _COLUMNS if name in _ALWAYS or any(line.get(name) for line in lines)]
    out = io.StringIO()
    writer = csv.DictWriter(out, used, lineterminator="\n", extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _records(reading: Reading) -> Iterator[dict[str, str]]:
    for group in reading.groups:
        for name in group.datasets:
            for column in reading.columns:
                yield _record(name, column, reading.cells.get((name, column.id), Score()))
        for label, name in ((group.average, group.id), (group.sum, f"{group.id}:sum")):
            for column in reading.columns if label else ():
                yield _record(name, column, reading.cells.get((name, column.id), Score()))
    for column in reading.columns if reading.total else ():
        yield _record("total", column, reading.cells.get(("total", column.id), Score()))


def _record(row: str, column: Column, score: Score) -> dict[str, str]:
    numbers = {name: getattr(score, name) for name in (*_COLUMNS[2:9], "note")}
    return {"row": row, "column": column.id, **numbers, "source": "unknown"}


def table(name: str, reading: Reading, assumed: Assumed) -> str:
    """The table's YAML, with comments at what is to be filled in or confirmed."""
    return "\n".join(_table(name, reading, assumed)) + "\n"


def _table(name: str, reading: Reading, assumed: Assumed) -> Iterator[str]:
    yield f"id: {text(name)}"
    yield "version: 1  # raise it with any change that moves numbers"
    yield f"title: {text(assumed.title)}"
    yield "paper:  # fill in"
    yield f"  title: {text(assumed.title)}"
    yield "  authors: fill in"
    yield f"  year: {datetime.date.today().year}  # fill in"
    yield f"lineage: {assumed.lineage}  # of the data behind the printed numbers"
    yield f"protocol: {assumed.protocol}  # how long the paper trained; `harness ls protocols`"
    yield "groups:"
    for group in reading.groups:
        yield f"  - id: {text(group.id)}"
        yield f"    label: {text(group.label)}"
        yield f"    datasets: [{', '.join(map(text, group.datasets))}]"
        if group.average:
            yield f"    average: {text(group.average)}"
        if group.sum:
            yield f"    sum: {text(group.sum)}"
    if reading.total:
        yield f"total: {text(reading.total)}"
    yield "columns:"
    for column in reading.columns:
        yield f"  - id: {text(column.id)}"
        yield f"    label: {text(column.label)}"
        mine = "" if column.known else f"  # not known; `harness new algorithm {column.algorithm}` begins it"
        yield f"    algorithm: {text(column.algorithm)}{mine}"
    yield "published:"
    yield f"  file: ../published/{name}.csv"
    yield f"  seeds: {assumed.seeds}" + (
        "" if assumed.seeds_known else "  # assumed: fill in what the paper says"
    )
    yield "  ddof: 0  # assumed, as numpy.std has it; 1 where the paper's standard deviations are over n - 1"


def text(value: str) -> str:
    """A text as YAML has it."""
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def write(folder: Path, contents: Mapping[str, str]) -> list[Path]:
    """Write new files, all or none.

    Args:
        folder: of specs; made if it is not there.
        contents: path in the folder -> what the file holds.

    Returns:
        the files.

    Raises:
        HarnessError: one of them is there already.
        DataError: they cannot be written.
    """
    places = {folder / path: content for path, content in contents.items()}
    for place in places:
        if place.exists() or place.is_symlink():
            raise HarnessError(f"{place} is there already, and nothing is overwritten; choose another name")
    written: list[Path] = []
    try:
        for place, content in places.items():
            with files.explained(place):
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("x", encoding="utf-8") as file:
                    written.append(place)
                    file.write(content)
    except BaseException:
        for place in written:
            place.unlink(missing_ok=True)
        raise
    return written
