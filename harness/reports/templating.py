"""The templates beside this file. What they print is escaped for their format; they cannot forget to."""

from __future__ import annotations

from collections.abc import Callable

import jinja2

from harness.escaping import Raw


def environment(
    escape: Callable[[str], str], *, block: tuple[str, str], variable: tuple[str, str]
) -> jinja2.Environment:
    """Templates with these delimiters, in which everything but `Raw` text goes through ``escape``."""
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
