"""Diffusion-QL's own promises."""

from __future__ import annotations

import math

import pytest
import torch

from algorithms import generator
from algorithms.diffusion import PosteriorDiffusion

# moving averages that begin to move within a test
AVERAGES = {"ema_begin": 6, "ema_interval": 3, "ema_decay": 0.9}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        AVERAGES | {"max_q_backup": True, "clip_norm": 0.1},
        AVERAGES | {"policy_value": "first", "diffusion_steps": 3, "time_frequencies": 2, "eta": 2.0},
        {"ema_begin": 0, "ema_interval": 1, "rate_decay": "none", "actor_hidden_sizes": "8"},
        {"rate_decay": "epochs", "rate_decay_epochs": 3, "diffusion_steps": 1},
    ],
)
def test_it_is_the_plain_program(lab, changes):
    lab.compare("diffusion_ql", **changes)


@pytest.mark.parametrize("choice", ["softmax", "best"])
def test_it_acts_as_the_plain_program_does(lab, choice):
    algorithm, programs = lab.compare("diffusion_ql", steps=5, candidates=7, choice=choice)
    source = generator("a", "acting")
    observation = torch.randn(2, 4, 3, generator=source, dtype=torch.float64)
    noise = torch.randn(2, 4, *algorithm.acting_noise.shape, generator=source, dtype=torch.float64)
    found = algorithm.act(observation, noise)
    for member, plain in enumerate(programs):
        for row in range(4):
            expected = plain.act(observation[member, row], noise[member, row])
            torch.testing.assert_close(found[member, row], expected, rtol=0, atol=1e-10)


def test_a_sample_is_done_as_often_as_its_value_says(lab):
    algorithm = lab.population("diffusion_ql", candidates=3).algorithm
    with torch.no_grad():
        for parameter in algorithm.target_critic.parameters():
            parameter.mul_(3)
    count = 2000
    observation = torch.ones(1, count, 3, dtype=torch.float64)
    noise = torch.randn(1, count, *algorithm.acting_noise.shape, generator=generator("a", "z")).double()
    noise[..., :-1] = noise[:, :1, :-1]  # the same samples in every row
    actions = algorithm.samples(algorithm.actor, observation[:, :1], noise[:, :1, :-1].view(1, 1, 3, 5, 2))
    value = algorithm.target_critic(observation[:, :3], actions[0]).amin(1)
    done = algorithm.act(observation, noise)
    shares = [(done == action).all(-1).double().mean().item() for action in actions[0, 0]]
    assert shares == pytest.approx(torch.softmax(value[0], 0).tolist(), abs=0.04)


def test_a_chains_noise_has_the_posteriors_variance():
    chain = PosteriorDiffusion(5, torch.device("cpu"), torch.float64)
    one, nothing = torch.ones(1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.float64)
    variances = [chain.back(t, nothing, nothing, one).item() ** 2 for t in range(5)]
    assert variances == pytest.approx([0, 0.159114, 0.426742, 0.660907, 0.807766], abs=5e-7)


def test_the_average_stands_still_and_then_moves_at_its_interval(lab):
    population = lab.population("diffusion_ql", ema_begin=6, ema_interval=5, actor_learning_rate=0.01)
    moved, before = [], population.state()["ema_actor.enter"]
    for step in range(1, 22):
        population.train(1)
        after = population.state()["ema_actor.enter"]
        if not torch.equal(before, after):
            moved.append(step)
        before = after
    assert moved == [11, 16, 21]


@pytest.mark.parametrize(
    ("decay", "update", "left"),
    [
        ("windows", 50_000, 1.0),
        ("windows", 50_001, (1 + math.cos(math.pi / 2000)) / 2),
        ("windows", 2_000_000, (1 + math.cos(math.pi * 39 / 2000)) / 2),
        ("epochs", 1_000_001, 0.5),
    ],
)
def test_both_rates_follow_a_cosine_by_windows_or_epochs(lab, decay, update, left):
    algorithm = lab.population("diffusion_ql", rate_decay=decay).algorithm
    for optimiser in (algorithm.actor_optimiser, algorithm.critic_optimiser):
        for state in optimiser.state.values():
            state["step"].fill_(update - 2)
        optimiser.apply([torch.zeros_like(p) for p in optimiser.parameters])
        assert optimiser.learning_rate.item() == pytest.approx(3e-4 * left, rel=1e-6)


def test_a_coin_says_which_critic_is_climbed(lab):
    algorithm = lab.population("diffusion_ql", "ab").algorithm
    q = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]], dtype=torch.float64)
    coin = torch.tensor([[0.9], [0.1]], dtype=torch.float64)
    climbed, scale = algorithm.climbed(q, {"coin": coin})
    assert (climbed.flatten().tolist(), scale.flatten().tolist()) == ([1.0, 4.0], [2.0, 3.0])


SHIPPED = {
    "halfcheetah-medium-v2": (3e-4, 1.0, 9.0, False, 2000, 1.0, 0.0),
    "halfcheetah-medium-replay-v2": (3e-4, 1.0, 2.0, False, 2000, 1.0, 0.0),
    "halfcheetah-medium-expert-v2": (3e-4, 1.0, 7.0, False, 2000, 1.0, 0.0),
    "hopper-medium-v2": (3e-4, 1.0, 9.0, False, 2000, 1.0, 0.0),
    "hopper-medium-replay-v2": (3e-4, 1.0, 4.0, False, 2000, 1.0, 0.0),
    "hopper-medium-expert-v2": (3e-4, 1.0, 5.0, False, 2000, 1.0, 0.0),
    "walker2d-medium-v2": (3e-4, 1.0, 1.0, False, 2000, 1.0, 0.0),
    "walker2d-medium-replay-v2": (3e-4, 1.0, 4.0, False, 2000, 1.0, 0.0),
    "walker2d-medium-expert-v2": (3e-4, 1.0, 5.0, False, 2000, 1.0, 0.0),
    "antmaze-umaze-v2": (3e-4, 0.5, 2.0, False, 1000, 4.0, -2.0),
    "antmaze-umaze-diverse-v2": (3e-4, 2.0, 3.0, True, 1000, 4.0, -2.0),
    "antmaze-medium-play-v2": (1e-3, 2.0, 2.0, True, 1000, 4.0, -2.0),
    "antmaze-medium-diverse-v2": (3e-4, 3.0, 1.0, True, 1000, 4.0, -2.0),
    "antmaze-large-play-v2": (3e-4, 4.5, 10.0, True, 1000, 4.0, -2.0),
    "antmaze-large-diverse-v2": (3e-4, 3.5, 7.0, True, 1000, 4.0, -2.0),
}


@pytest.mark.parametrize("dataset", SHIPPED)
def test_each_dataset_has_the_settings_of_the_authors_code(lab, dataset):
    names = ["actor_learning_rate", "eta", "clip_norm", "max_q_backup", "rate_decay_epochs"]
    names += ["reward_scale", "reward_shift"]
    found = lab.shipped("diffusion_ql", dataset)
    assert tuple(found[name] for name in names) == SHIPPED[dataset]
    extended = lab.shipped("diffusion_ql_aspc", dataset)
    assert extended | {"eta": extended["initial_eta"]} == extended | found
    assert extended["alpha_decay_steps"] == 1000 * found["rate_decay_epochs"]
