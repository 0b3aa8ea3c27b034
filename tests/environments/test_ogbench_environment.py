"""OGBench's AntMaze against the package of that name, where it is installed, and against its description."""

from __future__ import annotations

import importlib.util
import os
import sys
import types

import gymnasium
import numpy as np
import pytest

from harness.environments.ogbench import OGBenchAntMaze

IDLE = np.zeros(8)


@pytest.fixture(scope="module")
def locomaze():
    """The package's own mazes; its other half, which wants dm_control, is not imported."""
    found = importlib.util.find_spec("ogbench")
    if found is None or not found.submodule_search_locations:
        if os.environ.get("HARNESS_REQUIRE_OGBENCH"):
            pytest.fail("HARNESS_REQUIRE_OGBENCH is set, but the package ogbench is not installed")
        pytest.skip("takes the package ogbench: pip install --no-deps ogbench")
    root = types.ModuleType("ogbench")
    root.__path__ = list(found.submodule_search_locations)
    sys.modules.setdefault("ogbench", root)
    import ogbench.locomaze

    return ogbench.locomaze


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where the package leaves its XML files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.parametrize("timing", ["post", "pre"])
@pytest.mark.parametrize(("size", "task"), [("large", 1), ("large", 4), ("giant", 2), ("giant", 5)])
def test_sixty_steps_are_the_packages_bit_by_bit(locomaze, temporary, size, task, timing):
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
