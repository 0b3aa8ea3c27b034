from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import yaml

from harness.cli import main
from harness.planning.cells import resolve
from harness.reports import browse
from harness.results.store import Store
from harness.specs import Specs

QUERIES = yaml.safe_load(browse.DESCRIBED.read_text())["databases"][browse.NAME]["queries"]


@pytest.fixture
def database(tmp_path, trained):
    """The smoke preset's runs, and a failed one of the table proper."""
    path = trained(tmp_path / "now.db")
    record = next(cell for cell in resolve(Specs(), "aspc-table1").cells if not cell.unavailable).runs[0]
    with Store.open(path) as store:
        store.register([record])
        store.claim([record.key])
        store.fail(record.key, 500, "Traceback: <script>alert(1)</script>")
    return path


@pytest.fixture
def snapshot(database, tmp_path):
    """A connection to a snapshot of it."""
    (tmp_path / "snapshot").mkdir()
    with Store.open(database) as store:
        path = browse.snapshot(store, Specs(), tmp_path / "snapshot")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def ask(connection, name):
    return [dict(row) for row in connection.execute(QUERIES[name]["sql"])]


def test_every_query_runs_and_finds_something(snapshot):
    assert {name: len(ask(snapshot, name)) > 0 for name in QUERIES} == dict.fromkeys(QUERIES, True)


def test_what_the_queries_find(snapshot):
    [failed] = ask(snapshot, "failures")
    assert failed["failed_step"] == 500
    slowest = ask(snapshot, "slowest-runs")
    assert len(slowest) == 12
    assert slowest[0]["wall_hours"] == pytest.approx(60 / 3600, abs=1e-3)
    worst = ask(snapshot, "worst-cells")
    assert {row["verdict"] for row in worst} == {"N/C"}
    # other tables and presets ask for some of the same runs
    assert sum((row["table_id"], row["preset"]) == ("aspc-table1", "smoke") for row in worst) == 6
    assert all(row["difference"] is not None for row in worst if row["published"] is not None)
    known = [row["difference"] for row in worst if row["difference"] is not None]
    assert known == sorted(known)
    summary = {(row["table_id"], row["preset"], row["column_id"]): row for row in ask(snapshot, "summary")}
    row = summary["aspc-table1", "smoke", "bc"]
    assert (row["cells"], row["measured"], row["not_comparable"]) == (2, 2, 2)
    assert row["mean_score"] == pytest.approx(50, abs=3)
    assert summary["aspc-table1", "", "td3_bc"]["measured"] == 0
    assert {table for table, _, _ in summary} == set(Specs().ids("tables"))


def test_the_database_stays_as_it_was(database, tmp_path):
    with sqlite3.connect(database) as connection:
        before = list(connection.iterdump())
    (tmp_path / "snapshot").mkdir()
    with Store.open(database) as store:
        browse.snapshot(store, Specs(), tmp_path / "snapshot")
    with sqlite3.connect(database) as connection:
        assert list(connection.iterdump()) == before


def failing(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code, capsys.readouterr().err


def test_without_datasette_it_says_how_to_install_it(database, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, text = failing(capsys, "db", "serve", "--db", database)
    assert (code, "pip install '.[browse]'" in text) == (2, True)


def test_a_port_in_use(database, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, text = failing(capsys, "db", "serve", "--db", database, "--port", taken.getsockname()[1])
    assert code == 4
    assert "cannot listen at 127.0.0.1:" in text
    assert "give another --port" in text


@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_server_answers_and_leaves_nothing_behind(database, tmp_path, end, code):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", "harness", "db", "serve", "--db", str(database), "--port", str(port)],
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            address = f"http://127.0.0.1:{port}/results"
            rows = fetch(f"{address}/worst-cells.json?_shape=array", server)
            assert sum((row["table_id"], row["preset"]) == ("aspc-table1", "smoke") for row in rows) == 6
            assert len(fetch(f"{address}/run.json?_shape=array", server)) == 13
            with urllib.request.urlopen(f"{address}/failures") as page:
                text = page.read().decode()
            assert "<script>alert(1)" not in text
            assert "&lt;script&gt;alert(1)" in text
            # nothing can be written
            request = urllib.request.Request(f"{address}?sql=delete+from+run")
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(request)
            server.send_signal(end)
            assert server.wait(timeout=30) == code, server.stdout.read()
        finally:
            server.kill()
    assert list(temporary.iterdir()) == []


def fetch(address, server):
    """JSON from a server that may not be up yet."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address) as answer:
                return json.load(answer)
        except urllib.error.URLError:
            assert server.poll() is None, server.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
