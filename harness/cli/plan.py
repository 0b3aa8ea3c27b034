"""`plan`: what `reproduce` would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import App
from harness.cli.options import (
    Compiled,
    Database,
    DataHome,
    Json,
    MatrixPrecision,
    TableId,
    choosing,
    examples,
    view,
)
from harness.cli.output import json_out, out, size, table_out
from harness.counting import count, duration
from harness.planning.choice import Choice

if TYPE_CHECKING:
    from harness.planning.plan import Measure, Plan, TimeEstimate


def add_to(app: App) -> None:
    """Add the verb."""
    app.command(
        "plan",
        epilog=examples(
            "harness plan aspc-table1",
            "harness plan aspc-table1 --measure",
            "harness plan aspc-table1 --preset smoke",
            "harness plan aspc-table1 --datasets 'hopper-*' --algorithms td3_bc --seeds 0-3 --json",
        ),
    )(plan)


@choosing()
def plan(
    ctx: typer.Context,
    table: TableId,
    choice: Choice,
    data_home: DataHome = None,
    db: Database = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Time some real steps of each population, on made-up data, for the estimate."
        ),
    ] = False,
    precision: MatrixPrecision = None,
    compiled: Compiled = False,
    as_json: Json = False,
) -> None:
    """Say what `reproduce` would train.

    For each cell the runs done, failed and missing; for all of them the populations, and estimates of time
    and disk. Times come from finished runs of the database, device by device, or are measured now.
    """
    from harness.api import plan_of

    seen = view(ctx, table, choice, db, runs_code=True)
    if (precision or compiled) and not measure:
        raise typer.BadParameter(
            "these say how to measure; give --measure", param_hint="--precision, --compile"
        )
    timer: Measure | None = None
    if measure:
        from harness.execution import measure as measuring

        timer = measuring.timer(precision, compiled=compiled)
    made = plan_of(seen, data_home, timer)
    if as_json:
        json_out(asdict(made) | {"to_train": made.to_train, "remarks": made.remarks})
    else:
        print_plan(made, seen.command)


def print_plan(plan: Plan, same: Callable[[str], str]) -> None:
    """A line per cell, and the sums; `same` gives another verb's command line, see `commands`."""
    table_out(
        ("dataset", "column", "wanted", "done", "failed", "running", "queued", "missing", "imported", ""),
        [
            (
                cell.dataset,
                cell.column,
                cell.wanted,
                cell.done,
                cell.failed,
                cell.running,
                cell.queued,
                cell.missing,
                cell.imported,
                cell.unavailable or "",
            )
            for cell in plan.cells
        ],
    )
    out()
    out(f"to train: {plan.total('to_train'):,} of {count(plan.total('wanted'), 'run')}")
    if plan.shared:
        out(f"  {count(plan.shared, 'run')} of these are shown by two columns and trained once")
    for also in plan.also:
        name = also.column if also.table == plan.table else f"{also.column} of {also.table}"
        runs = count(also.runs, "run") + ("" if also.table == plan.table else ", which that table shows too")
        out(f"  also trains {name} ({runs}): {', '.join(also.readers)} from it")
        if also.again:
            out("    (these have finished, and their scores stay; the state that they ended with is gone)")
    if failed := sum(cell.failed for cell in plan.cells if not cell.unavailable):
        out(f"failed: {count(failed, 'run')}; `{same('retry')}` queues them again")
    for one in plan.waiting:
        out(f"waiting: {count(one.runs, 'run')}: {one}")
    if not failed and any(one.retriable for one in plan.waiting):
        out(f"`{same('retry')}` queues the failed runs that they wait for again")
    for reason, cells in plan.unavailable.items():
        out(f"cannot be trained: {count(cells, 'cell')}: {reason}")
    for estimate in plan.estimates:
        _print_estimate(estimate)
    for remark in plan.remarks:
        out(remark)
    for seed in plan.extra_seeds:
        out(f"seed {seed} is not among the table's seeds: its runs are kept, and shown with --seeds all")
    if plan.absent:
        needed = f", {size(plan.disk)}" if plan.disk else ""
        out(f"data to obtain ({plan.lineage}): {count(len(plan.absent), 'dataset')}{needed}")


def _print_estimate(estimate: TimeEstimate) -> None:
    whose = "this machine's" if estimate.here else "another machine's" if estimate.device else "one"
    name = f" ({estimate.device})" if estimate.device else ""
    known = f"{duration(estimate.seconds)} ({estimate.basis})" if estimate.seconds else ""
    unknown = f"time not known for {', '.join(estimate.unknown)}" if estimate.unknown else ""
    time = ", ".join(filter(None, (known, unknown))) if estimate.device else "time not measured"
    order = "one after another" if estimate.at_once == 1 else f"{estimate.at_once} at once"
    out(
        f"on {whose} {estimate.kind.upper()}{name}: {time}; "
        f"{count(estimate.populations, 'population')} {order}, each of at most "
        f"{count(estimate.capacity, 'run')}"
    )
