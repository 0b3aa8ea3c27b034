"""Runs are begun anew, and the files of what they did before go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness import files
from harness.errors import HarnessError
from harness.results.store import RunState, Store


def restart(store: Store, keys: Sequence[str], home: Path | None = None) -> int:
    """Begin unfinished runs anew: their checkpoints, evaluations, metrics and artefacts are deleted.

    Finished runs, and runs that a living process trains, stay as they are; only the checkpoint of a finished
    one goes, which was being trained again for its state.

    Args:
        store: the database.
        keys: run keys.
        home: data folder, None for the default.

    Returns:
        the number of runs to be begun anew.

    Raises:
        HarnessError: a checkpoint also holds unfinished runs that are not among `keys`; nothing is deleted.
        DataError: what the database names is no file of the folder; nothing is deleted.
    """
    everything = store.runs()
    chosen = {key: state for key in keys if (state := everything.get(key)) and not state.alive}
    unfinished = [key for key, state in chosen.items() if state.status != "finished"]
    names = {name for key in unfinished for name in _checkpoints(chosen[key])}
    others = [
        state
        for key, state in everything.items()
        if key not in chosen and state.status not in ("finished", "failed")
    ]
    if sharing := [state for state in others if names & _checkpoints(state)]:
        one = sharing[0]
        raise HarnessError(
            f"{len(sharing)} unfinished run(s) outside this choice share a checkpoint with it, among them "
            f"{one.algorithm} on {one.dataset}, seed {one.seed}; restart all of them, or let them finish"
        )
    needed = {name for state in others for name in _checkpoints(state)}
    names |= {name for state in chosen.values() for name in _checkpoints(state)} - needed
    # Files first: a kill in between leaves runs without a checkpoint, never a checkpoint without its runs.
    checkpoints = store.location.folder("checkpoints", home)
    artefacts = store.location.folder("artefacts", home)
    left = [each.name for found in store.artefacts(unfinished).values() for each in found.values()]
    for path in [
        *(files.inside(checkpoints, name) for name in names),
        *(files.inside(artefacts, name) for name in left),
    ]:
        path.unlink(missing_ok=True)
    return store.restart(list(chosen))


def _checkpoints(state: RunState) -> set[str]:
    """Files that may hold a run: the recorded one, and that of its population, which may be newer."""
    return {name for name in (state.checkpoint, state.population and f"{state.population}.pt") if name}
