"""The numbers that papers printed, read from CSV files.

Columns ``row,column,mean,std,source,note`` and, where a cell differs from its table's defaults, ``n`` and
``ddof``; ``change`` where the paper prints a change in per cent beside its numbers; ``low`` and ``high``
where it prints an interval; ``before_mean`` and ``before_std`` where it prints what online runs began with.
What ``harness sources check`` found is written down with a cell: ``check``, its outcome; of one that follows
from public scores ``sample``, their source, and ``rounding``. A cell that the paper leaves empty is listed
with an empty mean.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Literal

from harness.errors import SpecError
from harness.specs.csv_file import Record, read_records
from harness.specs.text import Place

Ddof = Literal[0, 1]
Source = Literal["own", "copied", "unknown"]
Rounding = Literal["rounded", "cut off"]
Key = tuple[str, str]

SOURCES: Mapping[Source, str] = {
    "own": "measured by the paper's authors",
    "copied": "copied from another paper",
    "unknown": "measured or copied, which the paper does not say",
}


class Check(StrEnum):
    """Whether a printed cell follows from public scores; apart from the verdicts on reproductions."""

    DERIVED = "DERIVED"
    MEAN = "MEAN ONLY"
    OTHER = "OTHER CELL"
    DIFFERENT = "DIFFERENT"
    NO_SOURCE = "NO SOURCE"
    INCOMPARABLE = "N/C"


CHECKS: Mapping[Check, str] = {
    Check.DERIVED: "mean and deviation follow digit by digit from a source's scores, by the column's rule",
    Check.MEAN: "the mean follows, the deviation does not, or only by another rounding",
    Check.OTHER: "the cell is another algorithm's or dataset's",
    Check.DIFFERENT: "no rule gives it; the nearest is named",
    Check.NO_SOURCE: "no source at hand has it, or what fits is no more than luck",
    Check.INCOMPARABLE: "what sources have is of another D4RL version, or other data altogether",
}

_REQUIRED = ("row", "column", "mean", "std", "source", "note")
_OPTIONAL = (
    "n",
    "ddof",
    "rounding",
    "change",
    "low",
    "high",
    "before_mean",
    "before_std",
    "sample",
    "check",
)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_CHANGE = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


@dataclass(frozen=True)
class PublishedCell:
    """One printed number.

    Attributes:
        row: A dataset id, a group id (the average of that group) or ``total``.
        column: A column id of the table.
        mean: As printed, in the table's unit (D4RL's normalised score times 100).
        std: As printed; None where none is, as with averages.
        n: Seeds behind it.
        ddof: How its standard deviation was taken: over n (0) or n - 1 (1).
        source: See ``SOURCES``.
        note: What a reader should know; may be empty.
        change: Per cent printed beside the number, as printed; empty where none is.
        low: Lower end of the interval printed with the number; None where none is.
        high: Its upper end.
        before_mean: What online runs scored before their first interaction; None where none is printed.
        before_std: Its standard deviation; None where none is printed.
        sample: Source of the scores behind the number; empty where it is not known.
        check: Outcome of the check against public scores, see ``CHECKS``; None where none was made.
        rounding: What was done to the digits that are not printed; None where it is not known.
        decimals: Digits that the mean is printed with after the point.
        std_decimals: The same of the standard deviation.
        end_decimals: The same of the interval's ends, lower and upper.
        before_decimals: The same of `before_mean` and `before_std`.
    """

    row: str
    column: str
    mean: float
    std: float | None
    n: int
    ddof: Ddof
    source: Source
    note: str
    change: str = ""
    low: float | None = None
    high: float | None = None
    before_mean: float | None = None
    before_std: float | None = None
    sample: str = ""
    check: Check | None = None
    rounding: Rounding | None = None
    decimals: int = field(default=1, compare=False)
    std_decimals: int = field(default=1, compare=False)
    end_decimals: tuple[int, int] = field(default=(1, 1), compare=False)
    before_decimals: tuple[int, int] = field(default=(1, 1), compare=False)


@dataclass(frozen=True)
class LoneChange:
    """A change in per cent where no number is printed, or none that could be read; ``change`` as printed."""

    change: str


def read_listing(
    path: Path,
    default_n: int,
    default_ddof: Ddof,
    *,
    rows: Collection[str] | None = None,
    columns: Collection[str] | None = None,
    referrer: Place | None = None,
) -> dict[Key, PublishedCell | LoneChange | None]:
    """Every cell that a CSV file lists, None where it says that the paper printed nothing.

    Args:
        path: The file, in UTF-8.
        default_n: Seeds where a cell does not say.
        default_ddof: The standard deviations' ddof where a cell does not say.
        rows: The rows that may appear; None for any.
        columns: The columns that may appear; None for any.
        referrer: Where another file names this one.

    Raises:
        SpecError: ``path:line: ...``, one line for each thing that is wrong.
    """
    problems: list[str] = []
    cells: dict[Key, PublishedCell | LoneChange | None] = {}
    first: dict[Key, int] = {}
    for record in read_records(path, _REQUIRED, _OPTIONAL, referrer=referrer):
        found = _Cell(record, problems)
        key = (found.one_of("row", rows), found.one_of("column", columns))
        if key in first:
            found.wrong(f"cell {', '.join(key)} stands twice, first in line {first[key]}")
        first.setdefault(key, record.line)
        cells[key] = found.published(default_n, default_ddof)
    if problems:
        raise SpecError("\n".join(problems))
    return cells


@dataclass(frozen=True)
class _Cell:
    """One record; what is wrong with it goes to ``problems``."""

    record: Record
    problems: list[str]

    def published(self, default_n: int, default_ddof: Ddof) -> PublishedCell | LoneChange | None:
        text = self.record.fields
        mean, std = self.mean_std("mean", "std")
        before_mean, before_std = self.mean_std("before_mean", "before_std")
        low, high = self.number("low"), self.number("high")
        if (low is None) != (high is None):
            self.wrong("an interval has two ends", "low" if low is None else "high")
        elif low is not None and high is not None and low > high:
            self.wrong(f"the lower end {low:g} is above the upper one, {high:g}", "low")
        n = self.choice("n", lambda n: n.isascii() and n.isdigit() and int(n) > 0, "a whole number above 0")
        ddof = self.choice("ddof", lambda ddof: ddof in ("0", "1"), "0 or 1")
        source = self.choice(
            "source", lambda source: source in SOURCES, "'own', 'copied' or 'unknown'", required=True
        )
        change = self.choice(
            "change", lambda change: bool(_CHANGE.fullmatch(change)), "per cent without the % sign, as 12.8"
        )
        rounding = self.choice(
            "rounding", lambda text: text in ("rounded", "cut off"), "'rounded' or 'cut off'"
        )
        check = self.choice("check", lambda text: text in {*CHECKS}, f"one of {', '.join(CHECKS)}")
        if check == Check.DERIVED and not text.get("sample"):
            self.wrong("a cell that is derived names the source of its scores", "sample")
        if mean is None:
            return LoneChange(change) if change else None
        return PublishedCell(
            row=text["row"],
            column=text["column"],
            mean=mean,
            std=std,
            n=int(n) if n else default_n,
            ddof=(1 if ddof == "1" else 0) if ddof else default_ddof,
            source=next((known for known in SOURCES if known == source), "unknown"),
            note=text["note"],
            change=change or "",
            low=low,
            high=high,
            before_mean=before_mean,
            before_std=before_std,
            sample=text.get("sample", ""),
            check=next((known for known in CHECKS if known == check), None),
            rounding=None if not rounding else "cut off" if rounding == "cut off" else "rounded",
            decimals=self.decimals("mean"),
            std_decimals=self.decimals("std"),
            end_decimals=(self.decimals("low"), self.decimals("high")),
            before_decimals=(self.decimals("before_mean"), self.decimals("before_std")),
        )

    def wrong(self, message: str, column: str = "") -> None:
        self.problems.append(self.record.problem(message, column))

    def mean_std(self, mean: str, std: str) -> tuple[float | None, float | None]:
        """A mean and its standard deviation."""
        found = self.number(mean), self.number(std)
        if found[1] is not None and found[1] < 0:
            self.wrong("a standard deviation is not negative", std)
        if found[1] is not None and not self.record.fields.get(mean, "").strip():
            self.wrong("a standard deviation without a mean", mean)
        return found

    def number(self, name: str) -> float | None:
        text = self.record.fields.get(name, "").strip()
        if not text:
            return None
        if not _NUMBER.fullmatch(text):
            hint = "; write the decimal point as '.'" if _NUMBER.fullmatch(text.replace(",", ".")) else ""
            self.wrong(f"{text!r} is no number{hint}", name)
            return None
        return float(text)

    def decimals(self, name: str) -> int:
        """Digits after the point of a number as printed; 1 where there is none."""
        text = self.record.fields.get(name, "").strip()
        exponent = Decimal(text).as_tuple().exponent if _NUMBER.fullmatch(text) else -1
        return max(0, -exponent) if isinstance(exponent, int) else 0

    def choice(
        self, name: str, allowed: Callable[[str], bool], what: str, required: bool = False
    ) -> str | None:
        text = self.record.fields.get(name, "").strip()
        if not text and not required:
            return None
        if not allowed(text):
            self.wrong(f"should be {what}, got {text!r}", name)
            return None
        return text

    def one_of(self, name: str, known: Collection[str] | None) -> str:
        text = self.record.fields[name]
        if not text:
            self.wrong("is missing", name)
        elif known is not None and text not in known:
            nearest = difflib.get_close_matches(text, known, n=1, cutoff=0.4)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else f"; it has {', '.join(known)}"
            self.wrong(f"the table has no {name} {text!r}{hint}", name)
        return text
