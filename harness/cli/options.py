"""Arguments and options that several verbs share, and what they are turned into."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

if TYPE_CHECKING:
    from typer.core import TyperGroup

    from harness.planning.cells import ResolvedTable
    from harness.results.store import Store
    from harness.specs import Specs

# `harness.specs.models` says the same, but takes long to import
Lineage = Literal["d4rl", "minari", "generated"]
ScoreRule = Literal["last", "mean_last", "best"]

TableId = Annotated[str, typer.Argument(metavar="TABLE", help="Id of a table; `harness ls` lists them.")]
OptionalTableId = Annotated[
    str | None, typer.Argument(metavar="TABLE", help="Id of a table; without, all runs of the database.")
]
PresetId = Annotated[
    str | None,
    typer.Option(
        "--preset", metavar="ID", help="Another, mostly smaller way to run the table; `harness ls presets`."
    ),
]
Datasets = Annotated[
    str | None, typer.Option("--datasets", metavar="GLOB", help="Only these rows, as 'hopper-*'.")
]
Algorithms = Annotated[
    str | None, typer.Option("--algorithms", metavar="GLOB", help="Only these columns, by their ids.")
]
Seeds = Annotated[
    str | None, typer.Option("--seeds", metavar="SEEDS", help="Only these seeds, as '0-3' or '0,2,5'.")
]
Steps = Annotated[
    int | None,
    typer.Option("--steps", metavar="N", min=1, help="Train for N steps instead of the protocol's."),
]
DataLineage = Annotated[
    Lineage | None,
    typer.Option("--data", "--lineage", help="Where the data come from; default: as the table says."),
]
DataHome = Annotated[
    Path | None,
    typer.Option(
        "--data-home", metavar="DIR", help="Folder of the data; default: HARNESS_DATA, else the user's cache."
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URL",
        envvar="HARNESS_DB",
        help="Results database, a path or an SQLAlchemy URL; default: the preset's, else results.db.",
    ),
]
Score = Annotated[
    ScoreRule | None,
    typer.Option(
        "--score",
        help="Which evaluations of a run count; default: as the protocol says, and any other is not "
        "comparable with the paper.",
    ),
]
CellIntervals = Annotated[
    Literal["percentile", "bca", "t"],
    typer.Option("--ci", help="Intervals of the cells: percentile or BCa bootstrap, or Student's t."),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where to train; auto: on CUDA if there.")
]
MatrixPrecision = Annotated[
    Literal["fp32", "tf32"] | None,
    typer.Option(
        "--precision", help="Arithmetic of matrix products; default: tf32 on CUDA; a CPU has only fp32."
    ),
]
Compiled = Annotated[
    bool, typer.Option("--compile", help="Run updates through torch.compile; needs a C++ compiler.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def specs_of(ctx: typer.Context) -> Specs:
    """The specs that the options before the verb name."""
    specs: Specs = ctx.obj()
    return specs


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """Seeds from '1', '0-3', '0,2,5' or a mixture; None from None.

    Raises:
        BadParameter: the text is none of these.
    """
    if text is None:
        return None
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < first + 10_000:
            raise typer.BadParameter(
                f"{text!r} names no seeds; write one (1), a range (0-3) or a list (0,2,5)",
                param_hint="--seeds",
            )
        seeds += range(first, last + 1)
    return tuple(dict.fromkeys(seeds))


def resolved_table(
    ctx: typer.Context,
    table: str,
    preset: str | None = None,
    *,
    datasets: str | None = None,
    algorithms: str | None = None,
    seeds: str | None = None,
    steps: int | None = None,
    lineage: Lineage | None = None,
    score: ScoreRule | None = None,
) -> ResolvedTable:
    """The table with the options applied.

    Raises:
        HarnessError: a name is unknown or a spec is wrong.
    """
    chosen = parse_seeds(seeds)
    from harness.planning.cells import resolve

    return resolve(
        specs_of(ctx),
        table,
        preset=preset,
        lineage=lineage,
        datasets=datasets,
        columns=algorithms,
        seeds=chosen,
        steps=steps,
        score=score,
    )


def database(ctx: typer.Context, db: str | None, preset: str | None = None) -> str:
    """The database: as given, else the preset's, else ``results.db`` in the working folder.

    Raises:
        HarnessError: the preset is unknown or wrong.
    """
    if db is not None:
        return db
    return (specs_of(ctx).preset(preset).database if preset else None) or "results.db"


def open_store(
    ctx: typer.Context, db: str | None, preset: str | None = None, *, create: bool = False
) -> Store:
    """The open database, see `database`.

    Raises:
        HarnessError: it cannot be opened.
    """
    from harness.results.store import Store

    table = ctx.params.get("table") or "TABLE"
    command = commands(ctx, table)("reproduce")
    return Store.open(database(ctx, db, preset), create=create, command=command)


# parameters that say which runs are meant, and where they are; a verb has some of them
_CHOICES = (
    "preset",
    "datasets",
    "algorithms",
    "seeds",
    "steps",
    "lineage",
    "score",
    "data_home",
    "db",
    "baseline",
)


def commands(ctx: typer.Context, table: str, *, whole: bool = False) -> Callable[[str], str]:
    """From a verb to its command line for a table, to be suggested.

    It has this command's folders of specs, and those of its options that choose runs and that the other verb
    takes, too.

    Args:
        ctx: of the command that suggests it.
        table: the table.
        whole: without the options that choose runs.
    """
    root = ctx.find_root()
    specs = [text for folder in root.params["specs"] or () for text in ("--specs", str(folder))]
    verbs = cast("TyperGroup", root.command).commands

    def command(verb: str) -> str:
        options = {option.name: option.opts[0] for option in verbs[verb].params}
        chosen = [
            text
            for name in (() if whole else _CHOICES)
            if name in options and ctx.params.get(name) is not None
            for text in (options[name], str(ctx.params[name]))
        ]
        return shlex.join(["harness", *specs, verb, table, *chosen])

    return command


def examples(*commands: str) -> str:
    """The epilogue of a help page."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)
