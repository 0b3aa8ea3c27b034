"""`report`: a folder with a table in every format, its figures and a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    Algorithms,
    CellIntervals,
    Database,
    DataLineage,
    Datasets,
    PresetId,
    Score,
    Steps,
    TableId,
    commands,
    examples,
    open_store,
    resolved_table,
    specs_of,
)
from harness.cli.output import note, out


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        "report",
        epilog=examples(
            "harness report aspc-table1",
            "harness report aspc-table1 --preset smoke",
            "harness report aspc-table1 --datasets 'hopper-*' -o hopper",
        ),
    )(report)


def report(
    ctx: typer.Context,
    table: TableId,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where to; default: reports/TABLE/PRESET, without a preset reports/TABLE/full.",
        ),
    ] = None,
    preset: PresetId = None,
    datasets: Datasets = None,
    algorithms: Algorithms = None,
    steps: Steps = None,
    lineage: DataLineage = None,
    score: Score = None,
    ci: CellIntervals = "percentile",
    db: Database = None,
) -> None:
    """Write a page to look at, the table in every format, and figures.

    An earlier report in the same folder is replaced. Prints the path of the page.
    """
    from harness.analysis.comparison import compare
    from harness.analysis.intervals import IntervalSettings
    from harness.reports.folder import default_folder, write_report

    resolved = resolved_table(
        ctx,
        table,
        preset,
        datasets=datasets,
        algorithms=algorithms,
        steps=steps,
        lineage=lineage,
        score=score,
    )
    folder = output or default_folder(table, preset)
    with open_store(ctx, db, preset) as store:
        comparison = compare(resolved, specs_of(ctx), store, intervals=IntervalSettings(method=ci))
        write_report(comparison, resolved, specs_of(ctx), store, folder)
        if all(cell.mean is None for cell in comparison.cells):
            note(
                f"nothing of this is measured yet in {store.location}; "
                f"`{commands(ctx, table)('reproduce')}` does it"
            )
    out(str(folder / "index.html"))
