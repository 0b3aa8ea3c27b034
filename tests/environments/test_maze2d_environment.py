"""Maze2D against D4RL's description and, for the physics, against Gymnasium-Robotics' PointMaze."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest
from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv

from harness.environments.maze2d import MAZES, Ball, Maze2D, State, at_goal, free_cells, goal_cell

GOALS = {"umaze": (1, 1), "medium": (6, 6), "large": (7, 9)}
STARTS = {"umaze": 7, "medium": 26, "large": 46}


@pytest.fixture(params=MAZES)
def size(request):
    return request.param


@pytest.fixture
def env(size):
    return Maze2D(MAZES[size])


def test_goals_and_free_cells(size):
    assert goal_cell(MAZES[size]) == GOALS[size]
    cells = free_cells(MAZES[size])
    assert len(cells) == len(set(cells)) == STARTS[size]
    assert cells == [*sorted(cells[:-1]), GOALS[size]]
    assert all(MAZES[size][i][j] in "OG" for i, j in cells)


def test_starts_are_near_the_integers_of_every_free_cell(env, size):
    starts = np.array([env.reset(seed=7 if n == 0 else None)[0] for n in range(4000)])
    cells = starts[:, :2].round().astype(int)
    offsets = starts[:, :2] - cells
    assert np.abs(offsets).max() <= 0.1
    assert np.abs(offsets.mean(axis=0)).max() < 0.005
    assert offsets.std(axis=0) == pytest.approx(0.2 / np.sqrt(12), rel=0.05)
    counts = np.array([(cells == cell).all(axis=1).sum() for cell in free_cells(MAZES[size])])
    assert counts.sum() == 4000
    expected = 4000 / len(counts)
    # chi-square: mean k - 1, standard deviation sqrt(2 (k - 1))
    degrees = len(counts) - 1
    assert ((counts - expected) ** 2 / expected).sum() < degrees + 4 * np.sqrt(2 * degrees)
    assert starts[:, 2:].std(axis=0) == pytest.approx(0.1, rel=0.05)
    assert np.abs(starts[:, 2:].mean(axis=0)).max() < 0.01


def test_the_reward_is_that_of_the_state_after_the_step(env, size):
    x, y = GOALS[size]
    side = {"umaze": 1, "medium": -1, "large": 1}[size]  # where the neighbouring cell is free
    env.reset(options={"state": (x, y + 0.52 * side, 0.0, -4.0 * side)})
    observation, reward, terminated, truncated, _ = env.step(np.zeros(2, np.float32))
    assert np.hypot(*(observation[:2] - (x, y))) < 0.5
    assert (reward, terminated, truncated) == (1.0, False, False)


def test_leaving_the_goal_gives_no_reward():
    env = Maze2D(MAZES["umaze"])
    env.reset(options={"state": (1, 1.48, 0.0, 4.0)})
    observation, reward, *_ = env.step(np.zeros(2, np.float32))
    assert observation[1] > 1.5
    assert reward == 0.0


def test_the_goal_has_a_radius_of_half_a_cell():
    assert at_goal(1.3, 1.4, (1, 1))
    assert at_goal(1.5, 1.0, (1, 1))
    assert not at_goal(1.31, 1.4, (1, 1))
    assert at_goal(np.array([1.0, 2.0]), np.array([1.0, 1.0]), (1, 1)).tolist() == [True, False]


def test_an_episode_goes_on_at_the_goal():
    env = Maze2D(MAZES["umaze"])
    env.reset(options={"state": (1, 1, 0, 0)})
    results = [env.step(np.zeros(2, np.float32))[1:4] for _ in range(50)]
    assert results == [(1.0, False, False)] * 50


def test_walls_are_where_d4rls_offset_puts_them():
    """Pushed against each wall of the U's goal corner, the ball rests at i - 0.6 and i + 0.2."""
    for force, axis, rest in ((-1, 0, 0.4), (1, 0, 1.2), (-1, 1, 0.4)):
        ball = Ball(MAZES["umaze"])
        ball.place(State(1, 1, 0, 0))
        push = (force, 0) if axis == 0 else (0, force)
        for _ in range(300):
            state = ball.push(*push)
        assert state[axis] == pytest.approx(rest, abs=0.02)


def test_the_velocity_is_clipped_before_a_step():
    ball = Ball(MAZES["umaze"])
    ball.place(State(3, 1, 0, 50.0))
    fast = ball.push(0, 0)
    ball.place(State(3, 1, 0, 5.0))
    assert fast == ball.push(0, 0)
    assert fast.vy < 5.0


def test_actions_are_clipped():
    ball = Ball(MAZES["umaze"])
    states = []
    for force in (1.0, 7.0):
        ball.place(State(3, 1, 0, 0))
        states.append(ball.push(0, force))
    assert states[0] == states[1]
    assert states[0].vy > 0


def test_physics_are_those_of_gymnasium_robotics(size, tmp_path, monkeypatch):
    """The same forces move both balls alike, in the open and along walls.

    There x counts columns, y counts rows upwards, and the origin is the centre of the maze.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where it leaves its model
    layout = MAZES[size]
    grid = [[int(tile == "#") for tile in row] for row in layout]
    other = PointMazeEnv(maze_map=grid).point_env
    # what we observe at the centre of the maze: half its cells, less half a cell, less D4RL's offset
    centre = np.array([len(layout), len(layout[0])]) / 2 - 0.5 - 0.2
    ball, cells = Ball(layout), free_cells(layout)
    random = np.random.default_rng(2)
    at_walls = 0
    for _ in range(15):
        i, j = cells[random.integers(len(cells))]
        position, velocity = np.array([i - 0.2, j - 0.2]), random.uniform(-3, 3, 2)
        ball.place(State(*position, *velocity))
        x, y = position - centre
        other.reset(seed=0)
        other.set_state(np.array([y, -x]), np.array([velocity[1], -velocity[0]]))
        for force in random.uniform(-1, 1, (60, 2)) + random.uniform(-1, 1, 2):
            mine = ball.push(*force)
            x, y, vx, vy = other.step(np.array([force[1], -force[0]]))[0]
            np.testing.assert_allclose(mine, [centre[0] - y, centre[1] + x, -vy, vx], atol=1e-3)
            at_walls += any(min(abs(p % 1 - 0.2), abs(p % 1 - 0.4)) < 0.005 for p in mine[:2])
    assert at_walls > 20
    other.close()
