"""`validate`: whether all specs are right."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.app import App
from harness.cli.options import examples, parts, specs_to_run
from harness.cli.output import note, out
from harness.counting import count
from harness.specs.matching import matching


def add_to(app: App) -> None:
    """Add the verb."""
    app.command(
        "validate",
        epilog=examples(
            "harness validate", "harness validate aspc-table1", "harness --specs my-specs validate"
        ),
    )(validate)


def validate(
    ctx: typer.Context,
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="TABLE", help="Only these tables and what they name.")
    ] = None,
) -> None:
    """Check the specs, also against the code.

    The algorithms' hyperparameters are held against what their classes declare, and every environment is made
    once. Problems are printed as file:line:column; the exit code is 2 if there are any.
    """
    from harness.planning.validation import validate_everything

    specs = specs_to_run(ctx)
    chosen = matching("table", parts(tables), specs.ids("tables")) if tables else None
    problems = validate_everything(specs, chosen)
    for problem in problems:
        out(problem)
    checked = (
        ", ".join(count(len(specs.ids(kind)), kind[:-1]) for kind in ("tables", "datasets", "protocols"))
        + f", {count(len(specs.ids('algorithms')), 'algorithm')} (with their code), "
        + count(len(specs.ids("presets")), "preset")
        if chosen is None
        else f"{', '.join(chosen)}, with the datasets, protocols and algorithms (and code) that they name"
    )
    note(f"checked {checked}: {count(len(problems), 'problem')}")
    if problems:
        raise typer.Exit(2)
