"""The scores of sources by dataset and algorithm, whatever their files look like."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from harness.counting import count
from harness.datasets import apart
from harness.errors import UnknownNameError
from harness.sources import files, reading

if TYPE_CHECKING:
    from harness.sources.files import Pinned
    from harness.specs.catalogue import Specs
    from harness.specs.sources import ScoreSource, SourceFile

_VERSION = re.compile(r"-v\d+$")
_NAMED = 4  # of things that are left out, how many a sentence names


@dataclass(frozen=True)
class Curves:
    """The scores of one configuration: an algorithm with its settings on a dataset.

    Attributes:
        source: id.
        dataset: id.
        algorithm: id, or the source's name in lower case where its spec maps it to none.
        label: the source's name of the algorithm.
        setting: as the source has it, parts joined by ``|``; may be empty.
        phase: part of a run, as ``offline``; empty where runs have no parts.
        seeds: of the runs, as the source numbers them.
        scores: normalised, 100 is an expert; (seeds, evaluations).
        steps: of the evaluations; -1 where the source does not tell.
        file: that its content hangs on: the file itself or, of many, their listing with hashes.
    """

    source: str
    dataset: str
    algorithm: str
    label: str
    setting: str
    phase: str
    seeds: tuple[int, ...]
    scores: NDArray[np.float64]
    steps: NDArray[np.int64]
    file: Path


@dataclass(frozen=True)
class Summary:
    """A mean and standard deviation that a source prints; its seeds' scores are not at hand.

    Attributes:
        source: id.
        dataset: id.
        algorithm: as `Curves` has it.
        label: as `Curves` has it.
        which: evaluation that is printed.
        mean: normalised, as printed.
        std: as printed, with divisor ``n - ddof``.
        n: seeds.
        ddof: 0 or 1.
        error: half a unit of the last digit printed.
    """

    source: str
    dataset: str
    algorithm: str
    label: str
    which: Literal["last", "best"]
    mean: float
    std: float
    n: int
    ddof: Literal[0, 1]
    error: float = 0.005


@dataclass(frozen=True)
class Incomparable:
    """What a source has of data that are not a table's.

    Attributes:
        dataset: id, of another D4RL version or lineage.
        algorithm: as `Curves` has it.
        source: id.
        why: in words.
    """

    dataset: str
    algorithm: str
    source: str
    why: str


@dataclass(frozen=True)
class Scores:
    """What sources at hand hold.

    Attributes:
        curves: per seed.
        summaries: printed ones.
        sources: ids of those that were read.
        notes: what was left out, and which are not here: a sentence each.
        incomparable: what does not compare with the table's data.
    """

    curves: tuple[Curves, ...] = ()
    summaries: tuple[Summary, ...] = ()
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    incomparable: tuple[Incomparable, ...] = ()


def without_version(dataset: str) -> str:
    """A D4RL id without its version: ``hopper-medium`` of ``hopper-medium-v2``."""
    return _VERSION.sub("", dataset)


def at_hand(specs: Specs, names: Iterable[str], home: Path | None = None, lineage: str = "d4rl") -> Scores:
    """Read what is on this machine of some sources; files are compared with their hashes before.

    Args:
        specs: where the sources, the datasets and their reference scores are.
        names: ids of sources.
        home: data folder; None for the default.
        lineage: of the data that are to be compared with.

    Raises:
        DataError: a file has another hash, cannot be read, or is not what its spec says.
        SpecError: a source's spec is wrong.
    """
    sources = [specs.source(name) for name in names]
    with ThreadPoolExecutor(max(1, len(sources))) as pool:  # each waits for a process of its own
        parts = list(pool.map(lambda source: _of_source(specs, source, home, lineage), sources))
    return Scores(
        tuple(each for part in parts for each in part.curves),
        tuple(each for part in parts for each in part.summaries),
        tuple(each for part in parts for each in part.sources),
        tuple(each for part in parts for each in part.notes),
        tuple(each for part in parts for each in part.incomparable),
    )


def _of_source(specs: Specs, source: ScoreSource, home: Path | None, lineage: str) -> Scores:
    gathered = _Gathered(specs, source, lineage)
    for file in source.files:
        pinned = files.whole(source, file, home)
        if pinned is None:
            gathered.notes.append(f"{source.id}: {file.path} is not here; `harness sources pull {source.id}`")
        else:
            gathered.read(file, pinned, home)
    return gathered.scores()


class _Gathered:
    """What the files of one source hold, as they are read."""

    def __init__(self, specs: Specs, source: ScoreSource, lineage: str) -> None:
        self._specs, self._source, self._lineage = specs, source, lineage
        self._known = set(specs.ids("datasets"))
        self._versions = {without_version(name) for name in self._known}
        self._unknown: dict[str, None] = {}
        self._other: dict[Incomparable, None] = {}
        self._curves: list[Curves] = []
        self._summaries: list[Summary] = []
        self._broken: list[str] = []
        self._read = False
        self.notes: list[str] = []

    def read(self, file: SourceFile, pinned: list[Pinned], home: Path | None) -> None:
        """Read one entry of the source's files."""
        if file.listing is None:
            place, paths = pinned[0].place(home), list[str]()
        else:
            place, paths = files.folder(self._source, home), [each.path for each in pinned]
        found = apart.call(
            reading.read, place, file.model_dump(mode="json"), paths, libraries=("harness.sources.reading",)
        )
        self._read = True
        if file.printed is not None:
            self._add_summaries(found, file)
        else:
            listing = file.listing and self._source.folder / file.listing
            self._add_curves(found, file, listing or place)

    def scores(self) -> Scores:
        """All of it, with a sentence for what was left out."""
        name = self._source.id
        if self._unknown:
            some = ", ".join(list(self._unknown)[:_NAMED])
            more = len(self._unknown) - _NAMED
            rest = f" and {more} more" if more > 0 else ""
            self.notes.append(f"{name}: left out, since no dataset here has that name: {some}{rest}")
        for why in dict.fromkeys(each.why for each in self._other):
            datasets = sorted({each.dataset for each in self._other if each.why == why})
            rest = f" and {len(datasets) - _NAMED} more" if len(datasets) > _NAMED else ""
            self.notes.append(f"{name}: N/C, {why}: {', '.join(datasets[:_NAMED])}{rest}")
        self.notes += self._broken
        sources = (name,) if self._read else ()
        return Scores(
            tuple(self._curves), tuple(self._summaries), sources, tuple(self.notes), tuple(self._other)
        )

    def _place(self, dataset: str, algorithm: str) -> tuple[str, str] | None:
        """Ids of a dataset and an algorithm in the source's words; None if no spec has the dataset."""
        found = self._source.datasets.get(dataset, dataset)
        name = self._source.algorithms.get(algorithm, algorithm.lower())
        if self._source.lineage != self._lineage:
            why = f"{self._source.lineage} data, not {self._lineage}"
        elif found in self._known:
            return found, name
        else:
            why = "another D4RL version than any table's here"
        if without_version(found) in self._versions:
            self._other[Incomparable(found, name, self._source.id, why)] = None
        else:
            self._unknown[found] = None
        return None

    def _add_summaries(self, found: apart.Arrays, file: SourceFile) -> None:
        assert file.printed is not None  # noqa: S101 - of the format 'markdown'
        for dataset, label, which, mean, std in zip(
            *(found[name].tolist() for name in ("dataset", "algorithm", "which", "mean", "std")), strict=True
        ):
            place = self._place(dataset, label)
            if place is not None:
                seeds, ddof = file.printed.seeds, file.printed.ddof
                self._summaries.append(Summary(self._source.id, *place, label, which, mean, std, seeds, ddof))

    def _add_curves(self, found: apart.Arrays, file: SourceFile, place: Path) -> None:
        ends = np.cumsum(found["length"])
        runs: dict[tuple[str, str, str, str], list[tuple[int, slice]]] = {}
        keys = zip(
            *(found[name].tolist() for name in ("dataset", "algorithm", "setting", "phase", "seed")),
            strict=True,
        )
        for (*key, seed), end, length in zip(keys, ends, found["length"], strict=True):
            dataset, label, setting, phase = key
            runs.setdefault((dataset, label, setting, phase), []).append((seed, slice(end - length, end)))
        for (dataset, label, setting, phase), some in runs.items():
            ids = self._place(dataset, label)
            shortest = min(part.stop - part.start for _, part in some)
            if ids is None or not shortest:
                continue
            scores = np.stack([found["score"][part][:shortest] for _, part in some])
            if not np.isfinite(scores).all():
                which = ", ".join(filter(None, (ids[0], label, setting, phase)))
                broken = count(int((~np.isfinite(scores)).sum()), "score")
                self._broken.append(f"{self._source.id}: {which} is left out: {broken} of it not finite")
                continue
            steps = self._steps(label, found["step"][some[0][1]][:shortest])
            self._curves.append(
                Curves(
                    self._source.id,
                    *ids,
                    label,
                    setting,
                    phase,
                    tuple(seed for seed, _ in some),
                    self._normalised(ids[0], file, scores),
                    steps,
                    place,
                )
            )

    def _normalised(self, dataset: str, file: SourceFile, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        if file.scale == "fraction":
            return scores * 100
        if file.scale == "return":
            reference = self._specs.dataset(dataset).reference
            return 100 * (scores - reference.minimum) / (reference.maximum - reference.minimum)
        return scores

    def _steps(self, label: str, given: NDArray[np.int64]) -> NDArray[np.int64]:
        """Steps of evaluations, where the file does not tell from what the source says of its protocol."""
        protocol = self._source.protocol
        last = protocol.steps_of(label)
        if (given >= 0).all() or last is None:
            return given
        if len(given) == 1:
            return np.array([last], np.int64)
        if protocol.evaluate_every is None:
            return given
        return last - protocol.evaluate_every * np.arange(len(given) - 1, -1, -1, dtype=np.int64)


def chosen(specs: Specs, names: Iterable[str]) -> list[str]:
    """The ids of sources that are named; all where none is.

    Raises:
        UnknownNameError: there is none of a name.
    """
    known = specs.ids("sources")
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in known:
            raise UnknownNameError("source", name, known)
    return wanted or known
