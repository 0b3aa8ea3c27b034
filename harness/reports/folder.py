"""The report of a table: a folder with the table in every format, its figures, and a page to look at."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.history import histories
from harness.errors import DataError
from harness.files import real
from harness.reports import render
from harness.reports.figures import illustrations, save
from harness.reports.page import Picture, html_report, svg_source

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison
    from harness.planning.cells import ResolvedTable
    from harness.planning.commands import Commands
    from harness.reports.figures.drawing import Illustration
    from harness.results.store import Store

_TABLES = {"table.tex": "latex", "table.md": "markdown", "table.csv": "csv"}
_PAGE, _FIGURES = "index.html", "figures"
_EMBEDDED = 1_000_000  # characters of pictures that the page holds; further ones it links


def default_folder(table: str, preset: str | None) -> Path:
    """Where a report lies unless somebody says otherwise, below the folder that has all of the table's."""
    return Path("reports", table, preset or "full")


def write_report(
    comparison: Comparison, resolved: ResolvedTable, command: Commands, store: Store, folder: Path
) -> None:
    """Write a report; an earlier one in its place is replaced, when the new one is whole.

    The same results give the same bytes.

    Args:
        comparison: the table as compared.
        resolved: the same table's cells and their runs.
        command: command lines for the table, of which the page has each cell's.
        store: the results.
        folder: where to; its parents are made.

    Raises:
        DataError: something else lies in the folder, or it cannot be written.
    """
    folder = real(folder)
    refuse_foreign(folder)
    past = histories(resolved, comparison, store)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    replaced = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
    try:
        partial.mkdir(parents=True)
        for name, form in _TABLES.items():
            (partial / name).write_text(render(comparison, form), encoding="utf-8")
        pictures = _write_figures(illustrations(comparison, lambda: past), partial)
        page = html_report(comparison, past, pictures, lambda *cell: command.of(*cell)("reproduce"))
        (partial / _PAGE).write_text(page, encoding="utf-8")
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        for left in (partial, replaced):
            shutil.rmtree(left, ignore_errors=True)


def refuse_foreign(folder: Path) -> None:
    """Make sure that a report may replace what is there.

    Raises:
        DataError: something lies there that no report would have put there.
    """
    if foreign := _foreign(folder):
        raise DataError(f"{folder} holds {foreign}, which is of no report; choose another folder with -o")


def _foreign(folder: Path) -> str:
    """The name of something there that no report would have put there; empty if all is well."""
    if not folder.exists():
        return ""
    if not folder.is_dir():
        return "a file"
    known = {*_TABLES, _PAGE, _FIGURES}
    names = [path.name for path in folder.iterdir() if path.name not in known]
    if (folder / _FIGURES).is_dir():
        names += [path.name for path in (folder / _FIGURES).iterdir() if path.suffix not in (".svg", ".pdf")]
    return min(names, default="")


def _write_figures(drawn: tuple[Illustration, ...], folder: Path) -> list[Picture]:
    (folder / _FIGURES).mkdir()
    pictures = []
    left = _EMBEDDED
    for item in drawn:
        files = [f"{_FIGURES}/{item.name}{suffix}" for suffix in (".svg", ".pdf")] if item.figure else []
        source = ""
        if item.figure:
            for file in files:
                save(item.figure, folder / file)
            source = svg_source((folder / files[0]).read_text(encoding="utf-8"))
            source = source if len(source) <= left else ""
            left -= len(source)
        pictures.append(Picture(item.title, item.caption, item.missing, tuple(files), source))
    return pictures
