"""A table's scores as a source for others: every seed, its protocol, provenance and licence."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import files
from harness.analysis.measurements import measure
from harness.errors import DataError, HarnessError, IncompleteError
from harness.specs.models import check_id

if TYPE_CHECKING:
    from harness.planning.cells import ResolvedTable
    from harness.results.store import Store

_COLUMNS = ("dataset", "algorithm", "setting", "seed", "step", "score", "return", "episodes")


@dataclass(frozen=True)
class Written:
    """What was published: the source's id, how many runs, and how many imported ones were left out."""

    id: str
    runs: int
    imported: int


def publish(
    resolved: ResolvedTable, store: Store, folder: Path, licence: str, name: str | None = None
) -> Written:
    """Write a folder of specs with one source: the scores of the table's runs that were trained here.

    Args:
        resolved: the table.
        store: where its runs are.
        folder: made here.
        licence: of the scores, as SPDX names it.
        name: id of the source; None for the table's, with the preset's.

    Raises:
        DataError: the folder is there already, or cannot be written.
        HarnessError: the name is no id.
        IncompleteError: nothing of the table was trained here.
    """
    parts = [resolved.table.id, *([resolved.preset.id] if resolved.preset else [])]
    try:
        source = check_id(name or "-".join(parts))
    except ValueError as error:
        raise HarnessError(f"{name!r} is no id: {error}") from None
    if folder.exists():
        raise DataError(f"{folder} is there already; name a folder that is not")
    found = measure(resolved, store, {})
    cells = [cell for cell in found.cells.values() if cell.scores and not cell.imported]
    imported = sum(len(cell.scores) for cell in found.cells.values() if cell.imported)
    if not cells:
        raise IncompleteError(f"nothing of {resolved.table.id} was trained here; there is nothing to publish")
    keys = [score.key for cell in cells for score in cell.scores]
    evaluations = store.evaluations(keys)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    provenance: list[dict[str, Any]] = []
    for measured in cells:
        cell, reference = measured.cell, measured.cell.dataset.reference
        records = {record.key: record for record in cell.runs}
        for score in measured.scores:
            state = found.states[score.key]
            fingerprint = found.fingerprints.get(state.fingerprint_id or -1, {})
            provenance.append(
                {
                    "run": score.key,
                    "dataset": cell.dataset.id,
                    "column": cell.column.id,
                    "seed": score.seed,
                    "configuration": records[score.key].configuration,
                    "fingerprint": dict(fingerprint),
                }
            )
            for each in evaluations[score.key]:
                place = (cell.dataset.id, cell.column.id, "", score.seed, each.step)
                rows.writerow(
                    (*place, reference.normalise(each.mean_return), each.mean_return, each.episodes)
                )
    inside = folder / "sources"
    with files.explained(folder):
        (inside / source).mkdir(parents=True)
        scores = inside / source / "scores.csv"
        scores.write_text(text.getvalue(), encoding="utf-8")
        files.write_json(inside / source / "provenance.json", {"runs": provenance})
        spec = _spec(resolved, source, licence, files.sha256(scores))
        (inside / f"{source}.yaml").write_text(_yaml(spec), encoding="utf-8")
        (folder / "README.md").write_text(_readme(resolved, source, licence), encoding="utf-8")
    return Written(source, len(keys), imported)


def _spec(resolved: ResolvedTable, source: str, licence: str, sha256: str) -> dict[str, Any]:
    """The source's YAML, as its model reads it."""
    table, preset = resolved.table, resolved.preset
    cells = resolved.cells
    protocols = "; ".join(
        f"{protocol.id}: {protocol.duration}, an evaluation every {protocol.evaluate_every:,}, "
        f"{protocol.episodes} episodes"
        for protocol in resolved.protocols
    )
    caveats = [f"Preset {preset.id}: {preset.description.removesuffix('.')}."] if preset else []
    reasons = dict.fromkeys(reason for cell in cells for reason in cell.incomparable)
    return {
        "id": source,
        "title": f"{table.title}, trained with harness",
        "licence": licence,
        "lineage": resolved.lineage,
        "files": [{"path": f"{source}/scores.csv", "format": "csv", "sha256": sha256}],
        "algorithms": {cell.column.id: cell.column.algorithm for cell in cells if cell.column.algorithm},
        "protocol": {"note": protocols},
        "caveats": [*caveats, *(f"Not comparable with the paper: {reason}." for reason in reasons)],
    }


def _yaml(content: dict[str, Any]) -> str:
    """YAML of plain values; JSON is YAML, too, and needs no second writer's quoting rules."""
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in content.items())


def _readme(resolved: ResolvedTable, source: str, licence: str) -> str:
    table = resolved.table
    return f"""# {table.title}: scores of every seed

`sources/{source}/scores.csv` has a row for each evaluation of each seed: dataset, algorithm (the column's id
in table `{table.id}`), seed, step, D4RL-normalised score (100 is an expert), raw return and episodes.
`provenance.json` beside it has the configuration, software and device of every run, and
`sources/{source}.yaml` the protocol and the file's SHA-256.

Which printed numbers follow from these scores:

    harness --specs . sources check {table.id}

Licence: {licence}. Paper: {table.paper.title} ({table.paper.authors}, {table.paper.year}).
"""
