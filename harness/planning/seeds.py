"""Runs of seeds that no protocol asks for."""

from __future__ import annotations

from dataclasses import replace

from harness.planning.cells import ResolvedTable
from harness.results.store import Store


def with_every_seed(resolved: ResolvedTable, store: Store) -> ResolvedTable:
    """The table with a run for each seed that the database has a finished run of, beside the protocols' own.

    What the protocols want stays as it is.

    Args:
        resolved: the table.
        store: the results.
    """
    sources = store.sources()
    keys = [
        {runs[0].configuration_key for runs in (cell.runs, *map(cell.imported, sources))}
        for cell in resolved.cells
    ]
    known = store.seeds({key for each in keys for key in each})
    cells = []
    for cell, own in zip(resolved.cells, keys, strict=True):
        there = sorted({seed for key in own for seed in known.get(key, ())})
        cells.append(cell.with_seeds(tuple(dict.fromkeys((*cell.protocol.seeds, *there)))))
    return replace(resolved, cells=tuple(cells))
