"""Reading in a child process with limits: a file that crashes or stalls a library ends only that."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from harness import processes
from harness.errors import DataError

Arrays = dict[str, NDArray[Any]]

_CPU_SECONDS, _BYTES_A_SECOND = 1.5, 2e6  # the slowest reading of a healthy file that was seen makes 50 MB/s
_MEMORY, _MEMORY_A_BYTE = 2**31, 100  # what may be taken besides what is there, and more for each byte read
_WALL = 20  # times the processor time, for disks and machines that are slow
_START = 60  # seconds until the libraries are loaded
_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from harness.datasets import apart
apart.main()
"""


def call(
    function: Callable[..., Arrays], place: Path, *arguments: Any, libraries: tuple[str, ...] = ()
) -> Arrays:
    """What a function makes of a file, called in a process of its own that has limits of time and memory.

    Args:
        function: Of a module, found there by its name; takes the place and the arguments, returns numbers.
        place: The file or folder that it reads, whose size sets the limits.
        arguments: Further ones, as JSON has them.
        libraries: Modules that take long to import; loaded before the limits hold.

    Raises:
        DataError: The function raised it, or reading crashed, took too long or too much memory.
    """
    size = _size(place)
    seconds = _CPU_SECONDS + size / _BYTES_A_SECOND
    memory = _MEMORY + size * _MEMORY_A_BYTE
    task = [libraries, function.__module__, function.__qualname__, seconds, memory, str(place), *arguments]
    command = [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), json.dumps(task)]
    with processes.deaf():
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    timer = threading.Timer(_START + seconds * _WALL, child.kill)
    timer.daemon = True
    with child:
        timer.start()
        try:
            assert child.stdout is not None  # noqa: S101 - it is a pipe
            answer = _receive(child.stdout)
        finally:
            stopped = not timer.is_alive()
            timer.cancel()
            child.kill()  # it has said everything, or nobody listens any more
    if answer is None:
        raise DataError(f"{place} cannot be read: {_why(child.returncode, seconds, stopped=stopped)}")
    return answer


def _size(place: Path) -> int:
    found = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in found)


def _receive(stream: IO[bytes]) -> Arrays | None:
    """The child's arrays; None where it ended before it had sent them.

    Raises:
        DataError: What the child says of the file.
    """
    try:
        head = json.loads(stream.readline() or b"null")
    except ValueError:
        return None
    if head is None:
        return None
    if "refused" in head:
        raise DataError(head["refused"])
    if "raised" in head:
        raise RuntimeError(head["raised"])
    arrays: Arrays = {}
    for name, kind, shape in head["arrays"]:
        arrays[name] = np.empty(shape, np.dtype(kind))
        rest = arrays[name].reshape(-1).view(np.uint8).data
        while rest:
            if not (got := stream.readinto(rest)):  # type: ignore[attr-defined] # a BufferedReader has it
                return None
            rest = rest[got:]
    return arrays


def _why(status: int, seconds: float, *, stopped: bool) -> str:
    if stopped or status == -signal.SIGXCPU:
        return f"reading it was stopped after {seconds:,.0f} seconds; it is damaged"
    if status < 0:
        return f"reading it crashed the library ({signal.Signals(-status).name}); it is damaged"
    return f"the process that reads it ended with status {status}, perhaps for want of memory"


def main() -> None:
    """In the child: do what the arguments say and write the arrays to stdout."""
    libraries, module, name, seconds, memory, place, *arguments = json.loads(sys.argv[2])
    arrays: Arrays = {}
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)  # what libraries print must not get between
        try:
            function = getattr(importlib.import_module(module), name)
            for library in libraries:
                importlib.import_module(library)
            _limit(seconds, memory)
            arrays = {
                key: np.ascontiguousarray(array) for key, array in function(Path(place), *arguments).items()
            }
            head: dict[str, Any] = {
                "arrays": [(key, each.dtype.str, each.shape) for key, each in arrays.items()]
            }
        except DataError as error:
            head = {"refused": str(error)}
        except MemoryError:
            head = {"refused": f"{place} takes more than {memory / 1e9:.1f} GB of memory to read"}
        except BaseException:  # a defect, which the parent raises
            head = {"raised": traceback.format_exc()}
        answer.write(json.dumps(head).encode() + b"\n")
        for array in arrays.values():
            answer.write(array.reshape(-1).view(np.uint8).data)
    os._exit(0)  # a library that was given damaged data may fail when it is put away


def _limit(seconds: float, memory: int) -> None:
    """Allow only so much processor time and memory besides what was taken so far, and no core file."""
    import resource  # not on Windows

    usage = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime + seconds + 1))
    limit_memory(memory)


def limit_memory(memory: int) -> None:
    """Allow this process only so many bytes besides what it has taken so far; on Linux."""
    import resource

    with contextlib.suppress(OSError):  # not on macOS
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)


def _lower(kind: int, wanted: int) -> None:
    import resource

    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
