"""Statistics over a table's datasets as text, as JSON and as arrays for other programs."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.aggregates import METRICS
from harness.counting import count
from harness.errors import DataError
from harness.reports import wording
from harness.reports.grids import Grid, page
from harness.reports.wording import Note

if TYPE_CHECKING:
    from rich.console import Group

    from harness.analysis.comparison import Comparison
    from harness.analysis.intervals import Interval
    from harness.analysis.overall import Overall, Selection

_KINDS = {"runs": "Share of runs above a score", "means": "Share of datasets whose mean is above a score"}
_SHOWN_POINTS = 10  # every tenth threshold of a profile; JSON has all
_FROM_TABLE = ("Protocol", "Scores", "Data", "Environment", "Provenance", "Spec")


def grids(comparison: Comparison, found: Overall) -> Iterator[Grid]:
    """The tables, in the order shown."""
    labels = comparison.labels
    shown = list(found.selection.scores)
    metrics = [one.metric for one in found.aggregates[shown[0]]]
    yield Grid(
        ("Algorithm", *(wording.METRICS[metric] for metric in metrics)),
        [
            (labels[column], *(_with_ends(one.value, one.interval, 1) for one in found.aggregates[column]))
            for column in shown
        ],
        title="Aggregates",
    )
    if found.improvements:
        by_pair = {(one.better, one.than): one for one in found.improvements}

        def probability(better: str, than: str) -> str:
            one = by_pair.get((better, than))
            return _with_ends(one.probability, one.interval, 2) if one else wording.number(None)

        yield Grid(
            ("Algorithm", *(labels[column] for column in shown)),
            [(labels[better], *(probability(better, than) for than in shown)) for better in shown],
            title="Probability that the row's algorithm scores above the column's",
        )
    for which in range(2 if found.profiles else 0):
        chosen = {column: found.profiles[column][which] for column in shown}
        first = chosen[shown[0]]
        yield Grid(
            ("Score", *(labels[column] for column in shown)),
            [
                (
                    f"{first.thresholds[i]:g}",
                    *(
                        f"{one.shares[i]:.2f} [{one.low[i]:.2f}, {one.high[i]:.2f}]"
                        for one in chosen.values()
                    ),
                )
                for i in range(0, len(first.thresholds), _SHOWN_POINTS)
            ],
            title=_KINDS[first.kind],
        )


def _with_ends(value: float, interval: Interval, digits: int) -> str:
    value, low, high = (round(each, digits) + 0.0 for each in (value, interval.low, interval.high))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def notes(comparison: Comparison, found: Overall) -> tuple[Note, ...]:
    """What a reader needs to judge the numbers: what they rest on, how they were made, what is left out."""
    selection = found.selection
    metrics = [one.metric for one in next(iter(found.aggregates.values()))]
    lines = [
        Note(
            "Rests on",
            f"{count(len(selection.datasets), 'dataset')}, {count(len(selection.seeds), 'seed')}: "
            f"{', '.join(selection.datasets)}",
        ),
        *_left_out(selection),
        Note(
            "Definitions",
            "; ".join(f"{wording.METRICS[metric]}: {METRICS[metric]}" for metric in metrics)
            + (f" (threshold {found.threshold:g})" if "og" in metrics else ""),
        ),
    ]
    kinds: dict[str, dict[str, None]] = {}
    for one in (one for each in found.aggregates.values() for one in each):
        kinds.setdefault(_made(one.interval), {})[wording.METRICS[one.metric]] = None
    if found.improvements:
        kinds.setdefault(_made(found.improvements[0].interval), {})["probabilities (ties count half)"] = None
    for profile in next(iter(found.profiles.values()), ()):
        text = _how(profile.level, profile.method, profile.repetitions, profile.seed)
        kinds.setdefault(text, {})["profiles"] = None
    lines += [Note("Intervals", f"{', '.join(what)}: {how}") for how, what in kinds.items()]
    held = Counter(
        text
        for cell in comparison.cells
        if cell.row in selection.datasets and cell.column in selection.scores
        for text in cell.notes
        if not text.startswith("published")
    )
    lines += [Note("Cells", f"{text}: {count(number, 'cell')}") for text, number in held.items()]
    return (*lines, *(line for line in wording.notes(comparison) if line.title in _FROM_TABLE))


def _left_out(selection: Selection) -> Iterator[Note]:
    """A line for each reason."""
    held: dict[tuple[str, str], list[str]] = {}
    for one in selection.left_out:
        held.setdefault((one.kind, one.reason), []).append(one.id)
    for (kind, reason), ids in held.items():
        yield Note("Left out", f"{kind}{'s' if len(ids) > 1 else ''} {', '.join(ids)}: {reason}")


def _made(interval: Interval) -> str:
    return _how(interval.level, interval.method, interval.repetitions, interval.seed)


def _how(level: float, method: str, repetitions: int | None, seed: int | None) -> str:
    return f"{level:.0%} {method}, seeds resampled within each dataset, {repetitions} resamples, seed {seed}"


def markdown(comparison: Comparison, found: Overall) -> str:
    """A page of Markdown: warning, tables, notes."""
    title = f"{comparison.table.title}, over all datasets"
    return page(title, wording.warning(comparison), grids(comparison, found), notes(comparison, found))


def console(comparison: Comparison, found: Overall) -> Group:
    """The same for ``rich.print``."""
    from harness.reports import console

    drawn = [console.drawn(grid) for grid in grids(comparison, found)]
    return console.framed(comparison, drawn, notes(comparison, found))


def document(comparison: Comparison, found: Overall) -> dict[str, Any]:
    """Everything, as JSON values."""
    selection = found.selection
    return {
        "table": comparison.table.id,
        "version": comparison.table.version,
        "preset": comparison.preset,
        "label": comparison.label,
        "lineage": comparison.lineage,
        "incomparable": list(comparison.incomparable),
        "warning": wording.warning(comparison),
        "protocols": [protocol.model_dump(mode="json") for protocol in comparison.protocols],
        "datasets": list(selection.datasets),
        "seeds": list(selection.seeds),
        "left_out": [asdict(one) for one in selection.left_out],
        "scores": {column: scores.tolist() for column, scores in selection.scores.items()},
        "threshold": found.threshold,
        "aggregates": {column: [asdict(one) for one in each] for column, each in found.aggregates.items()},
        "leaders": {metric: sorted(columns) for metric, columns in found.leaders.items()},
        "improvements": [asdict(one) for one in found.improvements],
        "profiles": {column: [asdict(one) for one in each] for column, each in found.profiles.items()},
    }


def export(comparison: Comparison, found: Overall, path: Path) -> None:
    """Write the score matrices (seeds, datasets), in points, as an ``.npz`` file.

    Each column's is under its id. Names that begin with an underscore, which no id does, hold what they are:
    ``_datasets``, ``_seeds``, ``_table`` and ``_warning``.

    Raises:
        DataError: the file cannot be written.
    """
    selection = found.selection
    arrays = {
        "_datasets": np.array(selection.datasets),
        "_seeds": np.array(selection.seeds),
        "_table": np.array(comparison.table.id),
        "_warning": np.array(wording.warning(comparison)),
        **selection.scores,
    }
    try:
        # not numpy.savez, which takes names for arguments: a column may be called 'file'
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error
