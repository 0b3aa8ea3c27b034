"""SSAR's coefficient by state: its range, what moves it, and the schedule of its threshold."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from algorithms import Batch, Sizes
from algorithms.base import Initial
from algorithms.state_adaptive import StateAdaptiveHyperparameters, StateCoefficient

SIZES = Sizes(17, 6)
VALUES = {
    "initial_coefficient": 0.4,
    "coefficient_hidden_sizes": "512-512-512",
    "coefficient_learning_rate": 1e-8,
    "coefficient_clip_norm": 0.5,
    "threshold_start": 1.0,
    "threshold_end": 3.0,
    "threshold_period": 50_000,
    "threshold_raises": 10,
    "mask_regulariser": True,
    "coefficient": "learnt",
    "annealing": "none",
    "decay_steps": 400_000.0,
}


def made(keys="ab", **changes):
    """A coefficient of some members in float64."""
    values = VALUES | changes
    for field in fields(StateAdaptiveHyperparameters):
        if not field.metadata["static"]:
            values[field.name] = torch.full((len(keys), 1), values[field.name]).double()
    shared = {"batch_size": 256, "normalize_observations": True, "observation_epsilon": 1e-3}
    shared |= {"normalize_rewards": False, "reward_scale": 1.0, "reward_shift": 0.0}
    hyper = StateAdaptiveHyperparameters(**values, **shared)
    return StateCoefficient(Initial(list(keys), torch.device("cpu"), torch.float64), SIZES, hyper)


def batch(trust, size=256):
    """Standard normal observations, and flags."""
    observation = torch.randn(2, size, SIZES.observation, generator=torch.Generator().manual_seed(0)).double()
    zero = torch.zeros(2, size).double()
    action = torch.zeros(2, size, SIZES.action).double()
    flags = torch.full((2, size), float(trust)).double()
    return Batch(observation, action, zero, observation, zero, action, {"trust": flags})


def clock(updates):
    return torch.full((2, 1), float(updates)).double()


def test_the_coefficient_begins_around_its_initial_value_and_stays_in_its_range():
    coefficient = made()
    ratio = coefficient(batch(1).observation) / 0.4
    assert ratio.min() > 0
    assert ratio.max() < 1.5
    assert ratio.mean(1).tolist() == pytest.approx([1, 1], abs=0.1)
    assert 0.02 < ratio.std() < 0.2  # it already differs between states
    with torch.no_grad():
        coefficient.network.network.layers[-1].bias.fill_(100.0)
    torch.testing.assert_close(coefficient(batch(1).observation), torch.full((2, 256), 0.6).double())


def test_first_weights_are_xaviers_and_biases_zero_but_the_last():
    *hidden, output = made("abc").network.network.layers
    for layer in (*hidden, output):
        inputs, outputs = layer.weight.shape[1:]
        bound = (6 / (inputs + outputs)) ** 0.5
        assert 0.97 * bound < layer.weight.abs().max() <= bound
    assert all((layer.bias == 0).all() for layer in hidden)
    assert (output.bias - 0.6931).abs().max() < 1e-6


def raised(coefficient, slack, trust=1.0, periods=12, period=50_000):
    """The thresholds after each of some periods."""
    found = []
    for index in range(1, periods + 1):
        trusted = torch.full((2, 4), float(slack)).double() * trust
        coefficient.raise_threshold(trusted, clock(index * period - 2))  # one update too early
        coefficient.raise_threshold(trusted, clock(index * period - 1))
        found.append(coefficient.threshold[0].item())
    return found


def test_the_threshold_rises_ten_times_and_then_is_where_it_ends():
    found = raised(made(), slack=-1)
    assert found[:3] == pytest.approx([1.2, 1.4, 1.6])
    assert found[9:] == pytest.approx([3.0, 3.0, 3.0])
    assert found[8] == pytest.approx(2.8)


def test_the_threshold_stops_for_good_at_the_first_positive_mean():
    coefficient = made()
    raised(coefficient, slack=-1, periods=2)
    raised(coefficient, slack=1, periods=1)
    assert coefficient.threshold[0].item() == pytest.approx(1.4)
    assert raised(coefficient, slack=-1)[-1] == pytest.approx(1.4)


def test_where_nothing_is_trusted_the_threshold_rises():
    assert raised(made(), slack=1, trust=0.0)[0] == pytest.approx(1.2)


def test_each_member_stops_by_its_own_slack():
    coefficient = made()
    coefficient.raise_threshold(torch.tensor([[1.0, -3.0], [3.0, -1.0]]).double(), clock(49_999))
    assert coefficient.threshold.flatten().tolist() == pytest.approx([1.2, 1.0])
    assert coefficient.stopped.flatten().tolist() == [False, True]


@pytest.mark.parametrize(
    ("annealing", "left"), [("none", 1.0), ("linear", 1 - 245 / 400), ("cosine", 0.57179)]
)
def test_what_annealing_leaves_after_245000_of_400000_updates(annealing, left):
    coefficient = made(annealing=annealing)
    assert coefficient.annealed(clock(244_999))[0].item() == pytest.approx(left, abs=1e-5)
    assert coefficient.annealed(clock(0))[0].item() == pytest.approx(1.0, abs=1e-5)
    assert (coefficient.annealed(clock(399_999)) >= 0).all()
    assert torch.equal(coefficient.annealed(clock(500_000)), coefficient.annealed(clock(399_999)))


def test_flags_mask_the_regulariser_where_asked():
    beta = torch.full((2, 256), 0.3, requires_grad=True)
    for mask, weight in ((True, 0.0), (False, 0.3)):
        found = made(mask_regulariser=mask).weight(beta, batch(0), clock(5))
        assert found.unique().tolist() == pytest.approx([weight])
        assert not found.requires_grad


@pytest.mark.parametrize(("slack", "falls"), [(1.0, True), (-1.0, False)])
def test_the_coefficient_falls_where_the_policy_is_within_the_threshold(slack, falls):
    coefficient = made(coefficient_learning_rate=1e-5)
    optimiser, rows = coefficient.optimiser(), batch(1)
    before = coefficient(rows.observation)
    coefficient.learn(optimiser, before, torch.full((2, 256), slack).double(), rows, clock(0))
    assert ((coefficient(rows.observation) < before) == falls).all()
    for member in range(2):  # of each member alone, at most 0.5
        norm = torch.stack([p.grad[member].norm() for p in coefficient.parameters()]).norm()
        assert norm.item() <= 0.5 + 1e-9


def test_what_is_not_trusted_teaches_nothing():
    coefficient, rows = made(), batch(0)
    beta = coefficient(rows.observation)
    coefficient.learn(coefficient.optimiser(), beta, torch.full_like(beta, -1.0), rows, clock(0))
    assert torch.equal(coefficient(rows.observation), beta)


def test_metrics_tell_how_much_of_the_range_is_used():
    coefficient = made()
    beta = torch.tensor([[0.0, 0.001, 0.3, 0.6], [0.6, 0.599, 0.598, 0.1]]).double()
    found = coefficient.metrics(beta, batch(1, 4))
    assert found["coefficient_at_zero"].flatten().tolist() == [0.5, 0.0]
    assert found["coefficient_at_top"].flatten().tolist() == [0.25, 0.75]
    assert found["coefficient"].flatten().tolist() == pytest.approx([0.22525, 0.47425])
