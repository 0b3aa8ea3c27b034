"""All tables of a database, compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.analysis.comparison import Comparison, compare
from harness.errors import SpecError, UnknownNameError
from harness.planning.cells import ResolvedTable, resolve
from harness.planning.choice import Choice

if TYPE_CHECKING:
    from harness.analysis.intervals import IntervalSettings
    from harness.results.store import Store
    from harness.specs import Specs


def compared_tables(
    specs: Specs, store: Store, intervals: IntervalSettings | None = None
) -> Iterator[tuple[ResolvedTable, Comparison]]:
    """Each table as it is, and as run with each preset that the database has scores of.

    Args:
        specs: the tables and presets.
        store: the results.
        intervals: which intervals to compute.

    Raises:
        SpecError: a table is wrong.
    """
    for table in specs.ids("tables"):
        for preset in (None, *specs.ids("presets")):
            try:
                resolved = resolve(specs, table, Choice(preset=preset))
            except (SpecError, UnknownNameError):
                if preset is None:
                    raise
                continue  # a preset made for other tables
            comparison = compare(resolved, specs, store, intervals=intervals)
            if preset is None or any(cell.mean is not None for cell in comparison.cells):
                yield resolved, comparison
