"""Conventions of TD3+BC that are easy to get wrong: averages, sums, clipping, delays, first weights."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def population(lab):
    return lab.population("td3_bc", "ab", critic="robust")


def test_the_constraint_averages_over_the_batch_and_the_action_dimensions(lab):
    population = lab.population("td3_bc", "ab", alpha=0.0)
    batch, _ = population.inputs(1)
    difference = population.algorithm.act(batch.observation) - batch.action
    expected = (difference**2).sum((1, 2)) / (batch.action.shape[1] * batch.action.shape[2])
    torch.testing.assert_close(population.algorithm.actor_loss(batch).whole[:, 0], expected)


def test_the_value_term_has_the_size_of_alpha_whatever_the_scale_of_q(lab):
    population = lab.population("td3_bc", alpha=3.0)
    algorithm = population.algorithm
    batch, _ = population.inputs(1)
    with torch.no_grad():
        output = algorithm.critic.network.layers[-1]
        output.weight.zero_()
        for level in (-1e-3, 1e4):
            output.bias.fill_(level)
            action = algorithm.act(batch.observation)
            constraint = ((action - batch.action) ** 2).mean()
            value = algorithm.actor_loss(batch).whole - constraint
            assert value.item() == pytest.approx(-3.0 if level > 0 else 3.0)


def test_the_critic_loss_is_the_sum_of_both_mean_squared_errors(population):
    algorithm = population.algorithm
    batch, _ = population.inputs(1)
    target = torch.arange(float(batch.reward.numel())).double().view_as(batch.reward)
    both = algorithm.critic(batch.observation, batch.action)
    expected = sum(((both[:, head] - target) ** 2).mean(1, keepdim=True) for head in (0, 1))
    torch.testing.assert_close(algorithm.critic_loss(batch, target), expected)
    torch.testing.assert_close(algorithm.critic.first(batch.observation, batch.action), both[:, 0])


def test_target_smoothing_is_scaled_and_clipped_for_each_member(lab):
    each = [{"policy_noise": 0.2, "noise_clip": 0.5}, {"policy_noise": 0.1, "noise_clip": 0.05}]
    population = lab.population("td3_bc", "ab", each)
    algorithm, (batch, noise) = population.algorithm, population.inputs(1)
    seen = []

    def critic(observation, action):
        seen.append(action)
        return torch.zeros(2, 2, action.shape[1]).double()

    with torch.no_grad():
        for parameter in algorithm.target_actor.parameters():
            parameter.zero_()  # π̄ = 0, so the critic is shown the noise
        algorithm.target_critic.forward = critic
        algorithm.target_value(batch, noise["target_action"])
        algorithm.target_value(batch, torch.full_like(noise["target_action"], 100.0))
        algorithm.target_actor.network.layers[-1].bias.fill_(-100.0)  # π̄ = -1
        algorithm.target_value(batch, torch.full_like(noise["target_action"], -100.0))
    raw = noise["target_action"]
    expected = torch.stack([(raw[0] * 0.2).clamp(-0.5, 0.5), (raw[1] * 0.1).clamp(-0.05, 0.05)])
    torch.testing.assert_close(seen[0], expected)
    assert seen[1][0].unique().tolist() == [0.5]
    assert seen[1][1].unique().tolist() == pytest.approx([0.05])
    assert seen[2].unique().tolist() == [-1.0]


def test_the_target_takes_the_smaller_value_and_stops_at_terminals(population):
    algorithm, (batch, noise) = population.algorithm, population.inputs(1)
    values = torch.tensor([5.0, 3.0]).double().view(1, 2, 1).expand(2, 2, batch.reward.shape[1])
    algorithm.target_critic.forward = lambda observation, action: values
    target = algorithm.target_value(batch, noise["target_action"])
    assert 0 < batch.terminal.mean() < 1
    torch.testing.assert_close(target, torch.where(batch.terminal > 0, batch.reward, batch.reward + 0.99 * 3))


def test_policy_and_targets_move_at_even_steps_only(population):
    def snapshot():
        return {name: tensor.clone() for name, tensor in population.algorithm.state_dict().items()}

    assert [population.algorithm.phase(step) for step in (1, 2, 3, 4)] == ["critic", "critic and actor"] * 2
    for step in range(1, 5):
        before = snapshot()
        population.train(1)
        after = snapshot()
        moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        later = {"actor", "target_actor", "target_critic"} if step % 2 == 0 else set()
        assert moved == {"critic"} | later
        if later:
            for network in ("actor", "critic"):
                for name, online in getattr(population.algorithm, network).named_parameters():
                    old = before[f"target_{network}.{name}"]
                    target = after[f"target_{network}.{name}"]
                    torch.testing.assert_close(target, 0.995 * old + 0.005 * online, rtol=0, atol=1e-14)


LINEAR = {"alpha_schedule": "linear", "alpha": 2.5, "final_alpha": 0.5, "alpha_schedule_steps": 30}


@pytest.mark.parametrize("policy_frequency", [1, 2, 3])
def test_the_linear_schedule_is_that_of_the_plain_program(lab, policy_frequency):
    lab.compare("td3_bc", policy_frequency=policy_frequency, **LINEAR)


@pytest.mark.parametrize("policy_frequency", [1, 2, 4])
def test_alpha_moves_along_a_line_of_the_critics_steps_and_stays_at_its_end(lab, policy_frequency):
    each = [{"alpha": 2.5, "final_alpha": 0.5}, {"alpha": 1.0, "final_alpha": 4.0}]
    changes = LINEAR | {"policy_frequency": policy_frequency, "alpha_schedule_steps": 20}
    del changes["alpha"], changes["final_alpha"]
    population = lab.population("td3_bc", "ab", each, **changes)
    seen = {step: population.train(1).get("alpha") for step in range(1, 29)}
    for step, alpha in seen.items():
        if step % policy_frequency:
            assert alpha is None
        else:
            done = min(step / 20, 1)
            assert alpha[:, 0].tolist() == pytest.approx([2.5 - 2 * done, 1 + 3 * done], rel=1e-14)
    assert seen[20].tolist() == seen[24].tolist() == [[0.5], [4.0]]


def test_the_policy_is_trained_with_the_alpha_that_is_reported(lab):
    population = lab.population("td3_bc", "ab", **LINEAR)
    population.train(9)
    algorithm = population.algorithm
    batch, _ = population.inputs(10)
    action = algorithm.act(batch.observation)
    q = algorithm.critic.first(batch.observation, action)
    constraint = ((action - batch.action) ** 2).mean((1, 2))
    alpha = 2.5 - 2 * 10 / 30
    expected = constraint - alpha * q.mean(1) / q.abs().mean(1)
    torch.testing.assert_close(algorithm.actor_loss(batch).whole[:, 0], expected)
    assert algorithm.alpha[:, 0].tolist() == pytest.approx([alpha, alpha])


def test_the_schedule_goes_on_where_a_saved_run_stopped(lab):
    straight, resumed = (lab.population("td3_bc", "ab", **LINEAR) for _ in range(2))
    straight.train(11)
    resumed.algorithm.load_training_state(straight.state())
    resumed.step = 11
    assert torch.equal(straight.train(1)["alpha"], resumed.train(1)["alpha"])


@pytest.mark.parametrize(
    "changes",
    [
        {"final_alpha": 7.0, "alpha_schedule_steps": 3},  # a constant α does not look at them
        {"alpha_schedule": "linear", "final_alpha": 2.5, "alpha_schedule_steps": 30},  # a line that is level
    ],
)
def test_an_alpha_that_does_not_move_is_the_constant_one_bit_for_bit(lab, changes):
    constant = lab.population("td3_bc", "ab", dtype=torch.float32)
    other = lab.population("td3_bc", "ab", dtype=torch.float32, **changes)
    assert constant.train(40)["alpha"].tolist() == other.train(40)["alpha"].tolist() == [[2.5], [2.5]]
    ours, theirs = constant.state(), other.state()
    for name, tensor in ours.items():
        assert torch.equal(theirs[name], tensor), name


def _spread(tensor, bound):
    """As U(±bound) would be."""
    assert tensor.abs().max() <= bound
    assert tensor.abs().max() > 0.9 * bound
    assert abs(tensor.mean()) < 0.1 * bound
    assert tensor.std() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_first_weights_of_the_policy_and_the_vanilla_critic_are_pytorchs(lab):
    algorithm = lab.population("td3_bc", critic="vanilla", actor_hidden_sizes="256-256").algorithm
    for network, inputs in ((algorithm.actor, 3), (algorithm.critic, 5)):
        layers = network.network.layers
        assert len(layers) == 3
        for layer, size in zip(layers, (inputs, 256, 256), strict=True):
            _spread(layer.weight.detach(), size**-0.5)
            assert layer.bias.abs().max() <= size**-0.5
        _spread(layers[1].bias.detach(), 1 / 16)


def test_first_weights_of_the_robust_critic(lab):
    algorithm = lab.population("td3_bc", critic="robust").algorithm
    critic = algorithm.critic
    *hidden, output = critic.network.layers
    assert [layer.weight.shape[-2:] for layer in hidden] == [(5, 256), (256, 256), (256, 256)]
    for layer, size in zip(hidden, (5, 256, 256), strict=True):
        _spread(layer.weight.detach(), size**-0.5)
        assert (layer.bias == 0.1).all()
    _spread(output.weight.detach(), 3e-3)
    assert 0 < output.bias.abs().max() <= 3e-3
    for norm in critic.network.norms:
        assert (norm.weight == 1).all()
        assert (norm.bias == 0).all()
    assert not torch.equal(hidden[0].weight[:, 0], hidden[0].weight[:, 1])
    for target, online in ((algorithm.target_critic, critic), (algorithm.target_actor, algorithm.actor)):
        for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
            assert torch.equal(slow, fast)
            assert slow.data_ptr() != fast.data_ptr()
            assert not slow.requires_grad
