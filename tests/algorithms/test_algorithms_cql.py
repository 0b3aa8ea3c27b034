"""CQL's own promises: importance weights, what is evaluated where, directions of the multipliers, memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution
from torch.profiler import ProfilerActivity, profile

from algorithms import Member, Sizes, algorithm_class, cql
from algorithms.cql import SampledActions
from algorithms.networks import TanhGaussian

LARGE = {"actor_learning_rate": 0.01, "critic_learning_rate": 0.01}
DEEP = {"critic_hidden_sizes": "16-16-16-16-16", "second_critic_hidden_sizes": "16-16-16"}


def prepared(lab, **changes):
    """An algorithm, a minibatch and the sampled actions of its first step."""
    population = lab.population("cql", "ab", **changes)
    algorithm, (batch, noise) = population.algorithm, population.inputs(1)
    with torch.no_grad():
        policies = algorithm.actor(batch.observation), algorithm.actor(batch.next_observation)
    return algorithm, batch, noise, policies, algorithm.sampled(*policies, noise)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lagrange": True, "target_gap": 0.8},
        {"lagrange": True, "target_gap": 50.0},
        {"max_target_backup": True},
        {"clamp_minimum": 4.5, "clamp_maximum": 4.7},
        {"sampled_actions": 3},
        DEEP,
        {"log_std_multiplier": 0.5, "log_std_offset": 0.3},
        {"lagrange": True, "max_target_backup": True, "clamp_minimum": -200.0} | DEEP,
    ],
)
def test_cql_is_the_plain_program(lab, changes):
    lab.compare("cql", **(LARGE | changes))


def test_the_clamps_of_that_comparison_bind_on_both_sides(lab):
    algorithm, batch, _, _, samples = prepared(lab, clamp_minimum=4.5, clamp_maximum=4.7)
    critic = algorithm.critics[0]
    value = algorithm.conservatism(critic, batch.observation, batch.action, samples)
    assert value.min() == 4.5
    assert value.max() == 4.7
    assert ((value > 4.5) & (value < 4.7)).any()


def test_each_member_has_its_own_clamps(lab):
    each = [{"clamp_minimum": 7.0, "clamp_maximum": 8.0}, {"clamp_minimum": -8.0, "clamp_maximum": -7.0}]
    population = lab.population("cql", "ab", each)
    algorithm, (batch, noise) = population.algorithm, population.inputs(1)
    policies = algorithm.actor(batch.observation), algorithm.actor(batch.next_observation)
    total, gradients = algorithm.penalty(batch, algorithm.sampled(*policies, noise))
    assert total.tolist() == [[pytest.approx(14.0)], [pytest.approx(-14.0)]]
    assert all((g == 0).all() for g in gradients)  # where a clamp binds, nothing flows


# -- the policy --


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 5, 4, 3)])
def test_the_log_density_of_a_tanh_gaussian_is_that_of_torch_distributions(shape):
    mean, log_std, noise = torch.randn(2, 5, 3).double(), torch.randn(2, 5, 3).double(), torch.randn(shape)
    noise = noise.double()
    action, log_prob = TanhGaussian(mean, log_std).sample(noise)
    wide = [x.unsqueeze(2) if noise.dim() == 4 else x for x in (mean, log_std)]
    transform = TanhTransform(cache_size=1)
    normal = Normal(wide[0].expand(shape), wide[1].exp().expand(shape))
    oracle = Independent(TransformedDistribution(normal, transform), 1)
    x = wide[0] + wide[1].exp() * noise
    torch.testing.assert_close(action, transform(x))
    torch.testing.assert_close(log_prob, oracle.log_prob(transform(x)))


def test_the_log_density_is_finite_where_tanh_rounds_to_one():
    policy = TanhGaussian(torch.tensor([[[30.0, -30.0]]]), torch.zeros(1, 1, 2))
    action, log_prob = policy.sample(torch.zeros(1, 1, 2))
    assert action.tolist() == [[[1.0, -1.0]]]
    # 1 - tanh² x = 4 exp(-2|x|) there
    assert log_prob.item() == pytest.approx(-2 * (math.log(4) - 60) - math.log(2 * math.pi), rel=1e-6)


def test_the_log_standard_deviation_is_scaled_shifted_and_then_clamped(lab):
    algorithm, batch, _, _, _ = prepared(lab)
    actor = algorithm.actor
    raw = actor.network(batch.observation)[..., algorithm.sizes.action :]
    torch.testing.assert_close(actor(batch.observation).log_std, raw - 1)
    with torch.no_grad():
        actor.log_std_multiplier.copy_(torch.tensor([2.0, 0.0]).view(2, 1, 1))
    log_std = actor(batch.observation).log_std
    torch.testing.assert_close(log_std[0], 2 * raw[0] - 1)
    assert (log_std[1] == -1).all()
    for offset, value in ((-30.0, -20.0), (5.0, 2.0)):
        with torch.no_grad():
            actor.log_std_offset.fill_(offset)
        assert (actor(batch.observation).log_std[1] == value).all()
    names = {name for name, _ in actor.named_parameters()}
    assert {"log_std_multiplier", "log_std_offset"} <= names  # learnt, and sent to evaluation
    assert set(actor.parameters()) == set(algorithm.actor_optimiser.parameters)
    torch.testing.assert_close(algorithm.act(batch.observation), actor(batch.observation).mean.tanh())


def test_the_temperature_aims_at_an_entropy_of_minus_the_action_dimensions(lab):
    algorithm = prepared(lab)[0]
    assert algorithm.sizes.action == 2
    for log_prob, rises in ((2.1, True), (1.9, False), (-5.0, False)):  # entropy below, above -2
        loss = algorithm.temperature_loss(torch.full((2, 6), log_prob).double())
        (slope,) = torch.autograd.grad(loss.sum(), [algorithm.log_temperature])
        assert (slope < 0).all() == rises
    assert (algorithm.log_temperature == 0).all()


def test_the_temperature_is_a_constant_to_the_policy_and_the_log_density_to_the_temperature(lab):
    algorithm, batch, noise, _, _ = prepared(lab)
    action, log_prob = algorithm.actor(batch.observation).sample(noise["action"])
    loss = algorithm.actor_loss(batch, action, log_prob)
    (slope,) = torch.autograd.grad(loss.sum(), [algorithm.log_temperature], allow_unused=True)
    assert slope is None
    slopes = torch.autograd.grad(
        algorithm.temperature_loss(log_prob).sum(), list(algorithm.actor.parameters()), allow_unused=True
    )
    assert set(slopes) == {None}


# -- the target --


class Fixed(torch.nn.Module):
    """A critic of given values, which remembers what it was asked."""

    def __init__(self, value):
        super().__init__()
        self.value, self.seen = value, []

    def forward(self, observation, action):
        self.seen.append((observation, action))
        return self.value(action).double()


@pytest.mark.parametrize("best", [False, True])
def test_the_target_has_the_smaller_value_no_entropy_and_nothing_after_a_terminal(lab, best):
    algorithm, batch, noise, (_, next_policy), _ = prepared(lab, max_target_backup=best)
    critics = [Fixed(lambda a: a[..., 0]), Fixed(lambda a: -a[..., 0])]
    algorithm.target_critics = torch.nn.ModuleList(critics)
    target = algorithm.target_value(batch, next_policy, noise["target_action"])
    action = next_policy.sample(noise["target_action"])[0]
    assert action.shape == ((2, 6, 10, 2) if best else (2, 6, 2))
    value = -action[..., 0].abs()
    value = value.max(-1).values if best else value  # the largest of minima, not the smallest of maxima
    torch.testing.assert_close(target, batch.reward + 0.99 * (1 - batch.terminal) * value)
    assert 0 < batch.terminal.mean() < 1
    assert critics[0].seen[0][0] is batch.next_observation
    assert not target.requires_grad


# -- the penalty --


def test_thirty_actions_a_third_each_uniform_of_the_next_policy_and_of_the_policy(lab):
    algorithm, _, noise, (policy, next_policy), samples = prepared(lab)
    assert samples.action.shape == (2, 6, 30, 2)
    assert samples.log_density.shape == (2, 6, 30)
    torch.testing.assert_close(samples.action[:, :, :10], noise["random"] * 2 - 1)
    assert samples.action[:, :, :10].min() < -0.8
    log_uniform = torch.full((2, 6, 10), -2 * math.log(2)).double()  # the density of [-1, 1]² is ¼
    torch.testing.assert_close(samples.log_density[:, :, :10], log_uniform)
    for place, source, name in ((slice(10, 20), next_policy, "next"), (slice(20, 30), policy, "current")):
        action, log_prob = source.sample(noise[name])
        torch.testing.assert_close(samples.action[:, :, place], action)
        torch.testing.assert_close(samples.log_density[:, :, place], log_prob)
    live = algorithm.sampled(
        *(TanhGaussian(p.mean.clone().requires_grad_(), p.log_std) for p in (policy, next_policy)), noise
    )
    assert not live.action.requires_grad
    assert not live.log_density.requires_grad


def test_all_actions_are_evaluated_at_s(lab):
    algorithm, batch, _, _, samples = prepared(lab)
    critic = Fixed(lambda action: action.sum(-1))
    algorithm.conservatism(critic, batch.observation, batch.action, samples)
    assert len(critic.seen) == 1
    assert critic.seen[0][0] is batch.observation
    torch.testing.assert_close(
        critic.seen[0][1], torch.cat([samples.action, batch.action.unsqueeze(2)], 2), rtol=0, atol=0
    )


def test_a_critic_evaluates_many_actions_as_one_by_one(lab):
    algorithm, batch, _, _, samples = prepared(lab)
    for critic in algorithm.critics:
        many = critic(batch.observation, samples.action)
        each = [critic(batch.observation, samples.action[:, :, i]) for i in range(30)]
        torch.testing.assert_close(many, torch.stack(each, 2))


def test_importance_weights_make_the_soft_maximum_an_integral(lab):
    """With Q = a₀ the integral of exp(Q) over [-1, 1]² is 2 (e - 1/e), and each of 3N draws estimates it."""
    algorithm, batch, _, _, _ = prepared(lab)
    generator = torch.Generator().manual_seed(0)
    policy = TanhGaussian(torch.zeros(2, 6, 2).double(), torch.full((2, 6, 2), -0.2).double())
    noise = {
        "random": torch.rand(2, 6, 100_000, 2, generator=generator).double(),
        "next": torch.randn(2, 6, 100_000, 2, generator=generator).double(),
        "current": torch.randn(2, 6, 100_000, 2, generator=generator).double(),
    }
    samples = algorithm.sampled(policy, policy, noise)
    value = algorithm.conservatism(Fixed(lambda a: a[..., 0]), batch.observation, batch.action, samples)
    expected = math.log(300_000) + math.log(2 * (math.e - 1 / math.e)) - batch.action[..., 0]
    torch.testing.assert_close(value, expected, rtol=0, atol=0.03)


def test_the_penalty_is_the_sum_of_both_means_and_has_the_gradient_of_the_whole(lab):
    for size in (1, 6, 19):  # whole parts, parts of one, a last part that is smaller
        algorithm, batch, _, _, samples = prepared(lab, batch_size=size)
        total, gradients = algorithm.penalty(batch, samples)
        whole = sum(
            algorithm.conservatism(critic, batch.observation, batch.action, samples).mean(1, keepdim=True)
            for critic in algorithm.critics
        )
        torch.testing.assert_close(total, whole)
        expected = torch.autograd.grad(whole.sum(), algorithm.critic_optimiser.parameters)
        torch.testing.assert_close(gradients, list(expected))
        assert not total.requires_grad


def test_the_critics_minimise_the_td_errors_plus_alpha_times_the_penalty(lab):
    each = [{"cql_alpha": 0.0}, {"cql_alpha": 3.0}]
    population = lab.population("cql", "ab", each, actor_learning_rate=0.0)
    algorithm, (batch, noise) = population.algorithm, population.inputs(1)
    policies = algorithm.actor(batch.observation), algorithm.actor(batch.next_observation)
    target = algorithm.target_value(batch, policies[1], noise["target_action"])
    samples = algorithm.sampled(*policies, noise)
    loss = 0.0
    for critic in algorithm.critics:
        td = ((critic(batch.observation, batch.action) - target) ** 2).mean(1)
        gap = algorithm.conservatism(critic, batch.observation, batch.action, samples).mean(1)
        loss = loss + td + torch.tensor([0.0, 3.0]).double() * gap
    expected = torch.autograd.grad(loss.sum(), algorithm.critic_optimiser.parameters)
    population.train(1)
    for parameter, gradient in zip(algorithm.critic_optimiser.parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


# -- Lagrange --


def test_the_multiplier_rises_while_the_difference_is_above_the_gap(lab):
    each = [{"target_gap": -50.0}, {"target_gap": 50.0}]
    population = lab.population("cql", "ab", each, lagrange=True)
    algorithm = population.algorithm
    assert algorithm.multiplier[:, 0].tolist() == pytest.approx([math.e] * 2)
    population.train(1)
    above, below = algorithm.multiplier[:, 0].tolist()
    assert above > math.e > below
    # Adam's first step has the size of the critics' rate
    assert math.log(above) == pytest.approx(1 + 3e-4, rel=1e-7)


def test_the_multiplier_loss_is_half_the_sum_over_both_critics(lab, monkeypatch):
    population = lab.population("cql", lagrange=True, target_gap=0.8, cql_alpha=5.0)
    algorithm, excesses = population.algorithm, []
    whole = algorithm.multiplier_loss
    monkeypatch.setattr(algorithm, "multiplier_loss", lambda x: excesses.append(x) or whole(x))
    penalty = population.train(1)["penalty"]
    torch.testing.assert_close(excesses, [5 * (penalty - 2 * 0.8)])
    loss = algorithm.multiplier_loss(torch.tensor([[3.0]]).double())
    torch.testing.assert_close(loss, -algorithm.multiplier * 1.5)


def test_the_multiplier_is_capped_at_a_million_and_weighs_the_penalty(lab):
    algorithm = lab.population("cql", lagrange=True).algorithm
    with torch.no_grad():
        algorithm.log_multiplier.fill_(100.0)
    assert algorithm.multiplier.item() == 1e6
    (slope,) = torch.autograd.grad(algorithm.multiplier.sum(), [algorithm.log_multiplier])
    assert slope.item() == 0


def test_without_lagrange_there_is_no_multiplier(lab):
    algorithm = lab.population("cql").algorithm
    assert algorithm.multiplier.item() == 1
    assert not [name for name in algorithm.training_state() if "multiplier_optimiser" in name]


# -- networks --


def test_first_weights(lab):
    hidden = {"critic_hidden_sizes": "32-32-32", "second_critic_hidden_sizes": "32-32-32"}
    algorithm = lab.population("cql", actor_hidden_sizes="64-32", **hidden).algorithm
    eye = torch.eye(32).double()
    for critic in algorithm.critics:
        first, *middle, output = critic.network.layers
        weights = [first.weight[0], *(layer.weight[0] for layer in middle)]
        torch.testing.assert_close(weights[0] @ weights[0].T, 2 * torch.eye(5).double(), rtol=0, atol=1e-5)
        for weight in weights[1:]:
            torch.testing.assert_close(weight.T @ weight, 2 * eye, rtol=0, atol=1e-5)
        assert output.weight.norm().item() == pytest.approx(0.01, rel=1e-5)
        assert all((layer.bias == 0).all() for layer in critic.network.layers)
    assert not torch.equal(
        algorithm.critics[0].network.layers[1].weight, algorithm.critics[1].network.layers[1].weight
    )
    *_, last, output = algorithm.actor.network.layers
    bound = 0.01 * (6 / (32 + 4)) ** 0.5
    assert 0.9 * bound < output.weight.abs().max() <= bound
    assert (output.bias == 0).all()
    assert (last.bias != 0).all()  # PyTorch's default
    for target, online in zip(
        algorithm.target_critics.parameters(), algorithm.critics.parameters(), strict=True
    ):
        assert torch.equal(target, online)
        assert target.data_ptr() != online.data_ptr()
        assert not target.requires_grad


def test_on_antmaze_the_first_critic_is_deeper_than_the_second(lab):
    values = lab.shipped("cql", "antmaze-umaze-v2")
    algorithm = algorithm_class("cql")([Member("a", values)], Sizes(29, 8))
    assert [len(critic.network.layers) - 1 for critic in algorithm.critics] == [5, 3]
    assert values["lagrange"] and values["max_target_backup"]  # noqa: PT018 - one setting
    assert (values["reward_scale"], values["reward_shift"]) == (10, -5)


@pytest.mark.parametrize(
    ("dataset", "alpha", "lagrange", "gap", "rate", "normalised"),
    [
        ("halfcheetah-medium-v2", 10, False, -1, 3e-5, False),
        ("hopper-medium-v2", 10, False, -1, 3e-5, True),
        ("hopper-medium-replay-v2", 10, False, -1, 3e-5, False),
        ("maze2d-umaze-v1", 10, True, 5, 3e-5, False),
        ("antmaze-umaze-v2", 5, True, 0.8, 1e-4, False),
        ("pen-human-v1", 1, False, -1, 1e-4, False),
        ("relocate-expert-v1", 1, False, -1, 1e-4, False),
    ],
)
def test_settings_of_each_domain(lab, dataset, alpha, lagrange, gap, rate, normalised):
    values = lab.shipped("cql", dataset)
    names = ("cql_alpha", "lagrange", "target_gap", "actor_learning_rate", "normalize_rewards")
    assert tuple(values[n] for n in names) == (alpha, lagrange, gap, rate, normalised)


# -- memory --


def peak(function):
    """The most bytes that `function` held at once of those it allocated, inside of operations too."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        function()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = torch.tensor([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]).cumsum(0)
    return held.max().item()


@pytest.mark.parametrize("sizes", ["256-256-256", "256-256-256-256-256"])
def test_evaluating_and_differentiating_thirty_actions_needs_at_most_one_and_a_half_activations(
    lab, monkeypatch, sizes
):
    """The largest activation: one hidden layer of one critic at 30 actions of every observation."""
    changes = {"batch_size": 256, "critic_hidden_sizes": sizes, "second_critic_hidden_sizes": "256-256-256"}
    algorithm, batch, _, _, samples = prepared(lab, dtype=torch.float32, **changes)
    largest = 2 * 256 * 30 * 256 * 4  # members, batch, actions, width, bytes
    algorithm.penalty(batch, samples)
    assert 0.3 * largest < peak(lambda: algorithm.penalty(batch, samples)) <= 1.5 * largest
    monkeypatch.setattr(cql, "PARTS", 1)
    assert peak(lambda: algorithm.penalty(batch, samples)) > 5 * largest  # what it would be at once


def test_sampled_actions_are_split_like_the_minibatch(lab):
    """Changing one state's samples moves no other's penalty."""
    algorithm, batch, _, _, samples = prepared(lab, batch_size=16)
    critic = algorithm.critics[0]
    before = algorithm.conservatism(critic, batch.observation, batch.action, samples)
    other = SampledActions(samples.action.clone(), samples.log_density.clone())
    other.log_density[:, 3] += 1
    after = algorithm.conservatism(critic, batch.observation, batch.action, other)
    torch.testing.assert_close((before - after)[:, 3], torch.ones(2).double())
    assert torch.equal(before[:, 4:], after[:, 4:])


def test_it_explores_by_a_sample_of_its_policy(lab):
    algorithm, batch, *_ = prepared(lab)
    noise = torch.full_like(batch.action, 0.7)
    policy = algorithm.actor(batch.observation)
    expected = torch.tanh(policy.mean + 0.7 * policy.log_std.exp())
    torch.testing.assert_close(algorithm.explore(batch.observation, noise), expected)
