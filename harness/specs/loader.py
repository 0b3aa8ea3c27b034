"""YAML files as validated models, with errors that point at the file, line and column of the wrong value.

A file may begin with ``include: other.yaml`` (or a list), relative to itself. Included mappings are merged
below the file's own keys, mapping by mapping; lists and scalars are replaced as a whole, and of several
included files the later wins.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from harness.errors import SpecError
from harness.specs.text import Place, place_at, read_text, shown

M = TypeVar("M", bound=BaseModel)
Location = tuple[str | int, ...]

_INCLUDE = "include"
_PLAIN_TERMS = {
    "dict_type": "should be a mapping ('key: value')",
    "model_type": "should be a mapping ('key: value')",
    "tuple_type": "should be a list",
    "string_type": "should be text",
    "int_type": "should be a whole number, written without point or exponent",
    "float_type": "should be a number",
    "bool_type": "should be true or false",
}
_SCALAR = "should be text, a number, true or false"


@dataclass(frozen=True)
class Document:
    """A YAML file with its includes merged in.

    Attributes:
        path: The file.
        data: Mappings as dicts, lists as tuples, scalars as YAML 1.2 reads them.
        values: Where each value stands, by location.
        keys: Where each key of a mapping stands, by the location of its value.
    """

    path: Path
    data: dict[str, Any]
    values: Mapping[Location, Place]
    keys: Mapping[Location, Place]

    def problem(self, location: Location, message: str, *, key: bool = False) -> str:
        """One line, ``path:line:column: dotted.key: message``, for the value (or the key) at a location."""
        while location not in self.values:
            location = location[:-1]
        place = self.keys.get(location, self.values[location]) if key else self.values[location]
        return _line(place, location, message)

    def validate(self, model: type[M]) -> M:
        """The file as an instance of ``model``.

        Raises:
            SpecError: One line for each thing that is wrong, in the order of their places.
        """
        try:
            return model.model_validate(self.data, strict=True)
        except ValidationError as error:
            problems = sorted(set(_problems(self, model, error)))
        raise SpecError("\n".join(_line(*problem) for problem in problems))


def load(path: Path, model: type[M]) -> M:
    """Reads and validates one YAML file.

    Raises:
        SpecError: The file or one that it includes is unreadable, no YAML, or not what ``model`` asks for.
    """
    return read(path).validate(model)


def read(path: Path) -> Document:
    """Reads one YAML file and merges what it includes.

    Raises:
        SpecError: The file or one that it includes is unreadable or no YAML, or they include each other.
    """
    return _read(path, None, ())


# -- reading -----------------------------------------------------------------------------------------------


def _read(path: Path, referrer: Place | None, trail: tuple[Path, ...]) -> Document:
    real = path.resolve()
    if real in trail:
        chain = " -> ".join(shown(link) for link in (*trail[trail.index(real) :], real))
        raise SpecError(_line(referrer or Place(path), (_INCLUDE,), f"files include each other: {chain}"))
    text = read_text(path, referrer)
    root = _compose(path, text)
    if not isinstance(root, MappingNode):
        place = Place(path) if root is None else _start(path, root)
        raise SpecError(f"{place}: the file should be a mapping ('key: value')")
    builder = _Builder(path)
    data = builder.build(root, ())
    below: dict[str, Any] = {}
    below_values: dict[Location, Place] = {}
    below_keys: dict[Location, Place] = {}
    for name, place in _includes(data.pop(_INCLUDE, ()), builder.values):
        included = _read(path.parent / name, place, (*trail, real))
        below = _merged(below, included.data)
        below_values.update(included.values)
        below_keys.update(included.keys)
    return Document(path, _merged(below, data), below_values | builder.values, below_keys | builder.keys)


def _includes(value: object, values: Mapping[Location, Place]) -> Iterator[tuple[str, Place]]:
    entries = value if isinstance(value, tuple) else (value,)
    for index, entry in enumerate(entries):
        place = values.get((_INCLUDE, index)) or values[(_INCLUDE,)]
        if not isinstance(entry, str) or not entry:
            raise SpecError(_line(place, (_INCLUDE,), f"should be a path or a list of paths, got {entry!r}"))
        yield entry, place


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return {**below, **above, **both}


@functools.lru_cache(maxsize=256)  # what many files include is parsed once
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
            raise SpecError(_line(place, location, "the value contains itself"))
        trail = (*trail, node)
        if isinstance(node, MappingNode):
            return self.mapping(node, location, trail)
        if isinstance(node, SequenceNode):
            return tuple(self.build(item, (*location, index), trail) for index, item in enumerate(node.value))
        try:
            return self.scalars.construct_object(node)
        except (YAMLError, ValueError):
            raise SpecError(
                _line(place, location, f"{node.value!r} is no value of type {node.tag}")
            ) from None

    def mapping(self, node: MappingNode, location: Location, trail: tuple[Node, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _start(self.path, key_node)
            if not isinstance(key_node, ScalarNode):
                raise SpecError(_line(place, location, "a key should be text, not a list or mapping"))
            key = str(key_node.value)
            below = (*location, key)
            if key in mapping:
                raise SpecError(_line(place, below, f"the key stands twice, first at {self.keys[below]}"))
            self.keys[below] = place
            mapping[key] = self.build(value_node, below, trail)
            if mapping[key] is None:  # the parser puts a value left out where the next token begins
                self.values[below] = place
        return mapping


def _start(path: Path, node: Node) -> Place:
    return _place(path, node.start_mark)


def _place(path: Path, mark: StringMark) -> Place:
    return Place(path, mark.line + 1, mark.column + 1)


# -- messages ----------------------------------------------------------------------------------------------


def _line(place: Place, location: Location, message: str) -> str:
    dotted = ".".join(str(part) for part in location)
    text = f"{place}: {dotted}: {message}" if dotted else f"{place}: {message}"
    # a key may hold anything; what would break the line, or the terminal, is shown as its code
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _problems(
    document: Document, model: type[BaseModel], error: ValidationError
) -> Iterator[tuple[Place, Location, str]]:
    """Each error of pydantic once, at the place of what it is about."""
    for details in error.errors(include_url=False):
        location = _known_part(document, details["loc"])
        place = document.values[location]
        match details["type"]:
            case "missing":
                missing = (*location, details["loc"][-1])
                yield place, missing, "the key is missing here"
            case "extra_forbidden":
                yield document.keys[location], location, _unknown_key(model, location)
            case _ if len(location) < len(details["loc"]):
                # a location that goes on below the value names the options of a union: one line for all
                yield place, location, f"{_SCALAR}, got {_short(details['input'])}"
            case _:
                yield place, location, _wrong_value(details)


def _known_part(document: Document, location: Iterable[str | int]) -> Location:
    known: Location = ()
    for part in location:
        if (*known, part) not in document.values:
            break
        known = (*known, part)
    return known


def _unknown_key(model: type[BaseModel], location: Location) -> str:
    *parents, key = location
    for part in parents:
        info = model.model_fields.get(part) if isinstance(part, str) else None
        model = (_model_in(info.annotation) if info else None) or model
    allowed = list(model.model_fields) + ([] if parents else [_INCLUDE])
    nearest = difflib.get_close_matches(str(key), allowed, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"unknown key; {hint}allowed: {', '.join(allowed)}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation names: itself, optional, or in a tuple or dict."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _wrong_value(details: ErrorDetails) -> str:
    if details["type"] == "value_error":
        return str(details["ctx"]["error"])
    what = _PLAIN_TERMS.get(details["type"], details["msg"].replace("Input should", "should"))
    return f"{what}, got {_short(details['input'])}"


def _short(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case tuple():
            return "a list"
        case bool():
            return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
