"""Downloads by Minari, in a process of its own: its clients would wait for a slow server for ever."""

from __future__ import annotations

import contextlib
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path

from harness import processes
from harness.datasets.apart import limit_memory
from harness.datasets.download import Progress, Retry
from harness.errors import DataError

_MEMORY = 2**32  # bytes; what a server sends packed may unfold to any size
_LOOK = 0.2  # seconds between two looks at what has come


class ClientError(Exception):
    """What Minari, or the client of its storage, says of a download that failed."""


def fetch(
    name: str, folder: Path, retry: Retry | None = None, progress: Progress = lambda done, total: None
) -> None:
    """Let Minari download a dataset into a folder.

    Args:
        name: The id in Minari.
        folder: Takes the place of Minari's own; whoever calls removes it.
        retry: How slow and how large the download may be.
        progress: Called again and again with bytes so far; what it raises ends the download.

    Raises:
        ClientError: Minari cannot download it.
        DataError: It comes too slowly, or is too large.
        EnvironmentUnusableError: The code has changed since this command began.
    """
    retry = retry or Retry()
    start, child = time.monotonic(), processes.Child(_serve, name, folder)
    try:
        while not child.connection.poll(_LOOK):
            came = _bytes(folder)
            progress(came, None)
            retry.require_pace(time.monotonic() - start, came, f"Minari's {name!r}")
            if came > retry.largest:
                raise DataError(
                    f"cannot download Minari's {name!r}: the server sends more than the {retry.largest:,} "
                    "bytes that a dataset may have here"
                )
        problem = child.connection.recv()
    except EOFError:
        child.died()
        problem = "the process that downloads it died, perhaps for want of memory"
    finally:
        child.end()
    if problem is not None:
        raise ClientError(problem)


def _bytes(folder: Path) -> int:
    """What lies below a folder in which another process makes, renames and removes files."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(place, name).lstat().st_size
    return total


def _serve(connection: Connection, name: str, folder: Path) -> None:
    """Body of the process: sends None at the end, or why there is no dataset."""
    processes.end_with_parent()
    os.dup2(2, 1)  # what Minari prints is for a person
    os.environ.update(MINARI_DATASETS_PATH=str(folder), HF_HUB_DISABLE_PROGRESS_BARS="1")
    # small files come by way of there, and are looked at, too
    os.environ["HF_HUB_CACHE"] = os.environ["HF_XET_CACHE"] = str(folder / ".cache")
    limit_memory(_MEMORY)
    try:
        import minari

        minari.download_dataset(name)
    except ImportError as error:
        connection.send(f"{error}")
    # whatever the client of Minari's storage raises: there are several, each with errors of its own
    except Exception as error:
        connection.send(f"{str(error).strip() or type(error).__name__} (is the network up?)")
    else:
        connection.send(None)
