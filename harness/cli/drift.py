"""`drift` and `accept`: our own results against a baseline, and a new baseline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.app import App
from harness.cli.options import (
    Database,
    Json,
    TableId,
    choosing,
    commands,
    examples,
    open_store,
    resolved_table,
    specs_of,
)
from harness.cli.output import json_out, note, rich_out, write
from harness.counting import count
from harness.errors import HarnessError, IncompleteError, UnknownNameError
from harness.planning.choice import Choice

if TYPE_CHECKING:
    from harness.analysis.drift import Drift, DriftSettings
    from harness.planning.cells import ResolvedTable

_FOLDER = Path("baselines")
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


@choosing("score")
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
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Compare our results with a baseline of our own.

    The exit code is 1 if something is significantly worse, and 3 if not all that the baseline has could be
    compared, or nothing was. What is better is reported and passes.
    """
    if every == (table is not None):
        raise typer.BadParameter("name one table, or give --all", param_hint="TABLE")
    if as_json and markdown == _STDOUT:
        raise typer.BadParameter(
            "--json and --markdown - both print; give Markdown a file", param_hint="--json"
        )
    from harness.analysis.drift import DriftSettings, overall
    from harness.reports import drift as reports

    settings = DriftSettings(gate, alpha, margin)
    if choice.preset:
        specs_of(ctx).preset(choice.preset)  # unknown everywhere is not the same as made for another table
    drifts = []
    for name in specs_of(ctx).ids("tables") if table is None else [table]:
        try:
            resolved = resolved_table(ctx, name, choice)
        except UnknownNameError as error:
            if not every:
                raise
            note(f"skipped: {name}: {error}")
            continue
        found = _drift(
            ctx,
            resolved,
            _baseline(baseline, resolved),
            db,
            settings,
            skip=every,
        )
        if found:
            drifts.append(found)
    if as_json:
        json_out(reports.document(drifts))
    elif markdown == _STDOUT:
        write(None, reports.markdown(drifts))
    else:
        for each in drifts:
            rich_out(reports.console(each))
    if junit:
        write(junit, reports.junit(drifts))
    if markdown and markdown != _STDOUT:
        write(markdown, reports.markdown(drifts))
    judgement = overall(drifts)
    note(f"{judgement}: {count(len(drifts), 'table')}")
    if judgement.exit_code:
        raise typer.Exit(judgement.exit_code)


def _baseline(given: str | None, resolved: ResolvedTable) -> str:
    """The baseline's path or URL; in a folder, it is named by what its scores are of."""
    if given is None or ("://" not in given and Path(given).is_dir()):
        preset = resolved.preset.id if resolved.preset else None
        parts = (resolved.table.id, preset, resolved.other_lineage)
        return str(Path(given or _FOLDER) / f"{'-'.join(filter(None, parts))}.db")
    return given


def _drift(
    ctx: typer.Context,
    resolved: ResolvedTable,
    baseline: str,
    db: str | None,
    settings: DriftSettings,
    *,
    skip: bool,
) -> Drift | None:
    """The drift of one table; None if it has no baseline and may be skipped."""
    from harness.analysis.drift import drift
    from harness.results.store import Store

    name = resolved.table.id
    command = commands(ctx, name)
    if "://" not in baseline and not Path(baseline).exists():
        missing = f"{name} has no baseline {baseline}; `{command('accept')} --reason TEXT` makes one"
        if not skip:
            raise IncompleteError(missing)
        note(f"skipped: {missing}")
        return None
    with (
        open_store(ctx, db, resolved.preset.id if resolved.preset else None) as now,
        Store.open(baseline) as before,
    ):
        return drift(resolved, now, before, settings, command)


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
    from harness.reports.acceptance import LOG_NAME
    from harness.reports.acceptance import accept as make

    if baseline and "://" in baseline:
        raise HarnessError(f"a baseline is written as a file, and {baseline!r} is a URL; give a path")
    whole = resolved_table(ctx, table, replace(choice, datasets=(), algorithms=()))
    path = Path(_baseline(baseline, whole))
    chosen = resolved_table(ctx, table, choice)
    with open_store(ctx, db, choice.preset) as store:
        done = make(chosen, whole, store, reason, path, log or path.with_name(LOG_NAME), commands(ctx, table))
    note(
        f"{path}: {count(done.accepted, 'cell')} accepted, {count(done.kept, 'cell')} kept; "
        f"the reason stands in {done.log}"
    )
