"""Arguments and options that several verbs share, and what they are turned into."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness import plugs
from harness.cli.output import note
from harness.counting import count
from harness.planning.choice import Choice
from harness.planning.commands import Commands, takes
from harness.specs.text import shown

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison
    from harness.api import View
    from harness.planning.cells import ResolvedTable
    from harness.results.store import Store
    from harness.specs import Specs
    from harness.specs.catalogue import Kind

ScoreRule = Literal["last", "mean_last", "best"]

_FILES = 12  # of which the names are said


def _completing(kind: Kind) -> Callable[[str], list[str]]:
    """For a shell: from the beginning of an id of shipped specs to those that begin so."""

    def complete(incomplete: str) -> list[str]:
        from harness.specs import Specs

        return [name for name in Specs().ids(kind) if name.startswith(incomplete)]

    return complete


TableId = Annotated[
    str,
    typer.Argument(
        metavar="TABLE", help="Id of a table; `harness ls` lists them.", autocompletion=_completing("tables")
    ),
]
OptionalTableId = Annotated[
    str | None, typer.Argument(metavar="TABLE", help="Id of a table; without, all runs of the database.")
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
CellIntervals = Annotated[
    Literal["percentile", "bca", "t"],
    typer.Option("--ci", help="Intervals of the cells: percentile or BCa bootstrap, or Student's t."),
]
Level = Annotated[
    float, typer.Option("--level", metavar="P", help="Coverage of the intervals; default: 0.95.")
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
CheckpointSeconds = Annotated[
    float, typer.Option(metavar="S", min=0, help="Least time between two checkpoints.")
]
Evaluators = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        help="Processes that evaluate, one at least for each that trains; default: half of the cores, beside "
        "a GPU all but two.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only messages.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def specs_of(ctx: typer.Context) -> Specs:
    """The specs that the options before the verb name."""
    specs: Specs = ctx.obj()
    return specs


def specs_to_run(ctx: typer.Context) -> Specs:
    """The specs, for verbs that run the code in their folders; says which files that is.

    Raises:
        SpecError: two files of algorithms have the same name.
    """
    specs = specs_of(ctx)
    own = [shown(path) for path in plugs.files(specs.folders)]
    if own:
        more = f" and {count(len(own) - _FILES, 'further file')}" if len(own) > _FILES else ""
        note(f"code of your own that runs: {', '.join(own[:_FILES])}{more}")
    plugs.use(specs.folders)
    return specs


def parts(texts: Iterable[str]) -> tuple[str, ...]:
    """What a repeatable option was given, with or without commas: ('a,b', 'c', 'a') is a, b and c."""
    return tuple(dict.fromkeys(part.strip() for text in texts for part in text.split(",")))


def parse_seeds(texts: Iterable[str]) -> tuple[int, ...]:
    """Seeds from '1', '0-3', '0,2,5' or a mixture; each once.

    Raises:
        BadParameter: a text is none of these.
    """
    seeds: list[int] = []
    for part in parts(texts):
        match = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < first + 10_000:
            raise typer.BadParameter(
                f"{part!r} names no seeds; write one (1), a range (0-3) or a list (0,2,5)",
                param_hint="--seeds",
            )
        seeds += range(first, last + 1)
    return tuple(dict.fromkeys(seeds))


def _every_seed(text: str) -> bool:
    """Whether every seed is shown, of which there is only to say: all.

    Raises:
        BadParameter: the text is something else.
    """
    if text != "all":
        raise typer.BadParameter(
            f"{text!r}: shown are the seeds of the protocol or preset, or every seed that there is: all",
            param_hint="--seeds",
        )
    return True


# the options that fill a `Choice`, by its fields
_CHOOSING: dict[str, Any] = {
    "preset": Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="ID",
            help="Another, mostly smaller way to run the table; `harness ls presets`.",
            autocompletion=_completing("presets"),
        ),
    ],
    "datasets": Annotated[
        list[str] | None,
        typer.Option("--datasets", metavar="GLOBS", help="Only these rows, as 'hopper-*,pen-*'; repeatable."),
    ],
    "algorithms": Annotated[
        list[str] | None,
        typer.Option("--algorithms", metavar="GLOBS", help="Only these columns, by their ids; repeatable."),
    ],
    "seeds": Annotated[
        list[str] | None,
        typer.Option("--seeds", metavar="SEEDS", help="Only these seeds, as '0-3' or '0,2,5'; repeatable."),
    ],
    "every_seed": Annotated[
        str | None,
        typer.Option(
            "--seeds", metavar="all", help="all: every seed that the database has, not only the protocol's."
        ),
    ],
    "steps": Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            help="Train for N steps, online for N interactions, instead of the protocol's.",
        ),
    ],
    "lineage": Annotated[
        str | None,
        typer.Option(
            "--data",
            "--lineage",
            metavar="LINEAGE",
            help="Where the data come from, as d4rl, minari, ogbench, generated or file; default: as the "
            "table says.",
        ),
    ],
    "score": Annotated[
        ScoreRule | None,
        typer.Option(
            "--score",
            help="Which evaluations of a run count; default: as the protocol says, and any other is not "
            "comparable with the paper.",
        ),
    ],
}
_READ: dict[str, Callable[[Any], Any]] = {
    "datasets": parts,
    "algorithms": parts,
    "seeds": parse_seeds,
    "every_seed": _every_seed,
}
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def choosing(*, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a verb: its parameter ``choice``, a `Choice`, becomes the options that fill it.

    Args:
        without: fields of `Choice` that other verbs take and this one does not.
    """

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        names = [name for name in _CHOOSING if takes(verb.__name__, name) and name not in without]
        options = [
            inspect.Parameter(name, _KEYWORD, default=None, annotation=_CHOOSING[name]) for name in names
        ]

        @functools.wraps(verb)
        def command(**given: Any) -> None:
            chosen = {name: value for name in names if (value := given.pop(name)) is not None}
            for name in chosen.keys() & _READ.keys():
                chosen[name] = _READ[name](chosen[name])
            verb(**given, choice=Choice(**chosen))

        signature = inspect.signature(verb, eval_str=True)
        expanded: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            expanded += options if parameter.name == "choice" else [parameter.replace(kind=_KEYWORD)]
        command.__signature__ = signature.replace(parameters=expanded)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in expanded}
        return command

    return decorate


def view(ctx: typer.Context, table: str, choice: Choice, db: str | None, *, runs_code: bool = False) -> View:
    """The table with the options applied, and its database.

    Args:
        ctx: of the command.
        table: the table's id.
        choice: what the options choose.
        db: the database; None: the preset's, else ``results.db``.
        runs_code: whether the verb runs the code in folders of specs; then it says which files.

    Raises:
        HarnessError: a name is unknown or a spec is wrong.
    """
    from harness.api import View

    found = View.of(specs_of(ctx), table, choice, db, _places(ctx))
    if runs_code:
        specs_to_run(ctx)
    return found


def say_if_nothing_is_measured(view: View, comparison: Comparison) -> None:
    """Where to go from an empty table."""
    from harness.results.schema import Location

    if all(cell.mean is None for cell in comparison.cells):
        note(
            f"nothing of this is measured yet in {Location.parse(view.database)}; "
            f"`{view.command('reproduce')}` does it"
        )


def resolved_table(ctx: typer.Context, table: str, choice: Choice) -> ResolvedTable:
    """The table with the options applied.

    Raises:
        HarnessError: a name is unknown or a spec is wrong.
    """
    from harness.planning.cells import resolve

    return resolve(specs_of(ctx), table, choice)


def database(ctx: typer.Context, db: str | None, preset: str | None = None) -> str:
    """The database: as given, else the preset's, else ``results.db`` in the working folder.

    Raises:
        HarnessError: the preset is unknown or wrong.
    """
    if db is not None:
        return db
    return (specs_of(ctx).preset(preset).database if preset else None) or "results.db"


def open_store(
    ctx: typer.Context, db: str | None, choice: Choice | None = None, *, create: bool = False
) -> Store:
    """The open database, see `database`.

    Raises:
        HarnessError: it cannot be opened.
    """
    from harness.results.store import Store

    table, choice = ctx.params.get("table") or "TABLE", choice or Choice()
    command = Commands(table, choice, specs_of(ctx).further, _places(ctx))("reproduce")
    return Store.open(database(ctx, db, choice.preset), create=create, command=command)


def _places(ctx: typer.Context) -> dict[str, Any]:
    """What the command line says of where things are; an environment variable is read by every verb."""
    return {name: ctx.params[name] for name in ("data_home", "db", "baseline") if was_given(ctx, name)}


def was_given(ctx: typer.Context, name: str) -> bool:
    """Whether a parameter stands on the command line."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def examples(*commands: str) -> str:
    """The epilogue of a help page."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)
