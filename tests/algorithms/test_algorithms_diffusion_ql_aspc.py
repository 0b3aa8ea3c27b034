"""Diffusion-QL+ASPC's own promises: the outer gradient through the policy's step, and what that moves."""

from __future__ import annotations

import pytest

OUTER = 10  # the first step that updates η
# steps this large make a wrong outer gradient visible in the policy; ρ this small makes L2 weigh in
LARGE = {"actor_learning_rate": 0.01, "alpha_learning_rate": 0.5, "ema": 0.1, "discount": 0.9}
VARIANTS = [
    {"outer_value": value, "outer_scale": scale} | loss
    for loss in (
        {"loss": "L1"},
        {"loss": "L1+L2", "outer_change": "average"},
        {"loss": "L1+L2", "outer_change": "step"},
    )
    for value, scale in (("host", "eta"), ("host", "one"), ("min", "eta"), ("mean", "one"))
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_it_is_the_plain_program(lab, changes):
    algorithm, programs = lab.compare("diffusion_ql_aspc", **(LARGE | changes), steps=23)
    for index, program in enumerate(programs):
        assert algorithm.scale.xi.grad[index].item() == pytest.approx(program.xi.grad.item(), rel=1e-7)
        assert program.eta_updates == 2
        assert algorithm.scale_optimiser.learning_rate.item() == program.eta_rate()


@pytest.mark.parametrize(
    "changes",
    [
        {"clip_norm": 0.1, "max_q_backup": True, "alpha_interval": 3},
        {"policy_value": "first", "rate_decay": "none", "ema_begin": 0, "ema_interval": 3},
    ],
)
def test_it_is_the_plain_program_with_diffusion_qls_options(lab, changes):
    lab.compare("diffusion_ql_aspc", **(LARGE | changes), steps=23)
