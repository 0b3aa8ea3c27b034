"""Compared tables as Markdown, LaTeX, HTML, CSV, JSON and on the console, all from the one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import HarnessError, UnknownNameError

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison
    from harness.reports.paper import Bold, Show

FORMATS = ("markdown", "latex", "html", "csv", "json")
DIFF_FORMATS = ("markdown", "latex", "csv", "json")
_STYLES: tuple[Literal["paper", "audit"], ...] = ("paper", "audit")
_PLACING = ("caption", "label", "wide", "standalone")
# option -> the formats, and styles of LaTeX, that it has a meaning for; the others hold everything, unrounded
_MEANT = {
    "style": _STYLES,
    "standalone": _STYLES,
    "siunitx": ("audit",),
    "with_published": ("console", "markdown", "audit"),
    "digits": ("console", "markdown", *_STYLES),
    **dict.fromkeys(("show", "bold", "caption", "label", "wide", "transpose"), ("paper",)),
}
_NAMES = {"paper": "LaTeX of style paper", "audit": "LaTeX of style audit"}


def render(
    comparison: Comparison,
    format: Literal["markdown", "latex", "html", "csv", "json"] | str,  # noqa: A002 (the option's name)
    *,
    style: Literal["paper", "audit"] | None = None,
    standalone: bool = False,
    digits: int | None = None,
    show: Show | None = None,
    bold: Bold | None = None,
    caption: str | None = None,
    label: str | None = None,
    wide: bool = False,
    transpose: bool = False,
    siunitx: bool = False,
    with_published: bool = False,
) -> str:
    r"""The table in the paper's own layout: a row per dataset, a column per algorithm.

    CSV and JSON hold everything that is known of each cell, CSV in long form.

    Args:
        comparison: the table.
        format: one of `FORMATS`.
        style: LaTeX only: ``paper`` has our numbers alone, for somebody's own paper; ``audit`` has verdicts,
            published numbers and notes. None: the one that the other options are for, else ``audit`` where
            something is published.
        standalone: LaTeX only: a whole document instead of a ``table`` environment, which needs
            packages that its first line names.
        digits: Markdown and LaTeX only: decimals of scores, printed numbers keep theirs; None: 1.
        show: paper only: what stands beside a mean: ``std`` (the default), ``ci``, ``se`` or ``none``.
        bold: paper only: ``ties`` (the default): the best of each row and what is shown to be as good;
            ``best`` alone; or ``none``.
        caption: paper only: LaTeX; None: what the table is.
        label: paper only: for ``\ref``; None: ``tab:`` and the table's id.
        wide: paper only: a ``table*``, over both columns of a page, also where one would do.
        transpose: paper only: algorithms down, datasets across.
        siunitx: audit only: numbers in siunitx's S columns.
        with_published: Markdown and audit only: the paper's number beside each of ours, not only where we
            have none.

    Raises:
        UnknownNameError: there is no such format.
        HarnessError: an option has no meaning for the format, or LaTeX would not get over caption or label.
    """
    given = {name: value for name, value in locals().items() if name in _MEANT and value not in (None, False)}
    if format not in FORMATS:
        raise UnknownNameError("format", format, FORMATS)
    if format == "latex":
        fit = [each for each in _STYLES if all(each in _MEANT[name] for name in given)]
        usual: Literal["paper", "audit"] = "audit" if comparison.table.published else "paper"
        style = style or (usual if usual in fit or not fit else fit[0])
    output = style if style and format == "latex" else format
    return _drawn(comparison, output, refuse_meaningless(output, given))


def refuse_meaningless(output: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, all of which have a meaning for an output.

    Args:
        output: a format, ``console``, or a style of LaTeX.
        options: those of `render`; what is None or False was not given.

    Raises:
        HarnessError: one has none.
    """
    given = {name: value for name, value in options.items() if value not in (None, False)}
    for name in given:
        if output not in _MEANT[name]:
            raise HarnessError(
                f"--{name.replace('_', '-')} has no meaning for {_NAMES.get(output, output)}; it is for "
                f"{' and '.join(_NAMES.get(each, each) for each in _MEANT[name])}"
            )
    return given


def _drawn(comparison: Comparison, output: str, given: dict[str, Any]) -> str:
    """A table in an output that all the options have a meaning for; only its own module is imported."""
    given.pop("style", None)
    match output:
        case "markdown":
            from harness.reports.tables import markdown_table

            return markdown_table(comparison, **given)
        case "audit":
            from harness.reports.latex import latex_table

            return latex_table(comparison, **given)
        case "paper":
            from harness.reports import paper

            place = {name: given.pop(name) for name in _PLACING if name in given}
            return paper.table(comparison, paper.Float(**place), **given)
        case "html":
            from harness.reports.page import html_table

            return html_table(comparison)
        case "csv":
            from harness.reports.data import csv_text

            return csv_text(comparison)
    from harness.reports.data import json_text

    return json_text(comparison)


def render_diff(
    comparison: Comparison,
    format: Literal["markdown", "latex", "csv", "json"] | str = "markdown",  # noqa: A002 (the option's name)
) -> str:
    """The long list: a line per cell with our number, the paper's, the difference and the verdict.

    On a console, `harness.reports.console.diff` shows the same lines.

    Args:
        comparison: the table.
        format: one of `DIFF_FORMATS`; CSV and JSON are those of `render`.

    Raises:
        UnknownNameError: there is no such format.
    """
    if format not in DIFF_FORMATS:
        raise UnknownNameError("format", format, DIFF_FORMATS)
    match format:
        case "markdown":
            from harness.reports.tables import markdown_diff

            return markdown_diff(comparison)
        case "latex":
            from harness.reports import paper

            return paper.diff(comparison, paper.Float(wide=True))
    return render(comparison, format)
