"""Accepting results: a new baseline for `harness.analysis.drift`, and a line in the log of scores."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness import escaping, files
from harness.analysis.incomparable import why_incomparable
from harness.analysis.measurements import Measurements, measure
from harness.errors import DataError, HarnessError, IncompleteError
from harness.reports import wording
from harness.results import provenance, transfer
from harness.results.records import commits, shortened
from harness.results.store import Store

if TYPE_CHECKING:
    from harness.planning.cells import ResolvedTable
    from harness.specs import Lineage

LOG_NAME = "score-log.md"
_HEADER = (
    "# Score log\n\nWhat was accepted as a baseline, when and why. A mean is over the cells that the "
    "baseline has (their number in brackets). Brackets behind a table's id say why its scores are not "
    "comparable with the paper's.\n\n"
    "| Date | Table | Commit | Trained at | Reason | Mean score, before -> after |\n"
    "| --- | --- | --- | --- | --- | --- |\n"
)


@dataclass(frozen=True)
class Means:
    """A column's mean score over its cells in a baseline, and the number of these cells."""

    mean: float
    cells: int

    def __str__(self) -> str:
        return f"{wording.number(self.mean)} ({self.cells})"


@dataclass(frozen=True)
class Acceptance:
    """What was accepted.

    Attributes:
        table: id of the table.
        preset: id of the preset, or None.
        lineage: of the data trained on.
        incomparable: why the scores are not comparable with the paper's: other data, another protocol or
            environment; empty if those are the table's.
        baseline: the new baseline.
        log: the log of scores.
        accepted: number of cells taken from the results.
        kept: number of cells kept from the baseline that was there before.
        before: column label -> its mean in the old baseline.
        after: column label -> its mean in the new one.
        commit: of the code, ``none`` outside a checkout.
        reason: why.
    """

    table: str
    preset: str | None
    lineage: Lineage
    incomparable: tuple[str, ...]
    baseline: Path
    log: Path
    accepted: int
    kept: int
    before: dict[str, Means]
    after: dict[str, Means]
    commit: str
    reason: str


def accept(
    chosen: ResolvedTable,
    whole: ResolvedTable,
    store: Store,
    reason: str,
    baseline: Path,
    log: Path,
    command: Callable[[str], str] = "harness {} TABLE".format,
) -> Acceptance:
    """Make the finished runs of a table the new baseline.

    The baseline is a database with the runs behind the scores of the chosen cells. Of a baseline that is
    there already, the table's other cells are kept; runs that the table no longer asks for are not. The
    file is whole or as it was before.

    Args:
        chosen: the cells to accept; those without a score are left as they are.
        whole: the same table with all its cells.
        store: the results to accept.
        reason: why, for the log.
        baseline: the file to write.
        log: Markdown file that gets a line.
        command: from a verb to its command line, for advice.

    Raises:
        HarnessError: no reason is given, or the code is not as committed.
        IncompleteError: nothing of the cells is measured.
        SchemaError: the baseline that is there is no database of this schema version.
        DataError: a file cannot be read or written.
    """
    reason = " ".join(reason.split())
    if not reason:
        raise HarnessError("a baseline is accepted for a reason; say which by --reason TEXT")
    commit = provenance.committed()
    if store.location.path and baseline.exists() and baseline.samefile(store.location.path):
        raise DataError(f"{baseline} is the results database itself; give another file by --baseline")
    found = measure(chosen, store, {})
    accepted = {key: item for key, item in found.cells.items() if item.scores}
    if not accepted:
        raise IncompleteError(
            f"nothing of {chosen.table.id} is measured in {store.location}, so there is nothing to accept; "
            f"`{command('reproduce')}` measures it"
        )
    keys = {score.key for item in accepted.values() for score in item.scores}
    try:
        baseline.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{baseline.name}.", dir=baseline.parent) as folder:
            fresh = Path(folder) / baseline.name
            before, kept = _build(Path(folder), fresh, whole, store, keys, set(accepted), baseline)
            with Store.open(fresh) as new:
                after = measure(whole, new, {})
            acceptance = Acceptance(
                table=chosen.table.id,
                preset=chosen.preset.id if chosen.preset else None,
                lineage=chosen.lineage,
                incomparable=why_incomparable([item.cell for item in accepted.values()]),
                baseline=baseline,
                log=log,
                accepted=len(accepted),
                kept=kept,
                before=_means(whole, before) if before else {},
                after=_means(whole, after),
                commit=commit,
                reason=reason,
            )
            lines = log.read_text(encoding="utf-8") if log.exists() else _HEADER
            log.parent.mkdir(parents=True, exist_ok=True)
            partial = log.with_name(f".{log.name}.{os.getpid()}.partial")
            try:
                partial.write_text(lines + line(acceptance, _trained_at(found)), encoding="utf-8")
                files.publish(fresh, baseline)
                files.publish(partial, log)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{error.filename or baseline} cannot be written: {error.strerror}") from error
    return acceptance


def _build(
    folder: Path,
    fresh: Path,
    whole: ResolvedTable,
    store: Store,
    keys: set[str],
    accepted: set[tuple[str, str]],
    baseline: Path,
) -> tuple[Measurements | None, int]:
    """Write the new baseline; what the old one has, and how many of its cells are kept."""
    before, kept = None, 0
    draft = folder / "draft.db"
    with Store.open(draft, create=True) as new:
        transfer.merge(new, _address(store), keys, files=False)  # a baseline is one file
        if baseline.exists():
            with Store.open(baseline) as old:
                before = measure(whole, old, {})
            others = [item for key, item in before.cells.items() if key not in accepted and item.scores]
            kept = len(others)
            # columns may share runs: of those just accepted, a merge keeps the new scores
            if older := {score.key for item in others for score in item.scores}:
                transfer.merge(new, baseline, older, files=False)
        # a copy in one file, without the log that a database being written has beside it
        transfer.backup(new, fresh)
    return before, kept


def _address(store: Store) -> Path | str:
    return store.location.path or store.location.url.render_as_string(hide_password=False)


def _means(whole: ResolvedTable, measurements: Measurements) -> dict[str, Means]:
    """Column label -> mean over its cells with a score."""
    means = {}
    for column in whole.table.columns:
        known = [
            item.mean
            for (_, name), item in measurements.cells.items()
            if name == column.id and item.mean is not None
        ]
        if known:
            means[column.label] = Means(statistics.fmean(known), len(known))
    return means


def _trained_at(measurements: Measurements) -> str:
    """The commits that the scores were trained at."""
    behind = {
        measurements.states[score.key].fingerprint_id
        for item in measurements.cells.values()
        for score in item.scores
    }
    known = [measurements.fingerprints[number] for number in behind if number is not None]
    found = {commit for fingerprint in known for commit in commits(fingerprint) or ["imported"]}
    return ", ".join(sorted(map(shortened, found))) or "not recorded"


def line(acceptance: Acceptance, trained_at: str) -> str:
    """The log's line on an acceptance: a row of a Markdown table.

    Args:
        acceptance: what was accepted.
        trained_at: the commits that its scores were trained at.
    """
    moves = ", ".join(
        f"{label} {acceptance.before.get(label, wording.number(None))} -> {mean}"
        for label, mean in acceptance.after.items()
    )
    reasons = f" ({'; '.join(acceptance.incomparable)})" if acceptance.incomparable else ""
    parts = (
        datetime.now(UTC).date().isoformat(),
        f"{acceptance.table}{reasons}",
        shortened(acceptance.commit),
        trained_at,
        acceptance.reason,
        moves,
    )
    return f"| {' | '.join(map(escaping.markdown, parts))} |\n"
