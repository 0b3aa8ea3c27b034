"""A fast parser of ordinary YAML, by libyaml.

Reading fifty files with a parser written in Python took a fifth of the time of `harness table`. Ordinary is
what cannot be mistaken: mappings, lists, text, plain numbers, true, false and null. All else, errors
included, is left to `harness.specs.syntax`; where this module gives an answer, it is the same one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from harness.specs.text import Location, Parsed, Place

CParser = yaml.cyaml.CParser if yaml.__with_libyaml__ else None
_CONSTANTS = {
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
}  # fmt: skip
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?[0-9]+(\.[0-9]*([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)", re.ASCII)
_TEXT = re.compile(r"(?!0[box])[0-9]+[a-z][0-9a-z]*|\.\.?/.*", re.ASCII)  # as a checksum, or a path
_BLOCK_AND_COMMENT = re.compile(r"[|>][-+0-9]*#")  # a comment without a space before it: libyaml reads on
_DOUBTFUL = re.compile(r"[-+.0-9<=~]", re.ASCII)  # with these begin numbers, dates and a few special words


class _NotOrdinaryError(Exception):
    """Something that is left to the other parser."""


@functools.lru_cache(maxsize=256)  # what many files include is parsed once
def parse(path: Path, text: str) -> Parsed | None:
    """The mapping that a text holds, with places; None where the text is not ordinary, or wrong.

    Args:
        path: The file, for the places.
        text: Without a byte order mark.
    """
    # tabs, other line breaks than \n and invisible characters count differently in different parsers
    if CParser is None or not text.replace("\n", "").isprintable() or _BLOCK_AND_COMMENT.search(text):
        return None
    try:
        return _Builder(path, CParser(text).get_event).document()
    except (_NotOrdinaryError, yaml.YAMLError, RecursionError, ValueError):
        return None


class _Builder:
    """Plain values from the parser's events, noting where each value and key stands."""

    def __init__(self, path: Path, next_event: Callable[[], Any]) -> None:
        self.path, self.next_event = path, next_event
        self.values: dict[Location, Place] = {}
        self.keys: dict[Location, Place] = {}
        self.anchored: dict[str, tuple[Location, Any]] = {}

    def document(self) -> Parsed:
        """The whole text: one mapping, without markers of documents around it."""
        self.next_event()  # the stream's start
        start = self.next_event()
        _plainly(isinstance(start, yaml.DocumentStartEvent) and not start.explicit)
        event = self.next_event()
        _plainly(isinstance(event, yaml.MappingStartEvent))
        data = self.value(event, ())
        _plainly(not self.next_event().explicit)
        _plainly(isinstance(self.next_event(), yaml.StreamEndEvent))
        return Parsed(data, self.values, self.keys)

    def value(self, event: Any, location: Location) -> Any:
        """The value that begins with an event."""
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event.anchor, location)
        _plainly(event.tag is None and event.anchor not in self.anchored)
        value = self.anew(event, location)
        if event.anchor is not None:
            self.anchored[event.anchor] = location, value
        return value

    def alias(self, anchor: str, location: Location) -> Any:
        """The value that has that anchor, and the places in it once more."""
        _plainly(anchor in self.anchored)  # else there is none, or the value contains itself
        source, value = self.anchored[anchor]
        for places in (self.values, self.keys):
            inside = [each for each in places if each[: len(source)] == source]
            places.update({location + each[len(source) :]: places[each] for each in inside if each != source})
        self.values[location] = self.values[source]
        return value

    def anew(self, event: Any, location: Location) -> Any:
        """The value that begins with an event and is no alias."""
        self.values[location] = self.place(event)
        if isinstance(event, yaml.ScalarEvent):
            return event.value if event.style else _plain(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(event := self.next_event(), yaml.SequenceEndEvent):
                items.append(self.value(event, (*location, len(items))))
            return tuple(items)
        return self.mapping(location)

    def mapping(self, location: Location) -> dict[str, Any]:
        """The rest of a mapping."""
        mapping: dict[str, Any] = {}
        while not isinstance(event := self.next_event(), yaml.MappingEndEvent):
            _plainly(isinstance(event, yaml.ScalarEvent) and event.anchor is None and event.tag is None)
            key = event.value
            _plainly(key not in mapping and bool(key))
            below = (*location, key)
            self.keys[below] = place = self.place(event)
            mapping[key] = self.value(self.next_event(), below)
            if mapping[key] is None:  # the parser puts a value left out where the next token begins
                self.values[below] = place
        return mapping

    def place(self, event: Any) -> Place:
        """Where an event begins."""
        mark = event.start_mark
        return Place(self.path, mark.line + 1, mark.column + 1)


def _plainly(ordinary: bool) -> None:
    if not ordinary:
        raise _NotOrdinaryError


def _plain(text: str) -> bool | int | float | str | None:
    """What a scalar without quotes means in YAML 1.2."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if not _DOUBTFUL.match(text):
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    _plainly(bool(_TEXT.fullmatch(text)))
    return text
