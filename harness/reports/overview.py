"""The page over all tables of a database: verdicts, and scores by the commits that trained them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import files
from harness.errors import DataError
from harness.reports.page import rendered
from harness.results.records import commits, shortened

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison
    from harness.results.store import Store

NAME = "index.html"
_SIGN = "Reproduced with harness"  # what the page says of itself


@dataclass(frozen=True)
class Scored:
    """The scores of a column that were trained at one commit: their mean, and how many there are."""

    mean: float
    n: int


@dataclass(frozen=True)
class Commit:
    """What was trained at one commit.

    Attributes:
        name: of the commit, shortened; ``not recorded`` where no run says.
        date: the day on which the first of its runs finished, as ISO writes it; empty if none says.
        columns: for each column of the table, in order; None where nothing was trained.
    """

    name: str
    date: str
    columns: tuple[Scored | None, ...]


@dataclass(frozen=True)
class Entry:
    """A table on the page.

    Attributes:
        comparison: the table.
        link: to the table's own page.
        commits: by date.
    """

    comparison: Comparison
    link: str
    commits: tuple[Commit, ...]


def entry(comparison: Comparison, store: Store, link: str) -> Entry:
    """A table with the history of its scores.

    Args:
        comparison: the table.
        store: the database that it was compared with.
        link: to its own page.
    """
    states = store.runs([score.key for cell in comparison.cells for score in cell.scores])
    fingerprints = store.fingerprints({i for state in states.values() if (i := state.fingerprint_id)})
    scores: dict[str, dict[str, list[float]]] = {}
    dates: dict[str, str] = {}
    for cell in comparison.cells:
        for score in cell.scores:
            state = states[score.key]
            trained_at = commits(fingerprints.get(state.fingerprint_id or 0, {}))
            name = ", ".join(map(shortened, trained_at)) or "not recorded"
            scores.setdefault(name, {}).setdefault(cell.column, []).append(score.score)
            if state.finished:
                day = state.finished.date().isoformat()
                dates[name] = min(dates.get(name, day), day)
    columns = [column.id for column in comparison.columns]
    history = [
        Commit(name, dates.get(name, ""), tuple(_scored(found.get(column, ())) for column in columns))
        for name, found in scores.items()
    ]
    return Entry(comparison, link, tuple(sorted(history, key=lambda commit: (commit.date, commit.name))))


def _scored(scores: Sequence[float]) -> Scored | None:
    return Scored(statistics.fmean(scores), len(scores)) if scores else None


def write_overview(entries: Sequence[Entry], database: str, folder: Path) -> Path:
    """Write the page, whole or not at all.

    Args:
        entries: the tables.
        database: what to call the database.
        folder: where to.

    Returns:
        its path.

    Raises:
        DataError: another page lies there, or it cannot be written.
    """
    path = folder / NAME
    with files.explained(path):
        if path.exists() and _SIGN not in path.read_text(encoding="utf-8", errors="replace"):
            raise DataError(f"{path} is of no report; choose another folder with -o")
    page = rendered("overview.html.j2", entries=entries, database=database)
    with files.atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path
