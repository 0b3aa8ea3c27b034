"""`db`: the results database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import App
from harness.cli.options import (
    Database,
    DataHome,
    choosing,
    database,
    examples,
    open_store,
    resolved_table,
    specs_of,
)
from harness.cli.output import note, out
from harness.errors import DataError
from harness.planning.choice import Choice
from harness.reports.counting import count

group = App()


def add_to(app: App) -> None:
    """Add the verbs as ``db``."""
    app.add_typer(
        group,
        name="db",
        help="Look after the results database.",
        epilog=examples("harness db check", "harness db merge other.db"),
    )


@group.command("upgrade", epilog=examples("harness db upgrade", "harness db upgrade --db results.db"))
def upgrade(ctx: typer.Context, db: Database = None) -> None:
    """Bring a database to this program's schema version.

    A copy of it as it was is kept.
    """
    from harness.results import schema

    url = database(ctx, db)
    note(f"{schema.Location.parse(url)}: {schema.upgrade(url)}")


@group.command("check", epilog=examples("harness db check", "harness db check --db results.db"))
def check(ctx: typer.Context, data_home: DataHome = None, db: Database = None) -> None:
    """Look for damage and contradictions, in the database and in the files that its runs left.

    The exit code is 4 if there are any.
    """
    from harness.results import artefacts

    with open_store(ctx, db) as store:
        problems = store.check()
        problems += artefacts.problems(store, store.location.folder("artefacts", data_home))
        runs = store.count()
    for problem in problems:
        out(problem)
    note(f"{store.location}: {count(runs, 'run')}, {count(len(problems), 'problem')}")
    if problems:
        raise typer.Exit(DataError.exit_code)


@group.command(
    "merge", epilog=examples("harness db merge other.db", "harness db merge other.db --db results.db")
)
def merge(
    ctx: typer.Context,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The database to take from; only read.")],
    data_home: DataHome = None,
    db: Database = None,
) -> None:
    """Add another database's runs, and the files that they left.

    Where scores, or values read from other runs, differ, ours are kept, the others printed, and the exit
    code is 4.
    """
    from harness.results import transfer

    with open_store(ctx, db, create=True) as store:
        report = transfer.merge(store, other, home=data_home)
    note(
        f"{count(len(report.added), 'run')} added, {len(report.updated)} updated, "
        f"{len(report.unchanged)} as they were, {len(report.busy)} left alone, being trained; "
        f"{count(report.files, 'artefact')} added"
    )
    for artefact in report.left:
        note(artefact)
    for conflict in report.conflicts:
        out(str(conflict))
    if report.conflicts:
        raise DataError(f"{count(len(report.conflicts), 'run')} have other numbers there; ours are kept")


@group.command(
    "import",
    epilog=examples(
        "harness db import scores.csv --table aspc-table1",
        "harness db import scores.csv --table aspc-table1 --preset smoke --db smoke.db",
    ),
)
@choosing(without=("datasets", "algorithms"))
def import_scores(
    ctx: typer.Context,
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV with columns dataset, algorithm, seed, step, score.")
    ],
    table: Annotated[str, typer.Option("--table", metavar="TABLE", help="The table whose cells these are.")],
    choice: Choice,
    db: Database = None,
) -> None:
    """Add normalised scores measured elsewhere.

    In the file, 'algorithm' is the id of a column of the table. Imported scores are shown, and marked, where
    nothing was trained here.
    """
    from harness.planning.imports import import_rows
    from harness.results import transfer

    resolved = resolved_table(ctx, table, choice)
    rows = import_rows(resolved, transfer.read_scores_csv(path), path)
    with open_store(ctx, db, choice.preset, create=True) as store:
        report = transfer.import_scores(store, rows, path)
    note(f"{store.location}: {count(report.added, 'score')} added, {report.unchanged} were there already")


@group.command("export", epilog=examples("harness db export results.csv", "harness db export results.json"))
def export(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Ends in .csv, .json or .db.")],
    db: Database = None,
) -> None:
    """Write all results to a .csv, .json or .db file."""
    from harness.results import transfer

    with open_store(ctx, db) as store:
        note(f"{count(transfer.export(store, path, note), 'run')} written to {path}")


@group.command("backup", epilog=examples("harness db backup backup.db"))
def backup(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where nothing is yet.")],
    db: Database = None,
) -> None:
    """Copy a SQLite database and the files that its runs left, also while it is in use."""
    from harness.results import transfer

    with open_store(ctx, db) as store:
        transfer.backup(store, path, note)
    note(f"{store.location} copied to {path}")


@group.command("serve", epilog=examples("harness db serve", "harness db serve --db smoke.db --port 8002"))
def serve(
    ctx: typer.Context,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=1, max=65535, help="Port to listen at.")
    ] = 8001,
    host: Annotated[
        str,
        typer.Option("--host", metavar="ADDRESS", help="Address to listen at; by default only this machine."),
    ] = "127.0.0.1",
    db: Database = None,
) -> None:
    """Show a snapshot of the database in a browser.

    Read-only, in Datasette (pip install '.[browse]' in the checkout), with queries ready to run: worst
    cells, failures, slowest runs, and a summary of every table. Ctrl-C ends it.
    """
    from harness.reports import browse

    browse.require()
    with open_store(ctx, db) as store:
        browse.serve(store, specs_of(ctx), host, port)
