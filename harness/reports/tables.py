"""Markdown and LaTeX, from the templates beside this file.

Whatever a template prints is escaped for its format, except `Raw` text that a filter here has built from
escaped parts: a template cannot forget to escape.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import jinja2

from harness.reports import escaping, wording

if TYPE_CHECKING:
    from harness.analysis.comparison import ComparedCell, ComparedRow, Comparison


class Raw(str):
    """Text that is in the format's own syntax already."""

    __slots__ = ()


def _environment(
    escape: Callable[[str], str], *, block: tuple[str, str], variable: tuple[str, str]
) -> jinja2.Environment:
    return jinja2.Environment(  # noqa: S701 (autoescape is HTML's; finalize escapes for the format)
        loader=jinja2.PackageLoader("harness.reports"),
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Raw) else escape(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        block_start_string=block[0],
        block_end_string=block[1],
        variable_start_string=variable[0],
        variable_end_string=variable[1],
        comment_start_string="<#",
        comment_end_string="#>",
    )


def _markdown_cell(cell: ComparedCell) -> Raw:
    parts = [wording.reproduced(cell), wording.mark(cell)]
    if cell.mean is None and cell.published:
        parts.append(f"[{wording.published(cell)}]")
    return Raw(" ".join(escaping.markdown(part) for part in parts if part))


def _latex_cell(cell: ComparedCell, row: ComparedRow) -> Raw:
    number = escaping.latex(wording.reproduced(cell))
    if cell.column in wording.best(row):
        number = rf"{{\boldmath\bfseries {number}}}"
    mark = wording.mark(cell)
    parts = [number, rf"{{\tiny {escaping.latex(mark)}}}" if mark else ""]
    if cell.mean is None and cell.published:
        parts.append(escaping.latex(f"[{wording.published(cell)}]"))
    return Raw(" ".join(part for part in parts if part))


def _label(text: str) -> Raw:
    r"""For ``\label``, which takes no escapes: anything but letters, digits, ``.``, ``+`` and ``-`` goes."""
    return Raw("".join(c if c.isascii() and (c.isalnum() or c in ".+-") else "-" for c in text))


@cache
def _markdown() -> jinja2.Environment:
    environment = _environment(escaping.markdown, block=("{%", "%}"), variable=("{{", "}}"))
    environment.filters["shown"] = _markdown_cell
    return environment


@cache
def _latex() -> jinja2.Environment:
    # braces belong to LaTeX
    environment = _environment(escaping.latex, block=("<%", "%>"), variable=("<<", ">>"))
    environment.filters |= {"shown": _latex_cell, "label": _label}
    return environment


def _render(environment: jinja2.Environment, template: str, comparison: Comparison, **more: object) -> str:
    return environment.get_template(template).render(
        comparison=comparison,
        warning=wording.warning(comparison),
        notes=wording.notes(comparison),
        **more,
    )


def markdown_table(comparison: Comparison) -> str:
    """The paper's layout as a GitHub-flavoured Markdown table with its notes."""
    return _render(_markdown(), "table.md.j2", comparison)


def markdown_diff(comparison: Comparison) -> str:
    """The long list as a GitHub-flavoured Markdown table with its notes."""
    return _render(_markdown(), "diff.md.j2", comparison, lines=wording.diff_lines(comparison))


def latex_table(comparison: Comparison, *, standalone: bool) -> str:
    """The paper's layout in booktabs style, as a ``table`` environment or as a whole document."""
    return _render(_latex(), "table.tex.j2", comparison, standalone=standalone)
