"""Evaluation worker processes: training goes on while they roll policies out."""

from __future__ import annotations

import contextlib
import functools
import traceback
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from harness.errors import DataError, shortage
from harness.processes import CRASHES, Child
from harness.results.records import EvaluationRecord
from harness.training.rollout import EvaluationTask


def _serve(connection: Connection, algorithms: Collection[str], folders: Sequence[Path]) -> None:
    """Body of a worker: evaluate what comes until the parent is gone."""
    from algorithms import algorithm_class
    from harness import environments, plugs, streams
    from harness.training.rollout import evaluate

    streams.settle()
    plugs.use(folders)
    for algorithm in algorithms:  # now, while the files are those that the parent has loaded
        algorithm_class(algorithm)
    cache: dict[Any, list[Any]] = {}
    while True:
        try:
            task: EvaluationTask = connection.recv()
        except (EOFError, OSError):  # the parent closed its end or died
            return
        try:
            envs = cache.setdefault(task.environment, [])
            while len(envs) < task.episodes:
                envs.append(environments.make(task.environment))
            answer: tuple[Any, str | DataError | None] = (evaluate(task, envs[: task.episodes]), None)
        except Exception as error:  # belongs to the run, not to the worker, if not to the machine
            answer = (None, shortage(error) or traceback.format_exc())
        try:
            connection.send(answer)
        except BrokenPipeError:
            return


class _Worker(Child):
    def __init__(self, algorithms: Collection[str], folders: Sequence[Path]) -> None:
        super().__init__(_serve, algorithms, folders)
        self.task: EvaluationTask | None = None

    def start(self, task: EvaluationTask) -> None:
        self.task = task
        self.connection.send(task)


class EvaluationFailedError(Exception):
    """An evaluation failed; carries what was evaluated and why it failed."""

    def __init__(self, task: EvaluationTask, text: str) -> None:
        super().__init__(text)
        self.task, self.text = task, text


class EvaluationPool:
    """A few processes that roll out policies; use as a context manager.

    Args:
        workers: number of processes.
        algorithms: ids of those whose policies will be evaluated.
        folders: of specs, whose own code the policies and environments may need.
    """

    _ATTEMPTS = 3

    def __init__(self, workers: int, algorithms: Collection[str] = (), folders: Sequence[Path] = ()) -> None:
        self._new_worker = functools.partial(_Worker, tuple(algorithms), tuple(folders))
        self._workers = [self._new_worker() for _ in range(workers)]
        self._queue: deque[tuple[EvaluationTask, int]] = deque()
        self._crashed: list[EvaluationFailedError] = []
        self._attempt: dict[tuple[str, int], int] = {}

    def __enter__(self) -> EvaluationPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, task: EvaluationTask) -> None:
        """Queue an evaluation."""
        self._queue.append((task, 1))
        self._dispatch()

    @property
    def pending(self) -> list[EvaluationTask]:
        """Evaluations submitted and not yet returned by `results`."""
        busy = [worker.task for worker in self._workers if worker.task]
        return busy + [task for task, _ in self._queue] + [error.task for error in self._crashed]

    def results(self, timeout: float | None = 0.0) -> Iterator[EvaluationRecord | EvaluationFailedError]:
        """Those that have come back; waits up to `timeout` seconds for the first (None: for ever).

        Raises:
            DataError: a process was killed again and again over the same evaluation, or met that the machine
                lacks something.
        """
        busy = {w.connection: w for w in self._workers if w.task}
        for connection in wait(list(busy), timeout) if busy else ():
            worker = busy[connection]  # type: ignore[index]  # only our own connections were waited for
            task = worker.task
            assert task is not None  # noqa: S101 - busy workers have one
            try:
                answer, error = worker.connection.recv()
            except (EOFError, OSError):  # it died, perhaps in the middle of its answer
                self._replace(worker)
                continue
            if isinstance(error, DataError):
                raise error
            worker.task = None
            self._attempt.pop((task.key, task.step), None)
            self._dispatch()
            yield (
                EvaluationFailedError(task, f"its evaluation raised\n{error}")
                if error
                else EvaluationRecord(task.key, task.step, *answer)
            )
        crashed, self._crashed = self._crashed, []
        yield from crashed

    def _dispatch(self) -> None:
        for worker in self._workers:
            if worker.task is None and self._queue:
                task, attempt = self._queue.popleft()
                self._attempt[task.key, task.step] = attempt
                try:
                    worker.start(task)
                except OSError:  # it died while it had nothing to do
                    self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        """A worker died (killed for memory, crashed in the simulator): put its task to a new one.

        A policy that crashes the simulator every time fails its run; a process that somebody kills every
        time, as Linux does where memory is short, says nothing of the run.
        """
        task = worker.task
        assert task is not None  # noqa: S101 - only busy workers are looked at
        attempt = self._attempt[task.key, task.step]
        exit_code = worker.died()
        self._workers[self._workers.index(worker)] = self._new_worker()
        died = f"the evaluation process of {task.environment.id} died {attempt} times (exit code {exit_code})"
        if attempt < self._ATTEMPTS:
            self._queue.appendleft((task, attempt + 1))
        elif -(exit_code or 0) in CRASHES:
            del self._attempt[task.key, task.step]
            self._crashed.append(EvaluationFailedError(task, died))
        else:
            raise DataError(
                f"{died}; is there enough memory? Committed scores are kept: run the same command again"
            )
        self._dispatch()

    def discard(self) -> None:
        """Forget everything queued or under way."""
        self._queue.clear()
        self._crashed.clear()
        for index, worker in enumerate(self._workers):
            if worker.task:
                worker.end()
                self._workers[index] = self._new_worker()

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.end()
