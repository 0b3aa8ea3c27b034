"""`work`: train what can be claimed of a table, beside other workers."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.app import App
from harness.cli.options import (
    CheckpointSeconds,
    Compiled,
    Database,
    DataHome,
    Device,
    Evaluators,
    MatrixPrecision,
    Quiet,
    TableId,
    choosing,
    examples,
    view,
)
from harness.cli.output import note
from harness.errors import StoppedError
from harness.planning.choice import Choice


def add_to(app: App) -> None:
    """Add the verb."""
    app.command(
        "work",
        epilog=examples(
            "harness work aspc-table1 --db postgresql://me@server/results",
            "harness work aspc-table1 --db postgresql://me@server/results --wait --at-most 16",
        ),
    )(work)


@choosing()
def work(
    ctx: typer.Context,
    table: TableId,
    choice: Choice,
    device: Device = "auto",
    precision: MatrixPrecision = None,
    compiled: Compiled = False,
    data_home: DataHome = None,
    db: Database = None,
    checkpoint_seconds: CheckpointSeconds = 60.0,
    workers: Evaluators = None,
    at_most: Annotated[
        int | None,
        typer.Option(
            "--at-most",
            metavar="N",
            min=1,
            help="Runs that train at once, so that other workers have their share; default: as `plan` says.",
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Stay while others hold runs that this one may have to take over or to read from."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train what of a table no other worker holds.

    Any number of workers may do so at once, on any machines that reach the database: each run is trained by
    the one that claims it. It prints no table. SIGTERM writes a checkpoint and ends.
    """
    seen = view(ctx, table, choice, db, runs_code=True)

    from harness.api import work as train
    from harness.execution.progress import Reporter

    ended = train(
        seen,
        Reporter(quiet=quiet),
        device=device,
        home=data_home,
        wait=wait,
        precision=precision,
        compiled=compiled,
        checkpoint_seconds=checkpoint_seconds,
        workers=workers,
        at_most=at_most,
    )
    if not ended:
        note("interrupted, everything is saved; the same command goes on from there")
        raise typer.Exit(StoppedError.exit_code)
