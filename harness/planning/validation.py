"""Holds the specs of algorithms against the code: the only check of specs that needs torch."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch

from algorithms import (
    Algorithm,
    AlgorithmError,
    Hyperparameters,
    Member,
    Selector,
    Sizes,
    algorithm_class,
    algorithm_ids,
    example,
)
from harness import environments, plugs
from harness.datasets import count, readers
from harness.datasets.transforms import none_trusted, observed_alike, order_problem, steps_of
from harness.errors import EnvironmentUnusableError, HarnessError, SpecError, UnknownNameError, raised_at
from harness.planning.cells import Cell, ResolvedTable, resolve
from harness.planning.choice import Choice
from harness.planning.states import parts, untrained
from harness.results.records import canonical
from harness.specs import Dependency, Environment, Specs, StateDependency
from harness.specs.columns import (
    Entry,
    Scope,
    Written,
    column_read,
    columns_of,
    extra_columns_of,
    hyperparameters,
    states_read,
    transforms,
)
from harness.specs.models import SELECTOR
from harness.specs.validation import validate

T = TypeVar("T")
Shapes = dict[Hashable, Mapping[str, torch.Tensor]]
"""What distinguishes networks -> the state that a run with them begins with, on the meta device."""

_PHASES_BY = 1000  # steps; what an algorithm does at all it does within so many


def check(resolved: ResolvedTable, specs: Specs) -> None:
    """Refuse a table whose specs are wrong in themselves or do not fit the code, before anything is trained.

    Args:
        resolved: the table.
        specs: those that it was resolved with.

    Raises:
        SpecError: one line for each thing that is wrong, each beginning ``file:line:column:``.
        EnvironmentUnusableError: the same, where environments cannot be made or do not fit their datasets.
    """
    presets = [resolved.preset.id] if resolved.preset else []
    chosen = [resolved.table.id]
    rows = dict.fromkeys(cell.dataset.id for cell in resolved.cells if cell.unavailable is None)
    problems = [*validate(specs, chosen, presets), *validate_algorithms(specs, chosen, presets)]
    problems += validate_sources(specs, rows)
    if problems := problems or [*_too_few(resolved, specs), *_untrusted(resolved, specs)]:
        raise SpecError("\n".join(dict.fromkeys(problems)))
    if problems := validate_environments(specs, rows):
        raise EnvironmentUnusableError("\n".join(problems))


def _too_few(resolved: ResolvedTable, specs: Specs) -> Iterator[str]:
    """Problems of transforms that leave less than a minibatch, where specs say how many rows there are."""
    columns = columns_of(specs.table(resolved.table.id), resolved.preset)
    for cell in resolved.cells:
        chosen = transforms(specs, columns[cell.column.id], cell.dataset.id)
        kept = math.prod(1 - (step.drop or 0) for step in chosen.transforms)
        rows = count(cell.dataset, cell.lineage) if kept < 1 and not cell.unavailable else None
        wanted = cell.runs[0].configuration["hyperparameters"]["batch_size"] if rows else 0
        if rows and rows * kept < min(wanted, rows):
            yield chosen.problem(
                specs,
                f"of the {rows:,} rows of {cell.dataset.id} about {rows * kept:,.0f} are left, fewer than a "
                f"minibatch of {wanted}",
            )


def _untrusted(resolved: ResolvedTable, specs: Specs) -> Iterator[str]:
    """Problems of thresholds that no return of the data is above, where specs tell the largest."""
    columns = columns_of(specs.table(resolved.table.id), resolved.preset)
    for cell in resolved.cells:
        known = cell.dataset.d4rl.statistics if cell.dataset.d4rl and cell.lineage == "d4rl" else None
        if cell.unavailable or known is None or known.return_max is None:
            continue
        chosen = transforms(specs, columns[cell.column.id], cell.dataset.id)
        for index, step in enumerate(chosen.transforms):
            if step.reward or step.return_range or step.standardise_rewards or step.mix:
                break  # returns are others from here on
            trust = step.trust
            if (
                trust
                and not trust.allow_empty
                and trust.above is not None
                and trust.above >= known.return_max
            ):
                message = none_trusted(cell.dataset.id, trust.above, known.return_max)
                yield chosen.problem(specs, message, index, "trust", "above")


def validate_everything(specs: Specs, table_ids: Sequence[str] | None = None) -> list[str]:
    """What is wrong with specs, in themselves and beside the code of algorithms and environments.

    Args:
        specs: the specs.
        table_ids: check these tables and what they name; None for everything there is.

    Raises:
        UnknownNameError: a table does not exist.
        SpecError: one id is defined twice, so nothing can be looked up.
    """
    problems = [*validate(specs, table_ids), *validate_algorithms(specs, table_ids)]
    tables = None if table_ids is None else _right(specs.table, table_ids)
    rows = None if tables is None else [name for table in tables for name in table.datasets]
    problems += [*validate_sources(specs, rows), *validate_environments(specs, rows)]
    return list(dict.fromkeys(problems))


def validate_sources(specs: Specs, dataset_ids: Iterable[str] | None = None) -> list[str]:
    """What readers of further lineages do not take of datasets' blocks, one line each; runs their code.

    Args:
        specs: the specs; datasets that are wrong in themselves are passed over.
        dataset_ids: check only these.
    """
    plugs.use(specs.folders)
    return [
        specs.document("datasets", dataset.id).problem(location, message)
        for dataset in _right(specs.dataset, specs.ids("datasets") if dataset_ids is None else dataset_ids)
        for location, message in readers.problems(dataset)
    ]


def validate_environments(specs: Specs, dataset_ids: Iterable[str] | None = None) -> list[str]:
    """What is wrong between datasets and the environments that their specs name, one line each.

    Each environment is made once, which runs its code.

    Args:
        specs: the specs; datasets that are wrong in themselves are passed over.
        dataset_ids: check only these.
    """
    plugs.use(specs.folders)
    made: dict[tuple[Environment, int, int], str | None] = {}
    problems = []
    for dataset in _right(specs.dataset, specs.ids("datasets") if dataset_ids is None else dataset_ids):
        if dataset.environment is None:
            continue
        wanted = (dataset.environment, dataset.observation_size, dataset.action_size)
        if wanted not in made:
            made[wanted] = None
            try:
                environments.check(*wanted)
            except EnvironmentUnusableError as error:
                made[wanted] = str(error)
        if problem := made[wanted]:
            problems.append(specs.document("datasets", dataset.id).problem(("environment", "id"), problem))
    return list(dict.fromkeys(problems))


def validate_algorithms(
    specs: Specs, table_ids: Iterable[str] | None = None, preset_ids: Iterable[str] = ()
) -> list[str]:
    """What is wrong between the algorithms' specs and their classes, one line each.

    Args:
        specs: the specs; those that are wrong in themselves (see `harness.specs.validation.validate`) are
            passed over.
        table_ids: check the algorithms of these tables, and their cells; None for everything there is.
        preset_ids: presets whose own columns to check too, beside these tables.

    Raises:
        SpecError: two algorithms have the same id.
    """
    plugs.use(specs.folders)
    try:
        algorithm_ids()
    except AlgorithmError as error:
        raise SpecError(str(error)) from None
    everything = table_ids is None
    tables = _right(specs.table, specs.ids("tables") if table_ids is None else table_ids)
    presets = _right(specs.preset, specs.ids("presets") if everything else preset_ids)
    shown: dict[str, Written] = {}
    for table in tables:
        shown |= columns_of(table)
    checked = [(columns_of(table), Scope(table.id, columns_of(table)), table.datasets) for table in tables]
    for preset in presets:
        own = extra_columns_of(preset)
        checked.append((own, Scope("", shown | own, preset), preset.datasets or tuple(specs.ids("datasets"))))
    used = {written.column.algorithm for columns, _, _ in checked for written in columns.values()}
    names = [name for name in specs.ids("algorithms") if everything or name in used]
    problems = [line for name in names for line in _defaults(specs, name)]
    for columns, scope, datasets in checked:
        for written in columns.values():
            problems += _column(specs, written, scope, datasets)
    shapes: Shapes = {}
    for table in tables if not problems else ():
        for name in [None] if everything or not presets else [preset.id for preset in presets]:
            with contextlib.suppress(HarnessError):  # wrong in itself, or no table for the preset
                problems += _states(specs, resolve(specs, table.id, Choice(preset=name)), shapes)
    return list(dict.fromkeys(problems))


def _states(specs: Specs, resolved: ResolvedTable, shapes: Shapes) -> Iterator[str]:
    """Problems of the states that columns read: parts that there are not, and another architecture."""
    for cell in resolved.with_below:
        if not cell.states or cell.unavailable:
            continue
        written = columns_of(specs.table(cell.table), resolved.preset)[cell.column.id]
        entries = states_read(written, cell.dataset.id)
        try:
            own = _state_of(cell, shapes)
        except UnknownNameError:
            own = None  # said below
        except Exception as error:  # what algorithms do with what they read is theirs
            reads = next(iter(entries.values()))
            yield reads.problem(specs, f"{cell.column.id} cannot be made with it: {raised_at(error)}")
            continue
        for name, read in cell.states.items():
            try:
                there = parts(_state_of(read.cell, shapes), read.state)
            except UnknownNameError as error:
                here = entries[name]._replace(location=(*entries[name].location, "state"))
                yield here.problem(specs, f"{read.cell.name_for(cell)}: {error}")
                continue
            if name == "start" and own is not None and (unlike := _unlike(own, there, read.state)):
                text = f"on {cell.dataset.id}, {cell.column.id} cannot start from {read.cell.name_for(cell)}"
                yield entries[name].problem(specs, f"{text}, which is of another architecture: {unlike}")


def _state_of(cell: Cell, shapes: Shapes) -> Mapping[str, torch.Tensor]:
    """The state that a run of the cell begins with, without its values: they are not what is compared.

    Cells whose networks are the same share one, since drawing first weights takes most of the time.
    """
    alike = _architecture(cell)
    if alike not in shapes:
        shapes[alike] = {name: t.to("meta") for name, t in untrained(cell).training_state().items()}
    return shapes[alike]


def _architecture(cell: Cell) -> Hashable:
    """Equal for cells whose runs have networks of the same names and shapes."""
    run = cell.runs[0]
    algorithm = algorithm_class(run.configuration["algorithm"])
    static = {name: run.hyperparameters.get(name) for name in algorithm.Hyperparameters.static_names()}
    below = [(name, read.state, _architecture(read.cell)) for name, read in sorted(cell.states.items())]
    sizes = (cell.dataset.observation_size, cell.dataset.action_size)
    return (algorithm, sizes, canonical(static), tuple(below))


def _unlike(
    own: Mapping[str, torch.Tensor],
    there: Mapping[str, torch.Tensor],
    wanted: Literal["all"] | tuple[str, ...],
) -> str:
    """Where a state does not fit a run that is to begin with it, in words; '' where it does."""
    names = sorted(own.keys() | there.keys() if wanted == "all" else there.keys())
    shapes = {name: (_shape(there.get(name)), _shape(own.get(name))) for name in names}
    found = [f"{name} is {a} there and {b} here" for name, (a, b) in shapes.items() if a != b]
    return "; ".join([*found[:2], *(["…"] if len(found) > 2 else [])])


def _shape(tensor: torch.Tensor | None) -> str:
    return "absent" if tensor is None else "×".join(map(str, tensor.shape[1:])) or "a number"


def _right(load: Callable[[str], T], names: Iterable[str]) -> list[T]:
    """The specs that are right in themselves."""
    found = []
    for name in names:
        with contextlib.suppress(HarnessError):
            found.append(load(name))
    return found


def _defaults(specs: Specs, name: str) -> Iterator[str]:
    """Problems of an algorithm's own values, each at its place in the file."""
    document = specs.document("algorithms", name)
    cls = _loaded(name)
    if isinstance(cls, str):
        yield document.problem(("id",), cls)
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
    neutral = cls.Hyperparameters.neutral()
    for key, entry in spec.hyperparameters.items():
        if entry.neutral is not None and entry.in_key(neutral.get(key)):
            own = f"{neutral[key]!r} is" if key in neutral else "there is none"
            yield document.problem(
                ("hyperparameters", key, "neutral"),
                f"{entry.neutral!r} is not the neutral value of {key} in the code: {own}",
            )
    for pattern, overrides in spec.per_dataset.items():
        yield from (
            document.problem(("per_dataset", pattern, key), f"{key} {problem}")
            for key, problem in _problems(name, values | overrides.hyperparameters).items()
            if key in overrides.hyperparameters
        )


def _column(specs: Specs, written: Written, scope: Scope, datasets: Iterable[str]) -> Iterator[str]:
    """Problems of the values that a column has on some dataset."""
    algorithm = written.column.algorithm
    if not specs.has_algorithm(algorithm) or isinstance(_loaded(algorithm), str):
        return
    for dataset in datasets:
        yield from _inputs(specs, written, dataset)
        try:
            entries = hyperparameters(specs, written, dataset)
        except SpecError:  # wrong in itself
            return
        values = _stand_ins(specs, algorithm, entries)
        for name, problem in _problems(algorithm, values).items():
            # of a dependency, the default stood in, which is judged where it is written
            if name in entries and not isinstance(entries[name].value, Dependency):
                yield entries[name].problem(specs, f"{name} {problem}")
        for name, entry in entries.items():
            if isinstance(entry.value, Dependency):
                yield from _dependency(specs, algorithm, name, entry, scope, dataset)
        yield from _transforms(specs, written, values, dataset)
        yield from _selector(specs, written, scope, values, dataset)


def _transforms(specs: Specs, written: Written, values: Mapping[str, Any], dataset: str) -> Iterator[str]:
    """Problems between the transforms of a column's data, its hyperparameters and its algorithm's code."""
    algorithm = written.column.algorithm
    assert algorithm is not None  # noqa: S101 - callers look first
    try:
        chosen = transforms(specs, written, dataset)
    except SpecError:  # wrong in itself
        return
    named = [step.configuration(lambda name: {"id": name}) for step in chosen.transforms]
    if problem := order_problem(steps_of({"data": named, "hyperparameters": values})):
        yield chosen.problem(specs, problem)
    needed, given = (
        algorithm_class(algorithm).columns,
        {step.column for step in chosen.transforms if step.column},
    )
    for name in needed:
        if name not in given:
            yield chosen.problem(
                specs,
                f"{algorithm} trains on a column {name!r}, so 'data' needs a transform {name!r}",
            )
    for name in given - set(needed):
        yield chosen.problem(specs, f"{algorithm} has no use for the column that {name!r} adds; leave it out")


def _inputs(specs: Specs, written: Written, dataset: str) -> Iterator[str]:
    """Problems between the states that a column reads and those that its algorithm and its data want."""
    try:
        chosen = transforms(specs, written, dataset)
    except SpecError:  # wrong in itself
        return
    given = {name: entry for name, entry in states_read(written, dataset).items() if name != "start"}
    algorithm = written.column.algorithm
    reads = algorithm_class(str(algorithm)).reads
    for index, step in enumerate(chosen.transforms):
        if step.asks_selector and SELECTOR not in given:
            message = f"it asks the run of an input called {SELECTOR!r}: name that in `inputs`"
            yield chosen.problem(specs, message, index, "trust", "by")
        if step.asks_selector:
            given.pop(SELECTOR, None)
    for name in given.keys() - set(reads):
        known = f"it reads {', '.join(reads)}" if reads else "it reads none"
        yield given[name].problem(specs, f"no input of {algorithm}: {known}", key=True)
    for name in sorted(set(reads) - given.keys()):
        yield specs.document(written.kind, written.spec).problem(
            written.location, f"{algorithm} reads a state called {name!r}: name its run in `inputs`"
        )


def _selector(
    specs: Specs, written: Written, scope: Scope, values: Mapping[str, Any], dataset: str
) -> Iterator[str]:
    """Problems of the run that says which transitions a column trusts, where it asks one."""
    entry = states_read(written, dataset).get(SELECTOR)
    try:
        chosen = transforms(specs, written, dataset)
        if entry is None or not any(step.asks_selector for step in chosen.transforms):
            return
        around, below = column_read(specs, scope, entry, ())
        judge = below.column.algorithm
        if not specs.has_algorithm(judge) or isinstance(loaded := _loaded(judge), str):
            return
        theirs = _stand_ins(specs, judge, hyperparameters(specs, below, dataset))
        data = transforms(specs, below, dataset)
    except SpecError:  # reported with the specs themselves
        return
    if not issubclass(loaded, Selector):
        yield entry.problem(specs, f"{judge} does not say which transitions to trust")
        return
    assert isinstance(entry.value, StateDependency)  # noqa: S101 - states are read so
    if entry.value.state != "all" and (lacking := set(loaded.policy) - set(entry.value.state)):
        here = entry._replace(location=(*entry.location, "state"))
        yield here.problem(
            specs, f"{judge} trusts by its {' and '.join(loaded.policy)}; add {', '.join(sorted(lacking))}"
        )
    steps = (
        steps_of(
            {"data": [step.configuration(lambda name: {"id": name}) for step in each], "hyperparameters": of}
        )
        for each, of in ((chosen.transforms, values), (data.transforms, theirs))
    )
    if not observed_alike(*steps):
        name = below.column.id if around.table == scope.table else f"{below.column.id} of {around.table}"
        yield entry.problem(
            specs,
            f"on {dataset}, {name} is trained on other observations than {written.column.id}: both need the "
            "same normalize_observations, observation_epsilon and transforms of observations and rows",
        )


def _stand_ins(specs: Specs, algorithm: str, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """The values, with the algorithm's default where one depends on another column."""
    defaults = specs.algorithm(algorithm).hyperparameters
    return {
        name: defaults[name].value if isinstance(entry.value, Dependency) else entry.value
        for name, entry in entries.items()
    }


def _dependency(
    specs: Specs, algorithm: str, name: str, entry: Entry, scope: Scope, dataset: str
) -> Iterator[str]:
    """Problems of a value that depends on another column."""
    if name in _declared(algorithm).static_names():
        yield entry.problem(
            specs,
            f"{name} is one value for all members of a population; only numbers that members may differ in "
            f"can depend on another column",
        )
    try:
        _, below = column_read(specs, scope, entry, ())
        reader = below.column.algorithm
        if not specs.has_algorithm(reader) or isinstance(_loaded(reader), str):
            return
        values = _stand_ins(specs, reader, hyperparameters(specs, below, dataset))
    except SpecError:  # reported with the specs themselves
        return
    known = _metrics(reader, tuple(sorted(values.items())))
    assert isinstance(entry.value, Dependency)  # noqa: S101 - callers look first
    metric = entry.value.metric
    if known and metric not in known:
        here = entry._replace(location=(*entry.location, "metric"))
        yield here.problem(specs, str(UnknownNameError(f"metric of {reader}", metric, known)))


@functools.cache
def _metrics(algorithm: str, values: tuple[tuple[str, Any], ...]) -> frozenset[str]:
    """Names of what an algorithm reports, by one update of each phase; empty where the values are wrong."""
    rows = 2
    hyperparameters = dict(values) | {"batch_size": rows}
    if _problems(algorithm, hyperparameters):
        return frozenset()
    sizes = Sizes(3, 2)
    made = algorithm_class(algorithm)([Member("metrics", hyperparameters)], sizes)
    batch, noise = example(made, lambda *shape: torch.full(shape, 0.5))
    phases = dict.fromkeys(made.phase(step) for step in range(1, _PHASES_BY + 1))
    return frozenset(name for phase in phases for name in made.update(batch, noise, phase))


def _loaded(algorithm: str) -> type[Algorithm] | str:
    """The class of an algorithm, or why there is none."""
    if algorithm not in algorithm_ids():
        return f"there is no algorithms/{algorithm}.py; known: {', '.join(algorithm_ids())}"
    try:
        return algorithm_class(algorithm)
    except AlgorithmError as error:
        return f"{error}: {raised_at(error)}" if error.__cause__ else str(error)


def _problems(algorithm: str, values: Mapping[str, object]) -> dict[str, str]:
    return _declared(algorithm).problems(values)


def _declared(algorithm: str) -> type[Hyperparameters]:
    return algorithm_class(algorithm).Hyperparameters
