"""AntMaze against D4RL's description and, for the body of the ant, against Gymnasium's."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest

from harness.environments.antmaze import GOALS, AntMaze, _model
from harness.environments.maze2d import MAZES

CENTRES = {"umaze": (0, 8), "medium": (20, 20), "large": (32, 24)}  # of the goals' cells, in D4RL's frame
# D4RL's observation: x, y, z, quaternion, the joints of legs 1 to 4, then the velocities of these
HIPS, ANKLES = slice(7, 15, 2), slice(8, 15, 2)
STILL = np.array([0, 0, 0.75, 1, 0, 0, 0, *[0, 1, 0, -1, 0, -1, 0, 1], *[0] * 14], float)
IDLE = np.zeros(8, np.float32)


@pytest.fixture(params=GOALS)
def size(request):
    return request.param


@pytest.fixture
def env(size):
    return AntMaze(size)


def at(x: float, y: float, z: float = 0.75, **velocity: float) -> np.ndarray:
    state = STILL.copy()
    state[:3] = x, y, z
    state[15:18] = [velocity.get(axis, 0.0) for axis in ("vx", "vy", "vz")]
    return state


def test_goals_are_drawn_anew_in_the_goals_cell(env, size):
    env.reset(seed=0)
    offsets = np.array([env.reset() and env.goal for _ in range(2000)]) - CENTRES[size]
    assert offsets.min() >= 0
    assert offsets.max() <= 1.5
    assert offsets.mean(axis=0) == pytest.approx(0.75, abs=0.03)
    assert offsets.std(axis=0) == pytest.approx(np.sqrt(1.25 / 12), rel=0.05)  # of U(0, 1) + U(0, 0.5)
    assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.1


def test_starts_are_d4rls(env):
    starts = np.array([env.reset(seed=1 if n == 0 else None)[0] for n in range(2000)])
    centre = np.array([0, 0, 0.75, *[0] * 8])
    positions = starts[:, [0, 1, 2, *range(7, 15)]] - centre
    assert np.abs(positions).max() <= 0.1
    assert positions.std(axis=0) == pytest.approx(0.2 / np.sqrt(12), rel=0.06)
    assert np.linalg.norm(starts[:, 3:7], axis=1) == pytest.approx(1.0)
    assert starts[:, 3].min() > 0.97
    assert starts[:, 4:7].std(axis=0) == pytest.approx(0.2 / np.sqrt(12), rel=0.06)
    assert starts[:, 15:].std(axis=0) == pytest.approx(0.1, rel=0.08)
    assert np.abs(starts[:, 15:].mean(axis=0)).max() < 0.01


def test_an_observation_is_positions_then_velocities():
    """In free fall for 0.1 s, so that the numbers follow from the layout and the time step alone."""
    env = AntMaze("umaze")
    start, _ = env.reset(options={"state": at(4.0, 0.0, 3.0, vx=1.0, vy=-2.0)})
    np.testing.assert_array_equal(start, at(4.0, 0.0, 3.0, vx=1.0, vy=-2.0))
    after = env.step(IDLE)[0]
    assert after.shape == (29,)
    assert after[:3] == pytest.approx([4.1, -0.2, 3.0 - 9.81 * 0.1**2 / 2], abs=1e-9)
    assert after[15:18] == pytest.approx([1.0, -2.0, -9.81 * 0.1], abs=1e-9)
    assert after[3:7] == pytest.approx([1, 0, 0, 0], abs=1e-9)


def test_a_quaternion_is_observed_normalised():
    state = at(4.0, 0.0)
    state[3:7] = 2.0, 0.0, 0.0, 1.5
    assert AntMaze("umaze").reset(options={"state": state})[0][3:7] == pytest.approx([0.8, 0, 0, 0.6])


def test_actions_move_the_joints_in_d4rls_order():
    """Back right leg first, then front left, front right and back left; each leg's hip, then its ankle."""
    env = AntMaze("umaze")
    moved = []
    for motor in range(8):
        env.reset(options={"state": at(4.0, 0.0, 3.0)})
        velocities = env.step(np.eye(8, dtype=np.float32)[motor])[0][21:]
        moved.append(int(np.argmax(np.abs(velocities))))
        assert velocities[moved[-1]] > 0
    assert moved == [6, 7, 0, 1, 2, 3, 4, 5]


def test_actions_are_clipped():
    env, states = AntMaze("umaze"), []
    for torque in (1.0, 9.0):
        env.reset(options={"state": at(4.0, 0.0)})
        states.append(env.step(np.full(8, torque, np.float32))[0])
    np.testing.assert_array_equal(*states)


def test_the_ant_is_gymnasiums_with_d4rls_time_step_torque_and_contacts():
    xml = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / "ant.xml"
    other = mujoco.MjModel.from_xml_path(str(xml))
    other.opt.timestep, other.geom_solimp[:, :3], other.actuator_gear[:, 0] = 0.02, (0.8, 0.8, 0.01), 30
    data = mujoco.MjData(other)
    env, random = AntMaze("umaze"), np.random.default_rng(3)
    state = env.reset(seed=4, options={"state": at(0.0, 0.0, 0.5)})[0]
    data.qpos[:], data.qvel[:] = state[:15], state[15:]
    touched = 0
    for action in random.uniform(-1, 1, (40, 8)).astype(np.float32):
        state = env.step(action)[0]
        data.ctrl[:] = action
        mujoco.mj_step(other, data, 5)
        np.testing.assert_allclose(state, [*data.qpos, *data.qvel], atol=1e-4)
        touched += data.ncon > 0
    assert touched > 20


def test_numbers_of_d4rls_model():
    model = _model(MAZES["umaze"])
    assert (model.nq, model.nv, model.nu) == (15, 14, 8)
    assert model.opt.timestep == 0.02
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert model.actuator_ctrlrange.tolist() == [[-30, 30]] * 8
    assert model.actuator_gear[:, 0].tolist() == [1] * 8
    assert set(map(tuple, model.geom_solimp[:, :3])) == {(0.8, 0.8, 0.01)}
    assert set(map(tuple, model.geom_solref)) == {(0.02, 1.0)}
    assert set(model.geom_margin) == {0.01}
    assert model.dof_armature.tolist() == model.dof_damping.tolist() == [0] * 6 + [1] * 8


def test_walls_are_boxes_of_4_m_around_the_origin_at_row_1_column_1(size):
    model, layout = _model(MAZES[size]), MAZES[size]
    boxes = model.geom_type == mujoco.mjtGeom.mjGEOM_BOX
    expected = [
        (4 * (column - 1), 4 * (row - 1), 1)
        for row, tiles in enumerate(layout)
        for column, tile in enumerate(tiles)
        if tile == "#"
    ]
    assert sorted(map(tuple, model.geom_pos[boxes])) == sorted(expected)
    assert set(map(tuple, model.geom_size[boxes])) == {(2, 2, 1)}


def test_the_ant_stops_at_walls_and_walks_through_corridors():
    env = AntMaze("umaze")
    for velocity, wall in (({"vx": -20}, True), ({"vy": -20}, True), ({"vy": 20}, True), ({"vx": 20}, False)):
        env.reset(options={"state": at(0, 0, **velocity), "goal": (100, 100)})
        farthest = max(np.abs(env.step(IDLE)[0][:2]).max() for _ in range(10))
        assert (farthest < 2.0) == wall


def test_the_goal_is_reached_at_half_a_metre_and_ends_the_episode():
    env, start = AntMaze("umaze"), at(0.0, 8.0, 0.5)
    env.reset(options={"state": start, "goal": (50, 50)})
    x, y = env.step(IDLE)[0][:2]
    for distance, reward in ((0.5 - 1e-9, 1.0), (0.5 + 1e-9, 0.0)):
        for angle in np.linspace(0, 6, 7):
            goal = x + distance * np.cos(angle), y + distance * np.sin(angle)
            env.reset(options={"state": start, "goal": goal})
            assert env.step(IDLE)[1:4] == (reward, reward == 1.0, False)


def test_falling_over_does_not_end_the_episode():
    env, upside_down = AntMaze("umaze"), at(0, 0, 0.5)
    upside_down[3:7] = 0, 1, 0, 0
    env.reset(options={"state": upside_down})
    results = [env.step(IDLE)[1:4] for _ in range(50)]
    assert results == [(0.0, False, False)] * 50


def test_scales_under_random_actions(env):
    """In cells without walls, a unit quaternion, joints near their ranges, speeds of an ant."""
    env.reset(seed=2)
    random = np.random.default_rng(1)
    seen = np.array([env.step(random.uniform(-1, 1, 8))[0] for _ in range(300)])
    columns, rows = (np.round(seen[:, :2] / 4).astype(int) + 1).T
    layout = MAZES[next(name for name, cell in GOALS.items() if cell == env.cell)]
    assert all(layout[row][column] != "#" for row, column in zip(rows, columns, strict=True))
    assert 0.1 < seen[:, 2].min() < seen[:, 2].max() < 1.5
    assert np.linalg.norm(seen[:, 3:7], axis=1) == pytest.approx(1.0)
    assert np.abs(seen[:, HIPS]).max() < np.radians(30) + 0.2
    bent = seen[50:, ANKLES] * [1, -1, -1, 1]
    assert np.radians(30) - 0.2 < bent.min() < bent.max() < np.radians(70) + 0.2
    assert 0.1 < seen[:, 15:].std() < 5.0
    assert np.abs(seen[:, 15:]).max() < 20.0


def test_environments_of_a_size_share_a_model_but_no_state():
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 8)).astype(np.float32)
    alone, other = AntMaze("medium"), AntMaze("medium")
    alone.reset(seed=5)
    expected = [alone.step(action)[0] for action in actions]
    alone.reset(seed=5)
    other.reset(seed=6)
    for action, state in zip(actions, expected, strict=True):
        other.step(-action)
        np.testing.assert_array_equal(alone.step(action)[0], state)
    assert (alone.goal != other.goal).all()
