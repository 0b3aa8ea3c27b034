"""Every algorithm against its plain one-seed program in ``reference/``: loops, modules, autograd."""

from __future__ import annotations

import pytest

from algorithms import algorithm_ids

LOSSES = ("L1", "L1+L2", "L1+L3", "L1+L2+L3")


@pytest.mark.parametrize("algorithm_id", algorithm_ids())
def test_with_the_shipped_hyperparameters(lab, algorithm_id):
    lab.compare(algorithm_id)


@pytest.mark.parametrize("critic", ["vanilla", "robust"])
def test_td3_bc(lab, critic):
    lab.compare("td3_bc", critic=critic)


def test_sac_as_ogbench_has_it(lab):
    own = lab.specs.algorithm("sac").per_dataset["antmaze-*-navigate-singletask-*"].hyperparameters
    lab.compare("sac", **own | {"log_std_minimum": 0.0})  # a floor that ln σ meets


# steps this large make a wrong outer gradient visible in the policy; ρ this small makes L2 and L3 weigh in
LARGE = {"actor_learning_rate": 0.01, "alpha_learning_rate": 0.5, "ema": 0.1, "discount": 0.9}
# V outgrows some of the Q values, so that the weight is 0 for some samples
WEIGHTED = {"cloning_weight": "advantage", "value_learning_rate": 5e-3}


@pytest.mark.parametrize(
    "changes",
    [
        *({"loss": loss} | LARGE for loss in LOSSES),
        {"outer_change": "step"} | LARGE,
        {"outer_change": "step", "loss": "L1+L2"} | LARGE,
        WEIGHTED | LARGE,
        {"reward_centering": True},
    ],
)
def test_aspc(lab, changes):
    algorithm, programs = lab.compare("aspc", **changes)
    for index, program in enumerate(programs):
        assert algorithm.scale.xi.grad[index].item() == pytest.approx(program.xi.grad.item(), rel=1e-7)
        assert program.alpha_updates == 2
        assert algorithm.scale_optimiser.learning_rate.item() == program.alpha_rate()


def test_the_outer_losses_differ(lab):
    """Otherwise the comparison above could not tell them apart."""
    ends = []
    for changes in [
        *({"loss": loss} for loss in LOSSES),
        {"outer_change": "step"},
        {"cloning_weight": "advantage"},
    ]:
        population = lab.population("aspc", **changes, **LARGE)
        population.train(46)
        ends.append(population.algorithm.scale.xi.item())
    assert min(abs(x - y) for i, x in enumerate(ends) for y in ends[:i]) > 1e-8
