"""`stats`: a table's algorithms over all its datasets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.options import (
    Algorithms,
    Database,
    DataLineage,
    Datasets,
    Json,
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
from harness.cli.output import json_out, note, write

if TYPE_CHECKING:
    from harness.analysis.aggregates import Metric

_PAIR_REPETITIONS = 2000


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        "stats",
        epilog=examples(
            "harness stats aspc-table1",
            "harness stats aspc-table1 --datasets 'hopper-*' --metrics iqm,og --ci bca",
            "harness stats aspc-table1 --pairs --profile -f markdown -o statistics.md",
            "harness stats aspc-table1 --preset smoke --json",
            "harness stats aspc-table1 --export scores.npz",
        ),
    )(stats)


def stats(
    ctx: typer.Context,
    table: TableId,
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="LIST", help="Of mean, median, iqm and og (optimality gap).")
    ] = "iqm,mean,median,og",
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
            help=f"Resamples; default: 50000, for pairs {_PAIR_REPETITIONS}.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--stat-seed", metavar="N", min=0, help="Of the resampling.")] = 0,
    form: Annotated[
        Literal["console", "markdown"], typer.Option("--format", "-f", help="What to print.")
    ] = "console",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write Markdown here instead of to stdout."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Also write the score matrices, for numpy.load."),
    ] = None,
    preset: PresetId = None,
    datasets: Datasets = None,
    algorithms: Algorithms = None,
    steps: Steps = None,
    lineage: DataLineage = None,
    score: Score = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Aggregate a table's algorithms over its datasets.

    With intervals from the stratified bootstrap, on the cells that have all their seeds.
    """
    from harness.analysis.aggregates import BootstrapSettings
    from harness.analysis.comparison import compare
    from harness.analysis.overall import overall
    from harness.reports import overall as report

    chosen = _metrics(metrics)
    settings = BootstrapSettings(ci, repetitions=repetitions or BootstrapSettings.repetitions, seed=seed)
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
    with open_store(ctx, db, preset) as store:
        comparison = compare(resolved, specs_of(ctx), store)
    found = overall(
        comparison,
        chosen,
        settings,
        pairs=(repetitions or _PAIR_REPETITIONS) if pairs else None,
        profiles=profile,
        command=commands(ctx, table),
    )
    if export is not None:
        report.export(comparison, found, export)
        note(f"written to {export}")
    if as_json:
        json_out(report.document(comparison, found))
    elif form == "markdown" or output is not None:
        write(output, report.markdown(comparison, found))
    else:
        from rich.console import Console

        # without a terminal there is no width to fit into
        Console(width=None if sys.stdout.isatty() else 160).print(report.console(comparison, found))


def _metrics(text: str) -> tuple[Metric, ...]:
    from harness.analysis.aggregates import METRICS

    names = dict.fromkeys(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in METRICS]:
        raise typer.BadParameter(
            f"{', '.join(map(repr, unknown))}: choose from {', '.join(METRICS)}", param_hint="--metrics"
        )
    return tuple(metric for name in names for metric in METRICS if metric == name)
