"""`status` and `retry`: how far runs are, and failed ones once more."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import App
from harness.cli.options import (
    Database,
    DataHome,
    Json,
    OptionalTableId,
    TableId,
    choosing,
    examples,
    open_store,
    resolved_table,
)
from harness.cli.output import json_out, note, out, table_out
from harness.counting import count, duration
from harness.planning.choice import Choice

if TYPE_CHECKING:
    from harness.planning.status import Failure, Status, Work, Worker

_WATCH_SECONDS = 5.0
_OPEN = ("running", "queued", "interrupted", "missing")


def add_to(app: App) -> None:
    """Add the verbs."""
    app.command(
        "status",
        epilog=examples(
            "harness status",
            "harness status aspc-table1",
            "harness status aspc-table1 --preset smoke --json",
            "harness status aspc-table1 --watch",
        ),
    )(status)
    app.command(
        "retry",
        epilog=examples(
            "harness retry aspc-table1",
            "harness retry aspc-table1 --algorithms aspc",
            "harness retry aspc-table1 --preset smoke --restart",
        ),
    )(retry)


@choosing()
def status(
    ctx: typer.Context,
    choice: Choice,
    table: OptionalTableId = None,
    db: Database = None,
    data_home: DataHome = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Again every few seconds, with the workers' speed, until all is trained.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Count runs; list those that failed, wait or are under way.

    Of a table also the runs that its unfinished ones read values from.
    """
    from harness.planning.status import status as read

    if table is None and replace(choice, preset=None) != Choice():
        raise typer.BadParameter("the options that choose runs need a TABLE")
    resolved = None if table is None else resolved_table(ctx, table, choice)
    speeds = _Speeds()
    with open_store(ctx, db, choice) as store:
        while True:
            state = read(store, resolved, data_home)
            if watch and sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J")
            if as_json:
                json_out(state)
            else:
                _state_out(state, table, speeds, store.location.folder("jobs", data_home))
            if not watch or not any(state.counts[name] for name in _OPEN):
                return
            sys.stdout.flush()
            time.sleep(_WATCH_SECONDS)
            out()


class _Speeds:
    """How fast workers are, from what was seen of them so far."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[float, int]] = {}

    def __call__(self, worker: Worker) -> tuple[str | None, str | None]:
        """Steps per second of all its runs together, and the time that is left for these."""
        now = (time.monotonic(), worker.done)
        if worker.done < self._first.setdefault(worker.owner, now)[1]:  # it has begun with other runs
            self._first[worker.owner] = now
        seconds, steps = (last - first for last, first in zip(now, self._first[worker.owner], strict=True))
        if steps <= 0:
            return None, None
        left = None if worker.steps is None else duration((worker.steps - worker.done) * seconds / steps)
        return f"{steps / seconds:,.0f}", left


def _state_out(state: Status, table: str | None, speeds: _Speeds, logs: Path) -> None:
    """All that is known of runs, workers and jobs, as text."""
    from harness.execution.worker import ended_badly, heard_of

    table_out(("status", "runs"), list(state.counts.items()))
    if state.imported:
        out(f"{count(state.imported, 'finished run')} imported from files")
    if state.workers:
        out("\nworkers:")
        table_out(
            ("process", "runs", "populations", "steps", "of", "steps/s", "left"),
            [
                (one.owner, one.runs, one.populations, one.done, one.steps, *speeds(one))
                for one in state.workers
            ],
        )
    if logs.is_dir():
        out(f"\nlogs of the jobs: {logs}")
        if heard := heard_of(logs):
            out("\njobs heard of in the last minute and a half:")
            table_out(("job", "node", "said last"), heard)
        if failed := ended_badly(logs):
            out("\njobs that ended with an error:")
            table_out(("job", "node", "error"), failed)
    for title, works in (
        ("trained now", state.active),
        ("left by a process that died; `harness reproduce` goes on with them", state.stale),
    ):
        if works:
            out(f"\n{title}:")
            _runs_out(table, "process", [(work, work.owner) for work in works])
    if state.again:
        out("\nfinished, and to be trained again for the state that others read; their scores stay:")
        table_out(("column", "dataset", "seed"), [(one.column, one.dataset, one.seed) for one in state.again])
    if state.waiting:
        out("\nwaiting for other runs:")
        table_out(
            ("column", "dataset", "runs", "why"),
            [(one.column, one.dataset, one.runs, one.reason) for one in state.waiting],
        )
    if state.failures:
        out("\nfailed:")
        _runs_out(table, "error", [(one, one.error) for one in state.failures])


def _runs_out(table: str | None, more: str, runs: Sequence[tuple[Work | Failure, str]]) -> None:
    """A line per run; with its column where a table is named, for columns may share an algorithm."""
    names = (*(() if table is None else ("column",)), "algorithm", "dataset", "seed", "step")
    table_out((*names, more), [(*(getattr(run, name) for name in names), text) for run, text in runs])


@choosing()
def retry(
    ctx: typer.Context,
    table: TableId,
    choice: Choice,
    data_home: DataHome = None,
    db: Database = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Begin all unfinished runs anew: their evaluations, metrics and checkpoints are deleted.",
        ),
    ] = False,
    release: Annotated[
        bool,
        typer.Option(
            "--release",
            help="Take runs from the processes that hold them, as where a wrong clock keeps one alive.",
        ),
    ] = False,
) -> None:
    """Queue failed runs for the next `reproduce`.

    Also finished ones that lack evaluations of their protocol.
    """
    from harness.execution.restart import restart as begin_anew
    from harness.planning.status import trainable_keys

    resolved = resolved_table(ctx, table, choice)
    with open_store(ctx, db, choice) as store:
        keys = trainable_keys(resolved, store)
        if release:
            note(f"{count(store.set_free(keys), 'run')} released")
        if restart:
            number = begin_anew(store, keys, data_home)
            note(f"{count(number, 'unfinished run')} will begin anew")
        elif not release:
            note(f"{count(store.retry(keys), 'failed run')} queued again")
