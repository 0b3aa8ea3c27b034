"""Compared tables as Markdown, LaTeX, CSV, JSON and on the console, all from the one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from harness.errors import UnknownNameError

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison

FORMATS = ("markdown", "latex", "csv", "json")
DIFF_FORMATS = ("markdown", "csv", "json")


def render(
    comparison: Comparison,
    format: Literal["markdown", "latex", "csv", "json"] | str,  # noqa: A002 (the option's name)
    *,
    standalone: bool = False,
) -> str:
    r"""The table in the paper's own layout: a row per dataset, a column per algorithm.

    CSV and JSON hold everything that is known of each cell, CSV in long form.

    Args:
        comparison: the table.
        format: one of `FORMATS`.
        standalone: LaTeX only: a whole document instead of a ``table`` environment, which needs
            ``\usepackage{booktabs}``.

    Raises:
        UnknownNameError: there is no such format.
    """
    from harness.reports import data, tables

    match format:
        case "markdown":
            return tables.markdown_table(comparison)
        case "latex":
            return tables.latex_table(comparison, standalone=standalone)
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
