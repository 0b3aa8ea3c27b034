"""`reproduce`: train what is missing of a table, and print it."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import plan as planning
from harness.cli.app import App
from harness.cli.options import (
    Compiled,
    Database,
    DataHome,
    Device,
    MatrixPrecision,
    TableId,
    choosing,
    commands,
    database,
    examples,
    resolved_table,
    specs_to_run,
)
from harness.cli.output import note, rich_out, write
from harness.counting import count
from harness.errors import FailedRunsError, IncompleteError
from harness.planning.choice import Choice

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison
    from harness.planning.status import Status


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


@choosing("seeds")
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
    resolved = resolved_table(ctx, table, choice)
    url = database(ctx, db, choice.preset)
    if dry_run:
        made = planning.make(resolved, specs_to_run(ctx), url, data_home)
        planning.print_plan(made, commands(ctx, table))
        return

    from harness.analysis.comparison import compare
    from harness.execution import executors
    from harness.execution.interrupt import Interrupt
    from harness.execution.local import settings
    from harness.execution.progress import Reporter
    from harness.planning.status import status
    from harness.results.schema import Location
    from harness.results.store import Store

    train, specs = executors.named(executor), specs_to_run(ctx)
    how = settings(
        device,
        Location.parse(url).folder("checkpoints", data_home),
        precision=precision,
        compiled=compiled,
        home=data_home,
        checkpoint_seconds=checkpoint_seconds,
        workers=workers,
    )
    for seed in resolved.extra_seeds:
        note(f"seed {seed} is not among the table's seeds: its runs are kept, and shown with --seeds all")
    with Store.open(url, create=True) as store:
        reporter = Reporter(quiet=quiet)
        store.tell = reporter.message
        with (
            reporter,
            Interrupt(
                lambda: reporter.message("stopping: writing a checkpoint… (again: stop at once)")
            ) as stop,
        ):
            outcome = train(resolved, specs, store, how, reporter, stop)
        if outcome.interrupted:
            note(f"interrupted, everything is saved; go on with: {shlex.join(['harness', *sys.argv[1:]])}")
            raise typer.Exit(130)
        # the seeds choose what to train; the table shows all that it wants
        whole = resolved_table(ctx, table, replace(choice, seeds=()))
        comparison = compare(whole, specs, store)
        state = status(store, resolved)
    _print(comparison)
    unavailable = Counter(cell.unavailable for cell in resolved.cells if cell.unavailable)
    for reason, cells in unavailable.items():
        note(f"{count(cells, 'cell')} cannot be trained: {reason}")
    same = commands(ctx, table)
    note("where to go from here:")
    note(f"  {same('diff')}")
    note(f"  {same('table')} -f latex")
    if choice.preset:
        note(f"  {commands(ctx, table, whole=True)('plan')}      (what the whole table would take)")
    _judge(same, comparison, state)


def _print(comparison: Comparison) -> None:
    from harness.reports import render

    if sys.stdout.isatty():
        from harness.reports import console

        rich_out(console.table(comparison))
    else:
        write(None, render(comparison, "markdown"))
    counts = ", ".join(f"{kind} {number}" for kind, number in comparison.counts.items() if number)
    note(f"verdicts: {counts} ({count(len(comparison.cells), 'cell')})")


def _judge(same: Callable[[str], str], comparison: Comparison, state: Status) -> None:
    """Raise what the exit code says, if not all that was asked for is there."""
    if state.counts["failed"]:
        one = state.failures[0]
        what = one.algorithm if one.column in (None, one.algorithm) else f"{one.column} ({one.algorithm})"
        where = f" at step {one.step:,}" if one.step is not None else ""
        raise FailedRunsError(
            f"{count(state.counts['failed'], 'run')} failed; the first is {what} on {one.dataset}, "
            f"seed {one.seed}{where}: {one.error}. `{same('status')}` lists them, "
            f"`{same('retry')}` queues them again"
        )
    left = sum(number for name, number in state.counts.items() if name not in ("finished", "failed"))
    if left:
        busy = f"; {count(len(state.active), 'run')} of them are trained elsewhere" if state.active else ""
        raise IncompleteError(f"{count(left, 'run')} that this needs are not finished{busy}")
    if all(cell.mean is None for cell in comparison.cells):
        raise IncompleteError("nothing was measured")
