r"""LaTeX for somebody's own paper: booktabs tables of numbers alone, without verdicts, marks or notes.

They need ``booktabs`` and ``adjustbox``, fit the width of a column, or of the page where they need it, and
compile in one and two columns. Each number is two of LaTeX's columns, so that means are aligned at their last
digit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import jinja2

from harness import escaping
from harness.counting import count
from harness.errors import HarnessError
from harness.escaping import Raw
from harness.reports import wording
from harness.reports.templating import environment

if TYPE_CHECKING:
    from harness.analysis.comparison import ComparedCell, ComparedRow, Comparison
    from harness.analysis.overall import Overall

Show = Literal["std", "ci", "se", "none"]
Bold = Literal["best", "ties", "none"]

_LINES = 45  # of the long list that one page holds
_LETTERS = 75  # of a line that can still be read when it is shrunk to one of two columns
_SPREADS = {"std": "standard deviation", "se": "standard error"}


@dataclass(frozen=True)
class Float:
    r"""Where a table stands.

    Attributes:
        caption: LaTeX; None for what the table is.
        label: for ``\ref``; None for ``tab:`` and the table's id.
        wide: over both columns of a page, also where one would do.
        standalone: a whole document.

    Raises:
        HarnessError: LaTeX would not get over the caption or the label.
    """

    caption: str | None = None
    label: str | None = None
    wide: bool = False
    standalone: bool = False

    def __post_init__(self) -> None:
        if self.caption is not None and (why := _broken(self.caption)):
            raise HarnessError(f"--caption is LaTeX, and {why}")
        if self.label is not None and not re.fullmatch(r"[A-Za-z0-9:._+-]+", self.label):
            raise HarnessError(f"--label is of letters, digits and any of :._+-, not {self.label!r}")


def _broken(latex: str) -> str:
    """Why LaTeX cannot read a caption; empty if it can."""
    # without the names that commands refer to, then without commands and escaped characters
    named = re.sub(r"\\(?:[a-z]*ref|cite[a-z]*|label|url)\*?(?:\[[^]]*\])*\{[^{}]*\}", "", latex)
    plain = re.sub(r"\\.", "", named, flags=re.DOTALL)
    depth = 0
    for character in plain:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            break
    if depth:
        return f"its braces do not match: {latex!r}"
    if plain.count("$") % 2:
        return f"it has a '$' without its second; write \\$ for the sign: {latex!r}"
    text = re.sub(r"\$[^$]*\$", "", plain)
    if special := re.search(r"[%#&]", plain) or re.search(r"[_^]", text):
        sign = r"\^{}" if special[0] == "^" else f"\\{special[0]}"
        return f"'{special[0]}' means something in it; write {sign} for the sign: {latex!r}"
    if latex.endswith("\\") and not latex.endswith("\\\\"):
        return f"it ends in a backslash: {latex!r}"
    return "it has a line break" if "\n" in latex else ""


@dataclass(frozen=True)
class Part:
    """A float: head and body are lines of LaTeX's entries, a group of lines may have a heading."""

    caption: str
    label: str
    columns: str
    head: Sequence[str]
    groups: Sequence[tuple[str | None, Sequence[str]]]

    @property
    def width(self) -> int:
        """LaTeX's columns."""
        return len(re.sub(r"@\{[^}]*\}", "", self.columns))

    @property
    def wide(self) -> bool:
        """Whether one of two columns would make its lines too small to read."""
        lines = (line for _, body in self.groups for line in body)
        return any(len(re.sub(r"\\[a-z]+|[\\{}$& ]", "", line)) > _LETTERS for line in lines)


def floats(place: Float, parts: Iterable[Part]) -> str:
    """The parts as ``table`` environments, or as a whole document."""
    template = _templates().get_template("paper.tex.j2")
    return template.render(place=place, parts=[*parts])


def table(
    comparison: Comparison,
    place: Float,
    *,
    show: Show = "std",
    bold: Bold = "ties",
    transpose: bool = False,
    digits: int = 1,
) -> str:
    """The paper's layout with our numbers only.

    Args:
        comparison: the table.
        place: where it stands.
        show: beside each mean: its standard deviation, its interval, its standard error or nothing.
        bold: the best of each row, also those shown to be as good (`ComparedCell.leading`), or nothing.
        transpose: algorithms down, datasets across.
        digits: decimals.
    """

    def entries(row: ComparedRow) -> list[str]:
        strong = _bold(row, bold, digits)
        return [_number(cell, show, flag, digits) for cell, flag in zip(row.cells, strong, strict=True)]

    rows = [(escaping.latex(row.label), entries(row)) for row in comparison.rows]
    labels = [escaping.latex(column.label) for column in comparison.columns]
    strong = any(any(_bold(row, bold, digits)) for row in comparison.rows)
    caption = place.caption or _caption(comparison, show, bold if strong else "none")
    label = place.label or _label(comparison)
    if transpose:
        heads = [rf"\multicolumn{{2}}{{c}}{{\rotatebox{{90}}{{{name}}}}}" for name, _ in rows]
        lines = [joined(name, [cells[index] for _, cells in rows]) for index, name in enumerate(labels)]
        part = Part(caption, label, "l" + _NUMBER * len(rows), [joined("Algorithm", heads)], [(None, lines)])
        return floats(place, [part])
    found = dict(zip([row.id for row in comparison.rows], rows, strict=True))
    groups: list[tuple[str | None, list[str]]] = []
    for group in comparison.groups:
        groups.append((escaping.latex(group.label), [joined(*found[row.id]) for row in group.rows]))
        if group.summaries:
            groups.append((None, [joined(*found[row.id]) for row in group.summaries]))
    if comparison.total:
        groups.append((None, [joined(*found[comparison.total.id])]))
    heads = [rf"\multicolumn{{2}}{{c}}{{{name}}}" for name in labels]
    part = Part(caption, label, "l" + _NUMBER * len(labels), [joined("Dataset", heads)], groups)
    return floats(place, [part])


_NUMBER = r"r@{}l"


def joined(first: str, entries: Iterable[str]) -> str:
    """A line of a `Part`, without its end."""
    return " & ".join((first, *entries))


def _bold(row: ComparedRow, rule: Bold, digits: int) -> list[bool]:
    if rule != "best":
        return [cell.leading and rule == "ties" for cell in row.cells]
    shown = [
        round(cell.mean, digits) if cell.mean is not None and cell.complete else None for cell in row.cells
    ]
    known = [mean for mean in shown if mean is not None]
    return [len(known) > 1 and mean == max(known) for mean in shown]


def _number(cell: ComparedCell, show: Show, strong: bool, digits: int) -> str:
    """The two entries of a cell."""
    if cell.mean is None:
        return r"\multicolumn{2}{c}{--}"
    before = rf"{_plain(cell.before.mean, digits)} $\to$ " if cell.before else ""
    spread = ""
    if show == "ci" and cell.interval:
        spread = f"[{_plain(cell.interval.low, digits)}, {_plain(cell.interval.high, digits)}]"
    elif show in _SPREADS and cell.std is not None:
        std = cell.std if show == "std" else cell.std / len(cell.scores) ** 0.5
        spread = rf"$\pm$\,{_plain(std, digits)}"
    return _entries(before + _plain(cell.mean, digits), spread, strong)


def _entries(number: str, spread: str, strong: bool) -> str:
    if strong:
        number, spread = (rf"\textbf{{{text}}}" if text else "" for text in (number, spread))
    return rf"{number} & {{\scriptsize\,{spread}}}" if spread else f"{number} &"


def _plain(value: float, digits: int) -> str:
    return wording.number(value, digits=digits).replace("-", "$-$")


def _caption(comparison: Comparison, show: Show, bold: Bold) -> str:
    """What the numbers are, in LaTeX."""
    what = "Normalised score, mean"
    if show in _SPREADS:
        what += f" \N{PLUS-MINUS SIGN} {_SPREADS[show]}"
        what += f" (ddof {comparison.ddof})" if show == "std" else ""
    elif show == "ci":
        kinds = {(item.level, item.method) for cell in comparison.cells if (item := cell.interval)}
        what += " and " + " or ".join(
            f"{100 * level:g} % interval ({method})" for level, method in sorted(kinds)
        )
    seeds = sorted({cell.n for cell in comparison.cells if cell.mean is not None})
    over = f", over {' or '.join(map(str, seeds))} seed{'' if seeds == [1] else 's'}" if seeds else ""
    tests = comparison.table.verdict
    strong = {
        "none": "",
        "best": " Bold: the best mean of each row.",
        "ties": " Bold: the best mean of each row and those equivalent to it "
        f"(two one-sided t-tests, margin {tests.margin:g} points, {tests.average_margin:g} for averages, "
        f"alpha {tests.alpha:g}).",
    }[bold]
    label = f" ({comparison.label})" if comparison.label else ""
    title = escaping.latex(f"{comparison.table.title}{label}")
    return f"{title}. {escaping.latex(what + over)}.{escaping.latex(strong)}"


def _label(comparison: Comparison, also: str = "") -> str:
    return "tab:" + re.sub(r"[^A-Za-z0-9.+-]", "-", comparison.table.id + also)


def statistics(comparison: Comparison, found: Overall, place: Float) -> str:
    """Aggregates of each algorithm with their intervals; bold: the best, and those not told from it."""
    labels = {column.id: escaping.latex(column.label) for column in comparison.columns}
    metrics = [one.metric for one in next(iter(found.aggregates.values()))]
    several = len(found.aggregates) > 1
    lines = [
        joined(
            labels[column],
            [
                _entries(
                    _plain(one.value, 1),
                    f"[{_plain(one.interval.low, 1)}, {_plain(one.interval.high, 1)}]",
                    several and column in found.leaders[one.metric],
                )
                for one in each
            ],
        )
        for column, each in found.aggregates.items()
    ]
    heads = [rf"\multicolumn{{2}}{{c}}{{{wording.METRICS[metric]}}}" for metric in metrics]
    one = next(iter(found.aggregates.values()))[0].interval
    kind = f"{100 * one.level:g} % {one.method} intervals"
    less = " (optimality gap: less is better)" if "og" in metrics else ""
    caption = place.caption or escaping.latex(
        f"{comparison.table.title}{f' ({comparison.label})' if comparison.label else ''}: aggregates over "
        f"{count(len(found.selection.datasets), 'dataset')} and {count(len(found.selection.seeds), 'seed')}"
        f"{less}, with {kind} "
        f"from {one.repetitions:,} resamples of seeds."
        + (" Bold: the best, and those whose difference from it has an interval that holds 0." * several)
    )
    part = Part(
        caption,
        place.label or _label(comparison, "-statistics"),
        "l" + _NUMBER * len(metrics),
        [joined("Algorithm", heads)],
        [(None, lines)],
    )
    return floats(place, [part])


def diff(comparison: Comparison, place: Float) -> str:
    """The long list, as many floats as its lines need."""
    lines = [
        joined(
            escaping.latex(line.row),
            (
                escaping.latex(text).replace("-", "$-$") if index < 4 and index else escaping.latex(text)
                for index, text in enumerate(
                    (line.column, line.reproduced, line.published, line.difference, line.verdict, line.p)
                )
            ),
        )
        for line in wording.diff_lines(comparison)
    ]
    head = "Dataset & Column & Reproduced ($n$) & Published ($n$) & Difference & Verdict & $p$ (adjusted)"

    def parts() -> Iterator[Part]:
        label = place.label or _label(comparison, "-diff")
        for start in range(0, len(lines), _LINES):
            number, more = start // _LINES + 1, " (continued)" if start else ""
            caption = place.caption or escaping.latex(
                f"{comparison.table.title}: reproduced beside published"
            )
            yield Part(
                caption + more,
                label + (f"-{number}" if start else ""),
                "llrrrlr",
                [head],
                [(None, lines[start : start + _LINES])],
            )

    return floats(place, parts())


@cache
def _templates() -> jinja2.Environment:
    # every text is LaTeX already
    return environment(Raw, block=("<%", "%>"), variable=("<<", ">>"))
