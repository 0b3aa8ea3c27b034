"""Settings of a method: what they are, choosing among them by their scores, and what that is worth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.analysis.comparison import ComparedCell
    from harness.analysis.measurements import Measured

_FEWEST = 3  # values of a setting that make a sweep

Settings = Mapping[str, bool | int | float | str]


@dataclass(frozen=True)
class Sweep:
    """Cells of a row that differ in the value of one setting alone.

    Attributes:
        setting: its name.
        cells: the cells by value, ascending.
    """

    setting: str
    cells: Mapping[float, ComparedCell]


def sweeps(cells: Sequence[ComparedCell]) -> list[Sweep]:
    """The sweeps over three values or more among the cells of a row that have a score, in the row's order."""
    alike: dict[tuple[object, ...], dict[float, ComparedCell]] = {}
    for cell in cells:
        for name, value in cell.settings.items() if cell.mean is not None else ():
            if not isinstance(value, bool | str):
                others = frozenset(cell.settings.items() - {(name, value)})
                alike.setdefault((name, others, cell.protocol), {})[value] = cell
    return [
        Sweep(str(name), dict(sorted(found.items())))
        for (name, *_), found in alike.items()
        if len(found) >= _FEWEST
    ]


def settings_of(configuration: Mapping[str, Any]) -> Settings:
    """What a run is set to, by name: its algorithm, its hyperparameters, and its data's transforms.

    The shares that are dropped and mixed in, ``drop`` and ``mix.ratio``, are always among them. Values that
    depend on other runs are not.

    Args:
        configuration: `harness.results.records.RunRecord.configuration`; of a run known by name alone, empty.
    """
    named = {"algorithm": configuration.get("algorithm") or "", "drop": 0, "mix.ratio": 0}
    found = named | (configuration.get("hyperparameters") or {})
    for step in configuration.get("data", ()):
        for name, value in step.items():
            inner = value if isinstance(value, Mapping) else {}
            found |= {f"{name}.{key}": each for key, each in inner.items()} or {name: value}
    return {name: value for name, value in found.items() if not isinstance(value, Mapping)}


def best(settings: Mapping[str, Sequence[Measured]]) -> str | None:
    """The setting of the highest mean over its cells, the first of several; None while a cell is incomplete.

    Args:
        settings: name -> its cells, of the same datasets.
    """
    means = {
        name: statistics.fmean(cell.mean for cell in cells if cell.mean is not None)
        for name, cells in settings.items()
        if all(cell.complete for cell in cells)
    }
    return max(means, key=means.__getitem__) if len(means) == len(settings) else None


def expected_best(scores: Sequence[float]) -> tuple[float, ...]:
    """The expected best score of k settings, for k = 1, 2, ... up to all of them.

    The mean of the maximum over all subsets of k settings (Dodge et al., 2019, 'Show Your Work', whose k
    settings are drawn with replacement; without it the estimate has no bias: Tang et al., 2020). Of n scores
    in ascending order the i-th is the largest in C(i - 1, k - 1) of the C(n, k) subsets.
    """
    ordered = sorted(scores)
    return tuple(
        sum(math.comb(below, k - 1) * score for below, score in enumerate(ordered))
        / math.comb(len(ordered), k)
        for k in range(1, len(ordered) + 1)
    )
