"""Holds the specs of algorithms against the code: the only check of specs that needs torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from algorithms import algorithm_class, algorithm_ids
from harness.errors import HarnessError, SpecError
from harness.planning.cells import hyperparameters
from harness.specs import Specs, Table


def validate_algorithms(specs: Specs, table_ids: Iterable[str] | None = None) -> list[str]:
    """What is wrong between the algorithms' specs and their classes, one line each.

    Args:
        specs: the specs; those that are wrong in themselves (see `harness.specs.validation.validate`) are
            passed over.
        table_ids: check the algorithms of these tables, and their cells; None for everything there is.
    """
    tables = [
        table
        for name in (specs.ids("tables") if table_ids is None else table_ids)
        if (table := _table(specs, name))
    ]
    used = {column.algorithm for table in tables for column in table.columns}
    names = [name for name in specs.ids("algorithms") if table_ids is None or name in used]
    problems = [line for name in names for line in _defaults(specs, name)]
    if not problems:  # a wrong default would be reported again for each cell
        problems = [line for table in tables for line in _cells(specs, table)]
    return problems


def _table(specs: Specs, name: str) -> Table | None:
    try:
        return specs.table(name)
    except HarnessError:
        return None


def _defaults(specs: Specs, name: str) -> Iterator[str]:
    """Problems of an algorithm's own values, each at its place in the file."""
    document = specs.document("algorithms", name)
    if name not in algorithm_ids():
        yield document.problem(
            ("id",), f"there is no algorithms/{name}.py; known: {', '.join(algorithm_ids())}"
        )
        return
    try:
        spec = specs.algorithm(name)
    except SpecError:
        return
    values = {key: entry.value for key, entry in spec.hyperparameters.items()}
    yield from (
        document.problem(("hyperparameters", key, "value"), f"{key} {problem}")
        for key, problem in _problems(name, values).items()
    )
    for pattern, overrides in spec.per_dataset.items():
        yield from (
            document.problem(("per_dataset", pattern, key), f"{key} {problem}")
            for key, problem in _problems(name, values | overrides).items()
            if key in overrides
        )


def _cells(specs: Specs, table: Table) -> Iterator[str]:
    """Problems of what a table's columns set, each once."""
    document = specs.document("tables", table.id)
    for index, column in enumerate(table.columns):
        if not specs.has_algorithm(column.algorithm):
            continue
        spec = specs.algorithm(column.algorithm)
        found: dict[str, str] = {}
        try:
            for dataset in table.datasets:
                found |= _problems(spec.id, hyperparameters(spec, column, dataset))
        except SpecError:  # wrong in itself
            continue
        for key, problem in found.items():
            patterns = [name for name, overrides in column.per_dataset.items() if key in overrides]
            below = ("hyperparameters", key) if not patterns else ("per_dataset", patterns[-1], key)
            yield document.problem(("columns", index, *below), f"{key} {problem}")


def _problems(algorithm: str, values: Mapping[str, object]) -> dict[str, str]:
    return algorithm_class(algorithm).Hyperparameters.problems(values)
