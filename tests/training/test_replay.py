from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from algorithms.base import normal, uniform
from harness.datasets.transforms import Standardise, prepare
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
