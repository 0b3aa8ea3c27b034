"""wPC's own promises: what its gate compares, what its constraint is divided by, and how V learns."""

from __future__ import annotations

import pytest
import torch

LARGE = {"actor_learning_rate": 0.01, "critic_learning_rate": 0.01, "value_learning_rate": 0.01}


def _trained(lab, steps, **changes):
    """A population after some steps, the same whenever asked for, and its algorithm."""
    population = lab.population("wpc", "ab", **changes)
    population.train(steps)
    return population, population.algorithm


@pytest.mark.parametrize(
    "changes",
    [
        {"critic": "vanilla"} | LARGE,
        {"critic": "robust"} | LARGE,
        {"policy_noise": 0.1, "policy_frequency": 1} | LARGE,
        {"value_hidden_sizes": "8-8-8", "alpha": 0.1, "discount": 0.5} | LARGE,
    ],
)
def test_each_option_is_what_the_plain_program_does(lab, changes):
    lab.compare("wpc", **changes)


def test_a_gate_that_is_half_shut_halves_the_constraint(lab):
    """Nothing is divided by the sum of the weights."""
    population = lab.population("wpc", "ab", alpha=0.0, batch_size=8)
    algorithm, (batch, _) = population.algorithm, population.inputs(1)
    twice = batch._replace(
        observation=batch.observation[:, :4].repeat(1, 2, 1), action=batch.action[:, :4].repeat(1, 2, 1)
    )
    weight = torch.ones(2, 8).double()
    whole = algorithm.actor_loss(twice, weight).whole
    weight[:, 4:] = 0
    torch.testing.assert_close(algorithm.actor_loss(twice, weight).whole, whole / 2)
    error = (algorithm.act(twice.observation) - twice.action)[:, :4] ** 2
    torch.testing.assert_close(whole[:, 0] / 2, error.sum((1, 2)) / (8 * 2))


def test_the_gate_compares_the_new_critic_with_the_old_v(lab):
    changes = LARGE | {"batch_size": 64}
    (population, algorithm), (_, old) = _trained(lab, 19, **changes), _trained(lab, 19, **changes)
    batch, noise = population.inputs(20)
    seen, loss = [], algorithm.actor_loss

    def spy(batch, weight):
        seen.append(weight)
        return loss(batch, weight)

    algorithm.actor_loss = spy
    algorithm.update(batch, noise, algorithm.phase(20))

    def gate(critic, value):
        return (critic.first(batch.observation, batch.action) > value(batch.observation)).double()

    assert torch.equal(seen[0], gate(algorithm.critic, old.value))
    for critic, value in ((old.critic, old.value), (algorithm.critic, algorithm.value)):
        assert not torch.equal(seen[0], gate(critic, value))
    assert not seen[0].requires_grad


def test_v_follows_the_critics_target_at_every_step_by_its_mean_squared_error(lab):
    population = lab.population("wpc", "ab")
    algorithm = population.algorithm
    for step in (1, 2):
        batch, noise = population.inputs(step)
        target = algorithm.target_value(batch, noise["target_action"])
        loss = ((algorithm.value(batch.observation) - target) ** 2).mean(1, keepdim=True)
        gradients = torch.autograd.grad(loss.sum(), list(algorithm.value.parameters()))
        metrics = algorithm.update(batch, noise, algorithm.phase(step))
        torch.testing.assert_close(metrics["value_loss"], loss.detach())
        for parameter, gradient in zip(algorithm.value.parameters(), gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)


def _with_value(lab, level, **changes):
    """A population whose V is `level` everywhere and for ever."""
    population = lab.population("wpc", "ab", value_learning_rate=0.0, **changes)
    with torch.no_grad():
        for parameter in population.algorithm.value.parameters():
            parameter.zero_()
        population.algorithm.value.network.layers[-1].bias.fill_(level)
    return population


@pytest.mark.parametrize("critic", ["vanilla", "robust"])
def test_with_a_gate_that_is_always_open_it_is_td3_bc_bit_for_bit(lab, critic):
    weighted, plain = _with_value(lab, -1e9, critic=critic), lab.population("td3_bc", "ab", critic=critic)
    weighted.train(20)
    plain.train(20)
    for name, tensor in plain.algorithm.state_dict().items():
        assert torch.equal(weighted.algorithm.state_dict()[name], tensor), name


def test_with_a_gate_that_is_always_shut_the_policy_feels_the_critic_alone(lab):
    population = _with_value(lab, 1e9, alpha=2.0)
    algorithm, (batch, noise) = population.algorithm, population.inputs(2)
    metrics = algorithm.update(batch, noise, "critic and actor")
    assert (metrics["weight"] == 0).all()
    assert metrics["actor_loss"].abs().max() <= 2.0
    assert algorithm.actor_loss(batch, torch.zeros(2, 6).double()).whole.abs().max() <= 2.0


def test_a_policy_step_moves_neither_q_nor_v(lab):
    (population, algorithm), (_, other) = _trained(lab, 1, **LARGE), _trained(lab, 1, **LARGE)
    batch, noise = population.inputs(2)
    algorithm.update(batch, noise, "critic and actor")
    other.update(batch, noise, "critic")
    for network in ("critic", "value"):
        ours, theirs = (getattr(x, network).state_dict() for x in (algorithm, other))
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), name
    assert not torch.equal(algorithm.act(batch.observation), other.act(batch.observation))
