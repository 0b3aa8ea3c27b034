"""The whole of YAML 1.2, with errors that point at line and column; slow, so only for what `quick` leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from harness.errors import SpecError
from harness.specs.text import Location, Parsed, Place, message_line, place_at


def parse(path: Path, text: str) -> Parsed:
    """The mapping that a text holds, with places.

    Args:
        path: The file, for the places.
        text: Without a byte order mark.

    Raises:
        SpecError: The text is no YAML, no mapping, or has a key twice.
    """
    root = _compose(path, text)
    if not isinstance(root, MappingNode):
        place = Place(path) if root is None else _start(path, root)
        raise SpecError(f"{place}: the file should be a mapping ('key: value')")
    builder = _Builder(path)
    data = builder.build(root, ())
    return Parsed(data, builder.values, builder.keys)


def _compose(path: Path, text: str) -> Node | None:
    yaml = YAML(typ="safe", pure=True)
    try:
        root: Node | None = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _place(path, mark) if isinstance(mark, StringMark) else Place(path)
        hint = "; indent with spaces, not tabs" if "'\\t'" in str(error.problem) else ""
        raise SpecError(f"{place}: no valid YAML: {error.problem or error.context}{hint}") from None
    except ReaderError as error:
        place = place_at(path, text, text.find(chr(error.character)))
        raise SpecError(f"{place}: no valid YAML: character U+{error.character:04X} is not allowed") from None
    except YAMLError as error:
        raise SpecError(f"{Place(path)}: no valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise SpecError(f"{Place(path)}: lists and mappings are nested too deeply") from None
    return root


@dataclass
class _Builder:
    """Plain values from YAML nodes, noting where each value and key stands."""

    path: Path
    values: dict[Location, Place] = field(default_factory=dict)
    keys: dict[Location, Place] = field(default_factory=dict)
    scalars: Any = field(default_factory=lambda: YAML(typ="safe", pure=True).constructor)

    def build(self, node: Node, location: Location, trail: tuple[Node, ...] = ()) -> Any:
        place = self.values[location] = _start(self.path, node)
        if any(node is parent for parent in trail):
            raise SpecError(message_line(place, location, "the value contains itself"))
        trail = (*trail, node)
        if isinstance(node, MappingNode):
            return self.mapping(node, location, trail)
        if isinstance(node, SequenceNode):
            return tuple(self.build(item, (*location, index), trail) for index, item in enumerate(node.value))
        try:
            value = self.scalars.construct_object(node)
            str(value)  # fails where a whole number, written in hexadecimal, has too many digits for a key
        except (YAMLError, ValueError):
            raise SpecError(
                message_line(place, location, f"{node.value!r} is no value of type {node.tag}")
            ) from None
        return value

    def mapping(self, node: MappingNode, location: Location, trail: tuple[Node, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _start(self.path, key_node)
            if not isinstance(key_node, ScalarNode):
                raise SpecError(message_line(place, location, "a key should be text, not a list or mapping"))
            key = str(key_node.value)
            below = (*location, key)
            if key in mapping:
                raise SpecError(
                    message_line(place, below, f"the key stands twice, first at {self.keys[below]}")
                )
            self.keys[below] = place
            mapping[key] = self.build(value_node, below, trail)
            if mapping[key] is None:  # the parser puts a value left out where the next token begins
                self.values[below] = place
        return mapping


def _start(path: Path, node: Node) -> Place:
    return _place(path, node.start_mark)


def _place(path: Path, mark: StringMark) -> Place:
    return Place(path, mark.line + 1, mark.column + 1)
