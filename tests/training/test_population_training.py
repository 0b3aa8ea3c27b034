from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness import environments
from harness.datasets.transforms import ReturnRange, prepare
from harness.results.records import EvaluationRecord
from harness.training import checkpoints, population
from harness.training.engine import Engine
from harness.training.population import Conditions, Trainer, build
from harness.training.rollout import episode_seed


def stop_after(steps):
    """Asked once before every step: True from the one after `steps`."""
    asked = itertools.count()
    return lambda: next(asked) >= steps


def train(task, recorder, pool, tmp_path, **how):
    stop = how.pop("stop", lambda: False)
    resume = how.pop("resume", None)
    trainer = Trainer(task, recorder, pool, tmp_path / "p.pt", Conditions(**how), resume)
    return trainer.train(stop)


def test_every_evaluation_of_every_member_comes_back(make_task, notebook, pool, tmp_path):
    task, book = make_task("aspc"), notebook()
    outcome = train(task, book, pool, tmp_path)
    keys = [run.key for run in task.runs]
    assert set(outcome.finished) == set(keys)
    assert not outcome.interrupted
    assert set(book.scores) == {(key, step) for key in keys for step in (100, 200, 250)}
    assert all(len(returns) == task.protocol.episodes for returns, _ in book.scores.values())
    assert all(0 < length <= 20 for _, lengths in book.scores.values() for length in lengths)
    assert {"alpha", "critic_loss", "actor_loss", "outer_loss"} <= set(book.metrics[keys[0], 200])
    assert book.steps[-1] == 250


def test_returns_are_of_each_members_policy_at_that_step(make_data, make_task, notebook, pool, tmp_path):
    """As a plain loop over episodes has them, which knows the data and nothing of how they are evaluated."""
    data = [make_data(1), make_data(2)]
    data[1] = replace(data[1], observations=-2 * data[1].observations)
    task, book = make_task("td3_bc", seeds=(5, 6), data=data), notebook()
    train(task, book, pool, tmp_path)
    learner, replay, draws = build(task)
    engine = Engine(learner, replay, draws)
    for step in range(1, 101):
        engine.step(step)

    def episode(member, seed):
        observed = data[member].observations
        mean, scale = observed.mean(0), observed.std(0) + 1e-3
        env = environments.make(task.environments[member])
        observation, total, length, ended = env.reset(seed=seed)[0], 0.0, 0, False
        while not ended:
            normalised = torch.from_numpy((observation - mean) / scale).float().expand(2, 1, -1)
            action = learner.act(normalised)[member, 0].detach().numpy()
            observation, reward, terminated, truncated, _ = env.step(action)
            total, length, ended = total + float(reward), length + 1, terminated or truncated
        return total, length

    for member, run in enumerate(task.runs):
        expected = [
            episode(member, episode_seed(run.key, number)) for number in range(task.protocol.episodes)
        ]
        returns, lengths = book.scores[run.key, 100]
        assert returns == pytest.approx([total for total, _ in expected], rel=1e-4)
        assert lengths == [length for _, length in expected]


def test_the_hyperparameters_decide_what_is_trained_on(make_data, make_task):
    data = [make_data(1), make_data(2)]
    learner, replay, _ = build(
        make_task(
            "aspc",
            data=data,
            normalize_observations=False,
            normalize_rewards=True,
            reward_scale=2.0,
            reward_shift=-1.0,
            reward_centering=True,
        )
    )
    rows = torch.tensor(replay.offset).unsqueeze(1) + torch.arange(len(data[0]))
    batch = replay.batch(rows)
    for member, each in enumerate(data):
        rewards = prepare(each, [ReturnRange(scale=2.0, shift=-1.0, corl=True)]).rows.rewards
        np.testing.assert_array_equal(batch.observation[member], each.observations)
        np.testing.assert_array_equal(batch.reward[member], rewards)
        assert learner.reward_offset[member].item() == pytest.approx(rewards.mean(), rel=1e-5)


@pytest.mark.parametrize("at", [0, 37, 69, 100, 140, 249, 250])  # 69, 249: not all phases come again
@pytest.mark.parametrize("algorithm", ["td3_bc", "aspc"])
def test_stopped_and_resumed_is_bitwise_the_same(make_task, notebook, pool, tmp_path, algorithm, at):
    task, whole, parts = make_task(algorithm, evaluate_every=70), notebook(), notebook()
    train(task, whole, pool, tmp_path)

    first = train(task, parts, pool, tmp_path, stop=stop_after(at))
    assert first.interrupted
    checkpoint = checkpoints.load(tmp_path / "p.pt")
    assert checkpoint.step == at
    second = train(task, parts, pool, tmp_path, resume=checkpoint)
    assert not second.interrupted
    assert second.seconds > checkpoint.seconds
    assert parts.scores == whole.scores
    assert parts.metrics == whole.metrics


def test_stopped_and_resumed_within_a_cycle_of_graphs_is_bitwise_the_same(
    make_task, notebook, pool, tmp_path, monkeypatch
):
    """Both the evaluation at step 70 and the end of the first run, at 72, lie in the midst of a cycle."""

    class Graph:
        def __init__(self, work):
            self.replay = work

    task, plain, graphed = make_task("aspc", evaluate_every=70), notebook(), notebook()
    train(task, plain, pool, tmp_path)
    monkeypatch.setattr(
        population, "capture_for", lambda _: lambda work: [work() for _ in range(4)] and Graph(work)
    )
    train(task, graphed, pool, tmp_path, stop=stop_after(15))
    checkpoint = checkpoints.load(tmp_path / "p.pt")
    assert checkpoint.step % 20 > 0
    train(task, graphed, pool, tmp_path, resume=checkpoint)
    assert graphed.scores == plain.scores
    assert graphed.metrics == plain.metrics


def test_a_member_can_go_on_without_its_neighbours(make_task, notebook, pool, tmp_path):
    """Fewer seeds asked for after an interruption: the others are cut out of the checkpoint."""
    pair, alone = make_task("aspc", seeds=(0, 1)), make_task("aspc", seeds=(1,))
    parts, whole = notebook(), notebook()
    train(pair, whole, pool, tmp_path)
    train(pair, parts, pool, tmp_path, stop=stop_after(190))
    train(alone, parts, pool, tmp_path, resume=checkpoints.load(tmp_path / "p.pt"))
    other, key = (run.key for run in pair.runs)
    # ten steps after the cut: float32's roundings differ between one and two members, and steps amplify them
    ours, theirs = parts.metrics[key, 200], whole.metrics[key, 200]
    assert ours == pytest.approx(theirs, rel=1e-3)
    assert whole.metrics[other, 200] != pytest.approx(theirs, rel=1e-3)


def test_nan_fails_its_run_and_no_other(make_data, make_task, notebook, pool, tmp_path):
    broken = make_data(3)
    broken.rewards[:] = math.nan
    task = make_task("td3_bc", seeds=(0, 1, 2), data=[make_data(1), broken, make_data(2)])
    book = notebook()
    outcome = train(task, book, pool, tmp_path)
    good = {task.runs[0].key, task.runs[2].key}
    assert set(outcome.finished) == good
    [(key, (step, text))] = book.failures.items()
    assert (key, step) == (task.runs[1].key, 100)
    assert "diverged" in text
    assert {key for key, _ in book.scores} == good
    assert {key for key, _ in book.metrics} == good


def test_all_members_failing_ends_training_early(make_data, make_task, notebook, pool, tmp_path):
    broken = make_data(3)
    broken.rewards[:] = math.inf
    book = notebook()
    outcome = train(make_task("td3_bc", data=[broken, broken]), book, pool, tmp_path)
    assert outcome.finished == ()
    assert book.steps == [100]


class Slow:
    """In the place of workers: every evaluation has the given return, and comes only to whom waits for it."""

    def __init__(self, returns=lambda task: 1.0):
        self.pending, self.most, self._returns = [], 0, returns

    def submit(self, task):
        self.pending.append(task)
        self.most = max(self.most, len(self.pending))

    def results(self, timeout):
        if timeout != 0:
            task = self.pending.pop(0)
            yield EvaluationRecord(
                task.key, task.step, [self._returns(task)] * task.episodes, [1] * task.episodes
            )


def test_training_waits_for_evaluations_that_are_late(make_task, notebook, tmp_path):
    task, slow, book = make_task("bc", seeds=(0, 1), steps=12, evaluate_every=1), Slow(), notebook()
    train(task, book, slow, tmp_path)
    assert len(book.scores) == 2 * 12
    assert slow.most == 2 * (4 + 1)  # four of each member's, and those just submitted


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_a_return_that_is_not_finite_fails_its_run_and_is_no_score(make_task, notebook, tmp_path, bad):
    task, book = make_task("bc", seeds=(0, 1), steps=100), notebook()
    broken, good = (run.key for run in task.runs)
    outcome = train(task, book, Slow(lambda evaluation: bad if evaluation.key == broken else 1.0), tmp_path)
    assert outcome.finished == (good,)
    assert {key for key, _ in book.scores} == {good}
    [(key, (step, text))] = book.failures.items()
    assert (key, step) == (broken, 100)
    assert "not finite" in text


def test_an_evaluation_that_raises_fails_its_run(make_task, notebook, pool, tmp_path):
    task, book = make_task("bc", steps=100), notebook()
    task.environments[1] = task.environments[1].model_copy(update={"id": "NoSuchWorld-v4"})
    outcome = train(task, book, pool, tmp_path)
    assert outcome.finished == (task.runs[0].key,)
    assert "NoSuchWorld-v4" in book.failures[task.runs[1].key][1]


def test_checkpoints_are_written_on_the_way(make_task, notebook, pool, tmp_path):
    book = notebook()
    train(make_task("bc"), book, pool, tmp_path, checkpoint_seconds=0.0)
    assert book.checkpoints == [100, 200, 250]
