"""Names that are chosen by ids and globs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from harness.errors import UnknownNameError


def matches(name: str, pattern: str) -> bool:
    """Whether an id or a glob names it; an id's version may be left out: ``hopper-medium`` is any of its."""
    return fnmatchcase(name, pattern) or pattern == re.sub(r"-v\d+$", "", name)


def matching(kind: str, patterns: Iterable[str], names: Sequence[str]) -> list[str]:
    """The names that any of the patterns matches, in the order of the names; all where there are none.

    Raises:
        UnknownNameError: a pattern that matches nothing, whatever the others match.
    """
    patterns = tuple(patterns)
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            raise UnknownNameError(kind, pattern, names)
    return [name for name in names if not patterns or any(matches(name, each) for each in patterns)]
