"""`figure`: pictures of a table, each with its data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.app import App
from harness.cli.options import Database, TableId, choosing, examples, parts, view
from harness.cli.output import note, out
from harness.planning.choice import Choice


def add_to(app: App) -> None:
    """Add the verb."""
    app.command(
        "figure",
        epilog=examples(
            "harness figure aspc-table1 aggregates profiles -o figures",
            "harness figure aspc-table1 curves --datasets 'hopper-*' --width double --format svg -o figures",
            "harness figure aspc-fig10 fig10 --width double -o figures",
            "harness figure aspc-table1 efficiency --style talk --width 16 --format png -o slides",
        ),
    )(figure)


@choosing()
def figure(
    ctx: typer.Context,
    table: TableId,
    kinds: Annotated[
        list[str],
        typer.Argument(
            metavar="KIND...",
            help="Of profiles, aggregates, improvement, curves, metrics, efficiency (IQM over steps), "
            "sensitivity (score over a setting's values), tuning (the best of so many settings), scatter "
            "(published against reproduced), runtime and radar, or a figure of the paper by the id that the "
            "table's spec gives it, such as alpha of aspc-table1.",
        ),
    ],
    choice: Choice,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where to.")],
    form: Annotated[
        Literal["pdf", "svg", "png"], typer.Option("--format", "-f", help="Of the files.")
    ] = "pdf",
    width: Annotated[
        str, typer.Option("--width", metavar="single|double|CM", help="A column, a page, or centimetres.")
    ] = "single",
    style: Annotated[Literal["paper", "talk"], typer.Option("--style", help="Size of all type.")] = "paper",
    palette: Annotated[
        str, typer.Option("--palette", metavar="NAME", help="One of seaborn's.")
    ] = "colorblind",
    db: Database = None,
) -> None:
    """Draw figures, each with its data as CSV beside it.

    Prints the paths of the figures. The exit code is 3 where one has no data.
    """
    from harness.reports.figures import write
    from harness.reports.figures.look import Look

    look = Look.of(width, style, palette)
    drawn = view(ctx, table, choice, db).table().illustrations(parts(kinds), look)
    for path in write(drawn, output, form, look):
        out(str(path))
    for item in drawn:
        note(f"{item.name}: {item.caption}" if item.figure else f"{item.name}: not drawn")
    lacking = [item for item in drawn if item.figure is None]
    if lacking:
        from harness.errors import IncompleteError

        raise IncompleteError("; ".join(f"{item.name} needs {item.missing}" for item in lacking))
