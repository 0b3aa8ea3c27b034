"""The documentation's page on copied columns, from what is written down with printed numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness import escaping
from harness.analysis.audit.sheet import made_of
from harness.counting import count
from harness.reports import grids
from harness.specs.published import CHECKS, Check

if TYPE_CHECKING:
    from harness.specs import Specs, Table
    from harness.specs.models import Column
    from harness.specs.published import PublishedCell

_INTRODUCTION = """# What is behind the copied columns

Papers copy the columns of baselines from other papers. Some of these have published the score of every
seed, and then it can be computed whether a printed cell follows: `harness sources check TABLE` tries every
rule (which evaluation, which seeds, the divisor of the deviation, rounded or cut off) on every cell, and says
how likely as many matches are by luck. What it found is written down with the printed numbers, in
`specs/published`, and is what this page shows. The definitions and the error rates are in
[statistics.md](../statistics.md#printed-cells-and-public-scores).

    harness sources pull rebrac-2023 corl-offline
    harness sources check aspc-table1
"""


def copied_page(specs: Specs) -> str:
    """The page, in Markdown; raises as `Specs` does."""
    parts = [_INTRODUCTION, _verdicts(), _sources(specs)]
    for name in specs.ids("tables"):
        table = specs.table(name)
        cells = [cell for cell in (specs.published(table) or {}).values() if cell.check]
        if cells:
            parts.append(_table(table, cells))
    return "\n".join(parts)


def _verdicts() -> str:
    return "\n".join([*grids.markdown(("Verdict", "Meaning"), [(str(k), v) for k, v in CHECKS.items()]), ""])


def _sources(specs: Specs) -> str:
    lines = ["## Sources", ""]
    for name in specs.ids("sources"):
        source = specs.source(name)
        where = (
            f"[{source.repository}]({source.repository}/tree/{source.commit})" if source.repository else ""
        )
        note = source.protocol.note or ""
        lines += [f"### {name}", "", f"{escaping.markdown(source.title)}. {where}, {source.licence}.", ""]
        lines += [escaping.markdown(" ".join(note.split())), ""] if note else []
        lines += [f"- {escaping.markdown(' '.join(caveat.split()))}" for caveat in source.caveats]
        lines.append("")
    return "\n".join(lines)


def _table(table: Table, cells: Sequence[PublishedCell]) -> str:
    lines = [f"## {escaping.markdown(table.title)}", ""]
    for column in table.columns:
        own = [
            cell for row in table.datasets for cell in cells if (cell.row, cell.column) == (row, column.id)
        ]
        if own:
            lines += _column(column, own)
    return "\n".join(lines)


def _column(column: Column, cells: Sequence[PublishedCell]) -> Iterator[str]:
    derived = [cell for cell in cells if cell.check == Check.DERIVED]
    yield f"### {escaping.markdown(column.label)}: {len(derived)} of {count(len(cells), 'cell')} confirmed"
    yield ""
    for rule, number in Counter(made_of(cell) for cell in derived).items():
        yield f"- {number} from {escaping.markdown(rule)}"
    yield ""
    noted = [cell for cell in cells if cell.check != Check.DERIVED or ";" in cell.note]
    if noted:
        rows = [(cell.row, _printed(cell), str(cell.check), cell.note) for cell in noted]
        yield from grids.markdown(("Dataset", "Printed", "Verdict", "Note"), rows)
        yield ""


def _printed(cell: PublishedCell) -> str:
    mean = f"{cell.mean:.{cell.decimals}f}"
    return mean if cell.std is None else f"{mean} \N{PLUS-MINUS SIGN} {cell.std:.{cell.std_decimals}f}"
