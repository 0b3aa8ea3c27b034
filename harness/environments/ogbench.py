"""OGBench's AntMaze with one task, and the open ground on which the ant of its data learns to walk.

Rewritten from the code of OGBench (https://github.com/seohongpark/ogbench @ 1d41409, ``locomaze/maze.py`` and
``online_locomotion``). The ant, the frame and the size of cells and walls are those of
`harness.environments.antmaze`: from equal states, equal torques lead to equal states, bit by bit.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.environments.antmaze import Ant, position
from harness.environments.maze2d import MAZES, Layout

Cell = tuple[int, int]
Timing = Literal["post", "pre"]

LAYOUTS: dict[str, Layout] = {
    "large": MAZES["large"],  # D4RL's
    "giant": (
        "################",
        "#O#OOOOOO##OOOO#",
        "#O#O##O#O#OO##O#",
        "#OOO#OO#OOO#OOO#",
        "#O###O######O#O#",
        "#OOO#OOO#OOOO#O#",
        "###O#O#OO#O#O###",
        "#OOO#OO#OOO#OOO#",
        "#O#O#O######O#O#",
        "#O###OOO#OOO##O#",
        "#OOOOO#OOO#OOOO#",
        "################",
    ),
}
#: Start and goal of tasks 1 to 5, cells (row, column).
TASKS: dict[str, tuple[tuple[Cell, Cell], ...]] = {
    "large": (
        ((1, 1), (7, 10)),
        ((5, 4), (7, 1)),
        ((7, 4), (1, 10)),
        ((3, 8), (5, 4)),
        ((1, 1), (5, 4)),
    ),
    "giant": (
        ((1, 1), (10, 14)),
        ((1, 14), (10, 1)),
        ((8, 14), (1, 1)),
        ((8, 3), (5, 12)),
        ((5, 9), (3, 8)),
    ),
}
_TURN = 100  # steps in one direction
_HEIGHTS = (0.2, 1.0)  # of the torso, in metres, while the ant stands
State = tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]


class OGBenchAntMaze(Ant):
    """Reach the goal once, as in OGBench's ``antmaze-*-singletask-task*-v0``.

    Observations and actions are those of `harness.environments.antmaze.AntMaze`, but for quaternions, which
    are observed as they were drawn until the first step. The reward of a step is 0 at the goal, within 0.5 m,
    else -1; being there ends the episode and is ``info["success"]``, 1 or 0. Every episode begins in the
    task's first cell, up to 1 m off its centre along both axes; the goal is the centre of the other.

    Args:
        size: ``large`` or ``giant``.
        task: 1 to 5.
        success_timing: Whether the ant is at the goal is judged after a step (``post``, OGBench up to 1.1,
            which the published scores of FQL's paper come from) or before it (``pre``, OGBench from 1.2 on),
            so that an episode ends one step later.

    Raises:
        ValueError: There is no such task or timing.
    """

    def __init__(self, size: str, task: int, success_timing: Timing = "post") -> None:
        if success_timing not in get_args(Timing):
            raise ValueError(f"success_timing is 'post' or 'pre', not {success_timing!r}")
        if task not in range(1, 1 + len(TASKS[size])):
            raise ValueError(f"task is 1 to {len(TASKS[size])}, not {task!r}")
        super().__init__(LAYOUTS[size])
        start, goal = TASKS[size][task - 1]
        self.start, self.goal, self._timing = position(start), position(goal), success_timing

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Start an episode; ``options={"state": ...}`` or ``options={"cell": ...}`` says where.

        Args:
            seed: Seeds the generator of starts; None continues it.
            options: None, or ``state``, shape (29,), or ``cell``, (row, column), in the place of the task's.

        Returns:
            The observation, shape (29,), and an empty dictionary.
        """
        super().reset(seed=seed)
        given = options or {}
        if "state" in given:
            return self._place(np.asarray(given["state"], float)), {}
        state = self._draw_start()
        centre = position(given["cell"]) if "cell" in given else self.start
        state[:2] = centre + self.np_random.uniform(-1, 1, 2)
        return self._place(state), {}

    def step(self, action: NDArray[np.floating[Any]]) -> State:
        """Apply torques for 0.1 s.

        Args:
            action: Shape (8,), clipped to [-1, 1], as `harness.environments.antmaze.AntMaze` takes them.

        Returns:
            Observation (29,), reward -1 or 0, whether the goal was reached, never truncated, and the same as
            ``success``.
        """
        before = self._near(self.goal)
        observation = self._push(np.asarray(action, np.float64))
        success = self._near(self.goal) if self._timing == "post" else before
        return observation, float(success) - 1, success, False, {"success": float(success)}


class DirectedAnt(Ant):
    """Walk in a given direction on open ground: where the expert behind OGBench's AntMaze data was trained.

    Observations have shape (29,): the ant's state without its position, (27,), and the direction, a unit
    vector (2,), which changes every 100 steps. The reward of a step is how far it led in that direction, in
    metres. An episode ends when the torso is lower than 0.2 m or higher than 1 m.
    """

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Start an episode; no options are known."""
        super().reset(seed=seed)
        state = self._place(self._draw_start())
        self._direction, self._steps = self._draw_direction(), 0
        return directed(state, self._direction), {}

    def step(self, action: NDArray[np.floating[Any]]) -> State:
        """Apply torques (8,) for 0.1 s."""
        before = self._data.qpos[:2].copy()
        state = self._push(np.asarray(action, np.float64))
        reward = float((state[:2] - before) @ self._direction)
        self._steps += 1
        if self._steps % _TURN == 0:
            self._direction = self._draw_direction()
        low, high = _HEIGHTS
        fallen = not (np.isfinite(state).all() and low <= state[2] <= high)
        return directed(state, self._direction), reward, fallen, False, {}

    def _draw_direction(self) -> NDArray[np.float64]:
        drawn = self.np_random.standard_normal(2)
        return np.asarray(drawn / np.linalg.norm(drawn))


def directed(state: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the expert sees: states ``(..., 29)`` without positions, and directions ``(..., 2)``."""
    return np.concatenate([state[..., 2:], direction], -1)


def cells(layout: Layout) -> list[Cell]:
    """Cells without walls (row, column), row by row."""
    return [(i, j) for i, row in enumerate(layout) for j, tile in enumerate(row) if tile != "#"]


def crossings(layout: Layout) -> list[Cell]:
    """Cells without walls that are no straight corridor, row by row: where goals of OGBench's data lie."""
    free = set(cells(layout))

    def straight(cell: Cell) -> bool:
        i, j = cell
        beside = tuple((i + di, j + dj) in free for di, dj in ((-1, 0), (1, 0), (0, -1), (0, 1)))
        return beside in ((True, True, False, False), (False, False, True, True))

    return [cell for cell in cells(layout) if not straight(cell)]
