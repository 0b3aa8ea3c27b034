"""What a table still needs: runs done and missing, populations, estimated time and disk."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import datasets
from harness.planning.cells import Cell, ResolvedTable
from harness.results.records import RunRecord, imported_key
from harness.results.store import RunState, Store
from harness.specs import D4RLSource, Dataset, GeneratedSource, Lineage


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
    unavailable: str | None

    @property
    def to_train(self) -> int:
        """Runs that `harness reproduce` would begin or go on with."""
        return 0 if self.unavailable else self.wanted - self.done - self.failed


@dataclass(frozen=True)
class Plan:
    """What `harness reproduce` would do.

    Attributes:
        table: id of the table.
        preset: id of the preset, or None.
        lineage: of the data.
        cells: row by row.
        populations: batched programs that the runs to train make.
        seconds: estimated device time of the runs whose algorithm this database has measured; 0 where none.
        unknown: algorithms to train of which the database has no finished run to estimate from.
        absent: datasets that are not on this machine and would be built or downloaded.
        disk: bytes of the absent datasets whose size is known before they are there.
    """

    table: str
    preset: str | None
    lineage: Lineage
    cells: tuple[CellPlan, ...]
    populations: int
    seconds: float
    unknown: tuple[str, ...]
    absent: tuple[str, ...]
    disk: int

    @property
    def to_train(self) -> int:
        """Runs that would be begun or gone on with."""
        return sum(cell.to_train for cell in self.cells)

    def total(self, what: str) -> int:
        """Sum over the cells of one of `CellPlan`'s counts."""
        return sum(getattr(cell, what) for cell in self.cells)

    @property
    def unavailable(self) -> dict[str, int]:
        """Cells that cannot be trained, by reason."""
        return dict(Counter(cell.unavailable for cell in self.cells if cell.unavailable))


def plan(
    resolved: ResolvedTable, store: Store | None, *, home: Path | None = None, capacity: int = 8
) -> Plan:
    """What a table needs less what a database holds. Nothing is written.

    Args:
        resolved: the table.
        store: the database; None if there is none yet.
        home: data folder, None for the default.
        capacity: most members of one population.

    Raises:
        HarnessError: the database cannot be read.
    """
    records = [run for cell in resolved.cells for run in cell.runs]
    keys = [key for run in records for key in (run.key, imported_key(run.key))]
    states = store.runs(keys) if store else {}
    cells = tuple(_cell(cell, states) for cell in resolved.cells)
    todo = {
        run.key: (run, cell)
        for cell in resolved.cells
        if cell.unavailable is None
        for run in cell.runs
        if run.key not in states or states[run.key].status not in ("finished", "failed")
    }
    rates = _rates(store) if store and todo else {}
    needed = {cell.dataset.id: cell.dataset for _, cell in todo.values()}
    absent = [
        dataset for dataset in needed.values() if not datasets.available(dataset, resolved.lineage, home)
    ]
    algorithms = dict.fromkeys(str(run.configuration["algorithm"]) for run, _ in todo.values())
    return Plan(
        table=resolved.table.id,
        preset=resolved.preset.id if resolved.preset else None,
        lineage=resolved.lineage,
        cells=cells,
        populations=_populations(todo, capacity),
        seconds=sum(_seconds(run, states, rates) for run, _ in todo.values()),
        unknown=tuple(name for name in algorithms if name not in rates),
        absent=tuple(dataset.id for dataset in absent),
        disk=sum(_size(dataset, resolved.lineage) for dataset in absent),
    )


def _cell(cell: Cell, states: Mapping[str, RunState]) -> CellPlan:
    counts = Counter(states[run.key].status if run.key in states else "missing" for run in cell.runs)
    return CellPlan(
        dataset=cell.dataset.id,
        column=cell.column.id,
        wanted=len(cell.runs),
        done=counts["finished"],
        failed=counts["failed"],
        running=counts["running"],
        queued=counts["queued"] + counts["interrupted"],
        missing=counts["missing"],
        imported=sum(imported_key(run.key) in states for run in cell.runs),
        unavailable=cell.unavailable,
    )


def _rates(store: Store) -> dict[str, float]:
    """Device seconds of one step of one member, by algorithm, over all that the database has trained."""
    steps: Counter[str] = Counter()
    totals: defaultdict[str, float] = defaultdict(float)
    for state in store.runs().values():
        if state.status == "finished" and state.device_seconds and state.step:
            totals[state.algorithm] += state.device_seconds
            steps[state.algorithm] += state.step
    return {name: total / steps[name] for name, total in totals.items()}


def _seconds(run: RunRecord, states: Mapping[str, RunState], rates: Mapping[str, float]) -> float:
    """Device time that is left of a run, 0 where nothing tells."""
    state = states.get(run.key)
    done = (state.checkpoint_step or 0) if state else 0
    left = max(0, int(run.configuration["protocol"]["steps"]) - done)
    return rates.get(str(run.configuration["algorithm"]), 0.0) * left


def _size(dataset: Dataset, lineage: Lineage) -> int:
    """Bytes of the dataset's file: as the spec says, or from its rows; 0 where neither tells."""
    match dataset.source(lineage):
        case D4RLSource(size=int(size)):
            return size
        case GeneratedSource(transitions=rows):
            # float32 observations, actions, rewards and goals at most, and two flags, as they are written
            return rows * (4 * (dataset.observation_size + dataset.action_size + 3) + 2)
        case _:
            return 0


def _populations(todo: Mapping[str, tuple[RunRecord, Cell]], capacity: int) -> int:
    if not todo:
        return 0
    from harness.planning.populations import PlannedRun, populations  # imports torch

    return len(populations([PlannedRun(run, cell) for run, cell in todo.values()], capacity))
