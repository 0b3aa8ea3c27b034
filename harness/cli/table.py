"""`table` and `diff`: what was measured, beside what the paper printed."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli.app import App
from harness.cli.options import (
    CellIntervals,
    Database,
    Level,
    TableId,
    choosing,
    examples,
    say_if_nothing_is_measured,
    view,
)
from harness.cli.output import rich_out, write
from harness.planning.choice import Choice

if TYPE_CHECKING:
    from harness.api import Table

Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here instead of to stdout.")
]

Notes = Annotated[bool, typer.Option("--notes", help="In a terminal: all notes, not only the first.")]
_FORMAT = "What to print; default: a table drawn for the terminal, Markdown where it goes elsewhere."


def add_to(app: App) -> None:
    """Add the verbs."""
    app.command(
        "table",
        epilog=examples(
            "harness table aspc-table1",
            "harness table aspc-table1 -f latex --standalone -o table.tex",
            "harness table aspc-table1 -f latex --style paper --show ci --level 0.9 --wide",
            "harness table aspc-table1 -f latex --siunitx --with-published",
            "harness table aspc-table1 --preset smoke -f csv --per-seed",
        ),
    )(table)
    app.command(
        "diff",
        epilog=examples(
            "harness diff aspc-table1", "harness diff aspc-table1 --datasets 'antmaze-*' -f markdown"
        ),
    )(diff)


@choosing()
def table(
    ctx: typer.Context,
    table: TableId,
    choice: Choice,
    form: Annotated[
        Literal["console", "markdown", "latex", "html", "csv", "json"] | None,
        typer.Option("--format", "-f", help=_FORMAT),
    ] = None,
    output: Output = None,
    notes: Notes = False,
    per_seed: Annotated[
        bool,
        typer.Option("--per-seed", help="CSV: a line per score, with its return, as `db import` takes it."),
    ] = False,
    style: Annotated[
        Literal["paper", "audit"] | None,
        typer.Option(
            "--style",
            help="LaTeX: paper has our numbers alone, audit also verdicts, the printed numbers and notes; "
            "default: audit where something is published, unless an option is for the other.",
        ),
    ] = None,
    show: Annotated[
        Literal["std", "ci", "se", "none"] | None,
        typer.Option(
            "--show",
            help="Paper: beside a mean its standard deviation (default), interval or standard error.",
        ),
    ] = None,
    bold: Annotated[
        Literal["ties", "best", "none"] | None,
        typer.Option(
            "--bold",
            help="Paper: the best of each row and what is shown to be as good (default), or it.",
        ),
    ] = None,
    caption: Annotated[
        str | None, typer.Option("--caption", metavar="LATEX", help="Paper: the caption.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="LABEL", help="Paper: for \\ref; default: tab:TABLE.")
    ] = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="Paper: over both columns of a page, also where one would do.")
    ] = False,
    transpose: Annotated[
        bool, typer.Option("--transpose", help="Paper: algorithms down, datasets across.")
    ] = False,
    standalone: Annotated[
        bool, typer.Option("--standalone", help="LaTeX: a whole document instead of a table environment.")
    ] = False,
    siunitx: Annotated[
        bool, typer.Option("--siunitx", help="Audit: numbers in the S columns of siunitx.")
    ] = False,
    with_published: Annotated[
        bool,
        typer.Option(
            "--with-published", help="Markdown, audit: the paper's number beside each of ours, too."
        ),
    ] = False,
    digits: Annotated[
        int | None,
        typer.Option(
            "--digits", metavar="N", min=0, max=6, help="Markdown, LaTeX: decimals of our scores; default: 1."
        ),
    ] = None,
    ci: CellIntervals = "percentile",
    level: Level = 0.95,
    db: Database = None,
) -> None:
    """Print a table as the paper lays it out.

    With our numbers and a verdict for every cell.
    """
    from harness.reports import refuse_meaningless, render

    if per_seed and form != "csv":
        raise typer.BadParameter("it is for -f csv", param_hint="--per-seed")
    found = _compared(ctx, table, choice, db, ci, level)
    options: dict[str, Any] = {
        "style": style,
        "standalone": standalone,
        "digits": digits,
        "show": show,
        "bold": bold,
        "caption": caption,
        "label": label,
        "wide": wide,
        "transpose": transpose,
        "siunitx": siunitx,
        "with_published": with_published,
    }
    if per_seed:
        refuse_meaningless("csv", options)
        write(output, found.per_seed())
    elif _drawn(form, output):
        from harness.reports import console

        given = refuse_meaningless("console", options) | {"all_notes": _all_notes(found, "table", notes)}
        rich_out(partial(console.table, found.comparison, **given))
    else:
        write(output, render(found.comparison, _written(form), **options))


@choosing()
def diff(
    ctx: typer.Context,
    table: TableId,
    choice: Choice,
    form: Annotated[
        Literal["console", "markdown", "latex", "csv", "json"] | None,
        typer.Option("--format", "-f", help=_FORMAT),
    ] = None,
    output: Output = None,
    notes: Notes = False,
    ci: CellIntervals = "percentile",
    level: Level = 0.95,
    db: Database = None,
) -> None:
    """Print each cell beside the paper's number.

    A line each: our number, the paper's, the difference, the verdict and the adjusted p-value.
    """
    found = _compared(ctx, table, choice, db, ci, level)
    if _drawn(form, output):
        from harness.reports import console

        rich_out(partial(console.diff, found.comparison, all_notes=_all_notes(found, "diff", notes)))
    else:
        from harness.reports import render_diff

        write(output, render_diff(found.comparison, _written(form)))


def _drawn(form: str | None, output: Path | None) -> bool:
    """Whether a table is drawn for a terminal."""
    return output is None and (form == "console" or (form is None and sys.stdout.isatty()))


def _written(form: str | None) -> str:
    return "markdown" if form in (None, "console") else str(form)


def _all_notes(found: Table, verb: str, wanted: bool) -> str:
    """What prints all notes, unless they are."""
    return "" if wanted else f"{found.view.command(verb)} --notes"


def _compared(
    ctx: typer.Context,
    table: str,
    choice: Choice,
    db: str | None,
    ci: Literal["percentile", "bca", "t"],
    level: float,
) -> Table:
    from harness.analysis.intervals import IntervalSettings

    found = view(ctx, table, choice, db).table(IntervalSettings(ci, level))
    say_if_nothing_is_measured(found.view, found.comparison)
    return found
