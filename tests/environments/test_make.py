"""Making environments: flat spaces, time limits, silence, and sentences for what does not exist."""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from harness import environments
from harness.errors import HarnessError
from harness.specs import Specs
from harness.specs.models import Environment

MUJOCO = [("HalfCheetah-v4", 17, 6), ("Hopper-v4", 11, 3), ("Walker2d-v4", 17, 6)]
MAZES = [("harness/maze2d-umaze", 300), ("harness/maze2d-medium", 600), ("harness/maze2d-large", 800)]
ANTMAZES = [f"harness/antmaze-{size}" for size in ("umaze", "medium", "large")]
HANDS = [
    ("harness/adroit-pen", 45, 24),
    ("harness/adroit-door", 39, 28),
    ("harness/adroit-hammer", 46, 26),
    ("harness/adroit-relocate", 39, 30),
]
LIMITS = {
    "umaze": 700,
    "medium": 1000,
    "large": 1000,
    "pen": 100,
    "door": 200,
    "hammer": 200,
    "relocate": 200,
}


def make(name: str, steps: int) -> gymnasium.Env:
    return environments.make(Environment(id=name, max_episode_steps=steps))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        *((n, (s, a)) for n, s, a in [*MUJOCO, *HANDS]),
        *((n, (4, 2)) for n, _ in MAZES),
        *((n, (29, 8)) for n in ANTMAZES),
    ],
)
def test_spaces_are_flat_boxes(name, sizes):
    env = make(name, 100)
    assert (env.observation_space.shape, env.action_space.shape) == ((sizes[0],), (sizes[1],))
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation)
    assert isinstance(float(reward), float)
    assert (terminated, truncated) == (False, False)


def test_every_dataset_has_an_environment_of_its_sizes():
    specs = Specs()
    datasets = [specs.dataset(name) for name in specs.ids("datasets")]
    assert len(datasets) == 39 + 10
    sizes = {}
    for dataset in datasets:
        if dataset.environment not in sizes:
            env = environments.make(dataset.environment)
            sizes[dataset.environment] = env.observation_space.shape + env.action_space.shape
        assert sizes[dataset.environment] == (dataset.observation_size, dataset.action_size), dataset.id
    assert len(sizes) == 13 + 10


def test_antmaze_and_adroit_have_d4rls_time_limits_and_are_not_comparable():
    specs = Specs()
    for dataset in map(specs.dataset, specs.ids("datasets")):
        if dataset.domain in ("antmaze", "adroit"):
            kind, rest, *_ = dataset.id.split("-")
            prefix = "antmaze" if kind == "antmaze" else "adroit"
            what = rest if kind == "antmaze" else kind
            assert dataset.environment.id == f"harness/{prefix}-{what}"
            assert dataset.environment.max_episode_steps == LIMITS[what]
            assert not dataset.environment.comparable
            assert "not shown" in dataset.environment.note


@pytest.mark.parametrize(
    ("name", "steps"),
    [*MAZES, ("HalfCheetah-v4", 40), ("harness/antmaze-large", 60), ("harness/adroit-door", 30)],
)
def test_episodes_are_cut_at_the_time_limit(name, steps):
    env = make(name, steps)
    for _ in range(2):
        env.reset(seed=1)
        cut = []
        while not cut or not cut[-1]:
            _, _, terminated, truncated, _ = env.step(np.zeros(env.action_space.shape, np.float32))
            assert not terminated
            cut.append(truncated)
        assert len(cut) == steps


@pytest.mark.parametrize(
    "name", ["Hopper-v4", "harness/maze2d-medium", "harness/antmaze-medium", *(name for name, *_ in HANDS)]
)
def test_a_seed_fixes_the_episode(name):
    def episode(seed: int) -> np.ndarray:
        env = make(name, 20)
        random = np.random.default_rng(5)
        observations = [env.reset(seed=seed)[0]]
        for _ in range(10):
            observations.append(env.step(random.uniform(-1, 1, env.action_space.shape))[0])
        return np.array(observations)

    np.testing.assert_array_equal(episode(3), episode(3))
    assert (episode(3)[0] != episode(4)[0]).any()


@pytest.mark.parametrize(
    "name",
    [
        "Nowhere-v4",
        "harness/maze2d-open",
        "harness/antmaze",
        "harness/Hand",
        "nobody/Hopper-v4",
        "Hopper-v99",
    ],
)
def test_an_environment_that_does_not_exist(name):
    with pytest.raises(HarnessError, match=name):
        make(name, 10)


def test_an_environment_without_a_flat_observation():
    with pytest.raises(HarnessError, match=r"FrozenLake-v1.*flat Box"):
        make("FrozenLake-v1", 10)


@pytest.mark.parametrize(
    "name", ["Hopper-v4", "harness/maze2d-umaze", "harness/antmaze-umaze", "harness/adroit-pen"]
)
def test_making_is_silent_and_leaves_no_file(name, tmp_path):
    program = (
        "from harness import environments; from harness.specs.models import Environment; "
        f"environments.make(Environment(id={name!r}, max_episode_steps=10))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning:gymnasium", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_other_warnings_of_mujoco_pass():
    import mujoco

    xml = '<mujoco><compiler settotalmass="1"/><worldbody><body><geom size="1"/></body></worldbody></mujoco>'
    before = mujoco.get_mju_user_warning()
    with environments.quiet():
        mujoco.MjModel.from_xml_string(xml)
        with pytest.warns(RuntimeWarning, match="MuJoCo: something else"):
            mujoco.get_mju_user_warning()("something else\n")
    assert mujoco.get_mju_user_warning() is before
