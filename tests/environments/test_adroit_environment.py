"""Adroit against D4RL's description: rewards, ends, starts, the random policy's return."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from harness import environments
from harness.environments.adroit import Hand
from harness.specs import Specs
from harness.training.rollout import roll_out

TASKS = {"pen": (45, 24), "door": (39, 28), "hammer": (46, 26), "relocate": (39, 30)}


@pytest.fixture(params=TASKS)
def task(request):
    return request.param


@pytest.fixture
def env(task):
    return Hand(task)


def stepped(env, action=None, **positions):
    """Put joints somewhere, hold them for a step of tiny effect, and return what the step gives."""
    for joint, value in positions.items():
        env.data.joint(joint).qpos = value
    mujoco.mj_forward(env._hand.model, env.data)
    return env.step(np.zeros(env.action_space.shape, np.float32) if action is None else action)


def norm(vector):
    return float(np.sqrt((np.asarray(vector) ** 2).sum()))


def expected_reward(task, observation, data):
    """D4RL's dense reward, from the observation wherever it has what is needed."""
    if task == "pen":
        distance, similarity = norm(observation[39:42]), observation[33:36] @ observation[36:39]
        reward = -distance + similarity
        if distance < 0.075 and similarity > 0.9:
            reward += 10
        if distance < 0.075 and similarity > 0.95:
            reward += 50
        return reward - 5 if observation[26] < 0.075 else reward
    if task == "door":
        angle = observation[28]
        reward = -0.1 * norm(observation[35:38]) - 0.1 * (angle - 1.57) ** 2
        reward -= 1e-5 * sum(speed**2 for speed in data.qvel)
        return reward + sum(bonus for bonus, limit in ((2, 0.2), (8, 1.0), (10, 1.35)) if angle > limit)
    if task == "hammer":
        palm, hammer, nail = observation[33:36], observation[36:39], observation[42:45]
        head, depth = data.site("tool").xpos, norm(nail - data.site("nail_goal").xpos)
        reward = -0.1 * norm(palm - hammer) - norm(head - nail) - 10 * depth - 0.01 * norm(data.qvel)
        if hammer[2] > 0.04 and head[2] > 0.04:
            reward += 2
        return reward + sum(bonus for bonus, limit in ((25, 0.02), (75, 0.01)) if depth < limit)
    to_ball, to_target, away = observation[30:33], observation[33:36], norm(observation[36:39])
    reward = -0.1 * norm(to_ball)
    if data.body("Object").xpos[2] > 0.04:
        reward += 1 - 0.5 * norm(to_target) - 0.5 * away
    return reward + sum(bonus for bonus, limit in ((10, 0.1), (20, 0.05)) if away < limit)


def test_sizes(env, task):
    assert (env.observation_space.shape, env.action_space.shape) == ((TASKS[task][0],), (TASKS[task][1],))
    assert (env.action_space.low.min(), env.action_space.high.max()) == (-1, 1)


def test_rewards_of_random_actions_are_d4rls(env, task):
    random = np.random.default_rng(0)
    for seed in range(3):
        env.reset(seed=seed)
        for _ in range(30):
            observation, reward, *_ = env.step(random.uniform(-1, 1, env.action_space.shape))
            assert reward == pytest.approx(expected_reward(task, observation, env.data), abs=1e-9)


@pytest.mark.parametrize(
    ("task", "positions", "bonus"),
    [
        ("door", {"door_hinge": 0.1}, 0),
        ("door", {"door_hinge": 0.5}, 2),
        ("door", {"door_hinge": 1.2}, 10),
        ("door", {"door_hinge": 1.5}, 20),
        ("hammer", {"nail_dir": 0.0}, 0),
        ("hammer", {"nail_dir": 0.075}, 25),
        ("hammer", {"nail_dir": 0.09}, 100),
        ("hammer", {"OBJTy": 0.2}, 2),
        ("relocate", {"OBJTz": 0.15}, 1),
        ("pen", {"OBJTx": -0.1}, 0),
        ("pen", {"OBJTx": 0.2}, -5),
    ],
)
def test_bonuses(task, positions, bonus):
    env = Hand(task)
    env.reset(seed=0)
    observation, reward, *_ = stepped(env, **positions)
    assert reward == pytest.approx(expected_reward(task, observation, env.data), abs=1e-9)
    assert reward - bonus == pytest.approx(0, abs=2.1)
    assert reward - bonus < (1.0 if task == "pen" else 0.0)


@pytest.mark.parametrize(("away", "bonus"), [(0.12, 0), (0.07, 10), (0.03, 30)])
def test_the_ball_near_its_target(away, bonus):
    env = Hand("relocate")
    env.reset(seed=0)
    x, y, z = env.data.body("Object").xpos
    env._hand.model.site("target").pos = x + away, y, z + 0.2
    observation, reward, *_ = stepped(env, OBJTz=0.2)
    assert reward == pytest.approx(expected_reward("relocate", observation, env.data), abs=1e-9)
    assert reward - bonus == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize(("similar", "bonus"), [(0.85, 0), (0.93, 10), (0.99, 60)])
def test_the_pen_near_its_target(similar, bonus):
    env = Hand("pen")
    env.reset(seed=0)
    half = np.arcsin(similar) / 2  # the pen lies along x; a target that is not turned stands along z
    env._hand.model.body("target").quat = np.cos(half), 0, np.sin(half), 0
    observation, reward, *_ = stepped(env)
    assert observation[33:36] @ observation[36:39] == pytest.approx(similar, abs=0.02)
    assert reward == pytest.approx(expected_reward("pen", observation, env.data), abs=1e-9)
    assert reward - bonus == pytest.approx(similar, abs=0.1)


def test_only_a_dropped_pen_ends_an_episode(env, task):
    env.reset(seed=0)
    _, _, terminated, truncated, _ = stepped(env)
    assert (terminated, truncated) == (False, False)
    fallen = {"pen": {"OBJTx": 0.2}, "relocate": {"OBJTz": -0.2}, "hammer": {"OBJTy": -0.2}, "door": {}}[task]
    observation, _, terminated, truncated, _ = stepped(env, **fallen)
    assert (terminated, truncated) == (task == "pen", False)
    if task == "pen":
        assert observation[26] < 0.075


def test_reaching_the_goal_does_not_end_an_episode():
    env = Hand("door")
    env.reset(seed=0)
    assert stepped(env, door_hinge=1.5)[2:] == (False, False, {"success": True})


def test_observations_are_of_the_state(env, task):
    """The joints of the hand first, then what moves; the state of the last step, as D4RL observes it."""
    env.reset(seed=1)
    observation = env.step(env.action_space.sample())[0]
    hand = slice(1, -2) if task == "door" else slice(0, -6)
    joints = env.data.qpos[hand]
    np.testing.assert_array_equal(observation[: len(joints)], joints)
    rest = len(joints)
    data = env.data
    thing, palm = data.body("frame" if task == "door" else "Object").xpos, data.site("S_grasp").xpos
    if task == "pen":
        np.testing.assert_array_equal(observation[rest : rest + 3], thing)
        np.testing.assert_array_equal(observation[rest + 3 : rest + 9], data.qvel[-6:])
        assert [norm(observation[33:36]), norm(observation[36:39])] == pytest.approx([1, 1])
    elif task == "door":
        assert observation[rest : rest + 2].tolist() == [data.qpos[-1], data.qpos[-2]]
        handle = data.site("S_handle").xpos
        np.testing.assert_array_equal(observation[rest + 2 :], [*palm, *handle, *(palm - handle), -1.0])
    elif task == "hammer":
        np.testing.assert_array_equal(observation[rest : rest + 6], np.clip(data.qvel[-6:], -1, 1))
        np.testing.assert_array_equal(observation[rest + 6 : rest + 12], [*palm, *thing])
    else:
        target = data.site("target").xpos
        expected = [*(palm - thing), *(palm - target), *(thing - target)]
        np.testing.assert_array_equal(observation[rest:], expected)


def test_starts_are_drawn_from_d4rls_intervals(env, task):
    drawn = {
        "pen": lambda model: 2 * np.arctan2(model.body("target").quat[1:3], model.body("target").quat[0]),
        "door": lambda model: model.body("frame").pos,
        "hammer": lambda model: model.body("nail_board").pos[2:],
        "relocate": lambda model: [*model.body("Object").pos[:2], *model.site("target").pos],
    }[task]
    env.reset(seed=0)
    starts = np.array([env.reset() and np.array(drawn(env._hand.model)) for _ in range(300)])
    low, high = {
        "pen": ([-1, -1], [1, 1]),  # Euler angles
        "door": ([-0.3, 0.25, 0.252], [-0.2, 0.35, 0.35]),
        "hammer": ([0.1], [0.25]),
        "relocate": ([-0.15, -0.15, -0.2, -0.2, 0.15], [0.15, 0.3, 0.2, 0.2, 0.35]),
    }[task]
    assert (starts >= low).all()
    assert (starts <= high).all()
    width = np.subtract(high, low)
    assert (starts.min(axis=0) - low < 0.1 * width).all()
    assert (high - starts.max(axis=0) < 0.1 * width).all()


def test_actions_are_scaled_to_the_joints_ranges_and_clipped(env):
    env.reset(seed=0)
    low, high = env._hand.model.actuator_ctrlrange.T
    for action, target in ((-1.0, low), (0.0, (low + high) / 2), (1.0, high), (5.0, high)):
        env.step(np.full(env.action_space.shape, action, np.float32))
        np.testing.assert_allclose(env.data.ctrl, target, atol=1e-12)


def test_motors_are_d4rls(env):
    """The gains that D4RL sets on the loaded model: 10 for the wrist, 1 for the fingers."""
    model = env._hand.model
    assert (model.opt.timestep, env._hand.frame_skip) == (0.002, 5)
    for motor in range(model.nu):
        actuator = model.actuator(motor)
        if not actuator.name.startswith("A_AR"):
            gain = 10 if actuator.name.startswith("A_WR") else 1
            assert actuator.gainprm[:3].tolist() == [gain, 0, 0]
            assert actuator.biasprm[:3].tolist() == [0, -gain, 0]


@pytest.mark.parametrize(
    ("task", "episodes", "precision"),
    [("pen", 30, 3.0), ("door", 8, 0.05), ("hammer", 8, 0.05), ("relocate", 8, 0.1)],
)
def test_a_random_policy_has_d4rls_reference_return(task, episodes, precision):
    """The reference minimum is D4RL's mean of 100 episodes of uniform actions; here it scores 0 as well."""
    dataset = Specs().dataset(f"{task}-expert-v1")
    env, random = environments.make(dataset.environment), np.random.default_rng(0)

    def act(observations, _):
        return random.uniform(-1, 1, (len(observations), dataset.action_size))

    rolled = [roll_out(act, [env], [seed]) for seed in range(episodes)]
    scores = np.array([dataset.reference.normalise(returns[0]) for returns, _ in rolled])
    error = scores.std(ddof=1) / np.sqrt(episodes)
    assert abs(scores.mean()) < 4 * error
    assert error < precision
    lengths = {length[0] for _, length in rolled}
    assert max(lengths) <= dataset.environment.max_episode_steps
    assert (len(lengths) == 1) == (task != "pen")
