"""Data cards: what is in a file that was made here, beside it as JSON and as a page to read."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness
from harness import files
from harness.datasets.base import Arrays
from harness.specs.models import Dataset

_PERCENTILES = (5, 25, 50, 75, 95)


def path(place: Path) -> Path:
    """Where the card of a data file lies."""
    return place.with_name(place.stem + ".card.json")


def page(place: Path) -> Path:
    """Where the card lies as a page to read."""
    return path(place).with_suffix(".md")


def versions() -> dict[str, str]:
    """What decides the digits of data made here."""
    return {
        "harness": harness.__version__,
        **{package: importlib.metadata.version(package) for package in ("gymnasium", "mujoco", "numpy")},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def describe(
    rows: Arrays, dataset: Dataset, identity: dict[str, Any], content_hash: str, origin: dict[str, Any]
) -> dict[str, Any]:
    """The card of a file's rows.

    Returns are sums of rewards over episodes that ended or were cut.

    Args:
        rows: The file's.
        dataset: Its spec.
        identity: `Dataset.identity`.
        content_hash: Of the rows.
        origin: What the file says of where it came from: ``made_with``, `versions` of then, and
            ``training``, what is known of the training that gathered the rows; empty if none did.
    """
    terminals, timeouts = rows["terminals"], rows["timeouts"]
    ends = np.flatnonzero(terminals | timeouts)
    finished = int(ends[-1]) + 1 if len(ends) else 0
    lengths = np.diff(ends, prepend=-1)
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(int)
    rewards = rows["rewards"][:finished].astype(np.float64)
    returns = np.add.reduceat(rewards, starts) if finished else np.empty(0)
    reference = dataset.reference
    return {
        "dataset": dataset.id,
        "identity": identity,
        "rows": len(rows["rewards"]),
        "content_hash": content_hash,
        "episodes": {
            "finished": len(ends),
            "terminal": int(terminals.sum()),
            "cut": int((timeouts & ~terminals).sum()),
            "rows after the last": len(rows["rewards"]) - finished,
        },
        "returns": _statistics(returns),
        "normalised_returns": _statistics(
            100 * (returns - reference.minimum) / (reference.maximum - reference.minimum)
        ),
        "lengths": _statistics(lengths),
        "d4rl": d4rl(dataset),
        "reference": reference.model_dump(),
        "made_with": origin.get("made_with", {}),
        "training": origin.get("training", {}),
    }


def d4rl(dataset: Dataset) -> dict[str, Any] | None:
    """What the spec knows of D4RL's own dataset of that name: no part of the file, so read anew each time.

    Returns:
        ``episodes``, ``returns``, ``normalised_returns`` and ``source``; the middle two have mean, std, min
        and max, or those of them that are known. None: no source is known.
    """
    known = dataset.d4rl.statistics if dataset.d4rl else None
    if known is None:
        return None
    reference = dataset.reference
    raw = {"mean": known.return_mean, "min": known.return_min, "max": known.return_max}
    returns = {name: value for name, value in raw.items() if value is not None}
    normalised = {name: reference.normalise(value) for name, value in returns.items()}
    if known.return_std is not None:
        returns["std"] = known.return_std
        normalised["std"] = 100 * known.return_std / (reference.maximum - reference.minimum)
    return {
        "episodes": known.episodes,
        "returns": returns,
        "normalised_returns": normalised,
        "source": known.source,
    }


def write(place: Path, card: dict[str, Any]) -> None:
    """Write the card of a data file, as JSON and as a page.

    Raises:
        DataError: They cannot be written.
    """
    files.write_json(path(place), card)
    with files.atomic(page(place)) as temporary:
        temporary.write_text(markdown(card), encoding="utf-8")


def read(place: Path) -> dict[str, Any] | None:
    """The card of a data file, None if it has none that can be read."""
    return files.read_json(path(place))


def markdown(card: dict[str, Any]) -> str:
    """The card as a page."""
    reference, original = card["reference"], card["d4rl"] or {}
    episodes = sorted(card["episodes"].items())
    if original.get("episodes"):
        episodes.append(("in D4RL's own dataset, an open last one included", original["episodes"]))
    lines = [
        f"# {card['dataset']} (generated)",
        "",
        f"{card['rows']:,} rows; SHA-256 of the content `{card['content_hash']}`.",
        "",
        "| Made by | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in sorted(card["identity"].items())),
        "",
        "| Episodes | |",
        "| --- | ---: |",
        *(f"| {name} | {value:,} |" for name, value in episodes),
        "",
    ]
    names = ("mean", "std", "min", *(f"p{p}" for p in _PERCENTILES), "max")
    statistics = [
        (label, values)
        for label, values in (
            ("return", card["returns"]),
            ("return in D4RL's own dataset", original.get("returns")),
            ("normalised return", card["normalised_returns"]),
            ("normalised return in D4RL's own dataset", original.get("normalised_returns")),
            ("length", card["lengths"]),
        )
        if values
    ]
    if statistics:
        lines += [
            f"| Finished episodes | {' | '.join(names)} |",
            f"| --- |{' ---: |' * len(names)}",
            *(
                f"| {label} | {' | '.join(f'{values[n]:,.1f}' if n in values else '' for n in names)} |"
                for label, values in statistics
            ),
            "",
            f"A normalised return is 0 at {reference['minimum']:g} and 100 at {reference['maximum']:g} "
            f"({reference['source']}).",
            "",
        ]
    if original:
        lines += [f"On D4RL's own dataset: {original['source']}.", ""]
    if not original.get("returns"):
        lines += ["No source is known for the returns in D4RL's own dataset of that name.", ""]
    for title, entries in (("Trained with", card.get("training", {})), ("Made with", card["made_with"])):
        if entries:
            lines += [f"| {title} | |", "| --- | --- |"]
            lines += [f"| {name} | {value} |" for name, value in sorted(entries.items())] + [""]
    del lines[-1]
    return "\n".join(lines) + "\n"


def _statistics(values: NDArray[Any]) -> dict[str, float] | None:
    """None where there are no values; std with ddof 0."""
    if not len(values):
        return None
    percentiles = np.percentile(values, _PERCENTILES)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        **{f"p{p}": float(value) for p, value in zip(_PERCENTILES, percentiles, strict=True)},
    }
