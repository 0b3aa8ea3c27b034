"""The walk of D4RL's Maze2D data: from goal to goal along a planned path of cells.

From the description in D4RL's ``generate_maze2d_datasets.py``, ``waypoint_controller.py`` and
``relabel_maze2d_rewards.py``, and from its maintainers' word that ``timeouts`` mark the rows at which a goal
was reached and that the data are one continuous trajectory without terminals (D4RL #85). Kept as it is
there: the reward of a row is that of its own observation, not of the next one (D4RL #194). Not kept: the
script repeats the previous observation in the row after a change of goal, and a ball that touches a wall may
round to the wall's cell.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.environments.maze2d import (
    Ball,
    Layout,
    at_goal,
    draw_near_cell,
    draw_start,
    free_cells,
    goal_cell,
)

_GAIN = 10.0
_DAMPING = -1.0
_REACHED = 0.1
_WAYPOINT_NOISE = 0.2
# D4RL's order of moves, which decides between paths of equal length
_MOVES = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))

Cell = tuple[int, int]
Point = tuple[float, float]


def walk(layout: Layout, max_episode_steps: int, rows: int, seed: int) -> dict[str, NDArray[Any]]:
    """Walk through the maze for a number of rows.

    A goal is drawn near any free cell, and drawn anew when its cell is reached or after
    ``max_episode_steps`` rows; the ball goes on from where it is. Fewer rows are the beginning of more.

    Args:
        layout: Rows of the maze, as in `harness.environments.maze2d.MAZES`.
        max_episode_steps: The time for one goal.
        rows: Rows to write.
        seed: Seeds starts, goals and waypoints.

    Returns:
        D4RL's fields: ``observations`` (N, 4), ``actions`` (N, 2), ``rewards`` (N,) for the evaluation's
        goal, ``terminals`` (N,) all false, ``timeouts`` (N,) at changes of goal, ``infos/goal`` (N, 2).
    """
    random = np.random.default_rng(seed)
    cells = free_cells(layout)
    ball, pilot = Ball(layout), Pilot(layout, random)
    goal = draw_near_cell(cells, random)
    state = draw_start(cells, random)
    ball.place(state)
    observations = np.empty((rows, 4), np.float32)
    actions = np.empty((rows, 2), np.float32)
    timeouts = np.zeros(rows, bool)
    goals = np.empty((rows, 2), np.float32)
    since_goal = 0
    for row in range(rows):
        action, reached = pilot.steer(state[:2], state[2:], goal)
        observations[row], actions[row], goals[row] = state, action, goal
        # the recorded action is the one taken
        state = ball.push(float(actions[row, 0]), float(actions[row, 1]))
        if reached or since_goal >= max_episode_steps:
            timeouts[row] = True
            goal, since_goal = draw_near_cell(cells, random), 0
        else:
            since_goal += 1
    rewards = at_goal(observations[:, 0], observations[:, 1], goal_cell(layout))
    return {
        "observations": observations,
        "actions": actions,
        "rewards": rewards.astype(np.float32),
        "terminals": np.zeros(rows, bool),
        "timeouts": timeouts,
        "infos/goal": goals,
    }


class Pilot:
    """D4RL's waypoint controller: plan a path of cells, then steer from waypoint to waypoint.

    Args:
        layout: Rows of the maze.
        random: Moves the waypoints, all but the last, by -U(0, 0.2) per axis.
    """

    def __init__(self, layout: Layout, random: np.random.Generator) -> None:
        self._free = frozenset(free_cells(layout))
        self._random = random
        self._target: Cell | None = None
        self._waypoints: list[Point] = []
        self._next = 0
        self._previous: Point = (0.0, 0.0)

    def steer(self, position: Point, velocity: Point, goal: Point) -> tuple[Point, bool]:
        """One step of the controller, which aims at the goal's cell, not at the goal.

        Args:
            position: Where the ball is, in cells.
            velocity: How it moves, in cells per second.
            goal: Where to go, in cells.

        Returns:
            The action, two forces in [-1, 1], and whether the goal's cell was reached.
        """
        target = _cell(goal)
        if target != self._target:
            self._plan(_cell(position), target)
        calm = math.dist(self._previous, position) < _REACHED
        reached = calm and math.dist(position, target) < _REACHED
        aim = target if reached else self._waypoints[self._next]
        if not reached and calm and math.dist(position, aim) < _REACHED:
            self._next += 1
        self._previous = position
        fx, fy = (_GAIN * (a - p) + _DAMPING * v for a, p, v in zip(aim, position, velocity, strict=True))
        return (min(max(fx, -1.0), 1.0), min(max(fy, -1.0), 1.0)), reached

    def _plan(self, start: Cell, target: Cell) -> None:
        cells = shortest_path(self._free, start, target)
        noise = _WAYPOINT_NOISE * self._random.random((len(cells) - 1, 2))
        moved = ((i - dx, j - dy) for (i, j), (dx, dy) in zip(cells[:-1], noise.tolist(), strict=True))
        self._waypoints = [*moved, target]
        self._next, self._previous, self._target = 0, start, target


def shortest_path(free: frozenset[Cell], start: Cell, target: Cell) -> list[Cell]:
    """Cells after the start up to and with the target; just the target if that is the start.

    Args:
        free: Cells without walls.
        start: A free cell.
        target: A free cell.
    """
    distance = {target: 0}
    queue = deque([target])
    while queue:
        cell = queue.popleft()
        for neighbour in _neighbours(cell):
            if neighbour in free and neighbour not in distance:
                distance[neighbour] = distance[cell] + 1
                queue.append(neighbour)
    path = [_closer(start, distance)]
    while path[-1] != target:
        path.append(_closer(path[-1], distance))
    return path


def _closer(cell: Cell, distance: dict[Cell, int]) -> Cell:
    return min((step for step in _neighbours(cell) if step in distance), key=distance.__getitem__)


def _neighbours(cell: Cell) -> list[Cell]:
    return [(cell[0] + di, cell[1] + dj) for di, dj in _MOVES]


def _cell(position: Point) -> Cell:
    """The cell that a position is in; cell (i, j) reaches from (i - 0.7, j - 0.7) to (i + 0.3, j + 0.3)."""
    return math.floor(position[0] + 0.7), math.floor(position[1] + 0.7)
