"""`plan`: what `reproduce` would do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.cli.options import (
    Algorithms,
    Database,
    DataHome,
    DataLineage,
    Datasets,
    Json,
    PresetId,
    Seeds,
    Steps,
    TableId,
    database,
    examples,
    resolved_table,
)
from harness.cli.output import count, duration, json_out, out, size, table_out

if TYPE_CHECKING:
    from harness.planning.cells import ResolvedTable
    from harness.planning.plan import Plan


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        "plan",
        epilog=examples(
            "harness plan aspc-table1",
            "harness plan aspc-table1 --preset smoke",
            "harness plan aspc-table1 --datasets 'hopper-*' --algorithms td3_bc --seeds 0-3 --json",
        ),
    )(plan)


def plan(
    ctx: typer.Context,
    table: TableId,
    preset: PresetId = None,
    datasets: Datasets = None,
    algorithms: Algorithms = None,
    seeds: Seeds = None,
    steps: Steps = None,
    lineage: DataLineage = None,
    data_home: DataHome = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Say what `reproduce` would train.

    For each cell the runs done, failed and missing; for all of them the populations, and estimates of time
    and disk.
    """
    resolved = resolved_table(
        ctx,
        table,
        preset,
        datasets=datasets,
        algorithms=algorithms,
        seeds=seeds,
        steps=steps,
        lineage=lineage,
    )
    made = make(resolved, database(ctx, db, preset), data_home)
    if as_json:
        json_out(asdict(made) | {"to_train": made.to_train})
    else:
        print_plan(made)


def make(resolved: ResolvedTable, url: str, home: Path | None, device: str = "auto") -> Plan:
    """The plan for a database that need not exist yet.

    Raises:
        HarnessError: the database cannot be read.
    """
    from harness.execution.local import settings
    from harness.planning.plan import plan as make_plan
    from harness.results import schema
    from harness.results.store import Store

    capacity = settings(device, Path()).capacity
    if schema.current_version(schema.Location.parse(url)) is None:
        return make_plan(resolved, None, home=home, capacity=capacity)
    with Store.open(url) as store:
        return make_plan(resolved, store, home=home, capacity=capacity)


def print_plan(plan: Plan) -> None:
    """A line per cell, and the sums."""
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
    out(f"to train: {count(plan.to_train, 'run')} in {count(plan.populations, 'population')}")
    if failed := sum(cell.failed for cell in plan.cells if not cell.unavailable):
        out(f"failed: {count(failed, 'run')}; `harness retry {plan.table}` queues them again")
    for reason, cells in plan.unavailable.items():
        out(f"cannot be trained: {count(cells, 'cell')}: {reason}")
    if plan.to_train:
        known = duration(plan.seconds) if plan.seconds else ""
        unknown = (
            f"unknown for {', '.join(plan.unknown)}, of which this database has no finished run"
            if plan.unknown
            else ""
        )
        out(f"time: {', '.join(filter(None, (known, unknown)))}")
    if plan.absent:
        needed = f", {size(plan.disk)}" if plan.disk else ""
        out(f"data to obtain ({plan.lineage}): {count(len(plan.absent), 'dataset')}{needed}")
