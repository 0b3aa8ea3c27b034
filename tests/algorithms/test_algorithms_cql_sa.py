"""CQL(SA)'s own promises: each state's weight, the bound C_n, what is frozen online, the code's defects."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from algorithms import Member, Sizes, algorithm_class
from algorithms.cql_sa import least_log_densities
from algorithms.networks import TanhGaussian

# β moves and n rises within a few steps
FAST = {
    "actor_learning_rate": 0.01,
    "critic_learning_rate": 0.01,
    "coefficient_learning_rate": 1e-3,
    "threshold_period": 7,
}
ANTMAZE = {
    "lagrange": True,
    "target_gap": 0.8,
    "max_target_backup": True,
    "clamp_minimum": -200.0,
    "mask_regulariser": False,
    "critic_hidden_sizes": "16-16-16-16-16",
    "cloning_weight": 0.5,
}
ONLINE = {"coefficient": "frozen", "annealing": "cosine", "decay_steps": 100.0}


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold_start": 0.2, "threshold_end": 0.7},
        ANTMAZE,
        ANTMAZE | ONLINE | {"reproduce_defects": True},
        {"coefficient": "frozen", "annealing": "linear", "decay_steps": 50.0},
    ],
)
def test_cql_sa_is_the_plain_program(lab, changes):
    lab.compare("cql_sa", 60, **(FAST | changes))


def test_so_it_is_where_thresholds_rise_and_stop(lab):
    algorithm, _ = lab.compare("cql_sa", 60, **FAST)
    assert (algorithm.coefficient.threshold > 1).all()
    assert algorithm.coefficient.stopped.all()


def test_with_one_coefficient_and_all_trusted_it_is_cql(lab):
    """β = 1.5 β₀ everywhere: CQL with that α and the critics' LayerNorm."""
    whole = lab.population("cql_sa", "ab", coefficient="frozen", initial_coefficient=4.0)
    plain = lab.population("cql", "ab", cql_alpha=6.0, layer_norm=True)
    with torch.no_grad():
        whole.algorithm.coefficient.network.network.layers[-1].bias.fill_(1e3)
    batch, noise = plain.inputs(1)
    batch = batch._replace(extra={"trust": torch.ones_like(batch.reward)})
    for each in (whole, plain):
        each.algorithm.update(batch, noise, "update")
    for name, tensor in plain.state().items():
        torch.testing.assert_close(whole.state()[name], tensor, msg=name)


# -- the bound --


def densities(policy, action):
    normal = Normal(policy.mean, policy.log_std.exp())
    return TransformedDistribution(normal, TanhTransform()).log_prob(action)


def test_the_log_density_of_each_dimension_is_that_of_torch_distributions():
    policy = TanhGaussian(torch.randn(2, 5, 3).double(), torch.randn(2, 5, 3).double())
    action = torch.rand(2, 5, 3).double() * 1.98 - 0.99
    torch.testing.assert_close(policy.log_densities(action), densities(policy, action))


@pytest.mark.parametrize("n", [0.5, 1.0, 3.0])
def test_the_bound_is_the_smaller_density_at_two_ends(n):
    mean, log_std = torch.tensor([[[0.3, -2.0]]]).double(), torch.tensor([[[-4.0, 0.0]]]).double()
    policy = TanhGaussian(mean, log_std)
    found = least_log_densities(policy, torch.full((1, 1), n).double())
    for j in range(2):
        mu, std = mean[0, 0, j], log_std[0, 0, j].exp()
        ends = [torch.tanh(mu + n * std), torch.tanh(mu - n * std)]
        near = [torch.clamp(end, torch.tanh(mu) - 0.1 * n, torch.tanh(mu) + 0.1 * n) for end in ends]
        assert any(a != b for a, b in zip(ends, near, strict=True)) == (j == 1)  # where σ is large
        one = TanhGaussian(mean[..., j : j + 1], log_std[..., j : j + 1])
        least = min(densities(one, end.view(1, 1, 1)).item() for end in near)
        assert found[0, 0, j].item() == pytest.approx(least)


def test_densities_are_finite_where_tanh_rounds_to_one():
    policy = TanhGaussian(torch.tensor([[[30.0, -9.0]]]), torch.tensor([[[-20.0, 2.0]]]))
    for n in (1.0, 10.0):
        assert least_log_densities(policy, torch.full((1, 1), n)).isfinite().all()


def test_each_member_has_its_own_threshold():
    policy = TanhGaussian(torch.zeros(2, 1, 2), torch.full((2, 1, 2), -4.0))
    found = least_log_densities(policy, torch.tensor([[1.0], [3.0]]))
    assert (found[0] > found[1]).all()


def test_slack_is_positive_where_the_data_lie_within_n_deviations(lab):
    population = lab.population("cql_sa", "ab", threshold_start=2.0)
    algorithm, (batch, _) = population.algorithm, population.inputs(1)
    policy = algorithm.actor(batch.observation)
    for distance, positive in ((0.0, True), (1.9, True), (2.1, False), (9.0, False), (40.0, False)):
        with torch.no_grad():
            algorithm.actor.log_std_offset.fill_(-4.0)  # so narrow that the cap does not bind
        policy = algorithm.actor(batch.observation)
        action = torch.tanh(policy.mean + distance * policy.log_std.exp()).detach()
        slack = algorithm.slack(batch._replace(action=action))
        assert ((slack > 0) == positive).all()
    # beyond ten deviations an action counts as ten away
    far = algorithm.slack(batch._replace(action=torch.tanh(policy.mean + 80 * policy.log_std.exp()).detach()))
    torch.testing.assert_close(far, slack)


def test_slack_is_of_the_policy_after_its_step(lab, monkeypatch):
    population = lab.population("cql_sa", **FAST)
    algorithm, seen = population.algorithm, []
    whole = algorithm.slack
    monkeypatch.setattr(algorithm, "slack", lambda batch: seen.append(whole(batch)) or seen[-1])
    batch, noise = population.inputs(1)
    before = whole(batch)
    algorithm.update(batch, noise, "update")
    assert not torch.allclose(seen[0], before)
    torch.testing.assert_close(seen[0], whole(batch))


# -- flags --


def trained(lab, trust, steps=3, **changes):
    """The state after some steps where all or nothing is trusted, and the last metrics."""
    population = lab.population("cql_sa", **(FAST | changes))
    for step in range(1, steps + 1):
        batch, noise = population.inputs(step)
        batch = batch._replace(extra={"trust": torch.full_like(batch.reward, trust)})
        metrics = population.algorithm.update(batch, noise, "update")
    return population.state(), metrics


def test_what_is_not_trusted_has_no_penalty_only_where_the_regulariser_is_masked(lab):
    for mask in (True, False):
        _, metrics = trained(lab, 0.0, mask_regulariser=mask)
        assert (metrics["penalty"].item() == 0) == mask


def test_what_is_not_trusted_moves_no_coefficient(lab):
    for trust in (0.0, 1.0):
        population = lab.population("cql_sa", **FAST)
        state, metrics = trained(lab, trust)
        moved = any(
            not torch.equal(state[name], tensor)
            for name, tensor in population.state().items()
            if name.startswith("coefficient.network")
        )
        assert moved == bool(trust)
        assert metrics["trusted"].item() == trust
        assert all(value.isfinite().all() for value in metrics.values())


# -- online --


def test_online_the_coefficient_is_frozen_and_all_else_goes_on(lab):
    population = lab.population("cql_sa", **(FAST | ONLINE | ANTMAZE))
    before = population.state()
    population.train(8)
    for name, tensor in population.state().items():
        assert torch.equal(tensor, before[name]) == name.startswith("coefficient"), name


@pytest.mark.parametrize(("annealing", "left"), [("linear", 0.5), ("cosine", math.sqrt(0.5))])
def test_annealing_scales_the_penalty(lab, annealing, left):
    def penalty(**changes):
        population = lab.population("cql_sa", coefficient="frozen", **changes)
        batch, noise = population.inputs(50)  # the clock shows 49
        return population.algorithm.update(batch, noise, "update")["penalty"].item()

    assert penalty(annealing=annealing, decay_steps=100.0) == pytest.approx(left * penalty())


@pytest.mark.parametrize("changes", [ONLINE, {"coefficient": "learnt"}])
def test_actions_at_the_bounds_do_no_harm(lab, changes):
    population = lab.population("cql_sa", dtype=torch.float32, **changes)
    batch, noise = population.inputs(1)
    metrics = population.algorithm.update(batch._replace(action=batch.action.sign()), noise, "update")
    assert all(value.isfinite().all() for value in metrics.values())


# -- defects of the authors' code --


def test_critics_are_alike_unless_defects_are_reproduced(lab):
    for reproduce, layers in ((False, [5, 5]), (True, [5, 3])):
        values = lab.shipped("cql_sa", "antmaze-umaze-v2") | {"reproduce_defects": reproduce}
        algorithm = algorithm_class("cql_sa")([Member("a", values)], Sizes(29, 8))
        assert [len(critic.network.norms) for critic in algorithm.critics] == layers


def test_cloning_is_added_only_where_defects_are_reproduced(lab):
    def loss(**changes):
        population = lab.population("cql_sa", **changes)
        algorithm, (batch, noise) = population.algorithm, population.inputs(1)
        action, log_prob = algorithm.actor(batch.observation).sample(noise["action"])
        distance = ((action - batch.action) ** 2).sum(-1).mean().item()
        return algorithm.actor_loss(batch, action, log_prob).item(), distance

    plain, distance = loss(cloning_weight=0.5)
    assert loss(cloning_weight=0.5, reproduce_defects=True)[0] == pytest.approx(plain + 0.5 * distance)
