"""Protocols in words: how runs are trained and scored, and which cells of a table that holds for."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from harness.analysis.scores import SCORE_RULES
from harness.counting import count

if TYPE_CHECKING:
    from harness.specs import models


def axis(protocol: models.Protocol) -> str:
    """What a curve of training is drawn over."""
    return "environment interactions" if protocol.online else "training steps"


def protocol_text(protocol: models.Protocol) -> str:
    """How runs of a protocol are trained, evaluated and scored."""
    seeds = ", ".join(str(seed) for seed in protocol.seeds)
    training = f"{protocol.duration}, {_gathering(protocol.gather)}"
    if protocol.evaluate_every is None or protocol.episodes is None:
        return f"{training}not evaluated, seeds {seeds}"
    return (
        f"{training}evaluated every {protocol.evaluate_every:,} on {count(protocol.episodes, 'episode')}, "
        f"seeds {seeds}, score: {SCORE_RULES[protocol.score].format(k=protocol.last_k)}"
    )


def _gathering(gather: models.Gather | None) -> str:
    if gather is None:
        return ""
    keep, explore = gather.keep, gather.explore
    kept = keep if isinstance(keep, str) else f"{keep.best_trajectories} best trajectories"
    explored = explore if isinstance(explore, str) else f"noise {explore.noise:g}"
    if not isinstance(explore, str) and explore.clip is not None:
        explored += f" within ±{explore.clip:g}"
    parts = [f"updates after each {count(gather.every, 'interaction')}" if gather.every > 1 else ""]
    parts.append(f"the first {gather.warmup:,} without updates" if gather.warmup else "")
    parts.append(f"of the dataset {kept} kept")
    parts.append("{} rows of it and {} gathered ones per batch".format(*gather.mix) if gather.mix else "")
    parts.append(f"a buffer of {gather.capacity:,} rows" if gather.capacity else "")
    parts.append(f"exploration: {explored}")
    parts.append("" if gather.overlap else "each action after the update before it")
    parts.append("the defects of SSAR's code reproduced" if gather.reproduce_defects else "")
    return "".join(f"{part}, " for part in parts if part)


def held_for(table: models.Table, cells: Collection[tuple[str, str]]) -> str:
    """The rows and columns of some cells, in few words; empty for all cells that are trained.

    Args:
        table: the table.
        cells: (dataset id, column id) of columns that have an algorithm.
    """
    columns: dict[tuple[str, ...], list[str]] = {}
    trained = [column for column in table.columns if column.algorithm]
    for column in trained:
        rows = tuple(row for row in table.datasets if (row, column.id) in cells)
        if rows:
            columns.setdefault(rows, []).append(column.label)
    parts = []
    for rows, labels in columns.items():
        where = [_row_names(table, rows)] if rows != table.datasets else []
        where += [", ".join(labels)] if len(labels) < len(trained) else []
        parts.append(" under ".join(where))
    return "; ".join(filter(None, parts))


def _row_names(table: models.Table, rows: Collection[str]) -> str:
    """The labels of groups that are there as a whole, and the other datasets."""
    names: dict[str, None] = {}
    for group in table.groups:
        whole = all(name in rows for name in group.datasets)
        names |= dict.fromkeys([group.label] if whole else [n for n in group.datasets if n in rows])
    return ", ".join(names)
