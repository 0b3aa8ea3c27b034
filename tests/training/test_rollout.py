"""Noise for acting, and what explores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from algorithms.base import Member, Sizes, normal
from algorithms.bc import BC
from harness.errors import EnvironmentUnusableError
from harness.training.population import build
from harness.training.rollout import EvaluationTask, evaluate


class Recorder:
    """An environment that ends after some steps and writes down what is done in it."""

    def __init__(self, steps):
        self.steps, self.actions = steps, []

    def reset(self, seed):
        return np.zeros(11, np.float32), {}

    def step(self, action):
        self.actions.append(action.tolist())
        return np.zeros(11, np.float32), 1.0, len(self.actions) == self.steps, False, {}


@pytest.fixture
def noisy(make_task, monkeypatch):
    """An evaluation of a policy that is all noise."""
    monkeypatch.setattr(BC, "acting_noise", normal(3))
    monkeypatch.setattr(BC, "act", lambda self, observation, noise: torch.tanh(noise))
    task = make_task("bc", seeds=(0,))
    learner, replay, _ = build(task)
    return EvaluationTask(
        key=task.runs[0].key,
        step=100,
        algorithm="bc",
        hyperparameters=task.runs[0].hyperparameters,
        sizes=learner.sizes,
        policy={name: tensor.numpy() for name, tensor in learner.policy_state().items()},
        pipeline=replay.pipelines[0],
        environment=task.environments[0],
        episodes=3,
    )


def actions(evaluation, lengths):
    envs = [Recorder(steps) for steps in lengths]
    evaluate(replace(evaluation, episodes=len(lengths)), envs)
    return [env.actions for env in envs]


def test_an_episode_acts_alike_whoever_is_evaluated_beside_it(noisy):
    together, shorter, alone = (actions(noisy, lengths) for lengths in ([4, 9, 7], [9, 2, 7], [4]))
    assert together[0] == shorter[0][:4] == alone[0]
    assert together[1][:2] == shorter[1]
    assert together[2] == shorter[2]


def test_noise_is_another_at_each_time_episode_evaluation_and_run(noisy):
    first = actions(noisy, [5, 5])
    seen = [*first, *actions(replace(noisy, step=200), [5, 5]), *actions(replace(noisy, key="other"), [5, 5])]
    drawn = [tuple(action) for episode in seen for action in episode]
    assert len(set(drawn)) == len(drawn) == 30
    assert actions(noisy, [5, 5]) == first


def test_who_has_no_way_to_explore_acts_as_ever(lab_values):
    learner = BC([Member("a", lab_values)], Sizes(11, 3))
    observation, noise = torch.ones(1, 4, 11), torch.ones(1, 4, 3)
    assert torch.equal(learner.explore(observation, noise), learner.act(observation))


def test_who_acts_with_noise_explores_with_it(lab_values, noisy):
    learner = BC([Member("a", lab_values)], Sizes(11, 3))
    noise = torch.ones(1, 4, 3)
    assert torch.equal(learner.explore(torch.ones(1, 4, 11), noise), torch.tanh(noise))


@pytest.fixture
def lab_values(make_task):
    return make_task("bc", seeds=(0,)).runs[0].hyperparameters


class Successful(Recorder):
    """An environment whose last step says whether it went well."""

    def __init__(self, steps, success):
        super().__init__(steps)
        self.success = success

    def step(self, action):
        *rest, info = super().step(action)
        return *rest, info | ({} if self.success is None else {"success": self.success})


def test_an_episode_may_count_as_its_success(noisy):
    by_success = replace(noisy, environment=noisy.environment.model_copy(update={"scored_by_success": True}))
    envs = [Successful(3, 1.0), Successful(2, 0.0)]
    assert evaluate(replace(by_success, episodes=2), envs) == ([1.0, 0.0], [3, 2])
    assert evaluate(replace(noisy, episodes=2), [Successful(3, 1.0), Successful(2, 0.0)])[0] == [3.0, 2.0]
    with pytest.raises(EnvironmentUnusableError, match="info says nothing of success"):
        evaluate(replace(by_success, episodes=1), [Successful(2, None)])
