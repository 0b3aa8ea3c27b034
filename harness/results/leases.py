"""Who works on a run: owners are processes, named so that a dead one can be told from a living one."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

from harness.errors import HarnessError

#: A run whose owner has not been heard of for this many seconds may be taken over.
LEASE_SECONDS = 90.0
#: The variable that names the job which a process is part of; a job that is started again keeps its name.
JOB = "HARNESS_JOB"


class LeaseLostError(HarnessError):
    """Runs that another process took over, or that are no longer running; nothing was written for them.

    Attributes:
        keys: keys of the runs that were lost.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = tuple(keys)
        shown = ", ".join(key[:12] for key in self.keys[:3]) + (", …" if len(self.keys) > 3 else "")
        super().__init__(
            f"this process no longer holds {len(self.keys)} run(s) ({shown}): another process took them over "
            f"or ended them; stop training them here"
        )


def owner_id() -> str:
    """This process as ``host:pid:start``; no other process has that name, even if it gets the same pid.

    In a job (see `JOB`) it is ``job@host:pid:start``.
    """
    return _owner_id(os.getpid())


@functools.lru_cache(maxsize=1)
def _owner_id(pid: int) -> str:
    job = os.environ.get(JOB)
    return f"{f'{job}@' if job else ''}{platform.node()}:{pid}:{_pid_namespace()}.{_start_time(pid)}"


def job_of(owner: str) -> str | None:
    """The job that a process, by a name given by `owner_id`, was started in; None if in none."""
    return owner.rpartition("@")[0] or None


def is_alive(owner: str, *, unknown: bool = True) -> bool:
    """Whether that process may still be running.

    Only a process of this host can be known to be dead, and one of an earlier life of the job that this
    process is in. Elsewhere, and where the process cannot be looked up (another container of this host, a
    system without ``/proc`` and ``ps``), the heartbeat decides.

    Args:
        owner: a name given by `owner_id`.
        unknown: the answer where it cannot be known.
    """
    job = job_of(owner)
    if job and job == os.environ.get(JOB) and owner != owner_id():
        return False  # an engine starts a job again when its earlier life is over
    try:
        host, pid, started = owner.rpartition("@")[2].rsplit(":", 2)
        namespace, start = started.split(".")
        number = int(pid)
    except ValueError:
        return unknown
    if host != platform.node() or namespace != _pid_namespace() or start == "unknown":
        return unknown
    found = _start_time(number)
    return unknown if found == "unknown" else found == start


@functools.cache
def _pid_namespace() -> str:
    """Pids mean something within one namespace only; containers may share a host name and not the pids."""
    try:
        return "".join(filter(str.isdigit, str(Path("/proc/self/ns/pid").readlink())))
    except OSError:
        return "0"


def _start_time(pid: int) -> str:
    """When that process started, in the system's own unit; ``gone`` or ``unknown`` if that cannot be said."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return "gone"
        except OSError:
            return "unknown"
        # The second field is the command's name in brackets, which may itself hold spaces and brackets.
        fields = stat.rpartition(")")[2].split()
        return "gone" if fields[0] in ("Z", "X") else fields[19]
    try:
        ps = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return "".join(filter(str.isalnum, ps.stdout)) or "gone"
