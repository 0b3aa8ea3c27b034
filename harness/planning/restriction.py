"""What of a table is kept: the rows, columns and data that a preset and the user choose."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from harness.errors import SpecError, UnknownNameError
from harness.planning.choice import Choice
from harness.specs import Column, Dataset, Dependency, Lineage, Preset, Specs, Table
from harness.specs.matching import matches, matching


def lineage_of(specs: Specs, table: Table, preset: Preset | None, choice: Choice) -> Lineage:
    """The lineage of the data to train on: the user's, the preset's or the table's own.

    Where the preset takes what the table has, it is the table's own or, where all of that must be downloaded,
    another one of which some row needs no download.

    Raises:
        HarnessError: there is no such lineage.
    """
    own = choice.lineage or (preset and preset.lineage)
    if own is None and preset and preset.at_most:
        local = [
            lineage
            for name in table.datasets
            for lineage, source in specs.dataset(name).sources.items()
            if source.local
        ]
        own = local[0] if local and table.lineage not in local else None
    return specs.lineage(own or table.lineage)


def restricted(specs: Specs, table: Table, preset: Preset | None, choice: Choice, lineage: Lineage) -> Table:
    """The table with only the chosen rows and columns; averages over fewer rows than printed are dropped.

    Args:
        specs: for datasets and algorithms, where a preset keeps what can be trained before what cannot.
        table: as its file has it.
        preset: what it leaves out goes first.
        choice: the user's.
        lineage: of the data to train on.

    Raises:
        HarnessError: the preset asks for what the table does not have, or a pattern matches nothing.
    """
    all_columns = list(table.columns)
    if preset and preset.columns is not None:
        by_id = {column.id: column for column in all_columns}
        all_columns = [by_id[_known(specs, "column", name, by_id, table, preset)] for name in preset.columns]
    if preset:
        for column in preset.extra_columns:
            if column.id in [other.id for other in all_columns]:
                raise SpecError(
                    f"preset {preset.id} adds a column {column.id!r}, which {table.id} has already"
                )
        all_columns = [*preset.extra_columns, *all_columns]
    kept = _chosen(
        "column",
        choice.algorithms,
        [column.id for column in all_columns],
        [column.id for column in table.columns],
        preset,
    )
    rows = list(table.datasets)
    if preset and preset.datasets is not None:
        rows = [_known(specs, "dataset", name, rows, table, preset) for name in preset.datasets]
    rows = _chosen("dataset", choice.datasets, rows, table.datasets, preset)
    if preset and preset.at_most:
        # of both only what something is trained for
        by_id = {column.id: column for column in all_columns}
        rows = [row for row in rows if any(by_id[name].runs_on(row) for name in kept)]
        rows = _first(rows, preset.at_most.datasets, lambda name: _row_rank(specs.dataset(name), lineage))
        kept = [name for name in kept if any(by_id[name].runs_on(row) for row in rows)]
        kept = _first(kept, preset.at_most.columns, lambda name: _column_rank(specs, by_id[name]))
    groups = []
    for group in table.groups:
        left = tuple(name for name in group.datasets if name in rows)
        whole = len(left) == len(group.datasets)
        if left:
            dropped = {} if whole else {"average": None, "sum": None}
            groups.append(group.model_copy(update={"datasets": left, **dropped}))
    return table.model_copy(
        update={
            "groups": tuple(groups),
            "columns": tuple(column for column in all_columns if column.id in kept),
            "total": table.total if len(rows) == len(table.datasets) else None,
        }
    )


def _first(names: Sequence[str], number: int | None, rank: Callable[[str], int]) -> list[str]:
    """So many names, the lowest ranks before others, in the order given."""
    best = sorted(names, key=rank)[:number]
    return [name for name in names if name in best]


def _row_rank(dataset: Dataset, lineage: Lineage) -> int:
    """0 where nothing lacks, else more: what the fewest things lack for stands first."""
    source = dataset.source(lineage)
    return (
        (source is None) * 4 + (dataset.environment is None) * 2 + (source is not None and not source.local)
    )


def _column_rank(specs: Specs, column: Column) -> int:
    """0 where it trains alone, 1 after others, 2 where it is made of several, 3 where nothing trains."""
    if column.parts:
        return 2
    if not specs.has_algorithm(column.algorithm):
        return 3
    values = (column.hyperparameters, *(each.hyperparameters for each in column.per_dataset.values()))
    reads = any(isinstance(value, Dependency) for each in values for value in each.values())
    return int(reads or column.reads_states)


def _known(specs: Specs, kind: str, name: str, known: Collection[str], table: Table, preset: Preset) -> str:
    if name not in known:
        whose = f"{kind} of {table.id} (preset {preset.id} asks for it)"
        fit = ", ".join(fitting(specs, table)) or "none"
        raise UnknownNameError(whose, name, known, f"; presets that fit {table.id}: {fit}")
    return name


def fitting(specs: Specs, table: Table) -> list[str]:
    """Ids of the presets that ask for nothing that the table does not have.

    Raises:
        SpecError: a preset's file is wrong.
    """
    columns = {column.id for column in table.columns}
    return [
        name
        for name in specs.ids("presets")
        for preset in (specs.preset(name).of(table.id),)
        if {*(preset.datasets or ())} <= {*table.datasets}
        and {*(preset.columns or ())} <= columns
        and columns.isdisjoint(column.id for column in preset.extra_columns if preset.columns is None)
    ]


def _chosen(
    kind: str, patterns: Sequence[str], names: Sequence[str], before: Sequence[str], preset: Preset | None
) -> list[str]:
    """The names that match; `before` are those of the table, some of which the preset may leave out."""
    try:
        return matching(f"{kind} of this table", patterns, names)
    except UnknownNameError as error:
        if preset and any(matches(name, error.name) for name in before):
            whose = f"this table (preset {preset.id} leaves out those that match)"
            raise UnknownNameError(f"{kind} of {whose}", error.name, names) from None
        raise
