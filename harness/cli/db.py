"""`db`: the results database."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.app import App
from harness.cli.options import (
    Database,
    DataHome,
    choosing,
    database,
    examples,
    open_store,
    parts,
    resolved_table,
    specs_of,
)
from harness.cli.output import note, out
from harness.counting import count
from harness.errors import DataError, HarnessError, IncompleteError
from harness.planning.choice import Choice

if TYPE_CHECKING:
    from harness.planning.cells import ResolvedTable
    from harness.results.transfer import ImportRow
    from harness.specs import Specs

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
        "harness db import --from rebrac-2023 --table aspc-table1",
    ),
)
@choosing(without=("datasets", "algorithms"))
def import_scores(
    ctx: typer.Context,
    table: Annotated[str, typer.Option("--table", metavar="TABLE", help="The table whose cells these are.")],
    choice: Choice,
    path: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="CSV with columns dataset, algorithm, seed, step, score."),
    ] = None,
    public: Annotated[
        str | None,
        typer.Option("--from", metavar="SOURCE", help="A public source instead; `harness sources ls`."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="NAME",
            help="Where the scores come from; default: the file's column 'source', else its name.",
        ),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="NAME=COLUMN",
            help="The file's name of a column or, as NAME==TEXT, what stands in each row; only these and "
            "the five are taken then; repeatable, or with commas.",
        ),
    ] = None,
    scale: Annotated[
        Literal["1", "100"] | None,
        typer.Option("--scale", help="The score of an expert in the file; default: 100, or it is asked."),
    ] = None,
    data_home: DataHome = None,
    db: Database = None,
) -> None:
    """Add normalised scores measured elsewhere.

    In the file, 'algorithm' is the id of a column of the table. Imported scores are shown, and marked, where
    nothing was trained here; what the table does not show is said, and the exit code is 3 where that is all.
    Further columns of the file are kept as labels. Of a source come commit, settings and protocol as labels.
    """
    if (path is None) == (public is None):
        raise typer.BadParameter("name a FILE, or a public source with --from")
    if public and mapping:
        raise typer.BadParameter("it is for a FILE", param_hint="--map")
    from harness.analysis.measurements import measure
    from harness.analysis.seen import seen
    from harness.planning.imports import import_rows, looks_like_fractions
    from harness.results import transfer

    resolved, specs = resolved_table(ctx, table, choice), specs_of(ctx)
    if path is not None:
        scores = transfer.read_scores_csv(path, _mapping(mapping))
        if scale is None and looks_like_fractions(scores, specs.published(specs.table(table)) or {}):
            scale = _asked_scale(path)
        times = 100.0 if scale == "1" else 1.0
        imports = [(path, import_rows(resolved, scores, path, source, times))]
    else:
        imports = _of_source(specs, resolved, str(public), data_home)
    with open_store(ctx, db, choice, create=True) as store:
        if path is not None and transfer.imported_without_source(store, path, source):
            imports = [(path, import_rows(resolved, scores, path, source, times, sourceless=True))]
        rows = [row for _, some in imports for row in some]
        reports = [transfer.import_scores(store, some, file) for file, some in imports]
        what = seen(rows, measure(resolved, store, {}), store)
    added, unchanged = (sum(getattr(each, name) for each in reports) for name in ("added", "unchanged"))
    note(f"{store.location}: {count(added, 'score')} added, {unchanged} were there already")
    advice = "; --seeds all of table, diff, stats and report shows every seed" if what.other_seeds else ""
    note(f"{what}{advice}")
    if not what.shown:
        raise typer.Exit(IncompleteError.exit_code)


def _of_source(
    specs: Specs, resolved: ResolvedTable, name: str, data_home: Path | None
) -> list[tuple[Path, list[ImportRow]]]:
    """A public source's scores of a table, file by file; what is left out is said.

    Raises:
        IncompleteError: none of it is here, or of the table.
    """
    from harness.planning.imports import source_rows
    from harness.sources import scores

    found = scores.at_hand(specs, scores.chosen(specs, [name]), data_home, resolved.lineage)
    imports, left = source_rows(resolved, specs, found)
    for each in (*found.notes, *left):
        note(each)
    if not imports:
        raise IncompleteError(f"{name} has no scores of {resolved.table.id} that are on this machine")
    return imports


def _mapping(texts: list[str] | None) -> dict[str, str]:
    """What --map says: our names with the file's.

    Raises:
        BadParameter: a part is no NAME=COLUMN, or a name stands twice.
    """
    found: dict[str, str] = {}
    for part in parts(texts or ()):
        name, equals, column = part.partition("=")
        if not (name and equals and column.removeprefix("=")) or name in found:
            raise typer.BadParameter(
                f"{part!r} is no NAME=COLUMN of a name of its own, as score=final_score or step==1000000",
                param_hint="--map",
            )
        found[name] = column
    return found


def _asked_scale(path: Path) -> Literal["1", "100"]:
    """The scale of scores that look like fractions, as a person says.

    Raises:
        HarnessError: there is nobody to ask.
    """
    what = f"no score in {path} is above 1.5, and the paper's are on a scale of 0 to 100"
    unanswered = HarnessError(
        f"{what}; say --scale 1 to multiply them by 100, or --scale 100 to take them as they are"
    )
    if not sys.stdin.isatty():
        raise unanswered
    try:
        return "1" if typer.confirm(f"{what}. Multiply them by 100?", err=True) else "100"
    except typer.Abort:  # whose exit code would be that of drift
        raise unanswered from None


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
