"""D4RL's AntMaze on current MuJoCo: a four-legged robot walks through a maze to a goal.

Rewritten from the description in D4RL's ``d4rl/locomotion`` (``ant.xml``, ``ant.py``, ``maze_env.py``,
``goal_reaching_env.py``, ``wrappers.py``). Gymnasium-Robotics' ``AntMaze`` is another task: its ant has half
the time step, five times the torque and stiffer contacts, its maze is centred on the origin with the second
axis flipped, its start and goal are drawn elsewhere, and 0.45 is near enough. A policy trained on D4RL's data
cannot walk there.

**The frame.** An observation is the state of the ant: ``[x, y, z, quaternion (4), joint angles (8), velocity
(3), angular velocity (3), joint velocities (8)]``, in metres, radians and seconds. Cells are 4 m wide; the
origin is the centre of cell (row 1, column 1), where every episode starts; ``x`` counts columns, ``y`` rows.
"""

from __future__ import annotations

import functools
from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from harness.environments.maze2d import MAZES, Layout

GOALS = {"umaze": (3, 1), "medium": (6, 6), "large": (7, 9)}  # cells (row, column); the walls are Maze2D's
GOAL_RADIUS = 0.5
_CELL = 4.0
_TORQUE = 30.0
_FRAME_SKIP = 5  # of 0.02 s
_POSITIONS = 15  # of the observation's 29 numbers; the rest are velocities
_LEGS = {"1": (1, 1), "2": (-1, 1), "3": (-1, -1), "4": (1, -1)}  # the direction in which a leg points
_MOTORS = "4123"  # in the order of the actions: the hip and the ankle of each of these legs


class Ant(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """The robot among walls, without a task: its state is observed, shape (29,), its torques are (8,).

    Args:
        layout: Rows of the maze, '#' for walls; none: open ground.
    """

    def __init__(self, layout: Layout = ()) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (29,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (8,), np.float32)
        self._model = _model(layout)
        self._data = mujoco.MjData(self._model)

    def _place(self, state: NDArray[np.float64], *, normalised: bool = False) -> NDArray[np.float64]:
        """Begin in a state, shape (29,), perhaps with its quaternion made one of length 1."""
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:], self._data.qvel[:] = np.split(state, [_POSITIONS])
        if normalised:
            mujoco.mj_normalizeQuat(self._model, self._data.qpos)
        mujoco.mj_forward(self._model, self._data)
        return self._observe()

    def _push(self, action: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Apply torques in units of 30 N m, clipped to [-1, 1], for 0.1 s."""
        self._data.ctrl[:] = _TORQUE * np.clip(action, -1.0, 1.0)
        mujoco.mj_step(self._model, self._data, _FRAME_SKIP)
        return self._observe()

    def _observe(self) -> NDArray[np.float64]:
        return np.concatenate([self._data.qpos, self._data.qvel])

    def _near(self, goal: NDArray[np.float64]) -> bool:
        """Whether the torso is within `GOAL_RADIUS` of ``(x, y)``."""
        return bool(np.linalg.norm(self._data.qpos[:2] - goal) <= GOAL_RADIUS)

    def _draw_start(self) -> NDArray[np.float64]:
        """The upright ant at the origin, U(-0.1, 0.1) off in every position, N(0, 0.1²) in every speed."""
        positions = self._model.qpos0 + self.np_random.uniform(-0.1, 0.1, _POSITIONS)
        return np.concatenate([positions, 0.1 * self.np_random.standard_normal(self._model.nv)])


class AntMaze(Ant):
    """Reach the goal once, as in D4RL's ``antmaze-*-v2`` with sparse rewards.

    Observations have shape (29,) (see the module); actions are torques in units of 30 N m, shape (8,), in
    [-1, 1], held for 0.1 s. The reward of a step is 1 if the torso is within 0.5 m of the goal after it, else
    0, and reaching the goal ends the episode; falling over does not. Every episode draws its goal anew, in
    the square that reaches from the centre of the goal's cell 1.5 m along both axes.

    Args:
        size: ``umaze``, ``medium`` or ``large``.
    """

    def __init__(self, size: str) -> None:
        super().__init__(MAZES[size])
        self.cell = GOALS[size]
        self.goal = position(self.cell)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Start an episode; ``options={"state": ..., "goal": (x, y)}`` says where.

        Args:
            seed: Seeds the generator of starts and goals; None continues it.
            options: None, or any of ``state``, shape (29,), and ``goal``, shape (2,).

        Returns:
            The observation, shape (29,), and an empty dictionary.
        """
        super().reset(seed=seed)
        given = options or {}
        self.goal = np.asarray(given["goal"], float) if "goal" in given else self._draw_goal()
        state = np.asarray(given["state"], float) if "state" in given else self._draw_start()
        return self._place(state, normalised=True), {}  # D4RL's MuJoCo did so before it was observed

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Apply torques for 0.1 s.

        Args:
            action: Shape (8,), clipped to [-1, 1]: hip and ankle of the legs at the back right, front left,
                front right and back left.

        Returns:
            Observation (29,), reward 0 or 1, whether the goal was reached, never truncated, an empty
            dictionary.
        """
        observation = self._push(action)
        reached = self._near(self.goal)
        return observation, float(reached), reached, False, {}

    def _draw_goal(self) -> NDArray[np.float64]:
        """The centre of the goal's cell plus U(0, 1) + U(0, 0.5) per axis."""
        noise = self.np_random.uniform(0, _CELL / 4, 2) + self.np_random.uniform(0, _CELL / 8, 2)
        return position(self.cell) + noise


def position(cell: tuple[int, int]) -> NDArray[np.float64]:
    """The centre ``(x, y)`` of a cell (row, column), in metres."""
    row, column = cell
    return _CELL * np.array([column - 1.0, row - 1.0])


def cell_of(point: NDArray[np.float64]) -> tuple[int, int]:
    """The cell (row, column) that a position ``(x, y)`` is in."""
    column, row = np.floor(point / _CELL + 1.5).astype(int).tolist()
    return row, column


@functools.cache  # nothing changes a model, so all environments of a size share one
def _model(layout: Layout) -> Any:
    """The MuJoCo model of D4RL's ant in a maze, without what is only seen."""
    return mujoco.MjModel.from_xml_string(_model_xml(layout))


def _model_xml(layout: Layout) -> str:
    walls = "\n".join(
        f'<geom type="box" contype="1" conaffinity="1" pos="{x} {y} {_CELL / 4}"'
        f' size="{_CELL / 2} {_CELL / 2} {_CELL / 4}"/>'
        for i, row in enumerate(layout)
        for j, tile in enumerate(row)
        if tile == "#"
        for x, y in [position((i, j))]
    )
    legs = "\n".join(_leg_xml(leg, *direction) for leg, direction in _LEGS.items())
    motors = "\n".join(
        f'<motor joint="{joint}_{leg}" ctrllimited="true" ctrlrange="-{_TORQUE} {_TORQUE}"/>'
        for leg in _MOTORS
        for joint in ("hip", "ankle")
    )
    return f"""
    <mujoco model="antmaze">
      <compiler inertiafromgeom="true" angle="degree"/>
      <option timestep="0.02" integrator="RK4"/>
      <default>
        <joint limited="true" armature="1" damping="1"/>
        <geom condim="3" contype="1" conaffinity="0" margin="0.01" friction="1 0.5 0.5" solref="0.02 1"
              solimp="0.8 0.8 0.01" density="5"/>
      </default>
      <worldbody>
        <geom type="plane" size="40 40 40" conaffinity="1"/>
        {walls}
        <body name="torso" pos="0 0 0.75">
          <geom type="sphere" size="0.25"/>
          <joint type="free" limited="false" margin="0.01" armature="0" damping="0"/>
          {legs}
        </body>
      </worldbody>
      <actuator>
        {motors}
      </actuator>
    </mujoco>"""


def _leg_xml(leg: str, x: int, y: int) -> str:
    """A leg towards (x, y), each 1 or -1: a fixed link, the hip, a link, the ankle, a link."""
    bend = "30 70" if x > 0 else "-70 -30"
    link = f'<geom type="capsule" size="0.08" fromto="0 0 0 {0.2 * x} {0.2 * y} 0"/>'
    return f"""
          <body>
            {link}
            <body pos="{0.2 * x} {0.2 * y} 0">
              <joint name="hip_{leg}" type="hinge" axis="0 0 1" range="-30 30"/>
              {link}
              <body pos="{0.2 * x} {0.2 * y} 0">
                <joint name="ankle_{leg}" type="hinge" axis="{-x * y} 1 0" range="{bend}"/>
                <geom type="capsule" size="0.08" fromto="0 0 0 {0.4 * x} {0.4 * y} 0"/>
              </body>
            </body>
          </body>"""
