"""What was found right once is not held against the code again, until either changes.

That check imports torch and all algorithms of a table, which takes longer than all else that a plan does.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import harness
from harness import files
from harness.errors import DataError
from harness.home import default_home
from harness.planning.cells import ResolvedTable, resolve
from harness.planning.choice import Choice
from harness.specs import Specs

_READ = (".py", ".yaml", ".csv")


def static_names(resolved: ResolvedTable, specs: Specs) -> Mapping[str, frozenset[str]]:
    """The names of the hyperparameters that members of a population share, for each algorithm of a table.

    Args:
        resolved: the table.
        specs: those that it was resolved with; what is found is kept only where no others than the shipped
            ones are among them.

    Raises:
        SpecError: the specs are wrong or do not fit the code; one line for each thing, each beginning
            ``file:line:column:``.
        EnvironmentUnusableError: as `harness.planning.validation.check`.
    """
    if len(specs.folders) > 1:
        return _checked(resolved, specs)
    preset = resolved.preset.id if resolved.preset else "whole"
    place = default_home() / "checked" / f"{resolved.table.id}.{preset}.json"
    stamp = _stamp(specs.folders[0])
    kept = files.read_json(place) or {}
    if kept.get("stamp") == stamp:
        return {name: frozenset(names) for name, names in kept["static"].items()}
    found = _checked(resolved, specs)
    with contextlib.suppress(DataError):  # where nothing can be kept it is found again each time
        static = {name: sorted(names) for name, names in found.items()}
        files.write_json(place, {"stamp": stamp, "static": static})
    return found


def _checked(resolved: ResolvedTable, specs: Specs) -> dict[str, frozenset[str]]:
    from algorithms import algorithm_class
    from harness.planning.validation import check

    check(resolved, specs)
    preset = resolved.preset.id if resolved.preset else None
    whole = resolve(specs, resolved.table.id, Choice(preset=preset))  # whatever part of it was chosen
    used = {str(cell.column.algorithm) for cell in (*whole.with_below, *resolved.with_below)}
    return {
        name: algorithm_class(name).Hyperparameters.static_names()
        for name in used
        if specs.has_algorithm(name)
    }


def _stamp(specs: Path) -> str:
    """What changes with the specs, the code that they are held against, and the code that holds them."""
    package = Path(harness.__file__).parent
    places = (package, package.with_name("algorithms"), specs)
    digest = hashlib.sha256(f"{sys.version} {version('torch')}".encode())
    for path in sorted(path for place in places for path in place.rglob("*") if path.suffix in _READ):
        digest.update(path.read_bytes())
    return digest.hexdigest()
