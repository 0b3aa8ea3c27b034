"""What can be wrong with a results database, each said in one sentence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    String,
    UniqueConstraint,
    and_,
    cast,
    false,
    func,
    inspect,
    or_,
    select,
)

from harness import files
from harness.errors import DataError
from harness.results.models import (
    COUNTABLE,
    FAILED,
    FINISHED,
    OBJECT,
    RUNNING,
    STATUSES,
    TEXTS,
    TIMESTAMP,
    TRAINED,
    Base,
    ConfigurationRow,
    DatasetRow,
    EpisodeRow,
    EvaluationRow,
    FingerprintRow,
    RunRow,
)
from harness.results.records import LARGEST, canonical, digest, run_key
from harness.results.rows import by_key
from harness.specs import Protocol
from harness.specs.models import Gather

# Means are recomputed by the database, in another order of summation.
_TOLERANCE = 1e-9


def problems(connection: Connection) -> Iterator[str]:
    """All that is wrong with a database."""
    found = False
    for problem in forgeries(connection):
        found = True
        yield problem
    if not found:  # what is below takes all tables for what they should be
        for key, steps in unevaluated(connection).items():
            yield (
                f"run {key} is finished and lacks the evaluations at {_listed(steps)}; "
                "`harness retry` with its table queues it again"
            )


def forgeries(connection: Connection) -> Iterator[str]:
    """Whatever shows that this program did not write the database as it is.

    Damage, another structure, values of another kind, keys of other content, contradictions. What one of
    these finds may be beyond the next.
    """
    for look in (_damage, _structure, _values, _keys, _contradictions):
        found = False
        for problem in look(connection):
            found = True
            yield problem
        if found:
            return


def unevaluated(connection: Connection, keys: Iterable[str] | None = None) -> dict[str, list[int]]:
    """Steps at which runs trained here should have been evaluated by now and were not, by key.

    Args:
        connection: a transaction.
        keys: of runs that are about to be finished; None for all that are.

    Raises:
        DataError: a configuration's protocol is none.
    """
    # the keys are read twice
    keys = None if keys is None else list(keys)
    runs = select(RunRow.key, RunRow.configuration_id).where(RunRow.origin == TRAINED).order_by(RunRow.id)
    if keys is None:
        runs = runs.where(RunRow.status == FINISHED)
    evaluations = select(RunRow.key, EvaluationRow.step).join(RunRow, RunRow.id == EvaluationRow.run_id)
    done: defaultdict[str, set[int]] = defaultdict(set)
    for key, step in by_key(connection, evaluations, keys):
        done[key].add(step)
    planned: dict[int, list[int]] = {}
    missing = {}
    for key, configuration in by_key(connection, runs, keys):
        if configuration not in planned:
            content = select(ConfigurationRow.content).where(ConfigurationRow.id == configuration)
            planned[configuration] = _evaluations(connection.execute(content).scalar_one_or_none() or {})
        if steps := [step for step in planned[configuration] if step not in done[key]]:
            missing[key] = steps
    return missing


def _evaluations(configuration: Mapping[str, Any]) -> list[int]:
    """The steps at which runs of a configuration are evaluated."""
    if "protocol" not in configuration:
        return []
    try:
        protocol = Protocol.model_construct(**configuration["protocol"])
        gather = protocol.gather and Gather.model_construct(**configuration["protocol"]["gather"])
        return list(protocol.model_copy(update={"gather": gather}).evaluations())
    except (AssertionError, AttributeError, TypeError, ValueError) as error:
        raise DataError(f"a configuration's protocol is none: {configuration['protocol']!r:.100}") from error


def _listed(steps: list[int]) -> str:
    more = f" and {len(steps) - 3} more" if len(steps) > 3 else ""
    return f"{', '.join(map(str, steps[:3]))}{more}"


def _damage(connection: Connection) -> Iterator[str]:
    """Pages that SQLite cannot read, and rows that refer to rows that are not there."""
    if connection.dialect.name != "sqlite":
        return
    for (line,) in connection.exec_driver_sql("PRAGMA integrity_check"):
        if line != "ok":
            yield f"SQLite's integrity check: {line}"
    for table, _, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"a row of {table} refers to a row of {parent} that does not exist"


def _structure(connection: Connection) -> Iterator[str]:
    """Tables, columns and keys that are missing, and what changes or replaces tables behind this program."""
    inspector = inspect(connection)
    tables, views = inspector.get_table_names(), inspector.get_view_names()
    for table in Base.metadata.sorted_tables:
        if table.name not in tables:
            yield f"table {table.name} is {'a view' if table.name in views else 'missing'}"
            continue
        there = {column["name"] for column in inspector.get_columns(table.name)}
        for name in sorted(set(table.columns.keys()) - there):
            yield f"table {table.name} lacks the column {name}"
        unique = [set(found["column_names"]) for found in inspector.get_unique_constraints(table.name)]
        unique.append(set(inspector.get_pk_constraint(table.name)["constrained_columns"]))
        for constraint in table.constraints:
            names = {column.name for column in getattr(constraint, "columns", ())}
            if (constraint is table.primary_key or isinstance(constraint, UniqueConstraint)) and (
                names not in unique
            ):
                yield f"table {table.name} may hold {', '.join(sorted(names))} twice"
    triggers = (
        "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'"
        if connection.dialect.name == "sqlite"
        else "SELECT trigger_name, event_object_table FROM information_schema.triggers "
        "WHERE trigger_schema = current_schema()"
    )
    for name, changed in connection.exec_driver_sql(triggers):
        yield f"a trigger, {name}, changes what is written to {changed}"


def _values(connection: Connection) -> Iterator[str]:
    """Numbers out of range, and values of another kind than their column's, which SQLite alone keeps."""
    sqlite = connection.dialect.name == "sqlite"
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            wrong = or_(_is_out_of_range(column), _is_of_another_kind(column) if sqlite else false())
            others = select(func.count()).select_from(table).where(wrong)
            if count := connection.execute(others).scalar_one():
                yield f"{count} rows of {table.name} have a {column.name} that is none"
            elif sqlite and (column.type in (OBJECT, TEXTS, TIMESTAMP) or isinstance(column.type, String)):
                yield from _unreadable(connection, column)


def _kind(column: Column[Any]) -> type:
    kind: type = getattr(column.type, "impl_instance", column.type).python_type
    return kind


def _is_of_another_kind(column: Column[Any]) -> ColumnElement[bool]:
    kinds = {int: ("integer",), float: ("real", "integer")}.get(_kind(column), ("text",))
    return func.typeof(column).not_in((*kinds, *(("null",) if column.nullable else ())))


def _is_out_of_range(column: Column[Any]) -> ColumnElement[bool]:
    if _kind(column) is int:  # all whole numbers count something
        return column < 0
    return func.abs(column) > LARGEST if column.type is COUNTABLE else false()


def _unreadable(connection: Connection, column: Column[Any]) -> Iterator[str]:
    convert = column.type.dialect_impl(connection.dialect).result_processor(connection.dialect, None)
    for stored in connection.execute(select(cast(column, LargeBinary)).distinct()).scalars():
        try:
            text = None if stored is None else stored.decode()
            if convert:  # texts have none
                convert(text)
        except (DataError, UnicodeDecodeError) as error:
            yield f"{column.table.name}.{column.name}: {error}"


def _keys(connection: Connection) -> Iterator[str]:
    """Rows whose key is another content's: keys are hashes, and can be computed again."""
    identities = {}
    for row in connection.execute(select(DatasetRow.id, DatasetRow.identity_key, DatasetRow.identity)):
        identities[row.id] = row.identity_key
        if _digest(row.identity) != row.identity_key:
            yield f"dataset {row.identity.get('id')} has the key of another identity"
    for row in connection.execute(select(FingerprintRow.id, FingerprintRow.hash, FingerprintRow.fingerprint)):
        if _digest(row.fingerprint) != row.hash:
            yield f"fingerprint {row.id} has the hash of another content"
    texts, with_source = {}, set()
    configurations = select(*ConfigurationRow.__table__.columns)
    for row in connection.execute(configurations):
        if _digest(row.content) != row.key:
            yield f"configuration {row.key} has the key of another content"
            continue
        texts[row.id] = canonical(row.content)
        if "source" in row.content:
            with_source.add(row.id)
        dataset = row.content.get("dataset")
        said = [row.content.get("algorithm"), *(dict(dataset or {}).get(name) for name in ("id", "lineage"))]
        filed = [row.algorithm, row.dataset, row.lineage]
        if said != filed or _digest(dataset) != identities.get(row.dataset_id):
            yield f"configuration {row.key} is filed under another algorithm or dataset than it is of"
    runs = select(RunRow.key, RunRow.origin, RunRow.configuration_id, RunRow.seed).order_by(RunRow.id)
    for key, origin, configuration, seed in connection.execute(runs):
        if configuration not in texts:
            continue
        its_own = run_key(texts[configuration], seed) == key
        # imported before sources were kept: by a key that the configuration alone does not give
        if its_own != (origin == TRAINED or configuration in with_source):
            yield f"run {key} has the key of another configuration, seed or origin"


def _digest(value: Any) -> str | None:
    try:
        return digest(value)
    except (RecursionError, ValueError):  # too deep, or NaN, which no key is made of
        return None


def _contradictions(connection: Connection) -> Iterator[str]:
    """Runs that do not agree with themselves."""
    last = (
        select(func.max(EvaluationRow.step))
        .where(EvaluationRow.run_id == RunRow.id)
        .correlate(RunRow)
        .scalar_subquery()
    )
    for condition, problem in (
        (RunRow.status.not_in(STATUSES), "has a status that is none"),
        (RunRow.step.is_distinct_from(last), "was last evaluated at another step than its state says"),
        (
            and_(RunRow.status == RUNNING, or_(RunRow.owner.is_(None), RunRow.heartbeat.is_(None))),
            "is running and has no owner",
        ),
        (and_(RunRow.status == FAILED, RunRow.error.is_(None)), "has failed and does not say why"),
        (or_(RunRow.wall_seconds < 0, RunRow.device_seconds < 0), "took less than no time"),
    ):
        for key in connection.execute(select(RunRow.key).where(condition).order_by(RunRow.id)).scalars():
            yield f"run {key} {problem}"
    for key, name in connection.execute(select(RunRow.key, RunRow.checkpoint).order_by(RunRow.id)):
        if name is not None and not files.is_name(name):
            yield f"run {key} names a checkpoint that is no file's name"
    silent = (
        select(RunRow.key, ConfigurationRow.content)
        .join(ConfigurationRow, ConfigurationRow.id == RunRow.configuration_id)
        .where(RunRow.status == FINISHED, last.is_(None))
    )
    for key, configuration in connection.execute(silent.order_by(RunRow.id)):
        if "protocol" not in configuration or _evaluations(configuration):
            yield f"run {key} is finished and has no evaluation"
    yield from _unlike_their_episodes(connection)


def _unlike_their_episodes(connection: Connection) -> Iterator[str]:
    """Evaluations whose means are not those of their episodes."""
    found = (
        select(
            EpisodeRow.evaluation_id,
            func.count().label("episodes"),
            func.avg(EpisodeRow.raw_return).label("mean_return"),
            func.avg(EpisodeRow.length).label("mean_length"),
        )
        .group_by(EpisodeRow.evaluation_id)
        .subquery()
    )
    wrong = (
        select(RunRow.key, EvaluationRow.step, EvaluationRow.episodes, found.c.episodes.label("stored"))
        .join(RunRow, RunRow.id == EvaluationRow.run_id)
        .outerjoin(found, found.c.evaluation_id == EvaluationRow.id)
        .where(
            or_(
                func.coalesce(found.c.episodes, 0) != EvaluationRow.episodes,
                and_(RunRow.origin == TRAINED, EvaluationRow.episodes == 0),
                func.abs(EvaluationRow.mean_return - found.c.mean_return)
                > _TOLERANCE * (1 + func.abs(found.c.mean_return)),
                func.abs(EvaluationRow.mean_length - found.c.mean_length)
                > _TOLERANCE * (1 + func.abs(found.c.mean_length)),
            )
        )
        .order_by(RunRow.id, EvaluationRow.step)
    )
    for run in connection.execute(wrong):
        yield (
            f"run {run.key}, step {run.step}: the evaluation says {run.episodes} episodes, "
            f"{run.stored or 0} are stored"
            + (", and the means are not theirs" if run.episodes == run.stored else "")
        )
