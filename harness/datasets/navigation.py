"""The walk of OGBench's AntMaze data: an ant that wanders from goal to goal through a maze.

From the description in OGBench's ``data_gen_scripts/generate_locomaze.py`` (dataset type 'navigate'): an
expert that walks in any direction it is given is steered along shortest paths of cells, with noise on its
actions.
"""

from __future__ import annotations

import functools
import re
from collections import deque

import numpy as np
from numpy.typing import NDArray

from harness.datasets.policies import Policy, check_fit
from harness.datasets.rollouts import Rows, episode_random, episode_start
from harness.environments.antmaze import cell_of, position
from harness.environments.maze2d import Layout
from harness.environments.ogbench import LAYOUTS, Cell, OGBenchAntMaze, cells, crossings, directed
from harness.errors import HarnessError
from harness.specs.models import Environment

ANT = Environment(id="harness/ogbench-ant", max_episode_steps=1000)
"""Where the expert is trained."""
SIZES = (29, 8)
"""Of what it sees, and of what it does."""

_LENGTHS = {"large": 1001, "giant": 2001}  # rows of an episode; the last one only shows where it led
_ACTION_NOISE = 0.2
_GOAL_NOISE = 1.0  # metres along both axes
_MOVES = ((-1, 0), (0, -1), (1, 0), (0, 1))  # OGBench's order, which decides between paths of equal length
Point = NDArray[np.float64]


class Navigators:
    """Ants that wander, many at a time; a crew for `harness.datasets.rollouts.collect`.

    Args:
        policy: The expert, which sees what `harness.environments.ogbench.directed` gives.
        environment: A task of the maze.
        count: Ants.

    Raises:
        DataError: The policy does not fit the ant.
        HarnessError: The environment is no maze of OGBench's.
    """

    def __init__(self, policy: Policy, environment: Environment, count: int) -> None:
        size = _size(environment)
        self._policy, self._layout, self._length = policy, LAYOUTS[size], _LENGTHS[size]
        self._ants = [OGBenchAntMaze(size, task=1) for _ in range(count)]
        check_fit(f"policy {policy.sha256[:12]}", policy, ANT, *SIZES)

    @staticmethod
    def length(environment: Environment) -> int:
        """Rows of an episode."""
        return _LENGTHS[_size(environment)]

    def close(self) -> None:
        """Nothing is left open."""

    def roll_out(self, seed: int, first: int) -> list[Rows]:
        """One episode of every ant, to its end.

        Args:
            seed: Of the whole dataset.
            first: Number of the first episode.

        Returns:
            For each episode ``observations`` (T, 29), ``actions`` (T, 8) and ``terminals`` (T,), true in the
            last row, as OGBench's files have them.
        """
        walks = [
            _Walk(ant, self._layout, episode_random(self._policy, seed, first + i))
            for i, ant in enumerate(self._ants)
        ]
        seen = np.empty((len(walks), self._length, 29), np.float32)
        done = np.empty((len(walks), self._length, 8), np.float32)
        for row in range(self._length):
            states = np.stack([walk.state for walk in walks])
            directions = np.stack([walk.direction() for walk in walks])
            modes = self._policy.act(directed(states, directions))
            seen[:, row] = states
            done[:, row] = [walk.step(mode) for walk, mode in zip(walks, modes, strict=True)]
        last = np.arange(self._length) == self._length - 1
        return [
            {"observations": observations, "actions": actions, "terminals": last}
            for observations, actions in zip(seen, done, strict=True)
        ]


class _Walk:
    """One ant on its way."""

    def __init__(self, ant: OGBenchAntMaze, layout: Layout, random: np.random.Generator) -> None:
        self._ant, self._layout, self._random = ant, layout, random
        start = _one_of(cells(layout), random)
        self._choose_goal()
        self.state, _ = ant.reset(seed=episode_start(random), options={"cell": start})

    def direction(self) -> Point:
        """Where to go from here: towards the next cell's centre."""
        here = cell_of(self.state[:2])
        way = position(_next_cells(self._layout, self._target).get(here, here)) - self.state[:2]
        return np.asarray(way / (np.linalg.norm(way) + 1e-6))

    def step(self, mode: NDArray[np.float32]) -> NDArray[np.float64]:
        """Do what the expert would, roughly; returns the action."""
        noise = self._random.normal(0, _ACTION_NOISE, mode.shape)
        action = np.clip(mode + noise, -1, 1)
        self.state, _, arrived, _, _ = self._ant.step(action)
        if arrived:
            self._choose_goal()
        return action

    def _choose_goal(self) -> None:
        self._target = _one_of(crossings(self._layout), self._random)
        self._ant.goal = position(self._target) + self._random.uniform(-_GOAL_NOISE, _GOAL_NOISE, 2)


@functools.cache
def _next_cells(layout: Layout, goal: Cell) -> dict[Cell, Cell]:
    """From each cell the next one on a shortest path to a goal; the goal's own from itself."""
    free = set(cells(layout))
    distance = {goal: 0}
    queue = deque([goal])
    while queue:
        cell = queue.popleft()
        for other in _beside(cell):
            if other in free and other not in distance:
                distance[other] = distance[cell] + 1
                queue.append(other)
    # of equally near cells the first, and the cell itself before them
    return {
        cell: min([cell, *(other for other in _beside(cell) if other in distance)], key=distance.__getitem__)
        for cell in distance
    }


def _beside(cell: Cell) -> list[Cell]:
    return [(cell[0] + di, cell[1] + dj) for di, dj in _MOVES]


def _one_of(choices: list[Cell], random: np.random.Generator) -> Cell:
    return choices[int(random.integers(len(choices)))]


def _size(environment: Environment) -> str:
    """The size of the maze of a task.

    Raises:
        HarnessError: It is no maze of OGBench's.
    """
    match = re.fullmatch(r"harness/ogbench-antmaze-(\w+)-task\d", environment.id)
    if match is None or match[1] not in LAYOUTS:
        raise HarnessError(
            f"the recipe 'ant-navigate' needs a harness/ogbench-antmaze-*, not {environment.id!r}"
        )
    return match[1]
