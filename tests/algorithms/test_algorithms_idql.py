from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from algorithms import Batch, Member, Sizes, algorithm_class, generator
from algorithms.base import Initial
from algorithms.diffusion import Diffusion, ResidualBlock, variance_preserving


def diffusion(steps=5):
    return Diffusion(steps, torch.device("cpu"), torch.float64)


# -- diffusion --


def test_the_schedule_to_six_digits():
    chain = diffusion()
    beta = torch.tensor([0.195875, 0.458818, 0.635781, 0.754878, 0.835031], dtype=torch.float64)
    alpha_bar = torch.tensor([0.804125, 0.435178, 0.158500, 0.038852, 0.006409], dtype=torch.float64)
    torch.testing.assert_close(chain.beta, beta, rtol=0, atol=5e-7)
    torch.testing.assert_close(chain.alpha_bar, alpha_bar, rtol=0, atol=5e-7)


def test_each_share_of_noise_keeps_its_digits_in_long_chains():
    """Where it is small, 1 - exp(-x) would lose them."""
    first = 0.1 / 1e6 + 9.9 / 2e12
    assert variance_preserving(10**6)[0] == pytest.approx(first - first**2 / 2, rel=1e-12)


def test_every_time_is_drawn_alike_and_none_beyond_the_last():
    chain = diffusion(4)
    drawn = torch.tensor([[0, 0.24, 0.25, 0.5, 0.75, 1 - 2**-53, 1.0]], dtype=torch.float64)
    assert chain.times(drawn).argmax(-1).tolist() == [[0, 0, 1, 2, 3, 3, 3]]
    assert chain.times(drawn).sum(-1).unique().item() == 1


def test_noise_takes_what_the_action_loses():
    chain, rows = diffusion(), torch.rand(1, 20_000, dtype=torch.float64, generator=generator("a", "t"))
    action = torch.full((1, 20_000, 1), 0.5, dtype=torch.float64)
    noise = torch.randn(1, 20_000, 1, dtype=torch.float64, generator=generator("a", "n"))
    time = chain.times(rows)
    noised = chain.noised(action, noise, time).squeeze(-1)
    for t, kept in enumerate(chain.alpha_bar):
        at = noised[time[..., t] == 1]
        assert at.mean().item() == pytest.approx(0.5 * kept.sqrt().item(), abs=0.05)
        assert at.var().item() == pytest.approx(1 - kept.item(), abs=0.06)


def test_a_chain_adds_the_steps_own_share_of_noise_and_is_clipped_at_every_step():
    """Its standard deviation at the first of the steps is √β = 0.9138, not the posterior's 0.8988."""
    chain, seen = diffusion(), []

    def nothing(observation, x, time):
        seen.append((x.clone(), time.argmax(-1).unique().item()))
        return torch.zeros_like(x)

    noise = torch.zeros(1, 3, 5, 1, dtype=torch.float64)
    noise[0, :, 1, 0] = torch.tensor([1.0, -1.0, 2.0])
    end = chain.sample(nothing, torch.zeros(1, 3, 2, dtype=torch.float64), noise)
    assert [time for _, time in seen] == [4, 3, 2, 1, 0]
    assert seen[1][0].flatten().tolist() == pytest.approx([0.9138, -0.9138, 1.0], abs=5e-5)
    assert end.abs().max() <= 1


def test_the_last_step_adds_no_noise():
    chain = diffusion(2)
    noise = torch.tensor([[[[0.01], [0.0]], [[0.01], [0.4]]]], dtype=torch.float64)  # (M, B, T, A)
    observation = torch.zeros(1, 2, 1, dtype=torch.float64)
    ends = chain.sample(lambda _s, x, _t: 0 * x, observation, noise)[0].flatten().tolist()
    first, last = chain.beta.tolist()
    start = 0.01 / math.sqrt(1 - last)
    expected = [x / math.sqrt(1 - first) for x in (start, start + math.sqrt(last) * 0.4)]
    assert ends == pytest.approx(expected)


def test_a_block_of_another_width_maps_what_it_is_added_to():
    block = ResidualBlock(Initial(["a"], torch.device("cpu"), torch.float64), 3, 5, 0.0)
    with torch.no_grad():
        block.narrow.weight.zero_()
    x = torch.ones(1, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(block(x), x @ block.skip.weight)


# -- idql --


@pytest.mark.parametrize(
    "changes",
    [
        {"actor_decay_steps": 30, "actor_learning_rate": 0.01, "actor_weight_decay": 0.3},
        {"actor_dropout": 0.5, "diffusion_steps": 3, "time_frequencies": 2, "ema_decay": 0.9},
        {"expectile": 0.9, "actor_hidden_sizes": "8-8-8", "actor_dropout": 0.0},
    ],
)
def test_it_is_the_plain_program(lab, changes):
    """Past where the actor's rate has come to 0, if it does."""
    lab.compare("idql", steps=60, **changes)


def test_it_acts_as_the_plain_program_does(lab):
    algorithm, programs = lab.compare("idql", steps=20, candidates=7)
    source = generator("a", "acting")
    observation = torch.randn(2, 4, 3, generator=source, dtype=torch.float64)
    noise = torch.randn(2, 4, *algorithm.acting_noise.shape, generator=source, dtype=torch.float64)
    found = algorithm.act(observation, noise)
    for member, plain in enumerate(programs):
        for row in range(4):
            expected = plain.act(observation[member, row], noise[member, row])
            torch.testing.assert_close(found[member, row], expected, rtol=0, atol=1e-10)


def test_an_action_does_not_depend_on_those_beside_it(lab):
    population = lab.population("idql", "ab", candidates=5)
    population.train(5)
    observation = population.inputs(9)[0].observation
    noise = torch.randn(*observation.shape[:2], 5, 5, 2, dtype=torch.float64)
    algorithm = population.algorithm
    together = algorithm.act(observation, noise)
    for row in range(observation.shape[1]):
        alone = algorithm.act(observation[:, [row]], noise[:, [row]])
        torch.testing.assert_close(alone, together[:, [row]], rtol=0, atol=1e-12)


def test_the_best_of_its_proposals_is_done(lab):
    algorithm = lab.population("idql", "ab", candidates=16).algorithm
    observation = torch.randn(2, 3, 3, generator=generator("a", "s"), dtype=torch.float64)
    noise = torch.randn(2, 3, 16, 5, 2, generator=generator("a", "z"), dtype=torch.float64)
    proposed = algorithm.proposed(observation, noise)
    action = algorithm.act(observation, noise)
    chosen = algorithm.target_critic(observation, action).amin(1)
    for candidate in proposed.unbind(2):
        assert (algorithm.target_critic(observation, candidate).amin(1) <= chosen).all()
    assert (proposed == action.unsqueeze(2)).all(-1).any(-1).all()


def test_the_moving_average_acts(lab):
    population = lab.population("idql", actor_learning_rate=0.01)
    population.train(5)
    algorithm, observation = population.algorithm, population.inputs(9)[0].observation
    before = population.act(observation)
    with torch.no_grad():
        algorithm.actor.leave.bias.add_(1)
        algorithm.critic.network.layers[-1].weight.neg_()
    assert torch.equal(population.act(observation), before)
    with torch.no_grad():
        algorithm.ema_actor.leave.bias.add_(1)
    assert not torch.equal(population.act(observation), before)


def test_the_moving_average_follows_from_the_first_step_on(lab):
    population = lab.population("idql", ema_decay=0.999)
    before = population.state()
    population.train(1)
    after = population.state()
    for name in (name for name in before if name.startswith("actor.")):
        expected = 0.999 * before[name] + 0.001 * after[name]
        torch.testing.assert_close(after[f"ema_{name}"], expected, rtol=0, atol=1e-15)


def test_the_model_knows_nothing_of_q_and_q_nothing_of_the_model(lab):
    ends = [lab.population("idql", **{name: 0.01}) for name in ("actor_learning_rate", "expectile")]
    for population in ends:
        population.train(5)
    one, other = (population.state() for population in ends)
    same = {name.partition(".")[0] for name in one if torch.equal(one[name], other[name]) and "." in name}
    assert not same & {"actor", "value", "critic"}
    plain = lab.population("idql")
    plain.train(5)
    for name, tensor in plain.state().items():
        if name.startswith("actor."):
            assert torch.equal(tensor, other[name]), name
        if name.startswith(("value.", "critic.")):
            assert torch.equal(tensor, one[name]), name


def test_all_parameters_of_the_model_decay_and_no_others(lab):
    ends = []
    for decay in (0.0, 0.5):
        population = lab.population("idql", actor_weight_decay=decay, actor_learning_rate=0.1)
        with torch.no_grad():
            for parameter in population.algorithm.parameters():
                parameter.add_(0.1)  # biases begin at 0
        population.train(1)
        ends.append(population.state())
    for name in (name for name in ends[0] if "." in name):
        moved = not torch.equal(ends[0][name], ends[1][name])
        assert moved == name.startswith(("actor.", "ema_actor.")), name


@pytest.mark.parametrize(
    ("update", "rate"), [(1, 3e-4), (1_500_001, 1.5e-4), (3_000_001, 0.0), (3_500_001, 0.0)]
)
def test_the_models_rate_falls_along_a_cosine_and_stays_at_0(lab, update, rate):
    algorithm = lab.population("idql").algorithm
    for state in algorithm.actor_optimiser.state.values():
        state["step"].fill_(update - 2)
    algorithm.actor_optimiser.apply([torch.zeros_like(p) for p in algorithm.actor.parameters()])
    assert algorithm.actor_optimiser.learning_rate.item() == pytest.approx(rate, rel=1e-6, abs=1e-15)


def test_dropout_is_active_in_training_and_off_where_it_acts(lab):
    one, other = (lab.population("idql", actor_dropout=rate) for rate in (0.0, 0.5))
    observation = torch.ones(1, 3, 3, dtype=torch.float64)
    assert torch.equal(one.act(observation), other.act(observation))
    assert not [name for name in one.algorithm.noise if name.startswith("actor.")]
    batch, noise = other.inputs(1)
    loss = other.algorithm.actor_loss(batch, noise)
    for name in ("actor.0", "actor.1"):
        assert not torch.equal(other.algorithm.actor_loss(batch, noise | {name: 1 - noise[name]}), loss)


def test_first_weights_are_the_authors(lab):
    wide = dict.fromkeys(lab.widths("idql"), "128-128")
    algorithm = lab.population("idql", **wide).algorithm
    xavier = [algorithm.actor.enter, algorithm.actor.leave, *algorithm.actor.embed.layers]
    xavier += [*algorithm.critic.network.layers, *algorithm.value.network.layers]
    for layer in xavier:
        inputs, outputs = layer.weight.shape[-2:]
        assert layer.weight.abs().max().item() == pytest.approx((6 / (inputs + outputs)) ** 0.5, rel=0.05)
    for block in algorithm.actor.blocks:
        for layer in (block.widen, block.narrow):
            assert layer.weight.std().item() == pytest.approx(layer.weight.shape[-2] ** -0.5, rel=0.05)
    assert algorithm.actor.frequencies.std().item() == pytest.approx(0.2, rel=0.3)
    biases = [p for name, p in algorithm.named_parameters() if name.endswith("bias")]
    assert not any(bias.any() for bias in biases)


def test_v_normalises_its_input_and_q_does_not(lab):
    algorithm = lab.population("idql").algorithm
    observation = torch.randn(1, 4, 3, generator=generator("a", "s"), dtype=torch.float64)
    action = torch.zeros(1, 4, 2, dtype=torch.float64)
    # nothing but the constant under the root tells a state from a multiple of it
    torch.testing.assert_close(
        algorithm.value(observation), algorithm.value(9 * observation), rtol=0, atol=1e-4
    )
    assert (
        algorithm.critic(observation, action) - algorithm.critic(9 * observation, action)
    ).abs().min() > 1e-3
    plain = nn.LayerNorm(3, eps=1e-6, dtype=torch.float64)
    expected = algorithm.value.network(plain(observation)).squeeze(-1)
    torch.testing.assert_close(algorithm.value(observation), expected)


def test_it_does_one_of_two_good_actions_and_iql_what_lies_between(lab):
    """Actions near -0.8, 0 and 0.8, of which the outer ones are paid: their mean is the one that is not."""
    source, rows, seeds = torch.Generator().manual_seed(0), 64, ("a", "b")

    def batch():
        place = torch.randint(-1, 2, (len(seeds), rows, 1), generator=source)
        action = 0.8 * place + 0.05 * torch.randn(len(seeds), rows, 1, generator=source)
        s = torch.rand(len(seeds), rows, 2, generator=source)
        return Batch(s, action, paid(action), s, torch.ones(len(seeds), rows), action)

    def paid(action):
        return (action.abs() > 0.6).float().squeeze(-1)

    def learnt(algorithm_id, **changes):
        rates = {f"{name}_learning_rate": 1e-3 for name in ("actor", "critic", "value")}
        hyper = lab.defaults(algorithm_id, batch_size=rows, **rates | changes)
        algorithm = algorithm_class(algorithm_id)([Member(seed, hyper) for seed in seeds], Sizes(2, 1))
        for step in range(1, 601):
            noise = {name: each.draw(source, len(seeds)) for name, each in algorithm.noise.items()}
            algorithm.update(batch(), noise, algorithm.phase(step))
        return algorithm

    s = torch.rand(len(seeds), 50, 2, generator=source)
    idql = learnt("idql", ema_decay=0.99, candidates=16)
    noise = idql.acting_noise.draw(source, *s.shape[:2])
    proposed = idql.proposed(s, noise)
    for side in (proposed < -0.6, proposed > 0.6):
        assert side.float().mean() > 0.05
    assert paid(idql.act(s, noise)).mean() > 0.95
    assert paid(learnt("iql").act(s)).mean() < 0.05
