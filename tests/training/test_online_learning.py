"""Going on online improves on what offline data can teach: a point that learns to walk where no data lead.

A point in [-1, 1]² moves by 0.2 a and earns minus its distance from a goal. The actions of the offline data
lead away from the goal, and a policy that is held near them cannot but follow.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness import plugs
from harness.datasets.base import Transitions
from harness.results.records import EvaluationRecord
from harness.specs import Environment
from harness.training.population import Trainer

CODE = """
import gymnasium
import numpy as np

GOAL = np.array([0.6, 0.4])

class Plane(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self._place = self.np_random.uniform(-1, 1, 2)
        return self._place, {}

    def step(self, action):
        self._place = np.clip(self._place + 0.2 * action, -1, 1)
        return self._place, -np.linalg.norm(self._place - GOAL), False, False, {}

gymnasium.register("tests/Plane-v0", Plane)
"""
LENGTH, ROWS = 15, 3000
GOAL = torch.tensor([0.6, 0.4])


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "planes.py").write_text(CODE)
    monkeypatch.setattr(plugs, "folders", lambda: [tmp_path])
    return Environment(id="tests/Plane-v0", max_episode_steps=LENGTH, **{"import": "planes"})


class Unscored:
    """In the place of evaluation workers."""

    pending = ()

    def submit(self, task):
        self.pending = (*self.pending, task)

    def results(self, timeout):
        for task in self.pending:
            yield EvaluationRecord(task.key, task.step, [0.0], [1])
        self.pending = ()


def leading_away():
    """Transitions whose actions lead to the lower left."""
    random = np.random.default_rng(0)
    s = random.uniform(-1, 1, (ROWS, 2)).astype(np.float32)
    a = random.uniform(-1, 0, (ROWS, 2)).astype(np.float32)
    s2 = np.clip(s + 0.2 * a, -1, 1)
    reward = -np.linalg.norm(s2 - GOAL.numpy(), axis=1).astype(np.float32)
    return Transitions(s, a, reward, s2, np.zeros(ROWS, bool), a, {"id": "away"}, "away")


def earned(trainer):
    """Each member's mean return from a grid of places."""
    grid = torch.linspace(-0.9, 0.9, 5)
    s = torch.cartesian_prod(grid, grid).expand(2, -1, -1)
    observed, total = trainer._replay.pipelines[0].observation, torch.zeros(s.shape[:2])
    with torch.no_grad():
        for _ in range(LENGTH):
            seen = torch.from_numpy(observed(s.numpy()))
            s = (s + 0.2 * trainer._algorithm.act(seen)).clamp(-1, 1)
            total -= (s - GOAL).norm(dim=-1)
    return total.mean(1).tolist()


def test_online_improves_on_offline(make_task, notebook, place, tmp_path):
    """By so much as walking to the goal is worth."""
    small = {"batch_size": 64, "actor_hidden_sizes": "32-32", "discount": 0.9, "environment": place}
    small |= {"data": [leading_away()] * 2, "actor_learning_rate": 1e-3, "critic_learning_rate": 1e-3}

    def train(task):
        trainer = Trainer(task, notebook(), Unscored(), tmp_path / "p.pt")
        assert len(trainer.train().finished) == 2
        return trainer

    offline = train(make_task("td3_bc", steps=400, **small))
    gather = {"keep": "none", "warmup": 200, "overlap": False, "explore": {"noise": 0.3}}
    task = make_task("td3_bc", steps=1000, gather=gather, **small)
    begun = [offline.states()[run.key] for run in make_task("td3_bc", steps=400, **small).runs]
    online = train(replace(task, starts=begun))
    for before, after in zip(earned(offline), earned(online), strict=True):
        assert after > before + 5, (before, after)
