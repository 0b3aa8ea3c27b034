"""Docstrings of the algorithms as Markdown: formulas keep their lines, and symbols are no markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import griffe

from harness import escaping

_CODE = re.compile(r"``(?P<double>.+?)``|`(?P<single>[^`]+)`")
_SECTION = re.compile(r"^(?P<title>[A-Z][^.:\n]*):\n(?P<body>(?:[ \t]+\S.*\n?|\n(?=[ \t]))+)", re.MULTILINE)
_STANDARD = ("Args", "Attributes", "Raises", "Returns", "Yields")
_DEFINITION = re.compile(r"\S+ = |\S{1,4}: ")
_WORD = re.compile(r"(?:[A-Za-z][A-Za-z-]+|a)[.,;:]?")
_OPERATOR = re.compile(r"[=²Σ∇\[/]")


class Formulas(griffe.Extension):
    """Rewrites every docstring of the package ``algorithms`` by `markdown`."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by Griffe for each object that it has read."""
        if obj.docstring and obj.path.startswith("algorithms."):
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(docstring: str) -> str:
    """A docstring with formulas fenced, text escaped, and sections of its own in bold.

    Sections that Griffe knows, such as ``Args:``, stay as they are.
    """
    text, end = docstring + "\n", 0
    parts: list[str] = []
    for section in _SECTION.finditer(text):
        parts += _paragraphs(text[end : section.start()])
        if section["title"] in _STANDARD:
            parts.append(section[0].rstrip())
        else:
            parts += [f"**{_inline(section['title'])}**", *_paragraphs(dedent(section["body"]))]
        end = section.end()
    return "\n\n".join([*parts, *_paragraphs(text[end:])])


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.findall(r"(?:^.*\S.*\n?)+", text, re.MULTILINE):
        if paragraph.startswith("- "):
            yield "\n".join(f"- {_inline(item)}" for item in re.split(r"^- ", paragraph, flags=re.M)[1:])
        elif _is_formula(paragraph):
            shown = _CODE.sub(lambda match: match["double"] or match["single"], paragraph.rstrip())
            yield f"```text\n{shown}\n```"
        else:
            yield _inline(paragraph)


def _is_formula(paragraph: str) -> bool:
    """Whether a paragraph must keep its line breaks: indented, a list of definitions, or hardly any words."""
    lines = [line for line in paragraph.splitlines() if not line.startswith((" ", "\t"))]
    if not lines or (len(lines) > 1 and all(map(_DEFINITION.match, lines))):
        return True
    tokens = re.sub(r"``.+?``", "", paragraph).split()
    words = sum(bool(_WORD.fullmatch(token)) for token in tokens)
    return bool(_OPERATOR.search(paragraph)) and words < 0.4 * len(tokens)


def _inline(text: str) -> str:
    """Running text on one line, its code spans kept."""
    text = " ".join(text.split())
    parts: list[str] = []
    end = 0
    for match in _CODE.finditer(text):
        parts += [escaping.markdown(text[end : match.start()]), f"`{match['double'] or match['single']}`"]
        end = match.end()
    return "".join([*parts, escaping.markdown(text[end:])])
