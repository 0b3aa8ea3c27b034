"""Actions of other bounds: data and environment are mapped alike, in evaluation workers too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.datasets.transforms import rescaled
from harness.specs import Environment
from harness.training.population import Conditions, Trainer
from harness.training.workers import EvaluationPool

MODULE = """
import gymnasium
import numpy as np


class Line(gymnasium.Env):
    def __init__(self, bound):
        self.observation_space = gymnasium.spaces.Box(-9, 9, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box(-bound, bound, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = self.np_random.uniform(-1, 1, 3)
        return self.at.astype(np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.at[:2] += 0.25 * action / self.action_space.high
        return self.at.astype(np.float32), -float(np.abs(self.at).sum()), False, False, {}


gymnasium.register("test/Line-v0", entry_point=Line)
"""


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """A pool whose workers find the module in a folder of specs, where this process does not."""
    folder = tmp_path_factory.mktemp("specs")
    (folder / "code").mkdir()
    (folder / "code" / "line_of_test.py").write_text(MODULE)
    with EvaluationPool(1, ["td3_bc"], [folder]) as pool:
        yield pool


def line(**given):
    return Environment.model_validate(
        {"id": "test/Line-v0", "import": "line_of_test", "max_episode_steps": 15, **given}
    )


@pytest.mark.parametrize(("bound", "within"), [(2.0, 0.0), (30.0, 1e-3)])
def test_mapped_by_the_harness_or_by_hand_scores_are_the_same(
    make_data, make_task, notebook, workers, tmp_path, bound, within
):
    """To the last bit where the bound is a power of two, which divides without rounding."""
    by_hand = make_data(3, observation=3, action=2)
    as_given = replace(by_hand, actions=by_hand.actions * bound, next_actions=by_hand.next_actions * bound)
    bounds = np.full(2, bound, np.float32)

    def scores(data, environment):
        task = make_task(steps=60, evaluate_every=60, data=[data] * 2)
        book = notebook()
        Trainer(
            replace(task, environments=[environment] * 2), book, workers, tmp_path / "p.pt", Conditions()
        ).train()
        assert not book.failures
        return np.array([returns for _, (returns, _) in sorted(book.scores.items())])

    mapped = scores(rescaled(as_given, -bounds, bounds), line(kwargs={"bound": bound}, rescale_actions=True))
    np.testing.assert_allclose(mapped, scores(by_hand, line(kwargs={"bound": 1.0})), rtol=within)


def test_without_the_folder_it_is_a_failure_that_says_why(make_data, make_task, notebook, pool, tmp_path):
    task = make_task(steps=10, evaluate_every=10, data=[make_data(3, observation=3, action=2)] * 2)
    book = notebook()
    task = replace(task, environments=[line(kwargs={"bound": 1.0})] * 2)
    Trainer(task, book, pool, tmp_path / "p.pt", Conditions()).train()
    assert all("No module named 'line_of_test'" in text for _, text in book.failures.values())
    assert len(book.failures) == 2
