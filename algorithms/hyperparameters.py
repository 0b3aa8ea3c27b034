"""What an algorithm's hyperparameters are: fields with types and bounds, and no defaults."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from decimal import Decimal
from typing import Any, TypeVar

import torch

Value = bool | int | float | str
_TYPES: Mapping[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
# numbers become float32 tensors; whole numbers are sizes and counts
_LARGEST: Mapping[type, float] = {int: 2**31 - 1, float: torch.finfo(torch.float32).max}
_WIDEST = 2**16  # units of a hidden layer


def per_member(
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    neutral: float | None = None,
) -> Any:
    """A number that may differ between the members of a population; held as an ``(M, 1)`` tensor.

    Args:
        minimum: the least that it may be.
        maximum: the most that it may be.
        above: what it must be above.
        neutral: the value that changes nothing; it holds where none is given.
    """
    return _declared(static=False, minimum=minimum, maximum=maximum, above=above, neutral=neutral)


def static(
    *,
    choices: tuple[Value, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    neutral: Value | None = None,
) -> Any:
    """A value that all members of a population share, because it shapes the program.

    Args:
        choices: all that it may be; None: anything of the field's type.
        minimum: as of `per_member`.
        maximum: as of `per_member`.
        above: as of `per_member`.
        neutral: as of `per_member`.
    """
    return _declared(
        static=True, choices=choices, minimum=minimum, maximum=maximum, above=above, neutral=neutral
    )


def layer_sizes(*, neutral: str | None = None) -> Any:
    """Widths of hidden layers, joined by '-'; shared by all members.

    Args:
        neutral: as of `per_member`.
    """
    return _declared(static=True, pattern=r"[1-9][0-9]*(-[1-9][0-9]*)*", neutral=neutral)


def _declared(**said: Any) -> Any:
    return field(metadata={name: value for name, value in said.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Base of every algorithm's hyperparameters: fields with types and bounds, and no defaults.

    The defaults, each with its source, are in ``specs/algorithms/<id>.yaml``.
    """

    batch_size: int = static(minimum=1)
    normalize_observations: bool = static()
    observation_epsilon: float = static(above=0)
    # r ← reward_scale · r · (1000 / (largest - smallest return) if normalize_rewards) + reward_shift
    normalize_rewards: bool = static()
    reward_scale: float = static(above=0)
    reward_shift: float = static()

    @classmethod
    def check_declarations(cls) -> None:
        """See that each field is declared by `per_member`, `static` or `layer_sizes`, of a type of theirs.

        Raises:
            TypeError: naming the first that is not.
        """
        for f in fields(cls):
            if "static" not in f.metadata or _type_name(f) not in _TYPES:
                raise TypeError(
                    f"{cls.__name__}.{f.name} is no hyperparameter: declare it as "
                    f"`{f.name}: float = per_member()`, or static(), with the type {', '.join(_TYPES)}"
                )

    @classmethod
    def static_names(cls) -> frozenset[str]:
        """Names of the fields that all members of a population share."""
        return frozenset(f.name for f in fields(cls) if f.metadata["static"])

    @classmethod
    def neutral(cls) -> dict[str, Value]:
        """What holds where no value is given: name -> the value that changes nothing."""
        return {f.name: f.metadata["neutral"] for f in fields(cls) if "neutral" in f.metadata}

    @classmethod
    def problems(cls, values: Mapping[str, object]) -> dict[str, str]:
        """What is wrong with `values`: hyperparameter name -> a sentence. Empty if nothing is."""
        declared = {f.name: f for f in fields(cls)}
        found = {
            name: f"is no hyperparameter of this algorithm; known: {', '.join(sorted(declared))}"
            for name in values
            if name not in declared
        }
        values = {**cls.neutral(), **values}
        for name, declaration in declared.items():
            if name not in values:
                found[name] = "is missing"
            elif problem := _problem(values[name], _kind(declaration), declaration.metadata):
                found[name] = problem
        return found

    @classmethod
    def of(cls: type[H], values: Mapping[str, Any]) -> H:
        """Build from plain values; where one is not given, the neutral one holds.

        Raises:
            ValueError: naming every hyperparameter that is unknown, missing, of a wrong type or out of range.
        """
        problems = cls.problems(values)
        if problems:
            raise ValueError("; ".join(f"{name} {problem}" for name, problem in problems.items()))
        complete = {**cls.neutral(), **values}
        return cls(**{f.name: _kind(f)(complete[f.name]) for f in fields(cls)})


H = TypeVar("H", bound=Hyperparameters)


def _type_name(declaration: Field[Any]) -> str:
    """The name of its type, which is text where annotations are not evaluated."""
    return getattr(declaration.type, "__name__", str(declaration.type))


def _kind(declaration: Field[Any]) -> type:
    return _TYPES[_type_name(declaration)]


def _problem(value: object, kind: type, bounds: Mapping[str, Any]) -> str | None:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    fits = {
        bool: isinstance(value, bool),
        int: isinstance(number, int) or (isinstance(number, float) and number.is_integer()),
        float: number is not None,
        str: isinstance(value, str),
    }
    if not fits[kind]:
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
        return f"is {_shown(value)}, but must be {names[kind]}"
    if "choices" in bounds and value not in bounds["choices"]:
        return f"is {_shown(value)}, but must be one of {', '.join(map(str, bounds['choices']))}"
    if "pattern" in bounds:
        if not re.fullmatch(bounds["pattern"], str(value)):
            return f"is {value!r}, but must be widths joined by '-', for example '256-256'"
        if any(len(width) > 9 or int(width) > _WIDEST for width in str(value).split("-")):
            return f"is {value!r}, but its widths must be at most {_WIDEST}"
    if number is not None:
        return _out_of_range(number, _LARGEST[kind], bounds)
    return None


def _out_of_range(value: float, largest: float, bounds: Mapping[str, Any]) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, but must be finite"
    # first, and without float(): a whole number may have more digits than a float can hold
    if abs(value) > largest:
        return f"is {_shown(value)}, but its magnitude must be at most {largest:.10g}"
    if "minimum" in bounds and value < bounds["minimum"]:
        return f"is {value:g}, but must be at least {bounds['minimum']:g}"
    if "maximum" in bounds and value > bounds["maximum"]:
        return f"is {value:g}, but must be at most {bounds['maximum']:g}"
    if "above" in bounds and value <= bounds["above"]:
        return f"is {value:g}, but must be above {bounds['above']:g}"
    return None


def _shown(value: object) -> str:
    """The value as Python writes it, but a long whole number in a few digits."""
    return (
        f"{Decimal(value).normalize():.6g}"
        if isinstance(value, int) and abs(value) >= 10**15
        else repr(value)
    )
