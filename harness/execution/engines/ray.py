"""The executor ``ray``: tasks on a running cluster or a local one; Ray starts again what lost nodes ran."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.execution import jobs
from harness.execution.executors import Order
from harness.execution.jobs import DATABASE, Job
from harness.execution.progress import Reporter
from harness.execution.session import Outcome
from harness.execution.worker import Worker, log_of, node_of
from harness.files import real

_RETRIES = 100  # of a task whose node or process was lost
_SECONDS = 10.0  # for a cluster's answer
_KNOWN = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}  # by a cluster's own names


def train(order: Order, reporter: Reporter, stop: Callable[[], bool]) -> Outcome:
    """Train what a table lacks with tasks of Ray, see `harness.execution.executors.Executor`.

    Raises:
        HarnessError: Ray is not installed, its cluster does not answer or lacks what is asked for, or see
            `harness.execution.jobs.train`.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise HarnessError("the executor ray needs Ray: pip install 'harness[ray]'") from error
    options = dict(order.options)
    address = options.pop("address", None) or os.environ.get("RAY_ADDRESS") or "local"
    numbers = {name: _number(name, value) for name, value in options.items() if name != "accelerator_type"}
    _require_answer(address)
    local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise HarnessError(f"Ray at {address} cannot be used: {str(error).splitlines()[0]}") from error
    try:
        there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if order.device != "cpu" and there.get("GPU"):
            numbers.setdefault("num_gpus", 1.0)
        lacking = [name for name, value in numbers.items() if value > there.get(_KNOWN.get(name, name), 0)]
        if lacking:
            raise HarnessError(f"Ray at {address} has not enough of: {', '.join(lacking)}")
        folder = real(order.store.location.folder("jobs", order.home))
        engine = _Ray(folder, numbers, options.get("accelerator_type"), int(there.get("GPU", 0)))
        return jobs.train(order, engine, reporter, stop)
    finally:
        ray.shutdown()


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise HarnessError(f"{name}={value}: resources of Ray are numbers") from None


def _require_answer(address: str) -> None:
    """Refuse a cluster that nothing answers for: Ray itself would ask for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:  # a word that Ray knows
        return
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS).close()
    except (OSError, ValueError) as error:
        raise HarnessError(
            f"Ray at {address} does not answer ({error}); start it (ray start --head), or name another by "
            "--executor-options address=HOST:PORT"
        ) from error


class _Ray:
    """An engine whose jobs are tasks of Ray, see `harness.execution.jobs.Engine`."""

    shares_files = False
    seconds = 0.5

    def __init__(self, folder: Path, numbers: dict[str, float], accelerator: str | None, gpus: int) -> None:
        self._folder, self._gpus = folder, gpus
        named = {name: numbers.pop(name) for name in _KNOWN if name in numbers}
        self._cores = max(1, int(named.setdefault("num_cpus", 1.0)))
        self._options: dict[str, Any] = {**named, "resources": numbers, "max_retries": _RETRIES}
        if accelerator:
            self._options["accelerator_type"] = accelerator
        self._names: list[str] = []
        self._tasks: list[Any] = []

    def suitable_jobs(self) -> int:
        return self._gpus or 1

    def start(self, workers: Sequence[Worker]) -> None:
        import ray

        from harness.execution.engines.ray_task import run

        task = ray.remote(run).options(**self._options)
        given = {name: os.environ[name] for name in (DATABASE,) if name in os.environ}
        given["OMP_NUM_THREADS"] = str(self._cores)
        together = uuid.uuid4().hex[:8]
        self._names = [f"ray-{together}-{number}" for number in range(len(workers))]
        self._tasks = []
        for worker, name in zip(workers, self._names, strict=True):
            told = replace(
                worker,
                environment={**given, **worker.environment},
                folder=real(worker.folder),
            )
            self._tasks.append(task.remote(told, name))

    def jobs(self) -> list[Job]:
        import ray

        ready, _ = ray.wait(self._tasks, num_returns=len(self._tasks), timeout=0)
        return [
            _job(name, log_of(self._folder, name), over=task in ready)
            for name, task in zip(self._names, self._tasks, strict=True)
        ]

    def stop(self) -> None:
        self._cancel(force=False)

    def cancel(self) -> None:
        self._cancel(force=True)

    def _cancel(self, *, force: bool) -> None:
        import ray

        for task in self._tasks:
            ray.cancel(task, force=force)


def _job(name: str, log: Path, *, over: bool) -> Job:
    node = node_of(log)
    return Job(name, "ended" if over else "running" if node else "waiting", node)
