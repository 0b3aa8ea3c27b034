"""`stats`: a table's algorithms over all its datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.app import App
from harness.cli.options import (
    Database,
    DataHome,
    Json,
    Level,
    TableId,
    choosing,
    examples,
    parts,
    resolved_table,
    specs_of,
    view,
    was_given,
)
from harness.cli.output import json_text, note, rich_out, table_out, write
from harness.planning.choice import Choice

if TYPE_CHECKING:
    from harness.analysis.aggregates import Metric


def add_to(app: App) -> None:
    """Add the verb."""
    app.command(
        "stats",
        epilog=examples(
            "harness stats aspc-table1",
            "harness stats aspc-table1 --datasets 'hopper-*' --metrics iqm,og --ci bca",
            "harness stats aspc-table1 --pairs --profile -f markdown -o statistics.md",
            "harness stats aspc-table1 -f latex -o statistics.tex",
            "harness stats aspc-table1 --preset smoke --json",
            "harness stats aspc-table1 --export scores.npz",
        ),
    )(stats)


@choosing()
def stats(
    ctx: typer.Context,
    table: TableId,
    choice: Choice,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            metavar="LIST",
            help="Of iqm, mean, median and og (optimality gap), in any order; default: all four; repeatable.",
        ),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Also the probability of improvement of every pair.")
    ] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Also performance profiles.")] = False,
    ci: Annotated[
        Literal["percentile", "bca"],
        typer.Option("--ci", help="Intervals of the aggregates; pairs and profiles have percentile ones."),
    ] = "percentile",
    repetitions: Annotated[
        int | None,
        typer.Option(
            "--reps",
            metavar="N",
            min=100,
            max=200_000,
            help="Resamples; default: 50000, for pairs 2000.",
        ),
    ] = None,
    level: Level = 0.95,
    seed: Annotated[int, typer.Option("--stat-seed", metavar="N", min=0, help="Of the resampling.")] = 0,
    form: Annotated[
        Literal["console", "markdown", "latex", "csv", "json"],
        typer.Option("--format", "-f", help="What to print; LaTeX has the aggregates alone."),
    ] = "console",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write here instead of to stdout, Markdown by default."
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Also write the score matrices, for numpy.load."),
    ] = None,
    sources: Annotated[
        bool,
        typer.Option("--sources", help="Instead: the printed columns against the seeds of public sources."),
    ] = False,
    data_home: DataHome = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Aggregate a table's algorithms over its datasets.

    With intervals from the stratified bootstrap, on the cells that have all their seeds.
    """
    if sources:
        for name in ("metrics", "pairs", "profile", "ci", "repetitions", "level", "seed", "export"):
            if was_given(ctx, name):
                raise typer.BadParameter("has no meaning with --sources", ctx=ctx, param_hint=name)
        _against(ctx, table, choice, "json" if as_json else form, output, data_home)
        return
    from harness.reports import overall as report
    from harness.reports import paper

    chosen = _metrics(metrics)
    shown = view(ctx, table, choice, db).table()
    comparison = shown.comparison
    found = shown.statistics(
        chosen, pairs=pairs, profiles=profile, method=ci, level=level, repetitions=repetitions, seed=seed
    )
    if export is not None:
        report.export(comparison, found, export)
        note(f"written to {export}")
    if as_json or form == "json":
        text = json.dumps(report.document(comparison, found), indent=2, ensure_ascii=False) + "\n"
    elif form == "latex":
        text = paper.statistics(comparison, found, paper.Float())
    elif form == "csv":
        from harness.reports import frames

        text = frames.csv(frames.statistics(comparison, found))
    elif form == "markdown" or output is not None:
        text = report.markdown(comparison, found)
    else:
        rich_out(lambda _: report.console(comparison, found))
        return
    write(output, text)


def _against(
    ctx: typer.Context,
    table: str,
    choice: Choice,
    form: str,
    output: Path | None,
    data_home: Path | None,
) -> None:
    """Print each printed column against the sources that are here, column by column."""
    if form in ("latex", "csv"):
        raise typer.BadParameter(f"{form} has no meaning with --sources; take console, markdown or json")
    from harness import api
    from harness.analysis.against import against
    from harness.reports import derivation, grids

    specs = specs_of(ctx)
    shown = resolved_table(ctx, table, choice).table
    scores = api.scores_at_hand(specs, shown, (), data_home)
    columns = [column.id for column in shown.columns]
    found = against(specs.table(table), specs, scores, shown.datasets, columns)
    grid = derivation.against(found)
    if form == "json":
        write(output, json_text(found))
    elif form == "markdown" or output is not None:
        write(output, "\n".join(grids.markdown(grid.header, grid.rows)) + "\n")
    else:
        table_out(grid.header, grid.rows)
    note(
        "higher and lower: of the printed mean, significantly (Welch, adjusted over all cells); equal: "
        "within the margin; difference and p: over all datasets that both have"
    )


def _metrics(texts: list[str] | None) -> tuple[Metric, ...]:
    from harness.api import METRICS

    names = METRICS if texts is None else parts(texts)
    if unknown := [name for name in names if name not in METRICS]:
        raise typer.BadParameter(
            f"{', '.join(map(repr, unknown))}: choose from {', '.join(METRICS)}", param_hint="--metrics"
        )
    return tuple(metric for name in names for metric in METRICS if metric == name)
