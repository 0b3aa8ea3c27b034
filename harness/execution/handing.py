"""Databases of workers that cannot share one: they are given runs, and what they measured is merged."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.execution.executors import Order
from harness.planning.populations import PlannedRun, populations
from harness.results import transfer
from harness.results.records import RunRecord
from harness.results.store import RunState, Store


def hand_out(
    order: Order, free: Sequence[PlannedRun], number: int, share: int, folder: Path
) -> dict[Path, list[str]]:
    """Give each worker a SQLite file with its runs, and with what these read from others.

    Runs that an earlier worker left unfinished stay in its file: their checkpoints lie beside it.

    Args:
        order: what is to be trained.
        free: the runs to hand out.
        number: of workers; there are more files where earlier ones left more.
        share: most runs of a population.
        folder: of the files, which all workers see.

    Returns:
        file -> keys of its runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runs = {run.record.key: run for run in free}
    files: dict[Path, list[str]] = {folder / f"{i}.db": [] for i in range(number)}
    left = dict(runs)
    for path in sorted(folder.glob("*.db")):
        begun = [key for key, state in _states(path).items() if key in left and not state.over]
        if begun:
            files[path] = begun
            left = {key: run for key, run in left.items() if key not in begun}
    for population in populations(left.values(), share):
        min(files.values(), key=len).extend(population.keys)
    files = {path: keys for path, keys in files.items() if keys}
    for path, keys in files.items():
        with Store.open(path, create=True) as store:
            read = [run.key for key in keys for run in _read(runs[key])]
            transfer.merge(store, _address(order.store), read, order.home)
            store.register(runs[key].record for key in keys)
    return files


def _read(run: PlannedRun) -> Iterable[RunRecord]:
    """The runs that a run reads values and states from."""
    for metric in run.cell.metrics.values():
        yield from metric.cell.runs
    for read in run.cell.states.values():
        yield read.of(run.record.seed)


def collect(order: Order, path: Path, keys: Sequence[str]) -> None:
    """Merge what a worker measured; its file goes where all its runs are over, else it is gone on with.

    Raises:
        DataError: the file is not as this program writes databases.
    """
    order.store.release(keys)  # nothing is merged into runs that somebody holds
    transfer.merge(order.store, path, keys, order.home)
    if all(_states(path)[key].over for key in keys):
        for kind in ("checkpoints", "artefacts"):
            shutil.rmtree(path.with_name(f"{path.stem}.{kind}"), ignore_errors=True)
        for file in path.parent.glob(f"{path.name}*"):  # with what SQLite keeps beside it
            file.unlink(missing_ok=True)


def _states(path: Path) -> dict[str, RunState]:
    with Store.open(path) as store:
        return store.runs()


def _address(store: Store) -> str | Path:
    return store.location.path or store.location.url.render_as_string(hide_password=False)
