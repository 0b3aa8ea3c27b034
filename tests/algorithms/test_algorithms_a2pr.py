"""A2PR's own promises: its gate, its target action, its VAE, and what each step may move."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

LARGE = {
    "actor_learning_rate": 0.01,
    "critic_learning_rate": 0.01,
    "value_learning_rate": 0.01,
    "vae_learning_rate": 0.01,
}
OFFICIAL = {
    "actor_hidden_sizes": "16-16-16",
    "critic_hidden_sizes": "16-16-16-16",
    "value_hidden_sizes": "16-16-16-16",
}


@pytest.mark.parametrize(
    "changes",
    [
        LARGE,
        OFFICIAL | {"mask": 0.4, "discount": 0.995} | LARGE,
        {"vae_weight": 1.5, "alpha": 40.0, "kl_weight": 0.1} | LARGE,
        {"advantage_threshold": 0.3, "policy_frequency": 1} | LARGE,
        {"advantage_threshold": -0.3, "policy_noise": 0.1, "noise_clip": 0.1} | LARGE,
    ],
)
def test_each_option_is_what_the_plain_program_does(lab, changes):
    lab.compare("a2pr", **changes)


def _trained(lab, steps, **changes):
    """A population after some steps, the same whenever asked for, and its algorithm."""
    population = lab.population("a2pr", "ab", **changes)
    population.train(steps)
    return population, population.algorithm


# -- the policy's loss, at given advantages ------------------------------------------------------------------


class Scene:
    """The policy's constraint (α = 0) where V = 0 and Q₁(s, â) is `own`, Q₁(s, a) `data`, for each sample."""

    def __init__(self, lab, own, data, **changes):
        population = lab.population("a2pr", **({"alpha": 0.0, "batch_size": len(own)} | changes))
        algorithm = self.algorithm = population.algorithm
        self.batch, noise = population.inputs(2)
        self.noise = noise["policy_latent"]
        self.action = algorithm.actor(self.batch.observation)
        self.own, _, _ = algorithm.vae(self.batch.observation, self.action, self.noise)
        own, data = (torch.tensor([x], dtype=torch.float64) for x in (own, data))
        first = algorithm.critic.first

        def critic(observation, action):
            return own if torch.equal(action, self.own) else first(observation, action)

        algorithm.critic.first = critic
        self.loss = algorithm.actor_loss(self.batch, torch.zeros_like(own), data, self.noise)

    def expected(self, gate, prefer_own):
        """Sum of the gated squared distances over batch size times action dimensions."""
        total = 0.0
        for i, (g, own) in enumerate(zip(gate, prefer_own, strict=True)):
            guide = self.own if own else self.batch.action
            total = total + g * ((self.action[0, i] - guide[0, i]) ** 2).sum()
        return (total / (len(gate) * self.batch.action.shape[-1])).view(1, 1)

    def gradients(self, loss):
        return torch.autograd.grad(loss.sum(), list(self.algorithm.actor.parameters()), retain_graph=True)


@pytest.mark.parametrize("mask", [1.0, 0.4])
def test_the_gate_is_an_or_and_the_better_action_guides(lab, mask):
    own, data = [2.0, 1.0, 1.0, -1.0, -1.0, -2.0], [1.0, 2.0, -1.0, 1.0, -2.0, -1.0]
    scene = Scene(lab, own, data, mask=mask)
    gate, prefer_own = [mask] * 4 + [0.0] * 2, [True, False, True, False, True, False]
    expected = scene.expected(gate, prefer_own)
    torch.testing.assert_close(scene.loss, expected)
    for ours, wanted in zip(scene.gradients(scene.loss), scene.gradients(expected), strict=True):
        torch.testing.assert_close(ours, wanted)


def test_a_tie_goes_to_the_policys_own_action_which_alone_may_be_at_the_threshold(lab):
    own, data = [0.0, 0.0, 1.0, -1.0, 0.5, -1.0], [0.0, -1.0, 1.0, 0.0, 0.5, -1.0]
    scene = Scene(lab, own, data)
    torch.testing.assert_close(scene.loss, scene.expected([1, 1, 1, 0, 1, 0], [1, 1, 1, 0, 1, 1]))


def test_the_gates_of_members_move_with_their_thresholds(lab):
    own, data = [0.4, 0.1, 0.6, 0.1], [0.1, 0.6, 0.4, 0.2]
    for threshold, gate in ((0.5, [0, 1, 1, 0]), (0.15, [1, 1, 1, 1]), (0.6, [0, 0, 1, 0])):
        scene = Scene(lab, own, data, advantage_threshold=threshold)
        torch.testing.assert_close(scene.loss, scene.expected(gate, [1, 0, 1, 0]))


def test_a_gate_that_is_half_shut_divides_by_the_whole_batch(lab):
    whole, half = Scene(lab, [1.0] * 4, [0.0] * 4), Scene(lab, [1.0, 1.0, -1.0, -1.0], [-2.0] * 4)
    torch.testing.assert_close(whole.own, half.own)
    errors = ((whole.action - whole.own) ** 2)[0]
    torch.testing.assert_close(whole.loss[0, 0], errors.sum() / 8)
    torch.testing.assert_close(half.loss[0, 0], errors[:2].sum() / 8)


def test_the_gradient_flows_through_the_vae_into_the_target_action(lab):
    scene = Scene(lab, [1.0] * 6, [-1.0] * 6)
    detached = ((scene.action - scene.own.detach()) ** 2).mean()
    through = ((scene.action - scene.own) ** 2).mean()
    torch.testing.assert_close(scene.loss[0, 0], through)
    torch.testing.assert_close(through, detached)
    ours, full, half = (scene.gradients(x) for x in (scene.loss, through, detached))
    for a, b, c in zip(ours, full, half, strict=True):
        torch.testing.assert_close(a, b)
        assert (a - c).abs().max() > 1e-6


# -- V -------------------------------------------------------------------------------------------------------


def test_v_follows_the_smaller_of_both_targets(lab):
    """The online critics, after their step, judge the same smoothed action as the targets."""
    (population, algorithm), (_, old) = (_trained(lab, 1, batch_size=64) for _ in range(2))
    batch, noise = population.inputs(2)
    with torch.no_grad():
        for each in (algorithm, old):  # targets of their own, so that now one and now the other is smaller
            first = each.target_critic.network.layers[0].weight
            first.copy_(first.flip(-1))
    metrics = algorithm.update(batch, noise, "critic")
    next_action = old.target_action(batch, noise["target_action"])
    y, y2 = (
        batch.reward + 0.99 * (1 - batch.terminal) * critic(batch.next_observation, next_action).amin(1)
        for critic in (old.target_critic, algorithm.critic)
    )
    assert (y < y2).any()
    assert (y2 < y).any()
    loss = ((old.value(batch.observation) - torch.minimum(y, y2)) ** 2).mean(1, keepdim=True)
    torch.testing.assert_close(metrics["value_loss"], loss.detach())


def test_advantages_compare_the_new_critic_with_the_old_v(lab):
    (population, algorithm), (_, old) = (_trained(lab, 5, **LARGE) for _ in range(2))
    batch, noise = population.inputs(6)
    seen, vae_loss, actor_loss = [], algorithm.vae_loss, algorithm.actor_loss

    def vae(batch, advantage, noise):
        seen.append((None, advantage))
        return vae_loss(batch, advantage, noise)

    def actor(batch, value, advantage, noise):
        seen.append((value, advantage))
        return actor_loss(batch, value, advantage, noise)

    algorithm.vae_loss, algorithm.actor_loss = vae, actor
    algorithm.update(batch, noise, "critic and actor")
    value = old.value(batch.observation)
    advantage = algorithm.critic.first(batch.observation, batch.action) - value
    assert not torch.allclose(value, algorithm.value(batch.observation))
    torch.testing.assert_close(seen[1][0], value.detach())
    for _, each in seen:
        torch.testing.assert_close(each, advantage.detach())


# -- the VAE -------------------------------------------------------------------------------------------------


def test_the_vae_reconstructs_only_actions_with_an_advantage(lab):
    population, algorithm = _trained(lab, 3, vae_weight=1.5, kl_weight=0.0)
    batch, noise = population.inputs(4)
    latent = noise["data_latent"]
    advantage = torch.tensor([0.1, 0.0, -0.1, 2.0, -3.0, 0.0]).double().expand(2, -1)
    action, _, _ = algorithm.vae(batch.observation, batch.action, latent)
    error = ((action - batch.action) ** 2)[:, [0, 3]].sum((1, 2)) / (6 * 2)
    torch.testing.assert_close(algorithm.vae_loss(batch, advantage, latent)[:, 0], 1.5 * error)


def test_the_kullback_leibler_term_is_that_of_a_standard_normal_and_has_no_gate(lab):
    population, algorithm = _trained(lab, 3, kl_weight=0.5)
    batch, noise = population.inputs(4)
    with torch.no_grad():
        mean, log_std = algorithm.vae.encode(batch.observation, batch.action)
        divergence = kl_divergence(Normal(mean, log_std.exp()), Normal(0.0, 1.0))
        nothing = torch.full((2, 6), -1.0).double()
        loss = algorithm.vae_loss(batch, nothing, noise["data_latent"])
    torch.testing.assert_close(loss[:, 0], 0.5 * divergence.mean((1, 2)))


def test_the_latent_deviation_is_clamped_and_multiplies_the_noise(lab):
    population, algorithm = _trained(lab, 1)
    vae, (batch, noise) = algorithm.vae, population.inputs(2)
    assert vae.latent == 4
    mean, log_std = vae.encode(batch.observation, batch.action)
    action, *rest = vae(batch.observation, batch.action, noise["data_latent"])
    latent = mean + log_std.exp() * noise["data_latent"]
    torch.testing.assert_close(action, vae.decode(batch.observation, latent))
    torch.testing.assert_close(rest, [mean, log_std])
    with torch.no_grad():
        for level, clamped in ((-100.0, -4.0), (100.0, 15.0)):
            vae.encoder.layers[-1].bias.fill_(level)
            assert (vae.encode(batch.observation, batch.action)[1] == clamped).all()


# -- what moves ----------------------------------------------------------------------------------------------


def _differing(one, other):
    """Names of the networks whose parameters differ."""
    pairs = zip(one.state_dict().items(), other.state_dict().values(), strict=True)
    return {name.split(".")[0] for (name, p), q in pairs if not torch.equal(p, q)}


def test_a_policy_step_moves_the_policy_and_the_targets_alone(lab):
    (population, algorithm), (_, other) = (_trained(lab, 1, **LARGE) for _ in range(2))
    batch, noise = population.inputs(2)
    algorithm.update(batch, noise, "critic and actor")
    other.update(batch, noise, "critic")
    assert _differing(algorithm, other) == {"actor", "target_actor", "target_critic"}


@pytest.mark.parametrize(
    ("stream", "moved"),
    [("data_latent", {"vae", "actor", "target_actor"}), ("policy_latent", {"actor", "target_actor"})],
)
def test_both_latents_are_drawn_outside_and_each_has_its_own_place(lab, stream, moved):
    (population, algorithm), (_, other) = (_trained(lab, 1, **LARGE) for _ in range(2))
    batch, noise = population.inputs(2)
    algorithm.update(batch, noise, "critic and actor")
    other.update(batch, noise | {stream: noise[stream] + 1}, "critic and actor")
    assert _differing(algorithm, other) == moved


def test_the_shipped_sizes_are_those_of_table_8(lab):
    declared = lab.specs.algorithm("a2pr").hyperparameters
    sizes = {name: h.value for name, h in declared.items() if name.endswith("sizes")}
    algorithm = lab.population("a2pr", **sizes).algorithm
    shapes = {
        "actor": [(3, 256), (256, 256), (256, 2)],
        "critic": [(5, 256), (256, 256), (256, 256), (256, 1)],
        "value": [(3, 256), (256, 256), (256, 256), (256, 1)],
    }
    networks = {name: getattr(algorithm, name).network for name in shapes}
    shapes |= {"encoder": [(5, 750), (750, 750), (750, 8)], "decoder": [(7, 750), (750, 750), (750, 2)]}
    networks |= {"encoder": algorithm.vae.encoder, "decoder": algorithm.vae.decoder}
    for name, network in networks.items():
        assert [layer.weight.shape[-2:] for layer in network.layers] == shapes[name], name
        assert not network.norms, name
