"""Databases of workers that cannot share one: they are given runs, and what they measured is merged."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from harness.execution.executors import Order
from harness.planning.populations import PlannedRun, populations
from harness.results import transfer
from harness.results.records import RunRecord
from harness.results.store import RunState, Store

#: The variable that tells a worker that its database is a file for it alone, which holds the runs to train.
OWN = "HARNESS_OWN_DB"
_FILE = "runs.db"
# Folders of files, and what they are called until all runs are in
_HANDED, _NEW = "worker-", "new-"


def gather(order: Order, folder: Path) -> set[str]:
    """Merge what workers of earlier commands measured; files that are still at work are left alone.

    Args:
        order: what is to be trained.
        folder: of the files.

    Returns:
        keys of the runs that such workers have yet to finish.

    Raises:
        DataError: a file is not as this program writes databases.
    """
    busy: set[str] = set()
    for path in _files(folder):
        states = _states(path)
        if any(state.alive for state in states.values()):
            busy |= {key for key, state in states.items() if not state.over}
        elif not any(state.alive for state in order.store.runs(states).values()):
            collect(order, path, states)
        # else a living command waits for the file's worker
    return busy


def hand_out(
    order: Order, free: Sequence[PlannedRun], number: int, share: int, folder: Path
) -> dict[Path, list[str]]:
    """Give each worker a SQLite file with its runs, and with what these read from others.

    Runs that an earlier worker left unfinished stay in its file: their checkpoints lie beside it. Its folder
    gets another name, for that worker's job may wait for its turn to this day; it then finds nothing.

    Args:
        order: what is to be trained.
        free: the runs to hand out, none of which a worker trains.
        number: of workers; there are more files where earlier ones left more.
        share: most runs of a population.
        folder: of the files, which all workers see.

    Returns:
        file -> keys of its runs.
    """
    runs = {run.record.key: run for run in free}
    places: dict[Path, list[str]] = {_place(folder, _NEW): [] for _ in range(number)}
    left = dict(runs)
    for path in _files(folder):
        begun = [key for key, state in _states(path).items() if key in left and not state.over]
        if begun:
            places[path.parent] = begun
            left = {key: run for key, run in left.items() if key not in begun}
    for population in populations(left.values(), share):
        min(places.values(), key=len).extend(population.keys)
    files: dict[Path, list[str]] = {}
    for place, keys in places.items():
        if keys:
            _fill(order, place / _FILE, [runs[key] for key in keys])
            files[place.rename(_place(folder, _HANDED)) / _FILE] = keys
    return files


def _fill(order: Order, path: Path, runs: Sequence[PlannedRun]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with Store.open(path, create=True) as store:
        read = [below.key for run in runs for below in _read(run)]
        transfer.merge(store, order.store.location.address, read, order.home)
        store.register(run.record for run in runs)


def _read(run: PlannedRun) -> Iterable[RunRecord]:
    """The runs that a run reads values and states from."""
    for metric in run.cell.metrics.values():
        yield from metric.cell.runs
    for read in run.cell.states.values():
        yield read.of(run.record.seed)


def collect(order: Order, path: Path, keys: Collection[str]) -> None:
    """Merge what a worker measured that has ended; its file goes where all its runs are over.

    Raises:
        DataError: the file is not as this program writes databases.
    """
    with Store.open(path) as own:
        own.set_free(keys)  # the worker may have been killed
        over = all(state.over for state in own.runs(keys).values())
    order.store.release(keys)  # nothing is merged into runs that somebody holds
    merged = transfer.merge(order.store, path, keys, order.home)
    for problem in (*merged.conflicts, *merged.left):
        order.store.tell(f"{path}: {problem}")
    if over and not merged.busy:
        shutil.rmtree(path.parent, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_HANDED}*/{_FILE}"))


def _place(folder: Path, kind: str) -> Path:
    """A folder for a file, of a name that no worker has been told."""
    return folder / f"{kind}{uuid.uuid4().hex[:8]}"


def _states(path: Path) -> dict[str, RunState]:
    with Store.open(path) as store:
        return store.runs()
