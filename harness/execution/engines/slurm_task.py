"""What submitit runs in a job of Slurm. Needs no torch."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace

import submitit

from harness.execution.worker import Worker

PREFIX = "slurm-"


@dataclass
class Task:
    """A worker as submitit calls it; `checkpoint` makes submitit requeue the job after the signal for it."""

    worker: Worker

    def __call__(self) -> int:
        """Run the worker to its end, and give its exit code."""
        # Slurm sends it to the worker, too
        signal.signal(signal.SIGTERM, lambda number, frame: self.worker.stopped())
        return self.worker.run(f"{PREFIX}{submitit.JobEnvironment().job_id}")

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Let the worker write its checkpoints; the job that goes on with them."""
        self.worker.stop()
        return submitit.helpers.DelayedSubmission(Task(replace(self.worker)))
