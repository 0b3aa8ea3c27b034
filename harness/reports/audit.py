"""The audit's findings as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness import escaping
from harness.analysis.audit.sheet import HEADINGS

if TYPE_CHECKING:
    from harness.analysis.audit.sheet import Finding
    from harness.specs import Table


def markdown_audit(table: Table, findings: Sequence[Finding]) -> str:
    """A section with the findings of one table, by kind; it says so if there are none."""
    return f"### {escaping.markdown(table.title)}\n\n{markdown_findings(findings)}"


def markdown_findings(findings: Sequence[Finding]) -> str:
    """The findings of one table, by kind; it says so if there are none."""
    lines = []
    for kind, heading in HEADINGS.items():
        held = [finding for finding in findings if finding.kind == kind]
        if held:
            lines += [f"{heading[0].upper()}{heading[1:]}:", ""]
            lines += [f"- {finding.severity}: {escaping.markdown(finding.sentence)}" for finding in held]
            lines.append("")
    if not findings:
        lines += ["Nothing found.", ""]
    return "\n".join(lines)
