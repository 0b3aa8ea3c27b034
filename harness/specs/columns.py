"""A column's hyperparameters on one dataset: their values, where each is written, and what they depend on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import SpecError, UnknownNameError
from harness.specs.models import (
    Algorithm,
    Column,
    ColumnOverrides,
    Dependency,
    Preset,
    StateDependency,
    Table,
    Transforms,
    Value,
)

if TYPE_CHECKING:
    from harness.specs.catalogue import Kind, Specs
    from harness.specs.text import Location


class Written(NamedTuple):
    """A column, and where it is written: kind and id of the spec, place in its file."""

    column: Column
    kind: Kind
    spec: str
    location: Location


class Entry(NamedTuple):
    """The value of a hyperparameter, or a state of other runs, and where it is written."""

    value: Value | Dependency | StateDependency
    kind: Kind
    spec: str
    location: Location

    def problem(self, specs: Specs, message: str, *, key: bool = False) -> str:
        """One line, ``path:line:column: dotted.key: message``."""
        return specs.document(self.kind, self.spec).problem(self.location, message, key=key)


@dataclass(frozen=True)
class Scope:
    """What may be depended on without naming a table: the columns of one, or a preset's own and any table's.

    Attributes:
        table: id of the table; '' of a preset's columns, whose table is not known.
        columns: by id.
        preset: whose columns are known in other tables, too.
    """

    table: str
    columns: Mapping[str, Written]
    preset: Preset | None = None

    def of(self, specs: Specs, table: str) -> Scope:
        """The scope of another table, whose own columns precede the preset's.

        Raises:
            UnknownNameError: There is none.
            SpecError: Its file is wrong.
        """
        preset = specs.preset(self.preset.id).of(table) if self.preset else None
        own = extra_columns_of(preset) if preset else {}
        return Scope(table, own | columns_of(specs.table(table)), preset)


def columns_of(table: Table, preset: Preset | None = None) -> dict[str, Written]:
    """All columns of a table by id, also those that a preset leaves out; a preset's own replace them."""
    found = {
        column.id: Written(column, "tables", table.id, ("columns", index))
        for index, column in enumerate(table.columns)
    }
    return found | extra_columns_of(preset) if preset else found


def extra_columns_of(preset: Preset) -> dict[str, Written]:
    """A preset's own columns by id."""
    return {
        column.id: Written(column, "presets", preset.id, ("extra_columns", index))
        for index, column in enumerate(preset.extra_columns)
    }


def members(specs: Specs, written: Written, columns: Mapping[str, Written]) -> tuple[Written, ...]:
    """The columns that a column's numbers are made of: those that it is a mean or the best of, or itself.

    Empty where it shows printed numbers only.

    Args:
        specs: for messages that point into a file.
        written: the column.
        columns: those that may be named, by id.

    Raises:
        SpecError: it is made of a column that does not exist or has no algorithm.
    """
    found = [written] if written.column.algorithm else []
    key = "mean_of" if written.column.mean_of else "best_of"
    for index, name in enumerate(written.column.parts):
        problem = ""
        if name not in columns:
            problem = str(UnknownNameError("column", name, columns))
        elif columns[name].column.algorithm is None:
            problem = f"column {name} has no algorithm, so it has no scores to be made of"
        if problem:
            document = specs.document(written.kind, written.spec)
            raise SpecError(document.problem((*written.location, key, index), problem))
        found.append(columns[name])
    return tuple(found)


def own_hyperparameters(written: Written, dataset_id: str) -> dict[str, Entry]:
    """What the column itself says on a dataset, without its algorithm's defaults."""
    column = written.column
    entries = {
        name: Entry(value, *written[1:3], (*written.location, "hyperparameters", name))
        for name, value in column.hyperparameters.items()
    }
    for pattern, overrides in column.per_dataset.items():
        if fnmatchcase(dataset_id, pattern):
            for name, value in overrides.hyperparameters.items():
                location = (*written.location, "per_dataset", pattern, name)
                entries[name] = Entry(value, *written[1:3], location)
    return entries


def states_read(written: Written, dataset_id: str) -> dict[str, Entry]:
    """The states of other runs that a column reads on a dataset.

    Returns:
        'start', or the input's name -> the dependency; of the column's inputs and those of its per-dataset
        overrides the last that match, as a whole.
    """
    column, kind, spec, location = written
    layers: list[tuple[Column | ColumnOverrides, Location]] = [(column, location)]
    layers += [
        (overrides, (*location, "per_dataset", pattern))
        for pattern, overrides in column.per_dataset.items()
        if fnmatchcase(dataset_id, pattern)
    ]
    start: dict[str, Entry] = {}
    inputs: dict[str, Entry] = {}
    for layer, place in layers:
        if layer.start:
            start = {"start": Entry(layer.start, kind, spec, (*place, "start"))}
        if layer.inputs is not None:
            inputs = {
                name: Entry(dependency, kind, spec, (*place, "inputs", name))
                for name, dependency in layer.inputs.items()
            }
    return start | inputs


def layered(specs: Specs, written: Written, dataset_id: str) -> dict[str, Entry]:
    """All hyperparameters of a column, also such as its algorithm does not have; later sources win.

    In order: the algorithm's defaults, its per-dataset values, the column's, the column's per-dataset ones.
    Of an algorithm without a spec only the latter two are known.
    """
    own = own_hyperparameters(written, dataset_id)
    if not specs.has_algorithm(written.column.algorithm):
        return own
    algorithm = specs.algorithm(written.column.algorithm)
    entries = {
        name: Entry(entry.value, "algorithms", algorithm.id, ("hyperparameters", name, "value"))
        for name, entry in algorithm.hyperparameters.items()
    }
    for pattern, overrides in algorithm.per_dataset.items():
        if fnmatchcase(dataset_id, pattern):
            for name, value in overrides.hyperparameters.items():
                entries[name] = Entry(value, "algorithms", algorithm.id, ("per_dataset", pattern, name))
    return entries | own


class Chosen(NamedTuple):
    """The transforms of a cell's data, and where they are written."""

    transforms: Transforms
    kind: Kind
    spec: str
    location: Location

    def problem(self, specs: Specs, message: str, *below: str | int) -> str:
        """One line, ``path:line:column: dotted.key: message``, for the list or what stands below it."""
        return specs.document(self.kind, self.spec).problem((*self.location, *below), message)


def transforms(specs: Specs, written: Written, dataset_id: str) -> Chosen:
    """The transforms of a column's data on a dataset: the last list of those that `layered` would find.

    Raises:
        SpecError: they name a dataset that does not exist.
    """
    column, kind, spec, location = written
    chosen = [Chosen((), kind, spec, location)]
    if specs.has_algorithm(column.algorithm):
        algorithm = specs.algorithm(column.algorithm)
        chosen += _lists(algorithm, "algorithms", algorithm.id, (), dataset_id)
    found = [*chosen, *_lists(column, kind, spec, location, dataset_id)][-1]
    for index, step in enumerate(found.transforms):
        if step.mix and step.mix.dataset not in specs.ids("datasets"):
            unknown = UnknownNameError("dataset", step.mix.dataset, specs.ids("datasets"))
            raise SpecError(found.problem(specs, str(unknown), index, "mix", "dataset"))
    return found


def other_sizes(dataset: str, mixed: str, here: tuple[int, int], there: tuple[int, int]) -> str:
    """What is said of a dataset that is mixed into one of other sizes (of observation and action)."""
    return (
        f"{mixed} cannot be mixed into {dataset}: observations and actions have {there[0]} and {there[1]} "
        f"numbers there, {here[0]} and {here[1]} here"
    )


def _lists(
    model: Algorithm | Column, kind: Kind, spec: str, location: Location, dataset_id: str
) -> Iterator[Chosen]:
    if model.data is not None:
        yield Chosen(model.data, kind, spec, (*location, "data"))
    for pattern, overrides in model.per_dataset.items():
        if overrides.data is not None and fnmatchcase(dataset_id, pattern):
            yield Chosen(overrides.data, kind, spec, (*location, "per_dataset", pattern, "data"))


def hyperparameters(specs: Specs, written: Written, dataset_id: str) -> dict[str, Entry]:
    """All hyperparameters of a column, as `layered` has them.

    Raises:
        SpecError: the column sets something that the algorithm does not have.
    """
    entries = layered(specs, written, dataset_id)
    if specs.has_algorithm(written.column.algorithm):
        algorithm = specs.algorithm(written.column.algorithm)
        known = algorithm.hyperparameters
        problems = [
            entry.problem(specs, unknown_hyperparameter(algorithm.id, name, known), key=True)
            for name, entry in entries.items()
            if name not in known
        ]
        if problems:
            raise SpecError("\n".join(problems))
    return entries


def unknown_hyperparameter(algorithm: str, name: str, known: Mapping[str, object]) -> str:
    """What is said of a hyperparameter that an algorithm does not have."""
    return str(UnknownNameError(f"hyperparameter of {algorithm}", name, known))


def column_read(
    specs: Specs, scope: Scope, entry: Entry, trail: Sequence[tuple[str, str]]
) -> tuple[Scope, Written]:
    """The column that a value or a state depends on, and the scope of its own dependencies.

    Args:
        specs: for messages that point into a file.
        scope: of the column that the entry belongs to.
        entry: a dependency.
        trail: table and id of the columns that led here, the one that the entry belongs to last.

    Raises:
        SpecError: there is no such table or column, or it depends on the columns that led to it.
    """
    wanted = entry.value
    assert isinstance(wanted, Dependency | StateDependency)  # noqa: S101 - callers look first
    table = wanted.table if isinstance(wanted, StateDependency) else None
    if table is not None and table != scope.table:
        here = entry._replace(location=(*entry.location, "table"))
        try:
            scope = scope.of(specs, table)
        except UnknownNameError as error:
            raise SpecError(here.problem(specs, str(error))) from None
    if wanted.column not in scope.columns:
        here = entry._replace(location=(*entry.location, "column"))
        of = f"column of {table}" if table else "column"
        raise SpecError(here.problem(specs, str(UnknownNameError(of, wanted.column, scope.columns))))
    if scope.columns[wanted.column].column.algorithm is None:
        raise SpecError(
            entry.problem(
                specs, f"column {wanted.column} has no algorithm, so it trains nothing to read from"
            )
        )
    name = (scope.table, wanted.column)
    if name in trail:
        around = (*trail[trail.index(name) :], name)
        one_table = len({table for table, _ in around}) == 1
        chain = " -> ".join(column if one_table else f"{table}: {column}" for table, column in around)
        raise SpecError(entry.problem(specs, f"columns depend on each other: {chain}"))
    return scope, scope.columns[wanted.column]
