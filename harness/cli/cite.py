"""`cite`: whom to cite for a table, and what it took to compute."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.app import App
from harness.cli.options import Database, TableId, choosing, examples, view
from harness.cli.output import out
from harness.planning.choice import Choice


def add_to(app: App) -> None:
    """Add the verb."""
    app.command("cite", epilog=examples("harness cite aspc-table1", "harness cite aspc-table1 --compute"))(
        cite
    )


@choosing()
def cite(
    ctx: typer.Context,
    table: TableId,
    choice: Choice,
    compute: Annotated[
        bool,
        typer.Option("--compute", help="Instead a paragraph: hardware, hours, failed and repeated runs."),
    ] = False,
    db: Database = None,
) -> None:
    """Print BibTeX of a table's paper and of this program."""
    from harness.reports import citing

    seen = view(ctx, table, choice, db)
    if not compute:
        out(citing.bibtex(seen.resolved.table.paper).removesuffix("\n"))
        return
    with seen.store() as store:
        out(citing.compute(seen.resolved, store).removesuffix("\n"))
