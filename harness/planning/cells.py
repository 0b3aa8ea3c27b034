"""From a table to its cells, and from a cell to its runs.

A run's key needs neither the data nor torch: it is the SHA-256 of the canonical configuration and the seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from harness.errors import SpecError
from harness.planning.choice import Choice
from harness.planning.restriction import lineage_of, restricted
from harness.results.records import RunRecord, canonical, digest, run_key
from harness.specs import (
    Column,
    Dataset,
    Dependency,
    Environment,
    Lineage,
    Preset,
    Protocol,
    Specs,
    StateDependency,
    Table,
)
from harness.specs.columns import (
    Scope,
    Written,
    column_read,
    columns_of,
    hyperparameters,
    members,
    own_hyperparameters,
    states_read,
    transforms,
)
from harness.specs.models import ScoreRule

_NOTHING_CHOSEN = Choice()
_COUNTED: dict[ScoreRule, str] = {
    "last": "last evaluation",
    "mean_last": "mean of the last {k} evaluations",
    "best": "best of the evaluations",
}


@dataclass(frozen=True)
class ReadMetric:
    """What the value of a hyperparameter is read from: the mean of a metric over a cell's runs."""

    metric: str
    cell: Cell


@dataclass(frozen=True)
class ReadState:
    """What a run begins with or takes as an input: the state that the same seed's run of a cell ends with.

    Attributes:
        cell: has a run for each seed of the reader, in the same order.
        state: 'all', or the names of its parts that are read.
    """

    cell: Cell
    state: Literal["all"] | tuple[str, ...]

    def of(self, seed: int) -> RunRecord:
        """The run of a seed."""
        [run] = [run for run in self.cell.runs if run.seed == seed]
        return run


@dataclass(frozen=True)
class Cell:
    """One dataset under one column.

    Attributes:
        protocol: how its runs train and are scored, with the overrides applied; its seeds are those that the
            table wants.
        runs: one per seed, in the order of the seeds; there even if the cell cannot be trained, so that
            imported scores find their place.
        unavailable: why the cell cannot be trained ('no implementation', ...), or None.
        incomparable: why its numbers are not comparable with the printed ones; empty if they are.
        metrics: hyperparameter -> what its value is read from, of those that depend on another column. Their
            cells have a run for every seed of the protocol, whichever seeds were chosen.
        mixed: the datasets that the transforms of its data mix in, by id.
        states: 'start', where training begins, or an input's name -> the run of the same seed that it is the
            state of.
        table: id of the table that the column belongs to.
    """

    dataset: Dataset
    column: Column
    protocol: Protocol
    runs: tuple[RunRecord, ...]
    unavailable: str | None
    incomparable: tuple[str, ...]
    metrics: Mapping[str, ReadMetric] = field(default_factory=dict)
    mixed: Mapping[str, Dataset] = field(default_factory=dict)
    states: Mapping[str, ReadState] = field(default_factory=dict)
    table: str = ""

    def imported(self, source: str) -> tuple[RunRecord, ...]:
        """The runs that hold the scores that were imported from a source, in the order of `runs`.

        They go with what the column itself sets, not with its algorithm's defaults or its protocol. Without a
        source: those of scores imported before sources were kept.
        """
        described = self.runs[0].described
        if not source or not described:
            return tuple(replace(run, key=run.imported_key) for run in self.runs)
        known = {name: value for name, value in json.loads(described).items() if name != "protocol"}
        return run_records({**known, "source": source}, [run.seed for run in self.runs])

    def with_seeds(self, seeds: Sequence[int]) -> Cell:
        """The cell with runs of other seeds."""
        first = self.runs[0]
        return replace(self, runs=run_records(first.configuration, seeds, first.described))

    @property
    def incomparable_elsewhere(self) -> tuple[str, ...]:
        """As `incomparable`, of scores that were measured in another environment than the dataset's."""
        environment = self.dataset.environment
        return tuple(
            reason for reason in self.incomparable if not environment or reason != _where(environment)
        )

    @property
    def lineage(self) -> Lineage:
        """Of the data that its runs train on."""
        lineage: Lineage = self.runs[0].configuration["dataset"]["lineage"]
        return lineage

    @property
    def below(self) -> tuple[Cell, ...]:
        """The cells that its runs read values and states from."""
        read: list[ReadMetric | ReadState] = [*self.metrics.values(), *self.states.values()]
        return tuple(each.cell for each in read)

    def name_for(self, reader: Cell) -> str:
        """The column as a reader's messages name it: with its table where that is another."""
        return self.column.id if self.table == reader.table else f"{self.column.id} of {self.table}"

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """The datasets that training needs, by id: the cell's own, and those that are mixed into it."""
        return {self.dataset.id: self.dataset, **self.mixed}

    @property
    def rank(self) -> int:
        """0 where it reads nothing, else one more than the highest below: cells are trained in this order."""
        return 1 + max((cell.rank for cell in self.below), default=-1)


@dataclass(frozen=True)
class ResolvedTable:
    """A table with every choice made.

    Attributes:
        cells: row by row, of the columns that have an algorithm or are averaged by one that is shown.
        steps: what was asked for instead of the protocols' own lengths, or None.
    """

    table: Table
    lineage: Lineage
    preset: Preset | None
    cells: tuple[Cell, ...]
    steps: int | None = None

    @property
    def other_lineage(self) -> Lineage | None:
        """The lineage, where it is neither the preset's nor, without one, the table's own."""
        own = (self.preset and self.preset.lineage) or self.table.lineage
        return None if self.lineage == own else self.lineage

    @property
    def protocols(self) -> dict[Protocol, tuple[Cell, ...]]:
        """The protocols, in the order of their first cells, each with its cells."""
        found: dict[Protocol, list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(cell.protocol, []).append(cell)
        return {protocol: tuple(cells) for protocol, cells in found.items()}

    @property
    def with_below(self) -> tuple[Cell, ...]:
        """The cells, each after those that it reads from, whether the table shows these or not."""
        return tuple(_with_below(self.cells))

    @property
    def extra_seeds(self) -> tuple[int, ...]:
        """Seeds that were chosen although a cell's protocol does not want them."""
        return tuple(
            dict.fromkeys(
                run.seed for cell in self.cells for run in cell.runs if run.seed not in cell.protocol.seeds
            )
        )


def _where(environment: Environment) -> str:
    """Why scores that were measured there are not comparable with the printed ones."""
    return f"environment {environment.id}"


def _with_below(cells: Iterable[Cell]) -> Iterator[Cell]:
    for cell in cells:
        yield from _with_below(cell.below)
        yield cell


def _plain(value: Any) -> Any:
    """The value with 1.0 as 1, so that how a number is written in YAML does not change a key."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def run_record(configuration: Mapping[str, Any], seed: int, described: str = "") -> RunRecord:
    """The run of a configuration and a seed, with its keys; see `RunRecord.described`."""
    return run_records(configuration, (seed,), described)[0]


def run_records(
    configuration: Mapping[str, Any], seeds: Iterable[int], described: str = ""
) -> tuple[RunRecord, ...]:
    """The runs of a configuration, one for each seed, with their keys."""
    configuration = _plain(configuration)
    text = canonical(configuration)
    configuration_key = digest(configuration)
    return tuple(
        RunRecord(
            key=run_key(text, seed),
            configuration_key=configuration_key,
            configuration=configuration,
            seed=seed,
            described=described,
        )
        for seed in seeds
    )


def resolve(specs: Specs, table_id: str, choice: Choice = _NOTHING_CHOSEN) -> ResolvedTable:
    """Make every choice that a table, a preset and the user leave open.

    Args:
        specs: where the YAML files are.
        table_id: the table.
        choice: the user's.

    Raises:
        UnknownNameError: a name or glob that matches nothing.
        SpecError: a spec file is wrong.
    """
    table = specs.table(table_id)
    preset = specs.preset(choice.preset).of(table_id) if choice.preset else None
    scope = Scope(table_id, columns_of(table, preset), preset)
    context = _Context(specs, table, scope, choice)
    shown = restricted(specs, table, preset, choice, context.lineage)
    trained = {
        member.column.id: member
        for column in shown.columns
        for member in members(specs, scope.columns[column.id], scope.columns)
    }
    cells = tuple(
        context.cell(specs.dataset(dataset_id), column, choice.seeds)
        for dataset_id in shown.datasets
        for column in trained.values()
    )
    return ResolvedTable(shown, context.lineage, preset, cells, choice.steps)


def _as_run(protocol: Protocol, preset: Preset | None, choice: Choice) -> Protocol:
    """The protocol with what a preset and the options change."""
    changes: dict[str, Any] = {}
    if preset:
        names = {"seeds", protocol.unit, *({"evaluate_every", "episodes"} if protocol.evaluate_every else ())}
        changes = preset.model_dump(include=names, exclude_none=True)
        if protocol.gather and preset.gather:
            said = {name: getattr(preset.gather, name) for name in preset.gather.model_fields_set}
            if "warmup" in said:  # what has none keeps having none
                said["warmup"] = min(said["warmup"], protocol.gather.warmup)
            changes["gather"] = protocol.gather.model_copy(update=said)
    if choice.steps is not None:
        changes[protocol.unit] = choice.steps
    if choice.score is not None:
        changes["score"] = choice.score
    changed = protocol.model_copy(update=changes)
    if changed.excessive:
        raise SpecError(f"of protocol {protocol.id}: {changed.excessive}; take fewer, or evaluate less often")
    if changed.gather and changed.gather.warmup >= changed.length:
        raise SpecError(
            f"of {changed.duration} of protocol {protocol.id} none is left after {changed.gather.warmup:,} "
            "of warmup; take more, or a preset whose 'gather' has a shorter warmup"
        )
    if changed.interval > changed.length:
        return changed.model_copy(update={"evaluate_every": changed.length})
    return changed


def _sized(dataset: Dataset, table: Table, preset: Preset | None) -> Dataset:
    """The dataset with its generated data of the preset's size or, where it says nothing, of the table's."""
    transitions = (preset and preset.transitions) or table.transitions
    if transitions is None or dataset.generated is None:
        return dataset
    return dataset.model_copy(
        update={"generated": dataset.generated.model_copy(update={"transitions": transitions})}
    )


@dataclass(frozen=True)
class _Context:
    """What all cells of a table share.

    Attributes:
        table: as its file has it.
        scope: the columns that one may depend on.
        choice: the user's.
        protocols: id -> a protocol as it is run here, of those that were asked for.
    """

    specs: Specs
    table: Table
    scope: Scope
    choice: Choice
    protocols: dict[str, Protocol] = field(default_factory=dict)

    @cached_property
    def lineage(self) -> Lineage:
        """Of the data to train on."""
        return lineage_of(self.specs, self.table, self.scope.preset, self.choice)

    def protocol(self, name: str) -> Protocol:
        """A protocol as it is run here; kept, since a protocol has many cells."""
        if name not in self.protocols:
            self.protocols[name] = _as_run(self.specs.protocol(name), self.scope.preset, self.choice)
        return self.protocols[name]

    def incomparable(self, protocol: Protocol, dataset: Dataset) -> tuple[str, ...]:
        """Why numbers measured this way cannot be held against the printed ones."""
        reasons, published = [], self.specs.protocol(protocol.id)
        if self.lineage != self.table.lineage:
            reasons.append(f"{self.lineage} data")
        if self.scope.preset:
            reasons.append(self.scope.preset.label)
        elif protocol.length != published.length:
            reasons.append(f"{protocol.length:,} of {published.duration}")
        if protocol.score != published.score:
            reasons.append(f"score: {_COUNTED[protocol.score].format(k=protocol.last_k)}")
        if dataset.environment and not dataset.environment.comparable:
            reasons.append(_where(dataset.environment))
        return tuple(reasons)

    def cell(
        self,
        dataset: Dataset,
        written: Written,
        seeds: Sequence[int],
        trail: tuple[tuple[str, str], ...] = (),
    ) -> Cell:
        """The cell, with runs of these seeds or, if there are none, of its protocol's.

        `trail` has the tables and ids of the columns that depend on it, directly or not.
        """
        dataset = _sized(dataset, self.table, self.scope.preset)
        protocol = self.protocol(self.table.protocol_of(written.column, dataset.id))
        column, environment = written.column, dataset.environment
        entries = hyperparameters(self.specs, written, dataset.id)
        trail = (*trail, (self.scope.table, column.id))
        metrics = {}
        for name, entry in entries.items():
            if isinstance(entry.value, Dependency):
                _, below = column_read(self.specs, self.scope, entry, trail)
                metrics[name] = ReadMetric(entry.value.metric, self.cell(dataset, below, (), trail))
        states = {}
        said: dict[str, Any] = {}
        for name, entry in states_read(written, dataset.id).items():
            assert isinstance(entry.value, StateDependency)  # noqa: S101 - nothing else is read so
            (said if name == "start" else said.setdefault("inputs", {}))[name] = entry.value.model_dump(
                exclude_defaults=True
            )
            scope, below = column_read(self.specs, self.scope, entry, trail)
            states[name] = ReadState(
                self._of(scope).cell(dataset, below, seeds or protocol.seeds, trail), entry.value.state
            )
        values = {
            name: _dependency(metrics[name]) if name in metrics else entry.value
            for name, entry in entries.items()
        }
        specs, algorithm = self.specs, column.algorithm
        data = transforms(self.specs, written, dataset.id)
        steps = tuple(step for step in data.transforms if not step.neutral)
        mixed = {
            step.mix.dataset: _sized(self.specs.dataset(step.mix.dataset), self.table, self.scope.preset)
            for step in steps
            if step.mix
        }
        configuration: dict[str, Any] = {
            "algorithm": column.algorithm,
            "hyperparameters": (
                specs.algorithm(algorithm).in_key(values) if specs.has_algorithm(algorithm) else None
            ),
            "dataset": dataset.identity(self.lineage),
            "environment": environment and environment.identity,
            "protocol": protocol.configuration,
            **_read_states(states),
        }
        if steps:
            configuration["data"] = [
                step.configuration(lambda name: mixed[name].identity(self.lineage)) for step in steps
            ]
        # Scores from a file are scores of what the column says, whatever our defaults are, or will be once
        # somebody implements it, and were measured in an environment that we do not know.
        described = canonical(
            _plain(
                {
                    "algorithm": column.algorithm,
                    "settings": {
                        name: entry.value.model_dump() if isinstance(entry.value, Dependency) else entry.value
                        for name, entry in own_hyperparameters(written, dataset.id).items()
                    },
                    **said,
                    **{name: configuration[name] for name in ("dataset", "protocol")},
                    **({"data": configuration["data"]} if steps and data.kind != "algorithms" else {}),
                }
            )
        )
        found = Cell(
            dataset,
            column,
            protocol,
            run_records(configuration, seeds or protocol.seeds, described),
            None,
            self.incomparable(protocol, dataset),
            metrics,
            mixed,
            states,
            self.scope.table,
        )
        return replace(found, unavailable=self._unavailable(found))

    def _of(self, scope: Scope) -> _Context:
        """The context of the scope's table: as its own command has it, with this one's preset and lineage."""
        if scope.table == self.scope.table:
            return self
        choice = Choice(preset=self.choice.preset, lineage=self.choice.lineage)
        return _Context(self.specs, self.specs.table(scope.table), scope, choice)

    def _unavailable(self, cell: Cell) -> str | None:
        if not self.specs.has_algorithm(cell.column.algorithm):
            return "no implementation"
        if not cell.column.runs_on(cell.dataset.id):
            return "left out"
        if cell.dataset.source(self.lineage) is None:
            return f"no {self.lineage} data"
        for other in cell.mixed.values():
            if other.source(self.lineage) is None:
                return f"no {self.lineage} data of {other.id}, which is mixed in"
        if cell.dataset.environment is None:
            return "no environment"
        for below in cell.below:
            name = below.name_for(cell)
            if below.table != cell.table and cell.dataset.id not in self.specs.table(below.table).datasets:
                return f"{below.table} has no row {cell.dataset.id}, and it reads {name}"
            if below.unavailable:
                return f"{below.unavailable} of {name}, on which it depends"
        return None


def _read_states(states: Mapping[str, ReadState]) -> dict[str, Any]:
    """What stands in a configuration for states that are read; a run's is that of the same seed."""
    read = {
        name: {
            "configuration": each.cell.runs[0].configuration_key,
            "state": each.state if each.state == "all" else sorted(set(each.state)),
        }
        for name, each in states.items()
    }
    inputs = {name: each for name, each in read.items() if name != "start"}
    return {
        **({"start": read["start"]} if "start" in read else {}),
        **({"inputs": inputs} if inputs else {}),
    }


def _dependency(read: ReadMetric) -> dict[str, Any]:
    """What stands in a configuration for a value that is not measured yet."""
    runs = read.cell.runs
    return {
        "mean_of": read.metric,
        "configuration": runs[0].configuration_key,
        "seeds": sorted(run.seed for run in runs),
    }
