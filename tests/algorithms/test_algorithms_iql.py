"""IQL's own promises: the expectile, the weights, the order of updates, the two policies, the schedule."""

from __future__ import annotations

import copy
import math

import pytest
import torch

POLICIES = ("gaussian", "deterministic")
# the program of OGBench's authors
OGBENCH = {
    "networks": "flax",
    "policy": "unit_gaussian",
    "advantage_critic": "online",
    "target_order": "before",
    "critic_loss": "sum",
    "actor_decay_steps": 0,
}
both_policies = pytest.mark.parametrize("policy", POLICIES)


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": "deterministic", "soft_update": 0.001},
        {"beta": 10.0, "expectile": 0.95, "value_learning_rate": 0.01, "actor_learning_rate": 0.01},
        {"beta": 0.0, "expectile": 0.5},
        {"weight_cap": 1.05, "critic_learning_rate": 0.01, "soft_update": 0.5},
        {"actor_decay_steps": 30, "actor_learning_rate": 0.01},  # the rate comes to 0 and rises again
        {
            "policy": "deterministic",
            "discount": 0.5,
            "value_hidden_sizes": "8",
            "critic_hidden_sizes": "8-4-8",
        },
        *({name: value, "critic_learning_rate": 0.01, "soft_update": 0.3} for name, value in OGBENCH.items()),
        OGBENCH | {"beta": 10.0, "expectile": 0.9, "soft_update": 0.3},
    ],
)
def test_it_is_the_plain_program(lab, changes):
    lab.compare("iql", **changes)


def test_a_value_below_q_costs_more_the_larger_the_expectile(lab):
    each = [{"expectile": value} for value in (0.5, 0.7, 0.95)]
    algorithm = lab.population("iql", "abc", each).algorithm
    above = algorithm.value_loss(torch.full((3, 4), 2.0).double())  # Q > V
    below = algorithm.value_loss(torch.full((3, 4), -2.0).double())
    torch.testing.assert_close(above, torch.tensor([[0.5], [0.7], [0.95]]).double() * 4)
    torch.testing.assert_close(below, torch.tensor([[0.5], [0.3], [0.05]]).double() * 4)


def test_the_loss_is_least_at_the_expectile(lab):
    algorithm = lab.population("iql", expectile=0.9).algorithm
    q = torch.tensor([[0.0, 1.0, 2.0, 7.0]]).double()
    values = torch.linspace(0, 7, 7001).double()
    best = values[torch.stack([algorithm.value_loss(q - v).squeeze() for v in values]).argmin()]
    # the defining balance: 0.9 of what lies above equals 0.1 of what lies below
    above, below = (q - best).clamp(min=0).sum(), (best - q).clamp(min=0).sum()
    assert 0.9 * above.item() == pytest.approx(0.1 * below.item(), abs=0.01)
    assert best > q.mean()


def test_weights_grow_with_the_advantage_up_to_the_cap(lab):
    each = [{"beta": 3.0, "weight_cap": 100.0}, {"beta": 0.5, "weight_cap": 2.0}]
    algorithm = lab.population("iql", "ab", each, dtype=torch.float32).algorithm
    advantage = torch.tensor([-1e4, -1.0, 0.0, 1.0, 2.0, 1e4]).expand(2, -1)
    weight = algorithm.weight(advantage)
    expected = [
        [0.0, 0.0497871, 1.0, 20.0855, 100.0, 100.0],  # 1e4 overflows the exponential
        [0.0, 0.606531, 1.0, 1.648721, 2.0, 2.0],
    ]
    torch.testing.assert_close(weight, torch.tensor(expected), rtol=1e-5, atol=0)
    assert torch.equal(weight[:, -1], torch.tensor([100.0, 2.0]))


def test_without_beta_all_weigh_the_same(lab):
    algorithm = lab.population("iql", beta=0.0).algorithm
    assert torch.equal(algorithm.weight(torch.randn(1, 5).double() * 9), torch.ones(1, 5).double())


def gradients(loss, network):
    return torch.autograd.grad(loss.sum(), list(network.parameters()))


@both_policies
def test_all_three_steps_see_the_value_function_as_it_was(lab, policy):
    population = lab.population("iql", "ab", policy=policy, value_learning_rate=0.01)
    population.train(5)  # now the target critics are not the critics
    algorithm, old = population.algorithm, copy.deepcopy(population.algorithm)
    batch, noise = population.inputs(6)
    algorithm.update(batch, noise, algorithm.phase(6))

    def after(value, target_critic):
        """Gradients of V, Q and policy, where A and y are made of these networks."""
        q = target_critic(batch.observation, batch.action).amin(1)
        advantage = (q - value(batch.observation)).detach()
        mean = old.actor(batch.observation)
        weight = torch.exp(3.0 * advantage).clamp(max=100)
        actor = (weight * old.imitation_loss(mean, batch)).mean(1)
        target = batch.reward + 0.99 * (1 - batch.terminal) * value(batch.next_observation).detach()
        q1, q2 = old.critic(batch.observation, batch.action).unbind(1)
        critic = ((q1 - target) ** 2 + (q2 - target) ** 2).mean(1) / 2
        u = q.detach() - value(batch.observation)
        value_loss = ((0.7 - (u < 0).double()).abs() * u**2).mean(1)
        return gradients(value_loss, value), gradients(critic, old.critic), gradients(actor, old.actor)

    networks = (algorithm.value, algorithm.critic, algorithm.actor)
    expected = after(old.value, old.target_critic)
    for network, wanted in zip(networks, expected, strict=True):
        for parameter, gradient in zip(network.parameters(), wanted, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)

    def differs(network, wanted):
        pairs = zip(network.parameters(), wanted, strict=True)
        return any((p.grad - g).abs().max() > 1e-6 for p, g in pairs)

    # with the new V, or the online critics, it would be something else
    _, critic, actor = after(algorithm.value, old.target_critic)
    assert differs(algorithm.critic, critic)
    assert differs(algorithm.actor, actor)
    value, _, actor = after(old.value, old.critic)
    assert differs(algorithm.value, value)
    assert differs(algorithm.actor, actor)


def test_the_target_critics_follow_at_every_step_with_the_critics_after_theirs(lab):
    population = lab.population("iql", soft_update=0.1, critic_learning_rate=0.01)
    algorithm = population.algorithm
    for _ in range(3):
        before = copy.deepcopy(algorithm.target_critic)
        population.train(1)
        triples = zip(
            algorithm.target_critic.parameters(),
            before.parameters(),
            algorithm.critic.parameters(),
            strict=True,
        )
        for target, old, online in triples:
            torch.testing.assert_close(target, 0.9 * old + 0.1 * online, rtol=0, atol=1e-14)
            assert not torch.equal(target, old)


def test_the_policys_rate_is_a_cosine_that_comes_to_zero_and_rises_again(lab):
    population = lab.population("iql")
    algorithm = population.algorithm
    optimiser = algorithm.actor_optimiser
    count = optimiser.state[optimiser.parameters[0]]["step"]
    assert optimiser.learning_rate.item() == pytest.approx(3e-4, rel=1e-7)
    half = [(250_000, 0.853553), (500_000, 0.5), (750_000, 0.146447), (1_000_000, 0.0)]
    for done, factor in [*half, (1_050_000, 0.00615583), (1_250_000, 0.146447)]:
        for parameter in optimiser.parameters:
            optimiser.state[parameter]["step"].fill_(done - 1)
        population.train(1)
        assert count.item() == done
        assert optimiser.learning_rate.item() == pytest.approx(3e-4 * factor, rel=1e-5, abs=1e-12)


def test_the_gaussian_policys_loss_is_the_negative_log_likelihood_summed_over_dimensions(lab):
    population = lab.population("iql", "ab")
    algorithm, (batch, _) = population.algorithm, population.inputs(1)
    with torch.no_grad():
        algorithm.actor.log_std.copy_(torch.tensor([[[-0.7, 0.3]], [[1.5, 9.0]]]))  # 9 counts as 2
    mean = algorithm.actor(batch.observation)
    std = torch.exp(torch.tensor([[[-0.7, 0.3]], [[1.5, 2.0]]]).double())
    expected = -torch.distributions.Normal(mean, std).log_prob(batch.action).sum(-1)
    loss = algorithm.imitation_loss(mean, batch)
    assert loss.shape == batch.reward.shape
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss.sum(), [algorithm.actor.log_std])
    assert (gradient[0] != 0).all()
    assert gradient[1, 0, 1] == 0  # beyond the clamp


def test_the_deterministic_policys_loss_is_the_squared_error_summed_over_dimensions(lab):
    population = lab.population("iql", policy="deterministic")
    algorithm, (batch, _) = population.algorithm, population.inputs(1)
    mean = algorithm.actor(batch.observation)
    error = (mean - batch.action) ** 2
    torch.testing.assert_close(algorithm.imitation_loss(mean, batch), error[..., 0] + error[..., 1])
    assert "actor.log_std" not in algorithm.training_state()


def test_the_standard_deviation_is_learnt_for_each_member(lab):
    population = lab.population("iql", "ab")
    log_std = population.algorithm.actor.log_std
    assert log_std.shape == (2, 1, 2)
    assert (log_std == 0).all()
    population.train(20)
    assert (log_std != 0).all()
    assert not torch.equal(log_std[0], log_std[1])


@both_policies
def test_it_acts_by_the_mean(lab, policy):
    population = lab.population("iql", policy=policy)
    algorithm, observation = population.algorithm, population.inputs(1)[0].observation * 1e3
    before = algorithm.act(observation)
    assert before.abs().max() <= 1
    if policy == "gaussian":
        with torch.no_grad():
            algorithm.actor.log_std.fill_(2)
    assert torch.equal(algorithm.act(observation), before)
    torch.testing.assert_close(before, torch.tanh(algorithm.actor.network(observation)))


@pytest.mark.parametrize(("policy", "spread"), [("gaussian", 0.5), ("deterministic", 0.03)])
def test_it_explores_around_the_mean(lab, policy, spread):
    population = lab.population("iql", policy=policy)
    algorithm, observation = population.algorithm, population.inputs(1)[0].observation
    mean, noise = algorithm.act(observation), torch.full((1, 1, 1), 1.5).double()
    if policy == "gaussian":
        with torch.no_grad():
            algorithm.actor.log_std.fill_(math.log(spread))
    torch.testing.assert_close(algorithm.explore(observation, noise), (mean + 1.5 * spread).clamp(-1, 1))
    assert algorithm.explore(observation, 100 * noise).max() == 1


def test_ogbenchs_form_is_one_step_on_the_sum_of_all_losses_at_the_networks_before_it(lab):
    population = lab.population("iql", "ab", **OGBENCH, beta=10.0, critic_learning_rate=0.01)
    population.train(5)
    algorithm, old = population.algorithm, copy.deepcopy(population.algorithm)
    batch, noise = population.inputs(6)
    algorithm.update(batch, noise, algorithm.phase(6))
    s, a = batch.observation, batch.action
    with torch.no_grad():
        y = batch.reward + 0.99 * (1 - batch.terminal) * old.value(batch.next_observation)
        smaller, online = (critic(s, a).amin(1) for critic in (old.target_critic, old.critic))
        weight = (10 * (online - old.value(s))).exp().clamp(max=100)
    u = smaller - old.value(s)
    loss = ((0.7 - 0.4 * (u < 0).double()) * u**2).mean(1)
    loss = loss + ((old.critic(s, a) - y.unsqueeze(1)) ** 2).sum(1).mean(1)
    loss = loss + (weight * ((old.actor(s) - a) ** 2 / 2).sum(-1)).mean(1)
    for name in ("value", "critic", "actor"):
        parameters = list(getattr(algorithm, name).parameters())
        wanted = torch.autograd.grad(loss.sum(), list(getattr(old, name).parameters()), retain_graph=True)
        for parameter, gradient in zip(parameters, wanted, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)
    triples = zip(
        *(n.parameters() for n in (algorithm.target_critic, old.target_critic, old.critic)), strict=True
    )
    for target, before, online in triples:
        torch.testing.assert_close(target, 0.995 * before + 0.005 * online, rtol=0, atol=1e-15)


def test_flaxs_networks_normalise_q_and_v_and_shrink_the_policys_output(lab):
    algorithm = lab.population(
        "iql",
        **OGBENCH,
        **dict.fromkeys([f"{n}_hidden_sizes" for n in ("actor", "critic", "value")], "64-64"),
    ).algorithm
    for name, scale in (("actor", 0.01), ("critic", 1.0), ("value", 1.0)):
        network = getattr(algorithm, name).network
        assert [norm.epsilon for norm in network.norms] == ([] if name == "actor" else [1e-6] * 2)
        assert network.norm == (None if name == "actor" else "after")
        *hidden, output = network.layers
        for layer, factor in ((hidden[-1], 1.0), (output, scale)):
            bound = (6 * factor / sum(layer.weight.shape[-2:])) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound
            assert (layer.bias == 0).all()


def test_a_policy_of_unit_variance_is_a_line_that_is_clipped_when_it_acts(lab):
    population = lab.population("iql", "ab", **OGBENCH)
    algorithm, (batch, _) = population.algorithm, population.inputs(1)
    with torch.no_grad():
        algorithm.actor.network.layers[-1].bias.fill_(3.0)
    mean = algorithm.actor(batch.observation)
    assert mean.min() > 2
    assert (algorithm.act(batch.observation) == 1).all()
    expected = -torch.distributions.Normal(mean, 1.0).log_prob(batch.action).sum(-1)
    torch.testing.assert_close(algorithm.imitation_loss(mean, batch), expected)
    noise = torch.full_like(mean, -3.2)
    torch.testing.assert_close(algorithm.explore(batch.observation, noise), (mean - 3.2).clamp(-1, 1))


def test_without_a_schedule_the_policys_rate_stays(lab):
    population = lab.population("iql", actor_decay_steps=0)
    population.train(3)
    assert population.algorithm.actor_optimiser.learning_rate == 3e-4


@pytest.mark.parametrize(("maze", "discount"), [("large", 0.99), ("giant", 0.995)])
def test_ogbenchs_datasets_have_the_settings_of_its_authors(lab, maze, discount):
    for task in range(1, 6):
        found = lab.shipped("iql", f"antmaze-{maze}-navigate-singletask-task{task}-v0")
        expected = OGBENCH | {"beta": 10.0, "expectile": 0.9, "discount": discount, "reward_shift": 0.0}
        expected |= {"normalize_observations": False, "soft_update": 0.005, "weight_cap": 100.0}
        expected |= dict.fromkeys(lab.widths("iql"), "512-512-512-512")
        assert {name: found[name] for name in expected} == expected


def test_every_dataset_of_the_paper_has_its_own_settings_and_no_other(lab):
    datasets = [d for group in lab.specs.table("aspc-table1").groups for d in group.datasets]
    own = lab.specs.algorithm("iql").per_dataset
    assert len(datasets) == 39
    assert {name for name in own if "*" not in name} == set(datasets)
    assert [d for d in datasets if lab.shipped("iql", d)["policy"] == "deterministic"] == [
        "hopper-medium-v2",
        "hopper-medium-replay-v2",
    ]
    for dataset in datasets:
        found = lab.shipped("iql", dataset)
        special = dataset in ("hopper-medium-v2", "hopper-medium-replay-v2")
        assert found["normalize_rewards"] == special
        assert found["soft_update"] == (0.001 if special else 0.005)
        assert found["reward_shift"] == (-1 if dataset.startswith("antmaze") else 0)
        assert found["reward_scale"] == 1


@pytest.mark.parametrize(
    ("dataset", "beta", "expectile"),
    [
        ("halfcheetah-expert-v2", 6.0, 0.9),
        ("hopper-medium-v2", 3.0, 0.7),
        ("hopper-medium-replay-v2", 6.0, 0.7),
        ("walker2d-medium-v2", 6.0, 0.5),
        ("maze2d-large-v1", 3.0, 0.7),
        ("antmaze-umaze-diverse-v2", 10.0, 0.95),
        ("antmaze-large-diverse-v2", 6.0, 0.9),
        ("pen-expert-v1", 10.0, 0.8),
        ("door-human-v1", 0.5, 0.9),
    ],
)
def test_table_10(lab, dataset, beta, expectile):
    found = lab.shipped("iql", dataset)
    assert (found["beta"], found["expectile"]) == (beta, expectile)


def test_iql_aspc_has_iqls_settings_on_every_dataset(lab):
    for dataset in lab.specs.ids("datasets"):
        host, extended = lab.shipped("iql", dataset), lab.shipped("iql_aspc", dataset)
        assert extended["initial_beta"] == host.pop("beta")
        assert {name: extended[name] for name in host} == host
