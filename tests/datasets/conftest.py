"""Datasets to test with, and a server on the loopback interface that misbehaves on request."""

from __future__ import annotations

import http.server
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from harness.specs.models import (
    D4RLSource,
    Dataset,
    Environment,
    GeneratedSource,
    MinariSource,
    ReferenceScores,
)

ROWS = 6000


@pytest.fixture(autouse=True)
def _no_folders_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "d4rl-package"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HARNESS_D4RL_MIRROR", raising=False)


@pytest.fixture
def make_dataset() -> Callable[..., Dataset]:
    """Build a spec with one source of each given lineage."""

    def make(
        *,
        identifier: str = "hopper-medium-v2",
        environment: str | None = "Hopper-v4",
        steps: int = 1000,
        sizes: tuple[int, int] = (11, 3),
        d4rl: D4RLSource | None = None,
        minari: MinariSource | None = None,
        generated: GeneratedSource | None = None,
    ) -> Dataset:
        return Dataset(
            id=identifier,
            domain="maze2d" if "maze2d" in identifier else "mujoco",
            environment=Environment(id=environment, max_episode_steps=steps) if environment else None,
            observation_size=sizes[0],
            action_size=sizes[1],
            reference=ReferenceScores(minimum=0, maximum=100, source="a test"),
            d4rl=d4rl,
            minari=minari,
            generated=generated,
        )

    return make


def make_rows(count: int = ROWS, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of a D4RL file of hopper's sizes: episodes of 100, half terminal, half cut."""
    random = np.random.default_rng(seed)
    ends = np.arange(1, count + 1) % 100 == 0
    first = np.arange(count) % 200 < 100
    return {
        "observations": random.standard_normal((count, 11)).astype(np.float32),
        "actions": random.uniform(-1, 1, (count, 3)).astype(np.float32),
        "rewards": random.standard_normal(count).astype(np.float32),
        "terminals": ends & first,
        "timeouts": ends & ~first,
        "infos/qpos": random.standard_normal((count, 6)),
    }


def write_hdf5(path: Path, rows: dict[str, np.ndarray], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in rows.items():
            file.create_dataset(name, data=array, **options)
    return path


@pytest.fixture
def write_rows() -> Callable[..., Path]:
    return write_hdf5


@pytest.fixture
def hdf5_rows() -> dict[str, np.ndarray]:
    return make_rows()


@pytest.fixture
def hdf5_file(tmp_path: Path, hdf5_rows: dict[str, np.ndarray]) -> Path:
    """A file of some 900 kB in D4RL's layout."""
    return write_hdf5(tmp_path / "original" / "hopper_medium-v2.hdf5", hdf5_rows, compression="gzip")


class Server:
    """Serves one file; each request meets the next behaviour of ``script``, the last one for good.

    The behaviours are the functions at the end of this file, by name.
    """

    def __init__(self) -> None:
        self.content = b""
        self.etag: str | None = '"one"'
        self.script = ["serve"]
        self.requests: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.closing = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            harness = server

            def do_GET(self) -> None:
                server.requests.append(dict(self.headers))
                server.paths.append(self.path)
                behaviour = server.script.pop(0) if len(server.script) > 1 else server.script[0]
                BEHAVIOURS[behaviour](self, server.content)

            def log_message(self, *args: Any) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda request, address: None  # clients hang up
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/hopper_medium-v2.hdf5"

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server(hdf5_file: Path) -> Iterator[Server]:
    server = Server()
    server.content = hdf5_file.read_bytes()
    yield server
    server.close()


# -- behaviours --------------------------------------------------------------------------------------------


def _head(handler: Any, code: int, length: int, **headers: str) -> None:
    handler.send_response(code)
    handler.send_header("Content-Type", headers.pop("type", "application/octet-stream"))
    handler.send_header("Content-Length", str(length))
    if handler.harness.etag is not None:
        handler.send_header("ETag", handler.harness.etag)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def _start(handler: Any, content: bytes) -> int:
    """Answer the head as a good server does and return where the body begins."""
    wanted = handler.headers.get("Range")
    unchanged = handler.headers.get("If-Range") in (None, handler.harness.etag)
    if wanted is None or not unchanged:
        _head(handler, 200, len(content))
        return 0
    start = int(wanted.removeprefix("bytes=").rstrip("-"))
    if start >= len(content):
        _head(handler, 416, 0, Content_Range=f"bytes */{len(content)}")
        return len(content)
    _head(
        handler, 206, len(content) - start, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}"
    )
    return start


def serve(handler: Any, content: bytes) -> None:
    handler.wfile.write(content[_start(handler, content) :])


def serve_slowly(handler: Any, content: bytes) -> None:
    start = _start(handler, content)
    middle = (start + len(content)) // 2
    handler.wfile.write(content[start:middle])
    handler.harness.closing.wait(0.7)
    handler.wfile.write(content[middle:])


def send_half(handler: Any, content: bytes) -> None:
    start = _start(handler, content)
    handler.wfile.write(content[start : (start + len(content)) // 2])


def stall(handler: Any, content: bytes) -> None:
    send_half(handler, content)
    handler.wfile.flush()
    handler.harness.closing.wait()


def reset(handler: Any, content: bytes) -> None:
    send_half(handler, content)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def ignore_range(handler: Any, content: bytes) -> None:
    _head(handler, 200, len(content))
    handler.wfile.write(content)


def ignore_if_range(handler: Any, content: bytes) -> None:
    del handler.headers["If-Range"]
    serve(handler, content)


def continue_elsewhere(handler: Any, content: bytes) -> None:
    start = _start(handler, content) if "Range" not in handler.headers else 1000
    if start == 1000:
        _head(
            handler,
            206,
            len(content) - start,
            Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}",
        )
    handler.wfile.write(content[start:])


def understate_length(handler: Any, content: bytes) -> None:
    _head(handler, 200, len(content) - 5000)
    handler.wfile.write(content)


def web_page(handler: Any, content: bytes) -> None:
    page = b"<!doctype html><html>Please log in</html>"
    _head(handler, 200, len(page), type="text/html; charset=utf-8")
    handler.wfile.write(page)


def disguised_web_page(handler: Any, content: bytes) -> None:
    page = b"<!doctype html><html>Please log in</html>"
    _head(handler, 200, len(page))
    handler.wfile.write(page)


def gzipped(handler: Any, content: bytes) -> None:
    _head(handler, 200, len(content), Content_Encoding="gzip")
    handler.wfile.write(content)


def endless(handler: Any, content: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not handler.harness.closing.is_set():
        handler.wfile.write(content)


def endless_unless_it_breaks(handler: Any, content: bytes) -> None:
    """Chunks without end, and then none: as often as it is asked."""
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for _ in range(3):
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
    handler.close_connection = True


def _drip(handler: Any, content: bytes) -> None:
    for i in range(len(content)):
        handler.wfile.write(content[i : i + 1])
        if handler.harness.closing.wait(0.05):
            return


def drip_header(handler: Any, content: bytes) -> None:
    _drip(handler, b"HTTP/1.1 200 OK\r\nX: " + b"a" * 10_000)


def drip_continue(handler: Any, content: bytes) -> None:
    _drip(handler, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def drip_chunk(handler: Any, content: bytes) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    _drip(handler, b"1;" + b"a" * 10_000)


def redirect_with_a_body(handler: Any, content: bytes) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/second")
    handler.end_headers()
    while not handler.harness.closing.is_set():
        handler.wfile.write(content)


def drip(handler: Any, content: bytes) -> None:
    _head(handler, 200, len(content))
    _drip(handler, content)


def round_and_round(handler: Any, content: bytes) -> None:
    _head(handler, 302, 0, Location=handler.path)


def to_a_file(handler: Any, content: bytes) -> None:
    _head(handler, 302, 0, Location="file:///etc/passwd")


def too_many_headers(handler: Any, content: bytes) -> None:
    _head(handler, 200, 0, **{f"X_{i}": "a" for i in range(200)})


def error_500(handler: Any, content: bytes) -> None:
    _head(handler, 500, 0)


def error_404(handler: Any, content: bytes) -> None:
    _head(handler, 404, 0)


BEHAVIOURS: dict[str, Callable[[Any, bytes], None]] = {
    behaviour.__name__: behaviour
    for behaviour in (
        serve,
        serve_slowly,
        endless_unless_it_breaks,
        drip_header,
        drip_continue,
        drip_chunk,
        redirect_with_a_body,
        send_half,
        stall,
        reset,
        ignore_range,
        ignore_if_range,
        continue_elsewhere,
        understate_length,
        web_page,
        disguised_web_page,
        gzipped,
        endless,
        drip,
        round_and_round,
        to_a_file,
        too_many_headers,
        error_500,
        error_404,
    )
}
