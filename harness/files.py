"""Files that are either whole or absent: locks, atomic writes, hashes and full disks."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import glob
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from harness.errors import DataError, causes

_FOLDERS = "(HARNESS_DATA is the data's, MINARI_DATASETS_PATH Minari's)"
_CHUNK = 2**20  # bytes read at once
_LOOK = 0.1  # seconds between two looks at a lock
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXT = re.compile(rf"No space left|Disk quota exceeded|errno = ({_FULL[0]}|{_FULL[1]})\b")


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the right to write ``path``; another process that wants it waits.

    The lock is the operating system's, so it ends with the process however that ends.

    Args:
        path: The file.
        waiting: Called again and again while another process holds it; what it raises ends the wait.

    Raises:
        DataError: The folder cannot be made or written, or its file system has no locks.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock_file(path.parent / f".{path.name}.lock")
    with lock:
        while not _take(lock, path):
            waiting()
            time.sleep(_LOOK)
        # what a killed holder of the lock left; other files' temporaries have no digit after the name
        for stale in path.parent.glob(f".{glob.escape(path.name)}.[0-9]*.tmp"):
            with contextlib.suppress(OSError):  # in a folder that people share, another one's
                stale.unlink()
        yield


def _lock_file(place: Path) -> TextIO:
    try:
        return place.open("a")
    except PermissionError:  # in a folder that people share, another one's
        return place.open()


def _take(lock: TextIO, path: Path) -> bool:
    """Whether the lock was to be had."""
    import fcntl  # not on Windows, where what writes no data works too

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # as on Lustre that is mounted without them
        raise DataError(
            f"cannot lock {path}: {error.strerror}; its file system lacks flock; name a folder on another "
            f"{_FOLDERS}"
        ) from error
    return True


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary file in the same folder, renamed to ``path`` if the block ends well.

    Raises:
        DataError: It cannot be written, for example because the disk is full.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp"
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            publish(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # on a disk that is only read even where nothing is there
            temporary.unlink()


def publish(temporary: Path, path: Path) -> None:
    """Bring a finished file or folder to the disk, then under its final name, whole or not at all."""
    for file in [temporary, *temporary.rglob("*")]:
        _sync(file)
    temporary.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name != "posix":  # where a folder cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def explained(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn the operating system's complaints about writing ``path`` into a sentence.

    Args:
        path: The file being written.
        needed: Bytes still to be written, if known.

    Raises:
        DataError: Instead of the ``OSError``, and of what libraries make of a full disk.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if _is_full(error):
            raise _full(path, needed) from error
        if isinstance(error, RuntimeError):
            raise
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def _is_full(error: BaseException | None) -> bool:
    # h5py puts the number of the error into its text only; torch raises another error over it
    return any(
        (isinstance(each, OSError) and each.errno in _FULL) or _FULL_TEXT.search(str(each))
        for each in causes(error)
    )


def require_space(path: Path, needed: int) -> None:
    """Complain before the work begins if the disk cannot take ``needed`` more bytes at ``path``.

    Raises:
        DataError: Too little is free.
    """
    if shutil.disk_usage(path.parent).free < needed:
        raise _full(path, needed)


def _full(path: Path, needed: int | None) -> DataError:
    wanted = "" if needed is None else f", which needs {needed:,} more bytes"
    free = shutil.disk_usage(next(folder for folder in path.absolute().parents if folder.exists())).free
    return DataError(
        f"no space left to write {path}{wanted} ({free:,} are free); "
        f"make room, or name a folder on a larger disk {_FOLDERS}, "
        "then run the same command again"
    )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a small JSON file atomically.

    Raises:
        DataError: It cannot be written.
    """
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if there is no such file or it holds something else."""
    try:
        content = json.loads(path.read_text())
    except (OSError, RecursionError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def is_name(name: str) -> bool:
    """Whether that names a file and no folder beside it, on any system."""
    return name not in ("", ".", "..") and not any(c in "/\\" or not c.isprintable() for c in name)


def inside(folder: Path, name: str) -> Path:
    """The file of that name in a folder, whoever gave the name: it never leads elsewhere.

    Raises:
        DataError: The name is not that of a file alone.
    """
    if not is_name(name):
        raise DataError(
            f"{name!r} should be the name of a file in {folder} and nothing else; it was not written by this "
            "program, and nothing is read or deleted by it"
        )
    return folder / name


_MOUNTS = Path("/proc/self/mountinfo")
_OVER_NETWORKS = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|afs|ceph|lustre|gpfs|beegfs\w*|glusterfs|panfs|orangefs|wekafs|daos"
    r"|fuse\.(sshfs|glusterfs\w*|ceph\S*|s3fs|gcsfuse|lustre\w*|beegfs\w*|juicefs|dfuse)"
)


def network_file_system(path: Path) -> str | None:
    """The kind of the network file system that a path lies on; None on a local one, or where none is told.

    Args:
        path: a file or folder, which need not exist yet.
    """
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return None
    path, nearest, kind = real(path), "", ""
    for line in lines:  # in the order of mounting: of two at one place the later one is seen
        before, _, after = line.partition(" - ")
        place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
        if path.is_relative_to(place) and len(place) >= len(nearest):
            nearest, kind = place, after.split()[0]
    return kind if _OVER_NETWORKS.fullmatch(kind) else None


def real(path: Path) -> Path:
    """The absolute path with its links followed; as it is where they lead in a circle.

    That is said by whoever then opens it, where `Path.resolve` raises an error of another kind.
    """
    return Path(os.path.realpath(path))


def listed(folder: Path, pattern: str) -> list[Path]:
    """What of a folder has a name of a pattern, sorted; nothing where there is no such folder.

    Raises:
        OSError: The folder cannot be read, which `Path.glob` passes over in silence.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(folder / name for name in fnmatch.filter(names, pattern))


def seal(path: Path) -> None:
    """Append the SHA-256 of what a file holds to it."""
    digest = bytes.fromhex(sha256(path))
    with path.open("ab") as file:
        file.write(digest)


def sealed(file: BinaryIO) -> bool:
    """Whether an open file ends in the SHA-256 of all before, as `seal` left it; it is at its start again."""
    length = file.seek(0, os.SEEK_END) - hashlib.sha256().digest_size
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(min(_CHUNK, length - file.tell())):
        digest.update(chunk)
    whole = length >= 0 and file.read() == digest.digest()
    file.seek(0)
    return whole


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
