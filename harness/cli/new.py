"""`new`: files to begin with, and a table read from what a paper printed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import App
from harness.cli.options import examples
from harness.cli.output import note, out
from harness.counting import count
from harness.errors import HarnessError, SpecError
from harness.specs.text import shown

if TYPE_CHECKING:
    from harness.authoring.transcription import Transcript
    from harness.specs import Specs
    from harness.specs.catalogue import Kind

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Its id: lower-case letters and digits, as my-table.")
]
Folder = Annotated[
    Path,
    typer.Option("--specs", metavar="DIR", help="Folder of your specs; made if it is not there."),
]
_MINE = Path("my-specs")

group = App()


def add_to(app: App) -> None:
    """Add the verbs as ``new``."""
    app.add_typer(
        group,
        name="new",
        help="Begin a table, an algorithm or a dataset, or read a paper's printed table.",
        epilog=examples(
            "harness new algorithm my-method",
            "harness new table my-table",
            "harness new table their-table --from table.tex --seeds 5",
        ),
    )


@group.command(
    "table",
    epilog=examples(
        "harness new table my-table",
        "harness new table their-table --from paper.tex --table 2",
        "harness new table their-table --from results.csv --seeds 10 --specs my-specs",
    ),
)
def table(
    name: Name,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="A paper's printed table: .tex, .md, .html, .csv or .tsv."
        ),
    ] = None,
    number: Annotated[
        int | None, typer.Option("--table", metavar="N", min=1, help="Which of the file's tables.")
    ] = None,
    macros: Annotated[
        list[Path] | None,
        typer.Option("--macros", metavar="FILE", help="LaTeX that defines macros it uses; repeatable."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", metavar="N", min=1, help="Behind each printed number; default: as the caption says."
        ),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", metavar="ID", help="How the paper trained; default: d4rl-1m.")
    ] = None,
    lineage: Annotated[
        str, typer.Option("--data", "--lineage", metavar="LINEAGE", help="Of the data behind the numbers.")
    ] = "d4rl",
    folder: Folder = _MINE,
) -> None:
    """Begin a table, or read one that a paper printed.

    With --from the printed numbers are read into a CSV file, rows and columns into the table's YAML. What is
    not certain is left out and listed with its line. The numbers are audited at once.
    """
    from harness.authoring import skeletons, transcription

    specs = _specs(folder)
    _refuse_taken("tables", name, specs)
    if source is None:
        for option, given in (
            ("--table", number),
            ("--macros", macros),
            ("--seeds", seeds),
            ("--protocol", protocol),
        ):
            if given is not None:
                raise typer.BadParameter("it is for --from FILE", param_hint=option)
        _write(folder, skeletons.table(name, specs, _shipped()))
        _next(folder, f"validate {name}", f"reproduce {name} --preset quick")
        return
    read = transcription.transcribe(
        source,
        name,
        specs,
        number=number,
        macros=macros or (),
        seeds=seeds,
        protocol=protocol,
        lineage=lineage,
    )
    _write(folder, {f"published/{name}.csv": read.csv, f"tables/{name}.yaml": read.yaml})
    _report(source, read)
    _audit(name, _specs(folder))
    _next(folder, f"validate {name}", f"audit {name}", f"reproduce {name} --preset quick")


@group.command("algorithm", epilog=examples("harness new algorithm my-method --specs my-specs"))
def algorithm(name: Name, folder: Folder = _MINE) -> None:
    """Begin an algorithm: code that trains as it stands, and the file of its hyperparameters."""
    from harness.authoring import skeletons

    specs = _specs(folder)
    _refuse_taken("algorithms", name, specs)
    _write(folder, skeletons.algorithm(name, specs))
    _next(folder, "validate", "new table my-table", "reproduce my-table --preset quick")


@group.command("dataset", epilog=examples("harness new dataset my-data-v0 --specs my-specs"))
def dataset(name: Name, folder: Folder = _MINE) -> None:
    """Begin a dataset: one that can be made at once, to be changed into one's own.

    Of a file of data `harness data import` writes the same from what is in it.
    """
    from harness.authoring import skeletons

    specs = _specs(folder)
    _refuse_taken("datasets", name, specs)
    _write(folder, skeletons.dataset(name, specs, shown(folder)))
    _next(folder, "validate", f"data build {name}", f"data show {name} --lineage generated")


def _shipped() -> Specs:
    from harness.specs import Specs

    return Specs()


def _specs(folder: Path) -> Specs:
    """All specs there are, the folder's with them if it holds any yet.

    Raises:
        SpecError: the folder is a file, or defines what is defined elsewhere.
    """
    from harness.specs import Specs
    from harness.specs.catalogue import KINDS

    if folder.exists() and not folder.is_dir():
        raise SpecError(f"{shown(folder)}:1:1: is no folder; --specs takes one laid out like specs/")
    return Specs([folder] if any((folder / kind).is_dir() for kind in KINDS) else [])


def _refuse_taken(kind: Kind, name: str, specs: Specs) -> None:
    """Refuse a name that cannot be an id, or is one."""
    from harness.specs.models import check_id

    try:
        check_id(name)
    except ValueError as error:
        raise HarnessError(f"{name!r} is no id: {error}") from None
    if name in specs.ids(kind):
        place = shown(specs.document(kind, name).path)
        raise HarnessError(f"there is {kind[:-1]} {name!r} already, in {place}; choose another name")


def _write(folder: Path, contents: Mapping[str, str]) -> None:
    from harness.authoring.writing import write

    for place in write(folder, contents):
        note(f"written: {shown(place)}")


def _report(source: Path, read: Transcript) -> None:
    """What was read, what was not and where, and what was taken for granted."""
    for cell in read.reading.unread:
        where = ", ".join(filter(None, (cell.row, cell.column)))
        out(f"{shown(source)}:{cell.line}: {where}: not read: {cell.text!r}: {cell.why}")
    for said in read.reading.notes:
        note(f"note: {said}")
    note(f"assumed, for the file does not say it: {'; '.join(read.assumed)}")
    note(f"{read.place}: {read.outcome}")


def _audit(name: str, specs: Specs) -> None:
    from harness.analysis.audit import audit

    findings = audit(specs.table(name), specs)
    for finding in findings:
        out(f"{name}: {finding.severity}: {finding.kind}: {finding.sentence}")
    note(f"{count(len(findings), 'finding')} of the audit")


def _next(folder: Path, *verbs: str) -> None:
    """The commands that come next."""
    note("next:")
    here = shlex.quote(shown(folder))
    for verb in verbs:
        command = f"{verb} --specs {here}" if verb.startswith("new ") else f"--specs {here} {verb}"
        note(f"  harness {command}")
