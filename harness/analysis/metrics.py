"""What training reported beside scores, cell by cell: what ASPC's α arrived at, how large Q values became."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis.scores import deviation
from harness.errors import IncompleteError, UnknownNameError

if TYPE_CHECKING:
    from harness.planning.cells import ResolvedTable
    from harness.results.store import Store


@dataclass(frozen=True)
class ReportedCell:
    """A metric in one cell.

    Attributes:
        row: the dataset.
        column: the column.
        values: seed -> what its run reported, finite or not; empty if no run did.
        wanted: how many seeds the table wants.
    """

    row: str
    column: str
    values: Mapping[int, float]
    wanted: int

    @property
    def mean(self) -> float | None:
        """Over seeds; None without values."""
        return math.fsum(self.values.values()) / len(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Over seeds, with ddof 1; None for fewer than two values or where one is not finite."""
        values = list(self.values.values())
        return deviation(values, 1) if all(map(math.isfinite, values)) else None


def metric_names(resolved: ResolvedTable, store: Store) -> tuple[str, ...]:
    """Names of the metrics that the table's runs reported while they trained, in order."""
    found = store.metrics(run.key for cell in resolved.cells for run in cell.runs)
    return tuple(sorted({metric.name for each in found.values() for metric in each if metric.step > 0}))


def reported(
    resolved: ResolvedTable, store: Store, name: str, step: int | None = None
) -> tuple[ReportedCell, ...]:
    """A metric in every cell of a table, row by row.

    Args:
        resolved: the table's cells and their runs.
        store: the results.
        name: of the metric.
        step: after so many updates; None: after the protocol's last one, so that half-trained runs have none.

    Raises:
        UnknownNameError: no run of the table reported such a metric.
        IncompleteError: none reported anything yet, or none this after so many updates.
    """
    at = resolved.protocol.steps if step is None else step
    wanted = resolved.protocol.seeds
    keys = [run.key for cell in resolved.cells for run in cell.runs]
    found = store.metrics(keys, name=name, steps=[at])
    if not any(found.values()):
        names = metric_names(resolved, store)
        if not names:
            raise IncompleteError("no run of this has reported a metric yet; `harness reproduce` trains them")
        if name not in names:
            raise UnknownNameError("metric", name, names)
        raise IncompleteError(f"no run has reported {name} after {at:,} updates; --at names another step")
    return tuple(
        ReportedCell(
            cell.dataset.id,
            cell.column.id,
            {run.seed: found[run.key][0].value for run in cell.runs if found[run.key] and run.seed in wanted},
            len(wanted),
        )
        for cell in resolved.cells
    )
