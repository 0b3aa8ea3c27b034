"""The command line: verbs that parse, call the API and print.

Nothing heavier than typer is imported before a verb runs, so that help pages and listings answer at once.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

import harness
from harness import signals, streams
from harness.cli import (
    audit,
    cite,
    data,
    db,
    doctor,
    drift,
    figure,
    listing,
    metrics,
    new,
    plan,
    report,
    reproduce,
    sources,
    stats,
    status,
    table,
    validate,
    work,
)
from harness.cli.app import App
from harness.cli.output import error_out, out
from harness.errors import NO_MEMORY, DataError, HarnessError, StoppedError, system_error
from harness.specs import Specs

_EXIT_CODES = (
    "0 fine; 1 drift; 2 usage or spec error; 3 incomplete or nothing measured; "
    "4 environment, data or schema; 5 some runs failed; 70 a defect, with a traceback; "
    "130 interrupted with everything saved."
)
_DEFECT = 70  # as sysexits.h has it: a defect of this program, which has a traceback and is no drift

app = App(
    name="harness",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"""\b
Examples:
  harness doctor
  harness ls
  harness plan aspc-table1
  harness reproduce aspc-table1 --preset smoke
  harness table aspc-table1 -f latex

Exit codes: {_EXIT_CODES}
""",
)
for module in (
    listing,
    validate,
    new,
    plan,
    reproduce,
    work,
    status,
    table,
    drift,
    audit,
    stats,
    metrics,
    figure,
    report,
    cite,
    data,
    sources,
    db,
    doctor,
):
    module.add_to(app)


def _version(wanted: bool) -> None:
    if wanted:
        out(f"harness {harness.__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    specs: Annotated[
        list[Path] | None,
        typer.Option(
            "--specs", metavar="DIR", help="A further folder of specs, beside the shipped one; repeatable."
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Reproduce the tables of offline reinforcement learning papers, cell by cell.

    A table is data: rows, columns, protocol and the numbers that the paper printed. `reproduce` trains what
    the results database lacks of it, prints the table again and gives a verdict for every cell.
    """
    # only when a verb asks: its help page needs no folder of specs
    ctx.obj = functools.cache(lambda: Specs(specs or ()))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit.

    Args:
        arguments: without the program's name; None for those of the process.

    Raises:
        SystemExit: always, with the exit code.
    """
    # Imports and specs make many objects and little garbage: looking for it took a fifth of `harness table`.
    gc.set_threshold(200_000)
    streams.settle()
    signals.raise_them()
    try:
        try:
            app(args=None if arguments is None else list(arguments), prog_name="harness")
        finally:
            sys.stdout.flush()
            # Python looks for garbage before it ends, too, which took a fifth of `harness table` once more
            gc.freeze()
    except HarnessError as error:
        _end(str(error), error.exit_code)
    except OSError as error:
        _end(system_error(error), DataError.exit_code)
    except MemoryError:
        _end(NO_MEMORY, DataError.exit_code)
    except KeyboardInterrupt:  # at the very end
        raise SystemExit(StoppedError.exit_code) from None
    except Exception:
        traceback.print_exc()
        raise SystemExit(_DEFECT) from None
    raise SystemExit(0)


def _end(message: str, code: int) -> NoReturn:
    if os.environ.get("HARNESS_DEBUG") == "1":
        traceback.print_exc()
    error_out(message)
    raise SystemExit(code) from None
