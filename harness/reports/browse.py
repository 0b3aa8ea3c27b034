"""A database to look around in: a snapshot, queries ready to run, and Datasette to show them."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import signal
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.comparison import compared_tables
from harness.errors import DataError, HarnessError
from harness.results import transfer

if TYPE_CHECKING:
    from harness.results.store import Store
    from harness.specs import Specs

#: Name of the snapshot, which is the database's name in Datasette.
NAME = "results"

_CELL = """
CREATE TABLE cell (
    paper TEXT, table_id TEXT, preset TEXT, dataset TEXT, column_id TEXT, mean REAL, std REAL, n INTEGER,
    wanted INTEGER, published REAL, difference REAL, verdict TEXT, p_adjusted REAL, notes TEXT,
    PRIMARY KEY (table_id, preset, dataset, column_id)
) WITHOUT ROWID
"""

#: The queries, by the name that they have in Datasette's addresses.
QUERIES: dict[str, dict[str, str]] = {
    "worst-cells": {
        "title": "Worst cells",
        "description": "Cells furthest below the paper's number; those that are not comparable come last.",
        "sql": """
            SELECT table_id, preset, dataset, column_id, mean, std, n, published, difference, verdict,
                p_adjusted, notes
            FROM cell WHERE mean IS NOT NULL
            ORDER BY verdict = 'N/C', difference IS NULL, difference, mean LIMIT 200
        """,
    },
    "summary": {
        "title": "Papers and tables",
        "description": "How much of each table is measured, and with what verdicts, by column.",
        "sql": """
            SELECT paper, table_id, preset, column_id, count(*) AS cells, sum(mean IS NOT NULL) AS measured,
                avg(mean) AS mean_score, sum(verdict = 'OK') AS ok, sum(verdict = 'OK*') AS close,
                sum(verdict = 'UNDECIDED') AS undecided,
                sum(verdict = 'BETTER') AS better, sum(verdict = 'WORSE') AS worse,
                sum(verdict = 'MISSING') AS missing, sum(verdict = 'N/C') AS not_comparable
            FROM cell GROUP BY paper, table_id, preset, column_id ORDER BY table_id, preset, column_id
        """,
    },
    "slowest-runs": {
        "title": "Slowest runs",
        "description": "Finished runs by wall time.",
        "sql": """
            SELECT c.algorithm, c.dataset, c.lineage, r.seed, round(r.wall_seconds / 3600.0, 3) AS wall_hours,
                round(r.device_seconds / 3600.0, 3) AS device_hours, r.step, r.population,
                json_extract(e.fingerprint, '$.device') AS device, r.key
            FROM run r JOIN configuration c ON c.id = r.configuration_id
            LEFT JOIN environment e ON e.id = r.environment_id
            WHERE r.status = 'finished' AND r.wall_seconds IS NOT NULL
            ORDER BY r.wall_seconds DESC LIMIT 200
        """,
    },
    "failures": {
        "title": "Failures",
        "description": "Failed runs, the latest first, with their tracebacks.",
        "sql": """
            SELECT c.algorithm, c.dataset, c.lineage, r.seed, r.failed_step, r.attempt, r.error,
                json_extract(e.fingerprint, '$.git_commit') AS git_commit, r.started, r.key
            FROM run r JOIN configuration c ON c.id = r.configuration_id
            LEFT JOIN environment e ON e.id = r.environment_id
            WHERE r.status = 'failed' ORDER BY r.started DESC LIMIT 200
        """,
    },
}


def metadata() -> dict[str, Any]:
    """What Datasette is told: the queries, and which columns to count values of."""
    queries = {
        name: {**query, "sql": "\n".join(map(str.strip, query["sql"].strip().splitlines()))}
        for name, query in QUERIES.items()
    }
    tables = {
        "cell": {"facets": ["table_id", "column_id", "verdict"], "sort": "difference"},
        "run": {"facets": ["status", "origin"]},
        "configuration": {"facets": ["algorithm", "dataset", "lineage"]},
    }
    return {
        "title": "harness",
        "description": "A snapshot of the results; nothing done here changes them.",
        "databases": {NAME: {"queries": queries, "tables": tables}},
    }


def snapshot(store: Store, specs: Specs, folder: Path) -> Path:
    """Copy a database that may be in use, and add a table ``cell`` with all tables' scores and verdicts.

    Args:
        store: the database.
        specs: the tables, and the presets that their cells may have been run with.
        folder: where the copy goes.

    Returns:
        the copy.

    Raises:
        HarnessError: the database is not SQLite.
        DataError: the copy cannot be written.
    """
    path = folder / f"{NAME}.db"
    transfer.backup(store, path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(_CELL)
        connection.executemany(f"INSERT INTO cell VALUES ({', '.join('?' * 14)})", _cells(store, specs))  # noqa: S608
    return path


def _cells(store: Store, specs: Specs) -> Iterator[tuple[object, ...]]:
    """Rows of ``cell``: of each table as it is, and as run with each preset that has scores."""
    for resolved, comparison in compared_tables(specs, store):
        for cell in comparison.cells:
            yield (
                comparison.table.paper.title,
                resolved.table.id,
                resolved.preset.id if resolved.preset else "",
                cell.row,
                cell.column,
                cell.mean,
                cell.std,
                cell.n,
                cell.wanted,
                cell.published.mean if cell.published else None,
                cell.difference,
                str(cell.verdict.kind),
                cell.verdict.p_adjusted,
                "; ".join(filter(None, (*cell.verdict.reasons, *cell.notes, cell.verdict.note))),
            )


def require() -> None:
    """Make sure that Datasette is installed.

    Raises:
        HarnessError: it is not.
    """
    if importlib.util.find_spec("datasette") is None:
        raise HarnessError(
            "browsing needs Datasette, which is not installed: pip install '.[browse]' in the checkout"
        )


def serve(store: Store, specs: Specs, host: str, port: int) -> None:
    """Show a snapshot in Datasette until Ctrl-C or SIGTERM; the snapshot is deleted at the end.

    Args:
        store: the database, which is only read.
        specs: see `snapshot`.
        host: address to listen at.
        port: to listen at.

    Raises:
        HarnessError: Datasette is not installed, or the database is not SQLite.
        DataError: the address is in use, or the copy cannot be written.
    """
    require()
    _require_free(host, port)
    from datasette.cli import cli

    with tempfile.TemporaryDirectory(prefix="harness-browse-") as folder, _ending_on_sigterm():
        path = snapshot(store, specs, Path(folder))
        described = Path(folder) / "metadata.json"
        described.write_text(json.dumps(metadata()), encoding="utf-8")
        arguments = ["serve", "--immutable", str(path), "--metadata", str(described), "--host", host]
        with contextlib.suppress(KeyboardInterrupt):
            cli.main([*arguments, "--port", str(port)], prog_name="datasette", standalone_mode=False)


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise DataError(
                f"cannot listen at {host}:{port}: {error.strerror}; give another --port or --host"
            ) from error


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that what is temporary is deleted."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
