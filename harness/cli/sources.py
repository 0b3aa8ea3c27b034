"""`sources`: public scores behind printed numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.app import App
from harness.cli.options import (
    Database,
    DataHome,
    Json,
    TableId,
    choosing,
    examples,
    open_store,
    parts,
    resolved_table,
    specs_of,
)
from harness.cli.output import json_out, note, out, size, table_out, write
from harness.counting import count
from harness.errors import HarnessError
from harness.planning.choice import Choice

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="Id of a source; `harness sources ls`.")]
Chosen = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="ID", help="Only these sources; repeatable; default: all at hand."),
]

_NAMED = 6  # cells of which a note names where the published file differs

group = App()


def add_to(app: App) -> None:
    """Add the verbs as ``sources``."""
    app.add_typer(
        group,
        name="sources",
        help="Hold printed numbers against public scores.",
        epilog=examples("harness sources ls", "harness sources check aspc-table1"),
    )


@group.command("ls", epilog=examples("harness sources ls", "harness sources ls --json"))
def ls(ctx: typer.Context, data_home: DataHome = None, as_json: Json = False) -> None:
    """List the sources, and which are on this machine."""
    from harness.sources import files

    specs = specs_of(ctx)
    rows = []
    for name in specs.ids("sources"):
        source = specs.source(name)
        every, missing = files.pinned(source), files.missing(source, data_home)
        rows.append(
            {
                "id": name,
                "files": len(every),
                "here": len(every) - len(missing),
                "licence": source.licence,
                "title": source.title,
            }
        )
    if as_json:
        json_out(rows)
    else:
        header = ("id", "files", "here", "licence", "title")
        table_out(header, [[row[key] for key in header] for row in rows])


@group.command(
    "show", epilog=examples("harness sources show rebrac-2023", "harness sources show rebrac-2023 --json")
)
def show(ctx: typer.Context, name: Source, data_home: DataHome = None, as_json: Json = False) -> None:
    """Show where a source's files are, how they are read, and what to know of them."""
    from harness.sources import files

    source = specs_of(ctx).source(name)
    if as_json:
        json_out(source.model_dump(mode="json"))
        return
    out(f"{source.id}: {source.title}")
    if source.repository:
        out(f"Repository: {source.repository} @ {source.commit}")
    out(f"Licence: {source.licence}")
    if source.paper:
        out(f"Paper: {source.paper.title} ({source.paper.authors}, {source.paper.year})")
    out(f"Algorithms: {', '.join(f'{theirs} is {ours}' for theirs, ours in source.algorithms.items())}")
    out(f"Data: {source.lineage}")
    if source.protocol.note:
        out(f"Protocol: {source.protocol.note.strip()}")
    for caveat in source.caveats:
        out(f"Caveat: {caveat.strip()}")
    out("Files:")
    for file in source.files:
        some = [each for each in files.pinned(source) if each.file is file]
        here = sum(each.place(data_home).is_file() for each in some)
        pin = f"SHA-256 {file.sha256}" if file.sha256 else f"git blob {file.git_blob}"
        pin = f"SHA-256 of each in {file.listing}" if file.listing else pin
        known = f", {size(file.size)}" if file.size else ""
        out(f"  {file.path} ({file.format}{known}; {pin}): {here} of {len(some)} here")


@group.command(
    "pull",
    epilog=examples(
        "harness sources pull rebrac-2023",
        "harness sources pull rebrac-2023 --file profiles_data.pickle",
        "harness sources pull d3rlpy-benchmarks --file d3rlpy-benchmarks/",
    ),
)
def pull(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="SOURCE", help="Ids of sources.")],
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="PATH",
            help="Take it from this machine: the file, or a clone of the repository.",
        ),
    ] = None,
    data_home: DataHome = None,
) -> None:
    """Download the files of sources.

    What comes is compared with its hash before anything is read from it; another file is not kept.
    """
    from harness.sources import files, scores

    specs = specs_of(ctx)
    if file is not None and len(names) > 1:
        raise HarnessError("--file is of one source; name one")
    for name in scores.chosen(specs, names):
        source = specs.source(name)
        if file is not None:
            came = files.take(source, file, data_home)
        else:
            came = files.pull(source, data_home, say=note)
        missing = len(files.missing(source, data_home))
        note(f"{name}: {count(len(came), 'file')} came, {missing} missing")
        out(str(files.folder(source, data_home)))


@group.command(
    "check",
    epilog=examples(
        "harness sources check aspc-table1",
        "harness sources check aspc-table1 --source rebrac-2023 -f markdown -o check.md",
        "harness sources check aspc-table3 --json",
    ),
)
def check(
    ctx: typer.Context,
    table: TableId,
    source: Chosen = None,
    form: Annotated[
        Literal["text", "markdown", "latex"], typer.Option("--format", "-f", help="What to print.")
    ] = "text",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write Markdown or LaTeX here, not to stdout."),
    ] = None,
    recorded: Annotated[
        bool,
        typer.Option("--recorded", help="Exit with 1 where the published file says otherwise than is found."),
    ] = False,
    data_home: DataHome = None,
    as_json: Json = False,
) -> None:
    """Say which printed cells follow from public scores.

    Every rule is tried: which evaluation counts, which seeds, the divisor of the deviation, digits rounded
    or cut off. Beside the counts stands the chance that as many match by luck, given all that was tried.
    Findings are data: the exit code is 0 whatever is found, 3 without a source at hand.
    """
    from harness import api
    from harness.reports import derivation

    found = api.checked(specs_of(ctx), table, parts(source or ()), data_home)
    if as_json:
        json_out(found)
    elif form == "text" and output is None:
        for line in derivation.text(found):
            out(line)
        counts = derivation.summary(found)
        table_out(counts.header, counts.rows)
        for sentence in derivation.sentences(found):
            out(sentence)
    else:
        write(output, (derivation.latex if form == "latex" else derivation.markdown)(found))
    for each in found.notes:
        note(each)
    other = [f"{column.id} {row} ({says})" for column in found.columns for row, says in column.recorded]
    if other:
        some = ", ".join(other[:_NAMED]) + (", …" if len(other) > _NAMED else "")
        note(f"the published file says otherwise of {count(len(other), 'cell')}: {some}")
        if recorded:
            raise typer.Exit(1)


@group.command(
    "publish",
    epilog=examples(
        "harness sources publish aspc-table1 --preset lite --output scores --licence CC-BY-4.0",
        "harness --specs scores sources check aspc-table1",
    ),
)
@choosing()
def publish(
    ctx: typer.Context,
    table: TableId,
    choice: Choice,
    folder: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="A folder that is not there yet.")
    ],
    licence: Annotated[str, typer.Option("--licence", metavar="SPDX", help="Of the scores, as CC-BY-4.0.")],
    name: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Of the source; default: table and preset.")
    ] = None,
    db: Database = None,
) -> None:
    """Write the scores of every seed trained here as a source for others.

    With protocol, provenance and licence, as a folder of specs that `harness --specs DIR sources check TABLE`
    reads. Imported scores are left out; they are their sources' to publish.
    """
    from harness.reports import publication

    resolved = resolved_table(ctx, table, choice)
    with open_store(ctx, db, choice) as store:
        written = publication.publish(resolved, store, folder, licence, name)
    note(f"{count(written.runs, 'run')} written as source {written.id}; {written.imported} imported left out")
    out(str(folder))
