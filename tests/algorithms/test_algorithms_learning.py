"""Every algorithm learns: on a small plane, from actions at random, to go where cloning cannot go.

A point in [-1, 1]² moves by 0.2 a and earns minus its distance from a goal. The data are episodes of
uniformly random actions. Their mean is 0, so cloning stays where it is; whoever uses rewards walks to the
goal.
"""

from __future__ import annotations

import itertools
import operator

import pytest
import torch

from algorithms import Batch, Member, Sizes, algorithm_class, algorithm_ids

EPISODES, LENGTH, STEPS = 400, 20, 2000
# CQL's slow policy and strong conservatism, and its 30 actions a state, are made for a million steps
CQL = {"actor_learning_rate": 3e-3, "critic_learning_rate": 3e-3, "sampled_actions": 3}
# an update of Diffusion-QL is many small products: few updates, and large ones
DIFFUSION_QL = {"ema_begin": 0, "ema_interval": 1, "diffusion_steps": 2, "candidates": 8} | {
    f"{name}_learning_rate": 2e-3 for name in ("actor", "critic")
}
UPDATES = dict.fromkeys(("diffusion_ql", "diffusion_ql_aspc"), 800)
CHANGES = {
    "cql": CQL | {"cql_alpha": 0.1},
    "cql_aspc": CQL | {"initial_alpha": 0.1},
    "cql_sa": CQL | {"initial_coefficient": 0.1},
    "diffusion_ql": DIFFUSION_QL,
    "diffusion_ql_aspc": DIFFUSION_QL,
    "fam_cql": CQL | {"cql_alpha": 0.1},
    "fql": {"alpha": 0.3, "flow_steps": 2},  # a flow of uniform actions is not worth more steps
    "fql_aspc": {"flow_steps": 2},
    "idql": {"candidates": 16},
    "spot": {"lambda_start": 0.1},  # its autoencoder has learnt nothing here
}
CLONING = ("bc", "cvae")
GOAL = torch.tensor([0.6, -0.4])


def move(s, a):
    return (s + 0.2 * a).clamp(-1, 1)


def reward(s):
    return -(s - GOAL).norm(dim=-1)


@pytest.fixture(scope="module")
def data():
    """Transitions of whole episodes, (N, …), and their mean return."""
    source = torch.Generator().manual_seed(0)
    s = torch.rand(EPISODES, 2, generator=source) * 2 - 1
    actions = torch.rand(LENGTH + 1, EPISODES, 2, generator=source) * 2 - 1
    rows = []
    for a, a2 in itertools.pairwise(actions):
        s2 = move(s, a)
        rows.append(Batch(s, a, reward(s2), s2, torch.zeros(EPISODES), a2))
        s = s2
    columns = Batch(*map(torch.cat, zip(*(row.tensors for row in rows), strict=True)))
    returns = columns.reward.view(LENGTH, EPISODES).sum(0)
    trust = (returns > returns.median()).float().repeat(LENGTH)
    return columns._replace(extra={"trust": trust}), returns.mean().item()


def train(lab, algorithm_id, columns, seeds=("a", "b")):
    """Mean return of each seed's trained policy."""
    hyper = lab.defaults(algorithm_id)
    hyper |= {name: "64-64" for name, value in hyper.items() if value == "16-16"} | {"batch_size": 64}
    hyper |= ({"discount": 0.9} if "discount" in hyper else {}) | CHANGES.get(algorithm_id, {})
    algorithm = algorithm_class(algorithm_id)([Member(seed, hyper) for seed in seeds], Sizes(2, 2))
    source = torch.Generator().manual_seed(1)
    for step in range(1, UPDATES.get(algorithm_id, STEPS) + 1):
        rows = torch.randint(len(columns.reward), (len(seeds), 64), generator=source)
        noise = {
            name: (torch.randn if each.distribution == "normal" else torch.rand)(
                len(seeds), *each.shape, generator=source
            )
            for name, each in algorithm.noise.items()
        }
        algorithm.update(columns.map(operator.itemgetter(rows)), noise, algorithm.phase(step))
    grid = torch.linspace(-0.9, 0.9, 10)
    s = torch.cartesian_prod(grid, grid).expand(len(seeds), -1, -1)
    total = torch.zeros(s.shape[:2])
    with torch.no_grad():
        for _ in range(LENGTH):
            wanted = algorithm.acting_noise
            noise = [wanted.draw(source, *s.shape[:2])] if wanted else []
            s = move(s, algorithm.act(s, *noise))
            total += reward(s)
    return total.mean(1).tolist()


@pytest.fixture(scope="module")
def cloned(lab, data):
    return train(lab, "bc", data[0])


@pytest.mark.slow
def test_cloning_stays_where_it_is(data, cloned):
    """What random actions earn, and standing still: neither gets near the goal."""
    for value in cloned:
        assert value == pytest.approx(data[1], abs=2.5)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm_id", [name for name in algorithm_ids() if name not in CLONING])
def test_what_uses_rewards_walks_to_the_goal(lab, data, cloned, algorithm_id):
    returns = train(lab, algorithm_id, data[0])
    for value, standing in zip(returns, cloned, strict=True):
        assert value > data[1] + 8, (algorithm_id, returns, data[1])
        assert value > standing + 8, (algorithm_id, returns, cloned)
