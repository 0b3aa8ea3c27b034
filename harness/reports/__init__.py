"""Compared tables as Markdown, LaTeX, HTML, CSV, JSON and on the console, all from the one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from harness.errors import HarnessError, UnknownNameError

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison

FORMATS = ("markdown", "latex", "html", "csv", "json")
DIFF_FORMATS = ("markdown", "csv", "json")
_LATEX = ("latex",)
_LAID_OUT = ("markdown", "latex")  # the other formats hold everything, unrounded or to be opened


def render(
    comparison: Comparison,
    format: Literal["markdown", "latex", "html", "csv", "json"] | str,  # noqa: A002 (the option's name)
    *,
    standalone: bool = False,
    siunitx: bool = False,
    with_published: bool = False,
    digits: int | None = None,
) -> str:
    r"""The table in the paper's own layout: a row per dataset, a column per algorithm.

    CSV and JSON hold everything that is known of each cell, CSV in long form.

    Args:
        comparison: the table.
        format: one of `FORMATS`.
        standalone: LaTeX only: a whole document instead of a ``table`` environment, which needs
            packages that its first line names.
        siunitx: LaTeX only: numbers in siunitx's S columns.
        with_published: Markdown and LaTeX only: the paper's number beside each of ours, not only where we
            have none.
        digits: Markdown and LaTeX only: decimals of all scores; None: 1.

    Raises:
        UnknownNameError: there is no such format.
        HarnessError: an option has no meaning for the format.
    """
    from harness.reports import data, latex, page, tables

    for option, given, formats in (
        ("standalone", standalone, _LATEX),
        ("siunitx", siunitx, _LATEX),
        ("with-published", with_published, _LAID_OUT),
        ("digits", digits is not None, _LAID_OUT),
    ):
        if given and format in FORMATS and format not in formats:
            raise HarnessError(f"--{option} has no meaning for {format}; it is for {' and '.join(formats)}")
    digits = 1 if digits is None else digits
    match format:
        case "markdown":
            return tables.markdown_table(comparison, with_published=with_published, digits=digits)
        case "latex":
            return latex.latex_table(
                comparison,
                standalone=standalone,
                siunitx=siunitx,
                with_published=with_published,
                digits=digits,
            )
        case "html":
            return page.html_table(comparison)
        case "csv":
            return data.csv_text(comparison)
        case "json":
            return data.json_text(comparison)
    raise UnknownNameError("format", format, FORMATS)


def render_diff(
    comparison: Comparison,
    format: Literal["markdown", "csv", "json"] | str = "markdown",  # noqa: A002 (the option's name)
) -> str:
    """The long list: a line per cell with our number, the paper's, the difference and the verdict.

    On a console, `harness.reports.console.diff` shows the same lines.

    Args:
        comparison: the table.
        format: one of `DIFF_FORMATS`; CSV and JSON are those of `render`.

    Raises:
        UnknownNameError: there is no such format.
    """
    from harness.reports import tables

    if format not in DIFF_FORMATS:
        raise UnknownNameError("format", format, DIFF_FORMATS)
    return tables.markdown_diff(comparison) if format == "markdown" else render(comparison, format)
