"""Data cards: what is in a dataset, as JSON and as a page to read; beside files that were made here."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness
from harness import files
from harness.datasets.base import Arrays
from harness.datasets.qlearning import episode_ends
from harness.specs.models import Dataset, ReferenceScores

_VALUES = ("observations", "next_observations", "actions", "rewards")
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
    rows: Arrays,
    dataset: Dataset,
    identity: dict[str, Any],
    content_hash: str,
    origin: dict[str, Any],
    transforms: Sequence[str] = (),
    *,
    ordered: bool = True,
) -> dict[str, Any]:
    """The card of a dataset's rows, or of those of their fields that are given.

    Returns are sums of rewards over episodes that ended or were cut.

    Args:
        rows: Of any lineage.
        dataset: Its spec.
        identity: `Dataset.identity`.
        content_hash: Of the rows.
        origin: What is known of where they came from: ``made_with``, `versions` of then, and ``training``,
            what is known of the training that gathered the rows; empty if none did.
        transforms: What was done to the rows since they were read.
        ordered: Whether rows that follow each other can be an episode.
    """
    by_return = dataset.environment is None or not dataset.environment.scored_by_success
    return {
        "dataset": dataset.id,
        "identity": identity,
        "rows": len(rows["rewards"]),
        "content_hash": content_hash,
        "terminals": int(rows["terminals"].sum()),
        "timeouts": int(rows["timeouts"].sum()) if "timeouts" in rows else None,
        **_episodes(episodes(rows) if ordered else None, rows, dataset.reference if by_return else None),
        "values": {name: _values(rows[name]) for name in _VALUES if name in rows},
        "duplicates": _duplicates(rows),
        "d4rl": d4rl(dataset),
        **({"ogbench": ogbench(dataset)} if dataset.ogbench else {}),
        "reference": dataset.reference.model_dump(),
        "made_with": origin.get("made_with", {}),
        "training": origin.get("training", {}),
        **({"transforms": list(transforms)} if transforms else {}),
    }


def episodes(rows: Arrays) -> tuple[NDArray[np.float64], NDArray[Any]] | None:
    """Returns and lengths of the episodes that ended or were cut; None where rows are in no order."""
    marks = episode_ends(rows)
    if marks is None:
        return None
    ends = np.flatnonzero(marks)
    if not len(ends):
        return np.empty(0), np.empty(0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    rewards = rows["rewards"][: ends[-1] + 1].astype(np.float64)
    return np.add.reduceat(rewards, starts), np.diff(ends, prepend=-1)


def _episodes(
    found: tuple[NDArray[np.float64], NDArray[Any]] | None, rows: Arrays, reference: ReferenceScores | None
) -> dict[str, Any]:
    """What there is to say of episodes; nothing but None where rows do not follow each other.

    Without a reference nothing is said of normalised returns.
    """
    if found is None:
        return dict.fromkeys(("episodes", "returns", "normalised_returns", "lengths"))
    returns, lengths = found
    terminal = int((rows["terminals"] & rows.get("ends", True)).sum())
    return {
        "episodes": {
            "finished": len(returns),
            "terminal": terminal,
            "cut": len(returns) - terminal,
            "rows after the last": len(rows["rewards"]) - int(lengths.sum()),
        },
        "returns": _statistics(returns),
        "normalised_returns": reference
        and _statistics(100 * (returns - reference.minimum) / (reference.maximum - reference.minimum)),
        "lengths": _statistics(lengths),
    }


def _values(array: NDArray[Any]) -> dict[str, Any]:
    """Extremes over all dimensions, and in each, of finite values; and rows with others."""
    table = np.asarray(array, np.float64).reshape(len(array), -1)
    finite = np.isfinite(table)
    low = [_known(each) for each in np.where(finite, table, np.inf).min(0, initial=np.inf)]
    high = [_known(each) for each in np.where(finite, table, -np.inf).max(0, initial=-np.inf)]
    return {
        "min": min((each for each in low if each is not None), default=None),
        "max": max((each for each in high if each is not None), default=None),
        "dimensions": {"min": low, "max": high},
        "rows not finite": int((~finite.all(1)).sum()),
    }


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _duplicates(rows: Arrays) -> int:
    """Rows whose fields all are those of an earlier row."""
    count = len(rows["rewards"])
    fields = [np.ascontiguousarray(rows[name]).reshape(count, -1) for name in sorted(rows)]
    joined = np.concatenate([field.view(np.uint8).reshape(count, -1) for field in fields], 1)
    return count - len(np.unique(joined.view(f"V{joined.shape[1]}")))


def ogbench(dataset: Dataset) -> dict[str, int]:
    """The ``rows`` and ``episodes`` of OGBench's own file, where the spec knows them."""
    known = dataset.ogbench and dataset.ogbench.model_dump(include={"rows", "episodes"}, exclude_none=True)
    return known or {}


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
    generated = card["identity"]["lineage"] == "generated"
    episodes = sorted((card["episodes"] or {}).items())
    if original.get("episodes"):
        episodes.append(("in D4RL's own dataset, an open last one included", original["episodes"]))
    published = card.get("ogbench", {})
    episodes += [(f"{name} of OGBench's own file", value) for name, value in sorted(published.items())]
    lines = [
        f"# {card['dataset']} ({card['identity']['lineage']})",
        "",
        f"{card['rows']:,} rows; SHA-256 of the content `{card['content_hash']}`.",
        "",
        f"| {'Made by' if generated else 'Identity'} | |",
        "| --- | --- |",
        *(f"| {name} | {_shown(value)} |" for name, value in sorted(card["identity"].items())),
        "",
        *([f"Transformed: {', then '.join(steps)}.", ""] if (steps := card.get("transforms")) else []),
        *_content(card),
    ]
    if card["episodes"] is None:
        lines += ["Rows do not follow each other, so nothing is known of episodes.", ""]
    else:
        lines += ["| Episodes | |", "| --- | ---: |"]
        lines += [f"| {name} | {value:,} |" for name, value in episodes] + [""]
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
        ]
    if card["normalised_returns"]:
        lines += [
            f"A normalised return is 0 at {reference['minimum']:g} and 100 at {reference['maximum']:g} "
            f"({reference['source']}).",
            "",
        ]
    if original:
        lines += [f"On D4RL's own dataset: {original['source']}.", ""]
    if generated and not original.get("returns") and "ogbench" not in card:
        lines += ["No source is known for the returns in D4RL's own dataset of that name.", ""]
    for title, entries in (("Trained with", card.get("training", {})), ("Made with", card["made_with"])):
        if entries:
            lines += [f"| {title} | |", "| --- | --- |"]
            lines += [f"| {name} | {value} |" for name, value in sorted(entries.items())] + [""]
    del lines[-1]
    return "\n".join(lines) + "\n"


def _content(card: dict[str, Any]) -> list[str]:
    """What the rows hold, whatever their order."""
    cut = "not told" if card["timeouts"] is None else f"{card['timeouts']:,}"
    return [
        "| Values | min | max | rows not finite |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {name} | {_number(found['min'])} | {_number(found['max'])} | {found['rows not finite']:,} |"
            for name in _VALUES
            if (found := card["values"].get(name))
        ),
        "",
        f"Of the rows {card['terminals']:,} are terminal; cut: {cut}; repeats of an earlier row: "
        f"{card['duplicates']:,}.",
        "",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"


def _shown(value: object) -> object:
    return ", ".join(f"{a} = {b}" for a, b in value.items()) if isinstance(value, dict) else value


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
