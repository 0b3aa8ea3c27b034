"""Which algorithms there are: files of this package, of further folders, and classes of installed packages.

A file is an algorithm if a class in it has the decorator ``@register("<name of the file>")``. Files of
further folders become modules of this package, as if they lay beside the shipped ones: one algorithm may
extend another, whichever folder that is in, and what several share may stand in a module of its own.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import algorithms
from algorithms.base import REGISTERED, Algorithm

GROUP = "harness.algorithms"
"""Entry points of installed packages: an algorithm's id, and the class."""


class AlgorithmError(Exception):
    """What should be an algorithm cannot be used; says where it is, and why."""


def add_folder(folder: Path) -> None:
    """Find algorithms, and modules that they share, in one more folder; again changes nothing.

    Raises:
        AlgorithmError: a file has the name of one in another folder.
    """
    if str(folder) in algorithms.__path__:
        return
    there = {path.stem: path for path in _files()}
    for path in _files_in(folder):
        if path.stem in there:
            raise AlgorithmError(f"{path}:1:1: {there[path.stem]} has the same name; rename one of them")
    algorithms.__path__.append(str(folder))
    _places.cache_clear()


def algorithm_ids() -> list[str]:
    """Names of all algorithms, found without importing any."""
    return sorted(_places())


def algorithm_class(algorithm_id: str) -> type[Algorithm]:
    """The class of an algorithm, whose module is imported.

    Raises:
        KeyError: there is no such algorithm.
        AlgorithmError: the module cannot be imported, or there is no algorithm in it.
    """
    place = _places()[algorithm_id]
    try:
        if isinstance(place, EntryPoint):
            found = place.load()
        else:
            importlib.import_module(f"algorithms.{algorithm_id}")
            found = REGISTERED[algorithm_id]
    except (Exception, SystemExit) as error:
        raise AlgorithmError(f"{_named(place)} cannot be imported") from error
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise AlgorithmError(f"{_named(place)} is no subclass of algorithms.base.Algorithm")
    return found


def _named(place: Path | EntryPoint) -> str:
    return f"the entry point {place.name} = {place.value}" if isinstance(place, EntryPoint) else str(place)


@functools.cache  # asked once a cell
def _places() -> dict[str, Path | EntryPoint]:
    """Where each algorithm is.

    Raises:
        AlgorithmError: two have the same id.
    """
    found: dict[str, Path | EntryPoint] = {path.stem: path for path in _files() if _registers(path)}
    for each in entry_points(group=GROUP):
        if each.name in found:
            raise AlgorithmError(
                f"{_named(found[each.name])} and {_named(each)} are algorithms of one id; rename one of them"
            )
        found[each.name] = each
    return found


def _files() -> Iterator[Path]:
    for folder in algorithms.__path__:
        yield from _files_in(Path(folder))


def _files_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!_]*.py"))


def _registers(path: Path) -> bool:
    decorator = rf"^@(\w+\.)*register\(\s*['\"]{re.escape(path.stem)}['\"]\s*\)"
    return re.search(decorator, path.read_text(encoding="utf-8", errors="replace"), re.M) is not None
