"""Files of scores as plain columns, whatever their format; called in a process of its own.

See `harness.datasets.apart`: what comes back is arrays, a run each, with all scores end to end.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError
from harness.sources import unpickling

Arrays = dict[str, NDArray[Any]]
_MOST = 20_000_000  # scores of one source
_PRINTED = re.compile(r"\s*\**\s*(-?\d+(?:\.\d+)?)\s*(?:±|\+-)\s*(\d+(?:\.\d+)?)\s*\**\s*")


class _Run(NamedTuple):
    """The scores of one seed, in the file's own names."""

    dataset: str
    algorithm: str
    setting: str
    phase: str
    seed: int
    steps: NDArray[np.int64]  # -1 where the file does not tell
    scores: NDArray[np.float64]


def read(place: Path, file: Mapping[str, Any], paths: Sequence[str]) -> Arrays:
    """The runs of a file, or of several below a folder.

    Args:
        place: the file, or the folder where `paths` are.
        file: a `harness.specs.sources.SourceFile` as JSON has it.
        paths: relative to `place`, where that is a folder.

    Returns:
        ``dataset``, ``algorithm``, ``setting``, ``phase``, ``seed``, ``length`` of each run, ``step`` and
        ``score`` of all; of a page of printed numbers ``dataset``, ``algorithm``, ``which``, ``mean``,
        ``std``.

    Raises:
        DataError: the file is not what its spec says.
    """
    if file["format"] == "markdown":
        return _markdown(place, file["printed"]["sections"])
    if paths:
        pattern = _pattern(file["path"])
        runs = [
            run for path in paths for run in _csv(place / path, file["columns"], _parts(pattern, path, place))
        ]
    elif file["format"] == "csv":
        runs = list(_csv(place, file["columns"], {}))
    else:
        content = unpickling.load(place) if file["format"] == "pickle" else _json(place)
        runs = list(_walk(place, content, file["levels"], {}, ()))
    if sum(len(run.scores) for run in runs) > _MOST:
        raise DataError(f"{place} has more than {_MOST:,} scores")
    return {
        "dataset": np.array([run.dataset for run in runs], dtype=np.str_),
        "algorithm": np.array([run.algorithm for run in runs], dtype=np.str_),
        "setting": np.array([run.setting for run in runs], dtype=np.str_),
        "phase": np.array([run.phase for run in runs], dtype=np.str_),
        "seed": np.array([run.seed for run in runs], dtype=np.int64),
        "length": np.array([len(run.scores) for run in runs], dtype=np.int64),
        "step": np.concatenate([run.steps for run in runs] or [np.empty(0, np.int64)]),
        "score": np.concatenate([run.scores for run in runs] or [np.empty(0)]),
    }


# -- nested files ------------------------------------------------------------------------------------------


def _json(place: Path) -> Any:
    try:
        return json.loads(place.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place} is no valid JSON: {error}") from None


def _walk(
    place: Path, value: Any, levels: Sequence[Any], known: Mapping[str, str], settings: tuple[str, ...]
) -> Iterator[_Run]:
    """The runs below a value, whose keys stand for the levels."""
    value = unpickling.plain(value)
    if not levels or levels[0] == "evaluation":
        yield _run(place, value, known, settings)
        return
    level, *below = levels
    if isinstance(level, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(level):
            raise DataError(f"{_where(place, known)} should be a list of {len(level)} parts")
        for name, part in zip(level, value, strict=True):
            if name is not None:
                yield from _walk(place, part, below, {**known, "phase": name}, settings)
        return
    for key, inner in _items(place, value, known, level):
        if level == "setting":
            yield from _walk(place, inner, below, known, (*settings, key))
        else:
            yield from _walk(place, inner, below, {**known, level: key}, settings)


def _items(place: Path, value: Any, known: Mapping[str, str], level: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((str(key), inner) for key, inner in value.items())
    elif level == "seed" and (
        isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)
    ):
        yield from ((str(index), inner) for index, inner in enumerate(value))
    else:
        kind = type(value).__name__
        raise DataError(f"{_where(place, known)} should have the key of each {level}, and is a {kind}")


def _run(place: Path, value: Any, known: Mapping[str, str], settings: tuple[str, ...]) -> _Run:
    try:
        scores = np.atleast_1d(np.asarray(value, dtype=np.float64))
        seed = int(known.get("seed", "0"))
    except (TypeError, ValueError):
        raise DataError(f"{_where(place, known)} should be scores, and is none") from None
    if scores.ndim != 1:
        raise DataError(f"{_where(place, known)} should be the scores of one seed, and has more dimensions")
    return _Run(
        known.get("dataset", ""),
        known.get("algorithm", ""),
        "|".join(settings),
        known.get("phase", ""),
        seed,
        np.full(len(scores), -1, np.int64),
        scores,
    )


def _where(place: Path, known: Mapping[str, str]) -> str:
    return f"{place}: {', '.join(known.values()) or 'its content'}"


# -- text --------------------------------------------------------------------------------------------------


def _pattern(path: str) -> re.Pattern[str]:
    """A pattern of paths as a regular expression; no part reaches beyond its folder."""
    parts = re.split(r"(\{(?:algorithm|dataset|seed)\}|\*)", path)
    kinds = {"*": "[^/]*", "{seed}": r"(?P<seed>\d+)"}
    return re.compile(
        "".join(
            kinds.get(part, f"(?P<{part[1:-1]}>[^/_]+)" if part.startswith("{") else re.escape(part))
            for part in parts
        )
    )


def _parts(pattern: re.Pattern[str], path: str, place: Path) -> dict[str, str]:
    match = pattern.fullmatch(path)
    if match is None:
        raise DataError(f"{place / path} is not named as the source's pattern says")
    return match.groupdict()


def _csv(place: Path, columns: Mapping[str, str | int], known: Mapping[str, str]) -> Iterator[_Run]:
    """The runs of a file with a row per score."""
    names = ("dataset", "algorithm", "seed", "step", "score", "setting")
    try:
        lines = [line for line in csv.reader(io.StringIO(place.read_text(encoding="utf-8"))) if line]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{place} is no CSV file: {error}") from None
    positions = {name: at for name, at in columns.items() if isinstance(at, int)}
    if not positions:
        header = [text.strip() for text in lines.pop(0)] if lines else []
        headed = {name: str(columns.get(name, name)) for name in names if name not in known}
        positions = {name: header.index(text) for name, text in headed.items() if text in header}
    if missing := [n for n in ("dataset", "algorithm", "score") if n not in positions and n not in known]:
        raise DataError(f"{place} has no column for {' and '.join(missing)}")
    found: dict[tuple[str, str, str, int], list[tuple[int, float]]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            field = {**known, **{name: line[at].strip() for name, at in positions.items()}}
            key = (field["dataset"], field["algorithm"], field.get("setting", ""), int(field.get("seed", 0)))
            found.setdefault(key, []).append((int(field.get("step") or -1), float(field["score"])))
        except (IndexError, ValueError):
            raise DataError(f"{place}: record {number} has no number where it should have one") from None
    for (dataset, algorithm, setting, seed), rows in found.items():
        rows.sort(key=lambda row: row[0])
        steps = np.array([step for step, _ in rows], dtype=np.int64)
        scores = np.array([score for _, score in rows], dtype=np.float64)
        yield _Run(dataset, algorithm, setting, "", seed, steps, scores)


def _markdown(place: Path, sections: Mapping[str, str]) -> Arrays:
    """The cells ``mean ± std`` of a page's tables, below the headings that are named."""
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{place} is no text: {error}") from None
    which, header = "", list[str]()
    rows: list[tuple[str, str, str, float, float]] = []
    for line in lines:
        if heading := re.match(r"#+\s*(.*?)\s*$", line):
            level = len(line) - len(line.lstrip("#"))
            which = sections.get(heading[1], which if level > 2 else "")
            header = []
        elif which and line.startswith("|"):
            texts = [text.strip().strip("*") for text in line.strip().strip("|").split("|")]
            if not header:
                header = texts
            for algorithm, text in zip(header[1:], texts[1:], strict=False):
                if cell := _PRINTED.fullmatch(text):
                    rows.append((texts[0], algorithm, which, float(cell[1]), float(cell[2])))
    if not rows:
        raise DataError(f"{place} has no table of numbers below {' or '.join(sections)}")
    names = ("dataset", "algorithm", "which", "mean", "std")
    return {name: np.array([row[at] for row in rows]) for at, name in enumerate(names)}
