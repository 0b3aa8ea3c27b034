"""`report`: a folder with a table in every format, its figures and a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import App
from harness.cli.options import (
    CellIntervals,
    Database,
    choosing,
    examples,
    open_store,
    say_if_nothing_is_measured,
    specs_of,
    view,
)
from harness.cli.output import out
from harness.planning.choice import Choice
from harness.planning.commands import Commands

if TYPE_CHECKING:
    from harness.analysis.intervals import IntervalSettings


def add_to(app: App) -> None:
    """Add the verb."""
    app.command(
        "report",
        epilog=examples(
            "harness report aspc-table1",
            "harness report aspc-table1 --preset smoke",
            "harness report aspc-table1 --datasets 'hopper-*' -o hopper",
            "harness report --all",
        ),
    )(report)


@choosing()
def report(
    ctx: typer.Context,
    choice: Choice,
    table: Annotated[
        str | None, typer.Argument(metavar="TABLE", help="Id of a table; `harness ls` lists them.")
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="All tables and presets that the database has scores of, and an index."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where to; default: reports/TABLE/PRESET, without a preset reports/TABLE/full; with --all "
            "the folder of all of these, reports.",
        ),
    ] = None,
    ci: CellIntervals = "percentile",
    db: Database = None,
) -> None:
    """Write a page to look at, the table in every format, and figures.

    An earlier report in the same folder is replaced. Prints the path of the page. With --all, each table
    has its page, and an index of them counts their verdicts and shows scores by the commits that trained
    them.
    """
    if every == (table is not None):
        raise typer.BadParameter("name one table, or give --all", param_hint="TABLE")
    if every and choice != Choice():
        raise typer.BadParameter(
            "it reports tables and presets whole; to choose of one, name it", param_hint="--all"
        )
    from harness.analysis.intervals import IntervalSettings

    intervals = IntervalSettings(method=ci)
    out(str(_one(ctx, table, choice, output, intervals, db) if table else _all(ctx, output, intervals, db)))


def _one(
    ctx: typer.Context,
    table: str,
    choice: Choice,
    output: Path | None,
    intervals: IntervalSettings,
    db: str | None,
) -> Path:
    from harness.reports.folder import default_folder, write_report

    folder = output or default_folder(table, choice.preset)
    shown = view(ctx, table, choice, db).table(intervals)
    with shown.view.store() as store:
        write_report(shown.comparison, shown.view.seen(store), shown.view.command, store, folder)
    say_if_nothing_is_measured(shown.view, shown.comparison)
    return folder / "index.html"


def _all(ctx: typer.Context, output: Path | None, intervals: IntervalSettings, db: str | None) -> Path:
    from harness.analysis.compared import compared_tables
    from harness.reports.folder import default_folder, write_report
    from harness.reports.overview import entry, write_overview

    specs, top = specs_of(ctx), output or Path("reports")
    entries = []
    with open_store(ctx, db) as store:
        for resolved, comparison in compared_tables(specs, store, intervals):
            if any(cell.mean is not None for cell in comparison.cells):
                preset = resolved.preset.id if resolved.preset else None
                place = default_folder(resolved.table.id, preset).relative_to("reports")
                command = Commands(resolved.table.id, Choice(preset=preset), specs.further, {"db": db})
                write_report(comparison, resolved, command, store, top / place)
                entries.append(entry(comparison, store, f"{place.as_posix()}/index.html"))
        return write_overview(entries, str(store.location), top)
