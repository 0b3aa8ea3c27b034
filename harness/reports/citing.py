"""What an author has to say beside the numbers: whom to cite, and what they took to compute."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

import harness
from harness import escaping
from harness.counting import count, duration

if TYPE_CHECKING:
    from harness.planning.cells import ResolvedTable
    from harness.results.store import Store
    from harness.specs.models import Paper


def bibtex(paper: Paper) -> str:
    """BibTeX of a paper and of this program."""
    first = paper.authors.split(",")[0].split()
    words = (first[-1] if first else "", str(paper.year), paper.title.split()[0] if paper.title else "")
    fields = {
        "title": f"{{{escaping.latex(paper.title)}}}",
        "author": escaping.latex(" and ".join(name.strip() for name in paper.authors.split(","))),
        "year": str(paper.year),
        "eprint": paper.arxiv,
        "archiveprefix": paper.arxiv and "arXiv",
        "note": paper.venue and escaping.latex(paper.venue),
    }
    ours = {
        "title": "{harness}: reproduce the tables of offline reinforcement learning papers, cell by cell",
        "note": f"version {harness.__version__}",
    }
    return _entry("misc", _plain("".join(words)), fields) + "\n" + _entry("misc", "harness", ours)


def _entry(kind: str, key: str, fields: Mapping[str, str | None]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join((f"@{kind}{{{key},", *lines, "}")) + "\n"


def _plain(text: str) -> str:
    """ASCII letters and digits, for a key."""
    return re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKD", text).lower())


def compute(resolved: ResolvedTable, store: Store) -> str:
    """A paragraph on what a table's runs took, in plain text: hardware, hours, failed and repeated runs.

    Args:
        resolved: the table's cells and their runs; those that they read from count, too.
        store: the results.
    """
    keys = {run.key for cell in resolved.with_below for run in cell.runs}
    states = [state for state in store.runs(keys).values() if state.status != "queued"]
    if not states:
        return f"Nothing of {resolved.table.id} has been trained in this database.\n"
    fingerprints = store.fingerprints({i for state in states if (i := state.fingerprint_id) is not None})
    devices: defaultdict[str, float] = defaultdict(float)
    for state in states:
        device = fingerprints.get(state.fingerprint_id or 0, {}).get("device", "a device not recorded")
        devices[device] += state.device_seconds or 0.0
    statuses = Counter(state.status for state in states)
    others = [f"{number} {status}" for status, number in statuses.items() if status != "finished"]
    times = [f"{duration(seconds)} on {device}" for device, seconds in devices.items() if seconds]
    sentences = [
        f"{resolved.table.title}: {count(len(states), 'training run')} were begun, of which "
        f"{statuses['finished']} finished" + (f" ({', '.join(others)})" if others else ""),
        f"they took {' and '.join(times)}, runs that trained together sharing the device" if times else "",
    ]
    if repeated := sum(state.attempt > 1 for state in states):
        sentences.append(f"{count(repeated, 'run')} had to be begun more than once")
    if unknown := sum(state.device_seconds is None for state in states):
        sentences.append(f"the time of {count(unknown, 'run')} is not recorded and not counted")
    return ". ".join(text[0].upper() + text[1:] for text in sentences if text) + ".\n"
