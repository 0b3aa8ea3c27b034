"""The rewards that are trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from harness.training.replay import Replay
from harness.training.rewards import RewardTransform, return_range


def corl(rewards, terminals):
    """CORL's loop."""
    returns, total, length = [], 0.0, 0
    for reward, terminal in zip(rewards, terminals, strict=True):
        total += float(reward)
        length += 1
        if terminal or length == 1000:
            returns.append(total)
            total, length = 0.0, 0
    return (min(returns), max(returns)) if returns else (0.0, 0.0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5000), st.sampled_from([0.0, 0.0005, 0.01, 1.0]))
def test_the_range_of_returns_is_corls(seed, rows, rate):
    rng = np.random.default_rng(seed)
    rewards = rng.normal(size=rows).astype(np.float32)
    terminals = rng.random(rows) < rate
    np.testing.assert_allclose(return_range(rewards, terminals), corl(rewards, terminals), atol=1e-8)


def test_an_episode_that_ends_at_its_thousandth_transition_counts_once():
    rewards, terminals = np.ones(2500, np.float32), np.zeros(2500, bool)
    terminals[[999, 1499]] = True
    assert return_range(rewards, terminals) == (500.0, 1000.0)


def test_normalised_scaled_and_shifted(make_data):
    data = make_data(0)
    low, high = return_range(data.rewards, data.terminals)
    rewards = RewardTransform(normalize=True, scale=10.0, shift=-5.0)(data)
    np.testing.assert_allclose(rewards, data.rewards * 10 * 1000 / (high - low) - 5, rtol=1e-5, atol=1e-5)
    assert rewards.dtype == np.float32


def test_raw_rewards_stay_as_they_are(make_data):
    data = make_data(0)
    np.testing.assert_array_equal(RewardTransform()(data), data.rewards)


def test_equal_returns_cannot_be_normalised(make_data):
    data = make_data(0)
    flat = replace(data, rewards=np.zeros_like(data.rewards))
    with pytest.raises(DataError, match="synthetic-0 cannot be normalised: all returns"):
        RewardTransform(normalize=True)(flat)


def test_the_replay_holds_the_transformed_rewards_and_their_mean(make_data):
    data = make_data(0)
    replay = Replay([data] * 2, normalize=False, epsilon=1, rewards=RewardTransform(scale=2.0, shift=-1.0))
    expected = data.rewards * 2 - 1
    rows = np.array([[0, 5, 7]] * 2)
    np.testing.assert_allclose(replay.batch(torch.from_numpy(rows)).reward[1], expected[[0, 5, 7]], rtol=1e-6)
    assert replay.reward_mean == pytest.approx([expected.mean()] * 2, rel=1e-5)
