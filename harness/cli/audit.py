"""`audit`: what cannot be right in printed numbers."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from harness.cli.app import App
from harness.cli.options import Json, examples, specs_of
from harness.cli.output import json_out, note, out
from harness.counting import count


def add_to(app: App) -> None:
    """Add the verb."""
    app.command(
        "audit",
        epilog=examples(
            "harness audit aspc-table1", "harness audit --all --json", "harness audit --all -f markdown"
        ),
    )(audit)


def audit(
    ctx: typer.Context,
    table: Annotated[
        str | None, typer.Argument(metavar="TABLE", help="Id of a table; `harness ls` lists them.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All tables.")] = False,
    form: Annotated[
        Literal["text", "markdown"], typer.Option("--format", "-f", help="What to print.")
    ] = "text",
    as_json: Json = False,
) -> None:
    """Find what cannot be right in printed numbers.

    Averages, intervals, repetitions, standard deviations and changes are checked from the printed numbers
    alone, within what rounding allows. Findings are data: the exit code is 0 whatever is found.
    """
    if (table is None) != every:
        raise typer.BadParameter("name one table, or give --all")
    from harness.analysis.audit import audit as findings_of

    specs = specs_of(ctx)
    names = [table] if table is not None else specs.ids("tables")
    tables = [specs.table(name) for name in names]
    found = [(each, findings_of(each, specs)) for each in tables]
    if as_json:
        json_out([{"table": each.id, "findings": findings} for each, findings in found])
    elif form == "markdown":
        from harness.reports.audit import markdown_audit

        out("\n".join(markdown_audit(each, findings) for each, findings in found).removesuffix("\n"))
    else:
        for each, findings in found:
            for finding in findings:
                out(f"{each.id}: {finding.severity}: {finding.kind}: {finding.sentence}")
    total = sum(len(findings) for _, findings in found)
    note(f"{count(total, 'finding')} in {count(len(found), 'table')}")
