"""Worker processes: no signal kills them while they start, and none outlives the program it belongs to.

They import this program anew. Where its files have changed since, they end at once: old code meets no new.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from harness import streams
from harness.errors import DataError, EnvironmentUnusableError
from harness.signals import SIGNALS

CONTEXT = multiprocessing.get_context("spawn")  # a fork would take the parent's threads and CUDA along
#: Signals by which a process ends itself: what it called crashed, and would again.
CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}


_OTHER_CODE = (
    75  # exit code of a process that found other code than its parent's: that of a temporary failure
)

_GROUPS = Path("/proc/self/cgroup")  # those that this process is in, a line for each hierarchy
_HIERARCHIES = Path("/sys/fs/cgroup")


#: How many threads a process uses is asked of these, the first of which is how people limit any program.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def usable_cores() -> int:
    """Processor cores that this process may use.

    Those it may run on, the share of them that a container or a batch system leaves it, and no more than
    ``OMP_NUM_THREADS`` says.
    """
    cores = len(os.sched_getaffinity(0))
    cores = min([cores, *(max(1, round(quota)) for quota in _quotas())])
    with contextlib.suppress(KeyError, ValueError):
        cores = min(cores, max(1, int(os.environ[_THREADS[0]])))
    return cores


def _quotas() -> Iterator[float]:
    """Cores' worth of time that the control groups of this process may use, where they have a limit."""
    with contextlib.suppress(OSError):
        for line in _GROUPS.read_text(encoding="utf-8").splitlines():
            _, kinds, path = line.split(":", 2)
            # of version 1 each kind has a hierarchy of its own; groups are bound by those above them, too
            if not kinds or "cpu" in kinds.split(","):
                top = _HIERARCHIES / kinds
                group = top / path.lstrip("/")
                for folder in (group, *(each for each in group.parents if each.is_relative_to(top))):
                    with contextlib.suppress(OSError, ValueError):
                        yield _quota(folder, version=1 if kinds else 2)


def _quota(group: Path, version: int) -> float:
    """A group's limit in cores.

    Raises:
        OSError: It has none.
        ValueError: The same.
    """
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if version == 1 else ("cpu.max",)
    quota, period = " ".join((group / name).read_text(encoding="ascii") for name in names).split()
    if int(quota) < 0:
        raise ValueError("no limit")
    return int(quota) / int(period)


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    """Libraries that processes started within load use one thread each."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Processes started within never get the signals that end a program.

    Nor does multiprocessing's own, which cleans up behind them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # which a child inherits
    try:
        resource_tracker.ensure_running()  # when it has started its process it unblocks two of them again
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Child:
    """A process of one thread that answers what it is sent until its parent closes the connection or ends.

    Args:
        serve: Its body, found by its name in its module; gets its end of the connection first.
        arguments: What else `serve` gets.
        parent: Whether it starts processes itself, which Python lets no daemon do.

    Attributes:
        connection: The parent's end.
        process: Its own.
    """

    def __init__(self, serve: Callable[..., None], *arguments: Any, parent: bool = False) -> None:
        self.connection, theirs = CONTEXT.Pipe()
        self._code = known_code()
        begin = (self._code, serve, theirs, *arguments)
        self.process = CONTEXT.Process(target=_serve, args=begin, daemon=not parent)
        with deaf(), _single_threaded():
            self.process.start()
        theirs.close()

    def end(self) -> int | None:
        """End it, however it stands; the exit code, that of its own end if it has ended before."""
        self.process.kill()
        self.process.join()
        self.connection.close()
        return self.process.exitcode

    def died(self) -> int | None:
        """What it died of: its exit code.

        Raises:
            EnvironmentUnusableError: The code has changed since, so that what it died of may be new code that
                does not even import.
        """
        code = self.end()
        _require_same(self._code, code)
        return code


def _serve(code: Mapping[str, str], serve: Callable[..., None], *arguments: Any) -> None:
    """Body of a `Child`, if the code that it has imported is its parent's."""
    _end_if_other(code)
    serve(*arguments)


def hold_to(folder: Path) -> None:
    """Hold the processes that start from now on to the code in another folder as it is now, too."""
    _hash(str(folder))
    _held[str(folder)] = None


_held: dict[str, None] = {}


def known_code() -> dict[str, str]:
    """Hashes of this program's code, of algorithms', and of what else processes are held to, by folder.

    They are of the files as they were when this was first called.
    """
    algorithms = sys.modules.get("algorithms") or importlib.util.find_spec("algorithms")
    places = getattr(algorithms, "__path__", None) or getattr(algorithms, "submodule_search_locations", None)
    return {folder: _hash(folder) for folder in (str(Path(__file__).parent), *(places or ()), *_held)}


def _require_same(code: Mapping[str, str], exit_code: int | None = None) -> None:
    """Say of a process that ended that it met other code, if it did.

    Raises:
        EnvironmentUnusableError: It did.
    """
    if exit_code == _OTHER_CODE or _has_changed(code):
        raise EnvironmentUnusableError(
            "the code of this program has changed since this command began, and a new process would run "
            "the new code; what was done is kept: run the same command again"
        )


def _end_if_other(code: Mapping[str, str]) -> None:
    """In a child: end where the code that it has imported is not its parent's."""
    if _has_changed(code):
        os._exit(_OTHER_CODE)  # its parent hears of the end when there is an exit code


def _has_changed(code: Mapping[str, str]) -> bool:
    return any(_hash.__wrapped__(folder) != before for folder, before in code.items())


@functools.cache
def _hash(folder: str) -> str:
    """Of the Python files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*.py")):
        with contextlib.suppress(OSError):  # it went away in this moment
            digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def pool(
    workers: int, begin: Callable[..., None], arguments: tuple[Any, ...], does: str
) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes of one thread, all started at once, that end when this one does, however it ends.

    Args:
        workers: Number of processes.
        begin: What each calls first; found by its name in its module.
        arguments: Of `begin`.
        does: What the processes do, for an error: "acts in Hopper-v4".

    Raises:
        DataError: A process died.
        EnvironmentUnusableError: The same, and the code has changed since this command began.
    """
    code = known_code()
    with deaf():  # its queues have semaphores, which start multiprocessing's own process
        executor = ProcessPoolExecutor(workers, CONTEXT, _begin, (code, begin, arguments))
    try:
        with deaf(), _single_threaded():
            for _ in range(workers):  # each finds no idle process, and so starts one
                executor.submit(_nothing)
        yield executor
    except BrokenProcessPool as error:
        _require_same(code)
        raise DataError(
            f"a process that {does} died, perhaps for want of memory; run the same command again"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _begin(code: Mapping[str, str], begin: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    _end_if_other(code)
    streams.settle()
    end_with_parent()
    begin(*arguments)


def end_with_parent() -> None:
    """In a child: from now on it ends when its parent does, whatever it is busy with."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this runs in a child

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _nothing() -> None:
    """Work that starts a process."""
