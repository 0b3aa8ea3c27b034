"""`report`: a folder with a table in every format, its figures and a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import App
from harness.cli.options import (
    CellIntervals,
    Database,
    TableId,
    choosing,
    examples,
    say_if_nothing_is_measured,
    view,
)
from harness.cli.output import out
from harness.planning.choice import Choice


def add_to(app: App) -> None:
    """Add the verb."""
    app.command(
        "report",
        epilog=examples(
            "harness report aspc-table1",
            "harness report aspc-table1 --preset smoke",
            "harness report aspc-table1 --datasets 'hopper-*' -o hopper",
        ),
    )(report)


@choosing()
def report(
    ctx: typer.Context,
    table: TableId,
    choice: Choice,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where to; default: reports/TABLE/PRESET, without a preset reports/TABLE/full.",
        ),
    ] = None,
    ci: CellIntervals = "percentile",
    db: Database = None,
) -> None:
    """Write a page to look at, the table in every format, and figures.

    An earlier report in the same folder is replaced. Prints the path of the page.
    """
    from harness.analysis.intervals import IntervalSettings
    from harness.reports.folder import default_folder, write_report

    folder = output or default_folder(table, choice.preset)
    shown = view(ctx, table, choice, db).table(IntervalSettings(method=ci))
    with shown.view.store() as store:
        write_report(shown.comparison, shown.view.seen(store), shown.view.command, store, folder)
    say_if_nothing_is_measured(shown.view, shown.comparison)
    out(str(folder / "index.html"))
