"""ANQ's own promises: its losses and limits, what moves what, where it beats IQL and where not."""

from __future__ import annotations

from operator import itemgetter

import pytest
import torch

from algorithms import Batch, Sizes, algorithm_class

PUBLISHED = {
    "penalty": "norm",
    "normalize_q": False,
    "radius_weight_floor": 0.0,
    "radius_weight_cap": 1e30,
}
PORT = {"update_order": "joint", "refiner_target": False}
MEANS = dict.fromkeys(
    ("value_aggregate", "radius_aggregate", "refiner_aggregate", "policy_aggregate"), "mean"
)
FAST = {"actor_learning_rate": 0.01, "critic_learning_rate": 0.01, "soft_update": 0.2}


@pytest.mark.parametrize(
    "changes",
    [
        PUBLISHED | FAST | {"constraint_weight": 0.1},
        PORT | FAST | {"constraint_weight": 0.1, "actor_decay_steps": 20},
        MEANS | FAST | {"ensemble_size": 2, "policy_frequency": 3, "displacement_bound": 0.3},
        FAST | {"radius": "fixed", "value_hidden_sizes": "8", "critic_hidden_sizes": "8-4-8"},
        FAST | {"radius": "sigmoid", "beta": 10.0, "weight_cap": 1.05, "radius_weight_cap": 1.1},
        FAST | {"radius": "uncertainty", "radius_temperature": 20.0, "ensemble_size": 1},
        FAST | {"radius": "uncertainty", "radius_temperature": 20.0, "constraint_weight": 0.0},
    ],
    ids=["published", "port", "means", "fixed", "sigmoid", "one critic", "unconstrained"],
)
def test_it_is_the_plain_program(lab, changes):
    lab.compare("anq", steps=60, **changes)


@pytest.mark.parametrize("dataset", ["hopper-medium-v2", "antmaze-large-play-v2"])
def test_it_is_the_plain_program_as_shipped(lab, dataset):
    own = lab.shipped("anq", dataset) | dict.fromkeys(lab.widths("anq"), "16-16")
    del own["batch_size"]
    lab.compare("anq", steps=60, **own)


def prepared(lab, keys="ab", steps=6, each=(), **changes):
    """A population that has learnt a little, the next minibatch, and the phase that trains everything."""
    population = lab.population("anq", keys, each, **FAST | changes)
    population.train(steps)
    return population.algorithm, population.inputs(steps + 1)[0]


def gradients(loss, network):
    return torch.autograd.grad(loss.sum(), list(network.parameters()), retain_graph=True)


def parts(before, after):
    """Names of the networks and optimisers that differ."""
    return {name.split(".")[0].split("/")[0] for name in before if not torch.equal(before[name], after[name])}


def test_with_a_large_weight_nothing_is_displaced_and_v_is_iqls_on_four_critics(lab):
    """The sample constraint: δ → 0, and the loss of V is IQL's at the data's actions."""
    population = lab.population("anq", "ab", constraint_weight=1e6, **FAST)
    assert population.train(400)["displacement"].max() < 0.01
    algorithm, batch = population.algorithm, population.inputs(401)[0]
    q = algorithm.target_critic(batch.observation, batch.action)
    assert q.shape == (2, 4, 6)
    advantage = q.amin(1).detach() - algorithm.value(batch.observation)
    wanted = ((0.7 - (advantage < 0).double()).abs() * advantage**2).mean(1, keepdim=True)
    torch.testing.assert_close(algorithm.value_objective(batch)[0], wanted, rtol=0.02, atol=1e-6)

    with torch.no_grad():  # the limit itself
        for parameter in algorithm.target_refiner.network.layers[-1].parameters():
            parameter.zero_()
    loss, _ = algorithm.value_objective(batch)
    assert torch.equal(loss, algorithm.value_loss(advantage))
    for ours, iqls in zip(gradients(loss, algorithm.value), gradients(wanted, algorithm.value), strict=True):
        torch.testing.assert_close(ours, iqls, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"radius": radius, "radius_temperature": 0.0}
            for radius in ("exponential", "sigmoid", "uncertainty")
        ),
        {"radius": "fixed", "radius_temperature": 7.0},
    ],
)
def test_without_alpha_all_weigh_one(lab, changes):
    algorithm, batch = prepared(lab, **changes)
    assert torch.equal(algorithm.radius_weight(batch), torch.ones(2, 6).double())


@pytest.mark.parametrize("radius", ["exponential", "sigmoid", "uncertainty"])
def test_a_radius_is_what_its_formula_says(lab, radius):
    """And each member's α, floor and cap are its own."""
    each = [
        {"radius_temperature": 2.0, "radius_weight_floor": 0.0, "radius_weight_cap": 1e9},
        {"radius_temperature": 40.0, "radius_weight_floor": 0.9, "radius_weight_cap": 1.1},
    ]
    algorithm, batch = prepared(lab, each=each, radius=radius)
    q = algorithm.target_critic(batch.observation, batch.action)
    advantage = q.amin(1) - algorithm.value(batch.observation)
    alpha = torch.tensor([[2.0], [40.0]]).double()
    f = {
        "exponential": torch.exp(-alpha * advantage),
        "sigmoid": 2 / (1 + torch.exp(alpha * advantage)),
        "uncertainty": torch.exp(-alpha * q.var(1, correction=0).sqrt()),
    }[radius]
    weight = algorithm.radius_weight(batch)
    torch.testing.assert_close(weight[0], 1 / f[0])
    torch.testing.assert_close(weight[1], (1 / f[1]).clamp(0.9, 1.1))
    assert not weight.requires_grad


@pytest.mark.parametrize("penalty", ["norm", "squared"])
@pytest.mark.parametrize("normalize_q", [False, True])
def test_the_refiners_loss_is_equation_13_or_the_released_one(lab, penalty, normalize_q):
    changes = PUBLISHED | {"penalty": penalty, "normalize_q": normalize_q, "constraint_weight": 0.7}
    algorithm, batch = prepared(lab, radius_temperature=2.0, **changes)
    refined, delta = algorithm.refine(algorithm.refiner, batch)
    q = algorithm.critic(batch.observation, refined).amin(1)
    data = algorithm.target_critic(batch.observation, batch.action).amin(1)
    weight = torch.exp(2 * (data - algorithm.value(batch.observation)))
    size = {"norm": (delta**2).sum(-1).sqrt(), "squared": (delta**2).mean(-1)}[penalty]
    scale = q.abs().mean(1) if normalize_q else 1
    wanted = -q.mean(1) / scale + 0.7 * (weight * size).mean(1)
    torch.testing.assert_close(algorithm.refiner_objective(batch)[0].squeeze(1), wanted)


def test_q_does_not_pull_where_the_action_is_clipped_and_the_penalty_does(lab):
    """All actions are pushed beyond 1; but for the penalty nothing brings them back."""
    each = [{"constraint_weight": 0.0}, {"constraint_weight": 0.5}]
    algorithm, batch = prepared(lab, each=each)
    last = algorithm.refiner.network.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(2.0)
    refined, delta = algorithm.refine(algorithm.refiner, batch)
    assert (batch.action + delta).min() > 1
    assert (refined == 1).all()
    gradient = torch.cat(
        [g.flatten(1) for g in gradients(algorithm.refiner_objective(batch)[0], algorithm.refiner)], 1
    )
    assert (gradient[0] == 0).all()
    (bias,) = torch.autograd.grad(algorithm.refiner_objective(batch)[0].sum(), [last.bias])
    assert (bias[1] > 0).all()


def test_a_displacement_is_bounded(lab):
    algorithm, batch = prepared(lab, each=[{"displacement_bound": 0.1}, {"displacement_bound": 2.0}])
    with torch.no_grad():
        for parameter in algorithm.refiner.parameters():
            parameter.mul_(100)
    refined, delta = algorithm.refine(algorithm.refiner, batch)
    largest = delta.abs().amax((1, 2))
    torch.testing.assert_close(largest, torch.tensor([0.1, 2.0]).double(), rtol=1e-3, atol=0)
    assert refined.abs().max() <= 1


def test_the_policy_never_changes_what_q_v_and_the_refiner_learn(lab):
    plain, other = (
        lab.population("anq", "ab", **FAST, **changes) for changes in ({}, {"beta": 0.0, "weight_cap": 9.0})
    )
    with torch.no_grad():
        for parameter in other.algorithm.actor.parameters():
            parameter.add_(1)
    for population in (plain, other):
        population.train(20)
    assert parts(plain.state(), other.state()) == {"actor", "actor_optimiser"}


def test_without_lambda_no_constraint_is_left(lab):
    """Unconstrained Q-learning: radius and penalty change nothing, the refiner descends -E[Q] alone."""
    free = {"constraint_weight": 0.0, "normalize_q": False}
    changes = {"radius": "fixed", "penalty": "norm", "radius_aggregate": "mean", "radius_weight_cap": 1.0}
    one, other = (lab.population("anq", "ab", **FAST | free | own) for own in ({}, changes))
    for population in (one, other):
        population.train(20)
    assert not parts(one.state(), other.state())
    algorithm, batch = one.algorithm, one.inputs(21)[0]
    refined, _ = algorithm.refine(algorithm.refiner, batch)
    climb = -algorithm.critic(batch.observation, refined).amin(1).mean(1)
    torch.testing.assert_close(algorithm.refiner_objective(batch)[0].squeeze(1), climb)


@pytest.mark.parametrize(
    ("aggregate", "moved"),
    [
        ("value_aggregate", {"value_loss"}),
        ("radius_aggregate", {"radius_weight", "refiner_loss"}),
        ("refiner_aggregate", {"refined_q", "refiner_loss"}),
        ("policy_aggregate", {"policy_weight", "actor_loss"}),
    ],
)
def test_each_aggregate_counts_in_its_own_loss(lab, aggregate, moved):
    """All losses of one joint update, with the minimum there and with the mean."""
    own = {"update_order": "joint", "weight_cap": 100.0}
    found = []
    for how in ("min", "mean"):
        algorithm, batch = prepared(lab, steps=0, **own, **{aggregate: how})
        found.append(algorithm.update(batch, {}, "values and policies"))
    assert {name for name in found[0] if not torch.equal(found[0][name], found[1][name])} == moved


@pytest.mark.parametrize("order", ["sequential", "joint"])
def test_in_sequence_q_sees_the_new_v_and_jointly_the_old_one(lab, order):
    """And so on along the chain V, Q, μ, π: only the first of them does not depend on the steps before it."""
    ends = []
    for rate in (0.0, 0.1):
        population = lab.population("anq", update_order=order, value_learning_rate=rate)
        population.algorithm.update(population.inputs(2)[0], {}, "values and policies")
        ends.append(population.state())
    chain = {"critic", "target_critic", "refiner", "target_refiner", "actor"}
    assert parts(*ends) & chain == (chain if order == "sequential" else set())


def test_policies_and_targets_move_at_every_second_step(lab):
    population = lab.population("anq", **FAST)
    delayed = {"actor", "refiner", "target_refiner", "target_critic", "actor_optimiser", "refiner_optimiser"}
    always = {"critic", "value", "critic_optimiser", "value_optimiser"}
    for step in range(1, 5):
        before = population.state()
        population.train(1)
        assert parts(before, population.state()) == (always | delayed if step % 2 == 0 else always)


def test_the_policies_rate_is_a_cosine_over_their_own_updates(lab):
    population = lab.population("anq", actor_decay_steps=4)
    for optimiser in (population.algorithm.actor_optimiser, population.algorithm.refiner_optimiser):
        assert optimiser.learning_rate.item() == pytest.approx(3e-4, rel=1e-6)
    for factor in (0.853553, 0.5, 0.146447, 0.0):
        population.train(2)
        for optimiser in (population.algorithm.actor_optimiser, population.algorithm.refiner_optimiser):
            assert optimiser.learning_rate.item() == pytest.approx(3e-4 * factor, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("target", [True, False])
def test_v_is_fitted_at_the_target_refiners_actions_if_there_is_one(lab, target):
    algorithm, batch = prepared(lab, refiner_target=target)
    before = algorithm.value_objective(batch)[0]
    with torch.no_grad():
        for parameter in algorithm.refiner.parameters():
            parameter.mul_(3)
    assert torch.equal(algorithm.value_objective(batch)[0], before) == target
    assert hasattr(algorithm, "target_refiner") == target


def test_its_settings(lab):
    """AntMaze differs, and its large mazes are not normalised."""
    names = ("expectile", "beta", "weight_cap", "radius_weight_cap", "reward_shift", "normalize_observations")
    antmaze = (0.9, 10.0, 100.0, 10.0, -1.0)
    for dataset, wanted in {
        "hopper-medium-v2": (0.7, 3.0, 3.0, 30.0, 0.0, True),
        "antmaze-medium-play-v2": (*antmaze, True),
        "antmaze-large-diverse-v2": (*antmaze, False),
    }.items():
        assert tuple(lab.shipped("anq", dataset)[name] for name in names) == wanted


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("ensemble_size", 0, "is 0, but must be at least 1"),
        ("constraint_weight", -1, "is -1, but must be at least 0"),
        ("constraint_weight", float("inf"), "is inf, but must be finite"),
        ("radius_temperature", -0.5, "is -0.5, but must be at least 0"),
        ("radius", "round", "is 'round', but must be one of exponential, fixed, sigmoid, uncertainty"),
        ("penalty", "cubed", "is 'cubed', but must be one of norm, squared"),
        ("value_aggregate", "max", "is 'max', but must be one of min, mean"),
        ("update_order", "random", "is 'random', but must be one of sequential, joint"),
        ("radius_weight_floor", 2, "is 2, but must be at most 1"),
        ("radius_weight_cap", 0.5, "is 0.5, but must be at least 1"),
        ("displacement_bound", 0, "is 0, but must be above 0"),
        ("expectile", 1.5, "is 1.5, but must be at most 1"),
        ("policy_frequency", 0, "is 0, but must be at least 1"),
        ("refiner_target", "yes", "is 'yes', but must be true or false"),
    ],
)
def test_what_is_no_setting_is_named(lab, name, value, problem):
    declared = algorithm_class("anq").Hyperparameters
    assert declared.problems(lab.defaults("anq", **{name: value})) == {name: problem}


# -- a bandit whose best action is near the data, but not in them ------------------------------------------

STEPS, ROWS, BEST = 400, 2000, 0.5
LAMBDAS = (0.0, 1.0, 1e4)


@pytest.fixture(scope="module")
def actions(lab):
    """What IQL and ANQ with each of `LAMBDAS` do, from actions in [-0.5, 0.2] and rewards 1 - (a - 0.5)²."""
    source = torch.Generator().manual_seed(0)
    s = 2 * torch.rand(ROWS, 1, generator=source) - 1
    a = 0.7 * torch.rand(ROWS, 1, generator=source) - 0.5
    data = Batch(s, a, 1 - (a.squeeze(1) - BEST) ** 2, s, torch.ones(ROWS), a)

    def train(algorithm_id, each, **changes):
        rates = dict.fromkeys(("actor_learning_rate", "critic_learning_rate", "value_learning_rate"), 3e-3)
        own = {"batch_size": 64, "beta": 10.0, "weight_cap": 100.0, "actor_decay_steps": STEPS}
        wide = dict.fromkeys(lab.widths(algorithm_id), "32-32")
        members = lab.members(algorithm_id, "abc"[: len(each)], each, **rates, **own, **wide, **changes)
        algorithm = algorithm_class(algorithm_id)(members, Sizes(1, 1))
        for step in range(1, STEPS + 1):
            rows = torch.randint(ROWS, (64,), generator=source).expand(len(each), -1)
            algorithm.update(data.map(itemgetter(rows)), {}, algorithm.phase(step))
        with torch.no_grad():
            return algorithm.act(torch.linspace(-1, 1, 20).view(1, -1, 1).expand(len(each), -1, -1))

    (iql,) = train("iql", [{}], policy="deterministic")
    return iql, train("anq", [{"constraint_weight": weight} for weight in LAMBDAS])


def test_anq_beats_iql_where_the_best_action_is_near_the_data_but_not_in_them(actions):
    """The reward goes on rising beyond the data, up to BEST."""

    def reward(a):
        return (1 - (a - BEST) ** 2).mean()

    iql, (_, anq, _) = actions
    assert iql.max() < 0.22  # the edge of the data
    assert anq.min() > 0.22
    assert reward(anq) > reward(iql) + 0.05


def test_iql_beats_anq_where_the_neighbourhood_misleads(actions):
    """The same data, and so the same policies; but the reward falls off just beyond them."""

    def reward(a):
        return torch.where(a > 0.22, -1.0, 1 - (a - BEST) ** 2).mean()

    iql, (_, anq, _) = actions
    assert reward(iql) > reward(anq) + 1


def test_lambda_leads_from_unconstrained_q_learning_to_iql(actions):
    """At 0 the policy goes as far as Q, which rises throughout, extrapolates; at 10⁴ it is IQL's."""
    iql, (free, between, tight) = actions
    assert free.min() > 0.95
    assert (tight - iql).abs().max() < 0.1
    assert (free > between).all()
    assert (between > tight).all()
