"""The tables of a file: LaTeX, Markdown, HTML or CSV, as grids of text."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.authoring import tex
from harness.authoring.grid import LONGEST, Cell, Grid, apart, grid, visible
from harness.authoring.lists import wide
from harness.errors import HarnessError, SpecError
from harness.specs.text import Place, read_text

#: Bytes of a file: a page of HTML that holds a whole paper has two million.
_LIMIT = 10_000_000
_MATH = re.compile(r"(?<!\\)\$\$?(.+?)(?<!\\)\$\$?|\\\((.+?)\\\)", re.DOTALL)
_SIGNS = re.compile(r"\*\*|__(?=\S)|(?<=\S)__|`")  # of bold text and code
_LINK = re.compile(r"(?:!\[[^\]]*\]|\[([^\]]*)\])\([^)\s]*\)|\[\^[^\]]+\]")  # an image's text is not shown
_EMPHASIS = re.compile(r"(?<![\w*])[*_](?=[^\s*_])([^*_]+)(?<=\S)[*_](?![\w*])")
_HIDDEN = re.compile(r"display:\s*none|visibility:\s*hidden")


def tables(path: Path, more: Sequence[Path] = ()) -> list[Grid]:
    """All tables of a file that hold anything, in its order.

    Args:
        path: the file; its name tells its format.
        more: LaTeX files that define macros which it uses.

    Raises:
        SpecError: it cannot be read, or what it says cannot be followed.
        HarnessError: its name tells none of the formats.
    """
    read = _FORMATS.get(path.suffix.lower())
    if read is None:
        raise HarnessError(f"{path} does not end in {', '.join(_FORMATS)}, so it is not known how to read it")
    text = read_text(path, limit=_LIMIT)
    if more and read is not _latex:
        raise HarnessError("macros are LaTeX's; give --macros only with a .tex file")
    return list(read(path, text, [read_text(other, limit=_LIMIT) for other in more]))


def _latex(path: Path, text: str, more: Sequence[str]) -> Iterator[Grid]:
    return tex.tables(path, text, more)


def _csv(path: Path, text: str, more: Sequence[str]) -> Iterator[Grid]:
    """The one table of a CSV file; its first line tells by what its columns are separated.

    Raises:
        SpecError: it is no CSV, or a line has values beyond the headings, as ``81,7`` without quotes is two.
    """
    first = text.lstrip().partition("\n")[0]
    separator = max(",;\t|", key=first.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=separator)
    rows: list[list[Cell]] = []
    line = 1
    headings = 0
    try:
        for values in reader:
            used = max((x for x, value in enumerate(values, 1) if value.strip()), default=0)
            if headings > 1 and used > headings:
                raise SpecError(
                    f"{Place(path, line)}: {used} values below {headings} headings; "
                    f"put one that holds {separator!r} in quotes"
                )
            headings = headings if headings > 1 else len(values)
            rows.append([_marked(value, line) for value in values])
            line = reader.line_num + 1
    except csv.Error as error:
        raise SpecError(f"{Place(path, reader.line_num)}: no valid CSV: {error}") from None
    found = grid(wide(rows), 1)
    if found:
        yield found


def _markdown(path: Path, text: str, more: Sequence[str]) -> Iterator[Grid]:
    """The tables between bars, and those written in HTML."""
    from markdown_it import MarkdownIt  # here: other formats need no parser

    rows: list[list[Cell]] = []
    start = 1
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            rows, start = [], (token.map or [0])[0] + 1
        elif token.type == "tr_open":
            rows.append([])
            line = (token.map or [start - 1])[0] + 1
        elif token.type == "inline" and token.level >= 4 and rows:
            rows[-1].append(_marked(token.content, line))
        elif token.type == "table_close":
            found = grid(rows, start)
            if found:
                yield found
        elif token.type == "html_block":
            above = (token.map or [0])[0]
            for table in _html(path, token.content, more):
                moved = [[replace(cell, line=cell.line + above) for cell in row] for row in table.rows]
                yield replace(table, rows=tuple(map(tuple, moved)), line=table.line + above)


def _html(path: Path, text: str, more: Sequence[str]) -> Iterator[Grid]:
    """Every ``<table>`` that holds no other one."""
    from lxml import etree, html  # here: other formats need no parser

    try:
        page = html.document_fromstring(text.encode(), html.HTMLParser(encoding="utf-8"))
    except (etree.ParserError, ValueError) as error:
        raise SpecError(f"{Place(path)}: no HTML that can be read: {error}") from None
    for table in page.iter("table"):
        if table.find(".//table") is not None:
            continue
        rows = [
            [_html_cell(each, row.sourceline) for each in row.iterchildren("td", "th")]
            for row in table.iter("tr")
        ]
        around = next(table.iterancestors("figure"), table)
        captions = [_html_text(each) for each in around.iter("caption", "figcaption")]
        found = grid(rows, table.sourceline, " ".join(" ".join(captions).split()))
        if found:
            yield found


def _html_cell(cell: Any, line: int) -> Cell:
    """A cell of HTML."""
    bold = cell.tag == "td" and any(map(_heavy, cell.iter()))
    text, strong = _formulae(_html_text(cell)[:LONGEST])
    return Cell(
        re.sub(r"[ \t\r\n]+", " ", text).strip(),
        cell.sourceline or line,
        bold or strong,
        _span(cell.get("colspan")) or 1,
        _span(cell.get("rowspan")) or 1000,  # 0 is as many as there are
    )


def _html_text(element: Any) -> str:
    """What an element shows; a formula is read from the LaTeX that it carries."""
    if element.tag == "math":
        source = element.get("alttext") or element.findtext(".//annotation[@encoding='application/x-tex']")
        if source:
            return tex.shown(source)[0]
    if element.tag == "br":
        return " "
    if not isinstance(element.tag, str) or element.tag in ("script", "style", "template"):
        return ""
    if "hidden" in element.attrib or _HIDDEN.search(element.get("style") or ""):
        return ""
    text = apart(
        [element.text or "", *(part for each in element for part in (_html_text(each), each.tail or ""))]
    )
    if element.tag in ("del", "s", "strike"):
        return f"~{text}~"  # struck out, so that it is not read as a number
    above = {"sup": "^", "sub": "_"}.get(element.tag)
    return tex.shifted(above, text.strip()) if above else text


def _heavy(element: Any) -> bool:
    """Whether an element is bold."""
    return (
        element.tag in ("b", "strong")
        or "ltx_font_bold" in (element.get("class") or "").split()
        or bool(re.search(r"font-weight:\s*(bold|[6-9]00)", element.get("style") or ""))
        or (
            element.tag == "math"
            and bool(re.search(r"\\(mathbf|boldsymbol|bm)\b", element.get("alttext") or ""))
        )
    )


def _span(text: object) -> int:
    """How many places a cell spans; HTML allows a thousand at most."""
    return min(int(text), 1000) if isinstance(text, str) and re.fullmatch(r"[0-9]{1,6}", text) else 1


def _marked(text: str, line: int) -> Cell:
    """A cell of Markdown or CSV: emphasis, links, code, tags and formulae become what they show."""
    text, bold = visible(text), False
    if re.search(r"[<&]", text):  # tags, and characters by their names
        from lxml import html

        inside = _html_cell(html.fragment_fromstring(text, create_parent="td"), line)
        text, bold = inside.text, inside.bold
    text, strong = _formulae(text)
    bold |= strong
    bold |= bool(re.search(r"\*\*.*\d.*\*\*|__.*\d.*__", text))
    text = _replaced(_SIGNS, lambda _: "", text)
    for markup in (_LINK, _EMPHASIS):
        text = _replaced(markup, lambda match: match[1] or "", text)
    text = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)
    return Cell(" ".join(text.split()), line, bold)


def _formulae(text: str) -> tuple[str, bool]:
    """Text whose formulae are replaced by what they show, and whether any of it is bold."""
    bold = False

    def show(match: re.Match[str]) -> str:
        nonlocal bold
        shown, strong = tex.shown(match[1] or match[2])
        bold |= strong
        return shown

    return _replaced(_MATH, show, text), bold


def _replaced(pattern: re.Pattern[str], show: Callable[[re.Match[str]], str], text: str) -> str:
    """Text whose markup is replaced by what it shows, `apart` from what stands around it."""
    pieces: list[str] = []
    end = 0
    for match in pattern.finditer(text):
        pieces += [text[end : match.start()], show(match)]
        end = match.end()
    return apart([*pieces, text[end:]])


_FORMATS: dict[str, Callable[[Path, str, Sequence[str]], Iterator[Grid]]] = {
    ".tex": _latex,
    ".csv": _csv,
    ".md": _markdown,
    ".html": _html,
    ".htm": _html,
    ".tsv": _csv,
}
