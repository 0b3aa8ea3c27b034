"""`metrics`: what training reported beside scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.app import App
from harness.cli.options import (
    Database,
    Json,
    TableId,
    choosing,
    examples,
    view,
)
from harness.cli.output import json_out, note, out, table_out, write
from harness.planning.choice import Choice


def add_to(app: App) -> None:
    """Add the verb."""
    app.command(
        "metrics",
        epilog=examples(
            "harness metrics aspc-table1",
            "harness metrics aspc-table1 alpha",
            "harness metrics aspc-table1 alpha --preset lite --at 50000 -f markdown",
        ),
    )(metrics)


@choosing()
def metrics(
    ctx: typer.Context,
    table: TableId,
    choice: Choice,
    name: Annotated[
        str | None, typer.Argument(metavar="METRIC", help="Such as alpha; without, the names there are.")
    ] = None,
    at: Annotated[
        int | None,
        typer.Option("--at", metavar="STEP", min=0, help="After so many updates instead of at the end."),
    ] = None,
    form: Annotated[
        Literal["console", "markdown"], typer.Option("--format", "-f", help="What to print.")
    ] = "console",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write Markdown here instead of to stdout."),
    ] = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Print a number that training reported, such as ASPC's α, for every cell.

    Mean ± standard deviation (ddof 1) over seeds, failed runs left out, after the last update.
    """
    from harness.analysis.metrics import metric_names, reported
    from harness.reports import metrics as report

    seen = view(ctx, table, choice, db)
    resolved, command = seen.resolved, seen.command
    with seen.store() as store:
        if name is None:
            names = metric_names(resolved, store)
            if as_json:
                json_out(names)
            elif names:
                out("\n".join(names))
            else:
                note(f"no run of {table} has reported a metric yet; `{command('reproduce')}` trains them")
            return
        cells = reported(resolved, store, name, at, command)
    if as_json:
        json_out(report.document(resolved, cells, name))
    elif form == "markdown" or output is not None:
        write(output, report.markdown(resolved, cells, name))
    else:
        if warning := report.warning(cells):
            out(warning)
        out(f"{report.caption(cells, name)}\n")
        shown = report.grid(resolved, cells)
        table_out(shown.header, shown.rows)
