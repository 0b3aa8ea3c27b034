r"""The tables of a LaTeX file, with the macros that the file defines.

Macros are replaced token by token, as TeX does it, so that one may hold a part of a cell, ``&`` or a whole
row. Parsers of LaTeX for Python either leave macros alone or load a package's Python code for them, which a
file of somebody else's must not be able to ask for. A macro that neither the file nor `macros` has stays in
the cell's text as it is written: it is not known what it prints, and so the cell is no number.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harness.authoring.grid import Cell, Grid, apart, grid
from harness.authoring.macros import ACCENTS, ARGUMENTS, BOLD, ENVIRONMENTS, SYMBOLS, UNBOLD
from harness.errors import SpecError
from harness.specs.text import place_at

_TABULAR = r"tabular[*xy]?|xltabular|longtable|supertabular|array|tblr|longtblr|talltblr|NiceTabular[*X]?"
_BEGIN = re.compile(rf"(?<!\\)%[^\n]*|\\begin\s*\{{({_TABULAR})\}}")
_DEFINITION = re.compile(
    r"(?<!\\)%[^\n]*|\\(?P<how>(?:re|provide)?newcommand|providecommand|DeclareRobustCommand|DeclareMathOperator"
    r"|(?:New|Renew|Provide|Declare)DocumentCommand|[gex]?def|let)(?![A-Za-z])\*?"
)
# text between these is not printed
_UNPRINTED = re.compile(
    r"(?<!\\)%[^\n]*|\\begin\{(comment|verbatim|lstlisting)\}.*?(?:\\end\{\1\}|\Z)|\\iffalse\b.*?(?:\\(?:fi|else)\b|\Z)"
    r"|\\end\{document\}.*",
    re.DOTALL,
)
_TOKEN = re.compile(r"(?:%[^\n]*(?:\n[ \t]*)?)+|\\(?:[A-Za-z@]+\s*|.)|\s+|.", re.DOTALL)
_MADE = 1_000_000  # tokens that a table's macros are replaced by; more, and one of them holds itself
_BODY = 4000  # characters of a macro's definition
_TABLES = 500  # of a file
_COLUMNS = 1000  # of a table
_DEPTH = 60  # of groups in a cell


class Token(NamedTuple):
    """A control sequence with its backslash, spaces as one, or a character; and its place in the file."""

    text: str
    at: int


class Macro(NamedTuple):
    """A macro of the file's.

    Attributes:
        arguments: what each optional one is unless given; None for those that must be.
        body: its text.
    """

    arguments: tuple[tuple[Token, ...] | None, ...]
    body: tuple[Token, ...]


def tables(path: Path, text: str, more: Sequence[str] = ()) -> Iterator[Grid]:
    """The tables of a LaTeX file, in its order.

    Args:
        path: the file, for messages.
        text: what it says.
        more: texts of other files whose macros it uses.

    Raises:
        SpecError: a macro holds itself, or groups are nested too deeply.
    """
    text = _UNPRINTED.sub(_blank, text)
    macros: dict[str, Macro] = {}
    for other in more:
        macros |= _definitions(path, other, 0, len(other))
    end = known = number = 0
    lines = [i for i, c in enumerate(text) if c == "\n"]
    for found in _BEGIN.finditer(text):
        if found[1] is None or found.start() < end:
            continue
        number += 1
        if number > _TABLES:
            raise SpecError(f"{place_at(path, text, found.start())}: more than {_TABLES} tables in one file")
        macros = macros | _definitions(path, text, known, found.start())
        known = found.start()
        mouth = _Mouth(path, text, macros, found.end())
        reading = _Tabular(mouth, found[1], lines)
        rows = reading.rows()
        end = mouth.at
        line = bisect_right(lines, found.start()) + 1
        table = grid(rows, line, _caption(path, text, found.start(), end, mouth.macros), placeholders=True)
        if table:
            yield table


def _blank(match: re.Match[str]) -> str:
    """Spaces in the place of what is not printed, so that all else stays where it is; comments are kept."""
    return match[0] if match[0][0] == "%" else re.sub(r"[^\n]", " ", match[0])


@dataclass
class _Mouth:
    """Tokens of a text, one after the other; macros are replaced where they are asked for as `expanded`."""

    path: Path
    text: str
    macros: Mapping[str, Macro] = field(default_factory=dict)
    at: int = 0
    end: int | None = None
    pushed: list[Token] = field(default_factory=list)
    made: int = 0

    def over(self, tokens: Sequence[Token]) -> _Mouth:
        """One of these tokens alone."""
        end = len(self.text)
        return _Mouth(self.path, self.text, self.macros, end, end, list(reversed(tokens)))

    def raw(self) -> Token | None:
        """The next token as it is written; None at the end."""
        if self.pushed:
            return self.pushed.pop()
        while self.at < (len(self.text) if self.end is None else self.end):
            start = self.at
            match = _TOKEN.match(self.text, start)
            assert match  # noqa: S101 - the last alternative matches any character
            self.at = match.end()
            if match[0][0] == "%":
                continue
            return Token(
                " " if match[0].isspace() else match[0].rstrip() if len(match[0]) > 2 else match[0], start
            )
        return None

    def expanded(self) -> Token | None:
        """The next token that is no macro of the file's."""
        while token := self.raw():
            macro = self.macros.get(token.text)
            if macro is None:
                return token
            if self.made > _MADE:
                raise SpecError(
                    f"{place_at(self.path, self.text, token.at)}: the macro {token.text} holds itself, or is "
                    "replaced without end; write its text in its place"
                )
            given = [
                self.argument() if default is None else self.optional("[", "]", default)
                for default in macro.arguments
            ]
            self.push(_filled(macro.body, given, token.at))
        return None

    def push(self, tokens: Sequence[Token]) -> None:
        """Tokens that come next, in a macro's place."""
        self.made += len(tokens) + 1
        self.pushed.extend(reversed(tokens))

    def skip(self, text: str) -> bool:
        """Whether this token is next, spaces aside; it is taken then."""
        token = self._past_spaces()
        if token and token.text == text:
            return True
        if token:
            self.pushed.append(token)
        return False

    def argument(self) -> tuple[Token, ...]:
        """An argument: what is in the braces, or one token."""
        token = self._past_spaces()
        if token is None or token.text == "}":
            self.pushed += [token] if token else []
            return ()
        return self.until("}") if token.text == "{" else (token,)

    def optional(self, opens: str, closes: str, default: tuple[Token, ...] = ()) -> tuple[Token, ...]:
        """An argument in brackets, or what it is unless given."""
        return self.until(closes) if self.skip(opens) else default

    def until(self, closes: str) -> tuple[Token, ...]:
        """The tokens as far as this one, which stands outside of all braces."""
        found: list[Token] = []
        depth = 0
        while token := self.raw():
            if depth == 0 and token.text == closes:
                break
            depth += (token.text == "{") - (token.text == "}")
            found.append(token)
        return tuple(found)

    def signature(self, arguments: str) -> list[tuple[str, tuple[Token, ...]]]:
        """What a macro of `ARGUMENTS` is given: kind and text of each argument."""
        given: list[tuple[str, tuple[Token, ...]]] = []
        for kind in arguments:
            if kind == "s":
                self.skip("*")
            elif kind in "op":
                self.optional("[" if kind == "o" else "(", "]" if kind == "o" else ")")
            else:
                given.append((kind, self.argument()))
        return given

    def rest(self) -> list[Token]:
        """All tokens that are left, as they are written."""
        return [token for token in iter(self.raw, None) if token is not None]

    def name(self) -> str:
        """The name of an environment that begins or ends."""
        return "".join(token.text for token in self.argument())

    def _past_spaces(self) -> Token | None:
        while (token := self.raw()) and token.text == " ":
            pass
        return token


def _filled(body: Sequence[Token], given: Sequence[Sequence[Token]], at: int) -> list[Token]:
    """A macro's text with its arguments; what is its own is where the macro is used."""
    filled: list[Token] = []
    after = False
    for token in body:
        if after and token.text.isdigit() and 0 < int(token.text) <= len(given):
            filled[-1:] = given[int(token.text) - 1]
        else:
            filled.append(Token(token.text, at))
        after = token.text == "#" and not after
    return filled


def _definitions(path: Path, text: str, start: int, end: int) -> dict[str, Macro]:
    """The macros that a text defines between two places; of those with one name the last."""
    found: dict[str, Macro] = {}
    mouth = _Mouth(path, text, at=start)
    while match := _DEFINITION.search(text, mouth.at, end):
        how = match["how"]
        mouth = _Mouth(path, text, at=match.end(), end=min(end, match.end() + _BODY))
        if how is None:
            continue
        name = "".join(token.text for token in mouth.argument()).strip()
        if not name.startswith("\\"):
            continue
        arguments: tuple[tuple[Token, ...] | None, ...] = ()
        if how == "let":
            mouth.skip("=")
            token = mouth.raw()
            found[name] = Macro((), (token,)) if token and token.text != name else Macro((), ())
            continue
        if how.endswith("def"):
            between = _parameters(mouth)
            if between is None:  # text between its arguments: what it takes is not known
                found.pop(name, None)
                continue
            arguments = (None,) * between
        elif how.endswith("DocumentCommand"):
            wanted = _document_command(mouth.argument())
            if wanted is None:
                found.pop(name, None)
                continue
            arguments = wanted
        elif how != "DeclareMathOperator":
            number = "".join(token.text for token in mouth.optional("[", "]"))
            arguments = (None,) * (int(number) if number.isdigit() and len(number) == 1 else 0)
            if arguments and mouth.skip("["):
                arguments = (mouth.until("]"), *arguments[1:])
        found[name] = Macro(arguments, mouth.argument())
    return found


def _parameters(mouth: _Mouth) -> int | None:
    r"""How many arguments ``\def`` gives a macro; None if there is text between them."""
    number = 0
    while (token := mouth.raw()) and token.text != "{":
        if token.text == "#":
            number += 1
        elif token.text not in (str(number), " "):
            return None
    mouth.pushed += [token] if token else []
    return number


def _document_command(specification: Sequence[Token]) -> tuple[tuple[Token, ...] | None, ...] | None:
    """Arguments as ``m``, ``o`` and ``O{…}`` say them; None where there are others."""
    mouth = _Mouth(Path(), "").over(specification)
    found: list[tuple[Token, ...] | None] = []
    while token := mouth.raw():
        if token.text == "O":
            found.append(mouth.argument())
        elif token.text in ("m", "o"):
            found.append(None if token.text == "m" else ())
        elif token.text != " ":
            return None
    return tuple(found)


def _caption(path: Path, text: str, start: int, end: int, macros: Mapping[str, Macro]) -> str:
    """The caption of the float that a table stands in."""
    opens, closes = text.rfind("\\begin{table", 0, start), text.find("\\end{table", end)
    if opens < 0 or text.find("\\end{table", opens, start) >= 0 or closes < 0:
        return ""
    for found in re.finditer(r"\\caption(?:of\s*\{table\})?\*?(?![A-Za-z])", text[opens:closes]):
        mouth = _Mouth(path, text, macros, opens + found.end(), closes)
        mouth.optional("[", "]")
        return _rendered(mouth, mouth.argument())[0]
    return ""


@dataclass(frozen=True)
class _Column:
    """A column of a table.

    Attributes:
        kind: its letter.
        before: what is printed before each of its cells.
        point: of ``D`` columns, what stands for the point, and what is printed instead.
    """

    kind: str
    before: str = ""
    point: tuple[str, str] = ("", "")


@dataclass
class _Tabular:
    r"""A table, from behind its ``\begin``."""

    mouth: _Mouth
    name: str
    lines: Sequence[int]

    def rows(self) -> list[list[Cell]]:
        """Its cells; afterwards the mouth is behind its end."""
        mouth = self.mouth
        if self.name in ("tabular*", "tabularx", "tabulary", "xltabular", "NiceTabular*", "NiceTabularX"):
            mouth.argument()  # its width
        mouth.optional("[", "]")
        columns = _columns(mouth, mouth.argument())
        rows: list[list[Cell]] = [[]]
        tokens: list[Token] = []
        start = mouth.at
        braces = inner = 0
        while token := mouth.expanded():
            text = token.text
            braces = max(0, braces + (text == "{") - (text == "}"))
            if text in ("\\begin", "\\end"):
                name = mouth.name()
                inner += 1 if text == "\\begin" else -1
                if inner < 0:
                    break
                tokens += [token, *(Token(c, token.at) for c in ("{", *name, "}"))]
            elif braces or inner or text not in ("&", "\\\\", "\\tabularnewline", "\\cr"):
                tokens.append(token)
            else:
                self._add(rows[-1], tokens, columns, start)
                tokens, start = [], token.at
                if text != "&":
                    mouth.skip("*")
                    mouth.optional("[", "]")
                    rows.append([])
        if tokens or rows[-1]:
            self._add(rows[-1], tokens, columns, start)
        return rows

    def _add(self, row: list[Cell], tokens: list[Token], columns: Sequence[_Column], start: int) -> None:
        at = next((token.at for token in tokens if token.text != " "), start)
        cell = self._cell(tokens, columns[row_end(row)] if row_end(row) < len(columns) else _Column("c"))
        cell = Cell(cell.text, bisect_right(self.lines, at) + 1, cell.bold, cell.across, cell.down)
        if cell.text.startswith(("±", ". ")) and row and re.search(r"\d\W*$", row[-1].text):
            last = row.pop()
            joined = f"{last.text} {cell.text}".replace(" . ", ".")  # of columns such as r@{.}l
            cell = Cell(joined, last.line, last.bold, last.across + cell.across, last.down)
        row.append(cell)

    def _cell(self, tokens: Sequence[Token], column: _Column) -> Cell:
        """A cell; what spans others is found in it, in whichever order."""
        across, down, own = 1, 1, True
        while True:
            mouth = self.mouth.over(tokens)
            before: list[Token] = []
            while (token := mouth.raw()) and token.text not in ("\\multicolumn", "\\multirow"):
                before.append(token)
            if token is None:
                break
            given = mouth.signature(ARGUMENTS[token.text[1:]])
            number = re.sub(r"\s", "", "".join(each.text for each in given[0][1]))
            spanned = int(number) if re.fullmatch(r"-?\d{1,2}", number) else 1
            if token.text == "\\multicolumn":
                across, own = max(1, spanned), False
            else:
                down = spanned or 1
            tokens = [*before, Token("{", token.at), *given[-1][1], Token("}", token.at)]
            tokens += mouth.rest()
        text, bold = _rendered(self.mouth, tokens)
        if own and text:
            text = _in_column(text, column, in_braces=self.mouth.over(tokens).skip("{"))
        return Cell(text, 1, bold, across, down)


def row_end(row: Sequence[Cell]) -> int:
    """How many columns the cells of a row take."""
    return sum(cell.across for cell in row)


def _in_column(text: str, column: _Column, *, in_braces: bool) -> str:
    """A cell's text as its column prints it; what stands in braces is no number to siunitx."""
    if column.point[0]:
        text = text.replace(*column.point)
    if column.kind == "S" and not in_braces:
        text = uncertain(text)
    return f"{column.before} {text}" if column.before and not text.startswith(column.before) else text


def uncertain(text: str) -> str:
    r"""A number of siunitx: ``81.7(208)`` and ``81.7 +- 20.8`` both are 81.7 ± 20.8.

    A comma is a point to it unless the file sets it up otherwise, so that ``1,234`` stays ``\num{1,234}``.
    """
    if re.search(r"\d,\d{3}(?!\d)", text):
        return f"\\num{{{text}}}"
    text = text.replace("+-", "±")
    match = re.fullmatch(r"(.*?)(-?\d+)(?:\.(\d*))?\s?\((\d+(?:\.\d+)?)\)(.*)", text)
    if not match:
        return text
    before, whole, decimals, digits, after = match.groups()
    if decimals and "." not in digits:  # they count units of the last place
        digits = digits.rjust(len(decimals) + 1, "0")
        digits = f"{digits[: -len(decimals)]}.{digits[-len(decimals) :]}"
    return f"{before}{whole}{f'.{decimals}' if decimals else ''} ± {digits}{after}"


def _columns(mouth: _Mouth, specification: Sequence[Token], depth: int = 0) -> list[_Column]:
    """The columns that a table's preamble declares, as far as they matter for what is printed."""
    inner = mouth.over(specification)
    columns: list[_Column] = []
    before = ""
    while (token := inner.expanded()) and len(columns) < _COLUMNS:
        letter = token.text
        if letter in ("@", "!"):
            shown = _rendered(mouth, inner.argument())[0].strip()
            before = shown if shown[:1] in ("±", "(", ".", "→", "/") else ""
        elif letter in (">", "<"):
            inner.argument()
        elif letter == "*" and depth < 5:
            times = "".join(each.text for each in inner.argument())
            again = _columns(mouth, inner.argument(), depth + 1)
            columns += again * min(int(times) if times.isdigit() else 1, _COLUMNS // max(len(again), 1))
        elif letter == "D":
            point, printed = (_rendered(mouth, inner.argument())[0] for _ in "12")
            inner.argument()
            columns.append(_Column("D", before, (point, printed)))
            before = ""
        elif letter.isalpha():
            inner.optional("[", "]")
            if inner.skip("{"):
                inner.until("}")
            columns.append(_Column(letter, before))
            before = ""
    return columns


def _rendered(source: _Mouth, tokens: Sequence[Token], depth: int = 0) -> tuple[str, bool]:
    """What tokens of a source print, and whether any of it is bold."""
    if depth > _DEPTH:
        at = tokens[0].at if tokens else 0
        raise SpecError(f"{place_at(source.path, source.text, at)}: braces are nested too deeply")
    mouth = source.over(tokens)
    shown = [""]  # pieces: characters that follow each other directly are one
    some = strong = hidden = False

    def below(inner: Sequence[Token]) -> tuple[str, bool]:
        return _rendered(source, inner, depth + 1)

    while token := mouth.expanded():
        name = token.text[1:] if len(token.text) > 1 else ""
        printed, bold = token.text, False
        if token.text == "{":
            printed, bold = below(mouth.until("}"))
        elif token.text in ("^", "_"):
            printed = shifted(token.text, below(mouth.argument())[0])
        elif token.text in ("$", "}"):
            printed = ""
        elif token.text == "~":
            printed = " "
        elif name in ("textsuperscript", "textsubscript"):
            printed = shifted("^" if "super" in name else "_", below(mouth.argument())[0])
        elif name in ("num", "SI", "qty"):
            mouth.optional("[", "]")
            printed = uncertain(below(mouth.argument())[0])
            if name != "num":
                mouth.argument()
        elif name in ("begin", "end"):
            environment = mouth.name()
            known = ENVIRONMENTS.get(environment)
            if known is not None and name == "begin":
                mouth.signature(known)
            printed = " " if known is not None else f"\\{name}{{{environment}}}"
        elif name in BOLD or name in UNBOLD:
            strong, printed = name in BOLD, ""
        elif name in ACCENTS and (accented := below(mouth.argument())[0]):
            printed = unicodedata.normalize("NFC", accented[:1] + ACCENTS[name]) + accented[1:]
        elif name in SYMBOLS:
            printed = SYMBOLS[name]
        elif name in ARGUMENTS:
            given = mouth.signature(ARGUMENTS[name])
            white = "color" in name and "".join(each.text for each in given[0][1]) == "white"
            hidden |= white and name == "color"
            inside = [(kind, below(argument)) for kind, argument in given if kind in "kb" and not white]
            printed = "".join(each for _, (each, _) in inside)
            bold = any(kind == "b" or flag for kind, (_, flag) in inside)
        elif name:
            printed = _letter(name) or token.text
        printed = "" if hidden else printed
        some |= bool(printed.strip()) and (bold or strong)
        if name or token.text in "{}$^_":
            shown += [printed, ""]
        else:
            shown[-1] += printed
    result = re.sub(r"[ \n\t]+", " ", apart(shown)).strip()
    return result.replace("---", "—").replace("--", "–"), some


def _letter(name: str) -> str:
    """A Greek letter by its name; empty if it is none."""
    size = "SMALL" if name[0].islower() else "CAPITAL"
    unicode = name.removeprefix("var").upper().replace("LAMBDA", "LAMDA")
    try:
        return unicodedata.lookup(f"GREEK {size} LETTER {unicode}")
    except KeyError:
        return ""


def shifted(where: str, text: str) -> str:
    """What stands above or below the line; a deviation there is printed as one that stands on it."""
    return f" {text}" if text.startswith("±") else f"{where}{{{text}}}" if text else ""


def shown(formula: str) -> tuple[str, bool]:
    """What a formula prints, and whether any of it is bold; for other formats than LaTeX, without macros."""
    mouth = _Mouth(Path(), formula)
    return _rendered(mouth, mouth.rest())
