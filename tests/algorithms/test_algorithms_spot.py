from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from algorithms import member_slice

ONLINE = {"lambda_floor": 0.2, "lambda_horizon": 50, "discount": 0.995}


@pytest.mark.parametrize("dataset", ["hopper-medium-v2", "antmaze-large-play-v2"])
@pytest.mark.parametrize("online", [{}, ONLINE], ids=["offline", "online"])
def test_it_is_the_plain_program(lab, dataset, online):
    """Past where λ has come to its floor, if it falls."""
    own = {n: v for n, v in lab.shipped("spot", dataset).items() if n not in ("batch_size",)}
    narrow = dict.fromkeys(lab.widths("spot"), "16-16")
    lab.compare("spot", steps=60, **own | narrow | online)


def test_the_autoencoder_is_the_plain_program(lab):
    lab.compare("cvae", steps=60)


@pytest.mark.parametrize(
    ("update", "floor", "horizon", "share"),
    [
        (250_000, 0.2, 1e6, 0.75),
        (200_000, 0.2, 250_000, 0.2),
        (250_000, 0.2, 250_000, 0.2),
        (1_000_000, 0.2, 1e6, 0.2),
        (250_000, 1.0, 1e6, 1.0),
    ],
)
def test_lambda_falls_to_its_floor(lab, update, floor, horizon, share):
    """As the authors' code has it after 250,000 interactions, and as CORL's; not at all offline."""
    own = {"lambda_start": 0.4, "lambda_floor": floor, "lambda_horizon": horizon}
    algorithm = lab.population("spot", **own).algorithm
    algorithm.clock.fill_(update - 1)
    assert algorithm.support_weight.item() == pytest.approx(0.4 * share, rel=1e-6)


def moved(population, changed):
    """Parts of the state that one update of the actor leaves elsewhere if some of its noise is changed."""
    before = population.state()
    batch, noise = population.inputs(2)
    ends = []
    for each in (noise, noise | {name: 1 - noise[name] for name in changed}):
        population.algorithm.load_training_state(before)
        population.algorithm.update(batch, each, "critic and actor")
        ends.append(population.state())
    return {name.partition(".")[0] for name in before if not torch.equal(ends[0][name], ends[1][name])}


def test_dropout_is_active_in_the_actors_loss_and_in_the_target_policy(lab):
    population = lab.population("spot", actor_dropout=0.5)
    assert "actor" in moved(population, ["actor.0"])
    assert "critic" not in moved(population, ["actor.0"])
    assert "critic" in moved(population, ["target_actor.1"])


def test_dropout_is_off_where_the_policy_acts(lab):
    one, other = (lab.population("spot", actor_dropout=rate).algorithm for rate in (0.0, 0.5))
    observation = torch.ones(1, 3, 3, dtype=torch.float64)
    assert torch.equal(one.act(observation), other.act(observation))
    assert not [name for name in one.noise if name.startswith(("actor.", "target_actor."))]


def test_it_reads_each_members_own_autoencoder_and_leaves_it(lab):
    teachers = lab.population("cvae", "ab")
    teachers.train(3)
    states = [member_slice(teachers.state(), [index]) for index in range(2)]
    members = [
        replace(member, inputs={"vae": state})
        for member, state in zip(lab.members("spot", "xy"), states, strict=True)
    ]
    pupils = lab.of("spot", members)
    pupils.train(4)
    for name, tensor in pupils.algorithm.vae.state_dict().items():
        assert torch.equal(tensor, teachers.algorithm.vae.state_dict()[name]), name


def test_an_autoencoder_of_other_widths_does_not_fit(lab):
    state = lab.population("cvae", vae_hidden_sizes="8-8").state()
    [member] = lab.members("spot")
    with pytest.raises(ValueError, match=r"^the state of vae does not fit vae at "):
        lab.of("spot", [replace(member, inputs={"vae": state})])


def test_last_layers_begin_small_on_antmaze(lab):
    own = lab.shipped("spot", "antmaze-umaze-v2")
    algorithm = lab.population("spot", **own).algorithm
    for network, bound in ((algorithm.actor, 1e-3), (algorithm.critic, 3e-3)):
        last = network.network.layers[-1]
        for parameter in (last.weight, last.bias):
            assert parameter.abs().max() <= bound
        assert last.weight.abs().max() > 0.9 * bound
    assert algorithm.actor.network.layers[0].weight.abs().max() > 0.5
