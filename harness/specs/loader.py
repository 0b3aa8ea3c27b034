"""YAML files as validated models, with errors that point at the file, line and column of the wrong value.

A file may begin with ``include: other.yaml`` (or a list), relative to itself. Included mappings are merged
below the file's own keys, mapping by mapping; lists and scalars are replaced as a whole, and of several
included files the later wins.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness import files
from harness.errors import SpecError
from harness.specs.models import LocatedError
from harness.specs.syntax import MAX_VALUES, parse
from harness.specs.text import Location, Place, message_line, read_text, short, shown

M = TypeVar("M", bound=BaseModel)

#: Files in one spec, each counted wherever it is included.
MAX_FILES = 64
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
        return message_line(self.place(location, key=key), location, message)

    def place(self, location: Location, *, key: bool = False) -> Place:
        """Where the value at a location, or its key, stands."""
        return self.keys.get(location, self.values[location]) if key else self.values[location]

    def validate(self, model: type[M]) -> M:
        """The file as an instance of ``model``.

        Raises:
            SpecError: One line for each thing that is wrong, in the order of their places.
        """
        try:
            return model.model_validate(self.data, strict=True)
        except ValidationError as error:
            problems = sorted(set(_problems(self, model, error)))
        raise SpecError("\n".join(message_line(*problem) for problem in problems))


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
    return _Reading().read(path, None, ())


# -- reading -----------------------------------------------------------------------------------------------


@dataclass
class _Reading:
    """One file and all that it includes, so that few of them cannot multiply without bound."""

    files: int = 0
    values: int = 0

    def read(self, path: Path, referrer: Place | None, trail: tuple[Path, ...]) -> Document:
        """A file with its includes; `trail` has the files that led to it, the last one at `referrer`."""
        here = referrer or Place(path)
        real = files.real(path)
        if real in trail:
            chain = " -> ".join(shown(link) for link in (*trail[trail.index(real) :], real))
            raise SpecError(message_line(here, (_INCLUDE,), f"files include each other: {chain}"))
        parsed = parse(path, read_text(path, referrer))
        self.files += 1
        self.values += len(parsed.values)
        if self.files > MAX_FILES or self.values > MAX_VALUES:
            limits = f"{MAX_FILES} files or {MAX_VALUES:,} values"
            raise SpecError(message_line(here, (_INCLUDE,), f"with this more than {limits} are included"))
        data = dict(parsed.data)
        below: dict[str, Any] = {}
        below_values: dict[Location, Place] = {}
        below_keys: dict[Location, Place] = {}
        for name, place in _includes(data.pop(_INCLUDE, ()), parsed.values):
            included = self.read(path.parent / name, place, (*trail, real))
            below = _merged(below, included.data)
            below_values.update(included.values)
            below_keys.update(included.keys)
        return Document(
            path, _merged(below, data), {**below_values, **parsed.values}, {**below_keys, **parsed.keys}
        )


def _includes(value: object, values: Mapping[Location, Place]) -> Iterator[tuple[str, Place]]:
    entries = value if isinstance(value, tuple) else (value,)
    for index, entry in enumerate(entries):
        place = values.get((_INCLUDE, index)) or values[(_INCLUDE,)]
        if not isinstance(entry, str) or not entry:
            raise SpecError(
                message_line(place, (_INCLUDE,), f"should be a path or a list of paths, got {entry!r}")
            )
        yield entry, place


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return {**below, **above, **both}


# -- messages ----------------------------------------------------------------------------------------------


def _problems(
    document: Document, model: type[BaseModel], error: ValidationError
) -> Iterator[tuple[Place, Location, str]]:
    """Each error of pydantic once, at the place of what it is about."""
    for details in error.errors(include_url=False):
        location = _known_part(document, details["loc"])
        place = document.values[location]
        match details["type"]:
            case "too_short" if len(details["input"]) >= details["ctx"]["min_length"]:
                pass  # of a list whose items are wrong pydantic also says that it has none
            case "missing":
                missing = (*location, details["loc"][-1])
                yield place, missing, "the key is missing here"
            case "value_error" if isinstance(found := details["ctx"]["error"], LocatedError):
                inner = _known_part(document, (*location, *found.location))
                yield document.place(inner, key=found.key), inner, str(found)
            case "extra_forbidden":
                yield document.keys[location], location, _unknown_key(model, location)
            case _ if len(location) < len(details["loc"]):
                # a location that goes on below the value names the options of a union: one line for all
                yield place, location, f"{_SCALAR}, got {short(details['input'])}"
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
    allowed = [info.alias or name for name, info in model.model_fields.items()] + (
        [] if parents else [_INCLUDE]
    )
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
    return f"{what}, got {short(details['input'])}"
