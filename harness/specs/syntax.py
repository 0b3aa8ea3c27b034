"""YAML 1.2 with line and column of every value, and with limits, for specs may come from anybody.

libyaml parses; where PyYAML was built without it, PyYAML's own parser does, which is slower. Scalars are read
as the core schema of YAML 1.2 says, not as PyYAML does, to which ``no`` is false and ``1e-3`` is text.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.errors import SpecError
from harness.specs.text import Location, Parsed, Place, message_line, place_at, short

#: Values in a file once its aliases are filled in; the largest file that ships has 250.
MAX_VALUES = 50_000
MAX_DEPTH = 100

#: Whole numbers are below: what comes of them goes into files and databases, which have no larger ones.
_LARGEST = 2**63
_TAG = "tag:yaml.org,2002:"
# the core schema: tag, the plain texts that have it, what these begin with, and what they mean
_SCHEMA: tuple[tuple[str, str, tuple[str, ...], Callable[[str], Any]], ...] = (
    ("null", r"|~|null|Null|NULL", ("", *"~nN"), lambda text: None),
    ("bool", r"true|True|TRUE|false|False|FALSE", (*"tTfF",), lambda text: text.lower() == "true"),
    ("int", r"[-+]?[0-9]+", (*"-+0123456789",), int),
    ("int", r"0o[0-7]+|0x[0-9a-fA-F]+", ("0",), lambda text: int(text, 0)),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        (*"-+.0123456789",),
        lambda text: float(re.sub(r"\.(?=[a-z])", "", text.lower())),
    ),
)
# not allowed in YAML, or a line break in YAML 1.1 and none in YAML 1.2
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _core_schema(base: Any) -> Any:
    """A loader of PyYAML's that gives plain scalars the tags of YAML 1.2."""
    loader: Any = type("Loader", (base,), {})
    for tag, pattern, first, _ in _SCHEMA:
        loader.add_implicit_resolver(_TAG + tag, re.compile(rf"(?:{pattern})\Z"), first)
    return loader


_Loader = _core_schema(yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader)


@functools.lru_cache(maxsize=256)  # what many files include is parsed once
def parse(path: Path, text: str) -> Parsed:
    """The mapping that a text holds, with places.

    Args:
        path: The file, for the places.
        text: Without a byte order mark.

    Raises:
        SpecError: The text is no YAML, no mapping, has a key twice, or is larger than any spec.
    """
    root = _compose(path, text)
    if not isinstance(root, yaml.MappingNode):
        place = Place(path) if root is None else _place(path, root.start_mark)
        raise SpecError(f"{place}: the file should be a mapping ('key: value')")
    builder = _Builder(path)
    data = builder.value(root, ())
    return Parsed(data, builder.values, builder.keys)


def _compose(path: Path, text: str) -> Any:
    """The root of the text's nodes, None where there is none."""
    if forbidden := _FORBIDDEN.search(text):
        place = place_at(path, text, forbidden.start())
        raise SpecError(f"{place}: no valid YAML: character U+{ord(forbidden[0]):04X} is not allowed")
    try:
        _refuse_depth(path, _Loader(text))
        return _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        lines = text.split("\n")[mark.line : mark.line + 1]
        tab = any(line.lstrip(" ").startswith("\t") for line in lines)
        hint = "; indent with spaces, not tabs" if tab else ""
        raise SpecError(
            f"{_place(path, mark)}: no valid YAML: {error.problem or error.context}{hint}"
        ) from None
    except yaml.YAMLError as error:
        raise SpecError(f"{Place(path)}: no valid YAML: {' '.join(str(error).split())}") from None


def _refuse_depth(path: Path, parser: Any) -> None:
    """Refuse deep nesting, from which libyaml's composer, a recursive function in C, would crash."""
    depth = 0
    while parser.check_event():
        event = parser.get_event()
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise SpecError(f"{_place(path, event.start_mark)}: lists and mappings are nested too deeply")


@dataclass
class _Builder:
    """Plain values from YAML nodes, noting where each value and key stands."""

    path: Path
    values: dict[Location, Place] = field(default_factory=dict)
    keys: dict[Location, Place] = field(default_factory=dict)

    def value(self, node: Any, location: Location, trail: tuple[Any, ...] = ()) -> Any:
        """The value of a node, which is inside the nodes of `trail`."""
        place = self.values[location] = _place(self.path, node.start_mark)
        if any(node is parent for parent in trail):
            raise SpecError(message_line(place, location, "the value contains itself"))
        if len(self.values) > MAX_VALUES:
            problem = f"more than {MAX_VALUES:,} values, those of an alias counted wherever it stands"
            raise SpecError(message_line(place, location, problem))
        trail = (*trail, node)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, location)
        kind = "map" if isinstance(node, yaml.MappingNode) else "seq"
        if node.tag != _TAG + kind:
            raise SpecError(
                message_line(place, location, f"there is no type {_short_tag(node)} here; leave it out")
            )
        if kind == "map":
            return self.mapping(node, location, trail)
        return tuple(self.value(item, (*location, index), trail) for index, item in enumerate(node.value))

    def scalar(self, node: Any, location: Location) -> Any:
        """What the text of a node means."""
        text, place = node.value, self.values[location]
        if node.tag == _TAG + "str":
            if "\0" in text:
                raise SpecError(message_line(place, location, "text may not hold the character U+0000"))
            return text
        for tag, pattern, _, read in _SCHEMA:
            if node.tag == _TAG + tag and re.fullmatch(pattern, text):
                with contextlib.suppress(ValueError):  # more digits than Python reads
                    value = read(text)
                    if not isinstance(value, int) or abs(value) < _LARGEST:
                        return value
        if node.tag == f"{_TAG}int" and re.fullmatch(r"[-+]?[0-9]+", text):
            raise SpecError(message_line(place, location, f"{short(text)} has more than 64 bits"))
        raise SpecError(
            message_line(place, location, f"{short(text)} is no value of type {_short_tag(node)}")
        )

    def mapping(self, node: Any, location: Location, trail: tuple[Any, ...]) -> dict[str, Any]:
        """The values of a mapping by their keys."""
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _place(self.path, key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                raise SpecError(message_line(place, location, "a key should be text, not a list or mapping"))
            key = str(key_node.value)
            below = (*location, key)
            if key in mapping:
                raise SpecError(
                    message_line(place, below, f"the key stands twice, first at {self.keys[below]}")
                )
            self.keys[below] = place
            mapping[key] = self.value(value_node, below, trail)
            if mapping[key] is None:  # the parser puts a value left out where the next token begins
                self.values[below] = place
        return mapping


def _short_tag(node: Any) -> str:
    return str(node.tag).replace(_TAG, "!!")


def _place(path: Path, mark: Any) -> Place:
    return Place(path, mark.line + 1, mark.column + 1)
