"""What is written is whole or absent, and every complaint of the operating system becomes a sentence."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest
import torch

from harness import files
from harness.errors import DataError


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def lacking(lock, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", lacking)
    with (
        pytest.raises(
            DataError, match=r"cannot lock .*/data: No locks available; .* name a folder on another"
        ),
        files.locked(tmp_path / "data"),
    ):
        pass


def test_a_lock_in_a_folder_that_people_share_may_be_another_ones(tmp_path, monkeypatch):
    (tmp_path / ".data.lock").touch()
    (tmp_path / ".data.123-4.tmp").touch()
    real = Path.open

    def open_(self, mode="r", *arguments, **keywords):
        if "a" in mode:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self, mode, *arguments, **keywords)

    def unlink(self, **keywords):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "open", open_)
    monkeypatch.setattr(Path, "unlink", unlink)
    with files.locked(tmp_path / "data"):
        assert (tmp_path / ".data.123-4.tmp").exists()


def test_no_room_for_a_folder_is_a_full_disk(tmp_path):
    with pytest.raises(DataError, match="no space left"), files.explained(tmp_path / "a" / "b" / "data"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_known_behind_what_libraries_make_of_it(tmp_path):
    for complaint in (
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("flush failed (errno = 28, error message = 'No sp')"),  # h5py's
        RuntimeError("flush failed (errno = 122, error message = 'Disk quota exceeded')"),
    ):
        with pytest.raises(DataError, match="no space left to write"), files.explained(tmp_path / "data"):
            raise complaint
    with (
        pytest.raises(DataError, match="no space left to write"),
        files.explained(tmp_path / "data"),
        Path("/dev/full").open("wb") as full,
    ):
        torch.save({"weight": torch.zeros(10)}, full)


def test_another_error_of_a_library_stays_what_it_is(tmp_path):
    with pytest.raises(RuntimeError, match="bug"), files.explained(tmp_path / "data"):
        raise RuntimeError("a bug")


def test_a_folder_is_published_whole(tmp_path, monkeypatch):
    """All of it is on the disk before it gets its name, and the name after that."""
    synced = []
    monkeypatch.setattr(
        files, "_sync", lambda path: synced.append((path.name, (tmp_path / "final").exists()))
    )
    (tmp_path / "new" / "deep").mkdir(parents=True)
    (tmp_path / "new" / "deep" / "file").write_text("content")
    files.publish(tmp_path / "new", tmp_path / "final")
    assert (tmp_path / "final" / "deep" / "file").read_text() == "content"
    assert not (tmp_path / "new").exists()
    assert sorted(synced[:-1]) == [("deep", False), ("file", False), ("new", False)]
    assert synced[-1] == (tmp_path.name, True)


def test_a_disk_that_is_only_read(tmp_path, monkeypatch):
    """There even the removal of what is not there is refused."""

    def refused(self, *arguments, **keywords):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(DataError, match=r"cannot write .*: Read-only file system"):
        files.write_json(tmp_path / "card", {})
