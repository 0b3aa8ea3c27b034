"""The executor ``processes``: a worker for each GPU that is visible, or some on a CPU, on this machine."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from harness.errors import HarnessError
from harness.execution import jobs
from harness.execution.devices import chosen
from harness.execution.executors import Order
from harness.execution.jobs import Job
from harness.execution.progress import Reporter
from harness.execution.session import Outcome
from harness.execution.worker import Worker
from harness.processes import usable_cores

VISIBLE = "CUDA_VISIBLE_DEVICES"


def train(order: Order, reporter: Reporter, stop: Callable[[], bool]) -> Outcome:
    """Train what a table lacks with workers on this machine, see `harness.execution.executors.Executor`.

    Raises:
        HarnessError: more workers are wanted than there are GPUs, or see `harness.execution.jobs.train`.
    """
    if order.options:
        raise HarnessError(
            f"the executor processes has no options, so not {', '.join(sorted(order.options))}"
        )
    gpus = visible_gpus() if chosen(order.device) == "cuda" else []
    if gpus and (order.jobs or 1) > len(gpus):
        raise HarnessError(f"--jobs {order.jobs}: each needs a GPU of its own, and {len(gpus)} are visible")
    wait = replace(order, worker=(*order.worker, "--wait"))  # which costs nothing here
    return jobs.train(wait, _Processes(gpus), reporter, stop)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, each as it is named in CUDA_VISIBLE_DEVICES: an index or a UUID."""
    number = torch.cuda.device_count()
    named = os.environ.get(VISIBLE)
    names = [str(i) for i in range(number)] if named is None else [each.strip() for each in named.split(",")]
    return names[:number]  # CUDA itself passes over all that follows a name it does not know


class _Processes:
    """An engine whose jobs are processes of this machine, see `harness.execution.jobs.Engine`."""

    shares_files = True
    seconds = 0.2

    def __init__(self, gpus: Sequence[str]) -> None:
        self._gpus = gpus
        self._started = 0
        self._running: list[_Process] = []

    def suitable_jobs(self) -> int:
        return len(self._gpus) or 1

    def start(self, workers: Sequence[Worker]) -> None:
        share = {"OMP_NUM_THREADS": str(max(1, usable_cores() // len(workers)))}  # of the cores
        self._running = []
        for number, worker in enumerate(workers):
            gpu = {VISIBLE: self._gpus[number]} if self._gpus else {}
            own = replace(worker, environment={**worker.environment, **share, **gpu})
            name = f"processes-{platform.node()}-{os.getpid()}-{self._started}"
            self._started += 1
            self._running.append(_Process(own, name))

    def jobs(self) -> list[Job]:
        return [process.job() for process in self._running]

    def stop(self) -> None:
        for process in self._running:
            process.worker.stop(wait=False)

    def cancel(self) -> None:
        for process in self._running:
            process.worker.kill()


class _Process(threading.Thread):
    """A worker, and the thread that starts it again where something kills it."""

    def __init__(self, worker: Worker, name: str) -> None:
        super().__init__(daemon=True)
        self.worker, self._job = worker, name
        self._code: int | None = None
        self._error: HarnessError | None = None
        self.start()

    def run(self) -> None:
        try:
            self._code = self.worker.run(self._job, apart=True)
        except HarnessError as error:
            self._error = error

    def job(self) -> Job:
        """How the worker is.

        Raises:
            HarnessError: it could not be started.
        """
        if self._error:
            raise self._error
        alive = self.is_alive()
        return Job(self._job, "running" if alive else "ended", platform.node(), None if alive else self._code)
