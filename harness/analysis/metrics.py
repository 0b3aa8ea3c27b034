"""What training reported beside scores, cell by cell: what ASPC's α arrived at, how large Q values became."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis.scores import deviation
from harness.errors import HarnessError, IncompleteError, UnknownNameError
from harness.results.records import countable

if TYPE_CHECKING:
    from harness.planning.cells import Cell, ResolvedTable
    from harness.results.store import Store

_MOST_STEPS = 5  # that a message lists


@dataclass(frozen=True)
class ReportedCell:
    """A metric in one cell.

    Attributes:
        row: the dataset.
        column: the column.
        step: after how many updates or interactions.
        unit: which of the two.
        values: seed -> what its run reported, finite or not, without failed runs; empty if no run did.
        wanted: how many seeds the table wants.
        incomparable: why its numbers are not comparable with the paper's; empty if they are.
    """

    row: str
    column: str
    step: int
    unit: str
    values: Mapping[int, float]
    wanted: int
    incomparable: tuple[str, ...]

    @property
    def mean(self) -> float | None:
        """Over seeds; None without values."""
        return sum(self.values.values()) / len(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Over seeds, with ddof 1; None for fewer than two values or where one is not `countable`."""
        values = list(self.values.values())
        return deviation(values, 1) if all(map(countable, values)) else None


def metric_names(resolved: ResolvedTable, store: Store) -> tuple[str, ...]:
    """Names of the metrics that the table's runs reported while they trained, in order."""
    found = store.metrics(run.key for cell in resolved.cells for run in cell.runs)
    return tuple(sorted({metric.name for each in found.values() for metric in each if metric.step > 0}))


def reported(
    resolved: ResolvedTable,
    store: Store,
    name: str,
    step: int | None = None,
    command: Callable[[str], str] = "harness {} TABLE".format,
) -> tuple[ReportedCell, ...]:
    """A metric in every cell of a table, row by row. Failed runs do not count, as in a table of scores.

    Args:
        resolved: the table's cells and their runs.
        store: the results.
        name: of the metric.
        step: after so many steps or interactions; None: after the last of each protocol, so that half-trained
            runs have none.
        command: from a verb to its command line, for advice.

    Raises:
        UnknownNameError: no run of the table reported such a metric.
        IncompleteError: none reported anything yet, or none that counts reported this after so many updates.
    """
    states = store.runs(run.key for cell in resolved.cells for run in cell.runs)
    counted = [key for key, state in states.items() if state.status != "failed"]
    steps = {protocol: protocol.length if step is None else step for protocol in resolved.protocols}
    found = {
        (key, metric.step): metric.value
        for key, each in store.metrics(counted, name, sorted(set(steps.values()))).items()
        for metric in each
    }
    cells = tuple(_reported(cell, steps[cell.protocol], found) for cell in resolved.cells)
    if not any(cell.values for cell in cells):
        raise _nothing(resolved, store, name, steps.values(), counted, command)
    return cells


def _reported(cell: Cell, step: int, found: Mapping[tuple[str, int], float]) -> ReportedCell:
    wanted = cell.protocol.seeds
    values = {
        run.seed: found[run.key, step] for run in cell.runs if (run.key, step) in found and run.seed in wanted
    }
    unit = "interaction" if cell.protocol.online else "update"
    return ReportedCell(cell.dataset.id, cell.column.id, step, unit, values, len(wanted), cell.incomparable)


def _nothing(
    resolved: ResolvedTable,
    store: Store,
    name: str,
    at: Collection[int],
    counted: Sequence[str],
    command: Callable[[str], str],
) -> HarnessError:
    """Why none of the runs that count has a value."""
    names = metric_names(resolved, store)
    if not names:
        return IncompleteError(
            f"no run of {resolved.table.id} has reported a metric yet; `{command('reproduce')}` trains them"
        )
    if name not in names:
        return UnknownNameError("metric", name, names)
    found = store.metrics(counted, name)
    steps = [str(step) for step in sorted({each.step for some in found.values() for each in some})]
    if not steps:
        return IncompleteError(
            f"every run that reported {name} failed; `{command('retry')}` queues them again"
        )
    after = " or ".join(map(str, dict.fromkeys(at)))
    listed = steps if len(steps) <= _MOST_STEPS else [*steps[:2], "\N{HORIZONTAL ELLIPSIS}", steps[-1]]
    return IncompleteError(
        f"no run, failed ones aside, reported {name} after {after} updates; --at takes any of {len(steps)}: "
        f"{', '.join(listed)}"
    )
