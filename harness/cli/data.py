"""`data`: datasets on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness import plugs
from harness.cli.app import App
from harness.cli.options import DataHome, Device, Json, examples, parts, specs_of
from harness.cli.output import error_out, json_out, note, out, size, table_out
from harness.counting import count
from harness.errors import DataError
from harness.specs.matching import matching

if TYPE_CHECKING:
    from harness.planning.cells import Cell
    from harness.specs import Dataset, Specs

Names = Annotated[list[str], typer.Argument(metavar="DATASET", help="Ids or globs of datasets.")]
Lineages = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        "--lineage",
        metavar="LINEAGE",
        help="Only data from there; repeatable; default: from everywhere.",
    ),
]
_HASH = 12  # characters of a hash that are shown; --json has them all

group = App()


def add_to(app: App) -> None:
    """Add the verbs as ``data``."""
    app.add_typer(
        group,
        name="data",
        help="List, download, build and check datasets.",
        epilog=examples("harness data ls 'hopper-*'", "harness data pull hopper-medium-v2"),
    )


@group.command(
    "ls", epilog=examples("harness data ls", "harness data ls 'maze2d-*' --lineage generated --json")
)
def ls(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="DATASET", help="Ids or globs of datasets.")
    ] = None,
    lineage: Lineages = None,
    data_home: DataHome = None,
    as_json: Json = False,
) -> None:
    """Say which datasets are on this machine."""
    from harness.datasets.inventory import inventory

    lineages = parts(lineage or ())
    specs = _specs(ctx, *lineages)
    items = list(inventory(specs, _named(specs, names or ()), lineages, data_home))
    if as_json:
        json_out(items)
        return
    table_out(
        ("dataset", "lineage", "here", "size", "hash"),
        [
            (
                item.dataset,
                item.lineage,
                "yes" if item.present else "no",
                size(item.size),
                item.sha256 and item.sha256[:_HASH],
            )
            for item in items
        ],
    )


@group.command(
    "pull",
    epilog=examples("harness data pull hopper-medium-v2", "harness data pull 'hopper-*' --lineage minari"),
)
def pull(
    ctx: typer.Context,
    names: Names,
    lineage: Annotated[
        str | None,
        typer.Option(
            "--data",
            "--lineage",
            metavar="LINEAGE",
            help="Where the data come from; default: the first of d4rl, minari, ogbench and file that a "
            "dataset has.",
        ),
    ] = None,
    offline_list: Annotated[
        bool,
        typer.Option(
            "--offline-list", help="Download nothing; print what to fetch by hand, and where it belongs."
        ),
    ] = False,
    data_home: DataHome = None,
) -> None:
    """Download datasets.

    What is there stays; an interrupted download goes on where it ended.
    """
    _specs(ctx, lineage)
    for dataset in _chosen(ctx, names):
        where = lineage or next((name for name in dataset.sources if name != "generated"), "d4rl")
        if offline_list:
            _list(dataset, where, data_home)
        else:
            _obtain([dataset], where, data_home)


@group.command(
    "build",
    epilog=examples(
        "harness data build maze2d-umaze-v1", "harness data build 'hopper-random-*' --transitions 20000"
    ),
)
def build(
    ctx: typer.Context,
    names: Names,
    transitions: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Rows to make instead of the spec's number.")
    ] = None,
    trained: Annotated[
        Path | None,
        typer.Option(
            "--trained",
            metavar="DIR",
            help="Take replay data from this online training instead of training here.",
        ),
    ] = None,
    minari: Annotated[
        bool | None,
        typer.Option(
            "--minari/--no-minari",
            help="Also write each as a dataset of Minari's, named harness/DATASET; default: yes, unless "
            "--transitions is given.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    data_home: DataHome = None,
    lineage: Annotated[Literal["generated"], typer.Option("--data", "--lineage", hidden=True)] = "generated",
) -> None:
    """Make datasets by their published recipes.

    What is there stays, once its content was checked. Replay data take a training of hours: how many is said
    first, and Ctrl-C keeps what was done for the next time.
    """
    from harness import datasets
    from harness.datasets.inventory import sized

    chosen = [sized(dataset, transitions) for dataset in _chosen(ctx, names)]
    recipes = {dataset.generated.recipe for dataset in chosen if dataset.generated}
    if trained and "sac-replay" not in recipes:
        raise typer.BadParameter("none of these datasets is replay data; leave --trained out")
    if minari is None:
        minari = transitions is None
    copies = {f"harness/{dataset.id}": dataset for dataset in chosen if minari}
    for name, dataset in copies.items():
        datasets.in_minari(dataset, name)  # another one by that name is said before the work
    _obtain(chosen, lineage, data_home, trained, device)
    for name, dataset in copies.items():
        out(str(datasets.export_to_minari(dataset, name, data_home)))


@group.command(
    "show",
    epilog=examples(
        "harness data show maze2d-umaze-v1",
        "harness data show hopper-medium-v2 --json",
        "harness data show hopper-medium-v2 --column aspc-table1/td3_bc",
    ),
)
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="DATASET", help="Id of a dataset.")],
    lineage: Annotated[
        str | None,
        typer.Option(
            "--data",
            "--lineage",
            metavar="LINEAGE",
            help="Where the data come from; default: what is on this machine, made here or else fetched.",
        ),
    ] = None,
    transitions: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of this size instead of the spec's.")
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE/COLUMN",
            help="After the transforms of this column, as its first seed has it.",
        ),
    ] = None,
    data_home: DataHome = None,
    as_json: Json = False,
) -> None:
    """Print the data card of a dataset.

    Episodes, lengths and returns; ranges of values, what is not finite and what is there twice; the hash of
    the content; and how it was made, if it was made here.
    """
    from harness import datasets
    from harness.datasets import cards
    from harness.datasets.inventory import sized

    _specs(ctx, lineage)
    dataset = sized(_one(ctx, name), transitions)
    choices = sorted(dataset.sources, key=lambda each: each != "generated")
    here = [each for each in choices if datasets.available(dataset, each, data_home)]
    source = lineage or next(iter([*here, *choices]), "generated")
    if column is None:
        card = datasets.card(dataset, data_home, source)
    else:
        from harness.execution.loading import card as transformed

        card = transformed(_cell(ctx, dataset, column, source, transitions), data_home)
    if as_json:
        json_out(card)
    else:
        out(cards.markdown(card).removesuffix("\n"))


@group.command(
    "import",
    epilog=examples(
        "harness data import runs/x.npz --id my-data-v0 --to my-specs --environment Hopper-v4",
        "harness data import x.h5 --id my-data-v0 --field actions=controls",
    ),
)
def import_(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An npz, HDF5 or parquet file.")],
    name: Annotated[str, typer.Option("--id", metavar="ID", help="Id of the dataset, as my-data-v0.")],
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="SPECS", help="Folder of specs; default: the last that --specs names."),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option("--environment", metavar="ID", help="Gymnasium id of where policies are evaluated."),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field", metavar="OURS=THEIRS", help="A field that is not recognised by its name; repeatable."
        ),
    ] = None,
) -> None:
    """Write the spec of a file of your own.

    It has what the file tells, and says in comments what is left to fill in. Nothing is overwritten, and the
    file stays where it is.
    """
    from harness.datasets import importing
    from harness.errors import SpecError
    from harness.specs import Specs
    from harness.specs.models import FIELDS

    specs = specs_of(ctx)
    if to is None:
        if len(specs.folders) == 1:
            raise typer.BadParameter("give the folder of specs to write to", param_hint="--to")
        to = specs.folders[-1]
    given = dict(text.partition("=")[::2] for text in parts(field or ()))
    for ours in given:
        if ours not in FIELDS:
            raise typer.BadParameter(f"{ours!r} is none of {', '.join(FIELDS)}", param_hint="--field")
    written = importing.write(importing.look(file, given), name, to, specs, environment)
    out(str(written))
    try:
        Specs([to]).dataset(name)
    except SpecError as error:
        note(f"to be filled in:\n{error}")


@group.command(
    "export-minari",
    epilog=examples("harness data export-minari hopper-medium-v2 --id harness/hopper-medium-v2"),
)
def export_minari(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="DATASET", help="Id of a generated dataset.")],
    minari_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Id in Minari; default: harness/DATASET.")
    ] = None,
    transitions: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of this size instead of the spec's.")
    ] = None,
    data_home: DataHome = None,
) -> None:
    """Write a generated dataset as a dataset of Minari's.

    It goes to Minari's own folder on this machine; nothing is uploaded.
    """
    from harness import datasets
    from harness.datasets.inventory import sized

    dataset = sized(_one(ctx, name), transitions)
    out(str(datasets.export_to_minari(dataset, minari_id or f"harness/{dataset.id}", data_home)))


@group.command(
    "train",
    epilog=examples(
        "harness data train halfcheetah-expert walker2d-expert --to runs/sac --updates 1000000",
        "harness data policies runs/sac --to specs",
    ),
)
def train(
    ctx: typer.Context,
    names: Annotated[
        list[str], typer.Argument(metavar="DATASET", help="One dataset of each environment to train in.")
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="Folder of the training; goes on with what is there.")
    ],
    updates: Annotated[
        int, typer.Option("--updates", metavar="N", min=1, help="Of each policy, rounded up to thousands.")
    ] = 1_000_000,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the training.")] = 0,
    device: Device = "auto",
) -> None:
    """Train the SAC behind MuJoCo or OGBench's datasets, environments of equal sizes in one population.

    Takes hours: how many is said first, and Ctrl-C keeps what was done for the next time. `harness data
    policies` makes policies of it, and `harness data build --trained` replay data.
    """
    from harness.execution.gathering import train as gather
    from harness.execution.progress import Reporter

    chosen = [_one(ctx, name) for name in names]
    with Reporter() as reporter:
        gather(chosen, seed, updates, to, reporter, device)
    out(str(to))


@group.command(
    "policies",
    epilog=examples(
        "harness data policies runs/sac --to specs",
        "harness data policies runs/longer --to specs --level expert",
    ),
)
def policies(
    ctx: typer.Context,
    trained: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an online training.")],
    to: Annotated[
        Path, typer.Option("--to", metavar="SPECS", help="Folder of specs that gets policies and recipes.")
    ],
    level: Annotated[
        Literal["medium", "expert", "all"],
        typer.Option("--level", help="Which policies; those of the other level stay as SPECS has them."),
    ] = "all",
) -> None:
    """Make policies, their cards and the recipes that use them out of an online training.

    The expert is the best of the last ten scorings, medium the first checkpoint that reaches a third of the
    expert's return. In SPECS/datasets, the specs of the training's environments get their 'generated' blocks.
    """
    from harness.execution.ladder import LEVELS, export

    for path in export(trained, specs_of(ctx), to, levels=LEVELS if level == "all" else (level,)):
        out(str(path))


@group.command(
    "verify",
    epilog=examples("harness data verify hopper-medium-v2", "harness data verify '*' --lineage generated"),
)
def verify(ctx: typer.Context, names: Names, lineage: Lineages = None, data_home: DataHome = None) -> None:
    """Check the datasets that are on this machine.

    Reads them, and checks sizes, checksums and content.
    """
    from harness import datasets
    from harness.datasets.inventory import inventory

    lineages = parts(lineage or ())
    specs = _specs(ctx, *lineages)
    items = list(inventory(specs, _named(specs, names), lineages, data_home))
    failed = 0
    for item in items:
        if not item.present:
            continue
        try:
            found = datasets.verify(specs.dataset(item.dataset), item.lineage, data_home)
        except DataError as error:
            failed += 1
            error_out(str(error))
        else:
            out(f"ok  {item.dataset} ({item.lineage})  {len(found):,} transitions  {found.content_hash}")
    absent = sum(not item.present for item in items)
    if absent:
        note(f"{count(absent, 'dataset')} not on this machine; `harness data ls` lists them")
    if failed:
        raise typer.Exit(DataError.exit_code)
    if absent == len(items):
        raise DataError("none of these datasets is on this machine, so nothing was checked")


@group.command("path", epilog=examples("harness data path maze2d-umaze-v1 --lineage generated"))
def path(ctx: typer.Context, names: Names, lineage: Lineages = None, data_home: DataHome = None) -> None:
    """Print where datasets lie, or would lie."""
    from harness.datasets.inventory import inventory

    lineages = parts(lineage or ())
    specs = _specs(ctx, *lineages)
    for item in inventory(specs, _named(specs, names), lineages, data_home):
        out(str(item.path))


def _named(specs: Specs, names: Iterable[str]) -> list[str]:
    return matching("dataset", parts(names), specs.ids("datasets"))


def _specs(ctx: typer.Context, *lineages: str | None) -> Specs:
    """The specs, whose folders may have readers, also of the lineages that are asked for."""
    specs = specs_of(ctx)
    plugs.use(specs.folders)
    for lineage in filter(None, lineages):
        specs.lineage(lineage)
    return specs


def _chosen(ctx: typer.Context, names: list[str]) -> list[Dataset]:
    specs = _specs(ctx)
    return [specs.dataset(name) for name in _named(specs, names)]


def _one(ctx: typer.Context, name: str) -> Dataset:
    first, *more = _chosen(ctx, [name])
    if more:
        raise typer.BadParameter(f"{name!r} names {1 + len(more)} datasets; give one of them")
    return first


def _cell(ctx: typer.Context, dataset: Dataset, column: str, lineage: str, transitions: int | None) -> Cell:
    """The dataset under a column of a table, given as TABLE/COLUMN; what is mixed in is of its size."""
    from harness.datasets.inventory import sized
    from harness.planning.cells import resolve
    from harness.planning.choice import Choice

    table, slash, name = column.partition("/")
    if not slash:
        raise typer.BadParameter(f"--column takes TABLE/COLUMN, got {column!r}")
    choice = Choice(datasets=(dataset.id,), algorithms=(name,), lineage=lineage)
    cell, *more = resolve(specs_of(ctx), table, choice).cells
    if more:
        raise typer.BadParameter(f"{name!r} names {1 + len(more)} columns; give one of them")
    mixed = {name: sized(other, transitions) for name, other in cell.mixed.items()}
    return replace(cell, dataset=dataset, mixed=mixed)


def _list(dataset: Dataset, lineage: str, home: Path | None) -> None:
    """Print the files that `pull` would fetch; none where the data are there."""
    from harness import datasets

    if datasets.available(dataset, lineage, home):
        return
    wanted = datasets.fetches(dataset, lineage, home)
    if not wanted:
        place = datasets.path(dataset, lineage, home)
        note(f"{dataset.id} ({lineage}) is no file to fetch; it belongs at {place}")
    for file in wanted:
        size = "unknown size" if file.size is None else f"{file.size:,} bytes"
        out(f"{dataset.id} ({lineage}): {size}, SHA-256 {file.sha256 or 'unknown'}")
        for url in file.urls:
            out(f"  from {url}")
        out(f"  to   {file.place}")


def _obtain(
    chosen: list[Dataset],
    lineage: str,
    home: Path | None,
    trained: Path | None = None,
    device: str = "auto",
) -> None:
    from harness import datasets
    from harness.execution.data import obtain
    from harness.execution.progress import Reporter

    with Reporter() as reporter:
        for dataset in chosen:
            if dataset.source(lineage) is not None and datasets.available(dataset, lineage, home):
                if lineage == "generated":
                    datasets.card(dataset, home)  # refuses a file that is not as its card says
                reporter.message(f"{dataset.id} ({lineage}) is there already")
                out(str(datasets.path(dataset, lineage, home)))
            else:
                out(str(obtain(dataset, lineage, home, reporter, trained, device)))
