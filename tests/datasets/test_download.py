"""Downloads from a server that misbehaves."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest

from harness import files
from harness.datasets.download import Retry, download
from harness.errors import DataError

IMPATIENT = Retry(attempts=4, backoff=0.01, longest=0.02, connect_timeout=2, read_timeout=0.3)
PROGRAM = """
import sys
from pathlib import Path
from harness.datasets.download import download
download([sys.argv[1]], Path(sys.argv[2]))
"""


@pytest.fixture
def target(tmp_path):
    return tmp_path / "data" / "d4rl" / "hopper_medium-v2.hdf5"


def visible(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir() if not path.name.endswith(".lock")}


def start_process(url: str, target: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, str(target)], env={**os.environ, "NO_PROXY": "127.0.0.1"}
    )


def test_a_good_server(server, target):
    seen = []
    assert download([server.url], target, progress=lambda *step: seen.append(step)) == target
    assert target.read_bytes() == server.content
    assert visible(target) == {target.name}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (len(server.content), len(server.content))


def test_a_file_that_is_there_is_not_asked_for(server, target):
    target.parent.mkdir(parents=True)
    target.write_bytes(b"here")
    download([server.url], target)
    assert server.requests == []
    assert target.read_bytes() == b"here"


@pytest.mark.parametrize("trouble", ["send_half", "stall", "reset", "error_500"])
def test_trouble_is_retried_from_where_it_happened(server, target, trouble):
    server.script = [trouble, trouble, "serve"]
    download([server.url], target, retry=IMPATIENT)
    assert target.read_bytes() == server.content
    assert visible(target) == {target.name}
    assert len(server.requests) == 3
    if trouble != "error_500":
        begins = [int(r.get("Range", "bytes=0-").removeprefix("bytes=")[:-1]) for r in server.requests]
        assert 0 == begins[0] < begins[1] < begins[2]


def test_more_troubles_than_attempts_do_not_matter_while_bytes_arrive(server, target):
    server.script = ["send_half"] * 6 + ["serve"]
    download([server.url], target, retry=IMPATIENT)
    assert target.read_bytes() == server.content


def test_giving_up_keeps_the_part(server, target):
    server.script = ["send_half", "error_500"]
    with pytest.raises(DataError, match=r"500.*gave up after 4 attempts.*bytes are kept"):
        download([server.url], target, retry=IMPATIENT)
    assert not target.exists()
    kept = target.with_name(target.name + ".part").stat().st_size
    assert kept > 0
    server.script = ["serve"]
    download([server.url], target, retry=IMPATIENT)
    assert server.requests[-1]["Range"] == f"bytes={kept}-"
    assert target.read_bytes() == server.content


@pytest.mark.parametrize("second", ["ignore_range", "continue_elsewhere"])
def test_a_server_that_does_not_continue_begins_anew(server, target, second):
    server.script = ["send_half", second, "serve"]
    download([server.url], target, retry=IMPATIENT)
    assert target.read_bytes() == server.content


@pytest.mark.parametrize("honest", [True, False])
@pytest.mark.parametrize("etag", [True, False])
def test_a_file_that_changed_between_attempts_begins_anew(server, target, honest, etag):
    if not etag:
        server.etag = None
    server.script = ["send_half"]
    with pytest.raises(DataError):
        download([server.url], target, retry=Retry(attempts=1, backoff=0))
    # another version, longer where there is no tag to tell it
    server.content = server.content[:8] + bytes(len(server.content) - (8 if etag else 0))
    if etag:
        server.etag = '"two"'
    server.script = ["serve" if honest else "ignore_if_range"]
    download([server.url], target, retry=IMPATIENT)
    assert target.read_bytes() == server.content


def test_a_part_longer_than_the_file_begins_anew(server, target):
    server.script = ["send_half"]
    with pytest.raises(DataError):
        download([server.url], target, retry=Retry(attempts=1, backoff=0))
    server.content = server.content[:20_000]
    server.script = ["ignore_if_range"]
    download([server.url], target, retry=IMPATIENT)
    assert target.read_bytes() == server.content


def test_a_complete_part_only_needs_its_name(server, target):
    server.script = ["send_half"]
    with pytest.raises(DataError):
        download([server.url], target, retry=Retry(attempts=1, backoff=0))
    target.with_name(target.name + ".part").write_bytes(server.content)
    asked = len(server.requests)
    download([server.url], target)
    assert len(server.requests) == asked
    assert target.read_bytes() == server.content


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("error_404", "404"),
        ("web_page", "web page"),
        ("disguised_web_page", "not of the format .*: it begins with b'<!doctype"),
    ],
)
def test_what_no_retry_can_mend_is_not_retried(server, target, behaviour, message):
    server.script = [behaviour]
    with pytest.raises(DataError, match=message):
        download([server.url], target, retry=IMPATIENT)
    assert len(server.requests) == 1
    assert visible(target) == set()


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("gzipped", "the server sent it as gzip, which nobody asked for"),
        ("endless", r"sends more than the [\d,]+ bytes that it should have"),
        ("round_and_round", "Exceeded 30 redirects"),
        ("to_a_file", "No connection adapters were found for 'file:///etc/passwd'"),
        ("too_many_headers", "got more than 100 headers"),
    ],
)
def test_a_server_that_plays_tricks_is_given_up_at_once(server, target, behaviour, message):
    server.script = [behaviour]
    with pytest.raises(DataError, match=message):
        download([server.url], target, size=len(server.content), retry=IMPATIENT)
    assert len(server.requests) == (31 if behaviour == "round_and_round" else 1)
    assert visible(target) == set()


@pytest.mark.parametrize("behaviour", ["drip", "drip_header", "drip_continue", "drip_chunk"])
def test_a_byte_now_and_then_is_not_waited_for(server, target, behaviour):
    server.script = [behaviour]
    retry = Retry(attempts=4, backoff=0.01, read_timeout=5, grace=0.3)
    kept = r", \d+ bytes are kept" if behaviour == "drip" else ""
    start = time.monotonic()
    with pytest.raises(DataError, match=f"fewer than 1,000 bytes a second{kept}"):
        download([server.url], target, retry=retry)
    assert time.monotonic() - start < 3
    assert not target.exists()


def test_a_download_that_was_given_up_writes_nothing_more(server, target):
    server.script = ["drip", "serve"]
    download([server.url] * 2, target, retry=Retry(grace=0.3))
    time.sleep(0.2)  # the first one goes on meanwhile
    assert target.read_bytes() == server.content
    assert visible(target) == {target.name}


def test_a_file_of_unknown_size_is_taken_up_to_a_limit(server, target):
    server.script = ["endless"]
    with pytest.raises(DataError, match=r"more than the 3,000,000 bytes that a file of unknown size may"):
        download([server.url], target, retry=Retry(largest=3_000_000))
    assert len(server.requests) == 1
    assert visible(target) == set()


def test_what_breaks_and_cannot_go_on_is_not_asked_for_again(server, target):
    server.script = ["endless_unless_it_breaks"]
    with pytest.raises(DataError, match=r"after [\d,]+ bytes of a file of unknown size"):
        download([server.url], target, retry=IMPATIENT)
    assert len(server.requests) == 1
    assert visible(target) == set()


def test_what_a_redirect_says_is_not_read(server, target):
    server.script = ["redirect_with_a_body", "serve"]
    download([server.url], target, retry=IMPATIENT)
    assert target.read_bytes() == server.content


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_bundle_of_certificates_that_is_missing_is_a_sentence(target, monkeypatch, variable):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, "/nowhere")
    with pytest.raises(DataError, match="TLS CA certificate bundle, invalid path: /nowhere"):
        download(["https://127.0.0.1/x.hdf5"], target, retry=IMPATIENT)


def test_urls_are_tried_in_order_and_each_is_said(server, target):
    said = []
    server.script = ["error_404", "web_page", "serve"]
    urls = [server.url.replace("hopper", name) for name in ("a", "b", "c")]
    download(urls, target, say=said.append, retry=IMPATIENT)
    assert target.read_bytes() == server.content
    assert [path.rpartition("/")[2][0] for path in server.paths] == ["a", "b", "c"]
    assert len(said) == 2
    assert "404" in said[0]
    assert "trying the next URL" in said[0]
    assert "web page" in said[1]
    target.unlink()
    server.script = ["error_404"]
    with pytest.raises(DataError, match=r"a_medium.*404.*; .*b_medium.*404"):
        download(urls[:2], target, retry=IMPATIENT)


def test_another_size_than_expected_is_refused_before_the_transfer(server, target):
    with pytest.raises(DataError, match="but the spec says 5"):
        download([server.url], target, size=5, retry=IMPATIENT)
    assert visible(target) == set()


def test_a_wrong_content_length_is_caught_by_the_check(server, target):
    server.script = ["understate_length"]

    def check(path):
        try:
            h5py.File(path).close()
        except OSError as error:
            raise DataError(f"truncated: {error}") from error

    with pytest.raises(DataError, match="not usable: truncated"):
        download([server.url], target, check=check, retry=IMPATIENT)
    assert visible(target) == set()


def test_an_unreachable_server_and_a_bad_url(server, target):
    server.close()
    with pytest.raises(DataError, match=r"the connection failed \(.*refused.*gave up after 2"):
        download([server.url], target, retry=Retry(attempts=2, backoff=0))
    with pytest.raises(DataError, match="cannot download nowhere"):
        download(["nowhere"], target)


def test_too_little_space_is_said_before_the_transfer(server, target, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DataError, match=f"needs {len(server.content):,} more bytes \\(1,000 are free"):
        download([server.url], target)
    assert not target.exists()


def test_a_disk_that_fills_up_keeps_the_part(server, target, monkeypatch):
    real = Path.open
    written = 0

    class Full(io.FileIO):
        def write(self, data):
            nonlocal written
            if written > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            # as the system does near the end of a disk: only some of the bytes
            written += (count := super().write(memoryview(data)[:30_000]))
            return count

    def open_(self, mode="r", *args, **kwargs):
        return (
            Full(self, mode)
            if self.name.endswith(".part") and "a" in mode
            else real(self, mode, *args, **kwargs)
        )

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_)
        with pytest.raises(DataError, match=r"no space left .* more bytes .*HARNESS_DATA"):
            download([server.url], target, retry=IMPATIENT)
    assert not target.exists()
    assert target.with_name(target.name + ".part").stat().st_size == written
    download([server.url], target)
    assert server.requests[-1]["Range"] == f"bytes={written}-"
    assert target.read_bytes() == server.content


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        download([server.url], tmp_path / "file" / "x.hdf5")


def test_a_killed_download_goes_on(server, target):
    server.script = ["stall", "serve"]
    process = start_process(server.url, target)
    part = target.with_name(target.name + ".part")
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 100_000):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    kept = part.stat().st_size
    download([server.url], target)
    assert server.requests[-1]["Range"] == f"bytes={kept}-"
    assert target.read_bytes() == server.content


def test_two_processes_download_once(server, target):
    server.script = ["serve_slowly"]
    processes = [start_process(server.url, target) for _ in range(2)]
    assert [process.wait(30) for process in processes] == [0, 0]
    assert len(server.requests) == 1
    assert target.read_bytes() == server.content
    assert visible(target) == {target.name}
