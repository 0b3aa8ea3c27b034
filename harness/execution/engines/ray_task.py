"""What Ray runs on a node. Needs no torch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait

from harness.execution.worker import Worker


def run(worker: Worker, name: str) -> int:
    """Run a worker to its end, or until Ray cancels the task; gives its exit code."""
    with ThreadPoolExecutor(1) as thread:
        code = thread.submit(worker.run, name)
        try:
            while not code.done():
                wait([code], 0.2)  # Ray cancels by an exception that only a thread which wakes up gets
        except KeyboardInterrupt:
            worker.stop()
        return code.result()
