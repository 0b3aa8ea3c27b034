"""What a table still needs: runs done and missing, populations, estimated time and disk."""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from harness import datasets
from harness.planning.cells import Cell, ResolvedTable
from harness.planning.checked import static_names
from harness.planning.dependencies import Waiting, all_keys, nothing_kept, open_runs, waiting
from harness.processes import usable_cores
from harness.results.artefacts import kept_states
from harness.results.provenance import cpu_model
from harness.results.records import CHANGED, RunRecord
from harness.results.store import RunState, Store
from harness.specs import Lineage, Specs

if TYPE_CHECKING:
    from harness.planning.populations import Fit, Population, Static

Kind = Literal["cpu", "gpu"]
#: Most members of one population where memory does not decide. On a GPU populations train one after another,
#: on a CPU one on each core, where four members have nearly the rate of eight (benchmarks/README.md).
CAPACITIES: Mapping[Kind, int] = {"cpu": 4, "gpu": 64}
#: One of these is there where Linux has a driver of GPUs: NVIDIA's, its boards', Windows' or AMD's.
_DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
#: Seconds of one step of a whole population on a device of this machine.
Measure = Callable[["Population", Kind], float]
#: How many runs fit into the memory of this machine's GPU.
Pack = Callable[[], "Fit"]


@dataclass(frozen=True)
class CellPlan:
    """One cell's runs by what has become of them.

    Attributes:
        dataset: dataset id.
        column: column id.
        wanted: runs asked for.
        done: finished here.
        failed: failed, and left alone until they are retried.
        running: being trained, perhaps by a process that died.
        queued: registered, or interrupted, and to be trained.
        missing: not known to the database.
        imported: scores from a file; they replace no training.
        waiting: of those queued or missing, runs that read a value from runs that failed or lack it.
        unavailable: why the cell cannot be trained, or None.
    """

    dataset: str
    column: str
    wanted: int
    done: int
    failed: int
    running: int
    queued: int
    missing: int
    imported: int
    waiting: int
    unavailable: str | None

    @property
    def to_train(self) -> int:
        """Runs that `harness reproduce` would begin or go on with."""
        return 0 if self.unavailable else self.wanted - self.done - self.failed - self.waiting


@dataclass(frozen=True)
class AlsoTrained:
    """Runs of a column that others read from, which are not asked for or have finished.

    Attributes:
        table: id of its table.
        column: its id.
        runs: how many are to be trained.
        again: whether they have finished, and are trained again since their state is not there, or not as it
            was; their scores stay.
        readers: 'COLUMN reads HYPERPARAMETER' or 'COLUMN starts', of the columns that read from it.
    """

    table: str
    column: str
    runs: int
    again: bool
    readers: tuple[str, ...]


@dataclass(frozen=True)
class TimeEstimate:
    """How long the runs to train would take on one device; evaluations, which go on meanwhile, not counted.

    Attributes:
        device: its name; '' for a GPU that is neither here nor known to the database.
        kind: 'cpu' or 'gpu'.
        here: whether it is a device of this machine.
        capacity: most runs that train at once; on a GPU of this machine, as its memory allows.
        populations: batched programs that the runs make.
        at_once: how many of them train at once; 1 where the cores of another machine's CPU are not known.
        seconds: device time of the runs whose rate is known; 0 where none is.
        unknown: algorithms whose rate is not known.
        basis: where the rates come from: 'measured now', '3 finished runs' or 'not measured'.
    """

    device: str
    kind: Kind
    here: bool
    capacity: int
    populations: int
    at_once: int
    seconds: float
    unknown: tuple[str, ...]
    basis: str


@dataclass(frozen=True)
class Plan:
    """What `harness reproduce` would do.

    Attributes:
        table: id of the table.
        preset: id of the preset, or None.
        lineage: of the data.
        cells: row by row.
        shared: runs to train that a cell before shows, too, as where two columns score the same runs by two
            rules; they are trained once.
        also: runs that are trained although they were not asked for or have finished, since others read from
            them.
        waiting: cells with runs that wait for what training does not give; see `waiting`.
        estimates: of the devices of this machine, then of those that the database has finished runs from.
        absent: datasets that are not on this machine and would be built or downloaded.
        disk: bytes of the absent datasets whose size is known before they are there.
        extra_seeds: seeds asked for that the table does not show; see `ResolvedTable.extra_seeds`.
    """

    table: str
    preset: str | None
    lineage: Lineage
    cells: tuple[CellPlan, ...]
    shared: int
    also: tuple[AlsoTrained, ...]
    waiting: tuple[Waiting, ...]
    estimates: tuple[TimeEstimate, ...]
    absent: tuple[str, ...]
    disk: int
    extra_seeds: tuple[int, ...]

    @property
    def to_train(self) -> int:
        """Runs that would be begun or gone on with."""
        return self.total("to_train") - self.shared + sum(each.runs for each in self.also)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the estimates and counts must know, a sentence each."""
        remarks = []
        if self.estimates:
            remarks.append("times are of training alone; evaluations run beside it in processes of their own")
            if any(estimate.unknown for estimate in self.estimates if estimate.here):
                remarks.append("the same command with --measure times what is not known on this machine")
            if not all(estimate.device for estimate in self.estimates):
                remarks.append(
                    "no GPU's time has been measured: torch finds none here and the database has no run of "
                    "one; the same command with --measure measures it where there is one"
                )
        return tuple(remarks)

    def total(self, what: str) -> int:
        """Sum over the cells of one of `CellPlan`'s counts."""
        return sum(getattr(cell, what) for cell in self.cells)

    @property
    def unavailable(self) -> dict[str, int]:
        """Cells that cannot be trained, by reason."""
        return dict(Counter(cell.unavailable for cell in self.cells if cell.unavailable))


def plan(
    resolved: ResolvedTable,
    specs: Specs,
    store: Store | None,
    *,
    home: Path | None = None,
    measure: Measure | None = None,
    pack: Pack | None = None,
) -> Plan:
    """What a table needs less what a database holds. Nothing is written.

    Args:
        resolved: the table.
        specs: those that it was resolved with.
        store: the database; None if there is none yet.
        home: data folder, None for the default.
        measure: times a step of a population on a device of this machine; None to estimate these devices,
            too, from finished runs.
        pack: asked where there is a GPU; None for as many runs as one has whose memory is not known.

    Raises:
        SpecError: there is something to train, and the specs are wrong or do not fit the code.
        HarnessError: the database cannot be read.
    """
    shown = {run.key: run for cell in resolved.cells for run in cell.runs}
    imported = _imported(resolved, store) if store else {}
    keys = [*all_keys(resolved), *(key for each in imported.values() for key in each)]
    states = store.runs(keys) if store else {}
    kept = kept_states(store, home) if store else nothing_kept
    left = open_runs(resolved, states, kept)
    waits = waiting(left, states, store, kept, failed_only=True)
    hopeless = {key for each in waits for key in each.keys}
    todo = {key: run for key, run in left.items() if key not in hopeless}
    static = static_names(resolved, specs) if todo else {}
    needed = {
        (name, cell.lineage): dataset for _, cell in todo.values() for name, dataset in cell.datasets.items()
    }
    absent = [
        (dataset, lineage)
        for (_, lineage), dataset in needed.items()
        if not datasets.available(dataset, lineage, home)
    ]
    return Plan(
        table=resolved.table.id,
        preset=resolved.preset.id if resolved.preset else None,
        lineage=resolved.lineage,
        cells=tuple(
            _cell(
                cell,
                states,
                sum(run.key in hopeless for run in cell.runs),
                sum(key in states for key in imported.get((cell.dataset.id, cell.column.id), ())),
            )
            for cell in resolved.cells
        ),
        shared=_shared(resolved, todo),
        also=_also(resolved, todo, shown, states),
        waiting=tuple(waits),
        estimates=tuple(_estimates(todo, states, store, measure, pack, static.__getitem__)) if todo else (),
        absent=tuple(dataset.id for dataset, _ in absent),
        disk=sum(datasets.size(dataset, lineage) or 0 for dataset, lineage in absent),
        extra_seeds=resolved.extra_seeds,
    )


def _imported(resolved: ResolvedTable, store: Store) -> dict[tuple[str, str], list[str]]:
    """Keys of the runs that may hold imported scores, by cell."""
    sources = store.sources()
    return {
        (cell.dataset.id, cell.column.id): [run.key for source in sources for run in cell.imported(source)]
        for cell in resolved.cells
    }


def _cell(cell: Cell, states: Mapping[str, RunState], waits: int, imported: int) -> CellPlan:
    runs = cell.runs if cell.column.runs_on(cell.dataset.id) else ()
    counts = Counter(states[run.key].status if run.key in states else "missing" for run in runs)
    return CellPlan(
        dataset=cell.dataset.id,
        column=cell.column.id,
        wanted=len(runs),
        done=counts["finished"],
        failed=counts["failed"],
        running=counts["running"],
        queued=counts["queued"] + counts["interrupted"],
        missing=counts["missing"],
        imported=imported,
        waiting=waits,
        unavailable=cell.unavailable,
    )


def _shared(resolved: ResolvedTable, todo: Collection[str]) -> int:
    cells = (cell for cell in resolved.cells if not cell.unavailable and cell.column.runs_on(cell.dataset.id))
    counts = Counter(run.key for cell in cells for run in cell.runs if run.key in todo)
    return counts.total() - len(counts)


def _also(
    resolved: ResolvedTable,
    todo: Mapping[str, tuple[RunRecord, Cell]],
    shown: Collection[str],
    states: Mapping[str, RunState],
) -> tuple[AlsoTrained, ...]:
    """The runs that are not asked for or are trained again, by column, and who reads from them."""
    readers: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for cell in resolved.with_below:
        below = {name: read.cell for name, read in cell.metrics.items()}
        below |= {name: read.cell for name, read in cell.states.items()}
        for name, each in below.items():
            reads = "starts" if name == "start" else f"reads {name}"
            readers[each.table, each.column.id][f"{cell.column.id} {reads}"] = None
    again = {key for key in todo if key in states and states[key].status == "finished"}
    counts = Counter(
        (cell.table, cell.column.id, key in again)
        for key, (_, cell) in todo.items()
        if key in again or key not in shown
    )
    return tuple(
        AlsoTrained(table, column, number, once_more, tuple(readers[table, column]))
        for (table, column, once_more), number in counts.items()
    )


class _Device(NamedTuple):
    name: str
    kind: Kind


class _Rates(NamedTuple):
    """Device seconds of one step of one run, by algorithm, and from how many finished runs."""

    by_algorithm: Mapping[str, float]
    runs: int

    def of(self, population: Population, steps: Mapping[str, int]) -> float:
        """Device seconds of a population's steps, by run key; 0 where its rate is not known."""
        return self.by_algorithm.get(population.algorithm, 0.0) * sum(steps[key] for key in population.keys)

    @property
    def basis(self) -> str:
        """In words, what the rates come from."""
        if not self.runs:
            return "not measured"
        return "1 finished run" if self.runs == 1 else f"{self.runs} finished runs"


def _estimates(
    todo: Mapping[str, tuple[RunRecord, Cell]],
    states: Mapping[str, RunState],
    store: Store | None,
    measure: Measure | None,
    pack: Pack | None,
    static: Static,
) -> Iterable[TimeEstimate]:
    from harness.planning.populations import PlannedRun, populations

    here = [_Device(cpu_model(), "cpu")]
    if name := _gpu():
        here.insert(0, _Device(name, "gpu"))
    rates = _rates(store) if store else {}
    runs = [PlannedRun(run, cell) for run, cell in todo.values()]
    steps = {run.key: _steps_left(run, cell, states) for run, cell in todo.values()}
    algorithms = dict.fromkeys(str(run.record.configuration["algorithm"]) for run in runs)
    usual = {kind: populations(runs, capacity, static) for kind, capacity in CAPACITIES.items()}
    devices = list(dict.fromkeys([*here, *rates]))
    if all(device.kind == "cpu" for device in devices):
        devices.append(_Device("", "gpu"))
    for device in devices:
        known = rates.get(device, _Rates({}, 0))
        now = device in here and measure is not None
        grouped, capacity = usual[device.kind], CAPACITIES[device.kind]
        if pack and device in here and device.kind == "gpu":
            grouped = populations(runs, pack(), static)
            capacity = max(len(population.runs) for population in grouped)
        cores = usable_cores() if device in here and device.kind == "cpu" else 1
        if now and measure:
            each = _measured(grouped, steps, device.kind, measure)
        else:  # a run's share of its device's time is that of so many cores
            each = [cores * known.of(population, steps) for population in grouped]
        yield TimeEstimate(
            device=device.name,
            kind=device.kind,
            here=device in here,
            capacity=capacity,
            populations=len(grouped),
            at_once=min(cores, len(grouped)),
            seconds=max(*each, sum(each) / cores),
            unknown=() if now else tuple(name for name in algorithms if name not in known.by_algorithm),
            basis="measured now" if now else known.basis,
        )


def _gpu() -> str | None:
    """The name of this machine's GPU, if it has one; where its driver is missing torch is not asked."""
    if sys.platform == "linux" and not any(map(os.path.exists, _DRIVERS)):
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _rates(store: Store) -> dict[_Device, _Rates]:
    """What the finished runs of the database say, by the device that they trained on."""
    finished = [
        state
        for state in store.runs().values()
        if state.status == "finished" and state.device_seconds and state.step
    ]
    fingerprints = store.fingerprints({s.fingerprint_id for s in finished if s.fingerprint_id is not None})
    totals: defaultdict[_Device, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    steps: defaultdict[_Device, Counter[str]] = defaultdict(Counter)
    numbers: Counter[_Device] = Counter()
    for state in finished:
        environment = fingerprints.get(state.fingerprint_id or 0, {})
        name = environment.get("device", "")
        device = _Device(environment.get("cpu", ""), "cpu") if name == "cpu" else _Device(name, "gpu")
        if not device.name or CHANGED in f"{name}{device.name}":  # of one device alone, and known which
            continue
        totals[device][state.algorithm] += state.device_seconds or 0.0
        steps[device][state.algorithm] += state.step or 0
        numbers[device] += 1
    return {
        device: _Rates(
            {name: total / steps[device][name] for name, total in by_algorithm.items()}, numbers[device]
        )
        for device, by_algorithm in totals.items()
    }


def _measured(
    grouped: Sequence[Population], steps: Mapping[str, int], kind: Kind, measure: Measure
) -> list[float]:
    """Seconds of each population, those of one shape and size timed once."""
    from harness.planning.populations import shape

    known: dict[tuple[str, int], float] = {}
    each = []
    for population in grouped:
        same = (shape(population.runs[0]), len(population.runs))
        if same not in known:
            known[same] = measure(population, kind)
        each.append(known[same] * max(steps[key] for key in population.keys))
    return each


def _steps_left(run: RunRecord, cell: Cell, states: Mapping[str, RunState]) -> int:
    """Steps or interactions that are left of a run, from its last checkpoint on."""
    state = states.get(run.key)
    done = (state.checkpoint_step or 0) if state else 0
    return max(0, cell.protocol.length - done)
