r"""The paper's layout in LaTeX: booktabs rules, numbers aligned at the decimal point or at ``\pm``.

Each column of the table is several of LaTeX's: our number (mean and deviation; with siunitx one S column),
the verdict's mark, and, where asked for, the paper's number in grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import jinja2

from harness import escaping
from harness.escaping import Raw
from harness.reports import wording
from harness.reports.templating import environment

if TYPE_CHECKING:
    from harness.analysis.comparison import ComparedCell, ComparedRow, Comparison
    from harness.specs.published import PublishedCell


_UNDER = ("Bold", "The paper's numbers", "Protocol", "Data", "Provenance", "Spec")  # not moved with the rest


def latex_table(
    comparison: Comparison,
    *,
    standalone: bool = False,
    siunitx: bool = False,
    with_published: bool = False,
    digits: int = 1,
) -> str:
    r"""The paper's layout as a ``table`` environment or as a whole document.

    Args:
        comparison: the table.
        standalone: a whole document; else the notes that would overfill a page are a second float.
        siunitx: numbers in the S columns of siunitx, version 3.
        with_published: the paper's number in grey beside each of ours, not only where we have none.
        digits: decimals of scores; printed numbers keep theirs.
    """
    columns = _Columns(comparison, siunitx, with_published, digits)
    notes = wording.table_notes(
        comparison,
        style="in grey" if with_published else "in grey brackets",
        with_published=with_published,
    )
    return (
        _templates()
        .get_template("table.tex.j2")
        .render(
            comparison=comparison,
            columns=columns,
            warning=wording.warning(comparison),
            under=[note for note in notes if note.title in _UNDER],
            notes=[
                *wording.without_scores(comparison),
                *(note for note in notes if note.title not in _UNDER),
            ],
            standalone=standalone,
        )
    )


@dataclass(frozen=True)
class _Columns:
    """How a column of the table becomes several of LaTeX's, and its cells their entries."""

    comparison: Comparison
    siunitx: bool
    with_published: bool
    digits: int

    @property
    def of_number(self) -> int:
        return 1 if self.siunitx else 2

    @property
    def of_ours(self) -> int:
        return self.of_number + 1

    @property
    def each(self) -> int:
        """LaTeX's columns for one of the table's."""
        return self.of_ours + (self.of_number if self.with_published else 0)

    @property
    def all(self) -> int:
        """LaTeX's columns of the whole table."""
        return 1 + self.each * len(self.comparison.columns)

    def specification(self) -> Raw:
        """Of one column of the table."""
        number, grey = r"r@{\,}l", ""
        if self.siunitx:
            form = self._table_format()
            number, grey = f"S[{form}]", f"S[{form}, color=gray]"
        return Raw(rf"{number}@{{\;}}l" + ((grey or number) if self.with_published else ""))

    def rules(self) -> Raw:
        """A short rule under each heading."""
        starts = range(2, self.all, self.each)
        return Raw(" ".join(rf"\cmidrule(lr){{{start}-{start + self.each - 1}}}" for start in starts))

    def cell(self, cell: ComparedCell) -> Raw:
        """Our number with its mark, and the paper's."""
        return Raw(" & ".join([self._ours(cell), *([self._theirs(cell)] if self.with_published else [])]))

    def intervals(self, row: ComparedRow) -> Raw:
        """A line of intervals for below a row of sums, or nothing: beside their sums they are too wide."""
        entries: list[str] = []
        for cell in row.cells:
            ours = wording.ends(cell, self.digits)
            theirs = _grey(wording.published_ends(cell))
            if self.with_published:
                entries += _spanning(self.of_ours, _small(ours)), _spanning(self.of_number, _small(theirs))
            else:
                entries.append(_spanning(self.of_ours, _small(theirs if cell.mean is None else ours)))
        known = any(wording.ends(cell) or wording.published_ends(cell) for cell in row.cells)
        return Raw(" & ".join(["", *entries]).replace("-", "$-$") if known else "")

    def _ours(self, cell: ComparedCell) -> str:
        mark = rf"{{\tiny {text}}}" if (text := escaping.latex(wording.mark(cell))) else ""
        if cell.mean is not None:
            before = (cell.before.mean, cell.before.std) if cell.before else (None, None)
            digits = self.digits, self.digits
            number = self._number(cell.mean, cell.std, before, digits, bold=cell.leading)
            return f"{number} & {mark}".rstrip()
        # why a dataset's cell has no number is said in the notes: here it would widen the column
        said = {other.unavailable for other in self.comparison.cells}
        parts = ["" if cell.unavailable in said else escaping.latex(cell.unavailable or ""), mark]
        if cell.published and not self.with_published:
            shown = escaping.latex(f"[{wording.published(cell, with_ends=False)}]")
            parts.append(_grey(shown.replace("-", "$-$")))
        return _spanning(self.of_ours, " ".join(part for part in parts if part) or _grey("--"))

    def _theirs(self, cell: ComparedCell) -> str:
        if cell.published is None:
            return _spanning(self.of_number, _grey("--"))
        printed = cell.published
        before = (printed.before_mean, printed.before_std)
        number = self._number(printed.mean, printed.std, before, self._printed_digits(printed))
        return number if self.siunitx else " & ".join(map(_grey, number.split(" & ")))

    def _number(
        self,
        mean: float,
        std: float | None,
        before: tuple[float | None, float | None],
        digits: tuple[int, int],
        *,
        bold: bool = False,
    ) -> str:
        """The entries of a number: mean and deviation, or both in one for siunitx.

        What it was before stands before it; siunitx aligns only numbers without this.
        """
        parts = zip((mean, std), digits, strict=True)
        shown = [wording.number(part, digits=each) for part, each in parts if part is not None]
        if self.siunitx and before[0] is None:
            return (r"\bfseries " if bold else "") + " +- ".join(shown)
        strong = [rf"\textbf{{{part}}}" if bold else part for part in shown]
        number, spread = strong[0], rf"$\pm$\,{strong[1]}" if std is not None else ""
        if before[0] is not None:
            was = escaping.latex(wording.mean_std(*before, *digits))
            number = rf"{was} $\to$ {number}"
        entries = [entry.replace("-", "$-$") for entry in (number, spread)]
        return f"{{{' '.join(filter(None, entries))}}}" if self.siunitx else " & ".join(entries)

    def _table_format(self) -> str:
        """Room for the widest numbers of the table."""
        cells = (*self.comparison.cells, *self.comparison.summaries)
        numbers = [(cell.mean, cell.std, self.digits) for cell in cells if cell.mean is not None]
        if self.with_published:
            printed = [cell.published for cell in cells if cell.published]
            numbers += [(each.mean, each.std, max(self._printed_digits(each))) for each in printed]
        means = [wording.number(mean, digits=digits) for mean, _, digits in numbers]
        stds = [wording.number(std, digits=digits) for _, std, digits in numbers if std is not None]
        sign = "-" if any(mean.startswith("-") for mean in means) else ""
        whole = max((len(mean.lstrip("-").partition(".")[0]) for mean in means), default=1)
        decimals = max((digits for *_, digits in numbers), default=self.digits)
        # siunitx counts the deviation's digits in units of the last place of the whole column
        spread = max((len(std.partition(".")[0]) + decimals for std in stds), default=0)
        return f"table-format={sign}{whole}.{decimals}" + (f"({spread})" if spread else "")

    def _printed_digits(self, printed: PublishedCell) -> tuple[int, int]:
        """Decimals of a printed mean and of its deviation, which siunitx wants alike."""
        of_std = printed.decimals if printed.std is None else printed.std_decimals
        return (max(printed.decimals, of_std),) * 2 if self.siunitx else (printed.decimals, of_std)


def _small(text: str) -> str:
    return rf"{{\scriptsize {text}}}" if text else ""


def _grey(text: str) -> str:
    return rf"\textcolor{{gray}}{{{text}}}" if text else ""


def _spanning(columns: int, text: str) -> str:
    return rf"\multicolumn{{{columns}}}{{c}}{{{text}}}"


def _label(text: str) -> Raw:
    r"""For ``\label``, which takes no escapes: anything but letters, digits, ``.``, ``+`` and ``-`` goes."""
    return Raw("".join(c if c.isascii() and (c.isalnum() or c in ".+-") else "-" for c in text))


@cache
def _templates() -> jinja2.Environment:
    # braces belong to LaTeX
    templates = environment(escaping.latex, block=("<%", "%>"), variable=("<<", ">>"))
    templates.filters["label"] = _label
    return templates
