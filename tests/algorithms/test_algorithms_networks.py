"""The pieces of networks and optimisers: one member against torch's own modules, and members apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from algorithms.base import Initial, Sizes, generator
from algorithms.networks import ACTIVATIONS, MLP, Critics, DeterministicActor, Layers
from algorithms.optimisers import Adam, average_rate, clipped, soft_update, target_of

SIZES, ROWS = Sizes(3, 2), 7
TORCHS = {
    "relu": nn.ReLU(),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU("tanh"),
}


def initial(keys="ab"):
    return Initial(list(keys), torch.device("cpu"), torch.float64)


def normal(*shape, key="data", stream="x"):
    return torch.randn(*shape, generator=generator(key, stream), dtype=torch.float64)


def plain(mlp, layers, member, head=()):
    """torch's own modules with the weights of one member, and one of its heads."""
    made, norms = [], list(mlp.norms)
    for index, layer in enumerate(mlp.layers):
        weight, bias = layer.weight[(member, *head)].detach(), layer.bias[(member, *head)].detach()
        linear = nn.Linear(*weight.shape, dtype=weight.dtype)
        linear.weight.data, linear.bias.data = weight.T.clone(), bias[0].clone()
        made.append(linear)
        if index < len(mlp.layers) - 1:
            act = [TORCHS[layers.activation]]
            if layers.norm:
                norm = nn.LayerNorm(weight.shape[1], eps=layers.norm_epsilon, dtype=weight.dtype)
                norm.weight.data = norms[index].weight[(member, *head)][0].detach().clone()
                norm.bias.data = norms[index].bias[(member, *head)][0].detach().clone()
                act = [norm, *act] if layers.norm == "before" else [*act, norm]
            made += act
    return nn.Sequential(*made)


def shaken(network):
    """The network with gains and offsets that show."""
    with torch.no_grad():
        for index, parameter in enumerate(network.parameters()):
            parameter.add_(0.1 * normal(*parameter.shape, stream=str(index)))
    return network


@pytest.mark.parametrize("norm", [None, "before", "after"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_mlp_is_torchs_own_for_every_member(activation, norm):
    layers = Layers("5-4", activation=activation, norm=norm, norm_epsilon=1e-3)
    mlp, x = shaken(MLP(initial(), 3, 2, layers)), normal(2, ROWS, 3)
    found = mlp(x)
    for member in range(2):
        torch.testing.assert_close(
            found[member], plain(mlp, layers, member)(x[member]), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("count", [1, 2, 10])
def test_critics_are_as_many_networks(count):
    layers = Layers("5-4", norm="after")
    critics = shaken(Critics(initial(), SIZES, layers, count))
    observation, action = normal(2, ROWS, 3), normal(2, ROWS, 2, stream="a")
    found = critics(observation, action)
    assert found.shape == (2, count, ROWS)
    for member in range(2):
        pairs = torch.cat([observation[member], action[member]], -1)
        for head in range(count):
            expected = plain(critics.network, layers, member, (head,))(pairs).squeeze(-1)
            torch.testing.assert_close(found[member, head], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(critics.first(observation, action), found[:, 0], rtol=1e-12, atol=1e-12)


def test_heads_begin_with_weights_of_their_own():
    weight = Critics(initial(), SIZES, Layers("5"), 3).network.layers[0].weight
    assert len({tuple(each.flatten().tolist()) for member in weight for each in member}) == 6


def test_dropout_drops_what_its_numbers_say_and_keeps_the_mean():
    layers = Layers("64-64", dropout=0.25)
    actor = DeterministicActor(initial("a"), SIZES, layers)
    noise = actor.network.dropout_noise("actor", ROWS)
    assert {name: (each.shape, each.distribution) for name, each in noise.items()} == {
        "actor.0": ((ROWS, 64), "uniform"),
        "actor.1": ((ROWS, 64), "uniform"),
    }
    drawn = [each.draw(generator("a", name), 1).double() for name, each in noise.items()]
    x = normal(1, ROWS, 3)
    hidden = x
    for layer, numbers in zip(actor.network.layers, drawn, strict=False):
        kept = numbers >= 0.25
        assert 0.5 < kept.double().mean() < 0.9
        hidden = torch.where(kept, layer(hidden).relu() / 0.75, 0)
    torch.testing.assert_close(actor(x, drawn), torch.tanh(actor.network.layers[-1](hidden)))


def test_dropout_of_critics_is_each_heads_own():
    critics = Critics(initial("a"), SIZES, Layers("5-4", dropout=0.5), 3)
    shapes = [each.shape for each in critics.network.dropout_noise("critic", ROWS).values()]
    assert shapes == [(3, ROWS, 5), (3, ROWS, 4)]
    numbers = [torch.ones(1, *shape, dtype=torch.float64) for shape in shapes]
    numbers[0][:, 1] = 0  # of the second head everything is dropped
    found = critics(normal(1, ROWS, 3), normal(1, ROWS, 2, stream="a"), numbers)
    assert found[0, 1].std() < 1e-12
    assert found[0, 0].std() > 1e-3


# -- optimisers --


def trained(keys, steps=6, **options):
    """Parameters of members after steps of Adam on a loss of their own data."""
    mlp = MLP(initial(keys), 3, 2, Layers("5-4"))
    adam = Adam(mlp.parameters(), 0.05, **options)
    for step in range(steps):
        x = torch.stack([normal(ROWS, 3, key=key, stream=str(step)) for key in keys])
        adam.descend(10 * (mlp(x) ** 2).flatten(1).mean(1, keepdim=True))
    return list(mlp.parameters())


def torchs(key, make, clip=None, steps=6):
    """The same with one of torch's optimisers."""
    mlp = plain(MLP(initial(key), 3, 2, Layers("5-4")), Layers("5-4"), 0)
    optimiser = make(mlp.parameters())
    for step in range(steps):
        optimiser.zero_grad()
        (10 * (mlp(normal(ROWS, 3, key=key, stream=str(step))) ** 2).mean()).backward()
        if clip:
            nn.utils.clip_grad_norm_(mlp.parameters(), clip)
        optimiser.step()
    return [p.detach() for p in mlp.parameters()]


def assert_alike(ours, theirs, member):
    for mine, other in zip(ours, theirs, strict=True):
        own = mine[member].T if other.dim() == 2 else mine[member, 0]
        torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-11)


PER_MEMBER = torch.tensor([[0.3], [0.02]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("ours", "theirs", "clip"),
    [
        ({}, lambda p: torch.optim.Adam(p, 0.05), None),
        ({"weight_decay": 0.3}, lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.3), None),
        ({"weight_decay": 0.3, "decay": "l2"}, lambda p: torch.optim.Adam(p, 0.05, weight_decay=0.3), None),
        ({"clip_norm": 0.5}, lambda p: torch.optim.Adam(p, 0.05), 0.5),
        (
            {"clip_norm": 0.5, "weight_decay": PER_MEMBER[:1], "decay": "l2"},
            lambda p: torch.optim.Adam(p, 0.05, weight_decay=0.3),
            0.5,
        ),
    ],
)
def test_adam_is_torchs_own(ours, theirs, clip):
    assert_alike(trained("a", **ours), torchs("a", theirs, clip), 0)


@pytest.mark.parametrize("decay", ["decoupled", "l2"])
def test_what_adam_does_to_a_member_is_its_own_affair(decay):
    together = trained("ab", clip_norm=PER_MEMBER, weight_decay=PER_MEMBER, decay=decay)
    for member, key in enumerate("ab"):
        own = PER_MEMBER[[member]]
        alone = trained(key, clip_norm=own, weight_decay=own, decay=decay)
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[[member]], other, rtol=1e-11, atol=1e-13)


def test_weights_decay_at_the_rate_of_the_step():
    weight = nn.Parameter(torch.ones(1, 1, 1, dtype=torch.float64))
    adam = Adam([weight], 0.5, lambda count: 0.5**count, weight_decay=0.1)
    for _ in range(2):
        adam.apply([torch.zeros_like(weight)])
    assert weight.item() == pytest.approx((1 - 0.5 * 0.1) * (1 - 0.25 * 0.1))


def test_small_gradients_are_left_as_they_are():
    gradients = [torch.full((2, 3, 1), 0.1), torch.full((2, 1), 0.2)]
    assert all(map(torch.equal, clipped(gradients, 10.0), gradients))


def test_a_moving_average_is_torchs_own_and_begins_when_asked():
    network = MLP(initial("a"), 3, 2, Layers("5"))
    average, theirs = target_of(network), AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(network)
    for step in range(6):
        shaken(network)
        clock = torch.full((1, 1), float(step), dtype=torch.float64)
        soft_update(average_rate(0.9, clock, begin=2), (average, network))
        if step < 2:
            assert all(map(torch.equal, average.parameters(), network.parameters()))
            theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
            theirs.update_parameters(network)
        else:
            theirs.update_parameters(network)
    for ours, other in zip(average.parameters(), theirs.module.parameters(), strict=True):
        torch.testing.assert_close(ours, other.detach(), rtol=1e-12, atol=1e-12)


def test_each_member_follows_at_its_own_rate():
    online, target = MLP(initial(), 3, 2, Layers("5")), MLP(initial("cd"), 3, 2, Layers("5"))
    before = [p.detach().clone() for p in target.parameters()]
    soft_update(torch.tensor([[1.0], [0.0]], dtype=torch.float64), (target, online))
    for old, new, goal in zip(before, target.parameters(), online.parameters(), strict=True):
        torch.testing.assert_close(new[0], goal[0])
        assert torch.equal(new[1], old[1])


@pytest.mark.parametrize(("name", "torchs"), [("mish", nn.Mish()), ("gelu_tanh", nn.GELU("tanh"))])
def test_an_activation_is_torchs_far_from_0_and_in_its_second_derivative(name, torchs):
    x = torch.tensor([-600.0, -30.0, -1.0, 0.0, 2.0, 30.0], dtype=torch.float64, requires_grad=True)

    def derivatives(function):
        first = torch.autograd.grad(function(x).sum(), x, create_graph=True)[0]
        return function(x.detach()), first, torch.autograd.grad(first.sum(), x)[0]

    for ours, theirs in zip(derivatives(ACTIVATIONS[name]), derivatives(torchs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    slope = torch.autograd.grad(ACTIVATIONS[name](x).sum(), x)[0]
    torch.testing.assert_close(slope, derivatives(torchs)[1].detach(), rtol=0, atol=1e-13)
