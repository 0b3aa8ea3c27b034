"""ANQ's own promises: its losses and limits, what moves what, where it beats IQL and where not."""

from __future__ import annotations

import pytest

PUBLISHED = {
    "penalty": "norm",
    "normalize_q": False,
    "radius_weight_floor": 0.0,
    "radius_weight_cap": 1e30,
}
PORT = {"update_order": "joint", "refiner_target": False}
MEANS = dict.fromkeys(
    ("value_aggregate", "radius_aggregate", "refiner_aggregate", "policy_aggregate"), "mean"
)
FAST = {"actor_learning_rate": 0.01, "critic_learning_rate": 0.01, "soft_update": 0.2}


@pytest.mark.parametrize(
    "changes",
    [
        PUBLISHED | FAST | {"constraint_weight": 0.1},
        PORT | FAST | {"constraint_weight": 0.1, "actor_decay_steps": 20},
        MEANS | FAST | {"ensemble_size": 2, "policy_frequency": 3, "displacement_bound": 0.3},
        FAST | {"radius": "fixed", "value_hidden_sizes": "8", "critic_hidden_sizes": "8-4-8"},
        FAST | {"radius": "sigmoid", "beta": 10.0, "weight_cap": 1.05, "radius_weight_cap": 1.1},
        FAST | {"radius": "uncertainty", "radius_temperature": 20.0, "ensemble_size": 1},
        FAST | {"radius": "uncertainty", "radius_temperature": 20.0, "constraint_weight": 0.0},
    ],
    ids=["published", "port", "means", "fixed", "sigmoid", "one critic", "unconstrained"],
)
def test_it_is_the_plain_program(lab, changes):
    lab.compare("anq", steps=60, **changes)


@pytest.mark.parametrize("dataset", ["hopper-medium-v2", "antmaze-large-play-v2"])
def test_it_is_the_plain_program_as_shipped(lab, dataset):
    own = lab.shipped("anq", dataset) | dict.fromkeys(lab.widths("anq"), "16-16")
    del own["batch_size"]
    lab.compare("anq", steps=60, **own)
