"""Whether all specs hold together: what no single file can show."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from harness.errors import HarnessError, SpecError, UnknownNameError
from harness.files import listed
from harness.specs.catalogue import KINDS, Kind, Specs
from harness.specs.columns import (
    Scope,
    Written,
    column_read,
    columns_of,
    extra_columns_of,
    layered,
    members,
    other_sizes,
    own_hyperparameters,
    states_read,
    transforms,
    unknown_hyperparameter,
)
from harness.specs.loader import Document
from harness.specs.models import (
    LINEAGES,
    Algorithm,
    Dependency,
    Preset,
    PresetSettings,
    StateDependency,
    Table,
)
from harness.specs.published import LoneChange, PublishedCell
from harness.specs.text import Location, shown

T = TypeVar("T")


def validate(
    specs: Specs, table_ids: Sequence[str] | None = None, preset_ids: Sequence[str] = ()
) -> list[str]:
    """Everything that is wrong, one line each; empty where all is well.

    Args:
        specs: The specs to check.
        table_ids: Check these tables and what they name; None for everything there is.
        preset_ids: Presets to check beside these tables.

    Raises:
        UnknownNameError: A table in ``table_ids`` does not exist.
        SpecError: One id is defined in two folders, so nothing can be looked up.
    """
    everything = table_ids is None
    tables = specs.ids("tables") if table_ids is None else table_ids
    for name in tables:
        if name not in specs.ids("tables"):
            raise UnknownNameError("table", name, specs.ids("tables"))
    presets = specs.ids("presets") if everything else preset_ids
    return list(dict.fromkeys(_problems(specs, tables, presets, everything)))


def _problems(specs: Specs, tables: Sequence[str], presets: Sequence[str], everything: bool) -> Iterator[str]:
    for name in tables:
        yield from _whole(specs.table, name, lambda table: _table(specs, table))
    for name in presets:
        yield from _whole(specs.preset, name, lambda preset: _preset(specs, preset))
    if not everything:
        return
    for name in specs.ids("datasets"):
        yield from _whole(specs.dataset, name)
    for name in specs.ids("protocols"):
        yield from _whole(specs.protocol, name)
    for name in specs.ids("sources"):
        yield from _whole(specs.source, name)
    for name in specs.ids("algorithms"):
        yield from _whole(specs.algorithm, name, lambda algorithm: _algorithm(specs, algorithm))
    for kind in KINDS:
        for folder in specs.folders:
            for path in listed(folder / kind, "*.yml"):
                yield f"{shown(path)}:1:1: is not read; files of specs end in .yaml"


def _whole(
    load: Callable[[str], T], name: str, references: Callable[[T], Iterable[str]] = lambda _: ()
) -> Iterator[str]:
    """The problems of one file or, if it is right in itself, those of what it names."""
    try:
        spec = load(name)
    except SpecError as error:
        yield from str(error).splitlines()
    else:
        yield from references(spec)


def _table(specs: Specs, table: Table) -> Iterator[str]:
    document = specs.document("tables", table.id)
    yield from _lineage(specs, document, table.lineage)
    yield from _named(specs, document, ("protocol",), "protocols", table.protocol)
    for i, group in enumerate(table.groups):
        if group.protocol:
            yield from _named(specs, document, ("groups", i, "protocol"), "protocols", group.protocol)
        for j, dataset in enumerate(group.datasets):
            yield from _named(specs, document, ("groups", i, "datasets", j), "datasets", dataset)
    scope = Scope(table.id, columns_of(table))
    for written in scope.columns.values():
        yield from _column(specs, written, scope, table.datasets)
        yield from _mixes(specs, table, written)
    try:
        listing = specs.listing(table)
    except SpecError as error:
        yield from str(error).splitlines()
        return
    for row in _printed_rows(table) if listing is not None else ():
        missing = [column.id for column in table.columns if (row, column.id) not in (listing or {})]
        if missing:
            yield document.problem(
                ("published", "file"),
                f"the file has no line for row {row!r}, column {', '.join(missing)}; "
                "list a cell that the paper leaves empty with an empty mean",
            )
    yield from _shown(document, table, listing or {})


def _mixes(specs: Specs, table: Table, written: Written) -> Iterator[str]:
    """Problems of batches that online protocols mix, of the column's cells."""
    if not specs.has_algorithm(written.column.algorithm):
        return
    for dataset in table.datasets:
        name = table.protocol_of(written.column, dataset)
        try:
            gather = specs.protocol(name).gather if name in specs.ids("protocols") else None
            size = layered(specs, written, dataset).get("batch_size") if gather and gather.mix else None
        except SpecError:  # is told of the file itself
            return
        if gather and gather.mix and size and size.value != sum(gather.mix):
            yield specs.document("protocols", name).problem(
                ("gather", "mix"),
                f"{gather.mix[0]} and {gather.mix[1]} rows are no batch of {size.value}, which "
                f"{written.column.id} of {table.id} has",
            )


def _printed_rows(table: Table) -> list[str]:
    """The rows that the table's CSV file must list."""
    if table.published and table.published.rows == "averages":
        return [summary.id for summary in table.summaries]
    return list(table.datasets)


def _shown(document: Document, table: Table, listing: Mapping[tuple[str, str], object]) -> Iterator[str]:
    """Problems of what refers to rows and columns of the table itself."""
    columns = [column.id for column in table.columns]
    for i, column in enumerate(table.columns):
        for key, name in (("change_from", column.change_from), ("restates", column.restates)):
            if name is not None and name not in columns:
                yield document.problem(("columns", i, key), str(UnknownNameError("column", name, columns)))
    rows = table.printed_rows
    for i, footnote in enumerate(table.footnotes):
        for key, kind, known in (("rows", "row", rows), ("columns", "column", columns)):
            for j, name in enumerate(getattr(footnote, key)):
                if name not in known:
                    message = str(UnknownNameError(kind, name, known))
                    yield document.problem(("footnotes", i, key, j), message)
    for i, figure in enumerate(table.figures):
        for j, name in enumerate(figure.columns):
            if name not in columns:
                message = str(UnknownNameError("column", name, columns))
                yield document.problem(("figures", i, "columns", j), message)
    without = [column.id for column in table.columns if column.change_from is None]
    for row, name in listing:
        cell = listing[row, name]
        if isinstance(cell, PublishedCell | LoneChange) and cell.change and name in without:
            yield document.problem(
                ("columns", columns.index(name)),
                f"the published file has a change at row {row!r}, but 'change_from' does not say from what",
            )


def _named(specs: Specs, document: Document, location: Location, kind: Kind, name: str) -> Iterator[str]:
    """Problems of a spec that another one names, the reference included."""
    if name not in specs.ids(kind):
        yield document.problem(location, str(UnknownNameError(kind.removesuffix("s"), name, specs.ids(kind))))
    elif kind == "datasets":
        yield from _whole(specs.dataset, name)
    else:
        yield from _whole(specs.protocol, name)


def _lineage(specs: Specs, document: Document, name: str | None, location: Location = ()) -> Iterator[str]:
    """The problem of a lineage that there is not."""
    try:
        specs.lineage(name or LINEAGES[0])
    except UnknownNameError as error:
        yield document.problem((*location, "lineage"), str(error))


def _column(specs: Specs, written: Written, scope: Scope, datasets: Sequence[str]) -> Iterator[str]:
    """Problems of what a column sets and reads."""
    column, kind, spec, location = written
    document = specs.document(kind, spec)
    yield from _globs(document, (*location, "per_dataset"), column.per_dataset, datasets)
    for index, pattern in enumerate(column.datasets or ()):
        if not any(fnmatchcase(dataset, pattern) for dataset in datasets):
            yield document.problem((*location, "datasets", index), f"{pattern!r} matches no dataset here")
    try:
        members(specs, written, scope.columns)
    except SpecError as error:
        yield str(error)
    yield from _mixtures(specs, written, datasets)
    if isinstance(column.protocol, str):
        yield from _named(specs, document, (*location, "protocol"), "protocols", column.protocol)
    elif column.protocol:
        yield from _globs(document, (*location, "protocol"), column.protocol, datasets)
        for pattern, name in column.protocol.items():
            yield from _named(specs, document, (*location, "protocol", pattern), "protocols", name)
    yield from _dependencies(specs, written, scope, datasets)
    if not specs.has_algorithm(column.algorithm):
        return
    try:
        known = specs.algorithm(column.algorithm).hyperparameters
    except SpecError as error:
        yield from str(error).splitlines()
        return
    overrides: list[tuple[Location, Mapping[str, object]]] = [(("hyperparameters",), column.hyperparameters)]
    overrides += [(("per_dataset", glob), some.hyperparameters) for glob, some in column.per_dataset.items()]
    for below, values in overrides:
        for name in values:
            if name not in known:
                message = unknown_hyperparameter(column.algorithm, name, known)
                yield document.problem((*location, *below, name), message, key=True)


def _mixtures(specs: Specs, written: Written, datasets: Sequence[str]) -> Iterator[str]:
    """Problems of the datasets that a column mixes in."""
    for name in datasets:
        try:
            chosen = transforms(specs, written, name)
        except SpecError as error:
            yield from str(error).splitlines()
            continue
        for index, step in enumerate(chosen.transforms):
            if not step.mix:
                continue
            try:
                here, there = specs.dataset(name), specs.dataset(step.mix.dataset)
            except HarnessError:  # reported with the datasets themselves
                continue
            sizes = (here.observation_size, here.action_size), (there.observation_size, there.action_size)
            if sizes[0] != sizes[1]:
                yield chosen.problem(specs, other_sizes(name, there.id, *sizes), index, "mix", "dataset")


def _dependencies(specs: Specs, written: Written, scope: Scope, datasets: Sequence[str]) -> Iterator[str]:
    """Problems of values and states that depend on other columns."""

    def follow(
        one: Written, within: Scope, dataset: str, trail: tuple[tuple[str, str], ...]
    ) -> Iterator[str]:
        for entry in (*own_hyperparameters(one, dataset).values(), *states_read(one, dataset).values()):
            if isinstance(entry.value, Dependency | StateDependency):
                try:
                    around, below = column_read(specs, within, entry, trail)
                except SpecError as error:
                    yield str(error)
                else:
                    yield from follow(below, around, dataset, (*trail, (around.table, below.column.id)))

    for dataset in datasets:
        yield from follow(written, scope, dataset, ((scope.table, written.column.id),))


def _algorithm(specs: Specs, algorithm: Algorithm) -> Iterator[str]:
    document = specs.document("algorithms", algorithm.id)
    return _globs(document, ("per_dataset",), algorithm.per_dataset, specs.ids("datasets"))


def _preset(specs: Specs, preset: Preset) -> Iterator[str]:
    document = specs.document("presets", preset.id)
    own = extra_columns_of(preset)
    known = _columns_of_tables(specs) | own
    scope = Scope("", known, preset)
    yield from _globs(document, ("tables",), preset.tables, specs.ids("tables"), "table")
    settings: dict[Location, PresetSettings] = {(): preset}
    settings |= {("tables", pattern): one for pattern, one in preset.tables.items()}
    for location, some in settings.items():
        yield from _lineage(specs, document, some.lineage, location)
        for i, dataset in enumerate(some.datasets or ()):
            yield from _named(specs, document, (*location, "datasets", i), "datasets", dataset)
        for i, column in enumerate(some.columns or ()):
            if column not in known:
                yield document.problem(
                    (*location, "columns", i), str(UnknownNameError("column of any table", column, known))
                )
    for written in own.values():
        yield from _column(specs, written, scope, preset.datasets or specs.ids("datasets"))


def _columns_of_tables(specs: Specs) -> dict[str, Written]:
    columns: dict[str, Written] = {}
    for name in specs.ids("tables"):
        try:
            columns |= columns_of(specs.table(name))
        except SpecError:  # reported with the table itself
            continue
    return columns


def _globs(
    document: Document,
    location: Location,
    patterns: Mapping[str, object],
    names: Collection[str],
    kind: str = "dataset",
) -> Iterator[str]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            yield document.problem((*location, pattern), f"{pattern!r} matches no {kind} here", key=True)
