"""Workers in jobs: started by an engine, followed, asked to stop; what they leave is started again."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.counting import count
from harness.errors import HarnessError
from harness.execution import claims, handing
from harness.execution.executors import Order
from harness.execution.local import missing_runs, ready_runs
from harness.execution.progress import Reporter
from harness.execution.session import Outcome
from harness.execution.versions import VERSION, version_of
from harness.execution.work import pause, require_shareable
from harness.execution.worker import Worker, forget_badly_ended, last_words, log_of
from harness.files import real
from harness.planning.dependencies import all_keys
from harness.planning.populations import PlannedRun
from harness.planning.validation import check
from harness.results.artefacts import kept_states
from harness.results.leases import job_of
from harness.results.store import Store

DATABASE = "HARNESS_DB"
"""The variable that tells a worker its database, whose password no command line may show."""


@dataclass(frozen=True)
class Job:
    """A job as its engine sees it.

    Attributes:
        name: what the worker's log is named by, see `harness.results.leases.JOB`.
        state: 'waiting', 'running' or 'ended', or the engine's own word for what is between.
        node: where it runs; empty where that is not known.
        code: the worker's exit code, None while it has none or none is known.
        engine_log: what the engine itself says of it; None where it says nothing.
    """

    name: str
    state: str
    node: str = ""
    code: int | None = None
    engine_log: Path | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state == "ended"


class Engine(Protocol):
    """Starts workers somewhere.

    Attributes:
        shares_files: whether its jobs run on this machine, so that they may share a SQLite file.
        seconds: between two looks at its jobs.
    """

    shares_files: bool
    seconds: float

    def suitable_jobs(self) -> int:
        """How many workers to start where nobody says."""

    def start(self, workers: Sequence[Worker]) -> None:
        """Start a job for each worker.

        Raises:
            HarnessError: the engine refuses.
        """

    def jobs(self) -> list[Job]:
        """The jobs last started, in the order of their workers."""

    def stop(self) -> None:
        """Ask all jobs to write a checkpoint and end; those that wait never begin."""

    def cancel(self) -> None:
        """End all jobs at once."""


def train(order: Order, engine: Engine, reporter: Reporter, stop: Callable[[], bool]) -> Outcome:
    """Let an engine's workers train what a table lacks, in rounds until nothing is left that can begin.

    The first round trains nearly all. Another follows where jobs ended before their runs did, and where runs
    read what only the workers of the round before have left.

    Args:
        order: what is to be trained.
        engine: starts the workers.
        reporter: progress for the user.
        stop: asked again and again; True asks the workers to write checkpoints and end.

    Raises:
        HarnessError: the specs are wrong, the engine refuses, or workers trained nothing: says why.
    """
    store = order.store
    before = _counts(order)
    folder = store.location.folder("jobs", order.home)
    forget_badly_ended(folder)
    if missing_runs(order.resolved, store, order.home):
        check(order.resolved, order.specs)
    apart = store.location.path is not None and not engine.shares_files
    told = False
    while not stop():
        busy = handing.gather(order, folder) if apart else set()
        todo = missing_runs(order.resolved, store, order.home)
        if free := _free(order, [run for run in todo if run.record.key not in busy]):
            done = _progress(order)
            jobs = _round(order, free, folder, engine, reporter, stop)
            if jobs and not stop() and _progress(order) == done:
                raise HarnessError(_why(jobs, folder))
        elif waits := sum(run.record.key in busy for run in todo):
            if not told:
                reporter.message(
                    f"waiting for {count(waits, 'run')} of workers that an earlier command started"
                )
                told = True
            pause(stop)
        else:
            break
    now = _counts(order)
    elsewhere = sum(state.alive for state in store.held(all_keys(order.resolved)).values())
    return Outcome(
        now["finished"] - before["finished"], now["failed"] - before["failed"], elsewhere, interrupted=stop()
    )


def _counts(order: Order) -> Counter[str]:
    states = order.store.runs(all_keys(order.resolved)).values()
    return Counter(state.status for state in states if state.over)


def _progress(order: Order) -> list[tuple[str, bool, int | None, int | None]]:
    """How far each run is."""
    states = order.store.runs(all_keys(order.resolved)).items()
    return [(key, state.over, state.step, state.checkpoint_step) for key, state in states]


def _free(order: Order, todo: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Those missing runs that no process holds, the sources before their readers; none if none can begin."""
    states = order.store.runs(run.record.key for run in todo)
    free = [run for run in todo if run.record.key not in states or not states[run.record.key].alive]
    return free if ready_runs(free, order.store, kept_states(order.store, order.home)) else []


def _round(
    order: Order,
    free: Sequence[PlannedRun],
    folder: Path,
    engine: Engine,
    reporter: Reporter,
    stop: Callable[[], bool],
) -> list[Job]:
    """Start workers for runs, and follow them to their ends."""
    number = min(order.jobs or engine.suitable_jobs(), len(free))
    share = math.ceil(len(free) / number)
    path, keys = order.store.location.path, [run.record.key for run in free]
    version = {VERSION: version_of(order.specs)}
    command = (*order.worker, "--at-most", str(share))
    if path is None or engine.shares_files:
        require_shareable(order.store.location)
        where = real(path) if path else order.store.location.address
        workers = [Worker(command, version, folder) for _ in range(number)]
        with _variable(DATABASE, str(where)):  # which no command line shows, and no file of an engine
            jobs = _follow(order, workers, engine, reporter, stop, keys)
        _set_free(order.store, keys, jobs)
        return jobs
    order.store.register(run.record for run in free)
    with claims.held(free, order.store, reporter) as (claimed, _):
        given = [run for run in free if run.record.key in set(claimed)]
        files = handing.hand_out(order, given, number, share, folder)
        own = {**version, handing.OWN: "1"}
        workers = [Worker(command, {**own, DATABASE: str(real(file))}, folder) for file in files]
        return _follow(order, workers, engine, reporter, stop, keys, list(files.items())) if files else []


def _follow(
    order: Order,
    workers: Sequence[Worker],
    engine: Engine,
    reporter: Reporter,
    stop: Callable[[], bool],
    keys: Sequence[str],
    files: Sequence[tuple[Path, Sequence[str]]] = (),
) -> list[Job]:
    """Start workers and show how they do until all have ended; merges their own files as they end."""
    folder, asked = workers[0].folder, False
    collected: set[int] = set()
    try:
        engine.start(workers)
        reporter.message(
            f"{count(len(keys), 'run')} for {count(len(workers), 'worker')}; their logs: {folder}"
        )
        with reporter.lines() as show:
            while True:
                jobs = engine.jobs()
                show([_summary(order, keys), *(_line(job, folder) for job in jobs)])
                for number, (file, own) in enumerate(files):
                    if jobs[number].over and number not in collected:
                        handing.collect(order, file, own)
                        collected.add(number)
                if all(job.over for job in jobs):
                    return jobs
                if stop() and not asked:
                    engine.stop()
                    asked = True
                time.sleep(engine.seconds)
    except BaseException:
        engine.cancel()
        raise


def _summary(order: Order, keys: Sequence[str]) -> str:
    counts = Counter(state.status for state in order.store.runs(keys).values())
    others = ", ".join(f"{number} {name}" for name, number in counts.items() if name != "finished")
    return f"{counts['finished']} of {count(len(keys), 'run')} finished{f', {others}' if others else ''}"


def _line(job: Job, folder: Path) -> str:
    """How a job does: its state, its node and what its worker said last."""
    code = f" with exit code {job.code}" if job.over and job.code else ""
    said = last_words(log_of(folder, job.name))
    return "  ".join(filter(None, (job.name, f"{job.state}{code}", job.node, said)))


def _why(jobs: Sequence[Job], folder: Path) -> str:
    """Why workers trained nothing."""
    for job in jobs:
        for log in (log_of(folder, job.name), job.engine_log):
            if log and (said := last_words(log)):
                return f"no worker trained a run; {job.name} said: {said.removeprefix('error: ')} ({log})"
    where = ", ".join(sorted({job.node for job in jobs if job.node}))
    return (
        f"no worker trained a run, and none wrote a log to {folder}{f' from {where}' if where else ''}; the "
        "folder must be shared with the nodes, and Python there must have harness"
    )


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """What this process starts has a variable in its environment."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _set_free(store: Store, keys: Sequence[str], jobs: Sequence[Job]) -> None:
    """Let runs be claimed that jobs held when they ended, wherever that was: they will not renew a lease."""
    ended = {job.name for job in jobs}
    held = store.held(keys).items()
    store.set_free(key for key, state in held if state.owner and job_of(state.owner) in ended)
