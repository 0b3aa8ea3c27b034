"""Drift as JSON, JUnit XML, Markdown and on a console."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from rich.console import Group
from rich.table import Table
from rich.text import Text

from harness import escaping
from harness.analysis.drift import Judgement, overall
from harness.analysis.verdicts import VerdictKind
from harness.counting import count
from harness.reports import wording
from harness.reports.console import STYLES, harmless
from harness.reports.data import finite
from harness.results.records import shortened

if TYPE_CHECKING:
    from harness.analysis.drift import Change, Drift, DriftCell

LEGEND: dict[VerdictKind, str] = {
    VerdictKind.OK: "the baseline's mean within the margin",
    VerdictKind.CLOSE: "within the margin, but too few seeds to show equivalence",
    VerdictKind.SAME: "within what the baseline's seeds predict of so few",
    VerdictKind.UNDECIDED: "farther off than the margin, but not significantly: too few seeds to tell",
    VerdictKind.BETTER: "significantly above the baseline, not shown to be within the margin",
    VerdictKind.WORSE: "significantly below the baseline, not shown to be within the margin",
    VerdictKind.MISSING: "k of the baseline's n seeds have a score now",
    VerdictKind.INCOMPARABLE: "not comparable with the baseline",
    VerdictKind.PRINTED: "nothing is trained",
    VerdictKind.UNPUBLISHED: "not in the baseline",
}
_STYLES = STYLES | {"MISSING": "red"}  # the baseline has it
_JUDGED = {Judgement.PASSED: "green", Judgement.DRIFT: "bold red", Judgement.INCOMPLETE: "bold yellow"}
_HEADERS = ("Row", "Column", "Baseline (n)", "Now (n)", "Difference", "Verdict", "p (adjusted)")
# what XML 1.0 cannot hold even as a reference
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def summary(drift: Drift) -> str:
    """The judgement and what it rests on, in one sentence."""
    if drift.problem:
        return drift.problem
    listed = _counted(drift.gated) or "nothing"
    what = {"aggregates": "aggregates", "cells": "cells", "both": "aggregates and cells"}[drift.gate]
    missed = len(drift.unchecked)
    left = f"; {missed} of what the baseline has could not be checked" if missed else ""
    return f"{drift.judgement}: gate on {what}: {listed}{left}"


def tests(drift: Drift) -> str:
    """How the differences were tested."""
    settings = drift.tests
    return (
        "Welch's t-test, Benjamini-Hochberg over the aggregates and over the cells, "
        f"alpha {settings.alpha:g}; equivalence by two one-sided t-tests, margin {settings.margin:g} points "
        f"({settings.average_margin:g} for aggregates); fewer seeds than the baseline's by its prediction "
        f"intervals, {1 - settings.alpha:.0%} for all cells together, and for all aggregates (Bonferroni)"
    )


def message(item: DriftCell) -> str:
    """One cell or aggregate in a sentence, with what changed in its provenance."""
    parts = [
        f"{item.label}, {item.column_label}: {_verdict(item)}, {wording.number(item.now)} now, "
        f"{wording.number(item.baseline)} in the baseline",
    ]
    if item.verdict.p_adjusted is not None:
        parts.append(f"adjusted p {wording.p_value(item.verdict.p_adjusted)}")
    return "; ".join((*parts, *item.verdict.reasons, *item.notes, *filter(None, (changed(item.changes),))))


def changed(changes: Iterable[Change]) -> str:
    """``changed: torch 2.12 -> 2.13, …``, or nothing."""

    def side(values: Sequence[str]) -> str:
        return "/".join(shortened(value) for value in values) or "none"

    listed = ", ".join(f"{item.field} {side(item.baseline)} -> {side(item.now)}" for item in changes)
    return f"changed: {listed}" if listed else ""


def notable(drift: Drift) -> tuple[DriftCell, ...]:
    """Aggregates and cells that moved or could not be checked, in the table's order."""
    unchecked = drift.unchecked
    return tuple(
        item
        for item in (*drift.aggregates, *drift.cells)
        if item.drifted or item.improved or item in unchecked
    )


# -- JSON --------------------------------------------------------------------------------------------------


def document(drifts: Sequence[Drift]) -> dict[str, Any]:
    """Everything, as a JSON-like value; numbers unrounded, what is not finite as None."""
    value = {"outcome": overall(drifts), "tables": [_document(each) for each in drifts]}
    plain: dict[str, Any] = finite(value)
    return plain


def _document(drift: Drift) -> dict[str, Any]:
    return {
        "table": drift.table.id,
        "version": drift.table.version,
        "preset": drift.preset,
        "lineage": drift.lineage,
        "incomparable": drift.incomparable,
        "warning": wording.incomparable(drift.incomparable),
        "outcome": drift.judgement,
        "summary": summary(drift),
        "problem": drift.problem or None,
        "now": drift.now,
        "baseline": drift.baseline,
        "gate": drift.gate,
        **drift.tests.model_dump(),
        "aggregates": [asdict(item) for item in drift.aggregates],
        "cells": [asdict(item) for item in drift.cells],
    }


# -- JUnit XML ---------------------------------------------------------------------------------------------


def junit(drifts: Sequence[Drift]) -> str:
    """JUnit XML: a suite for each table, a case for each aggregate and cell.

    A suite's properties say what was trained on which data, and ``warning`` why that is not the paper's.
    What is gated and worse is a failure; what the baseline has and could not be checked is an error; what is
    not gated and worse, or not in the baseline, is skipped with a message. So a file without failures and
    errors means exit code 0.
    """
    suites = ElementTree.Element("testsuites", name="harness drift")
    none_counts = all(drift.absent for drift in drifts)
    for drift in drifts:
        suite = ElementTree.SubElement(suites, "testsuite", name=_xml(drift.table.id))
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in (
            ("preset", drift.preset),
            ("lineage", drift.lineage),
            ("warning", wording.incomparable(drift.incomparable)),
        ):
            if value:
                ElementTree.SubElement(properties, "property", name=name, value=_xml(value))
        for kind, text, item in _cases(drift, counts=none_counts or not drift.absent):
            group = "aggregates" if item in drift.aggregates else "cells"
            name = f"{item.label}, {item.column_label}" if item else "baseline"
            where = f"{drift.table.id}.{group}" if item else drift.table.id
            case = ElementTree.SubElement(suite, "testcase", classname=_xml(where), name=_xml(name), time="0")
            if kind:
                ElementTree.SubElement(case, kind, message=_xml(text)).text = _xml(text)
            else:
                ElementTree.SubElement(case, "system-out").text = _xml(text)
        _count(suite)
    _count(suites)
    ElementTree.indent(suites)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"
    )


def _cases(drift: Drift, *, counts: bool) -> Iterator[tuple[str, str, DriftCell | None]]:
    """(element that says how it went or nothing for well, text, what it is about)."""
    if drift.problem:
        yield "error" if counts else "skipped", drift.problem, None
    unchecked = drift.unchecked
    for item in (*drift.aggregates, *drift.cells):
        if item.drifted and item.gated:
            kind = "failure"
        elif item in unchecked:
            kind = "error"
        elif item.drifted or not item.compared:
            kind = "skipped"
        else:
            kind = ""
        yield kind, message(item), item


def _count(element: ElementTree.Element) -> None:
    element.set("tests", str(len(list(element.iter("testcase")))))
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(len(list(element.iter(kind)))))


def _xml(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", escaping.terminal(text))


# -- Markdown and console ----------------------------------------------------------------------------------


def _line(item: DriftCell) -> tuple[str, ...]:
    def side(mean: float | None, n: int) -> str:
        return wording.number(mean) if mean is None else f"{wording.number(mean)} ({n})"

    return (
        item.label,
        item.column_label,
        side(item.baseline, item.n_baseline),
        side(item.now, item.n_now),
        wording.number(item.verdict.difference, sign=True),
        _verdict(item),
        wording.p_value(item.verdict.p_adjusted),
    )


def _verdict(item: DriftCell) -> str:
    """The verdict, the interval that it rests on where there is one, and whether nothing moved at all."""
    text = item.verdict.mark
    if item.predicted:
        text += f" ({wording.number(item.predicted.low)} to {wording.number(item.predicted.high)} predicted)"
    return f"{text}, as recorded" if item.as_recorded else text


def markdown(drifts: Sequence[Drift]) -> str:
    """GitHub-flavoured Markdown for a CI job's summary: what moved or was not checked, the rest folded."""
    escape = escaping.markdown
    lines: list[str] = []
    for drift in drifts:
        lines += [f"## Drift of {escape(drift.table.id)}", "", f"**{escape(summary(drift))}**", ""]
        if warning := wording.incomparable(drift.incomparable):
            lines += [f"**{escape(warning)}**", ""]
        if items := notable(drift):
            lines += [*(f"- {escape(message(item))}" for item in items), ""]
        lines += [f"{escape(drift.now)} against the baseline {escape(drift.baseline)}", ""]
        for title, some in _grids(drift):
            lines += [f"<details><summary>{escape(title)}: {escape(_counted(some))}</summary>", ""]
            lines += ["|".join(("", *_HEADERS, "")), "|" + "---|" * len(_HEADERS)]
            lines += ["|".join(("", *map(escape, _line(item)), "")) for item in some]
            lines += ["", "</details>", ""]
        if drift.cells:
            lines += [escape(f"{_legend()}. {tests(drift)}."), ""]
    return "\n".join(lines)


def console(drift: Drift, width: int = 0, *, all_cells: bool = True) -> Group:
    """The judgement, what moved or was not checked, and on request all else; for ``rich.print``.

    Args:
        drift: the drift.
        width: of the terminal, which rich knows itself.
        all_cells: whether the aggregates and cells that did not move are printed, too.
    """
    parts: list[Text | Table] = [harmless(f"{drift.table.id}: {summary(drift)}", _JUDGED[drift.judgement])]
    if warning := wording.incomparable(drift.incomparable):
        parts.append(harmless(warning, style="bold magenta"))
    parts += [harmless(f"- {message(item)}") for item in notable(drift)]
    for title, items in _grids(drift):
        parts.append(_grid(title, items) if all_cells else harmless(f"{title}: {_counted(items)}"))
    if new := sum(cell.baseline is None for cell in drift.cells):
        parts.append(harmless(f"- not in the baseline: {count(new, 'cell')} measured now"))
    if drift.cells and all_cells:
        parts += [harmless(_legend(), style="dim"), harmless(tests(drift), style="dim")]
    elif drift.cells:
        parts.append(harmless("--all-cells prints them, and how they were tested", style="dim"))
    return Group(*parts, harmless(f"{drift.now} against the baseline {drift.baseline}", style="dim"))


def workflow_commands(drifts: Sequence[Drift]) -> Iterator[str]:
    """What moved or was not checked as GitHub Actions' workflow commands, a line each.

    What is gated and worse is an error, what could not be checked a warning, everything else a notice.
    """
    for drift in drifts:
        unchecked = drift.unchecked
        for item in notable(drift):
            gated = item.drifted and item.gated
            kind = "error" if gated else "warning" if item.drifted or item in unchecked else "notice"
            title = _command(f"Drift of {drift.table.id}").replace(":", "%3A").replace(",", "%2C")
            yield f"::{kind} title={title}::{_command(message(item))}"
        if drift.problem:
            yield f"::error title=Drift of {_command(drift.table.id)}::{_command(drift.problem)}"


def _command(text: str) -> str:
    """Text in a workflow command, which a line break would end."""
    return escaping.terminal(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _grids(drift: Drift) -> Iterator[tuple[str, Sequence[DriftCell]]]:
    known = [cell for cell in drift.cells if cell.baseline is not None]
    for title, items in (("Aggregates (cells)", drift.aggregates), ("Cells (seeds)", known)):
        if items:
            yield title, items


def _counted(items: Iterable[DriftCell]) -> str:
    counts = Counter(item.verdict.kind for item in items)
    return ", ".join(f"{kind} {counts[kind]}" for kind in VerdictKind if counts[kind])


def _grid(title: str, items: Iterable[DriftCell]) -> Table:
    grid = Table(title=title)
    for header in _HEADERS:
        grid.add_column(header, justify="left" if header in ("Row", "Column", "Verdict") else "right")
    for item in items:
        style = _STYLES.get(str(item.verdict.kind), "")
        grid.add_row(*(harmless(part, style if part == _verdict(item) else "") for part in _line(item)))
    return grid


def _legend() -> str:
    return "; ".join(f"{kind} {meaning}" for kind, meaning in LEGEND.items())
