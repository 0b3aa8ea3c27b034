"""A Hugging Face hub on the loopback that has one Minari dataset, and misbehaves on request."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMIT = "0" * 40


class Hub:
    """Serves the files below ``folder/group`` as those of the repository ``farama-minari/group``.

    Attributes:
        trouble: Maps a part of a path to what is done instead of answering it well.
        dripping: Set once somebody takes what drips.
        left: Set once they went away.
    """

    def __init__(self, folder: Path, group: str) -> None:
        self.trouble: dict[str, Callable[[Any, bytes], None]] = {}
        self.dripping, self.left = threading.Event(), threading.Event()
        self.closing = threading.Event()
        hub, name = self, f"farama-minari/{group}"

        def content(path: str) -> bytes | None:
            files = sorted(f for f in (folder / group).rglob("*") if f.is_file())
            if path == "/api/datasets":
                return json.dumps([{"id": name, "_id": "1"}]).encode()
            if path.startswith(f"/api/datasets/{name}/tree/"):
                some = [(f.relative_to(folder / group).as_posix(), f.read_bytes()) for f in files]
                return json.dumps(
                    [
                        {"type": "file", "path": p, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                        for p, c in some
                    ]
                ).encode()
            if path.startswith(f"/api/datasets/{name}"):
                siblings = [{"rfilename": f.relative_to(folder / group).as_posix()} for f in files]
                return json.dumps({"id": name, "_id": "1", "sha": COMMIT, "siblings": siblings}).encode()
            file = folder / group / path.partition("/resolve/")[2].partition("/")[2]
            return file.read_bytes() if "/resolve/" in path and file.is_file() else None

        class Handler(http.server.BaseHTTPRequestHandler):
            harness = hub

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                found = content(path)
                for part, trouble in hub.trouble.items():
                    if part in path and self.command == "GET":
                        trouble(self, found or b"")
                        return
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Length", str(len(found or b"")))
                self.send_header("X-Repo-Commit", COMMIT)
                if found is None:
                    self.send_header("X-Error-Code", "EntryNotFound")
                else:
                    self.send_header("ETag", f'"{hashlib.sha1(found).hexdigest()}"')
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(found or b"")

            do_HEAD = do_GET  # noqa: N815 - its base class finds it by that name

            def log_message(self, *args: Any) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda request, address: None  # clients hang up
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()


def drip(handler: Any, content: bytes) -> None:
    """A byte now and then, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(10**6))
    handler.end_headers()
    handler.harness.dripping.set()
    try:
        while not handler.harness.closing.wait(0.05):
            handler.wfile.write(b" ")
    except OSError:
        handler.harness.left.set()


def drip_header(handler: Any, content: bytes) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while not handler.harness.closing.wait(0.05):
        handler.wfile.write(b"a")


def endless(handler: Any, content: bytes) -> None:
    """More and more, of no size that is told."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.harness.closing.is_set():
        handler.wfile.write(bytes(2**16))


def unfolding(handler: Any, content: bytes) -> None:
    """Eight gigabytes in eight megabytes."""
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.end_headers()
    packed = gzip.compress(b" " * 2**26)
    for _ in range(128):
        handler.wfile.write(packed)


def refuse(handler: Any, content: bytes) -> None:
    handler.send_response(403)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def round_and_round(handler: Any, content: bytes) -> None:
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.send_header("Content-Length", "0")
    handler.end_headers()
