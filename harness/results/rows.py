"""Statements that the store and the transfers share. Each works within its caller's transaction."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias, TypeVar

from sqlalchemy import Connection, Insert, Row, Select, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import sqlite

from harness.results.models import (
    ArtefactRow,
    Base,
    ConfigurationRow,
    DatasetRow,
    EvaluationRow,
    FingerprintRow,
    RunRow,
)
from harness.results.records import Artefact, RunRecord, digest

_CHUNK = 500

T = TypeVar("T")
Statement: TypeAlias = "Select[*tuple[Any, ...]]"
Line: TypeAlias = "Row[*tuple[Any, ...]]"


class Evaluation(NamedTuple):
    """One evaluation: means over its episodes of raw return and of length in environment steps.

    ``episodes`` is 0 and ``mean_length`` None where a mean was imported without its episodes.
    """

    step: int
    mean_return: float
    mean_length: float | None
    episodes: int


def now(connection: Connection) -> datetime:
    """This moment in UTC, by the database's own clock: those of the machines that use it may differ."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)


def chunks(items: Iterable[T], size: int = _CHUNK) -> Iterator[list[T]]:
    """Lists that are short enough for one statement."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def by_key(connection: Connection, statement: Statement, keys: Iterable[str] | None) -> Iterator[Line]:
    """Rows of a statement about runs, of these keys only unless None; grouping happens within chunks."""
    if keys is None:
        yield from connection.execute(statement)
    else:
        for chunk in chunks(keys):
            yield from connection.execute(statement.where(RunRow.key.in_(chunk)))


def insert_many(connection: Connection, statement: Insert, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert any number of rows, a bounded number in memory at a time."""
    for chunk in chunks(rows, 10_000):
        connection.execute(statement, chunk)


def insert_new(connection: Connection, table: type[Base], rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows, leaving those that are there already (by any unique key) as they are."""
    insert_many(connection, _ignoring(connection, table), rows)


def _ignoring(connection: Connection, table: type[Base]) -> Insert:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import postgresql  # takes long to import, and few need it

    return postgresql.insert(table).on_conflict_do_nothing()


def run_ids(connection: Connection, keys: Iterable[str]) -> dict[str, int]:
    """Row ids of runs by key; unknown keys are left out."""
    return {row.key: row.id for row in by_key(connection, select(RunRow.key, RunRow.id), keys)}


def insert_runs(connection: Connection, records: Mapping[str, RunRecord], values: Mapping[str, Any]) -> int:
    """Insert runs that are not there yet, with their configurations and datasets.

    Args:
        connection: a writing transaction.
        records: what the runs are, by the key to insert them under.
        values: further columns, the same for all.

    Returns:
        the number of runs inserted.
    """
    known = run_ids(connection, records)
    new = {key: record for key, record in records.items() if key not in known}
    configurations = _insert_configurations(
        connection, {record.configuration_key: record.configuration for record in new.values()}
    )
    moment = now(connection)
    insert_new(
        connection,
        RunRow,
        [
            {
                "key": key,
                "configuration_id": configurations[record.configuration_key],
                "seed": record.seed,
                "attempt": 0,
                "created": moment,
                **values,
            }
            for key, record in sorted(new.items())  # one order everywhere, so that no two wait for each other
        ],
    )
    return len(new)


def _insert_configurations(
    connection: Connection, contents: Mapping[str, Mapping[str, Any]]
) -> dict[str, int]:
    """Insert configurations that are not there yet, with their datasets.

    Args:
        connection: a writing transaction.
        contents: configuration key -> the configuration.

    Returns:
        configuration key -> row id, for all given.
    """
    ids = _ids(connection, ConfigurationRow, ConfigurationRow.key, contents)
    new = {key: content for key, content in contents.items() if key not in ids}
    identities = {digest(content["dataset"]): content["dataset"] for content in new.values()}
    insert_new(
        connection,
        DatasetRow,
        [{"identity_key": key, "identity": identities[key]} for key in sorted(identities)],
    )
    datasets = _ids(connection, DatasetRow, DatasetRow.identity_key, identities)
    insert_new(
        connection,
        ConfigurationRow,
        [
            {
                "key": key,
                "content": content,
                "algorithm": content["algorithm"],
                "dataset": content["dataset"]["id"],
                "lineage": content["dataset"]["lineage"],
                "dataset_id": datasets[digest(content["dataset"])],
            }
            for key, content in sorted(new.items())
        ],
    )
    return ids | _ids(connection, ConfigurationRow, ConfigurationRow.key, new)


def _ids(connection: Connection, table: Any, column: Any, keys: Iterable[str]) -> dict[str, int]:
    return {
        key: row
        for chunk in chunks(keys)
        for key, row in connection.execute(select(column, table.id).where(column.in_(chunk)))
    }


def insert_artefacts(
    connection: Connection, runs: Mapping[str, int], artefacts: Mapping[str, Sequence[Artefact]]
) -> None:
    """Insert what runs left, in the place of earlier files of the same kinds.

    Args:
        connection: a writing transaction.
        runs: run key -> row id.
        artefacts: run key -> its files.
    """
    rows = [
        {"run_id": runs[key], **artefact._asdict()} for key, found in artefacts.items() for artefact in found
    ]
    for row in rows:
        same = (ArtefactRow.run_id == row["run_id"], ArtefactRow.kind == row["kind"])
        connection.execute(delete(ArtefactRow).where(*same))
    insert_many(connection, insert(ArtefactRow), rows)


def insert_fingerprint(connection: Connection, fingerprint: Mapping[str, str]) -> int:
    """The row id of a fingerprint, inserted if it is new."""
    key = digest(fingerprint)
    insert_new(connection, FingerprintRow, [{"hash": key, "fingerprint": dict(fingerprint)}])
    return connection.execute(select(FingerprintRow.id).where(FingerprintRow.hash == key)).scalar_one()


def insert_evaluations(
    connection: Connection, runs: Mapping[str, int], means: Mapping[str, Sequence[Evaluation]]
) -> dict[tuple[str, int], int]:
    """Insert evaluations that are not there yet and move the runs' last evaluated steps on.

    Args:
        connection: a writing transaction.
        runs: run key -> row id.
        means: run key -> evaluations.

    Returns:
        (run key, step) -> row id, of those inserted.
    """
    rows = [
        {"run_id": runs[key], **evaluation._asdict()}
        for key, evaluations in means.items()
        for evaluation in evaluations
    ]
    if not rows:
        return {}
    before = _evaluation_ids(connection, runs, rows)
    insert_new(connection, EvaluationRow, rows)
    connection.execute(
        update(RunRow)
        .where(
            RunRow.id == bindparam("run"),
            func.coalesce(RunRow.step, -1) < bindparam("last"),
        )
        .values(step=bindparam("last")),
        [
            {"run": runs[key], "last": max(evaluation.step for evaluation in evaluations)}
            for key, evaluations in means.items()
            if evaluations
        ],
    )
    after = _evaluation_ids(connection, runs, rows)
    return {evaluation: row for evaluation, row in after.items() if evaluation not in before}


def _evaluation_ids(
    connection: Connection, runs: Mapping[str, int], rows: list[dict[str, Any]]
) -> dict[tuple[str, int], int]:
    steps = [row["step"] for row in rows]
    statement = (
        select(RunRow.key, EvaluationRow.step, EvaluationRow.id)
        .join(RunRow, RunRow.id == EvaluationRow.run_id)
        .where(EvaluationRow.step.between(min(steps), max(steps)))
    )
    return {(key, step): row for key, step, row in by_key(connection, statement, runs)}
