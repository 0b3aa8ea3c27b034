"""Diffusion-QL's own promises."""

from __future__ import annotations

import pytest

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
