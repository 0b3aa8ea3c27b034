"""OGBench's AntMaze against the package of that name, where it is installed, and against its description."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from harness import environments
from harness.environments.antmaze import position
from harness.environments.ogbench import LAYOUTS, TASKS, DirectedAnt, OGBenchAntMaze
from harness.errors import EnvironmentUnusableError
from harness.specs.models import Environment

IDLE = np.zeros(8)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where the package leaves its XML files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.parametrize("timing", ["post", "pre"])
@pytest.mark.parametrize(("size", "task"), [("large", 1), ("large", 4), ("giant", 2), ("giant", 5)])
def test_sixty_steps_are_the_packages_bit_by_bit(ogbench, temporary, size, task, timing):
    name = f"antmaze-{size}-singletask-task{task}-v0"
    theirs = gymnasium.make(name, success_timing=timing, disable_env_checker=True).unwrapped
    own = OGBenchAntMaze(size, task, success_timing=timing)
    theirs.reset(seed=task)
    start, _ = own.reset(seed=task)
    assert np.abs(start[:2] - theirs.cur_task_info["init_xy"]).max() <= 1
    np.testing.assert_array_equal(own.goal, theirs.cur_goal_xy)
    start[:2] = own.goal - [0.52, 0.0]  # where success begins within the steps
    own.reset(options={"state": start})
    theirs.set_state(start[:15], start[15:])
    for simulation in (own._data, theirs.data):
        simulation.qacc_warmstart[:] = 0
    rewards = []
    for action in np.random.default_rng(task).uniform(-1, 1, (60, 8)):
        state, reward, ended, truncated, info = own.step(action)
        expected = theirs.step(action)
        np.testing.assert_array_equal(state, expected[0])
        assert (reward, ended, truncated, info["success"]) == (*expected[1:4], expected[4]["success"])
        rewards.append(reward)
    assert set(rewards) == {-1.0, 0.0}


@pytest.mark.parametrize("size", TASKS)
def test_mazes_tasks_and_goals_are_the_packages(ogbench, temporary, size):
    theirs = gymnasium.make(f"antmaze-{size}-singletask-task1-v0", disable_env_checker=True).unwrapped
    walls = [[tile == "#" for tile in row] for row in LAYOUTS[size]]
    np.testing.assert_array_equal(walls, theirs.maze_map == 1)
    assert [(task["init_ij"], task["goal_ij"]) for task in theirs.task_infos] == list(TASKS[size])
    assert [tuple(task["goal_xy"]) for task in theirs.task_infos] == [
        tuple(position(goal)) for _, goal in TASKS[size]
    ]
    assert own_boxes(size) == boxes(theirs.model)


def boxes(model):
    """Places and sizes of the walls."""
    walls = model.geom_type == 6
    return sorted(
        (*place, *half) for place, half in zip(model.geom_pos[walls], model.geom_size[walls], strict=True)
    )


def own_boxes(size):
    return boxes(OGBenchAntMaze(size, 1)._model)


def test_an_episode_ends_at_the_goal_and_says_so():
    env = OGBenchAntMaze("large", 4)
    start, _ = env.reset(seed=3)
    assert env.step(IDLE)[1:] == (-1.0, False, False, {"success": 0.0})
    start[:2] = 12.3, 16.3
    env.reset(options={"state": start})
    assert env.step(IDLE)[1:] == (0.0, True, False, {"success": 1.0})


def test_success_is_judged_after_a_step_or_before_it():
    ends = {}
    for timing in ("post", "pre"):
        env = OGBenchAntMaze("large", 1, success_timing=timing)
        start, _ = env.reset(seed=3)
        start[:2], start[15:17] = env.goal - [1.0, 0.0], (3.0, 0.0)  # it slides to the goal
        env.reset(options={"state": start})
        ends[timing] = next(step for step in range(50) if env.step(IDLE)[2])
    assert ends["pre"] == ends["post"] + 1


def test_starts_lie_around_the_tasks_cell_and_quaternions_are_as_drawn():
    env = OGBenchAntMaze("giant", 5)
    starts = np.array([env.reset(seed=0 if n == 0 else None)[0] for n in range(1000)])
    offsets = starts[:, :2] - position((5, 9))
    assert np.abs(offsets).max() <= 1
    assert offsets.std(0) == pytest.approx(2 / np.sqrt(12), rel=0.06)
    joints = starts[:, 2:15] - [0.75, 1, *[0] * 11]
    assert np.abs(joints).max() <= 0.1
    assert joints.std(0) == pytest.approx(0.2 / np.sqrt(12), rel=0.08)
    assert starts[:, 15:].std(0) == pytest.approx(0.1, rel=0.08)
    assert np.linalg.norm(starts[:, 3:7], axis=1).std() > 0.01


def test_a_directed_ant_is_paid_for_its_way_and_ends_when_it_leaves_its_height():
    env = DirectedAnt()
    seen, _ = env.reset(seed=1)
    again, _ = env.reset(seed=1)
    np.testing.assert_array_equal(seen, again)
    assert np.linalg.norm(seen[-2:]) == pytest.approx(1)
    random, turns = np.random.default_rng(0), []
    for step in range(1, 205):
        place, direction = env._data.qpos[:2].copy(), seen[-2:]
        seen, reward, _, _, _ = env.step(random.uniform(-1, 1, 8))
        assert reward == pytest.approx((env._data.qpos[:2] - place) @ direction)
        np.testing.assert_array_equal(seen[:13], env._data.qpos[2:])
        if (seen[-2:] != direction).any():
            turns.append(step)
    assert turns == [100, 200]
    env._data.qpos[2] = 3.0
    assert env.step(IDLE)[2]
    env._data.qpos[2] = 0.6
    assert not env.step(IDLE)[2]


def test_what_is_no_task_or_timing_is_refused():
    with pytest.raises(EnvironmentUnusableError, match=r"task6' does not exist; this project has .*task5"):
        environments.make(Environment(id="harness/ogbench-antmaze-large-task6", max_episode_steps=10))
    for kwargs, message in (
        ({"success_timing": "late"}, "success_timing is 'post' or 'pre', not 'late'"),
        ({"task": 6}, "task is 1 to 5, not 6"),
        ({"task": 0}, "task is 1 to 5, not 0"),
    ):
        wrong = Environment(id="harness/ogbench-antmaze-large-task1", kwargs=kwargs, max_episode_steps=10)
        with pytest.raises(EnvironmentUnusableError, match=message):
            environments.make(wrong)
