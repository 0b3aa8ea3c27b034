"""FamCQL's own promises: how a balance is drawn, seen and learnt, and who acts at which."""

from __future__ import annotations

import math

import pytest
import torch

from algorithms.base import Initial

FAST = {"actor_learning_rate": 0.01, "critic_learning_rate": 0.01, "balance_learning_rate": 0.01}


@pytest.mark.parametrize(
    "changes",
    [
        {"reproduce_defects": True},
        {"balance": "model"},
        {"balance": "model", "reproduce_defects": True, "embedding_base": 3.0, "embedding_frequencies": 2},
    ],
)
def test_fam_cql_is_the_plain_program(lab, changes):
    lab.compare("fam_cql", 60, **(FAST | changes))


def prepared(lab, **changes):
    """An algorithm of two members, a minibatch and its noise."""
    population = lab.population("fam_cql", "ab", **changes)
    return population.algorithm, *population.inputs(1)


def test_the_embedding_is_sines_and_cosines_in_turn(lab):
    algorithm, _, _ = prepared(lab)
    found = algorithm.embedding(torch.tensor([[0.7], [1.2]]).double())
    for member, k in enumerate((0.7, 1.2)):
        angles = [k / 10_000 ** (2 * i / 6) for i in range(3)]
        expected = [f(angle) for angle in angles for f in (math.sin, math.cos)]
        assert found[member, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("reproduce", "least"), [(False, 0.5), (True, -0.5)])
def test_the_models_balance_spans_its_range_unless_the_defect_is_reproduced(lab, reproduce, least):
    algorithm, _, _ = prepared(lab, reproduce_defects=reproduce)
    ends = torch.tensor([[[-1.0], [1.0]]] * 2).double()
    assert algorithm.balance_of(ends).tolist() == [[pytest.approx(least), pytest.approx(1.5)]] * 2


def recorded(algorithm, monkeypatch):
    """What `member_policy` is called with: observations and balances."""
    calls, whole = [], algorithm.member_policy
    monkeypatch.setattr(algorithm, "member_policy", lambda s, k: calls.append((s, k.detach())) or whole(s, k))
    return calls


@pytest.mark.parametrize("balance", ["random", "model"])
def test_the_policy_is_trained_at_random_balances_or_at_the_models(lab, monkeypatch, balance):
    algorithm, batch, noise = prepared(lab, balance=balance)
    calls = recorded(algorithm, monkeypatch)
    model = algorithm.balance_of(algorithm.balance_model(batch.observation).sample(noise["balance"])[0])
    algorithm.update(batch, noise, "update")
    assert torch.equal(calls[0][0], batch.observation)
    if balance == "random":
        torch.testing.assert_close(calls[0][1], 0.5 + noise["random_balance"])
    else:
        torch.testing.assert_close(calls[0][1], model.detach())
    # the next action is of the balance at s
    assert torch.equal(calls[1][0], batch.next_observation)
    torch.testing.assert_close(calls[1][1], model.detach())
    assert len(calls) == (3 if balance == "random" else 2)


def test_the_policys_loss_weighs_values_by_the_balance(lab):
    algorithm, _, _ = prepared(lab)
    k = torch.tensor([[0.5, 1.5], [1.0, 1.0]], requires_grad=True)
    log_prob, value = torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.tensor([[2.0, 4.0], [1.0, 5.0]])
    loss = algorithm.family_loss(k, log_prob, value)
    assert loss.flatten().tolist() == pytest.approx([2 - 3.5, -3.0])
    assert not loss.requires_grad


@pytest.mark.parametrize("explores", [False, True])
def test_whoever_acts_does_so_at_the_models_mode(lab, monkeypatch, explores):
    algorithm, batch, _ = prepared(lab)
    calls = recorded(algorithm, monkeypatch)
    noise = torch.ones_like(batch.action)
    found = algorithm.explore(batch.observation, noise) if explores else algorithm.act(batch.observation)
    mode = 1 + torch.tanh(algorithm.balance_model(batch.observation).mean).squeeze(-1) / 2
    torch.testing.assert_close(calls[0][1], mode.detach())
    policy = algorithm.member_policy(batch.observation, mode)
    expected = policy.mean + policy.log_std.exp() if explores else policy.mean
    torch.testing.assert_close(found, torch.tanh(expected))


def test_first_weights_are_those_of_jax(lab):
    sizes = {"critic_hidden_sizes": "64-64", "actor_hidden_sizes": "64-64", "balance_hidden_sizes": "64-64"}
    algorithm = lab.population("fam_cql", **sizes).algorithm
    for module in (algorithm.actor, algorithm.balance_model, algorithm.critics[0]):
        *_, hidden, output = module.network.layers
        bound = (3 * 0.01 / 64) ** 0.5
        assert 0.8 * bound < output.weight.abs().max() <= bound
        assert hidden.weight.std().item() == pytest.approx(1 / 8, rel=0.05)
        assert hidden.weight.abs().max() <= 2 / 8 / 0.8796 + 1e-6  # cut off at two deviations
        assert all((layer.bias == 0).all() for layer in module.network.layers)
    assert [norm.epsilon for norm in algorithm.critics[0].network.norms] == [1e-6, 1e-6]
    assert not len(algorithm.actor.network.norms)


def test_the_cut_normal_distribution_has_the_deviation_that_is_asked_for():
    drawn = Initial(["a", "b"], torch.device("cpu"), torch.float64).cut_normal((200, 200), 0.3)
    assert drawn.flatten(1).std(1).tolist() == pytest.approx([0.3, 0.3], rel=0.02)
    assert drawn.abs().max().item() == pytest.approx(2 * 0.3 / 0.87962566, rel=1e-2)
