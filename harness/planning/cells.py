"""From a table to its cells, and from a cell to its runs.

A run's key needs neither the data nor torch: it is the SHA-256 of the canonical configuration and the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from harness.errors import SpecError, UnknownNameError
from harness.results.records import RunRecord, canonical
from harness.specs import Algorithm, Column, Dataset, Lineage, Preset, Protocol, Specs, Table
from harness.specs.models import ScoreRule

_COUNTED: dict[ScoreRule, str] = {
    "last": "last evaluation",
    "mean_last": "mean of the last {k} evaluations",
    "best": "best of the evaluations",
}


@dataclass(frozen=True)
class Cell:
    """One dataset under one column.

    Attributes:
        runs: one per seed, in the order of the seeds; there even if the cell cannot be trained, so that
            imported scores find their place.
        unavailable: why the cell cannot be trained ('no implementation', ...), or None.
        incomparable: why its numbers are not comparable with the printed ones; empty if they are.
    """

    dataset: Dataset
    column: Column
    runs: tuple[RunRecord, ...]
    unavailable: str | None
    incomparable: tuple[str, ...]


@dataclass(frozen=True)
class ResolvedTable:
    """A table with every choice made.

    Attributes:
        protocol: with the overrides applied; its seeds are those the table wants.
        cells: row by row.
    """

    table: Table
    protocol: Protocol
    lineage: Lineage
    preset: Preset | None
    cells: tuple[Cell, ...]


def _plain(value: Any) -> Any:
    """The value with 1.0 as 1, so that how a number is written in YAML does not change a key."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def run_record(configuration: Mapping[str, Any], seed: int) -> RunRecord:
    """The run of a configuration and a seed, with its keys."""
    configuration = _plain(configuration)
    text = canonical(configuration)
    return RunRecord(
        key=hashlib.sha256(f"{text}#{seed}".encode()).hexdigest(),
        configuration_key=hashlib.sha256(text.encode()).hexdigest(),
        configuration=configuration,
        seed=seed,
    )


def hyperparameters(algorithm: Algorithm, column: Column, dataset_id: str) -> dict[str, Any]:
    """All of an algorithm's hyperparameters for one cell; later sources win.

    In order: the algorithm's defaults, its per-dataset values, the column's, the column's per-dataset ones.

    Raises:
        SpecError: the column sets something that the algorithm does not have.
    """
    values: dict[str, Any] = {name: h.value for name, h in algorithm.hyperparameters.items()}
    for overrides in (
        *_matching(algorithm.per_dataset, dataset_id),
        column.hyperparameters,
        *_matching(column.per_dataset, dataset_id),
    ):
        for name in overrides:
            if name not in values:
                raise SpecError(
                    f"column {column.id!r} sets {name!r}, which is no hyperparameter of {algorithm.id}; "
                    f"known: {', '.join(values)}"
                )
        values.update(overrides)
    return values


def _matching(per_dataset: Mapping[str, Mapping[str, Any]], dataset_id: str) -> list[Mapping[str, Any]]:
    return [overrides for pattern, overrides in per_dataset.items() if fnmatchcase(dataset_id, pattern)]


def resolve(
    specs: Specs,
    table_id: str,
    *,
    preset: str | None = None,
    lineage: Lineage | None = None,
    datasets: str | None = None,
    columns: str | None = None,
    seeds: Sequence[int] | None = None,
    steps: int | None = None,
    score: ScoreRule | None = None,
) -> ResolvedTable:
    """Make every choice that a table, a preset and the user's options leave open.

    Args:
        specs: where the YAML files are.
        table_id: the table.
        preset: id of a preset, applied before the other options.
        lineage: of the data to train on; default: the preset's, else the table's.
        datasets: glob over dataset ids.
        columns: glob over column ids.
        seeds: train only these; the table still wants all of its own.
        steps: shorten training.
        score: which evaluations count; default: as the protocol says. It changes no run, only what is read
            from its evaluations.

    Raises:
        UnknownNameError: a name or glob that matches nothing.
        SpecError: a spec file is wrong.
    """
    table = specs.table(table_id)
    chosen = specs.preset(preset) if preset else None
    protocol = _protocol(specs.protocol(table.protocol), chosen, steps, score)
    lineage = lineage or (chosen.lineage if chosen else None) or table.lineage
    incomparable = _incomparable(table, specs.protocol(table.protocol), protocol, lineage, chosen)
    table = _restrict(table, chosen, datasets, columns)
    cells = tuple(
        _cell(
            specs, _sized(specs.dataset(dataset_id), chosen), column, lineage, protocol, seeds, incomparable
        )
        for dataset_id in table.datasets
        for column in table.columns
    )
    return ResolvedTable(table, protocol, lineage, chosen, cells)


def _protocol(
    protocol: Protocol, preset: Preset | None, steps: int | None, score: ScoreRule | None
) -> Protocol:
    changes: dict[str, Any] = {}
    if preset:
        wanted = preset.model_dump(include={"seeds", "steps", "evaluate_every", "episodes"})
        changes = {name: value for name, value in wanted.items() if value is not None}
    if steps is not None:
        changes["steps"] = steps
    if score is not None:
        changes["score"] = score
    total = changes.get("steps", protocol.steps)
    changes["evaluate_every"] = min(changes.get("evaluate_every", protocol.evaluate_every), total)
    return protocol.model_copy(update=changes)


def _incomparable(
    table: Table, published: Protocol, ours: Protocol, lineage: Lineage, preset: Preset | None
) -> tuple[str, ...]:
    """Why numbers measured this way cannot be held against the printed ones."""
    reasons = []
    if lineage != table.lineage:
        reasons.append(f"{lineage} data")
    if preset:
        reasons.append(preset.label)
    else:
        if ours.steps != published.steps:
            reasons.append(f"{ours.steps:,} of {published.steps:,} steps")
    if ours.score != published.score:
        reasons.append(f"score: {_COUNTED[ours.score].format(k=ours.last_k)}")
    return tuple(reasons)


def _sized(dataset: Dataset, preset: Preset | None) -> Dataset:
    """The dataset with its generated data of the preset's size."""
    if preset is None or preset.transitions is None or dataset.generated is None:
        return dataset
    return dataset.model_copy(
        update={"generated": dataset.generated.model_copy(update={"transitions": preset.transitions})}
    )


def _restrict(table: Table, preset: Preset | None, datasets: str | None, columns: str | None) -> Table:
    """The table with only the chosen rows and columns; averages over fewer rows than printed are dropped."""
    all_columns = list(table.columns)
    if preset and preset.columns is not None:
        by_id = {column.id: column for column in all_columns}
        all_columns = [by_id[_known("column", name, by_id, table, preset)] for name in preset.columns]
    if preset:
        for column in preset.extra_columns:
            if column.id in [other.id for other in all_columns]:
                raise SpecError(
                    f"preset {preset.id} adds a column {column.id!r}, which {table.id} has already"
                )
        all_columns = [*preset.extra_columns, *all_columns]
    kept = _glob("column", columns, [column.id for column in all_columns])
    rows = list(table.datasets)
    if preset and preset.datasets is not None:
        rows = [_known("dataset", name, rows, table, preset) for name in preset.datasets]
    rows = _glob("dataset", datasets, rows)
    groups = []
    for group in table.groups:
        left = tuple(name for name in group.datasets if name in rows)
        whole = len(left) == len(group.datasets)
        if left:
            groups.append(
                group.model_copy(update={"datasets": left, "average": group.average if whole else None})
            )
    return table.model_copy(
        update={
            "groups": tuple(groups),
            "columns": tuple(column for column in all_columns if column.id in kept),
            "total": table.total if len(rows) == len(table.datasets) else None,
        }
    )


def _known(kind: str, name: str, known: Collection[str], table: Table, preset: Preset) -> str:
    if name not in known:
        raise UnknownNameError(f"{kind} of {table.id} (preset {preset.id} asks for it)", name, known)
    return name


def _glob(kind: str, pattern: str | None, names: Sequence[str]) -> list[str]:
    kept = [name for name in names if pattern is None or fnmatchcase(name, pattern)]
    if not kept:
        raise UnknownNameError(f"{kind} of this table", str(pattern), names)
    return kept


def _cell(
    specs: Specs,
    dataset: Dataset,
    column: Column,
    lineage: Lineage,
    protocol: Protocol,
    seeds: Sequence[int] | None,
    incomparable: tuple[str, ...],
) -> Cell:
    algorithm = specs.algorithm(column.algorithm) if specs.has_algorithm(column.algorithm) else None
    environment = dataset.environment
    configuration = {
        "algorithm": column.algorithm,
        "hyperparameters": hyperparameters(algorithm, column, dataset.id) if algorithm else None,
        "dataset": dataset.identity(lineage),
        "environment": environment and environment.model_dump(include={"id", "max_episode_steps"}),
        "protocol": protocol.model_dump(include={"steps", "evaluate_every", "episodes"}),
    }
    unavailable = None
    if algorithm is None:
        unavailable = "no implementation"
    elif dataset.source(lineage) is None:
        unavailable = f"no {lineage} data"
    elif environment is None:
        unavailable = "no environment"
    if environment and not environment.comparable:
        incomparable = (*incomparable, f"environment {environment.id}")
    wanted = protocol.seeds if seeds is None else seeds
    runs = tuple(run_record(configuration, seed) for seed in wanted)
    return Cell(dataset, column, runs, unavailable, incomparable)
