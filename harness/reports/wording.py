"""Numbers, verdicts and notes in words: what every format shows, before any escaping."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from harness.analysis.audit.sheet import HEADINGS
from harness.analysis.verdicts import LEGEND, VerdictKind
from harness.counting import count
from harness.reports.protocols import held_for, protocol_text
from harness.results.records import shortened

if TYPE_CHECKING:
    from harness.analysis.comparison import ComparedCell, ComparedRow, Comparison
    from harness.specs.published import PublishedCell

METRICS = {"mean": "Mean", "median": "Median", "iqm": "IQM", "og": "Optimality gap"}
_IMPORTED = "\N{DAGGER}"
_TO = "\N{RIGHTWARDS ARROW}"
_MOST_CELLS = 6  # cells that a note lists by name before it only counts them


def number(value: float | None, *, sign: bool = False, digits: int = 1) -> str:
    """A score with ``digits`` decimals, an en dash for None; never '-0.0'."""
    if value is None:
        return "\N{EN DASH}"
    rounded = round(value, digits) + 0.0
    return f"{rounded:+.{digits}f}" if sign and rounded else f"{rounded:.{digits}f}"


def mean_std(mean: float | None, std: float | None, digits: int = 1, std_digits: int | None = None) -> str:
    """For example ``20.8 ± 0.9``, or ``20.8`` where there is no deviation."""
    text = number(mean, digits=digits)
    if std is None:
        return text
    spread = number(std, digits=digits if std_digits is None else std_digits)
    return f"{text} \N{PLUS-MINUS SIGN} {spread}"


def p_value(value: float | None) -> str:
    """Three decimals, ``<0.001`` below that, an en dash for None."""
    if value is None:
        return "\N{EN DASH}"
    return "<0.001" if value < 0.0005 else f"{value:.3f}"


def reproduced(cell: ComparedCell, digits: int = 1) -> str:
    """Our number, or why there is none; empty where the verdict's mark says it.

    Of online runs what it was before the first interaction and what it became, of sums with their interval.
    """
    if cell.mean is None:
        return cell.unavailable or ""
    parts = [mean_std(cell.before.mean, cell.before.std, digits), _TO] if cell.before else []
    parts.append(mean_std(cell.mean, cell.std, digits))
    return " ".join(filter(None, (*parts, ends(cell, digits))))


def published(cell: ComparedCell, *, with_ends: bool = True) -> str:
    """The paper's number as printed, with all that it printed beside it, or an en dash."""
    return number(None) if cell.published is None else as_printed(cell.published, with_ends=with_ends)


def as_printed(printed: PublishedCell, *, with_ends: bool = True) -> str:
    """A number as the paper prints it, with its deviation, what was before it, and its interval."""
    parts = []
    if printed.before_mean is not None:
        parts = [mean_std(printed.before_mean, printed.before_std, *printed.before_decimals), _TO]
    parts.append(mean_std(printed.mean, printed.std, printed.decimals, printed.std_decimals))
    return " ".join(filter(None, (*parts, _printed_ends(printed) if with_ends else "")))


def ends(cell: ComparedCell, digits: int = 1) -> str:
    """The interval of a sum that we have; else empty."""
    found = cell.interval if cell.kind == "sum" and cell.mean is not None else None
    return _ends((found.low, found.high), (digits, digits)) if found else ""


def published_ends(cell: ComparedCell) -> str:
    """The interval that the paper printed; else empty."""
    return _printed_ends(cell.published) if cell.published else ""


def _printed_ends(printed: PublishedCell) -> str:
    if printed.low is None or printed.high is None:
        return ""
    return _ends((printed.low, printed.high), printed.end_decimals)


def _ends(ends: tuple[float, float], digits: tuple[int, int]) -> str:
    low, high = (number(end, digits=places) for end, places in zip(ends, digits, strict=True))
    return f"({low} to {high})"


def mark(cell: ComparedCell) -> str:
    """The verdict's mark, and a dagger on imported numbers.

    Where `reproduced` already says why nothing is there, only that it is N/C.
    """
    if cell.verdict.kind is VerdictKind.PRINTED:
        return ""
    if cell.unavailable is None or cell.mean is not None:
        return f"{cell.verdict.mark}{_IMPORTED if cell.imported else ''}"
    return str(cell.verdict.kind) if cell.verdict.kind is VerdictKind.INCOMPARABLE else ""


#: What the texts of a `DiffLine` are.
DIFF_HEADER = (
    "Dataset",
    "Column",
    "Reproduced (n)",
    "Published (n)",
    "Difference",
    "Verdict",
    "p (adjusted)",
)


class DiffLine(NamedTuple):
    """One line of the long list: its texts, and the cell that they are of.

    A difference in brackets is one of numbers that are not comparable.
    """

    row: str
    column: str
    reproduced: str
    published: str
    difference: str
    verdict: str
    p: str
    cell: ComparedCell

    @property
    def texts(self) -> tuple[str, ...]:
        """All of them, in the order of `DIFF_HEADER`."""
        return self[:-1]


def diff_lines(comparison: Comparison) -> Iterator[DiffLine]:
    """The long list: cells in the table's order, each group's averages after it, the total last."""

    def lines(row: ComparedRow, *, seeds: bool) -> Iterator[DiffLine]:
        for cell in row.cells:
            ours, theirs = reproduced(cell) or number(None), published(cell)
            if seeds and cell.mean is not None:
                ours += f" ({cell.n})"
            if seeds and cell.published:
                theirs += f" ({cell.published.n})"
            difference = number(cell.difference, sign=True)
            apart = cell.verdict.kind is VerdictKind.INCOMPARABLE and cell.difference is not None
            yield DiffLine(
                cell=cell,
                row=row.label,
                column=comparison.labels[cell.column],
                reproduced=ours,
                published=theirs,
                difference=f"({difference})" if apart else difference,
                verdict=f"{cell.verdict.text}{_IMPORTED if cell.imported else ''}",
                p=p_value(cell.verdict.p_adjusted),
            )

    for row in comparison.rows:
        yield from lines(row, seeds=row.kind == "dataset")


@dataclass(frozen=True)
class Note:
    """A titled line below a table."""

    title: str
    text: str


def incomparable(reasons: Sequence[str]) -> str:
    """The sentence that must stand with numbers that these reasons set apart from the paper's; else empty."""
    return f"Not comparable with the paper: {_listed(reasons)}." if reasons else ""


def _listed(reasons: Sequence[str]) -> str:
    """The reasons, environments of a kind together: ``environments harness/maze2d-* (3)``."""
    kinds: dict[str, list[str]] = {}
    for reason in reasons:
        if place := re.fullmatch(r"environment (\S+)", reason):
            kinds.setdefault(place[1].partition("-")[0], []).append(place[1])
    grouped = [f"{kind}-* ({len(ids)})" if len(ids) > 1 else ids[0] for kind, ids in kinds.items()]
    several = sum(map(len, kinds.values())) > 1
    found = [reason for reason in reasons if not re.fullmatch(r"environment \S+", reason)]
    if grouped:
        found.append(f"environment{'s' if several else ''} {', '.join(grouped)}")
    return "; ".join(found)


def warning(comparison: Comparison) -> str:
    """The sentence that must stand above a table whose numbers are not the paper's; empty if they are."""
    printed = comparison.table.published is not None
    parts = []
    if comparison.label:
        other = "the paper did" if printed else "the table asks"
        parts.append(f"Run with the preset '{comparison.preset}' ({comparison.label}), not as {other}.")
    if comparison.incomparable:
        some, cells = comparison.counts[VerdictKind.INCOMPARABLE], count(len(comparison.cells), "cell")
        reasons = _listed(comparison.incomparable)
        what = "cannot be compared with the paper" if printed else "are not what the table asks for"
        parts.append(f"N/C: {some} of {cells} {what}: {reasons}.")
    return " ".join(parts)


def notes(comparison: Comparison) -> tuple[Note, ...]:
    """Everything that a reader needs to judge the numbers, in the order shown."""
    table = comparison.table
    counts = ", ".join(f"{kind} {number}" for kind, number in comparison.counts.items() if number)
    kinds = {cell.verdict.kind for row in comparison.rows for cell in row.cells}
    legend = "; ".join(f"{kind} {meaning}" for kind, meaning in LEGEND.items() if kind in kinds)
    if any(cell.imported for cell in comparison.cells):
        legend += f"; {_IMPORTED} imported from a file of scores, not trained here"
    lines = [
        Note("Verdicts", f"{counts} ({count(len(comparison.cells), 'cell')})"),
        Note("Legend", legend),
        Note("Tests", _tests(comparison)),
        Note("Intervals", _intervals(comparison)),
        *_protocols(comparison),
        Note(
            "Scores",
            "100 (R - minimum) / (maximum - minimum) of the raw return R; "
            f"mean \N{PLUS-MINUS SIGN} standard deviation over seeds (ddof {comparison.ddof}); "
            f"averages are means over cells{_also(comparison)}",
        ),
        Note("Data", _data(comparison)),
    ]
    if table.published:
        lines.append(
            Note(
                "Published",
                f"{table.paper.title}{f', {table.paper.table}' if table.paper.table else ''}; "
                f"{count(table.published.seeds, 'seed')}, standard deviations with ddof "
                f"{table.published.ddof} unless a cell says otherwise",
            )
        )
    lines += [Note("Environment", text) for text in comparison.environment_notes]
    lines += [
        Note("Column", f"{column.label}: {column.note}") for column in comparison.columns if column.note
    ]
    lines += [Note("Note", text) for text in comparison.footnotes]
    lines += _audit_notes(comparison)
    lines += [Note("Cells", text) for text in _cell_notes(comparison)]
    commits = ", ".join(map(shortened, comparison.commits)) or "none recorded"
    lines.append(
        Note("Provenance", f"environment fingerprints: {comparison.fingerprints}; git commits: {commits}")
    )
    preset = f", preset '{comparison.preset}' ({comparison.label})" if comparison.label else ""
    lines.append(Note("Spec", f"{table.id}, version {table.version}{preset}"))
    return tuple(lines)


def _also(comparison: Comparison) -> str:
    """What else stands in the cells."""
    parts = []
    if any(cell.kind == "sum" for cell in comparison.summaries):
        level = next((item.level for cell in comparison.summaries if (item := cell.interval)), 0.95)
        parts.append(
            "sums are those of each seed, with mean, standard deviation and Student's interval of the mean "
            f"({level:.0%}) over seeds"
        )
    if any(cell.before for cell in comparison.cells):
        parts.append(f"before {_TO} after: at interaction 0 and as the protocol counts")
    for column in comparison.columns:
        if column.parts:
            members = [comparison.labels.get(name, name) for name in column.parts]
            parts.append(f"{column.label} is {column.made_of(members)}")
    return "".join(f"; {part}" for part in parts)


def table_notes(
    comparison: Comparison, *, style: str = "in brackets", with_published: bool = False
) -> tuple[Note, ...]:
    """What bold numbers are, which are the paper's, and `notes`: for reports in the paper's layout.

    Args:
        comparison: the table.
        style: what tells the paper's numbers from ours.
        with_published: whether they stand beside all of ours, or only where we have none.
    """
    where = "beside ours" if with_published else "where nothing is reproduced"
    printed = [Note("The paper's numbers", f"{style}, {where}")] if comparison.table.published else []
    return (*bold(comparison), *printed, *notes(comparison))


def bold(comparison: Comparison) -> tuple[Note, ...]:
    """The rule behind `ComparedCell.leading`, where any cell is."""
    if not any(cell.leading for row in comparison.rows for cell in row.cells):
        return ()
    tests = comparison.table.verdict
    rule = (
        "the best mean of a row among columns with all their seeds, and those shown to be equivalent to "
        "it, by the test of the verdicts "
        f"(margin {tests.margin:g} points, {tests.average_margin:g} for averages)"
    )
    return (Note("Bold", rule),)


def without_scores(comparison: Comparison) -> tuple[Note, ...]:
    """A note for each reason why columns cannot be run, for reports whose cells have no room for it."""
    rows = sum(len(group.rows) for group in comparison.groups)
    reasons: dict[str, Counter[str]] = {}
    for cell in comparison.cells:
        if cell.mean is None and cell.unavailable:
            reasons.setdefault(cell.unavailable, Counter())[cell.column] += 1
    return tuple(
        Note(
            "Without scores",
            f"{reason}: "
            + ", ".join(
                comparison.labels[column] + ("" if some == rows else f" ({some} of {rows} rows)")
                for column, some in columns.items()
            ),
        )
        for reason, columns in reasons.items()
    )


def _tests(comparison: Comparison) -> str:
    settings = comparison.table.verdict
    tested = sum(cell.verdict.p is not None for cell in comparison.cells)
    sums = any(cell.kind == "sum" for cell in comparison.summaries)
    of_sums = " and for each number of a sum" if sums else ""
    return (
        f"Welch's t-test, Benjamini-Hochberg over the {count(tested, 'cell')} tested (averages apart), "
        f"alpha {settings.alpha:g}; equivalence by two one-sided t-tests, margin {settings.margin:g} points "
        f"({settings.average_margin:g} for averages{of_sums}), alpha {settings.alpha:g}; "
        "printed means stand for all that would be printed so"
    )


def _intervals(comparison: Comparison) -> str:
    """The kinds of intervals in the table, each with its number of seeds: cells may have unequal ones."""
    kinds = {
        (item.method, item.level, item.n, item.repetitions, item.seed): None
        for cell in comparison.cells
        if (item := cell.interval)
    }
    described = [
        f"{level:.0%} {method} of the mean, n = {n}"
        + (f", {repetitions} resamples" if repetitions else "")
        + (f", seed {seed}" if seed is not None else "")
        # of the resamples of two scores a quarter has the lower one twice, a quarter the higher
        + (" (with two seeds no more than their range)" if n == 2 and repetitions else "")
        for method, level, n, repetitions, seed in kinds
    ]
    return "; ".join(described) or "none: no cell has two scores"


def _protocols(comparison: Comparison) -> Iterator[Note]:
    """Each protocol and, where there are several, the cells that it holds for."""
    for protocol, cells in comparison.protocols.items():
        where = held_for(comparison.table, [(cell.row, cell.column) for cell in cells])
        yield Note("Protocol", f"{protocol.id}{where and f' ({where})'}: {protocol_text(protocol)}")


def _data(comparison: Comparison) -> str:
    paper = comparison.table.lineage
    same = comparison.lineage == paper
    return f"lineage {comparison.lineage}" + ("" if same else f"; the paper's numbers come from {paper}")


def _audit_notes(comparison: Comparison) -> list[Note]:
    """The audit's findings, those of a kind in one note."""
    return [
        Note(
            "Audit",
            f"{heading}. " + " ".join(item.sentence for item in comparison.findings if item.kind == kind),
        )
        for kind, heading in HEADINGS.items()
        if any(item.kind == kind for item in comparison.findings)
    ]


def _cell_notes(comparison: Comparison) -> list[str]:
    """Each distinct note of cells with the cells it holds for."""
    held: dict[str, list[str]] = {}
    for cell in (*comparison.cells, *comparison.summaries):
        for note in (*cell.notes, *filter(None, [cell.verdict.note])):
            held.setdefault(note, []).append(f"{cell.row} / {comparison.labels[cell.column]}")
    return [
        f"{note}: {', '.join(cells)}" if len(cells) <= _MOST_CELLS else f"{note}: {len(cells)} cells"
        for note, cells in held.items()
    ]
