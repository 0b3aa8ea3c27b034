"""The tables of the results database.

Raw returns are stored, never normalised scores. ``evaluation`` holds each evaluation's means, which is all
that tables need; the far more numerous rows of ``episode`` and ``metric`` are kept without a row id, so that
SQLite stores each once, in the order of its key.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from harness.errors import DataError
from harness.results.records import countable

#: Alembic revision that these models describe.
SCHEMA_VERSION: Final = "0002"

QUEUED: Final = "queued"
RUNNING: Final = "running"
FINISHED: Final = "finished"
FAILED: Final = "failed"
INTERRUPTED: Final = "interrupted"
STATUSES: Final = (QUEUED, RUNNING, FINISHED, FAILED, INTERRUPTED)

TRAINED: Final = "trained"
IMPORTED: Final = "imported"

#: What acting needs, and everything that an update changes.
POLICY: Final = "policy"
STATE: Final = "state"
GATHERED: Final = "gathered"


class Checked(TypeDecorator[Any]):
    """A column that gives what it should hold; SQLite itself stores any value in any column.

    Args:
        kind: what a value is, for messages.
        stored: the type of the column.
        read: a stored value -> the value; raises TypeError or ValueError where it is of another kind.
    """

    impl = TypeEngine
    cache_ok = True

    def __init__(self, kind: str, stored: TypeEngine[Any], read: Callable[[Any], Any]) -> None:
        super().__init__()
        self.kind, self.read = kind, read
        self.impl = stored  # type: ignore[assignment]  # of an instance it is one, of the class a class

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Turn an aware moment into naive UTC."""
        return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """Convert stored values.

        Raises:
            DataError: on reading a value that cannot be.
        """
        convert = super().result_processor(dialect, coltype)

        def read(value: Any) -> Any:
            try:
                return None if value is None else self.read(convert(value) if convert else value)
            except (TypeError, ValueError, RecursionError) as error:
                raise DataError(
                    f"the database holds {value!r:.60} for a {self.kind}; `harness db check` says where"
                ) from error

        return read


def _of(kind: type) -> Callable[[Any], Any]:
    """Holds a value to its kind."""

    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError
        return value

    return read


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise TypeError
    return value


def _countable(value: Any) -> float:
    if not countable(value):
        raise ValueError
    return float(value)


#: A moment, stored as UTC without a zone and read back with one.
TIMESTAMP: Final = Checked("timestamp", DateTime(), lambda moment: moment.replace(tzinfo=UTC))
OBJECT: Final = Checked("JSON object", JSON(), _of(dict))
TEXTS: Final = Checked("JSON object of texts", JSON(), _texts)
#: Of up to 64 bits.
WHOLE: Final = Checked("whole number", BigInteger(), _of(int))
NUMBER: Final = Checked("number", Float(53), float)
COUNTABLE: Final = Checked("number", Float(53), _countable)


class Base(DeclarativeBase):
    """Base of the tables; gives names to constraints so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class DatasetRow(Base):
    """A dataset's identity, and the content that was found under it at first use."""

    __tablename__ = "dataset"

    id: Mapped[int] = mapped_column(primary_key=True)
    identity_key: Mapped[str] = mapped_column(String(64), unique=True)
    identity: Mapped[dict[str, Any]] = mapped_column(OBJECT)
    content_hash: Mapped[str | None] = mapped_column(String(64))
    transitions: Mapped[int | None] = mapped_column(WHOLE)
    first_used: Mapped[datetime | None] = mapped_column(TIMESTAMP)


class ConfigurationRow(Base):
    """Everything about a run but its seed; ``dataset`` and ``lineage`` repeat the content's for queries."""

    __tablename__ = "configuration"
    __table_args__ = (Index(None, "algorithm", "dataset", "lineage"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    content: Mapped[dict[str, Any]] = mapped_column(OBJECT)
    algorithm: Mapped[str] = mapped_column(String(255))
    dataset: Mapped[str] = mapped_column(String(255))
    lineage: Mapped[str] = mapped_column(String(255))
    dataset_id: Mapped[int] = mapped_column(ForeignKey("dataset.id"))


class FingerprintRow(Base):
    """The fingerprint of what could move a score without being asked for: code, versions, device."""

    __tablename__ = "environment"

    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    fingerprint: Mapped[dict[str, str]] = mapped_column(TEXTS)


class RunRow(Base):
    """One seed of one configuration: its state, its lease and what it cost."""

    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint(f"status IN {STATUSES}", name="status"),
        CheckConstraint(f"origin IN {(TRAINED, IMPORTED)}", name="origin"),
        Index(None, "status"),
        Index(None, "configuration_id", "seed"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    configuration_id: Mapped[int] = mapped_column(ForeignKey("configuration.id"))
    seed: Mapped[int] = mapped_column(WHOLE)
    origin: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int]
    owner: Mapped[str | None] = mapped_column(String(255))
    heartbeat: Mapped[datetime | None] = mapped_column(TIMESTAMP)
    population: Mapped[str | None] = mapped_column(String(255))
    checkpoint: Mapped[str | None] = mapped_column(Text)
    checkpoint_step: Mapped[int | None] = mapped_column(WHOLE)
    step: Mapped[int | None] = mapped_column(WHOLE)  # last evaluated
    error: Mapped[str | None] = mapped_column(Text)
    failed_step: Mapped[int | None] = mapped_column(WHOLE)
    environment_id: Mapped[int | None] = mapped_column(ForeignKey("environment.id"))
    wall_seconds: Mapped[float | None] = mapped_column(COUNTABLE)
    device_seconds: Mapped[float | None] = mapped_column(COUNTABLE)
    created: Mapped[datetime] = mapped_column(TIMESTAMP)
    started: Mapped[datetime | None] = mapped_column(TIMESTAMP)
    finished: Mapped[datetime | None] = mapped_column(TIMESTAMP)


class EvaluationRow(Base):
    """The means of one evaluation; where only a mean was imported, 0 ``episodes`` and no ``mean_length``."""

    __tablename__ = "evaluation"
    __table_args__ = (UniqueConstraint("run_id", "step"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    step: Mapped[int] = mapped_column(WHOLE)
    mean_return: Mapped[float] = mapped_column(COUNTABLE)
    mean_length: Mapped[float | None] = mapped_column(COUNTABLE)
    episodes: Mapped[int]


class EpisodeRow(Base):
    """One episode of an evaluation: its raw return and its length in environment steps."""

    __tablename__ = "episode"
    __table_args__ = ({"sqlite_with_rowid": False},)

    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    raw_return: Mapped[float] = mapped_column(COUNTABLE)
    length: Mapped[int]


class MetricRow(Base):
    """A number that training reports beside scores. NaN is stored as NULL (SQLite knows no NaN)."""

    __tablename__ = "metric"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    step: Mapped[int] = mapped_column(WHOLE, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    value: Mapped[float | None] = mapped_column(NUMBER)


class ArtefactRow(Base):
    """A file that a finished run left in the folder of artefacts; ``name`` has no folder in it."""

    __tablename__ = "artefact"
    __table_args__ = (CheckConstraint(f"kind IN {(POLICY, STATE, GATHERED)}", name="kind"),)

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(WHOLE)
