"""Downloads that resume, verify, retry and never leave a half file under the final name."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3

from harness import files
from harness.errors import DataError, causes, masked

_CHUNK = 1 << 16
_LOOK = 0.1  # seconds between two looks at how fast a download is

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Retry:
    """How patient a download is.

    Attributes:
        attempts: Attempts in a row that may bring nothing new before giving up.
        lookups: As `attempts`, for a server whose name cannot be found: mostly there is no network at all.
        backoff: Seconds before the second attempt; doubles with each further one.
        longest: Most seconds between two attempts.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds without a byte after which a transfer counts as stalled.
        slowest: Bytes a second below which a download is given up, on average since it began.
        grace: Seconds before that is looked at.
        largest: Bytes that a file may have of which neither the spec nor the server says how many it has.
    """

    attempts: int = 6
    lookups: int = 2
    backoff: float = 1.0
    longest: float = 60.0
    connect_timeout: float = 15.0
    read_timeout: float = 60.0
    slowest: float = 1000.0
    grace: float = 120.0
    largest: int = 10_000_000_000

    def require_pace(self, seconds: float, came: int, what: str, kept: str = "") -> None:
        """Complain where too little has come in the time so far.

        Args:
            seconds: Since the download began.
            came: Bytes since then.
            what: Is downloaded.
            kept: What is said of the bytes that stay, if any do.

        Raises:
            DataError: It has.
        """
        if seconds > self.grace + came / self.slowest:
            slow = f"the server sends fewer than {self.slowest:,.0f} bytes a second"
            raise DataError(f"cannot download {what}: {slow}{kept}")


class _TransientError(Exception):
    """Something that another attempt may mend."""


class _ChangedError(_TransientError):
    """The server's file is not the one that the part on disk began."""


def download(
    urls: Sequence[str],
    destination: Path,
    *,
    size: int | None = None,
    begins: bytes = b"\x89HDF\r\n\x1a\n",
    check: Callable[[Path], None] | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda text: None,
    retry: Retry | None = None,
) -> Path:
    """Download a file from the first server that has it, going on from an earlier attempt's part if it can.

    Bytes are collected in ``<destination>.part``, and ``<destination>.part.json`` says which file they began.
    Proxies come from the environment, as ``requests`` reads it. Of two processes that want the same file,
    one waits and then finds it there.

    Args:
        urls: Where the file is, tried in order.
        destination: Its final name; if it exists, nothing is done.
        size: Bytes that the file must have, if known; no more are taken.
        begins: How the file begins; of HDF5 where nothing is said.
        check: Examines the complete part before it gets its name; raises DataError to refuse it.
        progress: Called again and again with bytes so far and in total (None if unknown); what it raises ends
            the download.
        say: Called with why a URL was given up, where another is left.
        retry: How patient to be.

    Returns:
        ``destination``.

    Raises:
        DataError: Each server refuses, keeps failing, is too slow or serves something else; or the disk is
            full. A part that can be continued is kept.
    """
    wanted = _Wanted(size, begins, progress or (lambda done, total: None), retry or Retry())
    reasons: list[str] = []
    if destination.exists():  # perhaps in a folder that is only read
        return destination
    with files.locked(destination, lambda: wanted.progress(0, size)):
        if destination.exists():
            return destination
        for url in urls:
            part = _Part(destination, url)
            try:
                _fetch_in_time(part, wanted)
                _accept(part, check)
            except DataError as error:
                reasons.append(str(error))
                if url != urls[-1]:
                    say(f"{error}; trying the next URL")
            else:
                with files.explained(destination):
                    files.publish(part.path, destination)
                part.discard()
                return destination
    raise DataError("; ".join(reasons))


@dataclass(frozen=True)
class _Wanted:
    """What is downloaded, and how; see `download`."""

    size: int | None
    begins: bytes
    progress: Progress
    retry: Retry


def _fetch_in_time(part: _Part, wanted: _Wanted) -> None:
    """As `_fetch`, in a thread: a byte now and then, as of a header, keeps the libraries waiting for ever.

    Raises:
        DataError: The server refuses, keeps failing or is too slow.
    """
    pace, outcome = _Pace(part, wanted.retry), Future[None]()

    def work() -> None:
        try:
            _fetch(part, wanted, pace)
            outcome.set_result(None)
        except BaseException as error:  # whatever it is, it belongs to who waits
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while not wait([outcome], _LOOK).done:
            pace.check()
            wanted.progress(part.length, pace.total)
        outcome.result()
        wanted.progress(part.length, pace.total)
    finally:
        pace.end()


def _fetch(part: _Part, wanted: _Wanted, pace: _Pace) -> None:
    """Attempt after attempt until the part is complete.

    Raises:
        DataError: The server refuses or keeps failing.
    """
    retry, failures, most = wanted.retry, 0, part.length
    while True:
        try:
            return _attempt(part, wanted, pace)
        # a bundle of certificates that is missing is an OSError of no further kind
        except (_TransientError, OSError, urllib3.exceptions.HTTPError) as error:
            if not _worth_retrying(error):
                raise DataError(f"cannot download {part.url}: {_reason(error)}") from error
            failures = 0 if part.length > most else failures + 1
            most = max(most, part.length)
            unknown_host = isinstance(_innermost(error), socket.gaierror)
            if failures >= (min(retry.lookups, retry.attempts) if unknown_host else retry.attempts):
                raise DataError(
                    f"cannot download {part.url}: {_reason(error)}; gave up after {failures} attempts in a "
                    f"row{part.kept}"
                ) from error
            if not isinstance(error, _ChangedError):
                time.sleep(min(retry.longest, retry.backoff * 2 ** max(failures - 1, 0)))


def _accept(part: _Part, check: Callable[[Path], None] | None) -> None:
    try:
        if check is not None:
            check(part.path)
    except DataError as error:
        part.discard()
        raise DataError(f"what {part.url} serves is not usable: {error}") from error


class _Pace:
    """Whether a download comes fast enough to end, and whether anybody still waits for it.

    Attributes:
        total: Bytes of the whole file, once the server has told them.
    """

    def __init__(self, part: _Part, retry: Retry) -> None:
        self._part, self._retry, self._start, self._came = part, retry, time.monotonic(), 0
        self._writing, self._over = threading.Lock(), False
        self.total: int | None = None

    def check(self) -> None:
        """Complain where too little has come in the time so far.

        Raises:
            DataError: The part is kept.
        """
        self._retry.require_pace(time.monotonic() - self._start, self._came, self._part.url, self._part.kept)

    def end(self) -> None:
        """From now on nothing is written any more."""
        with self._writing:
            self._over = True

    @contextlib.contextmanager
    def writing(self, came: int = 0) -> Iterator[None]:
        """The right to write the part, with so many bytes that came.

        Raises:
            DataError: Nobody waits for it any more.
        """
        with self._writing:
            if self._over:
                raise DataError("the download was given up")
            self._came += came
            yield


class _Part:
    """The bytes so far and what they are the beginning of."""

    def __init__(self, destination: Path, url: str) -> None:
        self.path = destination.with_name(destination.name + ".part")
        self.url = url
        self._notes = destination.with_name(destination.name + ".part.json")

    @property
    def length(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def kept(self) -> str:
        """What is said of the bytes that stay, if any do."""
        return (
            f", {self.length:,} bytes are kept and the same command goes on from there" if self.length else ""
        )

    def begun(self) -> dict[str, str | int | None] | None:
        """What an earlier attempt noted about the file, if its bytes can be gone on from."""
        notes = files.read_json(self._notes)
        return notes if notes and notes.get("url") == masked(self.url) and self.length else None

    def begin(self, version: str | None, total: int | None) -> None:
        """Empty the part and note which file follows."""
        with files.explained(self.path):
            self.path.write_bytes(b"")
        files.write_json(self._notes, {"url": masked(self.url), "version": version, "total": total})

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)


def _attempt(part: _Part, wanted: _Wanted, pace: _Pace) -> None:
    """Ask the server once and append what it sends, until the part is complete.

    Raises:
        _TransientError: The transfer broke or ended early.
        requests.RequestException: The connection failed.
        DataError: The server refuses or serves something else, or the disk is full.
    """
    begun = part.begun()
    if begun and begun["total"] == part.length:
        return  # an earlier attempt ended between the last byte and the final name
    # the exact bytes are wanted, so that they can be counted and gone on from
    headers = {"Accept-Encoding": "identity"}
    if begun:
        headers["Range"] = f"bytes={part.length}-"
        if begun["version"]:
            headers["If-Range"] = str(begun["version"])
    timeout = (wanted.retry.connect_timeout, wanted.retry.read_timeout)
    hooks = {"response": _leave_bodies_of_redirects}
    with requests.get(part.url, headers=headers, stream=True, timeout=timeout, hooks=hooks) as response:
        with pace.writing():
            _check_status(response, part)
            total = _total(response, part, wanted.size)
            version = _version(response)
            if response.status_code == requests.codes.partial_content and begun:
                if (version, total) != (begun["version"], begun["total"]):
                    part.discard()
                    raise _ChangedError("the file changed on the server since the download began")
            else:
                part.begin(version, total)
            pace.total = total
        if total is not None:
            files.require_space(part.path, total - part.length)
        try:
            _append(response, part, total, wanted, pace)
        except (OSError, urllib3.exceptions.HTTPError) as error:
            if total is None and response.headers.get("Accept-Ranges") != "bytes":
                length = part.length
                part.discard()
                raise DataError(
                    f"cannot download {part.url}: {_reason(error)} after {length:,} bytes of a file of "
                    "unknown size, and the server does not say that it can go on from there"
                ) from error
            raise
    if total is not None and part.length != total:
        raise _TransientError(f"the server sent {part.length:,} of {total:,} bytes")


def _leave_bodies_of_redirects(response: requests.Response, **_: object) -> None:
    """Close what ``requests`` would read to its end, and unpack, before it follows a redirect."""
    if response.is_redirect:
        response.raw.close()


def _append(
    response: requests.Response, part: _Part, total: int | None, wanted: _Wanted, pace: _Pace
) -> None:
    """Write what the server sends behind the part, unbuffered, so that a kill loses nothing received.

    Raises:
        urllib3.exceptions.HTTPError: The transfer broke.
        DataError: The bytes are no such file or too many, or the disk is full.
    """
    done, most = part.length, wanted.retry.largest if total is None else total
    with part.path.open("ab", buffering=0) as file:
        # what has come, be it a byte: a whole block of a server that dawdles may take for ever
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            with pace.writing(len(chunk)):
                if done + len(chunk) > most:
                    part.discard()
                    what = "that it should have" if total else "that a file of unknown size may have here"
                    raise DataError(f"{part.url} sends more than the {most:,} bytes {what}")
                rest = memoryview(chunk)
                with files.explained(part.path, None if total is None else total - done):
                    while rest:
                        rest = rest[file.write(rest) :]
                done += len(chunk)
                if done - len(chunk) < len(wanted.begins):
                    _check_beginning(part, wanted.begins)


def _check_beginning(part: _Part, begins: bytes) -> None:
    with part.path.open("rb") as file:
        found = file.read(16)
    if found[: len(begins)] != begins[: len(found)]:
        part.discard()
        raise DataError(f"{part.url} is not of the format that it should be: it begins with {found!r}")


def _check_status(response: requests.Response, part: _Part) -> None:
    """Sort what the server answers into fine, try again and give up.

    Raises:
        _TransientError: Try again.
        DataError: Give up.
    """
    code, reason = response.status_code, f"the server answered {response.status_code} {response.reason}"
    if code == requests.codes.requested_range_not_satisfiable:
        part.discard()
        raise _ChangedError("the file became shorter on the server")
    if code in (requests.codes.request_timeout, requests.codes.too_many_requests) or code >= 500:
        raise _TransientError(reason)
    if code not in (requests.codes.ok, requests.codes.partial_content):
        raise DataError(f"cannot download {part.url}: {reason}")
    if response.headers.get("Content-Type", "").partition(";")[0].strip() == "text/html":
        raise DataError(f"cannot download {part.url}: the server sent a web page instead of the file")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise DataError(
            f"cannot download {part.url}: the server sent it as {encoding}, which nobody asked for"
        )


def _total(response: requests.Response, part: _Part, size: int | None) -> int | None:
    """Bytes of the whole file, as the server tells.

    Raises:
        _ChangedError: The server continues somewhere else than the part ends.
        DataError: The file does not have the size that it must have.
    """
    total: int | None
    if response.status_code == requests.codes.partial_content:
        match = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""), re.IGNORECASE
        )
        if match is None or int(match[1]) != part.length:
            part.discard()
            raise _ChangedError("the server did not continue where the part ends")
        total = None if match[2] == "*" else int(match[2])
    else:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
    if size is not None and total not in (None, size):
        raise DataError(f"{part.url} has {total:,} bytes, but the spec says {size:,}; is it the right file?")
    return total if total is not None else size


def _version(response: requests.Response) -> str | None:
    """What tells one version of the file from another; weak tags promise too little to join bytes."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _worth_retrying(error: Exception) -> bool:
    if (
        isinstance(error, requests.exceptions.SSLError)
        or type(_innermost(error)) is http.client.HTTPException
    ):
        return False  # the latter: more headers than anybody needs
    return isinstance(
        error, _TransientError | requests.ConnectionError | requests.Timeout | urllib3.exceptions.HTTPError
    )


def _reason(error: Exception) -> str:
    """An error of ``requests`` in few words; its own text nests three libraries' representations."""
    if isinstance(error, requests.exceptions.SSLError):
        return f"the server's certificate was refused ({_innermost(error)})"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "the server went silent"
    if isinstance(error, requests.ConnectionError | urllib3.exceptions.HTTPError):
        return f"the connection failed ({_innermost(error)})"
    return str(error).rstrip(".")


def _innermost(error: BaseException) -> BaseException:
    *_, first = causes(error)
    return first
