"""A database to look around in: a snapshot, queries ready to run, and Datasette to show them."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.compared import compared_tables
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

#: Titles, queries and facets, as Datasette reads them.
DESCRIBED = Path(__file__).parent / "templates" / "datasette.yaml"


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
        arguments = ["serve", "--immutable", str(path), "--metadata", str(DESCRIBED), "--host", host]
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
