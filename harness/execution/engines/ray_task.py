"""What Ray runs on a node. Needs no torch."""

from __future__ import annotations

import signal

from harness.execution.worker import Worker


def run(worker: Worker, name: str) -> int:
    """Run a worker to its end, or until Ray cancels the task; gives its exit code."""
    try:
        return worker.run(name)
    except KeyboardInterrupt:  # which is how Ray cancels
        worker.stop()
        return -signal.SIGTERM
