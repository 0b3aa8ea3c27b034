"""What of printed cells follows from public scores, as text, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness import escaping
from harness.analysis.derivation import LIMIT, PERMUTATIONS
from harness.counting import count
from harness.reports import grids, paper, wording
from harness.reports.grids import Grid
from harness.specs.published import CHECKS, Check

if TYPE_CHECKING:
    from harness.analysis.against import Against
    from harness.analysis.derivation import Believed, Found
    from harness.analysis.sourcing import CheckedColumn, CheckedTable

_MARKS: dict[Check, str] = {
    Check.DERIVED: "d",
    Check.MEAN: "m",
    Check.OTHER: "o",
    Check.DIFFERENT: r"$\neq$",
    Check.NO_SOURCE: "--",
    Check.INCOMPARABLE: "n",
}


def chance(believed: Sequence[Believed]) -> str:
    """The chance of luck behind a column's rules: that of the likeliest to be luck."""
    if not believed:
        return "\N{EN DASH}"
    largest = max(each.chance for each in believed)
    return f"\N{LESS-THAN OR EQUAL TO}\N{NO-BREAK SPACE}{largest:.1g}"


def summary(found: CheckedTable) -> Grid:
    """The counts, a row each column."""
    return Grid.of(
        {"Column": column.label}
        | {str(check): column.count(check) for check in Check}
        | {"Cells": len(column.cells), "Rules tried": f"{column.searched:,}"}
        | {"Chance of luck": chance(column.believed)}
        for column in found.columns
    )


def sentences(found: CheckedTable) -> Iterator[str]:
    """What is believed of each column, and how its settings differ from this project's."""
    for column in found.columns:
        for each in column.believed:
            yield f"{column.label}: {_believed(column, each)}"
        if column.settings:
            yield f"{column.label}: other settings than here: {_settings(column)}"


def _believed(column: CheckedColumn, each: Believed) -> str:
    seeds = next(
        cell.value.n
        for cell in column.cells
        if cell.rule == each.rule and cell.value and cell.row in each.rows
    )
    earlier = column.believed[: column.believed.index(each)]
    return (
        f"{each.rule.source} gives {len(each.rows)} of {'the' if earlier else 'its'} {each.of} cells"
        f"{' that are left and it has' if earlier else ''}: {each.rule.text(seeds)}; chance of luck, over "
        f"{count(each.searched, 'rule')}: {each.shuffled:.1g} where the column's cells are shuffled "
        f"({PERMUTATIONS} times), {each.repeated:.1g} where the experiments are repeated"
    )


def _settings(column: CheckedColumn) -> str:
    return "; ".join(
        f"{each.row} {each.name} {each.source:g}, here {each.spec:g}" for each in column.settings
    )


def text(found: CheckedTable) -> Iterator[str]:
    """A line each cell that any source is about, for the console; columns that no source has are one."""
    for column in found.columns:
        if all(cell.check == Check.NO_SOURCE and cell.value is None for cell in column.cells):
            yield f"{found.id}: {column.id}: {Check.NO_SOURCE}: no source at hand has this column"
            continue
        for cell in column.cells:
            yield f"{found.id}: {column.id}: {cell.row}: {cell.printed}: {cell.check}: {cell.text}"


def markdown(found: CheckedTable) -> str:
    """The counts, what is believed, and every cell that any source is about."""
    counts = summary(found)
    lines = [f"## {escaping.markdown(found.title)}: what follows from public scores", ""]
    lines += [*grids.markdown(counts.header, counts.rows), ""]
    lines += [f"- {escaping.markdown(sentence)}." for sentence in sentences(found)]
    lines += [f"- {escaping.markdown(note)}." for note in found.notes]
    lines += [
        "",
        f"A rule is believed where both chances of luck are at most {LIMIT:g}. "
        + " ".join(f"{check}: {meaning}." for check, meaning in CHECKS.items()),
    ]
    for column in found.columns:
        cells = [cell for cell in column.cells if cell.value is not None or cell.check == Check.INCOMPARABLE]
        if cells:
            lines += ["", f"### {escaping.markdown(column.label)}", ""]
            lines += grids.markdown(
                ("Dataset", "Printed", "Verdict", "Source"),
                [(cell.row, cell.printed, str(cell.check), cell.text) for cell in cells],
            )
    return "\n".join(lines) + "\n"


def latex(found: CheckedTable) -> str:
    """The printed cells with a mark each, as a float; below it what the marks mean and what is believed.

    That text is no part of the float, so that it may go over several pages.
    """
    columns = found.columns
    rows = dict.fromkeys(cell.row for column in columns for cell in column.cells)
    cells = {(cell.row, column.id): _marked(cell) for column in columns for cell in column.cells}
    lines = [
        paper.joined(escaping.latex(row), (cells.get((row, column.id), "") for column in columns))
        for row in rows
    ]
    counts = [
        paper.joined(str(check), (str(column.count(check)) for column in columns))
        for check in (Check.DERIVED, Check.MEAN, Check.OTHER)
    ]
    part = paper.Part(
        caption=f"{escaping.latex(found.title)}: what follows from public scores.",
        label=f"tab:{found.id}-sources",
        columns="l" + "r" * len(columns),
        head=[paper.joined("Dataset", (escaping.latex(column.label) for column in columns))],
        groups=[(None, lines), (None, counts)],
    )
    legend = "; ".join(
        rf"{_MARKS[check]}: {escaping.latex(f'{check}, {meaning}')}" for check, meaning in CHECKS.items()
    )
    notes = rf"\textbf{{Notes to Table~\ref{{{part.label}}}.}} {legend}"
    below = [notes, *map(escaping.latex, sentences(found))]
    text = "".join(f"{each}.\\par\n" for each in below)
    return (
        paper.floats(paper.Float(wide=True), [part])
        + f"{{\\par\\footnotesize\\sloppy\\setlength{{\\parindent}}{{0pt}}\n{text}}}\n"
    )


def _marked(cell: Found) -> str:
    return rf"{escaping.latex(cell.printed)}\textsuperscript{{{_MARKS[cell.check]}}}"


def against(found: Sequence[Against]) -> Grid:
    """Printed columns against sources."""
    return Grid.of(
        {
            "Printed": each.label,
            "Source": each.source,
            "Algorithm": each.algorithm,
            "Datasets": len(each.rows),
            "Higher": each.higher,
            "Lower": each.lower,
            "Equal": each.equal,
            "Same scores": each.same,
            "Difference": f"{each.difference:+.1f}",
            "p": wording.p_value(each.p),
        }
        for each in found
    )
