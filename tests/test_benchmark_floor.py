"""The operations and bytes that the training benchmark holds its times against."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from benchmarks.training import ACTION, BATCH, OBSERVATION, Ceilings, Population, Touched, data
from harness.training.engine import PLAIN


@pytest.mark.parametrize("members", [1, 3])
def test_the_floor_of_behaviour_cloning_is_what_its_layers_take(members):
    population = Population("bc", members, data(), "cpu", PLAIN)
    widths = (OBSERVATION, 256, 256, ACTION)
    products = [i * o for i, o in pairwise(widths)]
    # forwards and the weights' gradients everywhere, and the gradients of what the later layers read
    operations = 2 * BATCH * (2 * sum(products) + sum(products[1:]))
    assert Ceilings(1.0, math.inf).floor(population) == pytest.approx(members * operations)

    parameters = sum(products) + sum(widths[1:])
    row = 2 * (OBSERVATION + ACTION) + 2
    # parameter and two moments read and written; rows gathered by 64-bit indices
    least = 4 * 6 * parameters + BATCH * (2 * 4 * row + 8)
    assert Ceilings(math.inf, 1.0).floor(population) == pytest.approx(members * least, rel=1e-3)


def test_state_that_a_phase_leaves_alone_is_no_part_of_the_floor():
    population = Population("td3_bc", 1, data(), "cpu", PLAIN)
    learner, block = population.learner, population.draws.block(0)
    noise = {name: values[0] for name, values in block.noise.items()}
    with Touched() as touched:
        learner.update(population.replay.batch(block.rows[0]), noise, "critic")
    state = learner.training_state()
    left = {name for name, tensor in state.items() if tensor not in touched}
    assert left == {name for name in state if name.startswith(("actor.", "actor_optimiser/"))}
