"""The files that finished runs leave beside the database: are they whole, and copies of them."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import files
from harness.errors import DataError
from harness.results.models import STATE
from harness.results.records import Artefact
from harness.results.store import Store


def problem(folder: Path, artefact: Artefact) -> str | None:
    """Why an artefact cannot be used, as the end of a sentence about it; None where it is whole.

    Args:
        folder: the database's folder of artefacts.
        artefact: as the database has it.
    """
    try:
        path = files.inside(folder, artefact.name)
        if path.stat().st_size == artefact.size and files.sha256(path) == artefact.sha256:
            return None
    except DataError as error:
        return str(error)
    except FileNotFoundError:
        return f"is missing ({folder / artefact.name})"
    except OSError as error:
        return f"cannot be read ({folder / artefact.name}: {error.strerror})"
    return f"has changed since it was written ({path})"


def kept_states(store: Store, home: Path | None = None) -> Callable[[str], bool]:
    """Whether the whole training state of a run, by its key, is there as it was written; each looked at once.

    Args:
        store: the database.
        home: data folder, where servers' artefacts lie; None for the default.
    """
    folder = store.location.folder("artefacts", home)

    @functools.cache
    def kept(key: str) -> bool:
        state = store.artefacts([key]).get(key, {}).get(STATE)
        return state is not None and problem(folder, state) is None

    return kept


def problems(store: Store, folder: Path) -> Iterator[str]:
    """What is wrong with a database's artefacts, each said in one sentence."""
    for key, artefacts in store.artefacts().items():
        for kind, artefact in artefacts.items():
            if wrong := problem(folder, artefact):
                yield f"run {key}: its {kind} {wrong}"


def copy(artefact: Artefact, source: Path, target: Path) -> str | None:
    """Copy an artefact's file from one folder to another, unless it is there already.

    Returns:
        None where it is there now; else why not, as the end of a sentence. What is there stays.

    Raises:
        DataError: the copy cannot be written.
    """
    if wrong := problem(source, artefact):
        return wrong
    place = files.inside(target, artefact.name)
    if place.exists():
        other = problem(target, artefact)
        return other and f"is not copied: another file is there, and kept ({place})"
    with files.atomic(place) as temporary:
        shutil.copyfile(source / artefact.name, temporary)
        if files.sha256(temporary) != artefact.sha256:
            raise DataError(
                f"{source / artefact.name} changed while it was copied; run the same command again"
            )
    return None
