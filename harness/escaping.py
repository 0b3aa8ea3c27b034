"""Text made harmless for the format it goes into. Nothing reaches a report without one of these."""

from __future__ import annotations

import re
import unicodedata

from harness.errors import masked


class Raw(str):
    """Text that is in its format's own syntax already, built from escaped parts."""

    __slots__ = ()


# Brackets too: LaTeX takes a '[' that follows '\\' for an argument. Hyphens in a row would become dashes.
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "\N{PLUS-MINUS SIGN}": r"\ensuremath{\pm}",
    "\N{DAGGER}": r"\textdagger{}",
    "\N{EN DASH}": r"\textendash{}",
    "\N{MINUS SIGN}": "$-$",
    "\N{LESS-THAN OR EQUAL TO}": r"\ensuremath{\leq}",
    "\N{GREATER-THAN OR EQUAL TO}": r"\ensuremath{\geq}",
    "\N{ALMOST EQUAL TO}": r"\ensuremath{\approx}",
    "\N{RIGHTWARDS ARROW}": r"\ensuremath{\to}",
} | {
    unicodedata.lookup(f"GREEK {size} LETTER {name}"): rf"\ensuremath{{\{command}}}"
    for size, commands in (
        (
            "SMALL",
            "alpha beta gamma delta varepsilon eta theta kappa lambda mu pi rho sigma tau varphi omega",
        ),
        ("CAPITAL", "Gamma Delta Theta Pi Sigma Omega"),
    )
    for command in commands.split()
    for name in [command.removeprefix("var").upper().replace("LAMBDA", "LAMDA")]  # as Unicode spells it
}
# letters that LaTeX's fonts have: western and central Europe's, and typographers' marks
_LATEX_KNOWN = re.compile(
    "[\x20-\x7e\xa0-\u0125\u0128-\u0137\u0139-\u013e\u0141-\u0148\u014a-\u0165\u0168-\u017e"
    "\u2014\u2018-\u201e\u2022\u2026]"
)
_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {mark: f"\\{mark}" for mark in r"\`*_[]|~#$"}

# a number stays a number for a spreadsheet, whatever its sign
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

# control characters but tab and line feed, marks that change the direction of text, and what has no width
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def _one_line(text: str) -> str:
    """Passwords masked, and each run of line breaks and other control characters become a space."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", masked(text))


def latex(text: str) -> str:
    """For LaTeX text, outside mathematics; a character that its fonts lack becomes ``U+4E2D`` or the like."""
    return re.sub(
        "-(?=-)|[^-]",
        lambda match: "-{}" if match[0] == "-" else _LATEX.get(match[0]) or _latex_known(match[0]),
        _one_line(text),
    )


def _latex_known(character: str) -> str:
    return character if _LATEX_KNOWN.fullmatch(character) else f"U+{ord(character):04X}"


def markdown(text: str) -> str:
    """For a cell or a line of GitHub-flavoured Markdown; what turns text around as for a terminal."""
    return "".join(_MARKDOWN.get(character, character) for character in terminal(_one_line(text)))


def csv(text: str) -> str:
    """As for a terminal, and what a spreadsheet would take for a formula gets an apostrophe in front."""
    text = terminal(text)
    if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def terminal(text: str) -> str:
    r"""For a terminal: what it would obey, turns around or does not show, becomes ``\u001b`` and the like.

    Line breaks and tabs stay. The escapes are JSON's own, so JSON stays the same JSON. Passwords are masked.
    """
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", masked(text))


def script(json: str) -> str:
    """For JSON whose texts a page's script shows: what turns these around is named as for a terminal."""
    return _OBEYED.sub(lambda match: f"\\\\u{ord(match[0]):04x}", json)
