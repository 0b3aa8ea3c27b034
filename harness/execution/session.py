"""What all populations share that one command trains in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass, field

from harness.errors import DataError
from harness.execution.loading import Loader
from harness.execution.progress import Reporter
from harness.execution.setup import Setup
from harness.results.store import Store
from harness.training.workers import EvaluationPool


@dataclass(frozen=True)
class Outcome:
    """What became of the runs that were to be trained, as counts."""

    finished: int
    failed: int
    elsewhere: int
    interrupted: bool


@dataclass(frozen=True)
class Tally:
    """What has become of runs so far.

    Attributes:
        counts: by the names of `Outcome`.
        left_out: why runs are left as they are, for a person to decide: damaged checkpoints, want of memory.
    """

    counts: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """What became of further runs."""
        self.counts.update(other.counts)
        self.left_out.extend(other.left_out)

    def outcome(self, *, interrupted: bool) -> Outcome:
        """What has become of the runs.

        Raises:
            DataError: some were left out.
        """
        if self.left_out and not interrupted:
            raise DataError("\n".join([*self.left_out, "all other runs were trained"]))
        counts = self.counts
        return Outcome(counts["finished"], counts["failed"], counts["elsewhere"], interrupted)


@dataclass(frozen=True)
class Session:
    """What all populations share that one command trains in this process.

    Attributes:
        read: keys of the configurations whose runs leave their whole training state.
        tally: what has become of the runs so far.
    """

    store: Store
    setup: Setup
    pool: EvaluationPool
    reporter: Reporter
    stop: Callable[[], bool]
    load: Loader
    read: Set[str]
    tally: Tally
