"""Compared tables for other programs: CSV in long form, and JSON with everything."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness import escaping
from harness.reports import wording

if TYPE_CHECKING:
    from harness.analysis.comparison import ComparedCell, ComparedRow, Comparison


def csv_text(comparison: Comparison) -> str:
    """One line per cell and average, numbers unrounded, lines ended by LF (RFC 4180 otherwise)."""
    lines = list(records(comparison))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(lines[0].keys() if lines else ())
    writer.writerows([_field(value) for value in line.values()] for line in lines)
    return out.getvalue()


def _field(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return escaping.csv(value) if isinstance(value, str) else value


def records(comparison: Comparison) -> Iterator[dict[str, object]]:
    """A line for each cell and each average: everything that is known of it."""
    groups = {row.id: group.id for group in comparison.groups for row in (*group.rows, *group.summaries)}
    for row in comparison.rows:
        for cell in row.cells:
            interval, published, verdict = cell.interval, cell.published, cell.verdict
            yield {
                "table": comparison.table.id,
                "version": comparison.table.version,
                "preset": comparison.label,
                "lineage": comparison.lineage,
                "group": groups.get(row.id, ""),
                "kind": row.kind,
                "row": row.id,
                "column": cell.column,
                "label": comparison.labels[cell.column],
                "protocol": cell.protocol and cell.protocol.id,
                "verdict": verdict.text,
                "mean": cell.mean,
                "std": cell.std,
                "ddof": comparison.ddof,
                "n": cell.n,
                "wanted": cell.wanted,
                "before_mean": cell.before and cell.before.mean,
                "before_std": cell.before and cell.before.std,
                "low": interval and interval.low,
                "high": interval and interval.high,
                "interval": interval and interval.method,
                "level": interval and interval.level,
                "published_mean": published and published.mean,
                "published_std": published and published.std,
                "published_n": published and published.n,
                "published_ddof": published and published.ddof,
                "published_low": published and published.low,
                "published_high": published and published.high,
                "published_before_mean": published and published.before_mean,
                "published_before_std": published and published.before_std,
                "published_source": published and published.source,
                "difference": cell.difference,
                "p": verdict.p,
                "p_adjusted": verdict.p_adjusted,
                "p_equivalence": verdict.p_equivalence,
                "alpha": verdict.alpha,
                "margin": verdict.margin,
                "unavailable": cell.unavailable,
                "reasons": "; ".join(verdict.reasons),
                "notes": "; ".join(filter(None, (*cell.notes, verdict.note))),
                "audit": " ".join(
                    item.sentence for item in comparison.findings if (row.id, cell.column) in item.cells
                ),
                "leading": cell.leading,
                "scores": " ".join(f"{item.seed}:{item.score!r}" for item in cell.scores),
            }


def json_text(comparison: Comparison) -> str:
    """Everything the comparison holds, indented, numbers unrounded, what is not finite as null."""
    return json.dumps(finite(_document(comparison)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _document(comparison: Comparison) -> dict[str, Any]:
    return {
        "table": comparison.table.model_dump(mode="json", exclude={"groups", "columns"}),
        "protocols": [protocol.model_dump(mode="json") for protocol in comparison.protocols],
        "lineage": comparison.lineage,
        "preset": comparison.preset,
        "label": comparison.label,
        "ddof": comparison.ddof,
        "environments": comparison.fingerprints,
        "commits": comparison.commits,
        "counts": comparison.counts,
        "incomparable": comparison.incomparable,
        "columns": [{"id": column.id, "label": column.label} for column in comparison.columns],
        "groups": [
            {
                "id": group.id,
                "label": group.label,
                "rows": [_row(row) for row in group.rows],
                "summaries": [_row(row) for row in group.summaries],
            }
            for group in comparison.groups
        ],
        "total": comparison.total and _row(comparison.total),
        "findings": [asdict(finding) for finding in comparison.findings],
        "notes": [asdict(note) for note in (*wording.bold(comparison), *wording.notes(comparison))],
    }


def _row(row: ComparedRow) -> dict[str, Any]:
    return {"id": row.id, "label": row.label, "kind": row.kind, "cells": [_cell(cell) for cell in row.cells]}


def _cell(cell: ComparedCell) -> dict[str, Any]:
    return asdict(cell) | {
        "protocol": cell.protocol and cell.protocol.id,
        "verdict": asdict(cell.verdict) | {"text": cell.verdict.text},
    }


def finite(value: Any) -> Any:
    """The same JSON value with None for every number that JSON cannot write."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
