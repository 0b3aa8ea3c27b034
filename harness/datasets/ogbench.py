"""OGBench's files of goal-reaching data, read without the ogbench package and relabelled for one task.

A file has a row per step: ``observations`` (N, S), ``actions`` (N, A) and ``terminals`` (N,), 1 in the last
row of each episode, whose action leads nowhere. It has no rewards. OGBench's ``relabel_utils.py`` gives a row
those of its *own* state, before the action: 0 at the goal, and nothing is bootstrapped there, else -1.
Episodes run on through the goal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets import apart, fields, published
from harness.datasets.base import Transitions, transitions
from harness.datasets.qlearning import qlearning
from harness.datasets.readers import Rows
from harness.datasets.transforms import GoalTask
from harness.errors import DataError
from harness.home import expanded
from harness.specs.models import Dataset, OGBenchSource

_FIELDS = ("observations", "actions", "terminals")


class Reader(published.Reader[OGBenchSource]):
    """Training files in the project's own folder, or in the ogbench package's, which is only read.

    OGBench's validation files serve nothing here, and one in the place of a training file is refused.
    """

    Source = OGBenchSource
    folder = "ogbench"
    origin = "https://rail.eecs.berkeley.edu/datasets/ogbench"
    mirror = "HARNESS_OGBENCH_MIRROR"
    whose = "OGBench's"
    begins = fields.SIGNATURES["npz"]

    def packages(self) -> Path:
        """Where the ogbench package puts what it downloads."""
        return expanded("~/.ogbench/data")

    def names(self, dataset: Dataset, source: OGBenchSource) -> Sequence[str]:
        """The name that the file has on the server, since it serves many datasets."""
        return (source.name,)

    def read(
        self, dataset: Dataset, source: OGBenchSource, place: Path, *, everything: bool, trusted: bool
    ) -> Rows:
        """As many rows and episodes as the spec says, with the rewards of the task."""
        rows = stored(place) if trusted else apart.call(stored, place)
        return relabelled(_counted(dataset, source, place, rows), dataset)

    def paired(
        self, dataset: Dataset, source: OGBenchSource, rows: Rows, place: Path, identity: dict[str, Any]
    ) -> Transitions:
        """Pair each row with the next of its episode, whose last row only shows where it led.

        What was done next is told by that last row, too; OGBench's own loader takes the first action of
        another episode there.
        """
        return transitions(qlearning(rows, None), dataset, identity, str(place), runs_on=True)


def stored(place: Path) -> Rows:
    """``observations``, ``actions`` and ``terminals`` of a file, in its own types of numbers; flags as bool.

    Raises:
        DataError: The file is damaged, lacks one of them, or has anything but numbers in a row per step.
    """
    with fields.opener("npz")(place) as columns:
        if missing := [name for name in _FIELDS if name not in columns]:
            raise DataError(
                f"{place} lacks {', '.join(missing)}, so it is no file of OGBench's; it has "
                f"{fields.listed(columns)}"
            )
        return fields.rows(place, {name: columns[name] for name in _FIELDS}, counted="terminals")


def relabelled(rows: Rows, dataset: Dataset) -> Rows:
    """Rows with the rewards of a dataset's task, whose episodes end where they did and nowhere else.

    Args:
        rows: ``observations`` (N, S), ``actions`` (N, A) and ``terminals`` (N,), the ends of the episodes.
        dataset: It has a ``goal_task``.

    Returns:
        The fields of D4RL's files: ``rewards`` (N,), ``terminals`` (N,) at the goal, ``timeouts`` (N,) and
        ``ends`` (N,) at the ends of the episodes.
    """
    assert dataset.goal_task is not None  # noqa: S101 - its model asks for one
    rewards, arrived = GoalTask(**dataset.goal_task.model_dump()).outcomes(rows["observations"])
    ends: NDArray[np.bool_] = rows["terminals"]
    return {**rows, "rewards": rewards, "terminals": arrived, "timeouts": ends, "ends": ends}


def _counted(dataset: Dataset, source: OGBenchSource, place: Path, rows: Rows) -> Rows:
    """The rows, if their episodes are of one length, and as many as the spec says."""
    ends = np.flatnonzero(rows["terminals"])
    count = len(rows["terminals"])
    if not len(ends) or ends[-1] != count - 1:
        raise DataError(f"{place} ends within an episode: terminals are 0 in its last row; it was cut off")
    lengths = np.diff(ends, prepend=-1)
    if (wrong := np.flatnonzero(lengths != lengths[0])).size:
        first = int(wrong[0])
        raise DataError(
            f"{place}: episodes of {dataset.id} are of one length, but the first has {lengths[0]:,} rows and "
            f"number {first + 1} has {lengths[first]:,}"
        )
    for found, said, what in ((count, source.rows, "rows"), (len(ends), source.episodes, "episodes")):
        if said not in (None, found):
            validation = " (a tenth: it is the validation file, whose name ends in -val)"
            raise DataError(
                f"{place} has {found:,} {what}, but the spec of {dataset.id} says {said:,}"
                f"{validation if said == 10 * found else ''}"
            )
    return rows
