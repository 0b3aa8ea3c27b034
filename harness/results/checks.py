"""What can be wrong with a results database, each said in one sentence."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, and_, func, or_, select

from harness.results.models import (
    FAILED,
    FINISHED,
    RUNNING,
    TRAINED,
    EpisodeRow,
    EvaluationRow,
    RunRow,
)

# Means are recomputed by the database, in another order of summation.
_TOLERANCE = 1e-9


def damage(connection: Connection) -> Iterator[str]:
    """Pages that SQLite cannot read, and rows that refer to rows that are not there."""
    if connection.dialect.name != "sqlite":
        return
    for (line,) in connection.exec_driver_sql("PRAGMA integrity_check"):
        if line != "ok":
            yield f"SQLite's integrity check: {line}"
    for table, _, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"a row of {table} refers to a row of {parent} that does not exist"


def contradictions(connection: Connection) -> Iterator[str]:
    """Runs and evaluations that do not agree with themselves."""
    last = (
        select(func.max(EvaluationRow.step))
        .where(EvaluationRow.run_id == RunRow.id)
        .correlate(RunRow)
        .scalar_subquery()
    )
    for condition, problem in (
        (and_(RunRow.status == FINISHED, last.is_(None)), "is finished and has no evaluation"),
        (RunRow.step.is_distinct_from(last), "was last evaluated at another step than its state says"),
        (
            and_(RunRow.status == RUNNING, or_(RunRow.owner.is_(None), RunRow.heartbeat.is_(None))),
            "is running and has no owner",
        ),
        (and_(RunRow.status == FAILED, RunRow.error.is_(None)), "has failed and does not say why"),
    ):
        for key in connection.execute(select(RunRow.key).where(condition).order_by(RunRow.id)).scalars():
            yield f"run {key} {problem}"

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
