"""Reading and writing results: the only place that knows the tables.

Every method is one transaction (large reads and registrations aside, which go in chunks inside one). Writing
on behalf of a run asks that this process holds the run's lease, so a process that was taken for dead and
wakes up again cannot write beside its successor.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, NamedTuple, ParamSpec, Self, TypeVar

from sqlalchemy import Connection, Update, case, delete, func, insert, literal, select, update

from harness.errors import DataError, masked
from harness.results import leases, schema
from harness.results.checks import forgeries, problems, unevaluated
from harness.results.leases import LeaseLostError
from harness.results.models import (
    FAILED,
    FINISHED,
    IMPORTED,
    INTERRUPTED,
    QUEUED,
    RUNNING,
    TIMESTAMP,
    TRAINED,
    ArtefactRow,
    ConfigurationRow,
    DatasetRow,
    EpisodeRow,
    EvaluationRow,
    FingerprintRow,
    MetricRow,
    RunRow,
)
from harness.results.records import Artefact, EvaluationRecord, RunRecord, countable, digest
from harness.results.rows import (
    Evaluation,
    Line,
    by_key,
    chunks,
    insert_artefacts,
    insert_evaluations,
    insert_fingerprint,
    insert_many,
    insert_new,
    insert_runs,
    now,
    run_ids,
)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class RunState:
    """What the database knows of a run, its scores aside.

    Attributes:
        key: the run's key.
        configuration_key: key of its configuration.
        algorithm: algorithm id.
        dataset: dataset id.
        lineage: lineage of the dataset.
        seed: seed of the run.
        origin: ``trained`` here, or ``imported`` from a file of scores.
        status: ``queued``, ``running``, ``finished``, ``failed`` or ``interrupted``.
        alive: whether it is held under a lease that has not run out; a running run that is not alive is
            stale, and the next `Store.claim` takes it over.
        step: last evaluated step, None before the first evaluation.
        attempt: how often it was claimed.
        owner: process that holds it or, if it is interrupted, held it, ``host:pid:start``.
        heartbeat: when the owner was last heard of.
        population: name of the population that it trained in last.
        checkpoint: name of the last checkpoint.
        checkpoint_step: step of that checkpoint.
        error: traceback, if it failed; of a finished run, if training it again for its state failed.
        failed_step: step at which it failed, if known.
        fingerprint_id: row of the fingerprint that it trained under, see `Store.fingerprints`.
        wall_seconds: wall time of the training.
        device_seconds: its share of the device's time.
        created: when it was registered.
        started: when it was first claimed.
        finished: when it finished.
    """

    key: str
    configuration_key: str
    algorithm: str
    dataset: str
    lineage: str
    seed: int
    origin: str
    status: str
    alive: bool
    step: int | None
    attempt: int
    owner: str | None
    heartbeat: datetime | None
    population: str | None
    checkpoint: str | None
    checkpoint_step: int | None
    error: str | None
    failed_step: int | None
    fingerprint_id: int | None
    wall_seconds: float | None
    device_seconds: float | None
    created: datetime
    started: datetime | None
    finished: datetime | None

    @property
    def held(self) -> bool:
        """Whether a process trains it, or did until it died; also a finished run, again, for its state."""
        return self.status == RUNNING or (self.status == FINISHED and self.owner is not None)

    @property
    def over(self) -> bool:
        """Whether it has finished or failed, and nobody trains it again."""
        return self.status in (FINISHED, FAILED) and not self.held


# What a run that was never begun does not have
_AS_NEW = dict.fromkeys(
    (
        "owner",
        "heartbeat",
        "population",
        "checkpoint",
        "checkpoint_step",
        "step",
        "error",
        "failed_step",
        "environment_id",
        "wall_seconds",
        "device_seconds",
        "started",
    )
)


#: Statuses of runs that a process may hold; a finished one is trained again for its state.
_HELD = (RUNNING, FINISHED)
_FREE: dict[str, None] = {"owner": None, "heartbeat": None}


class Metric(NamedTuple):
    """One number that training reported; may be NaN or infinite."""

    step: int
    name: str
    value: float


#: Seconds for which a lost connection to a server is tried again.
RECONNECT_SECONDS = 300.0


class _Repeating(threading.local):
    """Whether this thread does a transaction again, not knowing whether it was committed."""

    yes = False


def persistent(method: Callable[Concatenate[Store, P], T]) -> Callable[Concatenate[Store, P], T]:
    """A method of one transaction, done again where the connection was lost: `RECONNECT_SECONDS` at most.

    A function may be one, too, whose first argument is the store.
    """

    @functools.wraps(method)
    def call(self: Store, /, *args: P.args, **options: P.kwargs) -> T:
        given: Any = [list(value) if isinstance(value, Iterator) else value for value in args]

        def ask() -> T:
            try:
                return method(self, *given, **options)
            except schema.ConnectionLostError:
                self._repeating.yes = True
                raise

        try:
            return schema.answered(ask, RECONNECT_SECONDS, self.tell)
        finally:
            self._repeating.yes = False

    return call


class Store:
    """An open results database; a context manager.

    Threads may share it, processes may not: a forked child opens its own.

    Attributes:
        location: the database.
        owner: name under which runs are claimed.
        tell: called with what a person should know, as that a server does not answer for now; says it on
            stderr where nobody sets another.
    """

    def __init__(self, location: schema.Location, *, owner: str | None, lease_seconds: float) -> None:
        self.location = location
        self.owner = owner or leases.owner_id()
        self._lease = timedelta(seconds=lease_seconds)
        self._reader = schema.engine(location, writing=False)
        self._writer = schema.engine(location, writing=True)
        self._pid = os.getpid()
        self._repeating = _Repeating()
        self.tell: Callable[[str], None] = schema.say

    @classmethod
    def open(
        cls,
        url: str | Path,
        create: bool = False,
        *,
        owner: str | None = None,
        lease_seconds: float = leases.LEASE_SECONDS,
        command: str = "harness reproduce TABLE",
    ) -> Self:
        """Open a database of this program's schema version.

        Args:
            url: path of a SQLite file, or any SQLAlchemy URL.
            create: create it if it is not there; any number of processes may do so at once.
            owner: name under which runs are claimed; this process's by default.
            lease_seconds: seconds without a heartbeat after which a run may be taken over.
            command: what would create it, for advice.

        Raises:
            SchemaError: it is not there, of another schema version, or something else.
            DataError: it cannot be read.
        """
        location = schema.Location.parse(url)
        schema.ensure(location, create=create, command=command)
        return cls(location, owner=owner, lease_seconds=lease_seconds)

    def close(self) -> None:
        """Close all connections."""
        self._reader.dispose()
        self._writer.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database.

        Raises:
            DataError: the database cannot be read.
        """
        self._check_process()
        with schema.explained(self.location), self._reader.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed at the end, or rolled back by an exception.

        Raises:
            HarnessError: another process kept the database locked.
            DataError: the database cannot be written.
        """
        self._check_process()
        with schema.explained(self.location), self._writer.begin() as connection:
            yield connection

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("a Store does not survive a fork; open another in the child")

    # -- what runs there are ------------------------------------------------------------------------------

    @persistent
    def register(self, records: Iterable[RunRecord]) -> int:
        """Add runs as ``queued``; runs that are there already stay as they are.

        Returns:
            the number of runs added.

        Raises:
            HarnessError: see `writing`.
        """
        with self.writing() as connection:
            return insert_runs(
                connection, {record.key: record for record in records}, {"origin": TRAINED, "status": QUEUED}
            )

    @persistent
    def record_dataset(self, identity: Mapping[str, Any], content_hash: str, transitions: int) -> None:
        """Record what was found under a dataset's identity, at first use.

        Args:
            identity: the ``dataset`` part of the configurations that use it.
            content_hash: hash of the transitions.
            transitions: their number.

        Raises:
            DataError: other content was recorded under that identity; nothing is written.
        """
        key = digest(identity)
        with self.writing() as connection:
            insert_new(connection, DatasetRow, [{"identity_key": key, "identity": dict(identity)}])
            connection.execute(
                update(DatasetRow)
                .where(DatasetRow.identity_key == key, DatasetRow.content_hash.is_(None))
                .values(content_hash=content_hash, transitions=transitions, first_used=now(connection))
            )
            recorded = connection.execute(
                select(DatasetRow.content_hash, DatasetRow.transitions, DatasetRow.first_used).where(
                    DatasetRow.identity_key == key
                )
            ).one()
            if recorded.content_hash != content_hash:
                raise DataError(
                    f"dataset {identity.get('id')} ({identity.get('lineage')}) has content hash "
                    f"{content_hash[:12]} ({transitions} transitions), but {self.location} recorded "
                    f"{recorded.content_hash[:12]} ({recorded.transitions} transitions) under that name at "
                    f"first use on {recorded.first_used:%Y-%m-%d}; restore that data, or use another database"
                )

    # -- leases -------------------------------------------------------------------------------------------

    @persistent
    def claim(self, keys: Iterable[str], again: Collection[str] = ()) -> list[str]:
        """Take runs to train: those queued or interrupted, and those held whose owner is dead.

        Args:
            keys: the runs.
            again: those of them that may be finished, and are trained again for the state that they end with.
                They stay finished, with all that was measured, whatever becomes of this.

        Returns:
            the keys obtained, in the order given; no two processes obtain the same.

        Raises:
            HarnessError: see `writing`.
        """
        keys = list(dict.fromkeys(keys))
        statement = (
            select(RunRow.key, RunRow.status, RunRow.owner, RunRow.heartbeat)
            .where(RunRow.status.in_((QUEUED, INTERRUPTED, RUNNING, FINISHED)))
            .order_by(RunRow.key)
            .with_for_update()
        )
        with self.writing() as connection:
            alive = self._judge(connection)
            obtained = [
                run.key
                for run in by_key(connection, statement, sorted(keys))
                if (run.status != FINISHED or run.key in again)
                and (run.status not in _HELD or not alive(run) or self._repeats(run))
            ]
            moment = now(connection)
            for chunk in chunks(obtained):
                connection.execute(
                    update(RunRow)
                    .where(RunRow.key.in_(chunk))
                    .values(
                        status=case((RunRow.status == FINISHED, FINISHED), else_=RUNNING),
                        owner=self.owner,
                        heartbeat=moment,
                        attempt=RunRow.attempt + 1,
                        started=func.coalesce(RunRow.started, literal(moment, TIMESTAMP)),
                    )
                )
        held = set(obtained)
        return [key for key in keys if key in held]

    @persistent
    def heartbeat(self, keys: Iterable[str]) -> None:
        """Say that this process still works on these runs.

        Raises:
            LeaseLostError: some are not this process's any more; the others' leases are renewed.
        """
        with self.writing() as connection:
            lost = self._renew(connection, keys)
        if lost:
            raise LeaseLostError(lost)

    @persistent
    def release(self, keys: Iterable[str]) -> None:
        """Give back unfinished runs, as ``interrupted``; those no longer held are left as they are."""
        with self.writing() as connection:
            for chunk in chunks(sorted(keys)):
                held = self._held(chunk)
                connection.execute(held.where(RunRow.status == RUNNING).values(status=INTERRUPTED))
                connection.execute(held.where(RunRow.status == FINISHED).values(**_FREE))

    @persistent
    def set_free(self, keys: Iterable[str]) -> int:
        """Take runs from whoever holds them, alive or not: that is for a person to say.

        They go on from their checkpoints. A process that holds one after all is told when it next writes.

        Returns:
            the number of runs that somebody held.
        """
        freed = 0
        with self.writing() as connection:
            for chunk in chunks(sorted(keys)):
                held = update(RunRow).where(RunRow.key.in_(chunk), RunRow.owner.is_not(None))
                for status, values in ((RUNNING, {"status": INTERRUPTED, **_FREE}), (FINISHED, _FREE)):
                    freed += connection.execute(held.where(RunRow.status == status).values(**values)).rowcount
        return freed

    @persistent
    def finish(
        self,
        keys: Iterable[str],
        wall_seconds: float,
        device_seconds: float,
        artefacts: Mapping[str, Sequence[Artefact]] | None = None,
    ) -> None:
        """Mark runs as finished; of those that were trained again, only what they leave is written.

        Args:
            keys: the runs.
            wall_seconds: wall time of each run's training.
            device_seconds: each run's share of the device's time.
            artefacts: run key -> the files that it left, in the place of earlier ones of their kinds.

        Raises:
            LeaseLostError: some are not this process's any more; nothing is written.
        """
        with self._holding(keys, ended=FINISHED) as (connection, held):
            insert_artefacts(connection, run_ids(connection, held), artefacts or {})
            for chunk in chunks(held):
                ended = self._held(chunk).values(**_FREE, error=None, failed_step=None)
                connection.execute(ended.where(RunRow.status == FINISHED))
                connection.execute(
                    ended.where(RunRow.status == RUNNING).values(
                        status=FINISHED,
                        finished=now(connection),
                        wall_seconds=wall_seconds,
                        device_seconds=device_seconds,
                    )
                )

    @persistent
    def add_artefacts(self, artefacts: Mapping[str, Sequence[Artefact]]) -> None:
        """Record files that finished runs left elsewhere; runs that are not finished here, or held, get none.

        Args:
            artefacts: run key -> its files, in the place of earlier ones of their kinds.
        """
        with self.writing() as connection:
            free = select(RunRow.key, RunRow.id).where(RunRow.status == FINISHED, RunRow.owner.is_(None))
            ids = {row.key: row.id for row in by_key(connection, free, artefacts)}
            insert_artefacts(connection, ids, {key: artefacts[key] for key in ids})

    @persistent
    def fail(self, key: str, step: int | None, traceback: str) -> None:
        """Mark a run as failed; it is trained again only after `retry`.

        A run that had finished and was trained again stays finished, and says why it has no state.

        Args:
            key: the run.
            step: step at which it failed, if known.
            traceback: what happened.

        Raises:
            LeaseLostError: it is not this process's any more; nothing is written.
        """
        with self._holding([key], ended=FAILED) as (connection, held):
            connection.execute(
                self._held(held).values(
                    **_FREE,
                    status=case((RunRow.status == FINISHED, FINISHED), else_=FAILED),
                    failed_step=step,
                    error=masked(traceback),
                )
            )

    @persistent
    def retry(self, keys: Iterable[str]) -> int:
        """Queue failed runs again, and finished ones that lack evaluations, as if they had never been begun.

        What the failed attempt left goes: a checkpoint may hold what failed, and scores of two attempts must
        not mix in one run. Of a finished run that failed when it was trained again, that alone is forgotten.

        Returns:
            the number of runs that were failed or lacked evaluations.
        """
        with self.reading() as connection:
            incomplete = unevaluated(connection)
        return self._begin_anew(keys, lambda run: run.status == FAILED or run.key in incomplete)

    @persistent
    def restart(self, keys: Iterable[str]) -> int:
        """Queue unfinished runs as if they had never been begun: evaluations and metrics are deleted.

        Finished runs, and runs that a living process trains, stay as they are. Checkpoints are files; see
        `harness.execution.restart.restart`.

        Returns:
            the number of runs queued.
        """
        with self.reading() as connection:
            alive = self._judge(connection)
        return self._begin_anew(
            keys, lambda run: run.status != FINISHED and (run.status != RUNNING or not alive(run))
        )

    def _begin_anew(self, keys: Iterable[str], chosen: Callable[[Line], bool]) -> int:
        statement = select(RunRow.id, RunRow.key, RunRow.status, RunRow.owner, RunRow.heartbeat)
        keys = sorted(set(keys))
        with self.writing() as connection:
            runs = [run.id for run in by_key(connection, statement, keys) if chosen(run)]
            again = 0
            for chunk in chunks(keys):
                once_more = update(RunRow).where(
                    RunRow.key.in_(chunk), RunRow.status == FINISHED, RunRow.error.is_not(None)
                )
                again += connection.execute(once_more.values(error=None, failed_step=None)).rowcount
            for chunk in chunks(runs):
                evaluations = select(EvaluationRow.id).where(EvaluationRow.run_id.in_(chunk))
                connection.execute(delete(EpisodeRow).where(EpisodeRow.evaluation_id.in_(evaluations)))
                connection.execute(delete(EvaluationRow).where(EvaluationRow.run_id.in_(chunk)))
                connection.execute(delete(MetricRow).where(MetricRow.run_id.in_(chunk)))
                connection.execute(delete(ArtefactRow).where(ArtefactRow.run_id.in_(chunk)))
                connection.execute(
                    update(RunRow).where(RunRow.id.in_(chunk)).values(status=QUEUED, **_AS_NEW)
                )
        return len(runs) + again

    def _held(self, keys: Sequence[str]) -> Update:
        return update(RunRow).where(
            RunRow.key.in_(keys), RunRow.status.in_(_HELD), RunRow.owner == self.owner
        )

    def _renew(self, connection: Connection, keys: Iterable[str]) -> list[str]:
        """Renew the leases that this process holds; the keys that it does not hold."""
        lost: list[str] = []
        for chunk in chunks(sorted(keys)):
            mine = select(RunRow.key).where(
                RunRow.key.in_(chunk), RunRow.status.in_(_HELD), RunRow.owner == self.owner
            )
            # locked in one order, so that no two processes wait for each other
            held = connection.execute(mine.order_by(RunRow.key).with_for_update()).scalars().all()
            connection.execute(self._held(held).values(heartbeat=now(connection)))
            lost += sorted(set(chunk) - set(held))
        return lost

    @contextlib.contextmanager
    def _holding(
        self, keys: Iterable[str], ended: str | None = None
    ) -> Iterator[tuple[Connection, list[str]]]:
        """A writing transaction on behalf of runs that this process must hold; renews their leases.

        Args:
            keys: the runs.
            ended: the status that the transaction gives to runs: those that have it, although the connection
                broke before that was known, are left out.
        """
        held = list(dict.fromkeys(keys))
        with self.writing() as connection:
            if ended and self._repeating.yes:
                done = select(RunRow.key).where(RunRow.status == ended, RunRow.owner.is_(None))
                held = [key for key in held if key not in {row.key for row in by_key(connection, done, held)}]
            # First of all, so that a server locks these rows against a takeover until the commit
            if lost := self._renew(connection, held):
                raise LeaseLostError(lost)
            yield connection, held

    def _judge(self, connection: Connection) -> _Judge:
        return _Judge(now(connection), self._lease)

    def _repeats(self, run: Line) -> bool:
        """Whether a run is this process's by a claim whose answer was lost with the connection."""
        return bool(self._repeating.yes and run.owner == self.owner)

    # -- what training reports ----------------------------------------------------------------------------

    @persistent
    def record_fingerprint(
        self, keys: Iterable[str], fingerprint: Mapping[str, str], population: str
    ) -> None:
        """Record what runs train under, before they do; of finished ones, what they trained under stays.

        Args:
            keys: the runs.
            fingerprint: see `harness.results.provenance.fingerprint`.
            population: name of the population that they train in.

        Raises:
            LeaseLostError: some are not this process's any more; nothing is written.
        """
        with self._holding(keys) as (connection, held):
            row = insert_fingerprint(connection, fingerprint)
            for chunk in chunks(held):
                connection.execute(self._held(chunk).values(population=population))
                running = self._held(chunk).where(RunRow.status == RUNNING)
                connection.execute(running.values(environment_id=row))

    @persistent
    def record_checkpoint(self, keys: Iterable[str], name: str, step: int) -> None:
        """Record the checkpoint that runs can go on from.

        Args:
            keys: the runs.
            name: name of the checkpoint.
            step: step of the training that it holds.

        Raises:
            LeaseLostError: some are not this process's any more; nothing is written.
        """
        with self._holding(keys) as (connection, held):
            for chunk in chunks(held):
                connection.execute(self._held(chunk).values(checkpoint=name, checkpoint_step=step))

    @persistent
    def record_evaluations(self, records: Sequence[EvaluationRecord]) -> None:
        """Record evaluations in one transaction; an evaluation that is there already stays as it is.

        Args:
            records: raw returns and lengths of the episodes of each evaluation.

        Raises:
            ValueError: an evaluation has no episodes, not as many lengths as returns, or a return that is
                not finite (such a run has diverged: `fail` it); nothing is written.
            LeaseLostError: some runs are not this process's any more; nothing is written.
        """
        given: dict[tuple[str, int], EvaluationRecord] = {}
        means: dict[str, list[Evaluation]] = {record.key: [] for record in records}
        for record in records:
            if given.setdefault((record.key, record.step), record) is record:
                means[record.key].append(_means(record))
        with self._holding(means) as (connection, held):
            new = insert_evaluations(connection, run_ids(connection, held), means)
            insert_many(
                connection,
                insert(EpisodeRow),
                (
                    {
                        "evaluation_id": row,
                        "number": number,
                        "raw_return": float(value),
                        "length": int(length),
                    }
                    for evaluation, row in new.items()
                    for number, (value, length) in enumerate(
                        zip(given[evaluation].returns, given[evaluation].lengths, strict=True)
                    )
                ),
            )

    @persistent
    def record_metrics(self, step: int, values: Mapping[str, Mapping[str, float]]) -> None:
        """Record numbers that training reports beside scores; one that is there already stays as it is.

        Args:
            step: step of the training.
            values: run key -> name -> value; NaN and infinities are welcome.

        Raises:
            LeaseLostError: some runs are not this process's any more; nothing is written.
        """
        with self._holding(values) as (connection, held):
            ids = run_ids(connection, held)
            insert_new(
                connection,
                MetricRow,
                [
                    {
                        "run_id": ids[key],
                        "step": step,
                        "name": name,
                        "value": None if math.isnan(value) else float(value),
                    }
                    for key, metrics in values.items()
                    for name, value in metrics.items()
                ],
            )

    # -- reading ------------------------------------------------------------------------------------------

    def held(self, keys: Iterable[str]) -> dict[str, RunState]:
        """The state of those of some runs that a process holds."""
        return {key: state for key, state in self.runs(keys).items() if state.held}

    @persistent
    def runs(self, keys: Iterable[str] | None = None) -> dict[str, RunState]:
        """The state of runs, in the order given; keys that the database does not know are left out.

        Args:
            keys: run keys; None for all runs.
        """
        other = ("id", "configuration_id", "environment_id")
        statement = (
            select(
                *(column for column in RunRow.__table__.columns if column.name not in other),
                RunRow.environment_id.label("fingerprint_id"),
                ConfigurationRow.key.label("configuration_key"),
                ConfigurationRow.algorithm,
                ConfigurationRow.dataset,
                ConfigurationRow.lineage,
            )
            .join_from(RunRow, ConfigurationRow, ConfigurationRow.id == RunRow.configuration_id)
            .order_by(RunRow.id)
        )
        keys = None if keys is None else list(dict.fromkeys(keys))
        with self.reading() as connection:
            alive = self._judge(connection)
            rows = by_key(connection, statement, keys)
            states = {
                row.key: RunState(alive=row.status in _HELD and alive(row), **row._mapping) for row in rows
            }
        return states if keys is None else {key: states[key] for key in keys if key in states}

    @persistent
    def evaluations(self, keys: Iterable[str], since: int = 0) -> dict[str, list[Evaluation]]:
        """The evaluations of runs, ordered by step; an empty list for a run without.

        Args:
            keys: run keys.
            since: leave out those before this step.
        """
        statement = (
            select(
                RunRow.key,
                EvaluationRow.step,
                EvaluationRow.mean_return,
                EvaluationRow.mean_length,
                EvaluationRow.episodes,
            )
            .join(RunRow, RunRow.id == EvaluationRow.run_id)
            .where(EvaluationRow.step >= since)
            .order_by(EvaluationRow.run_id, EvaluationRow.step)
        )
        found: dict[str, list[Evaluation]] = {key: [] for key in keys}
        with self.reading() as connection:
            for row in by_key(connection, statement, found):
                found[row.key].append(Evaluation(*row[1:]))
        return found

    @persistent
    def returns(self, key: str) -> dict[int, list[float]]:
        """Step -> raw returns of the episodes of a run's evaluation there."""
        statement = (
            select(EvaluationRow.step, EpisodeRow.raw_return)
            .join(EvaluationRow, EvaluationRow.id == EpisodeRow.evaluation_id)
            .join(RunRow, RunRow.id == EvaluationRow.run_id)
            .where(RunRow.key == key)
            .order_by(EvaluationRow.step, EpisodeRow.number)
        )
        found: dict[int, list[float]] = {}
        with self.reading() as connection:
            for step, value in connection.execute(statement):
                found.setdefault(step, []).append(value)
        return found

    @persistent
    def reported(self, keys: Iterable[str]) -> dict[str, tuple[set[int], set[int]]]:
        """The steps at which runs were evaluated, and those at which they reported metrics.

        Args:
            keys: run keys.
        """
        found: dict[str, tuple[set[int], set[int]]] = {key: (set(), set()) for key in keys}
        with self.reading() as connection:
            for which, (run, reported) in enumerate(
                ((EvaluationRow.run_id, EvaluationRow.step), (MetricRow.run_id, MetricRow.step))
            ):
                statement = select(RunRow.key, reported).join(RunRow, RunRow.id == run).distinct()
                for key, step in by_key(connection, statement, found):
                    found[key][which].add(step)
        return found

    @persistent
    def metrics(
        self, keys: Iterable[str], name: str | None = None, steps: Sequence[int] | None = None
    ) -> dict[str, list[Metric]]:
        """What training reported beside scores, ordered by step and name; an empty list for a run without.

        Args:
            keys: run keys.
            name: only this metric; None for all.
            steps: only at these steps; None for all.
        """
        statement = (
            select(RunRow.key, MetricRow.step, MetricRow.name, MetricRow.value)
            .join(RunRow, RunRow.id == MetricRow.run_id)
            .order_by(MetricRow.run_id, MetricRow.step, MetricRow.name)
        )
        if name is not None:
            statement = statement.where(MetricRow.name == name)
        if steps is not None:
            statement = statement.where(MetricRow.step.in_(steps))
        found: dict[str, list[Metric]] = {key: [] for key in keys}
        with self.reading() as connection:
            for row in by_key(connection, statement, found):
                value = math.nan if row.value is None else row.value
                found[row.key].append(Metric(row.step, row.name, value))
        return found

    @persistent
    def artefacts(self, keys: Iterable[str] | None = None) -> dict[str, dict[str, Artefact]]:
        """What finished runs left: run key -> kind -> the file; only of runs that left something.

        Args:
            keys: run keys; None for all runs.
        """
        statement = (
            select(RunRow.key, ArtefactRow.kind, ArtefactRow.name, ArtefactRow.sha256, ArtefactRow.size)
            .join(RunRow, RunRow.id == ArtefactRow.run_id)
            .order_by(ArtefactRow.run_id, ArtefactRow.kind)
        )
        found: dict[str, dict[str, Artefact]] = {}
        with self.reading() as connection:
            for row in by_key(connection, statement, keys):
                found.setdefault(row.key, {})[row.kind] = Artefact(*row[1:])
        return found

    @persistent
    def imported(self) -> list[dict[str, str]]:
        """What is known of the environments of imported scores, the first imported first."""
        with self.reading() as connection:
            rows = connection.execute(select(FingerprintRow.fingerprint).order_by(FingerprintRow.id))
            return [row.fingerprint for row in rows if row.fingerprint.get("origin") == IMPORTED]

    def sources(self) -> tuple[str, ...]:
        """Where imported scores come from, the first imported first; '' of those that do not say."""
        return tuple(dict.fromkeys(fingerprint.get("source", "") for fingerprint in self.imported()))

    @persistent
    def seeds(self, configurations: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """The seeds of the finished runs of configurations, ascending, by configuration key."""
        statement = (
            select(ConfigurationRow.key, RunRow.seed)
            .join(RunRow, RunRow.configuration_id == ConfigurationRow.id)
            .where(RunRow.status == FINISHED)
            .order_by(RunRow.seed)
        )
        found: dict[str, tuple[int, ...]] = {}
        with self.reading() as connection:
            for chunk in chunks(configurations):
                for key, seed in connection.execute(statement.where(ConfigurationRow.key.in_(chunk))):
                    found[key] = (*found.get(key, ()), seed)
        return found

    @persistent
    def fingerprints(self, ids: Iterable[int]) -> dict[int, dict[str, str]]:
        """Fingerprints by row id.

        Raises:
            DataError: the database lacks one.
        """
        wanted = set(ids)
        with self.reading() as connection:
            found = {
                row.id: row.fingerprint
                for chunk in chunks(wanted)
                for row in connection.execute(
                    select(FingerprintRow.id, FingerprintRow.fingerprint).where(FingerprintRow.id.in_(chunk))
                )
            }
        if missing := wanted - found.keys():
            raise DataError(
                f"{self.location} lacks fingerprint {min(missing)}, which runs refer to; run harness db check"
            )
        return found

    @persistent
    def configurations(self) -> dict[str, dict[str, Any]]:
        """The configurations of all finished runs, by configuration key."""
        finished = select(RunRow.configuration_id).where(RunRow.status == FINISHED)
        statement = select(ConfigurationRow.key, ConfigurationRow.content).where(
            ConfigurationRow.id.in_(finished)
        )
        with self.reading() as connection:
            return {row.key: row.content for row in connection.execute(statement)}

    @persistent
    def content_hashes(self) -> dict[str, str]:
        """The recorded hash of each dataset's content, by the SHA-256 of its canonical identity."""
        statement = select(DatasetRow.identity_key, DatasetRow.content_hash)
        with self.reading() as connection:
            rows = connection.execute(statement.where(DatasetRow.content_hash.is_not(None)))
            return {row.identity_key: row.content_hash for row in rows}

    @persistent
    def count(self) -> int:
        """The number of runs."""
        with self.reading() as connection:
            return connection.execute(select(func.count()).select_from(RunRow)).scalar_one()

    @persistent
    def require_evaluations(self, keys: Iterable[str]) -> None:
        """See to it that runs have all the evaluations that their protocols ask for.

        Raises:
            DataError: some lack one.
        """
        with self.reading() as connection:
            if missing := unevaluated(connection, keys):
                key, steps = next(iter(missing.items()))
                raise DataError(
                    f"{len(missing)} run(s) lack evaluations in {self.location}, {key[:12]} that at step "
                    f"{steps[0]}; if the database was restored meanwhile, run the same command again"
                )

    @persistent
    def check(self) -> list[str]:
        """Look for damage and contradictions.

        Returns:
            one sentence for each problem found; empty if all is well.
        """
        with self.reading() as connection:
            return list(problems(connection))

    @persistent
    def require_genuine(self) -> None:
        """See to it that this program wrote the database as it is.

        Raises:
            DataError: something shows that it did not: another structure, keys of other content.
        """
        with self.reading() as connection:
            if found := list(forgeries(connection)):
                more = f" and {len(found) - 1} more; `harness db check` lists them" if len(found) > 1 else ""
                raise DataError(f"{self.location} is not as this program writes databases: {found[0]}{more}")


class _Judge:
    """Tells living leases from dead ones; asks the system about each owner once."""

    def __init__(self, moment: datetime, lease: timedelta) -> None:
        self._moment, self._lease = moment, lease
        self._known: dict[tuple[str, bool], bool] = {}

    def __call__(self, run: Line) -> bool:
        owner, heartbeat = run.owner, run.heartbeat
        if owner is None or heartbeat is None or heartbeat < self._moment - self._lease:
            return False
        # a heartbeat from the future was given by a clock that was wrong, and says nothing
        credible = heartbeat <= self._moment + self._lease
        if (owner, credible) not in self._known:
            self._known[owner, credible] = leases.is_alive(owner, unknown=credible)
        return self._known[owner, credible]


def _means(record: EvaluationRecord) -> Evaluation:
    returns = [float(value) for value in record.returns]
    where = f"run {record.key[:12]}, step {record.step}"
    if not returns or len(returns) != len(record.lengths):
        raise ValueError(f"{where}: {len(returns)} returns and {len(record.lengths)} lengths of episodes")
    if not all(map(countable, returns)):
        raise ValueError(
            f"{where}: a return is no number to count with; the run has diverged and is to be failed"
        )
    count = len(returns)
    return Evaluation(record.step, math.fsum(returns) / count, math.fsum(record.lengths) / count, count)
