"""Environments of a person's own: imported, made, held to the data and mapped; and what is said if not."""

from __future__ import annotations

import sys

import gymnasium
import numpy as np
import pytest

from harness import environments
from harness.errors import EnvironmentUnusableError
from harness.specs.models import Environment

MODULE = """
import gymnasium
import numpy as np

BOX = gymnasium.spaces.Box


class Push(gymnasium.Env):
    def __init__(self, bound=2.0, size=3, observation=None, action=None, broken=""):
        if broken == "init":
            raise KeyError("no such robot")
        self.observation_space = BOX(-9, 9, (size,), np.float32)
        self.action_space = BOX(np.float32([-bound, 0]), np.float32([bound, 10]), (2,), np.float32)
        if observation == "dict":
            self.observation_space = gymnasium.spaces.Dict({"a": self.observation_space})
        if action == "discrete":
            self.action_space = gymnasium.spaces.Discrete(3)
        if action == "unbounded":
            self.action_space = BOX(-np.inf, np.inf, (2,), np.float32)
        if action == "unit":
            self.action_space = BOX(-1, 1, (2,), np.float32)
        self.broken, self.got = broken, None

    def reset(self, *, seed=None, options=None):
        if self.broken == "reset":
            raise RuntimeError("no ground")
        shape = (5,) if self.broken == "shape" else self.observation_space.shape
        return np.zeros(shape, np.float32), {}

    def step(self, action):
        self.got = action
        return np.zeros(self.observation_space.shape, np.float32), 0.0, False, False, {}


gymnasium.register("test/Push-v0", entry_point=Push, max_episode_steps=7)
gymnasium.register("test/Endless-v0", entry_point=Push)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module on the import path, by its name; imported anew in every test."""

    def write(text=MODULE, name="push_envs"):
        (tmp_path / f"{name}.py").write_text(text)
        return name

    monkeypatch.syspath_prepend(tmp_path)
    registered = dict(gymnasium.registry)
    yield write
    sys.modules.pop("push_envs", None)
    gymnasium.registry.clear()
    gymnasium.registry.update(registered)


def environment(name="test/Push-v0", module="push_envs", **given):
    return Environment.model_validate({"id": name, "import": module, **given})


def said(environment, sizes=(3, 2)):
    with pytest.raises(EnvironmentUnusableError) as caught:
        environments.check(environment, *sizes)
    assert caught.value.exit_code == 4
    return str(caught.value)


def test_its_module_is_imported_and_its_limit_is_the_registered_one_unless_said(module):
    module()
    assert environments.time_limit(environment()) == 7
    assert environments.time_limit(environment(max_episode_steps=3)) == 3
    env = environments.make(environment(max_episode_steps=3, kwargs={"size": 4}))
    assert env.reset()[0].shape == (4,)
    assert [env.step(env.action_space.sample())[3] for _ in range(3)] == [False, False, True]


def test_without_any_limit_it_is_refused(module):
    module()
    assert said(environment("test/Endless-v0")) == (
        "'test/Endless-v0' is registered without a time limit; give it a max_episode_steps"
    )


def test_actions_are_mapped_from_their_bounds_and_nothing_else_passes(module):
    module()
    env = environments.make(environment(rescale_actions=True))
    assert (env.action_space.low.tolist(), env.action_space.high.tolist()) == ([-1, -1], [1, 1])
    env.reset()
    env.step(np.float32([0.5, -1]))
    np.testing.assert_allclose(env.unwrapped.got, [1.0, 0.0], atol=1e-6)
    environments.check(environment(rescale_actions=True), 3, 2)
    assert said(environment()) == (
        "actions of test/Push-v0 lie in [-2, 2], [0, 10], but algorithms act in [-1, 1]: write "
        "rescale_actions: true to map the actions of the data and of the environment alike"
    )
    low, high = environments.action_bounds(environment(rescale_actions=True))
    assert (low.tolist(), high.tolist()) == ([-2, 0], [2, 10])
    unbounded = environment(rescale_actions=True, kwargs={"action": "unbounded"})
    assert "lie in [-inf, inf], which rescale_actions cannot map to [-1, 1]" in said(unbounded)


def test_pendulum_is_refused_unless_it_is_mapped():
    assert "actions of Pendulum-v1 lie in [-2, 2]" in said(Environment(id="Pendulum-v1"), (3, 1))
    environments.check(Environment(id="Pendulum-v1", rescale_actions=True), 3, 1)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"size": 4}, "says 3 numbers of an observation and 2 of an action, but test/Push-v0 has 4 and 2"),
        ({"observation": "dict"}, "has observations of Dict('a': Box(-9.0, 9.0, (3,), float32)); a flat Box"),
        ({"action": "discrete"}, "has actions of Discrete(3); a flat Box is needed"),
        (
            {"sizes": 4},
            "cannot be made with {'sizes': 4}: TypeError: Push.__init__() got an unexpected keyword",
        ),
        ({"broken": "init"}, "cannot be made with {'broken': 'init'}: KeyError: 'no such robot' ("),
        ({"broken": "reset", "action": "unit"}, "cannot be reset: RuntimeError: no ground ("),
        (
            {"broken": "shape", "action": "unit"},
            "says that it shows 3 numbers, but shows an array of shape (5,)",
        ),
    ],
)
def test_what_does_not_fit_or_cannot_be_made_is_a_sentence(module, given, text):
    module()
    assert text in said(environment(kwargs=given))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os\n\nraise ValueError('no licence')\n", "ValueError: no licence ({}:3)"),
        ("def broken(:\n", "SyntaxError: invalid syntax ({}:1)"),
        ("import sys\nsys.exit(1)\n", "SystemExit: 1 ({}:2)"),
        ("import nowhere_to_be_found\n", "ModuleNotFoundError: No module named 'nowhere_to_be_found' ({}:1)"),
    ],
)
def test_an_import_that_raises_says_what_and_where(module, tmp_path, text, message):
    module(text)
    assert said(environment()) == (
        "import 'push_envs' of environment 'test/Push-v0' failed: "
        + message.format(tmp_path / "push_envs.py")
    )


def test_a_module_that_is_nowhere_says_where_it_may_lie():
    assert said(environment(module="not_there")) == (
        "import 'not_there' of environment 'test/Push-v0' failed: ModuleNotFoundError: No module named "
        "'not_there'; it lies in code/ of a folder given with --specs, or is installed"
    )


def test_a_module_that_registers_something_else(module):
    module()
    assert "'test/Pull-v0' cannot be made" in said(environment("test/Pull-v0"))


def test_what_is_not_said_is_no_part_of_its_identity():
    assert Environment(id="Hopper-v4", max_episode_steps=1000).identity == {
        "id": "Hopper-v4",
        "max_episode_steps": 1000,
    }
    given = environment(kwargs={"bound": 3.0, "names": ["a"]}, rescale_actions=True)
    assert given.identity == {
        "id": "test/Push-v0",
        "kwargs": {"bound": 3.0, "names": ["a"]},
        "rescale_actions": True,
    }
    assert len({given, environment(kwargs={"bound": 3.0, "names": ["a"]}, rescale_actions=True)}) == 1
