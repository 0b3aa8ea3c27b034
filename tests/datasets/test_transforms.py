"""What is done to data before they are trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.datasets import Transitions
from harness.datasets.transforms import (
    BestTrajectories,
    ClipActions,
    Drop,
    Inputs,
    Mix,
    ReturnRange,
    Reward,
    Standardise,
    StandardiseRewards,
    Trajectories,
    TrustReturn,
    TrustSelector,
    TrustSuccess,
    corl_returns,
    order_problem,
    prepare,
    rescaled,
    shared,
    steps_of,
)
from harness.errors import DataError


def walks(lengths=(3, 2, 4), rewards=(1.0, 5.0, 2.0), terminal=(True, False, False), name="walks", size=2):
    """Trajectories whose states count on within each, and whose rewards are all alike within each."""
    ends = np.cumsum(lengths) - 1
    count = sum(lengths)
    states = np.arange(count, dtype=np.float32) + 100 * np.repeat(np.arange(len(lengths)), lengths)
    observations = np.repeat(states[:, None], size, 1).astype(np.float32)
    terminals = np.zeros(count, bool)
    terminals[ends] = terminal
    actions = np.linspace(-1, 1, 2 * count, dtype=np.float32).reshape(count, 2)
    return Transitions(
        observations=observations,
        actions=actions,
        rewards=np.repeat(rewards, lengths).astype(np.float32),
        next_observations=observations + 1,
        terminals=terminals,
        next_actions=-actions,
        identity={"id": name},
        content_hash=name,
    )


def corl(rewards, terminals):
    """CORL's loop."""
    returns, total, length = [], 0.0, 0
    for reward, terminal in zip(rewards, terminals, strict=True):
        total += float(reward)
        length += 1
        if terminal or length == 1000:
            returns.append(total)
            total, length = 0.0, 0
    return returns


@given(st.integers(0, 2**32 - 1), st.integers(1, 5000), st.sampled_from([0.0, 0.0005, 0.01, 1.0]))
def test_returns_are_counted_as_corl_counts_them(seed, rows, rate):
    rng = np.random.default_rng(seed)
    rewards = rng.normal(size=rows).astype(np.float32)
    terminals = rng.random(rows) < rate
    np.testing.assert_allclose(corl_returns(rewards, terminals), corl(rewards, terminals), atol=1e-8)


def test_an_episode_that_ends_at_its_thousandth_transition_counts_once():
    rewards, terminals = np.ones(2500, np.float32), np.zeros(2500, bool)
    terminals[[999, 1499]] = True
    assert corl_returns(rewards, terminals).tolist() == [1000, 500, 1000]


def test_trajectories_end_at_terminals_at_jumps_and_at_the_last_row():
    data = walks()
    data.observations[3:5] = data.next_observations[2]  # goes on where the first ended, which was terminal
    data.next_observations[3] = data.observations[4]
    found = Trajectories.of(data)
    assert found.number.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert found.returns.tolist() == [3.0, 10.0, 8.0]


def test_rows_without_order_have_no_trajectories():
    with pytest.raises(DataError, match="the rows of walks are in no order"):
        prepare(replace(walks(), ordered=False), [BestTrajectories(1)])


def test_standardised_by_the_data_that_arrive_and_so_is_what_is_observed():
    data = walks()
    rows, pipeline = prepare(data, [BestTrajectories(1), Standardise(0.5)])
    assert rows.rewards.tolist() == [5.0, 5.0]
    kept = data.observations[3:5]
    mean, scale = kept.mean(0), kept.std(0) + 0.5
    np.testing.assert_allclose(rows.observations, (kept - mean) / scale, rtol=1e-6)
    np.testing.assert_allclose(rows.next_observations, (kept + 1 - mean) / scale, rtol=1e-6)
    observed = pipeline.observation(np.array([7.0, 9.0]))
    assert observed.dtype == np.float32
    np.testing.assert_allclose(observed, (np.array([7.0, 9.0]) - mean) / scale, rtol=1e-6)


def test_order_matters_and_rewards_are_changed_alike_later():
    data = walks()
    rows, pipeline = prepare(data, [Reward(shift=1.0), Reward(scale=2.0)])
    np.testing.assert_array_equal(rows.rewards, (data.rewards + 1) * 2)
    other, _ = prepare(data, [Reward(scale=2.0), Reward(shift=1.0)])
    np.testing.assert_array_equal(other.rewards, data.rewards * 2 + 1)
    np.testing.assert_array_equal(pipeline.reward(np.array([1.0, 5.0])), [4.0, 12.0])
    assert rows.rewards.dtype == pipeline.reward(np.float64(1)).dtype == np.float32


def test_the_range_of_returns_becomes_what_is_asked():
    rows, pipeline = prepare(walks(), [ReturnRange(span=70.0)])
    returns = Trajectories.of(rows).returns
    assert returns.max() - returns.min() == pytest.approx(70.0)
    assert pipeline.reward(np.float32(2)) == pytest.approx(20.0)  # returns went from 3 to 10


def test_normalised_as_corl_does_then_scaled_and_shifted():
    data = walks(lengths=(400, 700, 900), terminal=(True, True, False))
    low, high = min(corl(data.rewards, data.terminals)), max(corl(data.rewards, data.terminals))
    rows, _ = prepare(data, [ReturnRange(scale=10.0, shift=-5.0, corl=True)])
    np.testing.assert_allclose(rows.rewards, data.rewards * 10 * 1000 / (high - low) - 5, rtol=1e-6)
    assert rows.rewards.dtype == np.float32


@pytest.mark.parametrize("corl_counts", [True, False])
def test_equal_returns_have_no_range(corl_counts):
    flat = replace(walks(), rewards=np.zeros(9, np.float32))
    with pytest.raises(DataError, match="walks cannot be normalised: all returns of whole episodes are 0"):
        prepare(flat, [ReturnRange(corl=corl_counts)])


def test_both_actions_are_clipped():
    rows, _ = prepare(walks(), [ClipActions(0.5)])
    assert np.abs(rows.actions).max() == np.abs(rows.next_actions).max() == 0.5


def test_the_best_trajectories_are_kept_whole_in_their_order():
    data = walks(lengths=(3, 2, 4, 2), rewards=(1, 5, 2, 9), terminal=(True, False, False, False))
    rows, _ = prepare(data, [BestTrajectories(2)])
    assert rows.rewards.tolist() == [5, 5, 2, 2, 2, 2]  # the last has no end, however good
    whole, _ = prepare(replace(data, terminals=data.terminals | (np.arange(11) == 10)), [BestTrajectories(2)])
    assert whole.rewards.tolist() == [5, 5, 9, 9]
    with pytest.raises(DataError, match="no trajectory of walks has an end"):
        prepare(walks((4,), (1,), (False,)), [BestTrajectories(2)])


def test_a_mask_depends_on_dataset_ratio_and_seed_alone():
    data = walks(lengths=(2000,), rewards=(1,), terminal=(False,))

    def kept(data=data, share=0.3, seed=0):
        return prepare(data, [Drop(share)], Inputs(seed)).rows.observations[:, 0].tolist()

    assert kept() == kept()
    assert 1300 < len(kept()) < 1500
    others = [kept(seed=1), kept(share=0.31), kept(replace(data, identity={"id": "other"}))]
    assert all(set(kept()) != set(other) for other in others)
    assert shared([Drop(0.3)], 0) != shared([Drop(0.3)], 1)
    assert shared([Standardise(0.3)], 0) == shared([Standardise(0.3)], 1)


def test_what_is_mixed_depends_on_both_datasets_ratio_and_seed_alone():
    data, other = (
        walks((2000,), (reward,), (False,), name=name) for reward, name in ((1, "walks"), (9, "other"))
    )

    def mixed(data=data, other=other, ratio=0.3, seed=0, before=()):
        steps = [*before, Mix("other", ratio)]
        rows = prepare(data, steps, Inputs(seed, {"other": other})).rows
        return [tuple(rows.actions[rows.rewards == value, 0].tolist()) for value in (1, 9)]

    renamed = {"identity": {"id": "another"}}
    others = [
        mixed(seed=1),
        mixed(ratio=0.301),
        mixed(data=replace(data, **renamed)),
        mixed(other=replace(other, **renamed)),
    ]
    assert mixed() == mixed(before=[Standardise(0.3)])
    for kept, theirs in others:
        # of two independent draws 70 and 30 % agree, the shares that are drawn
        assert len({*kept} & {*mixed()[0]}) < 0.8 * len(kept)
        assert len({*theirs} & {*mixed()[1]}) < 0.4 * len(theirs)
    assert shared([Mix("other", 0.3)], 0) != shared([Mix("other", 0.3)], 1)


@pytest.mark.parametrize(("ratio", "own", "theirs"), [(0.25, 75, 25), (1.0, 0, 40), (0.8, 10, 40)])
def test_a_mixture_has_the_ratio_and_is_as_large_as_both_allow(ratio, own, theirs):
    data = walks((100,), (1,), (False,))
    other = walks((40,), (9,), (False,), name="other")
    rows, _ = prepare(data, [Mix("other", ratio)], Inputs(3, {"other": other}))
    assert [(rows.rewards == value).sum() for value in (1, 9)] == [own, theirs]
    assert len(np.unique(rows.actions, axis=0)) >= max(own, theirs)  # without replacement
    assert rows.identity == data.identity


def test_a_mixture_of_other_sizes_is_refused():
    inputs = Inputs(0, {"other": walks(name="other", size=3)})
    with pytest.raises(
        DataError, match=r"other cannot be mixed into walks: .* 3 and 2 numbers there, 2 and 2 here"
    ):
        prepare(walks(), [Mix("other", 0.5)], inputs)


def test_trust_marks_trajectories_above_the_threshold_alone():
    rows, _ = prepare(walks(), [TrustReturn(8.0)])
    assert rows.extra["trust"].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0]
    assert rows.extra["trust"].dtype == np.float32
    dropped, _ = prepare(walks(), [TrustReturn(8.0), Drop(0.5)])
    assert np.array_equal(dropped.extra["trust"] == 1, dropped.rewards == 5)
    other = Inputs(0, {"other": walks(name="other")})
    mixed, _ = prepare(walks(), [TrustReturn(8.0), Mix("other", 0.5)], other)
    assert mixed.extra["trust"][-4:].tolist() == [1, 1, 1, 1]
    with pytest.raises(DataError, match="has a return above 10, so none would be trusted; the largest is 10"):
        prepare(walks(), [TrustReturn(10.0)])
    empty, _ = prepare(walks(), [TrustReturn(10.0, allow_empty=True)])
    assert not empty.extra["trust"].any()


@pytest.mark.parametrize(
    ("share", "trusted"), [(0.01, [0, 1, 0]), (0.34, [0, 1, 0]), (0.6, [0, 1, 1]), (1.0, [1, 1, 1])]
)
def test_trust_in_a_share_of_the_best_trajectories(share, trusted):
    data = walks()  # returns 3, 10, 8
    rows, pipeline = prepare(data, [TrustReturn(top=share)])
    assert rows.extra["trust"].tolist() == np.repeat(trusted, (3, 2, 4)).tolist()
    # the threshold stays what it was for all of the data
    some = data.take(np.arange(5))
    assert pipeline.rows(some).extra["trust"].tolist() == np.repeat(trusted[:2], (3, 2)).tolist()


def test_trust_in_trajectories_that_end_with_a_reward():
    data = walks()
    data.rewards[:] = [0, 0, 1, 1, 0, 0, 0, 0, 0.5]
    rows, _ = prepare(data, [TrustSuccess(), Reward(shift=-1)])
    assert rows.extra["trust"].tolist() == [1, 1, 1, 0, 0, 1, 1, 1, 1]
    with pytest.raises(
        DataError, match="has a last reward above 0, so none would be trusted; the largest is 0"
    ):
        prepare(data, [Reward(shift=-1), TrustSuccess()])


def test_a_selector_judges_what_is_trained_on_wherever_it_is_named():
    seen = []

    def selector(observations, actions):
        seen.append((observations, actions))
        return actions[:, 0] > 0

    steps = steps_of(
        {
            "data": [{"trust": {"by": "selector"}}, {"clip_actions": 0.5}],
            "hyperparameters": {"normalize_observations": True, "observation_epsilon": 0.5},
        }
    )
    rows, pipeline = prepare(walks(), steps, Inputs(selector=selector))
    for observations, actions in seen:
        np.testing.assert_array_equal(observations, rows.observations)
        np.testing.assert_array_equal(actions, rows.actions)
    assert rows.extra["trust"].tolist() == (rows.actions[:, 0] > 0).tolist()
    assert [type(step) for step in pipeline.acting.steps] == [Standardise]  # no network goes to evaluations
    with pytest.raises(DataError, match="the selector trusts none of the transitions of walks"):
        prepare(walks(), [TrustSelector()], Inputs(selector=lambda o, a: a[:, 0] > 1))


def test_rewards_are_standardised_as_torch_does_it():
    data = walks()
    rows, pipeline = prepare(data, [StandardiseRewards()], Inputs())
    rewards = torch.from_numpy(data.rewards.astype(np.float64))
    expected = (rewards - rewards.mean()) / rewards.std()
    np.testing.assert_allclose(rows.rewards, expected, atol=1e-6)
    np.testing.assert_allclose(pipeline.reward(data.rewards), expected, atol=1e-6)  # what is gathered
    equal = replace(data, rewards=np.ones_like(data.rewards))
    with pytest.raises(DataError, match="the rewards of walks cannot be standardised: no two of them differ"):
        prepare(equal, [StandardiseRewards()], Inputs())


@pytest.mark.parametrize("cut", [Drop(0.1), Mix("other", 0.1)])
@pytest.mark.parametrize(
    ("whole", "name"),
    [
        (BestTrajectories(1), "best_trajectories"),
        (TrustReturn(1.0), "trust"),
        (ReturnRange(), "return_range"),
        (ReturnRange(corl=True), "normalize_rewards"),
    ],
)
def test_what_looks_at_trajectories_comes_before_what_cuts_them(cut, whole, name):
    assert order_problem([whole, cut, Standardise(1.0)]) is None
    assert str(order_problem([cut, whole])).startswith(f"{name} looks at whole trajectories, which")


def test_a_configuration_names_its_steps_and_its_hyperparameters_follow():
    configuration = {
        "data": [
            {"standardise": 0.001},
            {"reward": {"shift": -1}},
            {"return_range": 1000},
            {"standardise_rewards": True},
            {"clip_actions": 0.9},
            {"best_trajectories": 50},
            {"trust": {"by": "return", "above": 5200}},
            {"drop": 0.3},
            {"mix": {"dataset": {"id": "other", "lineage": "d4rl"}, "ratio": 0.7}},
        ],
        "hyperparameters": {
            "normalize_observations": True,
            "observation_epsilon": 0.5,
            "normalize_rewards": False,
            "reward_scale": 2,
            "reward_shift": 0,
        },
    }
    assert steps_of(configuration) == (
        Standardise(0.001),
        Reward(shift=-1),
        ReturnRange(span=1000),
        StandardiseRewards(),
        ClipActions(0.9),
        BestTrajectories(50),
        TrustReturn(5200),
        Drop(0.3),
        Mix("other", 0.7),
        Standardise(0.5),
        Reward(2, 0),
    )
    assert steps_of({"hyperparameters": {"normalize_observations": False, "reward_scale": 1}}) == ()


def test_actions_are_mapped_from_their_bounds():
    data = walks()
    low, high = np.float32([-2, 0]), np.float32([2, 10])
    mapped = rescaled(replace(data, actions=np.float32([[-2, 0], [1, 5], [2, 10]])), low, high)
    assert mapped.actions.tolist() == [[-1, -1], [0.5, 0], [1, 1]]
    assert mapped.content_hash != data.content_hash
