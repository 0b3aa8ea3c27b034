from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from algorithms.base import normal, uniform
from harness.datasets.transforms import Standardise, prepare
from harness.errors import DataError
from harness.training.population import build, prepared
from harness.training.replay import BLOCK, Draws, Replay


def test_normalises_by_the_datasets_own_statistics(make_data):
    data = make_data(0)
    replay = Replay([prepare(data, [Standardise(1e-3)])])
    batch = replay.batch(torch.arange(len(data.rewards)).unsqueeze(0))
    expected = (data.observations - data.observations.mean(0)) / (data.observations.std(0) + 1e-3)
    np.testing.assert_allclose(batch.observation[0], expected, atol=1e-5)
    expected = (data.next_observations - data.observations.mean(0)) / (data.observations.std(0) + 1e-3)
    np.testing.assert_allclose(batch.next_observation[0], expected, atol=1e-5)
    np.testing.assert_array_equal(batch.action[0], data.actions)
    np.testing.assert_array_equal(batch.reward[0], data.rewards)
    np.testing.assert_array_equal(batch.terminal[0], data.terminals)
    np.testing.assert_array_equal(batch.next_action[0], data.next_actions)


def test_without_normalisation_rows_are_the_data(make_data):
    data = make_data(0)
    batch = Replay([prepare(data, [])]).batch(torch.tensor([[3, 5]]))
    np.testing.assert_array_equal(batch.observation[0], data.observations[[3, 5]])


def test_a_dataset_is_held_once_however_many_members_use_it(make_data):
    data = prepare(make_data(0), [Standardise(1e-3)])
    one, many = Replay([data]), Replay([data] * 16)
    assert many.storage.numel() == one.storage.numel()
    assert many.offset == [0] * 16


def test_members_draw_from_their_own_dataset(make_data):
    one, other = (prepare(make_data(seed, rows=rows), []) for seed, rows in ((0, 50), (1, 80)))
    replay = Replay([one, other, one])
    assert (replay.offset, replay.length) == ([0, 50, 0], [50, 80, 50])
    rows = Draws(["a", "b", "c"], replay, 64, {}).block(0).rows
    assert rows.shape == (BLOCK, 3, 64)
    for member, (low, high) in enumerate([(0, 50), (50, 130), (0, 50)]):
        drawn = rows[:, member]
        assert drawn.min() == low
        assert drawn.max() == high - 1


@given(
    others=st.lists(st.text("abcdef", min_size=1, max_size=4), max_size=3, unique=True),
    index=st.integers(0, 10_000),
)
def test_draws_depend_on_nothing_but_the_member(make_data, others, index):
    data = prepare(make_data(0, rows=50), [])
    keys = [*others, "zz"]
    alone = Draws(["zz"], Replay([data]), 4, {"n": normal(4, 2)}).block(index)
    beside = Draws(keys, Replay([data] * len(keys)), 4, {"n": normal(4, 2)}).block(index)
    assert torch.equal(alone.rows[:, 0], beside.rows[:, -1])
    assert torch.equal(alone.noise["n"][:, 0], beside.noise["n"][:, -1])


def test_blocks_streams_and_members_differ_and_look_random(make_data):
    data = prepare(make_data(0, rows=50), [])
    draws = Draws(
        ["a", "b"],
        Replay([data] * 2),
        64,
        {"x": normal(64, 2), "y": uniform(64, 2)},
    )
    first, second = draws.block(0), draws.block(1)
    assert not torch.equal(first.rows, second.rows)
    assert not torch.equal(first.rows[:, 0], first.rows[:, 1])
    assert not torch.equal(first.noise["x"], first.noise["y"])
    assert not torch.equal(first.noise["x"][:, 0], first.noise["x"][:, 1])
    assert abs(first.noise["x"].mean()) < 0.03
    assert abs(first.noise["x"].std() - 1) < 0.03
    counts = torch.bincount(first.rows.flatten(), minlength=50).double()
    assert counts.min() > 0.8 * counts.mean()


def test_rows_are_shared_only_where_they_are_equal(make_task):
    task = make_task("bc", seeds=(0, 1, 2))
    data = [{"drop": 0.5}], [{"drop": 0.5}], [{"reward": {"shift": -1}}]
    runs = [
        replace(run, configuration={**run.configuration, "data": steps})
        for run, steps in zip(task.runs, data, strict=True)
    ]
    first, second, third = prepared(runs, task.data)
    again = prepared([runs[0]] * 2, task.data[:2])
    assert again[0] is again[1]
    np.testing.assert_array_equal(again[0].rows.rewards, first.rows.rewards)
    assert len(first.rows) != len(second.rows) or (first.rows.rewards != second.rows.rewards).any()
    assert len(third.rows) == len(task.data[0])
    _, replay, _ = build(replace(task, runs=runs))
    assert replay.length == [len(each.rows) for each in (first, second, third)]
    assert replay.offset == [0, replay.length[0], sum(replay.length[:2])]


def test_what_leaves_less_than_a_minibatch_is_refused(make_task):
    task = make_task("bc", seeds=(0,), batch_size=256)
    run = replace(task.runs[0], configuration={**task.runs[0].configuration, "data": [{"drop": 0.5}]})
    with pytest.raises(DataError, match=r"leave [12].. of 400 transitions, fewer than a minibatch of 256"):
        prepared([run], task.data)


def test_a_batch_has_the_columns_that_are_asked_for_and_no_others(make_data):
    data = make_data(0, rows=50)
    data = replace(data, extra={"trust": (data.rewards > 0).astype(np.float32)})
    rows = torch.tensor([[3, 5, 7]])
    assert Replay([prepare(data, [])]).batch(rows).extra == {}
    extra = Replay([prepare(data, [])], extra=("trust",)).batch(rows).extra
    np.testing.assert_array_equal(extra["trust"][0], data.extra["trust"][[3, 5, 7]])
