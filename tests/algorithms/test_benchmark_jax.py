"""What the benchmark holds our rates against in JAX is the same TD3+BC."""

from __future__ import annotations

import os

import numpy as np
import pytest

if not os.environ.get("HARNESS_REQUIRE_JAX"):
    pytest.importorskip("jax", reason="JAX is not installed (extra 'bench')")


def layers(network, head=None):
    """The layers of one member's network, and of one head of it, as the JAX program has them."""
    index = (0,) if head is None else (0, head)
    found = []
    for number, layer in enumerate(network.layers):
        parts = [layer.weight[index], layer.bias[index][0]]
        if number < len(network.norms):
            norm = network.norms[number]
            parts += [norm.weight[index][0], norm.bias[index][0]]
        found.append(tuple(part.detach().numpy() for part in parts))
    return found


@pytest.mark.parametrize("critic", ["vanilla", "robust"])
def test_the_program_in_jax_moves_all_networks_as_ours(lab, critic):
    import jax

    from benchmarks import jax_td3_bc as jaxs

    population = lab.population("td3_bc", critic=critic)
    algorithm, h = population.algorithm, population.algorithm.members[0].hyperparameters
    ours = {
        "actor": lambda: layers(algorithm.actor.network),
        "target_actor": lambda: layers(algorithm.target_actor.network),
        "critics": lambda: [layers(algorithm.critic.network, head) for head in (0, 1)],
        "target_critics": lambda: [layers(algorithm.target_critic.network, head) for head in (0, 1)],
    }
    with jax.enable_x64(True):

        def stacked(both):
            return jax.tree.map(lambda *each: np.stack(each), *both)

        def copies():
            return {name: stacked(get()) if "critics" in name else get() for name, get in ours.items()}

        state = copies()
        for name in ("actor", "critic"):
            zeros = jax.tree.map(np.zeros_like, state["actor" if name == "actor" else "critics"])
            state[f"{name}_moments"] = {"m": zeros, "v": zeros, "count": 0.0}
        state = jax.tree.map(np.copy, state)
        for step in range(1, 7):
            batch, noise = population.inputs(step)
            some = {name: getattr(batch, name)[0].numpy() for name in batch._fields[:-1]}
            state = jaxs.update_critics(state, some, noise["target_action"][0].numpy(), h)
            if step % 2 == 0:
                state = jaxs.update_policy(state, some, h)
        population.train(6)
        for name, expected in copies().items():
            for left, right in zip(jax.tree.leaves(state[name]), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(left, right, rtol=0, atol=1e-10, err_msg=name)
