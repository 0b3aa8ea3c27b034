"""What a user chooses of a table: which rows, columns and seeds, and how they are trained and scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.specs.models import Lineage, ScoreRule


@dataclass(frozen=True)
class Choice:
    """What is left open by a table; each None, and each empty tuple, leaves it as the table says.

    Attributes:
        preset: id of a preset, applied before all else.
        datasets: ids or globs of rows; each must match one.
        algorithms: ids or globs of columns; each must match one.
        seeds: train only these; the table still wants all of its own.
        every_seed: show every seed that the database has, not only those that the table wants.
        steps: shorten training: steps of offline protocols, interactions of online ones.
        lineage: of the data to train on.
        score: which evaluations count. It changes no run, only what is read from its evaluations.
    """

    preset: str | None = None
    datasets: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    every_seed: bool = False
    steps: int | None = None
    lineage: Lineage | None = None
    score: ScoreRule | None = None
