"""A worker as a job runs it: the command line, in a process of its own. Needs no torch."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from harness import files
from harness.results.leases import JOB, LEASE_SECONDS

_ERROR = "error: "
_ON = "a worker starts on "
#: The variable that tells a worker which process follows it, where it ends with that.
PARENT = "HARNESS_PARENT"
LIVES = 4
"""How often a worker is started that something kills; it goes on from its checkpoints each time."""


@dataclass
class Worker:
    """A process that trains what it can claim, see ``harness work``; told to an engine by these words alone.

    Attributes:
        arguments: its command line, without the program.
        environment: variables that it gets beside those of its job.
        folder: where its log is written.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _asked: signal.Signals | None = field(default=None, init=False, repr=False)

    def run(self, job: str, *, apart: bool = False) -> int:
        """Run it to its end, and again where something killed it.

        Args:
            job: name of the job, see `harness.results.leases.JOB`.
            apart: whether it is kept from the signals of this process's terminal.

        Returns:
            its exit code; negative for the signal that killed it.

        Raises:
            DataError: its log cannot be written, as on a full disk.
        """
        environment = {**os.environ, **self.environment, JOB: job, PARENT: str(os.getpid())}
        command = [sys.executable, "-m", "harness", *self.arguments]
        code = -signal.SIGTERM
        for _ in range(LIVES):
            if self._asked is not None:
                break
            with self._log(job) as log, _unheard():
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=apart,
                )
            if self._asked is not None:  # while it was being started
                self._process.send_signal(self._asked)
            self._await()
            code = self._process.wait()
            if code >= 0:
                break
        return code

    def _log(self, job: str) -> BinaryIO:
        """Its log, in which a start is noted."""
        path = log_of(self.folder, job)
        with files.explained(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            log = path.open("ab")
            log.write(f"{_ON}{platform.node()}\n".encode())
            log.flush()
            return log

    def stop(self, *, wait: bool = True) -> None:
        """Ask it to write a checkpoint and end, and wait until it has; also in a signal's handler."""
        self._signal(signal.SIGTERM)
        if wait:
            self._await()

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def stopped(self) -> None:
        """Note that its whole job was asked to end, and it with the others: it is not started again."""
        self._asked = signal.SIGTERM

    def _signal(self, number: signal.Signals) -> None:
        self._asked = number
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _await(self) -> None:
        """Wait for its end, which `run` collects: in the midst of `Popen.wait` it cannot be called again."""
        if self._process is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Processes started within never get the signal by which engines warn jobs: it would end them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})  # which a child inherits
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # it is heard now, if it came meanwhile


def left_alone() -> bool:
    """Whether the process that follows this worker has ended, killed perhaps."""
    parent = os.environ.get(PARENT)
    return parent is not None and os.getppid() != int(parent)


def log_of(folder: Path, job: str) -> Path:
    """The file that a job's worker says everything in."""
    return folder / f"{job}.log"


def node_of(log: Path) -> str:
    """Where the worker of a log was started last; empty where none was."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    nodes = [line.removeprefix(_ON) for line in lines if line.startswith(_ON)]
    return nodes[-1] if nodes else ""


def ended_badly(folder: Path) -> list[tuple[str, str, str]]:
    """The jobs whose workers ended with an error: name, node and what was said."""
    said = {log: last_words(log) for log in sorted(folder.glob("*.log"))}
    return [
        (log.stem, node_of(log), words.removeprefix(_ERROR))
        for log, words in said.items()
        if words.startswith(_ERROR)
    ]


def heard_of(folder: Path) -> list[tuple[str, str, str]]:
    """The jobs whose workers have said something lately and no error: name, node and what was said."""
    since = time.time() - LEASE_SECONDS
    said = {log: last_words(log) for log in sorted(folder.glob("*.log")) if log.stat().st_mtime > since}
    return [(log.stem, node_of(log), words) for log, words in said.items() if not words.startswith(_ERROR)]


def forget_badly_ended(folder: Path) -> None:
    """Remove the logs of jobs that ended with an error; their work is begun again."""
    for name, _, _ in ended_badly(folder):
        log_of(folder, name).unlink()


def last_words(log: Path) -> str:
    """The last line of a worker's log; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
