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
    commands,
    examples,
    open_store,
    resolved_table,
    specs_of,
    with_chosen_seeds,
)
from harness.cli.output import note, out
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


@choosing("score", "every_seed")
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
    from harness.analysis.comparison import compare
    from harness.analysis.intervals import IntervalSettings
    from harness.reports.folder import default_folder, write_report

    resolved = resolved_table(ctx, table, choice)
    folder = output or default_folder(table, choice.preset)
    with open_store(ctx, db, choice.preset) as store:
        resolved = with_chosen_seeds(resolved, choice, store)
        comparison = compare(resolved, specs_of(ctx), store, intervals=IntervalSettings(method=ci))
        write_report(comparison, resolved, specs_of(ctx), store, folder)
        if all(cell.mean is None for cell in comparison.cells):
            note(
                f"nothing of this is measured yet in {store.location}; "
                f"`{commands(ctx, table)('reproduce')}` does it"
            )
    out(str(folder / "index.html"))
