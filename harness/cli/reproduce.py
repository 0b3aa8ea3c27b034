"""`reproduce`: train what is missing of a table, and print it."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import App
from harness.cli.options import (
    Compiled,
    Database,
    DataHome,
    Device,
    MatrixPrecision,
    TableId,
    choosing,
    examples,
    view,
)
from harness.cli.output import note, rich_out, write
from harness.cli.plan import print_plan
from harness.counting import count
from harness.planning.choice import Choice

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison


def add_to(app: App) -> None:
    """Add the verb."""
    app.command(
        "reproduce",
        epilog=examples(
            "harness reproduce aspc-table1 --preset smoke",
            "harness reproduce aspc-table1 --dry-run",
            "harness reproduce aspc-table1 --datasets 'hopper-*' --algorithms aspc --seeds 0-3 --device cuda",
        ),
    )(reproduce)


@choosing()
def reproduce(
    ctx: typer.Context,
    table: TableId,
    choice: Choice,
    device: Device = "auto",
    precision: MatrixPrecision = None,
    compiled: Compiled = False,
    data_home: DataHome = None,
    db: Database = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(metavar="S", min=0, help="Least time between two checkpoints.")
    ] = 60.0,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Processes that evaluate; default: half of the cores, beside a GPU all but two.",
        ),
    ] = None,
    executor: Annotated[
        str,
        typer.Option(
            "--executor", metavar="NAME", help="What trains: local, or one that an installed package brings."
        ),
    ] = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Print the plan and end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only messages.")] = False,
) -> None:
    """Train what is missing of a table, and print it.

    Prints a verdict for every cell. Every score is kept when it is measured. Ctrl-C writes a checkpoint and
    ends; the same command goes on from there. Finished runs are never trained twice.
    """
    seen = view(ctx, table, choice, db, runs_code=True)
    if dry_run:
        from harness.api import plan_of

        print_plan(plan_of(seen, data_home), seen.command)
        return

    from harness.api import train
    from harness.execution.progress import Reporter

    for seed in seen.resolved.extra_seeds:
        note(f"seed {seed} is not among the table's seeds: its runs are kept, and shown with --seeds all")
    done = train(
        seen,
        Reporter(quiet=quiet),
        executor,
        device=device,
        home=data_home,
        precision=precision,
        compiled=compiled,
        checkpoint_seconds=checkpoint_seconds,
        workers=workers,
    )
    if done.table is None:
        note(f"interrupted, everything is saved; go on with: {shlex.join(['harness', *sys.argv[1:]])}")
        raise typer.Exit(done.exit_code)
    _print(done.table.comparison, seen.command("table"))
    unavailable = Counter(cell.unavailable for cell in seen.resolved.cells if cell.unavailable)
    for reason, cells in unavailable.items():
        note(f"{count(cells, 'cell')} cannot be trained: {reason}")
    note("where to go from here:")
    note(f"  {seen.command('diff')}")
    note(f"  {seen.command('table')} -f latex")
    if choice.preset:
        note(f"  {seen.command.whole('plan')}      (what the whole table would take)")
    if done.error:
        raise done.error


def _print(comparison: Comparison, table: str) -> None:
    from harness.reports import render

    if sys.stdout.isatty():
        from harness.reports import console

        rich_out(partial(console.table, comparison, all_notes=f"{table} --notes"))
    else:
        write(None, render(comparison, "markdown"))
    counts = ", ".join(f"{kind} {number}" for kind, number in comparison.counts.items() if number)
    note(f"verdicts: {counts} ({count(len(comparison.cells), 'cell')})")
