"""Moving results between databases and files: merge, export, backup and import of scores."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import delete, insert, select, update

from harness import files
from harness.errors import DataError, HarnessError, SpecError
from harness.results import artefacts, schema
from harness.results.models import (
    FAILED,
    FINISHED,
    IMPORTED,
    INTERRUPTED,
    QUEUED,
    RUNNING,
    SCHEMA_VERSION,
    ConfigurationRow,
    DatasetRow,
    EpisodeRow,
    EvaluationRow,
    FingerprintRow,
    MetricRow,
    RunRow,
)
from harness.results.records import BEGINNING, LABEL, Artefact, RunRecord, countable, read_hyperparameter
from harness.results.rows import (
    Evaluation,
    by_key,
    chunks,
    insert_evaluations,
    insert_fingerprint,
    insert_many,
    insert_new,
    insert_runs,
    now,
    run_ids,
)
from harness.results.scores import ScoreRow, read_scores_csv
from harness.results.store import Metric, RunState, Store, persistent
from harness.specs.text import shown

__all__ = [
    "Conflict",
    "ImportReport",
    "ImportRow",
    "MergeReport",
    "ScoreRow",
    "backup",
    "export",
    "import_scores",
    "imported_without_source",
    "merge",
    "read_scores_csv",
]

# A run's state comes from the side that got further, see `_further`.
_RANK = {QUEUED: 0, INTERRUPTED: 1, RUNNING: 1, FAILED: 2, FINISHED: 3}


# -- merge -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conflict:
    """A number that two databases have differently for a run; ours is kept.

    Attributes:
        key: the run's key.
        algorithm: algorithm id.
        dataset: dataset id.
        seed: seed of the run.
        step: of the evaluation; `BEGINNING` for a value that the run read from others.
        what: 'mean return', or 'value read for HYPERPARAMETER'.
        ours: the number here.
        theirs: the number there.
    """

    key: str
    algorithm: str
    dataset: str
    seed: int
    step: int
    what: str
    ours: float
    theirs: float

    def __str__(self) -> str:
        return (
            f"{self.algorithm} on {self.dataset}, seed {self.seed}, step {self.step} (run {self.key[:12]}): "
            f"{self.what} {self.ours!r} here and {self.theirs!r} there"
        )


@dataclass(frozen=True)
class MergeReport:
    """What a merge did, run by run.

    Attributes:
        added: keys of runs that were new.
        updated: keys of runs that got evaluations or a later state.
        unchanged: keys of runs that had everything already.
        busy: keys of runs that are being trained into this database right now and were left alone.
        conflicts: first differing number of each run that was left alone for having one.
        files: how many artefacts were added.
        left: artefacts that were not, and why, a sentence each.
    """

    added: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]
    busy: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    files: int = 0
    left: tuple[str, ...] = ()


def merge(
    into: Store,
    other: str | Path,
    keys: Iterable[str] | None = None,
    home: Path | None = None,
    *,
    files: bool = True,
) -> MergeReport:
    """Add the runs of another database.

    New runs are copied; a run that both have gets what it lacks, unless a score differs, which leaves the
    whole run as it is. So does a value that it read from other runs, except that a run without a score here
    gives way to one there that is as far or further.

    Running runs arrive as ``interrupted``, since their process works on the other database, and checkpoints
    do not come along. The files that finished runs left do, where they are whole there and nothing of their
    kind is here. Each run is one transaction: a merge that was stopped is completed by doing it again.

    Args:
        into: the database to add to.
        other: path or URL of the other, which is only read.
        keys: of the runs to add; None for all.
        home: data folder, where servers' artefacts lie; None for the default.
        files: take along what finished runs left; without, the runs arrive as if they had left nothing.

    Raises:
        SchemaError: there is no such database, or it is of another schema version.
        DataError: it is the same database, one of both is not as this program writes them, or both have a
            dataset of the same identity with different content; nothing is written.
    """
    with Store.open(other) as source:
        if _same(into, source):
            raise DataError(f"{source.location} is the database to merge into; give another one")
        for store in (source, into):
            store.require_genuine()
        _merge_datasets(into, source)
        outcome: dict[str, list[str]] = {"added": [], "updated": [], "unchanged": [], "busy": []}
        conflicts: list[Conflict] = []
        files_added, left = 0, list[str]()
        for chunk in chunks(source.runs(keys).values(), 100):
            keys = [run.key for run in chunk]
            ours, theirs = into.runs(keys), source.evaluations(keys)
            recorded = into.evaluations(keys)
            read, read_there = into.metrics(keys, steps=[BEGINNING]), source.metrics(keys, steps=[BEGINNING])
            for run in chunk:
                mine = ours.get(run.key)
                here, there = recorded[run.key], theirs[run.key]
                adds = mine is None or _adds(run, mine, here, there)
                other_value = _other_value(run, read[run.key], read_there[run.key])
                gives_way = mine is not None and not here and _RANK[run.status] >= _RANK[mine.status]
                conflict = _conflict(run, here, there)
                if other_value is not None and ((here and there) or (adds and not gives_way)):
                    conflict = other_value
                if conflict is not None:
                    conflicts.append(conflict)
                elif mine is not None and mine.alive:
                    outcome["busy"].append(run.key)
                elif adds:
                    copied = _copy_run(into, source, run, mine, there, anew=other_value is not None)
                    outcome["busy" if not copied else "added" if mine is None else "updated"].append(run.key)
                else:
                    outcome["unchanged"].append(run.key)
            if files:
                alike = set(keys) - {conflict.key for conflict in conflicts} - set(outcome["busy"])
                added, why_not = _merge_artefacts(into, source, alike, home)
                files_added += added
                left += why_not
    named = {name: tuple(keys) for name, keys in outcome.items()}
    return MergeReport(**named, conflicts=tuple(conflicts), files=files_added, left=tuple(left))


def _merge_artefacts(
    into: Store, source: Store, keys: Iterable[str], home: Path | None
) -> tuple[int, list[str]]:
    """Add what these runs left there and not here; how many files, and why others were not added."""
    theirs, ours = source.artefacts(keys), into.artefacts(keys)
    folders = source.location.folder("artefacts", home), into.location.folder("artefacts", home)
    added: dict[str, list[Artefact]] = {}
    left = []
    for key, found in theirs.items():
        for kind, artefact in found.items():
            mine = ours.get(key, {}).get(kind)
            if mine is not None and (mine != artefact or artefacts.problem(folders[1], mine) is None):
                continue
            if wrong := artefacts.copy(artefact, *folders):
                left.append(f"run {key}: its {kind} there {wrong}")
            elif mine is None:
                added.setdefault(key, []).append(artefact)
    into.add_artefacts(added)
    return sum(map(len, added.values())), left


def _adds(run: RunState, mine: RunState, ours: Sequence[Evaluation], theirs: Sequence[Evaluation]) -> bool:
    """Whether the other database got further with a run, or evaluated it at other steps."""
    known = {evaluation.step for evaluation in ours}
    return _further(run, mine) or any(evaluation.step not in known for evaluation in theirs)


def _further(one: RunState, other: RunState) -> bool:
    """Whether a run's state on one side is to replace the other's.

    Of a failure and unfinished work it is that which got beyond the other; at the same step the failure.
    """
    for failed, unfinished in ((one, other), (other, one)):
        if failed.status == FAILED and unfinished.status in (INTERRUPTED, RUNNING):
            beyond = (unfinished.step or 0) > (failed.failed_step or 0)
            return beyond == (one is unfinished)
    return _RANK[one.status] > _RANK[other.status]


def _same(one: Store, other: Store) -> bool:
    if one.location.path is not None and other.location.path is not None:
        return one.location.path.samefile(other.location.path)
    return one.location.url == other.location.url


def _conflict(run: RunState, ours: Sequence[Evaluation], theirs: Sequence[Evaluation]) -> Conflict | None:
    known = {evaluation.step: evaluation for evaluation in ours}
    for evaluation in theirs:
        mine = known.get(evaluation.step, evaluation)
        if mine != evaluation:
            return Conflict(
                run.key,
                run.algorithm,
                run.dataset,
                run.seed,
                evaluation.step,
                "mean return",
                mine.mean_return,
                evaluation.mean_return,
            )
    return None


def _other_value(run: RunState, ours: Sequence[Metric], theirs: Sequence[Metric]) -> Conflict | None:
    """The first value that a run read from other runs and that both databases have differently."""
    known = {metric.name: metric.value for metric in ours}
    for name, value in ((metric.name, metric.value) for metric in theirs):
        if known.get(name, value) != value:
            what = f"value read for {read_hyperparameter(name)}"
            place = (run.key, run.algorithm, run.dataset, run.seed, BEGINNING)
            return Conflict(*place, what, known[name], value)
    return None


@persistent
def _merge_datasets(into: Store, source: Store) -> None:
    columns = (
        DatasetRow.identity_key,
        DatasetRow.identity,
        DatasetRow.content_hash,
        DatasetRow.transitions,
        DatasetRow.first_used,
    )
    with source.reading() as connection:
        datasets = [dict(row._mapping) for row in connection.execute(select(*columns))]
    with into.writing() as connection:
        insert_new(connection, DatasetRow, datasets)
        for theirs in datasets:
            if theirs["content_hash"] is None:
                continue
            same = DatasetRow.identity_key == theirs["identity_key"]
            connection.execute(
                update(DatasetRow)
                .where(same, DatasetRow.content_hash.is_(None))
                .values({name: theirs[name] for name in ("content_hash", "transitions", "first_used")})
            )
            ours = connection.execute(select(DatasetRow.content_hash).where(same)).scalar_one()
            if ours != theirs["content_hash"]:
                identity = theirs["identity"]
                raise DataError(
                    f"dataset {identity.get('id')} ({identity.get('lineage')}) has content "
                    f"{str(ours)[:12]} in {into.location} and {theirs['content_hash'][:12]} in "
                    f"{source.location}; their scores cannot share a database"
                )


@persistent
def _copy_run(
    into: Store,
    source: Store,
    run: RunState,
    mine: RunState | None,
    evaluations: Sequence[Evaluation],
    *,
    anew: bool,
) -> bool:
    """Copy what the other database has of a run, in the place of what is here if `anew`.

    Returns:
        False, and nothing written, if it changed meanwhile.
    """
    with source.reading() as read, into.writing() as write:
        now_there = write.execute(select(RunRow.status, RunRow.attempt).where(RunRow.key == run.key)).first()
        seen = None if mine is None else (mine.status, mine.attempt)
        if (None if now_there is None else tuple(now_there)) != seen:
            return False
        if mine is None:
            content = read.execute(
                select(ConfigurationRow.content).where(ConfigurationRow.key == run.configuration_key)
            ).scalar_one()
            record = RunRecord(run.key, run.configuration_key, content, run.seed)
            insert_runs(write, {run.key: record}, {"origin": run.origin, "status": QUEUED})
        ids = run_ids(write, [run.key])
        if anew:
            write.execute(delete(MetricRow).where(MetricRow.run_id == ids[run.key]))
        if mine is None or anew or _further(run, mine):
            environment = None
            if run.fingerprint_id is not None:
                environment = insert_fingerprint(
                    write,
                    read.execute(
                        select(FingerprintRow.fingerprint).where(FingerprintRow.id == run.fingerprint_id)
                    ).scalar_one(),
                )
            write.execute(
                update(RunRow)
                .where(RunRow.key == run.key)
                .values(
                    status=INTERRUPTED if run.status == RUNNING else run.status,
                    environment_id=environment,
                    owner=None,
                    heartbeat=None,
                    checkpoint=None,
                    checkpoint_step=None,
                    **{
                        name: getattr(run, name)
                        for name in (
                            "attempt",
                            "population",
                            "error",
                            "failed_step",
                            "wall_seconds",
                            "device_seconds",
                            "created",
                            "started",
                            "finished",
                        )
                    },
                )
            )
        new = insert_evaluations(write, ids, {run.key: evaluations})
        episodes = read.execute(
            select(EvaluationRow.step, EpisodeRow.number, EpisodeRow.raw_return, EpisodeRow.length)
            .join(EvaluationRow, EvaluationRow.id == EpisodeRow.evaluation_id)
            .join(RunRow, RunRow.id == EvaluationRow.run_id)
            .where(RunRow.key == run.key)
        )
        insert_many(
            write,
            insert(EpisodeRow),
            (
                {
                    "evaluation_id": new[run.key, episode.step],
                    "number": episode.number,
                    "raw_return": episode.raw_return,
                    "length": episode.length,
                }
                for episode in episodes
                if (run.key, episode.step) in new
            ),
        )
        metrics = read.execute(
            select(MetricRow.step, MetricRow.name, MetricRow.value)
            .join(RunRow, RunRow.id == MetricRow.run_id)
            .where(RunRow.key == run.key)
        )
        insert_new(write, MetricRow, ({"run_id": ids[run.key], **metric._mapping} for metric in metrics))
    return True


# -- export and backup -------------------------------------------------------------------------------------


def backup(store: Store, path: Path, warn: Callable[[str], None] = lambda _: None) -> None:
    """Copy a SQLite database that may be in use to a file that is whole or not there, and its artefacts.

    Args:
        store: the database.
        path: where nothing is yet.
        warn: told of each artefact that the copy goes without, a sentence.

    Raises:
        HarnessError: the database is not SQLite.
        DataError: something is there already, or the copy cannot be written.
    """
    if store.location.path is None:
        raise HarnessError(
            f"{store.location} is not a SQLite file; back it up with that database's own tools"
        )
    schema.copy_sqlite(store.location.path, path)
    with Store.open(path) as copied:
        folders = store.location.folder("artefacts"), copied.location.folder("artefacts")
        for key, found in copied.artefacts().items():
            for kind, artefact in found.items():
                if wrong := artefacts.copy(artefact, *folders):
                    warn(f"run {key}: its {kind} {wrong}")


def export(store: Store, path: Path, warn: Callable[[str], None] = lambda _: None) -> int:
    """Write all results to a file, in the format of its suffix.

    ``.csv`` has one row for each evaluation, with raw returns; cells that a spreadsheet would take for a
    formula begin with an apostrophe. ``.json`` has one object for each run, with its configuration,
    environment, evaluations, the values that it read from other runs (``resolved``) and the files that it
    left (``artefacts``). ``.db`` is a copy of the SQLite database and of these files, see `backup`. An
    existing ``.csv`` or ``.json`` is replaced, an existing ``.db`` is not.

    Returns:
        the number of runs written.

    Raises:
        HarnessError: the suffix is none of these.
        DataError: the file cannot be written, or is the database itself.
    """
    writers: dict[str, Callable[[Store, TextIO], int]] = {".csv": _write_csv, ".json": _write_json}
    suffix = path.suffix.lower()
    if suffix == ".db":
        backup(store, path, warn)
        return store.count()
    if suffix not in writers:
        raise HarnessError(f"{path}: results are exported as .csv, .json or .db; give the file one of these")
    if store.location.path is not None and path.exists() and path.samefile(store.location.path):
        raise DataError(f"{path} is the database itself; export to another file")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            written = writers[suffix](store, file)
        files.publish(partial, path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return written


def _write_csv(store: Store, file: TextIO) -> int:
    """Write a row for each evaluation; the number of runs that have one."""
    writer = csv.writer(file)
    writer.writerow(
        (
            "dataset",
            "lineage",
            "algorithm",
            "seed",
            "step",
            "mean_return",
            "mean_length",
            "episodes",
            "status",
            "origin",
            "environment",
            "configuration",
            "run",
        )
    )
    written = 0
    for run, evaluations in _runs(store):
        written += bool(evaluations)
        for evaluation in evaluations:
            cells = (
                run.dataset,
                run.lineage,
                run.algorithm,
                run.seed,
                *evaluation,
                run.status,
                run.origin,
                run.fingerprint_id,
                run.configuration_key,
                run.key,
            )
            writer.writerow([_harmless(cell) if isinstance(cell, str) else cell for cell in cells])
    return written


def _harmless(text: str) -> str:
    """A cell that no spreadsheet runs as a formula."""
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def _write_json(store: Store, file: TextIO) -> int:
    """Write an object for each run; their number."""
    contents, environments = _contents(store)
    read = {
        key: {read_hyperparameter(metric.name): metric.value for metric in metrics}
        for key, metrics in store.metrics(store.runs(), steps=[BEGINNING]).items()
    }
    left = store.artefacts()
    runs = [
        {
            "key": run.key,
            "seed": run.seed,
            "origin": run.origin,
            "status": run.status,
            "error": run.error,
            "configuration_key": run.configuration_key,
            "environment": run.fingerprint_id,
            "population": run.population,
            "wall_seconds": run.wall_seconds,
            "device_seconds": run.device_seconds,
            "resolved": read.get(run.key, {}),
            "artefacts": {kind: file._asdict() for kind, file in left.get(run.key, {}).items()},
            "evaluations": [evaluation._asdict() for evaluation in evaluations],
        }
        for run, evaluations in _runs(store)
    ]
    document = {
        "schema_version": SCHEMA_VERSION,
        "configurations": contents,
        "environments": environments,
        "runs": runs,
    }
    json.dump(document, file, indent=1, ensure_ascii=False, allow_nan=False)
    file.write("\n")
    return len(runs)


@persistent
def _contents(store: Store) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, str]]]:
    """Configurations by their keys, and fingerprints by their row ids."""
    with store.reading() as connection:
        configurations = connection.execute(select(ConfigurationRow.key, ConfigurationRow.content))
        fingerprints = connection.execute(select(FingerprintRow.id, FingerprintRow.fingerprint))
        return (
            {row.key: row.content for row in configurations},
            {str(row.id): row.fingerprint for row in fingerprints},
        )


def _runs(store: Store) -> Iterator[tuple[RunState, list[Evaluation]]]:
    for chunk in chunks(store.runs().values()):
        evaluations = store.evaluations(run.key for run in chunk)
        for run in chunk:
            yield run, evaluations[run.key]


# -- import ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImportRow:
    """A score of a file, the run that it belongs to, and the raw mean return that it stands for."""

    score: ScoreRow
    record: RunRecord
    mean_return: float


@dataclass(frozen=True)
class ImportReport:
    """Numbers of evaluations that an import added, and that were there already with the same score."""

    added: int
    unchanged: int


def imported_without_source(store: Store, path: Path, source: str | None = None) -> bool:
    """Whether a file's scores were imported before sources were kept: it has the name or content of one then.

    Args:
        store: the database.
        path: the file.
        source: where its scores are said to come from now; its name tells nothing then.

    Raises:
        DataError: the file cannot be read.
    """
    found = [fingerprint for fingerprint in store.imported() if "source" not in fingerprint]
    names = set() if source else {fingerprint.get("file") for fingerprint in found}
    return path.name in names or _sha256(path) in {fingerprint.get("sha256") for fingerprint in found}


@persistent
def import_scores(store: Store, rows: Sequence[ImportRow], path: Path) -> ImportReport:
    """Add scores that were measured elsewhere, as finished runs of origin ``imported``.

    They stand beside the runs trained here and never in their place. All rows are added or none;
    importing a file again changes nothing.

    Args:
        store: the database.
        rows: the rows of a file (see `read_scores_csv`), joined with what they are scores of.
        path: the file, whose name and hash, with what it says of a run, become the run's environment.

    Raises:
        SpecError: a score is beyond what can be computed with; ``file:line`` is where.
        DataError: a score was imported before with another value, or the file cannot be read.
    """
    content = _sha256(path)
    lines = {(row.record.key, row.score.step): row for row in rows}
    by_run: dict[str, list[ImportRow]] = {}
    for row in rows:
        if not countable(row.mean_return):
            raise SpecError(f"{shown(path)}:{row.score.line}: score: {row.score.score!r} is too large")
        by_run.setdefault(row.record.key, []).append(row)
    means = {
        key: [Evaluation(row.score.step, row.mean_return, None, 0) for row in some]
        for key, some in by_run.items()
    }
    with store.writing() as connection:
        moment = now(connection)
        for fingerprint, records in _by_fingerprint(by_run, {"file": path.name, "sha256": content}).items():
            environment = insert_fingerprint(connection, dict(fingerprint))
            insert_runs(
                connection,
                records,
                {"origin": IMPORTED, "status": FINISHED, "environment_id": environment, "finished": moment},
            )
        added = insert_evaluations(connection, run_ids(connection, by_run), means)
        statement = select(RunRow.key, EvaluationRow.step, EvaluationRow.mean_return).join(
            EvaluationRow, EvaluationRow.run_id == RunRow.id
        )
        for stored in by_key(connection, statement, by_run):
            given = lines.get((stored.key, stored.step))
            if given is not None and given.mean_return != stored.mean_return:
                score = given.score
                raise DataError(
                    f"{path}:{score.line}: {score.algorithm} on {score.dataset}, seed {score.seed}, step "
                    f"{score.step} was imported before with mean return {stored.mean_return!r}, which is "
                    f"{given.mean_return!r} here; correct the file, or name another --source"
                )
    return ImportReport(len(added), len(lines) - len(added))


def _sha256(path: Path) -> str:
    try:
        return files.sha256(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _by_fingerprint(
    by_run: Mapping[str, Sequence[ImportRow]], file: Mapping[str, str]
) -> dict[tuple[tuple[str, str], ...], dict[str, RunRecord]]:
    """The runs by what is known of their environment: file, source, and labels that all their rows have."""
    found: dict[tuple[tuple[str, str], ...], dict[str, RunRecord]] = {}
    for key, rows in by_run.items():
        record = rows[0].record
        labels = set.intersection(*({*row.score.labels} for row in rows))
        fingerprint = {
            "origin": IMPORTED,
            **file,
            **{f"{LABEL}{name}": text for name, text in sorted(labels)},
        }
        if "source" in record.configuration:
            fingerprint["source"] = record.configuration["source"]
        found.setdefault(tuple(fingerprint.items()), {})[key] = record
    return found
