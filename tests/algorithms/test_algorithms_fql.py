"""FQL's own promises: flax's networks, the flow, who learns from whom, and what the targets follow."""

from __future__ import annotations

import copy

import pytest
import torch

from algorithms.networks import ACTIVATIONS
from harness.specs import Column
from harness.specs.columns import Written, transforms

NETWORKS = ("actor", "flow", "critic")


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.01, "soft_update": 0.3, "discount": 0.9, "alpha": 0.5},
        {"target_aggregate": "min", "normalize_q_loss": True, "learning_rate": 0.01},
        {"flow_steps": 1, "actor_hidden_sizes": "8", "critic_hidden_sizes": "8-4-8"},
        {"alpha": 0.0, "flow_steps": 3},
    ],
    ids=str,
)
def test_it_is_the_plain_program(lab, changes):
    lab.compare("fql", steps=20, **changes)


def test_gelu_has_tanh_in_place_of_the_error_function():
    """As jax.nn.gelu has by default; the exact one is 0.841345 at 1."""
    one = torch.ones((), dtype=torch.float64)
    assert ACTIVATIONS["gelu_tanh"](one).item() == pytest.approx(0.841192, abs=5e-7)


def test_networks_are_flaxs(lab):
    """GELU, LayerNorm of the critics alone and after it, first weights within √(6 / (in + out)), no bias."""
    algorithm = lab.population("fql", actor_hidden_sizes="64-64", critic_hidden_sizes="64-64").algorithm
    x = torch.linspace(-1, 1, 9, dtype=torch.float64).expand(1, 7, -1)
    for name, inputs in (("actor", 5), ("flow", 6), ("critic", 5)):
        network = getattr(algorithm, name).network
        for layer, size in zip(network.layers, ((inputs, 64), (64, 64), (64, None)), strict=True):
            width = size[1] or layer.weight.shape[-1]
            bound = (6 / (size[0] + width)) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound
            assert (layer.bias == 0).all()
        y = x[..., :inputs] if name != "critic" else x[..., :inputs].unsqueeze(1).expand(-1, 2, -1, -1)
        expected = y
        for index, layer in enumerate(network.layers[:-1]):
            expected = torch.nn.functional.gelu(layer(expected), approximate="tanh")
            if name == "critic":
                expected = torch.nn.functional.layer_norm(expected, (64,), eps=1e-6)
            assert (index < len(network.norms)) == (name == "critic")
        torch.testing.assert_close(network(y), network.layers[-1](expected))


def joint_gradients(old, batch, noise):
    """By network, of the sum of all losses, where each network is a constant to the losses of the others."""
    h, s = old.hyper, batch.observation
    with torch.no_grad():
        a2 = old.actor(batch.next_observation, noise["next_action"]).clamp(-1, 1)
        q2 = old.target_critic(batch.next_observation, a2).mean(1, keepdim=True)
        y = batch.reward.unsqueeze(1) + h.discount.unsqueeze(1) * (1 - batch.terminal.unsqueeze(1)) * q2
        taught = noise["action"]
        for k in range(h.flow_steps):
            time = torch.full((*s.shape[:2], 1), k / h.flow_steps, dtype=s.dtype)
            taught = taught + old.flow(s, taught, time) / h.flow_steps
        taught = taught.clamp(-1, 1)
    t, start = noise["flow_time"].unsqueeze(-1), noise["flow_start"]
    velocity = old.flow(s, (1 - t) * start + t * batch.action, t)
    pi, constant = old.actor(s, noise["action"]), copy.deepcopy(old.critic).requires_grad_(False)
    q = constant(s, pi.clamp(-1, 1))
    loss = ((old.critic(s, batch.action) - y) ** 2).mean((1, 2))
    loss = loss + ((velocity - (batch.action - start)) ** 2).mean((1, 2))
    loss = loss + h.alpha.squeeze(1) * ((pi - taught) ** 2).mean((1, 2)) - q.mean((1, 2))
    return {
        n: torch.autograd.grad(loss.sum(), list(getattr(old, n).parameters()), retain_graph=True)
        for n in NETWORKS
    }


def test_a_step_is_one_on_the_sum_of_all_losses_at_the_networks_before_it(lab):
    population = lab.population("fql", "ab", [{"alpha": 0.5}, {"alpha": 3.0}], learning_rate=0.01)
    population.train(5)
    old, (batch, noise) = copy.deepcopy(population.algorithm), population.inputs(6)
    population.algorithm.update(batch, noise, "update")
    for name, gradients in joint_gradients(old, batch, noise).items():
        parameters = list(getattr(population.algorithm, name).parameters())
        assert any((gradient != 0).any() for gradient in gradients)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


def test_the_students_loss_moves_neither_critics_nor_flow(lab):
    one, other = (lab.population("fql", alpha=alpha) for alpha in (0.0, 30.0))
    one.train(1)
    other.train(1)
    for name, parameter in one.algorithm.named_parameters():
        theirs = other.algorithm.get_parameter(name)
        assert torch.equal(parameter, theirs) != name.startswith("actor."), name


def test_the_target_critics_follow_the_critics_as_they_were_before_the_step(lab):
    population = lab.population("fql", "ab", learning_rate=0.01)
    population.train(3)
    before = population.state()
    population.train(1)
    after = population.state()
    for name in (name for name in before if name.startswith("critic.")):
        expected = 0.995 * before[f"target_{name}"] + 0.005 * before[name]
        torch.testing.assert_close(after[f"target_{name}"], expected, rtol=0, atol=1e-15)
        assert not torch.equal(before[name], after[name])


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_euler_begins_each_step_with_the_velocity_at_its_beginning(lab, steps):
    """Where v = 1 + t, whose integral is 1.5, K steps sum up to 1 + (K - 1) / 2K."""
    algorithm = lab.population("fql", flow_steps=steps).algorithm
    algorithm.flow.forward = lambda s, x, t: 1 + t.expand_as(x)
    z = torch.linspace(-3, 0, 8, dtype=torch.float64).reshape(1, 4, 2)
    end = algorithm.flow_action(torch.zeros(1, 4, 3, dtype=torch.float64), z)
    torch.testing.assert_close(end, (z + 1 + (steps - 1) / (2 * steps)).clamp(-1, 1))


def test_the_flow_learns_straight_lines_from_noise_to_actions(lab):
    """At time 0 it sees the noise alone, at time 1 the action alone."""
    population = lab.population("fql")
    algorithm, (batch, noise) = population.algorithm, population.inputs(1)
    seen = {}
    algorithm.flow.forward = lambda s, x, t: seen.setdefault(t[0, 0, 0].item(), x)
    for time in (0.0, 0.25, 1.0):
        algorithm.flow_loss(batch, noise | {"flow_time": torch.full_like(batch.reward, time)})
    torch.testing.assert_close(seen[0.0], noise["flow_start"])
    torch.testing.assert_close(seen[0.25], 0.75 * noise["flow_start"] + 0.25 * batch.action)
    torch.testing.assert_close(seen[1.0], batch.action)


@pytest.mark.parametrize(("aggregate", "expected"), [("min", -2.0), ("mean", 1.0)])
def test_the_target_is_the_smaller_or_the_mean_of_both_and_ends_where_the_episode_does(
    lab, aggregate, expected
):
    population = lab.population("fql", target_aggregate=aggregate, discount=0.5)
    algorithm, (batch, noise) = population.algorithm, population.inputs(1)
    actions = []

    def values(s, a):
        actions.append(a)
        return torch.tensor([[[4.0], [-2.0]]]).double().expand(1, 2, s.shape[1])

    algorithm.target_critic.forward = values
    with torch.no_grad():
        algorithm.actor.network.layers[-1].weight.mul_(10)  # some actions leave [-1, 1]
    target = algorithm.target_value(batch, noise["next_action"])
    torch.testing.assert_close(target, batch.reward + 0.5 * (1 - batch.terminal) * expected)
    assert 0 < batch.terminal.mean() < 1
    assert actions[0].abs().max() == 1


def test_the_distance_is_of_the_action_and_q_of_the_action_clipped(lab):
    population = lab.population("fql")
    algorithm, (batch, noise) = population.algorithm, population.inputs(1)
    algorithm.actor.forward = lambda s, z: torch.full_like(z, 3.0)
    q, error = algorithm.student(batch, noise["action"], torch.zeros_like(batch.action))
    assert (error == 9).all()
    at_bound = algorithm.critic(batch.observation, torch.ones_like(batch.action)).mean(1)
    torch.testing.assert_close(q, at_bound)


def test_it_acts_by_a_step_from_noise_to_an_action_in_bounds(lab):
    population = lab.population("fql", "ab")
    population.train(5)
    algorithm, observation = population.algorithm, population.inputs(9)[0].observation
    noise = torch.randn(*observation.shape[:2], *algorithm.acting_noise.shape, dtype=torch.float64)
    together = algorithm.act(observation, 9 * noise)
    assert together.abs().max() == 1
    assert torch.equal(algorithm.explore(observation, 9 * noise), together)
    assert not torch.equal(algorithm.act(observation, -9 * noise), together)
    for row in range(observation.shape[1]):
        alone = algorithm.act(observation[:, [row]], 9 * noise[:, [row]])
        torch.testing.assert_close(alone, together[:, [row]], rtol=0, atol=1e-12)


SHIPPED = [
    ("antmaze-large-navigate-singletask-task1-v0", 10.0, "min", 0.99, 0.0),
    ("antmaze-giant-navigate-singletask-task5-v0", 10.0, "min", 0.995, 0.0),
    ("antmaze-umaze-v2", 10.0, "mean", 0.99, -1.0),
    ("antmaze-large-play-v2", 3.0, "mean", 0.99, -1.0),
    ("pen-human-v1", 1e4, "min", 0.99, 0.0),
    ("pen-expert-v1", 3e3, "min", 0.99, 0.0),
    ("door-expert-v1", 3e4, "min", 0.99, 0.0),
    ("hammer-cloned-v1", 1e4, "min", 0.99, 0.0),
    ("hammer-expert-v1", 3e4, "min", 0.99, 0.0),
    ("relocate-human-v1", 1e4, "min", 0.99, 0.0),
    ("relocate-cloned-v1", 3e4, "min", 0.99, 0.0),
]


@pytest.mark.parametrize(("dataset", "alpha", "aggregate", "discount", "shift"), SHIPPED)
def test_each_dataset_has_its_own_settings(lab, dataset, alpha, aggregate, discount, shift):
    found = lab.shipped("fql", dataset)
    assert found["alpha"] == alpha
    expected = {"target_aggregate": aggregate, "discount": discount, "reward_shift": shift}
    assert {name: found[name] for name in expected} == expected
    extended = lab.shipped("fql_aspc", dataset)
    shared = {n: v for n, v in found.items() if n not in ("alpha", "normalize_q_loss")}
    assert {name: extended[name] for name in shared} == shared


@pytest.mark.parametrize("algorithm_id", ["fql", "fql_aspc", "iql", "iql_aspc", "rebrac"])
def test_on_ogbench_actions_are_clipped_and_observations_are_as_they_are(lab, algorithm_id):
    dataset = "antmaze-large-navigate-singletask-task1-v0"
    written = Written(Column(id="a", label="", algorithm=algorithm_id), "tables", "aspc-table1", ())
    steps = transforms(lab.specs, written, dataset).transforms
    assert [step.model_dump(exclude_none=True) for step in steps] == [{"clip_actions": 0.99999}]
    assert lab.shipped(algorithm_id, dataset)["normalize_observations"] is False
