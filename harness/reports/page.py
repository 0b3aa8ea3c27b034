"""Tables as HTML: one page that needs nothing else, as `harness table` prints it and as a report opens it.

Jinja escapes whatever a spec or a run says; the page's script gets it as JSON and shows it as text only.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from harness import escaping
from harness.analysis.audit.sheet import made_of
from harness.analysis.history import thinned
from harness.analysis.verdicts import LEGEND, VerdictKind
from harness.counting import count, duration
from harness.reports import wording
from harness.reports.protocols import axis
from harness.specs.published import CHECKS, SOURCES, Check

if TYPE_CHECKING:
    from harness.analysis.comparison import ComparedCell, ComparedRow, Comparison
    from harness.analysis.history import Histories, RunHistory

_CURVE_POINTS = 60_000  # of all curves of a page together, about five bytes each
_FEWEST, _MOST = 16, 200  # points of one curve

_STYLES: dict[VerdictKind, tuple[str, str]] = {
    # a class of page.css, and a sign that needs no colour
    VerdictKind.OK: ("ok", "\N{CHECK MARK}"),
    VerdictKind.CLOSE: ("close", "\N{ALMOST EQUAL TO}"),
    VerdictKind.SAME: ("ok", "="),
    VerdictKind.UNDECIDED: ("undecided", "?"),
    VerdictKind.BETTER: ("better", "\N{BLACK UP-POINTING TRIANGLE}"),
    VerdictKind.WORSE: ("worse", "\N{BLACK DOWN-POINTING TRIANGLE}"),
    VerdictKind.MISSING: ("missing", "\N{HORIZONTAL ELLIPSIS}"),
    VerdictKind.INCOMPARABLE: ("incomparable", "\N{NOT EQUAL TO}"),
    VerdictKind.PRINTED: ("unpublished", "\N{WHITE CIRCLE}"),
    VerdictKind.UNPUBLISHED: ("unpublished", "\N{WHITE CIRCLE}"),
}


@dataclass(frozen=True)
class Picture:
    """A figure as a page shows it.

    Attributes:
        title: a line.
        caption: what is drawn.
        missing: what it would need.
        files: links to its files; empty if it is not drawn.
        source: the picture itself as a ``data:`` URL; empty where the page only links it.
    """

    title: str
    caption: str
    missing: str
    files: tuple[str, ...]
    source: str


def html_table(comparison: Comparison) -> str:
    """The table in the paper's layout as a page by itself, with its notes and without a script."""
    return _render(comparison)


def html_report(
    comparison: Comparison,
    histories: Histories,
    pictures: Sequence[Picture],
    command: Callable[[str, str], str],
) -> str:
    """The page of a report, whose cells open.

    Args:
        comparison: the table.
        histories: of its runs.
        pictures: its figures, in order.
        command: from dataset and column id to the command line that reproduces the cell.
    """
    return _render(comparison, data=_data(comparison, histories, command), figures=pictures)


def rendered(template: str, **values: Any) -> str:
    """A page of a template, which gets the pages' style and the legend of verdicts, too."""
    style = Markup(_file("page.css"))  # noqa: S704 (ours, from beside this file)
    return _environment().get_template(template).render(values, style=style, legend=LEGEND)


def svg_source(svg: str) -> str:
    """A picture as a ``data:`` URL, its coordinates rounded to a hundredth of a point."""
    smaller = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(?<=\d\.\d\d)\d+", "", path[0]), svg)
    return "data:image/svg+xml;base64," + base64.b64encode(smaller.encode()).decode()


def _render(
    comparison: Comparison, *, data: Mapping[str, Any] | None = None, figures: Sequence[Picture] = ()
) -> str:
    places = {
        (cell.row, cell.column): place
        for place, cell in enumerate(cell for row in comparison.rows for cell in row.cells)
    }
    script = _file("page.js") if data else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return rendered(
        "page.html.j2",
        comparison=comparison,
        places=places,
        warning=wording.warning(comparison),
        notes=wording.table_notes(comparison, style="in small print", with_published=True),
        script=Markup(script),  # noqa: S704 (ours, from beside this file)
        script_hash=Markup(f"'sha256-{digest}'" if data else "'none'"),  # noqa: S704 (letters and digits)
        data=data and _embedded(data),
        figures=figures,
    )


def _embedded(data: Mapping[str, Any]) -> Markup:
    json = htmlsafe_json_dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(escaping.script(json))  # noqa: S704 (escaped by jinja2)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else escaping.terminal(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "reproduced": lambda cell: wording.reproduced(cell) or wording.number(None),
        "number": wording.number,
        "published": wording.published,
        "slug": lambda kind: _STYLES[kind][0],
        "symbol": lambda kind: _STYLES[kind][1],
    }
    return environment


@cache
def _file(name: str) -> str:
    environment = _environment()
    assert environment.loader  # noqa: S101 (given above)
    return environment.loader.get_source(environment, name)[0].strip()


# -- what opens --------------------------------------------------------------------------------------------


def _data(comparison: Comparison, histories: Histories, command: Callable[[str, str], str]) -> dict[str, Any]:
    runs = sum(map(len, histories.values()))
    most = min(max(_CURVE_POINTS // max(runs, 1), _FEWEST), _MOST)
    grids: dict[tuple[int, ...], int] = {}
    environments: dict[tuple[tuple[str, str], ...], str] = {}

    def seed(run: RunHistory) -> dict[str, Any]:
        points = thinned(run.curve, most)
        fingerprint = tuple(sorted(run.environment.items()))
        name = ""
        if fingerprint:
            name = environments.setdefault(fingerprint, f"E{len(environments) + 1}")
        return {
            "seed": run.seed,
            "score": wording.number(run.score),
            "status": "; ".join(filter(None, [_status(run), run.failure])),
            "wall": wording.number(None) if run.wall_seconds is None else duration(run.wall_seconds),
            "environment": name or wording.number(None),
            "grid": grids.setdefault(tuple(step for step, _ in points), len(grids)),
            "scores": [round(score, 1) for _, score in points],
        }

    def shown(row: ComparedRow, cell: ComparedCell) -> dict[str, Any]:
        runs = histories.get((cell.row, cell.column), ())
        longest = max((len(run.curve) for run in runs), default=0)
        return {
            "id": f"{cell.row}/{cell.column}",
            "row": row.label,
            "column": comparison.labels[cell.column],
            "kind": str(cell.verdict.kind),
            "style": _STYLES[cell.verdict.kind][0],
            "score": _finite(cell.mean),
            "difference": _finite(cell.difference),
            "p": _finite(cell.verdict.p_adjusted),
            "published": cell.published.mean if cell.published else None,
            "facts": _facts(cell, comparison.ddof),
            "notes": [*cell.notes, *filter(None, [cell.verdict.note])],
            "axis": axis(cell.protocol) if cell.protocol else "",
            "seeds": [seed(run) for run in runs],
            "thinned": f"Drawn at {most} of up to {longest} evaluations." if longest > most else "",
            "command": command(cell.row, cell.column)
            if row.kind == "dataset" and cell.wanted and not cell.unavailable
            else None,
        }

    cells = [shown(row, cell) for row in comparison.rows for cell in row.cells]
    return {
        "columns": [f"{column.label} {column.id}" for column in comparison.columns],
        "cells": cells,
        "grids": [list(grid) for grid in grids],
        "environments": {name: list(map(list, items)) for items, name in environments.items()},
    }


def _facts(cell: ComparedCell, ddof: int) -> list[tuple[str, str]]:
    """What is known of a cell, as (name, text)."""
    verdict, interval, published = cell.verdict, cell.interval, cell.published
    facts = [("Verdict", f"{verdict.text}: {LEGEND[verdict.kind]}")]
    if verdict.reasons:
        facts.append(("Not comparable", "; ".join(verdict.reasons)))
    if cell.unavailable:
        facts.append(("No score", cell.unavailable))
    if cell.mean is not None:
        of = f"{cell.n} of {count(cell.wanted, 'seed' if cell.kind == 'dataset' else 'cell')}"
        std = f", ddof {ddof}" if cell.std is not None else ""
        facts.append(("Reproduced", f"{wording.mean_std(cell.mean, cell.std)} ({of}{std})"))
    if cell.before:
        facts.append(("Before", f"{wording.mean_std(cell.before.mean, cell.before.std)} (at interaction 0)"))
    if interval:
        text = f"{wording.number(interval.low)} to {wording.number(interval.high)}"
        facts.append(("Interval", f"{text} ({interval.level:.0%} {interval.method})"))
    if published:
        source = SOURCES[published.source]
        std = f", ddof {published.ddof}" if published.std is not None else ""
        facts.append(
            ("Published", f"{wording.published(cell)} ({count(published.n, 'seed')}{std}; {source})")
        )
        if published.check:
            rule = f" from {made_of(published)}" if published.check == Check.DERIVED else ""
            meaning = CHECKS[published.check]
            facts.append(("Public scores", f"{published.check}{rule}: {meaning}"))
        if published.note:
            facts.append(("Its note", published.note))
    if cell.difference is not None:
        facts.append(("Difference", wording.number(cell.difference, sign=True)))
    for name, value in (
        ("p (Welch)", verdict.p),
        ("p, adjusted over the table", verdict.p_adjusted),
        (f"p (equivalent within {verdict.margin:g} points)", verdict.p_equivalence),
    ):
        if value is not None:
            facts.append((name, wording.p_value(value)))
    return facts


def _status(run: RunHistory) -> str:
    return run.status if run.origin == "trained" else run.origin


def _finite(value: float | None) -> float | None:
    return round(value, 6) if value is not None and math.isfinite(value) else None
