"""`ls` and `show`: what there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli.app import App
from harness.cli.options import Json, TableId, examples, parts, specs_of
from harness.cli.output import json_out, out, table_out
from harness.counting import count
from harness.specs.matching import matching
from harness.specs.published import LoneChange

if TYPE_CHECKING:
    from harness.specs import Column, Dependency, Specs, Table
    from harness.specs.models import ColumnOverrides, Value

Kind = Literal["tables", "datasets", "algorithms", "presets", "protocols", "sources"]


def add_to(app: App) -> None:
    """Add the verbs."""
    app.command(
        "ls", epilog=examples("harness ls", "harness ls datasets 'hopper-*'", "harness ls presets --json")
    )(ls)
    app.command("show", epilog=examples("harness show aspc-table1", "harness show aspc-table1 --published"))(
        show
    )


def ls(
    ctx: typer.Context,
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="What to list.")] = "tables",
    patterns: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids or globs; without, all.")
    ] = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="Read the files and say more.")] = False,
    as_json: Json = False,
) -> None:
    """List tables, or whatever KIND says.

    KIND is one of tables, datasets, algorithms, presets, protocols and sources.
    """
    specs = specs_of(ctx)
    names = matching(kind.removesuffix("s"), parts(patterns or ()), specs.ids(kind))
    entries: list[dict[str, Any]] = [
        {"id": name, **(_details(specs, kind, name) if long else {})} for name in names
    ]
    if as_json:
        json_out(entries)
    elif long and entries:
        header = list(entries[0])
        table_out(header, [[_text(entry[key]) for key in header] for entry in entries])
    else:
        for name in names:
            out(name)


def _text(value: object) -> object:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _details(specs: Specs, kind: Kind, name: str) -> dict[str, Any]:
    match kind:
        case "tables":
            table = specs.table(name)
            return {"rows": len(table.datasets), "columns": len(table.columns), "title": table.title}
        case "datasets":
            dataset = specs.dataset(name)
            return {
                "domain": dataset.domain,
                "lineages": list(dataset.sources),
                "environment": dataset.environment.id if dataset.environment else None,
            }
        case "algorithms":
            algorithm = specs.algorithm(name)
            return {"title": algorithm.title, "paper": algorithm.paper.title}
        case "presets":
            return {"description": specs.preset(name).description}
        case "protocols":
            return {"description": specs.protocol(name).description}
        case "sources":
            source = specs.source(name)
            return {"licence": source.licence, "title": source.title}


def show(
    ctx: typer.Context,
    table: TableId,
    published: Annotated[
        bool, typer.Option("--published", help="The numbers that the paper printed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a table asks for or its paper printed."""
    specs = specs_of(ctx)
    spec = specs.table(table)
    printed = (specs.listing(spec) or {}) if published else {}
    if as_json:
        document = spec.model_dump(mode="json")
        if published:
            document["published_cells"] = list((specs.published(spec) or {}).values())
            document["lone_changes"] = [
                {"row": row, "column": column, "change": cell.change}
                for (row, column), cell in printed.items()
                if isinstance(cell, LoneChange)
            ]
        json_out(document)
    elif published:
        only_averages = spec.published is not None and spec.published.rows == "averages"
        rows = [] if only_averages else [(name, name) for name in spec.datasets]
        rows += [(row.id, row.label) for row in spec.summaries]
        header = ["", *(column.label for column in spec.columns)]
        table_out(
            header,
            [[label, *(_printed(printed.get((row, c.id))) for c in spec.columns)] for row, label in rows],
        )
    else:
        _describe(specs, spec)


def _printed(cell: Any) -> str | None:
    if cell is None:
        return None
    if isinstance(cell, LoneChange):
        return f"({cell.change} %)"
    from harness.reports.wording import as_printed

    number = as_printed(cell)
    return f"{number} ({cell.change} %)" if cell.change else number


def _describe(specs: Specs, table: Table) -> None:
    from harness.reports.protocols import held_for, protocol_text

    paper = table.paper
    arxiv = f", arXiv:{paper.arxiv}" if paper.arxiv else ""
    out(f"{table.id}, version {table.version}: {table.title}")
    out(f"Paper: {paper.title} ({paper.authors}, {paper.year}{arxiv})")
    for name, cells in table.protocols.items():
        protocol, where = specs.protocol(name), held_for(table, cells)
        out(f"Protocol: {name}{where and f' ({where})'}: {protocol.description}")
        out(f"  {protocol_text(protocol)}")
    out(f"Data: {table.lineage}")
    out(f"Rows: {count(len(table.datasets), 'dataset')}")
    for group in table.groups:
        out(f"  {group.label}: {', '.join(group.datasets)}")
    out("Columns:")
    for column in table.columns:
        out(f"  {column.id}: {column.label} ({', '.join(_made_of(specs, column))})")


def _made_of(specs: Specs, column: Column) -> Iterator[str]:
    """What a column's numbers come from."""
    if column.parts:
        yield column.made_of(column.parts)
    elif column.algorithm is None:
        yield "printed only"
    else:
        yield column.algorithm + ("" if specs.has_algorithm(column.algorithm) else ", no implementation")
        yield from _settings(column)


def _settings(column: Column) -> Iterator[str]:
    """What the column sets, beside its algorithm's defaults: everywhere, and on some datasets."""
    yield from _of(column)
    for pattern, overrides in column.per_dataset.items():
        yield f"on {pattern}: {' and '.join(_of(overrides))}"


def _of(place: Column | ColumnOverrides) -> Iterator[str]:
    yield from (_setting(name, value) for name, value in place.hyperparameters.items())
    if place.data is not None:
        yield f"data: {' then '.join(map(str, place.data)) or 'as they are'}"


def _setting(name: str, value: Value | Dependency) -> str:
    from harness.specs import Dependency

    if not isinstance(value, Dependency):
        return f"{name} = {str(value).lower() if isinstance(value, bool) else value}"
    return f"{name} from {value.column}" + (f"'s {value.metric}" if value.metric != name else "")
