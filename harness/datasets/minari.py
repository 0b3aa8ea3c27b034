"""Datasets of the Minari registry."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from harness import files
from harness.datasets import apart, fields, hdf5, readers
from harness.datasets.base import Arrays
from harness.datasets.readers import Progress, Rows, Say, silent
from harness.environments import quiet
from harness.errors import DataError
from harness.home import expanded
from harness.specs.models import Dataset, MinariSource

if TYPE_CHECKING:
    from harness.datasets.download import Retry

_EPISODE_BYTES = 20_000
"""That HDF5 takes for an episode besides its rows; 14 to 18 thousand were measured."""
_EPISODE = ("observations", "actions", "rewards", "terminations")
"""What is read of an episode."""


class Reader(readers.Reader[MinariSource]):
    """Datasets in Minari's own folder, read and fetched by Minari."""

    Source = MinariSource
    examined = True

    def path(self, dataset: Dataset, source: MinariSource, home: Path) -> Path:
        """Minari's own folder for it, below ``MINARI_DATASETS_PATH`` or ``~/.minari/datasets``."""
        return path(source)

    def available(self, dataset: Dataset, source: MinariSource, home: Path) -> bool:
        """Whether Minari holds the dataset on this machine."""
        return (path(source) / "data").is_dir()

    def obtain(
        self,
        dataset: Dataset,
        source: MinariSource,
        home: Path,
        progress: Progress | None = None,
        say: Say = silent,
    ) -> Path:
        """Download the dataset into Minari's own folder."""
        if not self.available(dataset, source, home):
            download(dataset, source, progress=progress)
        return path(source)

    def rows(self, dataset: Dataset, source: MinariSource, home: Path, *, verify: bool = False) -> Rows:
        """Turn each episode of T steps and T + 1 observations into T rows.

        D4RL must drop the step at which an episode was cut, because its files lack the observation after it.
        Minari has that observation, so every step is kept. Terminations become terminals, truncations do not.
        Of the dictionaries that goal environments observe, only ``observation`` is used, [x, y, vx, vy] for
        the point mazes; ``desired_goal`` is dropped, and the frame is Gymnasium-Robotics', centred on the
        maze.
        """
        if not self.available(dataset, source, home):
            raise DataError(
                f"{dataset.id} (minari) is missing: looked at {path(source)}; "
                f"run `harness data pull {dataset.id} --data minari`"
            )
        return apart.call(read, path(source), dataset.id, libraries=("minari", "h5py", "pyarrow.dataset"))


def path(source: MinariSource) -> Path:
    """Minari's own folder for a dataset."""
    return _root() / source.id


def _place(name: str) -> Path:
    """What is locked while a dataset is written, and its temporary files are named after.

    Raises:
        DataError: The user has no home folder, and none for Minari is named.
    """
    if "~" in (root := _root()).parts:
        raise DataError(
            "there is no home folder to keep Minari's data in; set MINARI_DATASETS_PATH to a folder, or HOME"
        )
    # beside the namespaces: Minari deletes one only if nothing else is in it
    return root / quote(name, safe="")


def _root() -> Path:
    # as Minari does it, whose import takes longer than everything else that only asks for a path
    folder = os.environ.get("MINARI_DATASETS_PATH")
    return Path(folder) if folder is not None else expanded("~/.minari/datasets")


def download(
    dataset: Dataset, source: MinariSource, retry: Retry | None = None, progress: Progress | None = None
) -> None:
    """Download a dataset into Minari's own folder; it is there whole, or not at all.

    Args:
        dataset: Its spec, for an error.
        source: Its id in Minari.
        retry: How slow and how large a download may be.
        progress: Called again and again with bytes so far; what it raises ends the download.

    Raises:
        DataError: Minari cannot download it, it is too slow or too large, or cannot be written.
    """
    from harness.datasets import minari_download

    target, place = path(source), _place(source.id)
    temporary = place.with_name(f".{place.name}.new")
    report = progress or (lambda done, total: None)
    with files.locked(place, lambda: report(0, None)), files.explained(target), _emptied(temporary):
        if (target / "data").is_dir():  # another process was quicker
            return
        try:
            minari_download.fetch(source.id, temporary, retry, report)
        except minari_download.ClientError as error:
            said = filter(None, (str(error), _without_certificates(), f"a copy of it belongs at {target}"))
            raise DataError(
                f"cannot download Minari's {source.id!r} for {dataset.id}: {'; '.join(said)}"
            ) from error
        if not (temporary / source.id / "data").is_dir():
            raise DataError(f"Minari downloaded {source.id!r} for {dataset.id}, but nothing came")
        target.parent.mkdir(parents=True, exist_ok=True)
        for namespace in Path(source.id).parents:
            about = namespace / "namespace_metadata.json"
            if (temporary / about).is_file() and not (_root() / about).exists():
                files.publish(temporary / about, _root() / about)
        files.publish(temporary / source.id, target)


def _without_certificates() -> str:
    """What to do where the environment names certificates that are not there, of which clients say little."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if (place := os.environ.get(name)) and not Path(place).exists():
            return f"{name} names {place}, which is not there: correct or unset it"
    return ""


def read(place: Path, dataset: str) -> Rows:
    """The rows of a dataset that Minari holds; see `Reader.rows`.

    They are read without Minari, which would decode what is not needed, follow HDF5's links to other files,
    and make the environment that the metadata name, with whatever code that runs.

    Args:
        place: Its folder.
        dataset: Its id in the specs, for advice.

    Raises:
        DataError: It is damaged, empty, of a version or format that is not read here, or its observations or
            actions are no arrays of numbers.
    """
    anew = f"remove {place} and run `harness data pull {dataset} --data minari`"
    metadata = _metadata(place, anew)
    _require_arrays(place, metadata)
    read_as, count = _FORMATS[metadata["data_format"]], metadata["total_episodes"]
    with fields.damaged(place / "data", f"Minari {metadata['data_format']}"):
        episodes = list(read_as(place / "data", count))
        for number, episode in enumerate(episodes):
            if (observed := len(episode["observations"])) != (acted := len(episode["rewards"])) + 1:
                raise DataError(
                    f"{place}: episode {number} has {acted} steps, but {observed} observations; {anew}"
                )
        steps = [len(episode["rewards"]) for episode in episodes]
        if sum(steps) != metadata["total_steps"]:
            said = f"{metadata['total_steps']:,}"
            raise DataError(f"{place} has {sum(steps):,} steps, but its metadata say {said}; {anew}")
        parts = {
            "observations": [episode["observations"][:-1] for episode in episodes],
            "next_observations": [episode["observations"][1:] for episode in episodes],
            "actions": [episode["actions"] for episode in episodes],
            "rewards": [episode["rewards"] for episode in episodes],
            "terminals": [episode["terminations"] for episode in episodes],
        }
        columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
        ends = np.isin(np.arange(sum(steps)), np.cumsum(steps) - 1)
        columns["timeouts"] = ends & (columns["terminals"] == 0)
        return fields.rows(place, {name: fields.known(array) for name, array in columns.items()})


def _metadata(place: Path, anew: str) -> dict[str, Any]:
    """What a dataset says of itself.

    Raises:
        DataError: It says nothing, is empty, or is of a version or format that is not read here.
    """
    import minari

    file = place / "data" / "metadata.json"
    metadata = files.read_json(file)
    if metadata is None:
        if not file.exists():
            raise DataError(
                f"{place} has no {file.name}: a Minari before 0.5 wrote it, or it is not whole; {anew}"
            )
        raise DataError(f"{file} is damaged: it is no JSON object; {anew}")
    version, stored_as = metadata.get("minari_version"), metadata.get("data_format")
    known = sorted(minari.supported_dataset_versions)
    if version not in known:
        raise DataError(
            f"{place} is of version {version!r:.40} of Minari's format; Minari {minari.__version__}, which "
            f"is installed, reads {', '.join(known)}: install another Minari, or {anew}"
        )
    if stored_as not in [*_FORMATS]:  # whatever stands there, of any type
        raise DataError(
            f"{place} is stored as {stored_as!r:.40}; {', '.join(_FORMATS)} are read here: install another "
            f"version of this program, or {anew}"
        )
    for name in ("total_episodes", "total_steps"):
        if type(count := metadata.get(name)) is not int or count < 0:
            raise DataError(f"{file} is damaged: its {name} are {count!r:.40}; {anew}")
    if not metadata["total_steps"]:
        raise DataError(f"{place} holds no episodes; {anew}")
    return metadata


def _require_arrays(place: Path, metadata: Mapping[str, Any]) -> None:
    """See to it that observations and actions are arrays, so far as the metadata describe their spaces.

    Raises:
        DataError: They are not, or the description is none.
    """
    for what in ("observation", "action"):
        try:
            space = json.loads(metadata.get(f"{what}_space", '{"type": "Box"}'))
            kind = space["type"]
            if kind == "Dict" and what == "observation":
                space = space["subspaces"].get(what, {"type": f"Dict without {what!r}"})
                kind = space["type"]
            image = kind == "Box" and space.get("dtype") == "uint8" and len(space.get("shape", ())) > 1
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise DataError(f"{place}: its metadata do not say what its {what}s are") from error
        if kind != "Box" or image:
            raise DataError(
                f"{place}: its {what}s are {'images' if image else f'of the space {kind!s:.40}'}; only "
                "arrays of numbers (Box) are trained on; choose another dataset"
            )


def _hdf5(data: Path, episodes: int) -> Iterator[dict[str, NDArray[Any]]]:
    with hdf5.columns(data / "main_data.hdf5") as columns:
        for number in range(episodes):
            episode = f"episode_{number}"
            there = {name: columns.get(f"{episode}/{name}") for name in _EPISODE}
            goal = columns.get(f"{episode}/observations/observation")
            there["observations"] = there["observations"] or goal
            if missing := [name for name, column in there.items() if column is None]:
                raise DataError(
                    f"{data}: {episode} lacks its {', '.join(missing)}, or has links in their place"
                )
            yield {name: column.read() for name, column in there.items() if column is not None}


def _arrow(data: Path, episodes: int, stored_as: str = "arrow") -> Iterator[dict[str, NDArray[Any]]]:
    from pyarrow import dataset

    for number in range(episodes):
        rows = dataset.dataset(data / str(number), format=stored_as, ignore_prefixes=[".", "_", "metadata"])
        found = rows.to_table(columns=list(_EPISODE)).combine_chunks()
        episode = {name: _numbers(found.column(name)) for name in _EPISODE}
        # all columns are as long as the observations, of which there is one more
        yield {name: array if name == "observations" else array[:-1] for name, array in episode.items()}


def _numbers(column: Any) -> NDArray[Any]:
    """A column of numbers, of lists of equally many, or of structures with an 'observation'."""
    import pyarrow as pa

    array = column.combine_chunks()
    if pa.types.is_struct(array.type):
        array = array.field("observation")
    lists = pa.types.is_fixed_size_list(array.type)
    flat = array.flatten() if lists else array
    if array.null_count or flat.null_count:
        raise ValueError(f"values of type {column.type} are missing")
    numbers = np.asarray(flat.to_numpy(zero_copy_only=False))
    return numbers.reshape(len(array), -1) if lists else numbers


_FORMATS: dict[str, Callable[[Path, int], Iterator[dict[str, NDArray[Any]]]]] = {
    "hdf5": _hdf5,
    "arrow": _arrow,
    "parquet": functools.partial(_arrow, stored_as="parquet"),
}


def export(dataset: Dataset, rows: Arrays, content_hash: str, name: str) -> Path:
    """Write rows in D4RL's layout as a dataset of Minari's, in Minari's own folder.

    Rows up to a terminal or a cut become an episode; open rows at the end become a truncated one.
    An episode's last observation is the file's ``next_observations``. A file without them lacks it: where the
    episode was cut, its last row then gives the observation alone; where it ended by itself, that row's own
    observation stands in, since nothing is ever read from there.

    Args:
        dataset: Its spec, with an environment.
        rows: D4RL's fields.
        content_hash: Of the rows; where Minari has these very rows by that name, nothing is written.
        name: The id in Minari.

    Returns:
        Minari's folder for it.

    Raises:
        DataError: Minari has another one of that name, or the name, the disk or Minari does not allow it.
    """
    from minari.namespace import create_namespace, list_local_namespaces

    target = path(MinariSource(id=name))
    if holds(dataset, name, content_hash):
        return target
    namespace = _namespace(dataset, name)
    place = _place(name)
    with files.locked(place), files.explained(target):
        if namespace is not None and namespace not in list_local_namespaces():
            with contextlib.suppress(ValueError):  # a process with another dataset was quicker
                create_namespace(namespace)
        if not holds(dataset, name, content_hash):
            _write(dataset, rows, content_hash, name, place.with_name(f".{place.name}.new"))
    return target


def holds(dataset: Dataset, name: str, content_hash: str = "") -> bool:
    """Whether Minari has a dataset by that name, exported of this recipe and of rows of this hash.

    Args:
        dataset: Its spec.
        name: The id in Minari.
        content_hash: Of the rows; empty: of any.

    Raises:
        DataError: Minari has another one by that name, or takes no such name.
    """
    _namespace(dataset, name)
    target = path(MinariSource(id=name))
    if not target.exists():
        return False
    metadata = files.read_json(target / "data" / "metadata.json") or {}
    if not str(metadata.get("description")).startswith(_description(dataset, content_hash)):
        raise DataError(
            f"Minari has another dataset {name!r} already, at {target}; remove it, or build with --no-minari "
            f"and choose another id: `harness data export-minari {dataset.id} --id ID`"
        )
    return True


def _namespace(dataset: Dataset, name: str) -> str | None:
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        namespace: str | None = parse_dataset_id(name)[0]
    except (ValueError, TypeError) as error:  # without a version it is a TypeError
        raise DataError(
            f"{name!r} is no id that Minari takes, as harness/hopper-medium-v2 with its version is; build "
            f"with --no-minari and choose one: `harness data export-minari {dataset.id} --id ID`"
        ) from error
    return namespace


def needed_bytes(rows: Arrays) -> int:
    """What Minari's files of these rows take at most; HDF5 fills its last block of an array up."""
    episodes = int((rows["terminals"] | rows["timeouts"]).sum()) + 1
    return sum(array.nbytes for array in rows.values()) * 6 // 5 + episodes * _EPISODE_BYTES


def _description(dataset: Dataset, content_hash: str) -> str:
    return f"{dataset.id}, made by harness: {dataset.identity('generated')}; content hash {content_hash}"


def _write(dataset: Dataset, rows: Arrays, content_hash: str, name: str, temporary: Path) -> None:
    """Write rows to a temporary folder, and move them to their place once they are whole."""
    import gymnasium
    import minari

    target = path(MinariSource(id=name))
    # said before, since HDF5 that is refused room in the middle ends the whole process
    files.require_space(target, needed_bytes(rows))
    box = gymnasium.spaces.Box
    environment = dataset.environment
    own = environment is None or environment.id.startswith("harness/")
    with quiet(), warnings.catch_warnings(), _kept_in(temporary):
        warnings.simplefilter("ignore")  # about fields that are left out
        minari.create_dataset_from_buffers(
            name,
            _episodes(rows),
            env=None if own or environment is None else environment.id,
            observation_space=box(-np.inf, np.inf, (dataset.observation_size,), np.float32),
            action_space=box(-1.0, 1.0, (dataset.action_size,), np.float32),
            algorithm_name=None if dataset.generated is None else dataset.generated.recipe,
            ref_min_score=dataset.reference.minimum,
            ref_max_score=dataset.reference.maximum,
            description=_description(dataset, content_hash),
        )
        files.publish(temporary / name, target)


@contextlib.contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Minari writes there, and nothing stays there."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    with _emptied(folder):
        os.environ["MINARI_DATASETS_PATH"] = str(folder)
        try:
            yield
        finally:
            if before is None:
                del os.environ["MINARI_DATASETS_PATH"]
            else:
                os.environ["MINARI_DATASETS_PATH"] = before


@contextlib.contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """An empty folder, of which nothing stays."""
    shutil.rmtree(folder, ignore_errors=True)  # what a killed process left
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _episodes(rows: Arrays) -> Iterator[Any]:
    from minari.data_collector import EpisodeBuffer

    ends = np.flatnonzero(rows["terminals"] | rows["timeouts"]).tolist()
    count, start, number = len(rows["rewards"]), 0, 0
    for end in ends if ends and ends[-1] == count - 1 else [*ends, count - 1]:
        terminal = bool(rows["terminals"][end])
        observations = rows["observations"][start : end + 1]
        stop = end + 1
        if "next_observations" in rows:
            observations = np.concatenate([observations, rows["next_observations"][end : end + 1]])
        elif terminal:
            observations = np.concatenate([observations, observations[-1:]])
        else:
            stop = end
        steps, last = stop - start, np.arange(stop - start) == stop - start - 1
        if steps:
            yield EpisodeBuffer(
                id=number,
                observations=observations.astype(np.float32),
                actions=rows["actions"][start:stop].astype(np.float32),
                rewards=rows["rewards"][start:stop],
                terminations=last & terminal,
                truncations=last & (not terminal),
            )
            number += 1
        start = end + 1
