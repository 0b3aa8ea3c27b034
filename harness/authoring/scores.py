"""What the text of a cell says: a mean with its deviation, interval, change, or what it was before."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

#: What a comma within numbers is; unknown where the table's numbers do not tell.
Comma = Literal["point", "thousands", "unknown"]
_COMMAS: tuple[Comma, ...] = ("point", "thousands")

_NUMBER = r"[-–]?(?:\d[\d,\u2009\u202f]*(?:\.\d+)?|\.\d+)"
_UNSIGNED = r"(?:\d[\d,\u2009\u202f]*(?:\.\d+)?|\.\d+)"
# what a mark beside a number may be: it is never part of it; letters stand alone, for 1^{st} is a rank
_SIGN = "[*†‡§¶⋆★♯#•◦✓]"
_MARKS = rf"(?:\s*(?:{_SIGN}|\^\{{(?:{_SIGN}|\b[a-z]\b|[,\s])+\}}|_\{{[a-z†*]\}}|[ᵃ-ᵻ]))*"
_MEAN = rf"(?P<mean>{_NUMBER})\s?(?P<unit>%)?{_MARKS}"
_STD = rf"(?P<std>{_UNSIGNED})\s?(?P<std_unit>%)?"
_PLUS = rf"\s*\(?\s*±\s*[(_{{]*\s*{_STD}\s*[)}}]*"
_BRACKETS = rf"\s*\(\s*{_STD}\s*\)"
_BELOW = rf"\s*_\{{\s*\(?\s*{_STD}\s*\)?\s*\}}"
_INTERVAL = rf"\s*[\[(]\s*(?P<low>{_NUMBER})\s*%?\s*(?:[,;]|\bto\b|–|—)\s*(?P<high>{_NUMBER})\s*%?\s*[\])]"
_ARROW = r"[↑↓▲▼]"
_CHANGE = (
    # apart from the mean: 79-83% is a range
    rf"(?:\s+|\s*[(\[]\s*|(?={_ARROW}))(?P<arrow>{_ARROW})?\s*(?P<change>[-+–]?\d+(?:\.\d+)?)\s*%\s*"
    rf"(?P<arrow_after>{_ARROW})?\s*[)\]]?"
)
_GAIN = rf"\s*(?P<beside>\(\s*(?:[-+–]|{_ARROW})\s*\d+(?:\.\d+)?\s*\)|{_ARROW}\s*\d+(?:\.\d+)?)"
_DEVIATIONS = (_PLUS, _BRACKETS, _BELOW, "")
_BESIDE = ("", *(rest + _MARKS for rest in (_INTERVAL, _CHANGE, _GAIN)))
# what this program prints beside a number of its own: the verdict, and the paper's number in brackets
_OWN = re.compile(
    r"(?:.*\s)?(?:OK\*?|UNDECIDED|BETTER|WORSE|MISSING|N/C|PRINTED|\d+ of \d+)"
    r"(?:\s[^\[]*?)?(?:\[(?P<in>[^\]]*)\]|\bpaper (?P<said>.*))"
)
_GROUPED = r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?"  # by commas; 0,234 is not
_LARGE = 30  # of a deviation in brackets: beyond it, and three quarters of the mean, it may be another score
_LONGEST = 200  # characters of a cell of numbers
_MISSING = {
    "",
    "-",
    "–",
    "—",
    "--",
    "---",
    "n/a",
    "na",
    "nan",
    "n.a.",
    "/",
    "\\",
    "x",
    "×",
    "✗",
    "tbd",
    "?",
    "…",
    "...",
}
_WORDS = {"oom", "oot", "fail", "failed", "diverged", "timeout", "n/r", "not reported", "out of memory"}


@dataclass(frozen=True)
class Score:
    """A cell's numbers, in digits as printed, with a point before the decimals; empty where none is printed.

    Attributes:
        mean: empty where the paper printed none.
        std: its standard deviation.
        low: the lower end of its interval.
        high: the upper one.
        before_mean: what online runs had before.
        before_std: its standard deviation.
        change: per cent printed beside it.
        note: what else is printed.
        how: how its deviation is written where that could mean something else.
    """

    mean: str = ""
    std: str = ""
    low: str = ""
    high: str = ""
    before_mean: str = ""
    before_std: str = ""
    change: str = ""
    note: str = ""
    how: str = ""


def commas(texts: Iterable[str]) -> Comma:
    """What commas are in a table, from all its cells."""
    points = grouped = decimal = False
    for text in texts:
        if not any(score(text, comma) for comma in _COMMAS):
            continue  # a label
        text = re.sub(r"\[[^\]]*,[^\]]*\]|\([^)]*,\s[^)]*\)", "", text)
        for number in re.findall(r"[0-9][0-9,]*(?:\.[0-9]+)?", text):
            if "," not in number:
                points |= "." in number
            elif not re.fullmatch(_GROUPED, number):
                decimal = True
            else:
                grouped |= "." in number
    if decimal:
        return "unknown" if points or grouped else "point"
    return "thousands" if points or grouped else "unknown"


def score(text: str, comma: Comma) -> Score | None:
    """What a cell says; None where it is not certain.

    Args:
        text: of the cell, see `harness.authoring.grid.Cell`.
        comma: what commas are in this table.
    """
    if len(text) > _LONGEST:
        return None
    text = _plain(text)
    if text.lower() in _MISSING:
        return Score()
    if text.lower() in _WORDS:
        return Score(note=f"printed: {text}")
    if own := _OWN.fullmatch(text):
        return score(own["in"] or own["said"] or "", comma)
    if inside := re.fullmatch(r"[\[(]([^\[\]()]*±[^\[\]()]*)[\])]", text):
        text = inside[1].strip()
    before, arrow, after = text.partition("→")
    if arrow:
        first, last = _alone(before.strip(), comma), _alone(after.strip(), comma)
        if first is None or last is None or first.low or first.change or first.note:
            return None
        return replace(last, before_mean=first.mean, before_std=first.std)
    return _alone(text, comma)


def _plain(text: str) -> str:
    """The text with one way of writing for each sign."""
    for signs, plain in (
        ("−‐‑‒﹣－", "-"),  # noqa: RUF001 - the minus and the hyphens that papers use
        ("\u00a0\u2002\u2003\u2005", " "),
        ("\u200b\u2060\ufeff\u00ad", ""),
        ("⟶➔➜⇒⟹", "→"),
        ("\u2217", "*"),
    ):
        text = re.sub(f"[{signs}]", plain, text)
    # thin spaces matter between digits alone
    text = re.sub(r"(?<![0-9])[\u2009\u202f]|[\u2009\u202f](?![0-9])", " ", text)
    text = re.sub(r"\+\s?/\s?-|\+-", "±", text)
    text = re.sub(r"-+>|=>", "→", text)
    # a digit above a number that has decimals is a footnote's, and no power; ^{1}2 is neither
    return re.sub(r"(\.\d+)\^\{[1-9]\}(?!\d)", r"\1", text).strip()


def _alone(text: str, comma: Comma) -> Score | None:
    """What a cell without an arrow between two numbers says."""
    if text.startswith("#"):
        return None  # a rank
    for rest, form in product(_BESIDE, _DEVIATIONS):
        match = re.fullmatch(f"{_MARKS}{_MEAN}{form}{_MARKS}{rest}", text, re.ASCII)
        if match and (found := _score(match.groupdict(), form, comma)):
            return found
    return None


def _score(said: dict[str, str | None], form: str, comma: Comma) -> Score | None:
    numbers = {name: said.get(name) for name in ("mean", "std", "low", "high")}
    read = {name: number(text, comma) for name, text in numbers.items() if text is not None}
    if any(not text for text in read.values()):
        return None
    mean, std = read["mean"] or "", read.get("std") or ""
    low, high = read.get("low") or "", read.get("high") or ""
    if low and not float(low) <= float(mean) <= float(high):
        return None
    how = {_BRACKETS: "in brackets", _BELOW: "below the line"}.get(form, "")
    if how and "." in mean and "." not in std:
        return None  # a rank or a count as well as a deviation
    if how and float(std) > max(_LARGE, 0.75 * abs(float(mean))):
        return None  # another score as well as a deviation
    if said.get("std_unit") and not said.get("unit"):
        return None  # a change as well as a deviation
    change = said.get("change") or ""
    if change:
        arrow = said.get("arrow") or said.get("arrow_after")
        if said.get("unit") or bool(arrow) == (change[0] in "-+–"):
            return None  # it may be no change, or has a sign beside an arrow
        sign = {"↑": "+", "▲": "+", "↓": "-", "▼": "-"}.get(arrow or "", "")
        change = sign + change.replace("–", "-")
    beside = said.get("beside")
    return Score(
        mean, std, low, high, change=change, how=how, note=f"printed beside it: {beside}" if beside else ""
    )


def number(text: str, comma: Comma) -> str:
    """A number with a point before its decimals and nothing else but digits and a minus; empty if unsure."""
    sign = "-" if text[0] in "-–" else ""
    text = text.lstrip("-–+")
    if re.search(r"[\u2009\u202f]", text):
        if not re.fullmatch(r"[0-9]{1,3}(?:[\u2009\u202f]\d{3})+(?:\.\d+)?", text):
            return ""
        text = re.sub(r"[\u2009\u202f]", "", text)
    if "," in text:
        if comma == "thousands" and re.fullmatch(_GROUPED, text):
            text = text.replace(",", "")
        elif comma == "point" and re.fullmatch(r"\d+,\d{1,2}|0,\d+|\d+,\d{4,}", text):  # 1,234 may be either
            text = text.replace(",", ".")
        else:
            return ""
    return f"{sign}0{text}" if text.startswith(".") else f"{sign}{text}"
