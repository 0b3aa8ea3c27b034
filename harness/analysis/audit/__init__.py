"""What cannot be right in the numbers that a paper printed, found from the numbers alone.

A printed number stands for all the numbers that are printed so (see `harness.analysis.printed`); a finding
that this can explain says so. Nothing here knows any paper, and nothing needs results of our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.analysis.audit.averages import averages, digits, means_of_columns
from harness.analysis.audit.changes import changes, lone_changes
from harness.analysis.audit.deviations import (
    confirmed,
    means_that_are_deviations,
    no_deviations,
    off_grid,
    too_large,
)
from harness.analysis.audit.intervals import off_centre, widths, widths_of_means
from harness.analysis.audit.repetitions import repeated_cells, repeated_rows
from harness.analysis.audit.sheet import HEADINGS, Finding, Sheet
from harness.analysis.audit.sources import restated, two_tables
from harness.specs.published import LoneChange, PublishedCell

if TYPE_CHECKING:
    from harness.specs import Dataset, Specs, Table


def audit(table: Table, specs: Specs) -> list[Finding]:
    """Everything found in a table's printed numbers, by kind and then in the table's order.

    Args:
        table: as its spec says, with all rows and columns.
        specs: where its printed numbers, its datasets, its protocol and the same paper's other tables are.

    Raises:
        SpecError: a file that the table names is wrong.
        UnknownNameError: the table names a dataset or protocol that does not exist.
    """
    listing = specs.listing(table) or {}
    cells = {key: cell for key, cell in listing.items() if isinstance(cell, PublishedCell)}
    if not cells:
        return []
    rows = [row for row in table.datasets if any((row, column.id) in cells for column in table.columns)]
    sheet = Sheet(
        table,
        cells,
        frozenset(row for row in rows if _only_success_counts(specs.dataset(row))),
        {
            (row, column.id): specs.protocol(table.protocol_of(column, row)).episodes_scored
            for row in rows
            for column in table.columns
        },
        {key: cell.change for key, cell in listing.items() if isinstance(cell, LoneChange)},
    )
    return _ordered([*examine(sheet), *two_tables(sheet, specs)])


def _only_success_counts(dataset: Dataset) -> bool:
    """Whether an episode tells no more than whether the goal was reached."""
    environment = dataset.environment
    # AntMaze's is the one domain of D4RL whose returns are that
    return dataset.domain == "antmaze" or (environment is not None and environment.scored_by_success)


def examine(sheet: Sheet) -> list[Finding]:
    """What one table shows by itself, ordered as by `audit`."""
    checks = (
        averages,
        means_of_columns,
        off_centre,
        widths,
        widths_of_means,
        repeated_cells,
        repeated_rows,
        means_that_are_deviations,
        too_large,
        off_grid,
        confirmed,
        changes,
        lone_changes,
        restated,
        digits,
        no_deviations,
    )
    return _ordered([finding for check in checks for finding in check(sheet)])


def _ordered(findings: list[Finding]) -> list[Finding]:
    kinds = list(HEADINGS)
    return sorted(findings, key=lambda finding: kinds.index(finding.kind))
