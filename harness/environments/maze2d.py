"""D4RL's Maze2D on current MuJoCo: a ball pushed by forces through a maze.

Rewritten from the description in D4RL's ``d4rl/pointmaze/maze_model.py``. Gymnasium-Robotics' ``PointMaze``
has the same physics (the tests step both side by side), but centres the maze on the origin, swaps and flips
the axes, and draws other starts and goals; a policy trained on D4RL's data cannot act there.

**The frame.** An observation is ``[x, y, vx, vy]``, where ``x`` counts rows and ``y`` columns of the layout.
D4RL puts the ball's body at (1.2, 1.2) and the centre of wall cell (i, j) at (i + 1, j + 1), so the *centre*
of cell (i, j) is observed as (i - 0.2, j - 0.2). Starts, goals and waypoints are at the integers (i, j), 0.2
off the centres. With its radius of 0.1 the ball can be in [i - 0.6, i + 0.2] between two walls. Both
quirks are kept, because D4RL's data and scores come from this frame.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

# '#' wall, 'O' empty, 'G' empty and the goal of the evaluation: D4RL's U_MAZE, MEDIUM_MAZE and LARGE_MAZE.
MAZES = {
    "umaze": (
        "#####",
        "#GOO#",
        "###O#",
        "#OOO#",
        "#####",
    ),
    "medium": (
        "########",
        "#OO##OO#",
        "#OO#OOO#",
        "##OOO###",
        "#OO#OOO#",
        "#O#OO#O#",
        "#OOO#OG#",
        "########",
    ),
    "large": (
        "############",
        "#OOOO#OOOOO#",
        "#O##O#O#O#O#",
        "#OOOOOO#OOO#",
        "#O####O###O#",
        "#OO#O#OOOOO#",
        "##O#O#O#O###",
        "#OO#OOO#OGO#",
        "############",
    ),
}

GOAL_RADIUS = 0.5
_MAX_SPEED = 5.0
_START_NOISE = 0.1
_BODY = 1.2
_WALL = 1.0

Layout = tuple[str, ...]


class State(NamedTuple):
    """Position (cells) and velocity (cells per second) of the ball."""

    x: float
    y: float
    vx: float
    vy: float


def free_cells(layout: Layout) -> list[tuple[int, int]]:
    """Cells (row, column) without walls in D4RL's order: empty ones sorted, then the goal."""
    cells = [(i, j) for i, row in enumerate(layout) for j, tile in enumerate(row) if tile != "#"]
    return sorted(cells, key=lambda cell: (layout[cell[0]][cell[1]] == "G", cell))


def goal_cell(layout: Layout) -> tuple[int, int]:
    """The cell (row, column) of the goal."""
    return free_cells(layout)[-1]


class Ball:
    """The physics: a ball of radius 0.1 between walls, moved by two motors, stepped at 100 Hz.

    Args:
        layout: Rows of the maze, as in `MAZES`.
    """

    def __init__(self, layout: Layout) -> None:
        self._model = mujoco.MjModel.from_xml_string(_model_xml(layout))
        self._data = mujoco.MjData(self._model)
        self._position, self._velocity, self._force = self._data.qpos, self._data.qvel, self._data.ctrl

    def place(self, state: State) -> None:
        """Put the ball somewhere and forget the past."""
        mujoco.mj_resetData(self._model, self._data)
        self._position[:] = state[:2]
        self._velocity[:] = state[2:]

    def push(self, x: float, y: float) -> State:
        """Clip the velocity, as D4RL does before every step, then simulate 0.01 s.

        Args:
            x: Force along the rows, clipped to [-1, 1].
            y: Force along the columns, clipped likewise.

        Returns:
            The state after the step.
        """
        velocity = self._velocity
        velocity[0] = min(max(velocity[0], -_MAX_SPEED), _MAX_SPEED)
        velocity[1] = min(max(velocity[1], -_MAX_SPEED), _MAX_SPEED)
        self._force[0] = min(max(x, -1.0), 1.0)
        self._force[1] = min(max(y, -1.0), 1.0)
        mujoco.mj_step(self._model, self._data)
        return self.state

    @property
    def state(self) -> State:
        """Where the ball is and how it moves."""
        return State(*self._position.tolist(), *self._velocity.tolist())


class Maze2D(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """Reach the fixed goal and stay there, as in D4RL's ``maze2d-*-v1`` with sparse rewards.

    Observations are ``[x, y, vx, vy]`` (see the module), actions two forces in [-1, 1]. The reward of a step
    is 1 if the ball is within 0.5 of the goal after it, else 0. An episode never terminates. It starts in any
    free cell, the goal's included, uniformly, moved by U(-0.1, 0.1) and at a speed of N(0, 0.1²) per axis.

    Args:
        layout: Rows of the maze, as in `MAZES`.
    """

    def __init__(self, layout: Layout) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.layout = tuple(layout)
        self.goal = goal_cell(self.layout)
        self.ball = Ball(self.layout)
        self._starts = free_cells(self.layout)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Start an episode; ``options={"state": (x, y, vx, vy)}`` starts it there.

        Args:
            seed: Seeds the generator of starts; None continues it.
            options: None, or where to start.

        Returns:
            The observation, shape (4,), and an empty dictionary.
        """
        super().reset(seed=seed)
        state = (options or {}).get("state")
        self.ball.place(draw_start(self._starts, self.np_random) if state is None else State(*state))
        return np.array(self.ball.state), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Push the ball for 0.01 s.

        Args:
            action: Two forces, shape (2,), clipped to [-1, 1].

        Returns:
            Observation (4,), reward 0 or 1, never terminated, never truncated, an empty dictionary.
        """
        state = self.ball.push(float(action[0]), float(action[1]))
        return np.array(state), float(at_goal(state.x, state.y, self.goal)), False, False, {}


def at_goal(x: Any, y: Any, goal: tuple[int, int]) -> Any:
    """Whether positions (floats or arrays of one shape) are within 0.5 of the goal."""
    return np.hypot(x - goal[0], y - goal[1]) <= GOAL_RADIUS


def draw_near_cell(cells: list[tuple[int, int]], random: np.random.Generator) -> tuple[float, float]:
    """A uniformly drawn cell, moved by U(-0.1, 0.1) per axis."""
    i, j = cells[random.integers(len(cells))]
    dx, dy = random.uniform(-_START_NOISE, _START_NOISE, 2).tolist()
    return i + dx, j + dy


def draw_start(cells: list[tuple[int, int]], random: np.random.Generator) -> State:
    """A start near a uniformly drawn cell, with a speed of N(0, 0.1²) per axis."""
    position = draw_near_cell(cells, random)
    return State(*position, *(0.1 * random.standard_normal(2)).tolist())


def _model_xml(layout: Layout) -> str:
    """The MuJoCo model of D4RL's maze, without what is only seen."""
    walls = "\n".join(
        f'<geom type="box" conaffinity="1" pos="{i + _WALL} {j + _WALL} 0" size="0.5 0.5 0.2"/>'
        for i, row in enumerate(layout)
        for j, tile in enumerate(row)
        if tile == "#"
    )
    return f"""
    <mujoco model="maze2d">
      <compiler inertiafromgeom="true" angle="radian"/>
      <option timestep="0.01" gravity="0 0 0" iterations="20" integrator="Euler"/>
      <default>
        <joint damping="1" limited="false"/>
        <geom friction=".5 .1 .1" density="1000" margin="0.002" condim="1" contype="2" conaffinity="1"/>
      </default>
      <worldbody>
        <geom type="plane" size="40 40 0.25" pos="0 0 -0.1" contype="1" conaffinity="0"/>
        <body pos="{_BODY} {_BODY} 0">
          <geom type="sphere" size="0.1" contype="1"/>
          <joint name="x" type="slide" axis="1 0 0"/>
          <joint name="y" type="slide" axis="0 1 0"/>
        </body>
        {walls}
      </worldbody>
      <actuator>
        <motor joint="x" ctrlrange="-1 1" ctrllimited="true" gear="100"/>
        <motor joint="y" ctrlrange="-1 1" ctrllimited="true" gear="100"/>
      </actuator>
    </mujoco>"""
