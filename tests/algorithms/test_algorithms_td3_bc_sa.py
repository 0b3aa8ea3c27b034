"""TD3+BC(SA): what weighs the constraint, what moves with what, and the way from offline to online."""

from __future__ import annotations

import math

import pytest
import torch

from algorithms import Batch, Sizes, algorithm_class

# steps this large move β, and such a period takes n to its end within 46 updates
LEARNING = {"coefficient_learning_rate": 1e-3, "threshold_period": 4}
ONLINE = {"coefficient": "frozen", "annealing": "linear", "decay_steps": 100.0}


def snapshot(algorithm):
    return {name: tensor.clone() for name, tensor in algorithm.state_dict().items()}


def moved(before, after):
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(
    "changes",
    [
        LEARNING,
        LEARNING | {"mask_regulariser": False},
        LEARNING | {"threshold_start": 5.0, "threshold_end": 8.0},
        ONLINE,
        ONLINE | {"policy_frequency": 6},
        ONLINE | {"policy_frequency": 6, "reproduce_defects": True},
        ONLINE | {"annealing": "none", "policy_frequency": 3, "mask_regulariser": False},
    ],
)
def test_it_is_the_plain_program(lab, changes):
    algorithm, _ = lab.compare("td3_bc_sa", steps=60, **changes)
    if changes.get("threshold_start") == 5.0:
        assert algorithm.coefficient.stopped.all()
    elif "annealing" not in changes:
        assert algorithm.coefficient.threshold.tolist() == [[3.0], [3.0]]


def test_a_constant_coefficient_makes_it_td3_bc_divided_by_alpha(lab):
    ours = lab.population("td3_bc_sa", coefficient_learning_rate=0.0).algorithm
    theirs = lab.population("td3_bc", critic="layer_norm", alpha=2.5)
    theirs.train(10)
    own, state = ours.state_dict(), theirs.algorithm.state_dict()
    ours.load_state_dict(own | state)
    with torch.no_grad():
        last = ours.coefficient.network.network.layers[-1]
        last.weight.zero_()
        last.bias.fill_(math.log(2))  # β = β₀ = 1 / α to the last digit
    batch, _ = theirs.inputs(11)
    batch = batch._replace(extra={"trust": torch.ones_like(batch.reward)})
    wanted = torch.autograd.grad(
        theirs.algorithm.actor_loss(batch).whole.sum(), theirs.algorithm.actor.parameters()
    )
    got = {}
    ours.actor_optimiser.descend = lambda loss: got.update(
        gradients=torch.autograd.grad(loss.sum(), ours.actor.parameters())
    )
    ours.coefficient_optimiser.descend = lambda loss: None
    ours.update_actor(batch)
    for one, other in zip(got["gradients"], wanted, strict=True):
        torch.testing.assert_close(one, other / 2.5, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("mask", "weighs"), [(True, [0.0, 0.5]), (False, [0.5, 0.5])])
def test_what_is_not_trusted_is_not_held_near_the_data_where_asked(lab, mask, weighs):
    algorithm = lab.population("td3_bc_sa", batch_size=2, mask_regulariser=mask).algorithm
    trust = torch.tensor([[0.0, 1.0]]).double()
    weight = algorithm.coefficient.weight(torch.full((1, 2), 0.5).double(), batch_of(trust), algorithm.clock)
    assert weight.tolist() == [weighs]


def batch_of(trust):
    zeros = torch.zeros(1, 2, 3).double()
    return Batch(zeros, zeros[..., :2], trust, zeros, trust, zeros[..., :2], {"trust": trust})


def test_slack_is_the_square_of_n_tenths_less_the_mean_squared_error_of_a_dimension(lab):
    algorithm = lab.population(
        "td3_bc_sa", "ab", [{"threshold_start": 1.0}, {"threshold_start": 5.0}]
    ).algorithm
    error = torch.tensor([[[0.04, 0.0], [9.0, 0.5]]]).double().expand(2, -1, -1)  # 9 counts as 1
    expected = torch.tensor([[0.01 - 0.02, 0.01 - 0.75], [0.25 - 0.02, 0.25 - 0.75]]).double()
    torch.testing.assert_close(algorithm.slack(error), expected)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, {2: {"actor", "targets"}, 4: {"actor", "targets"}, 6: {"actor", "targets"}}),
        ({"policy_frequency": 3}, {2: {"targets"}, 3: {"actor"}, 4: {"targets"}, 6: {"actor", "targets"}}),
        (
            {"policy_frequency": 3, "reproduce_defects": True},
            {3: {"actor", "targets"}, 6: {"actor", "targets"}},
        ),
    ],
)
def test_the_targets_move_as_often_as_offline_unless_defects_are_reproduced(lab, changes, steps):
    population = lab.population("td3_bc_sa", **changes)
    with_policy = {"actor", "coefficient"}
    for step in range(1, 7):
        before = snapshot(population.algorithm)
        population.train(1)
        wanted = steps.get(step, set())
        expected = {"critic"} | (with_policy if "actor" in wanted else set())
        expected |= {"target_critic", "target_actor"} if "targets" in wanted else set()
        if step == 2 and changes.get("policy_frequency") == 3:
            expected -= {"target_actor"}  # follows a policy that has not moved yet
        assert moved(before, snapshot(population.algorithm)) == expected, step


def test_online_the_coefficient_and_the_threshold_stay_and_all_else_goes_on(lab):
    offline = lab.population("td3_bc_sa", "ab", **LEARNING)
    offline.train(20)
    online = lab.population("td3_bc_sa", "ab", **LEARNING, **ONLINE, policy_frequency=4)
    online.algorithm.load_training_state(offline.state())
    before = online.state()
    online.train(8)
    after = online.state()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("coefficient")} == same
    batch, _ = online.inputs(9)
    one = online.algorithm.coefficient(batch.observation)
    left = online.algorithm.coefficient.weight(one, batch, online.algorithm.clock)
    torch.testing.assert_close(left, one * (1 - 9 / 100) * batch.extra["trust"])


def test_it_reports_what_the_coefficient_does(lab):
    metrics = lab.population("td3_bc_sa", "ab").train(2)
    names = {"coefficient", "coefficient_at_zero", "coefficient_at_top", "threshold", "trusted", "value"}
    assert names <= metrics.keys()
    assert metrics["coefficient"].tolist() == [[pytest.approx(0.4, rel=0.2)]] * 2
    assert metrics["threshold"].tolist() == [[1.0], [1.0]]


def test_a_decay_over_no_steps_is_refused(lab):
    with pytest.raises(ValueError, match="decay_steps"):
        lab.population("td3_bc_sa", decay_steps=0.0)


GOAL = torch.tensor([0.6, -0.4])


def test_online_improves_on_offline(lab):
    """On a plane with a goal, from actions at random that it is held to: what is gathered frees it."""
    source = torch.Generator().manual_seed(0)

    def earned(s, a):
        there = (s + 0.2 * a).clamp(-1, 1)
        return there, -(there - GOAL).norm(dim=-1)

    def walk(algorithm):
        s, total = torch.cartesian_prod(*[torch.linspace(-0.9, 0.9, 10)] * 2).expand(2, -1, -1), 0.0
        for _ in range(20):
            s, r = earned(s, algorithm.act(s))
            total = total + r
        return total.mean(1)

    def rows(s, a):
        there, r = earned(s, a)
        return Batch(s, a, r, there, torch.zeros_like(r), a, {"trust": torch.ones_like(r)})

    def made(**changes):
        hyper = lab.defaults("td3_bc_sa", actor_hidden_sizes="64-64", batch_size=64, discount=0.9, **changes)
        members = [lab.members("td3_bc_sa", key)[0] for key in "ab"]
        return algorithm_class("td3_bc_sa")(
            [type(member)(member.key, hyper) for member in members], Sizes(2, 2)
        )

    def update(algorithm, held, step):
        picked = torch.randint(held.reward.shape[1], (2, 64), generator=source)
        batch = held.map(lambda t: torch.stack([t[m, picked[m]] for m in range(2)]))
        noise = {"target_action": torch.randn(2, 64, 2, generator=source)}
        algorithm.clock.fill_(step - 1)
        algorithm.update(batch, noise, algorithm.phase(step))

    states, actions = torch.rand(2, 2, 2000, 2, generator=source) * 2 - 1
    held = rows(states, actions)
    offline = made(initial_coefficient=10.0)
    for step in range(1, 301):
        update(offline, held, step)
    online = made(initial_coefficient=10.0, coefficient="frozen", annealing="linear", decay_steps=300.0)
    online.load_training_state(offline.training_state())
    before = walk(online)
    s = torch.rand(2, 20, 2, generator=source) * 2 - 1
    for step in range(1, 501):
        with torch.no_grad():
            new = rows(s, online.act(s))
        held = Batch._make(
            (
                *(torch.cat(pair, 1) for pair in zip(held[:-1], new[:-1], strict=True)),
                {"trust": torch.cat([held.extra["trust"], new.extra["trust"]], 1)},
            )
        )
        s = new.next_observation if step % 20 else torch.rand(2, 20, 2, generator=source) * 2 - 1
        update(online, held, step)
    with torch.no_grad():
        after = walk(online)
    assert (after > before + 3).all(), (before, after)
