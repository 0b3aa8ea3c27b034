"""`reproduce`: train what is missing of a table, and print it."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

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
            "harness reproduce aspc-table1 --executor slurm --jobs 8 --executor-options gres=gpu:1",
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
    checkpoint_seconds: CheckpointSeconds = 60.0,
    workers: Evaluators = None,
    executor: Annotated[
        str,
        typer.Option(
            "--executor",
            metavar="NAME",
            help="What trains: local (this process), processes (a worker per GPU), slurm, ray, or what an "
            "installed package brings.",
        ),
    ] = "local",
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            metavar="N",
            min=1,
            help="Workers to start; default: one per visible GPU, else one.",
        ),
    ] = None,
    executor_options: Annotated[
        list[str] | None,
        typer.Option(
            "--executor-options",
            metavar="KEY=VALUE",
            help="For the engine, as 'partition=gpu' or 'time=600'; repeatable.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Print the plan and end.")] = False,
    quiet: Quiet = False,
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
        jobs=jobs,
        options=_pairs(executor_options or ()),
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


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    """What was said as 'key=value'.

    Raises:
        BadParameter: a text is nothing of the kind, or a key is said twice.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not (key and sign) or key in pairs:
            wrong = "is said twice" if key in pairs else "is no KEY=VALUE"
            raise typer.BadParameter(f"{text!r} {wrong}", param_hint="--executor-options")
        pairs[key] = value
    return pairs


def _print(comparison: Comparison, table: str) -> None:
    from harness.reports import render

    if sys.stdout.isatty():
        from harness.reports import console

        rich_out(partial(console.table, comparison, all_notes=f"{table} --notes"))
    else:
        write(None, render(comparison, "markdown"))
    counts = ", ".join(f"{kind} {number}" for kind, number in comparison.counts.items() if number)
    note(f"verdicts: {counts} ({count(len(comparison.cells), 'cell')})")
