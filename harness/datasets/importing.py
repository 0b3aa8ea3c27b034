"""Looks into a file of one's own and writes the dataset's YAML: what was found, and what is to fill in."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import files
from harness.datasets import apart, fields
from harness.datasets.cards import episodes
from harness.datasets.readers import Rows
from harness.errors import DataError, HarnessError, SpecError
from harness.specs import Dataset, Specs
from harness.specs.models import FORMATS, Format, check_id

# as D4RL, Gymnasium, Minari, CORL and Stable-Baselines name them, and what is usual besides
_NAMES = {
    "observations": ("observations", "observation", "obs", "states", "state"),
    "next_observations": (
        *("next_observations", "next_observation", "next_obs", "obs_next", "obs2", "new_obs"),
        *("next_states", "next_state"),
    ),
    "actions": ("actions", "action", "acts", "act"),
    "rewards": ("rewards", "reward", "rews", "rew"),
    "terminals": ("terminals", "terminal", "terminations", "termination", "terminated", "dones", "done"),
    "timeouts": ("timeouts", "timeout", "truncations", "truncation", "truncated"),
}
_PLAIN = re.compile(r"(?!(?:true|false|null)$)(\.\./)*[a-z_][\w/.-]*", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """What a file has.

    Attributes:
        place: The file.
        stored_as: Its format.
        names: Our name of a field -> the file's, of those that were recognised.
        rows: By our names.
    """

    place: Path
    stored_as: Format
    names: Mapping[str, str]
    rows: Rows


def look(place: Path, given: Mapping[str, str]) -> Found:
    """Look into a file.

    Args:
        place: The file.
        given: Our name of a field -> the file's, where that is not to be guessed.

    Raises:
        DataError: It is not there, damaged, of no known format, or has a field that every dataset has under
            no usual name.
    """
    stored_as = FORMATS.get(place.suffix.lower())
    if stored_as is None:
        raise DataError(f"{place} does not end in {', '.join(FORMATS)}, so its format is unknown")
    if not place.is_file():
        raise DataError(f"{place} is no file")
    libraries = fields.LIBRARIES[stored_as]
    names = {**recognised(apart.call(fields.heads, place, stored_as, libraries=libraries)), **given}
    rows = apart.call(fields.read, place, stored_as, names, {}, libraries=libraries)
    return Found(place, stored_as, names, rows)


def recognised(names: Iterable[str]) -> dict[str, str]:
    """Our name of a field -> the file's, of those with a usual name; the less deep in groups, the better."""
    found = {}
    for ours, usual in _NAMES.items():
        last = {name: name.rpartition("/")[2].lower() for name in names}
        matching = [
            (name.count("/"), usual.index(word), name) for name, word in last.items() if word in usual
        ]
        if matching:
            found[ours] = min(matching)[2]
    return found


def write(found: Found, name: str, to: Path, specs: Specs, environment: str | None = None) -> Path:
    """Write the YAML of a dataset, which must not be there yet.

    Args:
        found: The file.
        name: The dataset's id.
        to: A folder of specs; made if it is not there.
        specs: Those there are; one with the same environment tells domain, time limit and reference scores.
        environment: A Gymnasium id.

    Returns:
        The file that was written.

    Raises:
        HarnessError: There is a dataset or a file of that name, or the name is no id.
        DataError: The file cannot be written.
    """
    target = to / "datasets" / f"{name}.yaml"
    try:
        check_id(name)
    except ValueError as error:
        raise HarnessError(f"{name!r} is no id: {error}") from error
    if name in specs.ids("datasets") or target.exists():
        raise HarnessError(f"there is a dataset {name!r} already; choose another --id")
    text = "\n".join(_lines(found, name, target.parent, _like(specs, environment), environment)) + "\n"
    with files.explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    return target


def _like(specs: Specs, environment: str | None) -> Dataset | None:
    """A known dataset of that environment."""
    for name in specs.ids("datasets") if environment is not None else ():
        with contextlib.suppress(SpecError):  # others may be waiting to be filled in, too
            dataset = specs.dataset(name)
            if dataset.environment and dataset.environment.id == environment:
                return dataset
    return None


def _lines(
    found: Found, name: str, folder: Path, like: Dataset | None, environment: str | None
) -> Iterator[str]:
    rows = found.rows
    yield f"id: {name}"
    yield f"domain: {like.domain}" if like else "domain: own  # of datasets that are alike"
    if like and like.environment:
        limit = like.environment.max_episode_steps
        yield f"environment: {{id: {environment}, max_episode_steps: {limit}}}"
    elif environment:
        yield f"environment: {{id: {_text(environment)}}}"
    else:
        yield "# Where policies are evaluated; without it nothing is trained."
        yield "# environment: {id: my/Env-v0, import: my_module, max_episode_steps: 1000}"
    yield f"observation_size: {rows['observations'].shape[1]}"
    actions = rows["actions"]
    yield f"action_size: {actions.shape[1]}  # from {actions.min():.4g} to {actions.max():.4g}"
    yield f"# Returns that count as 0 and 100. {_returns(rows)}"
    yield "reference:"
    if like:
        reference = like.reference
        yield f"  minimum: {reference.minimum}"
        yield f"  maximum: {reference.maximum}"
        yield f"  source: {json.dumps(reference.source, ensure_ascii=False)}  # as {like.id}"
    else:
        yield "  minimum:  # fill in, for example a random policy's"
        yield "  maximum:  # fill in, for example an expert's"
        yield "  source:  # fill in: where these two come from"
    yield f"# {len(actions):,} rows"
    yield "file:"
    yield f"  path: {_text(os.path.relpath(found.place, folder))}"
    yield f"  size: {found.place.stat().st_size}"
    yield f"  sha256: {files.sha256(found.place)}  # names the content: with another, runs are other runs"
    mapped = {ours: theirs for ours, theirs in found.names.items() if ours != theirs}
    if mapped:
        yield "  fields:"
        yield from (f"    {ours}: {_text(theirs)}" for ours, theirs in mapped.items())
    if found.names["terminals"].lower().rpartition("/")[2] in ("done", "dones") and "timeouts" not in rows:
        yield f"  # {found.names['terminals']!r} ends episodes for good: if it is true at time limits, too,"
        yield "  # give these a field of their own and name it under 'timeouts'."


def _returns(rows: Rows) -> str:
    found = episodes(rows)
    if found is None:
        return "Rows do not follow each other, so those of the data are unknown."
    returns, _ = found
    if not len(returns):
        return "No episode of the data ends."
    return f"{len(returns):,} episodes of the data: {returns.min():.4g} to {returns.max():.4g}."


def _text(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
