"""Reading in a child process: what crashes, stalls or eats memory there is a sentence here."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from harness import datasets
from harness.datasets import apart, hdf5
from harness.errors import DataError
from harness.specs.models import D4RLSource

# -- what the child is asked to do; found there by its name --------------------------------------------------


def crash(place):
    os.kill(os.getpid(), signal.SIGSEGV)


def stall(place):
    while True:
        pass


def eat(place):
    return {"x": np.ones(10**11, np.uint8)}


def refuse(place):
    raise DataError(f"{place} is no good")


def err(place):
    return {"x": 1 / 0}


def leave(place):
    os._exit(3)


def chatter(place, text):
    os.write(1, b"something that a library says\n")
    return {"text": np.array(text.encode()), "empty": np.empty((0, 3), np.float32), "two": np.eye(2)[:, ::-1]}


@pytest.fixture
def call(tmp_path, monkeypatch):
    place = tmp_path / "file"
    place.write_bytes(b"")
    monkeypatch.syspath_prepend(Path(__file__).parent)
    for function in (crash, stall, eat, refuse, err, leave, chatter):
        monkeypatch.setattr(function, "__module__", "test_apart")
    return lambda function, *arguments: apart.call(function, place, *arguments)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (crash, r"file cannot be read: reading it crashed the library \(SIGSEGV\); it is damaged"),
        (stall, r"file cannot be read: reading it was stopped after 2 seconds"),
        (eat, r"file takes more than 2\.1 GB of memory to read"),
        (refuse, "^/.*file is no good$"),
        (leave, "ended with status 3"),
    ],
)
def test_what_goes_wrong_in_the_child_is_a_sentence(call, function, message):
    start = time.monotonic()
    with pytest.raises(DataError, match=message):
        call(function)
    assert time.monotonic() - start < 30


def test_a_defect_keeps_its_traceback(call):
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*1 / 0.*ZeroDivisionError"):
        call(err)


def test_arrays_arrive_as_they_were_whatever_libraries_print(call):
    got = call(chatter, "ä")
    assert got["text"].item().decode() == "ä"
    assert got["empty"].shape == (0, 3)
    np.testing.assert_array_equal(got["two"], [[0, 1], [1, 0]])


def test_a_child_that_hangs_without_working_is_stopped_too(call, monkeypatch):
    monkeypatch.setattr(apart, "_START", 0.2)
    monkeypatch.setattr(apart, "_WALL", 0)
    with pytest.raises(DataError, match="reading it was stopped"):
        call(stall)


def test_a_file_with_a_known_hash_is_not_opened_before_it_is_compared(make_dataset, tmp_path, monkeypatch):
    place = tmp_path / "data" / "d4rl" / "hopper-medium-v2.hdf5"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"anything")
    monkeypatch.setattr(hdf5, "read_rows", lambda *_, **__: pytest.fail("was opened"))
    spec = make_dataset(d4rl=D4RLSource(url="http://127.0.0.1/x.hdf5", sha256="0" * 64))
    with pytest.raises(DataError, match="SHA-256"):
        datasets.load(spec, "d4rl", tmp_path / "data")


def test_a_file_of_first_use_is_read_apart_and_afterwards_here(
    make_dataset, tmp_path, monkeypatch, hdf5_file
):
    place = tmp_path / "data" / "d4rl" / "hopper-medium-v2.hdf5"
    place.parent.mkdir(parents=True)
    hdf5_file.rename(place)
    spec = make_dataset(d4rl=D4RLSource(url="http://127.0.0.1/x.hdf5"))
    real, calls = apart.call, []
    monkeypatch.setattr(apart, "call", lambda *args, **more: calls.append(args) or real(*args, **more))
    first = datasets.load(spec, "d4rl", tmp_path / "data")
    assert len(calls) == 1
    assert datasets.load(spec, "d4rl", tmp_path / "data").content_hash == first.content_hash
    assert len(calls) == 1


def test_a_file_that_is_being_written_is_said_to_be(hdf5_file):
    with hdf5_file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="is being written by another program; try again"):
            hdf5.read_rows(hdf5_file)
    hdf5.read_rows(hdf5_file)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks_is_read_all_the_same(hdf5_file, monkeypatch, number):
    real = h5py.File

    def lacking(place, mode, locking=None):
        if locking is None:
            text = f"[Errno {number}] Unable to open file (unable to lock file, errno = {number}, ...)"
            raise OSError(number, text)
        return real(place, mode, locking=locking)

    monkeypatch.setattr(h5py, "File", lacking)
    assert len(hdf5.read_rows(hdf5_file, trusted=True)["rewards"]) == 6000


def test_a_newer_hdf5_is_not_called_damaged(hdf5_file):
    content = bytearray(hdf5_file.read_bytes())
    content[8] = 99  # the version of the superblock
    hdf5_file.write_bytes(content)
    with pytest.raises(DataError, match=r"of a newer format than HDF5 [\d.]+ reads: install h5py anew"):
        hdf5.read_rows(hdf5_file)


def test_what_the_system_refuses_is_not_called_damaged(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"^the system refuses: No such file or directory: .*nothing.h5$"):
        hdf5.read_rows(tmp_path / "nothing.h5", trusted=True)
    monkeypatch.setattr(h5py, "File", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EMFILE, "x")))
    with pytest.raises(DataError, match=r"Too many open files: .*; allow more of them"):
        hdf5.read_rows(tmp_path / "nothing.h5", trusted=True)


def test_damaged_files_are_read_or_refused_and_crash_nothing(tmp_path):
    """A few of the thousands that were tried, those among them that crash or stall the library itself."""
    with h5py.File(tmp_path / "good.h5", "w") as file:
        file["actions"], file["rewards"] = np.zeros((60, 3)), np.zeros(60)
        file.create_dataset("observations", data=np.ones((60, 11)), compression="gzip", chunks=(20, 11))
        file["terminals"], file["timeouts"] = np.zeros(60, bool), np.zeros(60, bool)
    good, random = (tmp_path / "good.h5").read_bytes(), np.random.default_rng(0)
    for _ in range(6):
        bad = bytearray(good)
        for place in random.integers(0, len(bad), 30):
            bad[place] = random.integers(256)
        (tmp_path / "bad.h5").write_bytes(bad)
        with contextlib.suppress(DataError):
            hdf5.read_rows(tmp_path / "bad.h5", everything=True)
