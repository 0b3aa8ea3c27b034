"""Where checkpoints lie, and how unfinished runs are begun anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness import datasets, files
from harness.errors import HarnessError
from harness.results.schema import Location
from harness.results.store import RunState, Store


def checkpoint_folder(location: Location, home: Path | None = None) -> Path:
    """The folder of a database's checkpoints: beside a SQLite file, else in the data folder.

    Args:
        location: the database.
        home: data folder, None for the default.
    """
    if location.path is not None:
        return location.path.with_name(f"{location.path.stem}.checkpoints")
    return (home or datasets.default_home()) / "checkpoints"


def restart(store: Store, keys: Sequence[str], folder: Path) -> int:
    """Begin unfinished runs anew: their checkpoints, evaluations and metrics are deleted.

    Finished runs, and runs that a living process trains, stay as they are.

    Args:
        store: the database.
        keys: run keys.
        folder: of the checkpoints.

    Returns:
        the number of runs to be begun anew.

    Raises:
        HarnessError: a checkpoint also holds unfinished runs that are not among `keys`; nothing is deleted.
        DataError: what the database names is no file of the folder; nothing is deleted.
    """
    everything = store.runs()
    chosen = {key: state for key in keys if (state := everything.get(key)) and _unfinished(state)}
    names = {name for state in chosen.values() for name in _checkpoints(state)}
    others = [
        state
        for key, state in everything.items()
        if key not in chosen and state.status not in ("finished", "failed") and names & _checkpoints(state)
    ]
    if others:
        one = others[0]
        raise HarnessError(
            f"{len(others)} unfinished run(s) outside this choice share a checkpoint with it, among them "
            f"{one.algorithm} on {one.dataset}, seed {one.seed}; restart all of them, or let them finish"
        )
    # Files first: a kill in between leaves runs without a checkpoint, never a checkpoint without its runs.
    for path in [files.inside(folder, name) for name in names]:
        path.unlink(missing_ok=True)
    return store.restart(list(chosen))


def _unfinished(state: RunState) -> bool:
    return state.status != "finished" and not state.alive


def _checkpoints(state: RunState) -> set[str]:
    """Files that may hold a run: the recorded one, and that of its population, which may be newer."""
    return {name for name in (state.checkpoint, state.population and f"{state.population}.pt") if name}
