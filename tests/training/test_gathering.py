"""Populations that gather while they train."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from algorithms.base import REGISTERED, batch_mean
from algorithms.td3_bc import TD3BC
from harness import environments, plugs
from harness.datasets.base import Transitions
from harness.datasets.transforms import Pipeline, Prepared
from harness.errors import DataError, HarnessError
from harness.results.records import EvaluationRecord
from harness.specs import Environment
from harness.training import checkpoints, population, stepping
from harness.training.population import Conditions, Trainer
from harness.training.replay import GrowingReplay, columns
from harness.training.rollout import episode_seed
from harness.training.stepping import exploration_seed

HOPPER = Environment(id="Hopper-v4", max_episode_steps=20)
SIZES = (11, 3)
SMALL = {"batch_size": 8, "actor_hidden_sizes": "8"}
LENGTH = 130


@pytest.fixture
def online(make_task):
    """What makes a task of an online run of a small TD3+BC."""

    def make(gather=None, **changes):
        changes = {"steps": LENGTH, "evaluate_every": 50, "episodes": 1} | SMALL | changes
        return make_task("td3_bc", gather=gather or {"warmup": 30, "explore": {"noise": 0.1}}, **changes)

    return make


@pytest.fixture
def train(notebook, pool, tmp_path):
    """Train a task; gives the trainer, what it reported and how it ended."""

    def run(task, stop=lambda: False, resume=None, book=None, evaluators=None, **options):
        book = book or notebook()
        trainer = Trainer(task, book, evaluators or pool, tmp_path / "p.pt", Conditions(**options), resume)
        return trainer, book, trainer.train(stop)

    return run


class Scored:
    """In the place of evaluation workers: every policy earns 1."""

    def __init__(self):
        self.pending = []

    def submit(self, task):
        self.pending.append(task)

    def results(self, timeout):
        for task in self.pending:
            yield EvaluationRecord(task.key, task.step, [1.0], [1])
        self.discard()

    def discard(self):
        self.pending = []


def rows(trainer, member=0):
    """What a member gathered: s, a, r, s', d and a'."""
    return [column.numpy() for column in columns(trainer._replay.region(member), SIZES)]


def test_rows_are_what_the_environment_did(online, train):
    """As a plain loop finds them that does the same actions, which are kept as they were done."""
    task = with_steps(online(), {"clip_actions": 1e-3})
    trainer, book, outcome = train(task)
    assert set(outcome.finished) == {run.key for run in task.runs}
    assert sorted({step for _, step in book.scores}) == [0, 50, 100, 130]
    seen, action, reward, after, terminal, following = rows(trainer)
    assert len(seen) == LENGTH
    env = environments.make(task.environments[0])
    observed = trainer._replay.pipelines[0].observation
    episode, observation = 0, env.reset(seed=exploration_seed(task.runs[0].key, 0))[0]
    ends = 0
    for row in range(LENGTH):
        np.testing.assert_array_equal(seen[row], observed(observation.astype(np.float32)))
        observation, earned, terminated, cut, _ = env.step(action[row])
        np.testing.assert_array_equal(after[row], observed(observation.astype(np.float32)))
        assert reward[row] == np.float32(earned)
        assert terminal[row] == (terminated and not cut)  # a time limit is none
        if terminated or cut:
            ends += 1
            episode += 1
            observation = env.reset(seed=exploration_seed(task.runs[0].key, episode))[0]
        elif row + 1 < LENGTH:
            np.testing.assert_array_equal(following[row], action[row + 1])
    assert ends >= LENGTH // 20  # the time limit
    assert np.abs(action).max() <= 1
    other = rows(trainer, 1)
    assert not np.array_equal(action, other[1])


GATHERS = {
    "every interaction": {"warmup": 30, "explore": {"noise": 0.1}},
    "in turns": {"every": 40, "warmup": 60, "keep": "none", "explore": "deterministic"},
    "in halves": {"every": 7, "mix": (4, 4), "explore": "sample"},
    "after the updates": {"warmup": 30, "overlap": False, "explore": {"noise": 0.1, "clip": 0.1}},
}
SSAR = {"warmup": 30, "capacity": 420, "overlap": False, "reproduce_defects": True, "explore": "sample"}


def same(one, other):
    for member in range(2):
        for name, ours, theirs in zip("sarnda", rows(one, member), rows(other, member), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


def after(steps):
    """Asked once before every step: True from the one after `steps`."""
    asked = iter([False] * steps)
    return lambda: next(asked, True)


@pytest.mark.parametrize("gather", [*GATHERS.values(), SSAR], ids=[*GATHERS, "SSAR"])
def test_stopped_and_resumed_is_bitwise_the_same(online, train, tmp_path, gather):
    """Whether an episode, a turn of interactions or both are cut; twice."""
    task = online(gather)
    whole, book, _ = train(task)
    parts, resume = None, None
    for stop in (after(1), after(37), after(20)):
        _, parts, outcome = train(task, stop, resume, parts)
        assert outcome.interrupted
        resume = checkpoints.load(tmp_path / "p.pt")
    assert 30 < resume.step < LENGTH
    last, parts, _ = train(task, resume=resume, book=parts)
    same(last, whole)
    assert parts.scores == book.scores
    assert parts.metrics == book.metrics


@pytest.mark.parametrize("gather", [GATHERS["every interaction"], GATHERS["in halves"]])
def test_graphs_see_a_buffer_that_grows(online, train, capture, monkeypatch, gather):
    """A captured update draws from what was gathered since."""
    task = online(gather)
    eager, book, _ = train(task)
    monkeypatch.setattr(population, "capture_for", lambda device: capture)
    graphed, again, _ = train(task)
    same(graphed, eager)
    assert again.scores == book.scores
    assert again.metrics == book.metrics


def test_a_member_does_not_feel_the_others(online, train):
    pair, alone = online(seeds=(0, 1)), online(seeds=(1,))
    both, single = train(pair)[0], train(alone)[0]
    for name, ours, theirs in zip("sarnda", rows(single), rows(both, 1), strict=True):
        # the products of one and of two members round differently, and each step amplifies that
        np.testing.assert_allclose(ours[:35], theirs[:35], rtol=1e-3, atol=1e-3, err_msg=name)


def test_what_follows_a_cut_is_what_the_policy_would_have_done(online, train):
    """And after an episode that ended by itself nothing follows."""
    short = HOPPER.model_copy(update={"max_episode_steps": 5})
    trainer, _, _ = train(online({"explore": "deterministic", "warmup": LENGTH - 1}, environment=short))
    _, action, _, reached, terminal, following = rows(trainer)
    cuts = trainer._feed._cuts[0]
    assert np.flatnonzero(cuts).tolist() == list(range(4, LENGTH, 5))
    assert not (cuts & terminal[:, 0].astype(bool)).any()
    with torch.no_grad():  # there was one update, at the end
        acted = trainer._algorithm.act(torch.from_numpy(reached).expand(2, -1, -1))[0].numpy()
    np.testing.assert_allclose(following[cuts], acted[cuts], atol=0.02)
    assert np.abs(following[:-1][cuts[:-1]] - action[1:][cuts[:-1]]).max() > 0.02


def test_a_checkpoint_holds_what_was_gathered_and_no_room_for_more(online, train, tmp_path):
    train(online(steps=500_000, evaluate_every=500_000), after(60))
    room = 500_000 * 4 * (2 * sum(SIZES) + 2)
    assert (tmp_path / "p.pt").stat().st_size < room / 10


def test_an_environment_that_raises_fails_its_run_and_no_other(online, train):
    task = online()
    task.environments[1] = task.environments[1].model_copy(update={"id": "NoSuchWorld-v4"})
    trainer, book, outcome = train(task)
    assert outcome.finished == (task.runs[0].key,)
    _, text = book.failures[task.runs[1].key]
    assert "NoSuchWorld-v4" in text
    assert [len(rows(trainer, member)[0]) for member in range(2)] == [LENGTH, 0]


CODE = """
import os, signal
from pathlib import Path
import gymnasium
import numpy as np

class World(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9, 9, (11,))
    action_space = gymnasium.spaces.Box(-1, 1, (3,))

    def __init__(self, at=None, how="raise", once=None):
        self._at, self._how, self._once = at, how, once

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self._steps = 0
        return self.np_random.uniform(-1, 1, 11), {}

    def step(self, action):
        self._steps += 1
        if self._steps == self._at and not (self._once and Path(self._once).exists()):
            if self._once:
                Path(self._once).touch()
            if self._how == "raise":
                raise ValueError("no such place")
            if self._how == "memory":
                raise RuntimeError("the simulator has no room") from MemoryError()
            os.kill(os.getpid(), getattr(signal, self._how))
        return np.append(self.np_random.uniform(-1, 1, 10), action[0]), float(action.sum()), False, False, {}

gymnasium.register("tests/World-v0", World)
"""


@pytest.fixture
def world(tmp_path, online, monkeypatch):
    """A task whose second member lives in a world that ends badly at its 25th step."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "ending_worlds.py").write_text(CODE)
    monkeypatch.setattr(plugs, "folders", lambda: [tmp_path])

    def make(**kwargs):
        good = {"id": "tests/World-v0", "import": "ending_worlds", "max_episode_steps": 40}
        task = online(seeds=(0, 1, 2), environment=Environment(**good))
        task.environments[1] = Environment(**good, kwargs={"at": 25, **kwargs})
        return task

    return make


@pytest.mark.parametrize("how", ["raise", "SIGSEGV"])
def test_a_world_that_ends_badly_fails_its_run_and_no_other(world, train, tmp_path, monkeypatch, how):
    """Those that live in the same process go on where they were."""
    monkeypatch.setattr(stepping, "usable_cores", lambda: 1)
    plain = train(world(at=None), evaluators=Scored())[0]
    task = world(how=how)
    trainer, book, outcome = train(task, evaluators=Scored())
    assert set(outcome.finished) == {task.runs[0].key, task.runs[2].key}
    [(key, (step, text))] = book.failures.items()
    assert (key, step) == (task.runs[1].key, 24)
    assert ("ValueError: no such place" if how == "raise" else "died 3 times (exit code -11)") in text
    for member in (0, 2):
        for ours, theirs in zip(rows(trainer, member)[:2], rows(plain, member)[:2], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_process_that_somebody_killed_is_replaced(world, train, tmp_path):
    plain = train(world(at=None), evaluators=Scored())[0]
    killed, _, outcome = train(world(how="SIGKILL", once=str(tmp_path / "once")), evaluators=Scored())
    assert len(outcome.finished) == 3
    same(killed, plain)


def test_a_process_that_is_killed_again_and_again_says_nothing_of_the_run(world, train, tmp_path):
    with pytest.raises(HarnessError, match=r"acts in tests/World-v0 died 3 times \(exit code -9\); is there"):
        train(world(how="SIGKILL"), evaluators=Scored())


def test_what_the_machine_lacks_says_nothing_of_the_run(world, train):
    with pytest.raises(DataError, match="more memory than there is"):
        train(world(how="memory"), evaluators=Scored())


def in_episodes(data):
    """The data with rows that follow each other, and the first row of every trajectory."""
    starts = [0, *(np.flatnonzero(data.terminals)[:-1] + 1).tolist()]
    for start, end in itertools.pairwise([*starts, len(data)]):
        data.next_observations[start : end - 1] = data.observations[start + 1 : end]
    return data, np.array(starts)


def best_of(data, starts, count):
    """The rows of the trajectories that earned most."""
    lengths = np.diff([*starts, len(data)])
    returns = np.add.reduceat(data.rewards, starts)[: int(data.terminals.sum())]
    return np.isin(np.repeat(np.arange(len(starts)), lengths), np.argsort(-returns)[:count])


@pytest.mark.parametrize("keep", ["all", "none", {"best_trajectories": 3}])
def test_what_is_kept_of_a_dataset_is_drawn_beside_what_is_gathered(online, make_data, keep):
    """The rows of both, each as probable as any other; best are those trajectories that earned most."""
    data, starts = in_episodes(make_data(7))
    task = online({"keep": keep, "warmup": 5}, data=[data, data], reward_shift=-1.0)
    _, replay, _ = population.build(task)
    best = int(best_of(data, starts, 3).sum())
    expected = {"all": len(data), "none": 0}.get(str(keep), best)
    assert replay.length == [expected] * 2
    for count in range(4):
        replay.append({0: np.full(30, 100 + count, np.float32), 1: np.full(30, 200 + count, np.float32)})
    total = expected + 4
    draws = (torch.arange(total, dtype=torch.float64) + 0.5) / total
    batch = replay.batch(draws.expand(2, -1))
    assert batch.reward[0, expected:].tolist() == [100, 101, 102, 103]
    assert batch.reward[1, expected:].tolist() == [200, 201, 202, 203]
    kept = np.sort(batch.reward[0, :expected].numpy())
    if keep == "all":
        np.testing.assert_array_equal(kept, np.sort(data.rewards - 1))


def with_steps(task, *steps):
    """The task with these transforms of its data."""
    runs = [replace(run, configuration={**run.configuration, "data": list(steps)}) for run in task.runs]
    return replace(task, runs=runs)


def test_the_best_trajectories_are_those_of_the_raw_data_less_what_transforms_leave_out(online, make_data):
    """Rows that are mixed in are no trajectories of the dataset, whatever they earned."""
    data, starts = in_episodes(make_data(7))
    other = make_data(8, rows=100)
    other.rewards[:] = 1000
    gather = {"keep": {"best_trajectories": 20}, "warmup": 5}
    task = with_steps(
        online(gather, data=[data] * 2, seeds=(0, 1)),
        {"reward": {"scale": 1.0, "shift": 5.0}},
        {"drop": 0.3},
        {"mix": {"dataset": {"id": "other"}, "ratio": 0.2}},
    )
    _, replay, _ = population.build(replace(task, mixed=[{"other": other}] * 2))
    best = set((data.rewards[best_of(data, starts, 20)] + 5).tolist())
    for start, length in zip(replay.offset, replay.length, strict=True):
        held = set(columns(replay.storage[start : start + length], SIZES)[2].flatten().tolist())
        assert held < best
        assert len(held) > 0.4 * len(best)  # 0.7 by the drop, and 0.8 of that by the mixture


@pytest.fixture
def trusting(monkeypatch):
    """A TD3+BC that reads a column."""

    class Trusting(TD3BC):
        columns = ("trust",)

        def update(self, batch, noise, phase):
            trust = batch.extra["trust"]
            metrics = super().update(batch._replace(reward=batch.reward * trust), noise, phase)
            return metrics | {"trust": batch_mean(trust)}

    monkeypatch.setitem(REGISTERED, "td3_bc", Trusting)
    monkeypatch.setattr(population, "loaded_source", lambda algorithm: "source")


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("gather", GATHERS.values(), ids=list(GATHERS))
def test_gathered_rows_are_trusted_and_a_resumed_run_knows(online, train, tmp_path, make_data, gather):
    data = replace(make_data(7), extra={"trust": np.zeros(400, np.float32)})
    task = online(gather, data=[data] * 2)
    whole, book, _ = train(task, evaluators=Scored())
    kept = 0 if gather.get("keep") == "none" else 400
    assert (columns(whole._replay.storage[:kept], SIZES)[-1] == 0).all()
    for member in range(2):
        gathered = rows(whole, member)
        assert len(gathered) == 7
        assert (gathered[-1] == 1).all()
        assert len(gathered[-1]) == LENGTH
    [trust] = {round(v["trust"], 6) for (_, step), v in book.metrics.items() if "mix" in gather and v} or {0}
    assert trust == (0.5 if "mix" in gather else 0)
    _, parts, _ = train(task, after(40), evaluators=Scored())
    resumed, parts, _ = train(
        task, resume=checkpoints.load(tmp_path / "p.pt"), book=parts, evaluators=Scored()
    )
    assert torch.equal(resumed._replay.storage, whole._replay.storage)
    assert parts.metrics == book.metrics
    assert set(whole.archives()[task.runs[0].key]) >= {"observations", "rewards", "timeouts"}


@pytest.mark.usefixtures("trusting")
def test_rows_that_are_kept_keep_their_trust(online, make_data):
    """Also where those alone are kept in which another threshold would be found."""
    data, starts = in_episodes(make_data(7))
    best = best_of(data, starts, 6)
    returns = np.add.reduceat(data.rewards, starts)[: int(data.terminals.sum())]
    above = float(np.sort(returns)[-3:-1].mean())  # of the best six two are trusted
    gather = {"keep": {"best_trajectories": 6}, "warmup": 5, "mix": (4, 4)}
    task = with_steps(online(gather, data=[data] * 2), {"trust": {"by": "return", "above": above}})
    _, replay, _ = population.build(task)
    assert replay.length == [int(best.sum())] * 2
    trusted = best_of(data, starts, 2)[best]
    held = columns(replay.storage[: replay.length[0]], SIZES)[-1][:, 0]
    np.testing.assert_array_equal(held.numpy(), trusted.astype(np.float32))
    assert 0 < trusted.sum() < len(trusted)
    replay.append({member: np.full(30, 100, np.float32) for member in range(2)})
    batch = replay.batch(torch.rand(2, 8, dtype=torch.float64))
    assert (batch.extra["trust"][:, 4:] == 1).all()


def test_a_minibatch_is_mixed_as_the_protocol_says(online):
    _, replay, _ = population.build(online({"mix": (6, 2), "warmup": 5}))
    replay.append({member: np.full(30, 100, np.float32) for member in range(2)})
    batch = replay.batch(torch.rand(2, 8, dtype=torch.float64))
    assert (batch.reward[:, 6:] == 100).all()
    assert (batch.reward[:, :6] != 100).all()
    for mix, complaint in (((6, 3), r"mixes 6 \+ 3 rows"), ((8, 0), "keeps none")):
        with pytest.raises(DataError, match=complaint):
            population.build(online({"mix": mix, "keep": "none" if mix[1] == 0 else "all"}))


@pytest.mark.parametrize("overlap", [True, False])
def test_an_action_is_that_of_the_policy_before_or_after_the_last_update(online, train, overlap):
    task = online({"overlap": overlap, "explore": "deterministic"}, steps=14)
    whole = train(task, evaluators=Scored())[0]
    half = train(task, evaluators=Scored(), until=12)[0]  # every second update moves the policy
    seen, action, *_ = rows(whole)
    with torch.no_grad():
        acted = half._algorithm.act(torch.from_numpy(seen[12:13]).expand(2, -1, -1))[0, 0].numpy()
    assert np.array_equal(acted, action[12]) == (not overlap)


def test_exploration_noise_may_be_clipped(online, train):
    task = online({"warmup": 19, "explore": {"noise": 1.0, "clip": 0.05}}, steps=20)
    seen, action, *_ = rows(train(task, evaluators=Scored())[0])
    with torch.no_grad():
        acted = population.build(task)[0].act(torch.from_numpy(seen).expand(2, -1, -1))[0].numpy()
    added = np.abs(action - acted)
    assert added.max() == pytest.approx(0.05, abs=1e-6)
    assert (added > 0.049).mean() > 0.8


def reachable(replay):
    """Rewards of all rows of the first member that a draw may find."""
    draws = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    return set(replay.batch(draws.expand(2, -1)).reward[0].tolist())


@pytest.mark.parametrize("defects", [False, True])
@pytest.mark.parametrize(("keep", "capacity"), [("all", 420), ("none", 50)])
def test_a_ring_overwrites_its_oldest_rows(online, make_data, keep, capacity, defects):
    """As a plain one does that writes at a pointer; SSAR's draws only below the pointer."""
    data = make_data(7)
    data.rewards[:] = np.arange(400)
    gather = {"keep": keep, "capacity": capacity, "overlap": False, "reproduce_defects": defects}
    _, replay, _ = population.build(online(gather, data=[data] * 2))
    ring = list(range(400)) if keep == "all" else []
    pointer = len(ring)
    for number in range(LENGTH):
        replay.append({member: np.full(30, 1000 + number, np.float32) for member in range(2)})
        ring[pointer : pointer + 1] = [1000 + number]
        pointer = (pointer + 1) % capacity
        expected = set(ring[:pointer] if defects else ring)
        if number % 7 == 0 or pointer < 3:
            # theirs ends with an error where the pointer is at 0
            assert reachable(replay) == (expected or {1000 + number}), number


def test_ssars_ring_draws_only_what_was_gathered_on_antmaze():
    """A million slots, of which D fills 999,000: after the warm-up the rest is full and D is out of reach."""
    rows, warmup = 999_000, 5_000
    column, one = np.zeros((rows, 1), np.float32), np.zeros(rows, np.float32)
    rows_of_d = Transitions(column, column, one, column, one, column, {"id": "D"}, "D")
    data = Prepared(rows_of_d, Pipeline())
    for defects, share in ((True, 1.0), (False, warmup / 1e6)):
        replay = GrowingReplay([data], warmup, capacity=1_000_000, lapped=defects)
        replay.restore([torch.ones(warmup, 6)])
        drawn = replay.batch(torch.rand(1, 50_000, dtype=torch.float64)).reward
        assert drawn.mean().item() == pytest.approx(share, abs=0.002)
        assert (drawn == 1).all() == defects


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize(
    "gather",
    [
        {"keep": "all"},
        {"keep": "all", "capacity": 420},
        {"keep": {"best_trajectories": 6}},
        {"keep": "none"},
        {"mix": (4, 4)},
    ],
)
def test_in_ssars_code_gathered_rows_inherit_the_trust_of_their_slots(online, make_data, gather):
    """As the authors' buffers have it, in plain words."""
    data, starts = in_episodes(make_data(7))
    trust = np.random.default_rng(0).integers(0, 2, 400).astype(np.float32)
    data = replace(data, extra={"trust": trust})
    task = online(gather | {"overlap": False, "reproduce_defects": True}, data=[data] * 2)
    _, replay, _ = population.build(task)
    slots, pointer = np.ones(10_000, np.float32), 0
    if gather.get("keep") != "none" and "mix" not in gather:
        slots[:400], pointer = trust, 400
    if isinstance(gather.get("keep"), dict):
        best = trust[best_of(data, starts, 6)]
        slots[: len(best)], pointer = best, len(best)
    expected = [slots[(pointer + n) % gather.get("capacity", 10_000)] for n in range(LENGTH)]
    for _ in range(LENGTH):
        replay.append({member: np.zeros(30, np.float32) for member in range(2)})
    assert columns(replay.region(0), SIZES)[-1][:, 0].tolist() == expected


def test_a_buffer_smaller_than_what_is_kept_is_refused(online):
    with pytest.raises(DataError, match=r"^a buffer of 399 rows has no room for the 400 that"):
        population.build(online({"capacity": 399}))
    population.build(online({"capacity": 399, "keep": "none"}))


def test_in_ssars_code_evaluations_disturb_what_is_gathered(online, train):
    """The first row after each has the end of an evaluation's last episode, and so has the very first."""
    task = online(SSAR | {"explore": "deterministic"}, episodes=2)
    trainer, book, _ = train(task, evaluators=Scored())
    assert sorted({step for _, step in book.scores}) == [50, 100, 130]
    seen, action, reward, after, terminal, _ = rows(trainer)
    key, observed = task.runs[0].key, trainer._replay.pipelines[0].observation
    ends = np.flatnonzero(terminal[:, 0].astype(bool) | trainer._feed._cuts[0])
    env = environments.make(task.environments[0])
    for row in (0, 50, 100):
        policy = (
            train(task, evaluators=Scored(), until=row)[0]._algorithm if row else population.build(task)[0]
        )
        observation, ended = env.reset(seed=episode_seed(key, 1))[0], False
        while not ended:
            there = torch.from_numpy(observed(observation.astype(np.float32)))
            with torch.no_grad():
                acted = policy.act(there.expand(2, 1, -1))[0, 0].numpy()
            observation, _, terminated, cut, _ = env.step(acted)
            ended = terminated or cut
        reached, earned, *_ = env.step(action[row])
        np.testing.assert_array_equal(after[row], observed(reached.astype(np.float32)))
        assert (reward[row], terminal[row]) == (np.float32(earned), 1)
        number = int((ends <= row).sum())
        first = env.reset(seed=exploration_seed(key, number))[0]
        np.testing.assert_array_equal(seen[row + 1], observed(first.astype(np.float32)))
        if row and row - 1 not in ends:  # otherwise it is what was seen before the evaluation
            np.testing.assert_array_equal(seen[row], after[row - 1])
    undisturbed = [row for row in range(1, LENGTH) if row not in (50, 100) and row - 1 not in ends]
    np.testing.assert_array_equal(seen[undisturbed], after[[row - 1 for row in undisturbed]])
