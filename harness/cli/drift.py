"""`drift` and `accept`: our own results against a baseline, and a new baseline."""

from __future__ import annotations

import os
from functools import partial
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
    specs_of,
    view,
)
from harness.cli.output import json_out, note, rich_out, write
from harness.counting import count
from harness.errors import NoBaselineError, UnknownNameError
from harness.planning.choice import Choice

_STDOUT = Path("-")


def add_to(app: App) -> None:
    """Add the verbs."""
    app.command(
        "drift",
        epilog=examples(
            "harness drift aspc-table1",
            "harness drift aspc-table1 --preset smoke --baseline smoke-baseline.db --gate both",
            "harness drift --all --junit drift.xml --markdown -",
        ),
    )(drift)
    app.command(
        "accept",
        epilog=examples(
            "harness accept aspc-table1 --reason 'first whole run'",
            "harness accept aspc-table1 --datasets 'hopper-*' --reason 'torch 2.13 moves these'",
        ),
    )(accept)


@choosing()
def drift(
    ctx: typer.Context,
    choice: Choice,
    table: Annotated[
        str | None, typer.Argument(metavar="TABLE", help="Id of a table; `harness ls` lists them.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All tables.")] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="FILE|URL",
            help="Database to compare with, or a folder of them; only read; default: baselines/TABLE.db, "
            "with --preset and --data also named by these, as TABLE-smoke.db.",
        ),
    ] = None,
    gate: Annotated[
        Literal["aggregates", "cells", "both"], typer.Option("--gate", help="What the exit code hangs on.")
    ] = "aggregates",
    alpha: Annotated[
        float | None,
        typer.Option(metavar="P", help="False-discovery rate of the tests; default: the table's."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Points that count as equal; default: the table's, of cells and of averages.",
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML here, too.")
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE|-", help="Write Markdown here, too; '-' prints only it."),
    ] = None,
    all_cells: Annotated[
        bool, typer.Option("--all-cells", help="Print the aggregates and cells that did not move, too.")
    ] = False,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Compare our results with a baseline of our own.

    The exit code is 1 if something is significantly worse, and 3 if not all that the baseline has could be
    compared, or nothing was. What is better is reported and passes. In GitHub Actions what moved is
    annotated.
    """
    if every == (table is not None):
        raise typer.BadParameter("name one table, or give --all", param_hint="TABLE")
    if as_json and markdown == _STDOUT:
        raise typer.BadParameter(
            "--json and --markdown - both print; give Markdown a file", param_hint="--json"
        )
    from harness.analysis.drift import DriftSettings, overall
    from harness.api import drift_of
    from harness.reports import drift as reports

    settings = DriftSettings(gate, alpha, margin)
    if choice.preset:
        specs_of(ctx).preset(choice.preset)  # unknown everywhere is not the same as made for another table
    drifts = []
    for name in specs_of(ctx).ids("tables") if table is None else [table]:
        try:
            drifts.append(drift_of(view(ctx, name, choice, db), baseline, settings))
        except (UnknownNameError, NoBaselineError) as error:
            if not every:
                raise
            said = error if isinstance(error, NoBaselineError) else f"{name}: {error}"
            note(f"skipped: {said}")
    if as_json:
        json_out(reports.document(drifts))
    elif markdown == _STDOUT:
        write(None, reports.markdown(drifts))
    else:
        for each in drifts:
            rich_out(partial(reports.console, each, all_cells=all_cells))
    if junit:
        write(junit, reports.junit(drifts))
    if markdown and markdown != _STDOUT:
        write(markdown, reports.markdown(drifts))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in reports.workflow_commands(drifts):
            note(line)
    judgement = overall(drifts)
    note(f"{judgement}: {count(len(drifts), 'table')}")
    if judgement.exit_code:
        raise typer.Exit(judgement.exit_code)


@choosing()
def accept(
    ctx: typer.Context,
    table: TableId,
    choice: Choice,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the log of scores.")],
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="FILE",
            help="The file to write; default: baselines/TABLE.db, with --preset and --data also named by "
            "these, as TABLE-smoke.db.",
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FILE", help="The log; default: score-log.md beside the baseline."),
    ] = None,
    db: Database = None,
) -> None:
    """Make the table's finished runs the baseline.

    Cells that are not chosen, or have no score, stay as the baseline has them. Refused where the code is not
    as committed.
    """
    from harness.api import accept_of

    done = accept_of(view(ctx, table, choice, db), reason, baseline, log)
    note(
        f"{done.baseline}: {count(done.accepted, 'cell')} accepted, {count(done.kept, 'cell')} kept; "
        f"the reason stands in {done.log}"
    )
