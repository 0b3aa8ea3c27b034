"""The paper's layout and the long list in Markdown."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import jinja2

from harness import escaping
from harness.reports import wording
from harness.reports.templating import Raw, environment

if TYPE_CHECKING:
    from harness.analysis.comparison import ComparedCell, Comparison


def markdown_table(comparison: Comparison, *, with_published: bool = False, digits: int = 1) -> str:
    """The paper's layout as a GitHub-flavoured Markdown table with its notes.

    Args:
        comparison: the table.
        with_published: print the paper's number in brackets in every cell, not only where we have none.
        digits: decimals of all scores.
    """
    return (
        _templates()
        .get_template("table.md.j2")
        .render(
            comparison=comparison,
            warning=wording.warning(comparison),
            notes=wording.table_notes(comparison, with_published=with_published),
            with_published=with_published,
            digits=digits,
        )
    )


def markdown_diff(comparison: Comparison) -> str:
    """The long list as a GitHub-flavoured Markdown table with its notes."""
    return (
        _templates()
        .get_template("diff.md.j2")
        .render(
            comparison=comparison,
            warning=wording.warning(comparison),
            notes=wording.notes(comparison),
            lines=wording.diff_lines(comparison),
        )
    )


@cache
def _templates() -> jinja2.Environment:
    templates = environment(escaping.markdown, block=("{%", "%}"), variable=("{{", "}}"))
    templates.filters["shown"] = _cell
    return templates


def _cell(cell: ComparedCell, with_published: bool, digits: int) -> Raw:
    number = escaping.markdown(wording.reproduced(cell, digits))
    parts = [f"**{number}**" if cell.leading else number, escaping.markdown(wording.mark(cell))]
    if cell.published and (cell.mean is None or with_published):
        parts.append(escaping.markdown(f"[{wording.published(cell, digits)}]"))
    return Raw(" ".join(part for part in parts if part))
