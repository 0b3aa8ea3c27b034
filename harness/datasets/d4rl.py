"""The original D4RL files, read without the d4rl package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import environments
from harness.datasets import fields, hdf5, published
from harness.datasets.base import Transitions, transitions
from harness.datasets.qlearning import counted_timeouts, qlearning
from harness.datasets.readers import Rows
from harness.errors import DataError
from harness.home import expanded
from harness.specs.models import D4RLSource, Dataset


class Reader(published.Reader[D4RLSource]):
    """Files in the project's own folder, or in the d4rl package's, which is only read."""

    Source = D4RLSource
    folder = "d4rl"
    origin = "http://rail.eecs.berkeley.edu/datasets/offline_rl"
    mirror = "HARNESS_D4RL_MIRROR"
    whose = "D4RL's"
    begins = fields.SIGNATURES["hdf5"]

    def packages(self) -> Path:
        """``D4RL_DATASET_DIR``, as the d4rl package has it."""
        return expanded(os.environ.get("D4RL_DATASET_DIR") or "~/.d4rl/datasets")

    def names(self, dataset: Dataset, source: D4RLSource) -> Sequence[str]:
        """The dataset's id, or the name that the file has on the server."""
        return (f"{dataset.id}.hdf5", source.name)

    def read(
        self, dataset: Dataset, source: D4RLSource, place: Path, *, everything: bool, trusted: bool
    ) -> Rows:
        """As many rows as the spec says."""
        rows = hdf5.read_rows(place, everything=everything, trusted=trusted)
        if source.rows is not None and len(rows["rewards"]) != source.rows:
            found = f"{len(rows['rewards']):,} rows"
            raise DataError(f"{place} has {found}, but the spec of {dataset.id} says {source.rows:,}")
        return rows

    def paired(
        self, dataset: Dataset, source: D4RLSource, rows: Rows, place: Path, identity: dict[str, Any]
    ) -> Transitions:
        """Pair each row with the next, as D4RL does."""
        if "timeouts" not in rows and dataset.environment is None:
            raise DataError(
                f"{place} has no timeouts, and the spec of {dataset.id} gives no environment to count"
            )
        counted = None if "timeouts" in rows else dataset.environment
        limit = environments.time_limit(counted) if counted else None
        return transitions(qlearning(rows, limit), dataset, identity, str(place))

    def rows(self, dataset: Dataset, source: D4RLSource, home: Path, *, verify: bool = False) -> Rows:
        """Read the file, whose SHA-256 is compared first wherever it is known; cut as D4RL cuts it."""
        rows = super().rows(dataset, source, home, verify=verify)
        if "timeouts" not in rows and dataset.environment:
            limit = environments.time_limit(dataset.environment)
            rows["timeouts"] = counted_timeouts(rows["terminals"], limit)
        return rows

    def command(self, lineage: str, source: D4RLSource) -> str:
        """Without the lineage, which is the default."""
        return "harness data pull {}"

    def advice(self) -> Sequence[str]:
        """Where else files can come from."""
        return (
            *super().advice(),
            "put the files where was looked; D4RL_DATASET_DIR may name a folder that has them",
        )
