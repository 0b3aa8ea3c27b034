"""TD3+BC for many seeds as one writes it in JAX: vmap over seeds, and a scan over steps within jit.

This is how Unifloral trains. `cores.py` measures it where jax is installed (pip install '.[bench]').
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Network = list[tuple[Array, ...]]  # of each layer weight and bias and, in a robust critic, gain and offset
State = dict[str, Any]


def network(key: Array, widths: Sequence[int], *, norm: bool) -> Network:
    """Layers of PyTorch's default initialisation; hidden ones with a layer normalisation if asked for."""
    layers = []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        bound, keys = inputs**-0.5, jax.random.split(jax.random.fold_in(key, index))
        weight = jax.random.uniform(keys[0], (inputs, outputs), minval=-bound, maxval=bound)
        bias = jax.random.uniform(keys[1], (outputs,), minval=-bound, maxval=bound)
        own = (jnp.ones(outputs), jnp.zeros(outputs)) if norm and index < len(widths) - 2 else ()
        layers.append((weight, bias, *own))
    return layers


def apply(layers: Network, x: Array) -> Array:
    """Linear map, ReLU and, where the layer has one, normalisation; the last layer is linear."""
    *hidden, (weight, bias) = layers
    for layer in hidden:
        x = jax.nn.relu(x @ layer[0] + layer[1])
        if len(layer) == 4:
            centred = x - x.mean(-1, keepdims=True)
            x = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * layer[2] + layer[3]
    return x @ weight + bias


def policy(layers: Network, observation: Array) -> Array:
    """π(s)."""
    return jnp.tanh(apply(layers, observation))


def values(critics: Network, observation: Array, action: Array) -> Array:
    """Both critics' values, ``(2, B)``."""
    pair = jnp.concatenate([observation, action], -1)
    return jax.vmap(apply, (0, None))(critics, pair)[..., 0]


def adam(parameters: Any, gradients: Any, moments: State, rate: float) -> tuple[Any, State]:
    """One step; `moments` hold m, v and the number of steps."""
    count = moments["count"] + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments["m"], gradients)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments["v"], gradients)

    def moved(p: Array, m: Array, v: Array) -> Array:
        return p - rate * (m / (1 - 0.9**count)) / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8)

    return jax.tree.map(moved, parameters, m, v), {"m": m, "v": v, "count": count}


def begin(key: Array, observation: int, action: int, h: Mapping[str, Any]) -> State:
    """One seed's networks, targets and moments."""
    robust = h["critic"] == "robust"
    hidden = (256,) * (3 if robust else 2)
    critic = [observation + action, *hidden, 1]
    of_actor, *of_critics = jax.random.split(key, 3)
    actor = network(of_actor, [observation, 256, 256, action], norm=False)
    critics = jax.tree.map(
        lambda *both: jnp.stack(both), *(network(k, critic, norm=robust) for k in of_critics)
    )

    def none(parameters: Any) -> State:
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return {"m": zeros, "v": zeros, "count": jnp.zeros(())}

    return {
        "actor": actor,
        "critics": critics,
        "target_actor": actor,
        "target_critics": critics,
        "actor_moments": none(actor),
        "critic_moments": none(critics),
    }


def update_critics(state: State, batch: Mapping[str, Array], noise: Array, h: Mapping[str, Any]) -> State:
    """One step of both towards r + γ (1 - d) min_k Q̄_k(s', clip(π̄(s') + ε, -1, 1))."""
    smoothing = jnp.clip(noise * h["policy_noise"], -h["noise_clip"], h["noise_clip"])
    after = jnp.clip(policy(state["target_actor"], batch["next_observation"]) + smoothing, -1, 1)
    q = values(state["target_critics"], batch["next_observation"], after).min(0)
    y = batch["reward"] + h["discount"] * (1 - batch["terminal"]) * q

    def loss(critics: Network) -> Array:
        return ((values(critics, batch["observation"], batch["action"]) - y) ** 2).mean(1).sum()

    gradients = jax.grad(loss)(state["critics"])
    critics, moments = adam(state["critics"], gradients, state["critic_moments"], h["critic_learning_rate"])
    return state | {"critics": critics, "critic_moments": moments}


def update_policy(state: State, batch: Mapping[str, Array], h: Mapping[str, Any]) -> State:
    """One step down -α E[Q₁(s, π(s))] / E|Q₁| + E[(π(s) - a)²]; the targets follow."""

    def loss(actor: Network) -> Array:
        action = policy(actor, batch["observation"])
        first = jax.tree.map(lambda both: both[0], state["critics"])
        q = apply(first, jnp.concatenate([batch["observation"], action], -1))[:, 0]
        scale = jax.lax.stop_gradient(jnp.abs(q).mean())
        return -h["alpha"] * q.mean() / scale + ((action - batch["action"]) ** 2).mean()

    gradients = jax.grad(loss)(state["actor"])
    actor, moments = adam(state["actor"], gradients, state["actor_moments"], h["actor_learning_rate"])

    def follow(target: Array, online: Array) -> Array:
        return target + h["soft_update"] * (online - target)

    targets = {
        "target_actor": jax.tree.map(follow, state["target_actor"], actor),
        "target_critics": jax.tree.map(follow, state["target_critics"], state["critics"]),
    }
    return state | {"actor": actor, "actor_moments": moments} | targets


def trainer(data: Mapping[str, Any], members: int, h: Mapping[str, Any]) -> Callable[[int], None]:
    """What trains so many seeds for a number of steps, an even one.

    Args:
        data: observation, action, reward, next_observation and terminal of all transitions.
        members: seeds.
        h: hyperparameters of TD3+BC; policies move at every second step.
    """
    rows = {name: jnp.asarray(column, jnp.float32) for name, column in data.items()}
    length, batch, action = len(rows["reward"]), h["batch_size"], rows["action"].shape[1]

    def two_steps(state: State, key: Array) -> State:
        for step, own in enumerate(jax.random.split(key)):
            of_rows, of_noise = jax.random.split(own)
            drawn = jax.random.randint(of_rows, (batch,), 0, length)
            some = {name: column[drawn] for name, column in rows.items()}
            state = update_critics(state, some, jax.random.normal(of_noise, (batch, action)), h)
            if step == 1:
                state = update_policy(state, some, h)
        return state

    @jax.jit
    def train(states: State, keys: Array) -> State:
        return jax.lax.scan(lambda s, k: (jax.vmap(two_steps)(s, k), None), states, keys)[0]

    observation = rows["observation"].shape[1]
    begun = jax.random.split(jax.random.key(0), members)
    state = jax.vmap(lambda key: begin(key, observation, action, h))(begun)
    done = 0

    def advance(steps: int) -> None:
        nonlocal state, done
        keys = jax.random.split(jax.random.fold_in(jax.random.key(1), done), (steps // 2, members))
        state, done = jax.block_until_ready(train(state, keys)), done + 1

    return advance
