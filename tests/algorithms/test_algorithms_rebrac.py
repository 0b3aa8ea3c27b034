"""Conventions of ReBRAC that are easy to get wrong: sums, minima, the first step, whom the targets follow."""

from __future__ import annotations

import copy

import pytest
import torch

# penalties of a size that shows
VISIBLE = {"actor_bc_coefficient": 0.3, "critic_bc_coefficient": 0.7}
# the program of OGBench's authors
OGBENCH = {"networks": "flax", "optimiser": "joint", "policy_first": False, "critic_loss": "mean"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"target_order": "after", "soft_update": 0.3},
        {"target_order": "before", "soft_update": 0.3},
        {"policy_frequency": 3},
        {"policy_frequency": 1},
        {"critic_bc_coefficient": 0.0},
        {"actor_learning_rate": 1e-2, "critic_learning_rate": 1e-3},
        {"norm_epsilon": 0.1},
        *({name: value} for name, value in OGBENCH.items()),
        OGBENCH | {"soft_update": 0.3, "norm_epsilon": 0.1},
        OGBENCH | {"soft_update": 0.3, "target_order": "after", "policy_frequency": 3},
    ],
    ids=str,
)
def test_each_option_is_that_of_the_plain_program(lab, changes):
    lab.compare("rebrac", **(VISIBLE | changes))


def _at_zero(algorithm, value):
    """Make π(s) = 0 and both Q(s, a) = `value`, whatever the input."""
    with torch.no_grad():
        for network in (algorithm.actor, algorithm.target_actor):
            for parameter in network.parameters():
                parameter.zero_()
        for network in (algorithm.critic, algorithm.target_critic):
            network.network.layers[-1].weight.zero_()
            network.network.layers[-1].bias.fill_(value)


@pytest.mark.parametrize(
    ("algorithm_id", "distance"), [("rebrac", 0.25 + 0.09), ("td3_bc", (0.25 + 0.09) / 2)]
)
def test_the_constraint_of_rebrac_sums_over_action_dimensions_and_that_of_td3_bc_averages(
    lab, algorithm_id, distance
):
    """The policy acts (0, 0), the data (0.5, -0.3): the weights of both are 1, and Q is 7 everywhere."""
    weight = {"rebrac": "actor_bc_coefficient", "td3_bc": "alpha"}[algorithm_id]
    population = lab.population(algorithm_id, "ab", **{weight: 1.0})
    _at_zero(population.algorithm, 7.0)
    batch, _ = population.inputs(1)
    batch = batch._replace(action=torch.tensor([0.5, -0.3]).double().expand_as(batch.action))
    loss = population.algorithm.actor_loss(batch)
    loss = loss.whole if algorithm_id == "td3_bc" else loss
    assert loss[:, 0].tolist() == pytest.approx([distance - 1] * 2)


def test_the_targets_penalty_sums_over_action_dimensions_and_is_discounted_and_stops_at_terminals(lab):
    """The target policy acts (0, 0), the data go on with (0.5, -0.3); terminal transitions see neither."""
    each = [{"critic_bc_coefficient": 2.0, "discount": 0.9}, {"critic_bc_coefficient": 0.0, "discount": 0.5}]
    population = lab.population("rebrac", "ab", each, policy_noise=0.0)
    _at_zero(population.algorithm, 7.0)
    batch, noise = population.inputs(1)
    next_action = torch.tensor([0.5, -0.3]).double().expand_as(batch.action)
    target = population.algorithm.target_value(
        batch._replace(next_action=next_action), noise["target_action"]
    )
    assert 0 < batch.terminal.mean() < 1
    after = torch.tensor([[0.9 * (7 - 2 * 0.34)], [0.5 * 7]]).double()
    torch.testing.assert_close(target, batch.reward + (1 - batch.terminal) * after)


def test_the_targets_penalty_is_that_of_the_smoothed_action(lab):
    population = lab.population("rebrac", critic_bc_coefficient=1.0, discount=1.0)
    algorithm = population.algorithm
    _at_zero(algorithm, 0.0)
    batch, noise = population.inputs(1)
    smoothed = (0.2 * noise["target_action"]).clamp(-0.5, 0.5)
    expected = ((smoothed - batch.next_action) ** 2).sum(-1)
    target = algorithm.target_value(batch, noise["target_action"])
    torch.testing.assert_close(batch.reward - target, (1 - batch.terminal) * expected)


def test_both_critics_count_in_the_policys_loss_and_so_in_its_scale(lab):
    population = lab.population("rebrac", actor_bc_coefficient=0.0)
    algorithm = population.algorithm
    batch, _ = population.inputs(1)
    action = algorithm.act(batch.observation)
    sides = torch.linspace(-2, 1, batch.reward.shape[1]).double()
    # where the first critic is the smaller, and where the second is
    algorithm.critic.forward = lambda s, a: torch.stack([sides, -sides]).unsqueeze(0) + 0 * a.sum()
    smaller = -sides.abs()
    assert algorithm.actor_loss(batch).item() == pytest.approx(
        -smaller.mean().item() / sides.abs().mean().item()
    )
    # the scale is a constant, so the gradient by Q is -λ / B for the smaller of each pair and 0 for the other
    values = torch.stack([sides, -sides]).unsqueeze(0).requires_grad_()
    algorithm.critic.forward = lambda s, a: values
    (gradient,) = torch.autograd.grad(algorithm.actor_loss(batch).sum(), [values])
    chosen = torch.stack([sides < 0, sides > 0]).unsqueeze(0)
    torch.testing.assert_close(gradient, -chosen.double() / sides.abs().sum())
    assert action.shape == batch.action.shape


def test_the_first_step_trains_the_policy_and_every_second_one_after_it(lab):
    population = lab.population("rebrac", "ab", **VISIBLE)
    algorithm = population.algorithm
    assert [algorithm.phase(step) for step in (1, 2, 3, 4)] == ["critic and actor", "critic"] * 2
    phases = [algorithm.phase(step) for step in range(1, 1001)]
    assert phases.count("critic and actor") == 500
    for step in range(1, 5):
        before = population.state()
        population.train(1)
        after = population.state()
        moved = {
            name.split(".")[0]
            for name in before
            if "/" not in name and not torch.equal(before[name], after[name])
        }
        # at the first step the target policy follows one that is still equal to it
        later = {1: {"actor", "target_critic"}, 3: {"actor", "target_actor", "target_critic"}}
        assert moved == {"critic"} | later.get(step, set()), step


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_target_policy_follows_the_policy_before_or_after_its_step_and_the_critic_its_new_self(
    lab, order
):
    population = lab.population("rebrac", target_order=order, soft_update=0.25, actor_learning_rate=0.1)
    population.train(2)
    before = population.state()
    population.train(1)
    after = population.state()
    for network, online in (("actor", before if order == "before" else after), ("critic", after)):
        for name, _ in getattr(population.algorithm, network).named_parameters():
            target = 0.75 * before[f"target_{network}.{name}"] + 0.25 * online[f"{network}.{name}"]
            torch.testing.assert_close(after[f"target_{network}.{name}"], target, rtol=0, atol=1e-14)
    moved = {n: (after[n] - before[n]).abs().max() for n in before if n.startswith("actor.")}
    assert max(moved.values()) > 0.01


def test_a_joint_adam_moves_the_policy_by_momentum_between_its_turns(lab):
    """It has its turns at steps 2, 4, …; before the first there is no momentum."""
    population = lab.population("rebrac", "ab", **VISIBLE, **OGBENCH)
    phases = [population.algorithm.phase(step) for step in (1, 2, 3, 4)]
    assert phases == ["critic", "critic and actor"] * 2
    for step in range(1, 5):
        before = population.state()
        population.train(1)
        after = population.state()
        moved = {
            name.split(".")[0]
            for name in before
            if "/" not in name and not torch.equal(before[name], after[name])
        }
        # the targets follow networks that are still equal to them at step 1, critics that are not at step 2
        later = {2: {"actor", "target_critic"}, 3: {"actor"}, 4: {"actor", "target_actor", "target_critic"}}
        assert moved == {"critic"} | later.get(step, set()), step
        if step == 3:
            momentum = before["actor_optimiser/0/exp_avg"], after["actor_optimiser/0/exp_avg"]
            torch.testing.assert_close(momentum[1], 0.9 * momentum[0])
            root = (after["actor_optimiser/0/exp_avg_sq"] / (1 - 0.999**3)).sqrt()
            change = -1e-3 * momentum[1] / (1 - 0.9**3) / (root + 1e-8)
            name = "actor.network.layers.0.weight"
            torch.testing.assert_close(after[name] - before[name], change, rtol=1e-6, atol=1e-15)


def test_a_joint_step_is_of_the_networks_before_it_and_so_are_the_targets(lab):
    population = lab.population("rebrac", "ab", **VISIBLE, **OGBENCH, critic_learning_rate=0.01)
    population.train(3)
    algorithm, old = population.algorithm, copy.deepcopy(population.algorithm)
    batch, noise = population.inputs(4)
    algorithm.update(batch, noise, "critic and actor")
    target = old.target_value(batch, noise["target_action"]).unsqueeze(1)
    critic = ((old.critic(batch.observation, batch.action) - target) ** 2).mean((1, 2))
    for name, loss in (("critic", critic), ("actor", old.actor_loss(batch))):
        wanted = torch.autograd.grad(loss.sum(), list(getattr(old, name).parameters()))
        for parameter, gradient in zip(getattr(algorithm, name).parameters(), wanted, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-13)
        networks = (getattr(algorithm, f"target_{name}"), getattr(old, f"target_{name}"), getattr(old, name))
        for moved, before, online in zip(*(n.parameters() for n in networks), strict=True):
            torch.testing.assert_close(moved, 0.995 * before + 0.005 * online, rtol=0, atol=1e-15)


def test_flaxs_first_weights(lab):
    wide = "64-64"
    algorithm = lab.population(
        "rebrac", **OGBENCH, actor_hidden_sizes=wide, critic_hidden_sizes=wide
    ).algorithm
    assert [norm.epsilon for norm in algorithm.critic.network.norms] == [1e-6] * 2
    assert len(algorithm.actor.network.norms) == 0
    for network, scale in ((algorithm.actor.network, 0.01), (algorithm.critic.network, 1.0)):
        for layer, factor in ((network.layers[1], 1.0), (network.layers[2], scale)):
            bound = (6 * factor / sum(layer.weight.shape[-2:])) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound
            assert (layer.bias == 0).all()


def test_first_weights(lab):
    wide = "256-256-256"
    algorithm = lab.population("rebrac", actor_hidden_sizes=wide, critic_hidden_sizes=wide).algorithm
    assert len(algorithm.actor.network.norms) == 0
    assert [norm.epsilon for norm in algorithm.critic.network.norms] == [1e-6] * 3
    for network, inputs, bound in ((algorithm.actor, 3, 1e-3), (algorithm.critic, 5, 3e-3)):
        *hidden, output = network.network.layers
        assert [layer.weight.shape[-2:] for layer in hidden] == [(inputs, 256), (256, 256), (256, 256)]
        for layer, size in zip(hidden, (inputs, 256, 256), strict=True):
            assert (layer.bias == 0.1).all()
            assert 0.9 * size**-0.5 < layer.weight.abs().max() <= size**-0.5
        assert 0.9 * bound < output.weight.abs().max() <= bound
        assert 0 < output.bias.abs().max() <= bound
    assert not torch.equal(*algorithm.critic.network.layers[0].weight[0])


# -- the shipped values --


@pytest.fixture
def datasets(lab):
    return lab.specs.table("aspc-table1").datasets


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("hopper-", (1024, 1e-3, 1e-3, 0.99, 1)),
        ("halfcheetah-", (1024, 1e-3, 1e-3, 0.99, 1)),
        ("walker2d-", (1024, 1e-3, 1e-3, 0.99, 1)),
        ("antmaze-", (256, 3e-4, 5e-5, 0.999, 100)),
        ("maze2d-", (256, 3e-4, 3e-4, 0.99, 1)),
        ("pen-", (256, 3e-4, 3e-4, 0.99, 1)),
        ("door-", (256, 3e-4, 3e-4, 0.99, 1)),
        ("hammer-", (256, 3e-4, 3e-4, 0.99, 1)),
        ("relocate-", (256, 3e-4, 3e-4, 0.99, 1)),
    ],
)
def test_each_domain_has_its_batch_rates_discount_and_reward_scale(lab, datasets, prefix, expected):
    names = ("batch_size", "actor_learning_rate", "critic_learning_rate", "discount", "reward_scale")
    found = [dataset for dataset in datasets if dataset.startswith(prefix)]
    assert found
    for dataset in found:
        values = lab.shipped("rebrac", dataset)
        assert tuple(values[name] for name in names) == expected, dataset
        assert values["normalize_observations"] is False


def test_every_dataset_has_its_own_coefficients_and_those_of_the_code_where_the_paper_differs(lab, datasets):
    own = lab.specs.algorithm("rebrac").per_dataset
    assert len(datasets) == 39
    for dataset in datasets:
        assert own[dataset].hyperparameters.keys() == {"actor_bc_coefficient", "critic_bc_coefficient"}, (
            dataset
        )
    assert lab.shipped("rebrac", "hopper-medium-v2")["critic_bc_coefficient"] == 0.01
    assert lab.shipped("rebrac", "hopper-expert-v2")["critic_bc_coefficient"] == 0.1


@pytest.mark.parametrize(("maze", "discount"), [("large", 0.99), ("giant", 0.995)])
def test_ogbenchs_datasets_have_the_settings_of_its_authors(lab, maze, discount):
    for task in range(1, 6):
        found = lab.shipped("rebrac", f"antmaze-{maze}-navigate-singletask-task{task}-v0")
        expected = OGBENCH | {"actor_bc_coefficient": 0.003, "critic_bc_coefficient": 0.01}
        expected |= {"discount": discount, "reward_scale": 1.0, "batch_size": 256, "target_order": "before"}
        expected |= {"actor_learning_rate": 3e-4, "critic_learning_rate": 3e-4}
        expected |= dict.fromkeys(lab.widths("rebrac"), "512-512-512-512")
        assert {name: found[name] for name in expected} == expected
