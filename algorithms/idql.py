"""IDQL: of many actions that a diffusion model of the data proposes, the one that IQL's Q values most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from algorithms.base import (
    Batch,
    Initial,
    Sizes,
    batch_mean,
    layer_sizes,
    normal,
    per_member,
    register,
    static,
    uniform,
)
from algorithms.diffusion import EPSILON, Diffusion, ResidualNoiseModel, xavier_layers
from algorithms.iql import ExpectileHyperparameters, ExpectileValues
from algorithms.networks import LayerNorm, Layers, ValueFunction, best_of
from algorithms.optimisers import Adam, cosine_decay, soft_update, target_of


@dataclass(frozen=True, kw_only=True)
class IDQLHyperparameters(ExpectileHyperparameters):
    """Hyperparameters of IDQL."""

    candidates: int = static(minimum=1)  # N, actions of which the best is done
    diffusion_steps: int = static(minimum=1)  # T
    ema_decay: float = static(minimum=0, maximum=1)  # of the model that acts
    time_frequencies: int = static(minimum=1)  # by which the model sees a step
    actor_dropout: float = static(minimum=0, maximum=0.99)
    actor_learning_rate: float = static(minimum=0)
    actor_decay_steps: int = static(minimum=1)  # updates until the actor's rate is 0, and stays there
    actor_weight_decay: float = per_member(minimum=0)
    actor_hidden_sizes: str = layer_sizes()  # a residual block each


class NormalisedValue(ValueFunction):
    """V(s) whose input is layer-normalised: ``(M, B, S) -> (M, B)``."""

    def __init__(self, initial: Initial, sizes: Sizes, layers: Layers) -> None:
        super().__init__(initial, sizes, layers)
        self.norm = LayerNorm(initial, sizes.observation, epsilon=EPSILON)

    def forward(self, observation: Tensor) -> Tensor:
        """The values of all members."""
        return super().forward(self.norm(observation))


@register("idql")
class IDQL(ExpectileValues):
    """Implicit diffusion Q-learning (IDQL; Hansen-Estruch et al., 2023, arXiv:2304.10573).

    Q and V are IQL's. The actor is a model ε_θ of the noise in actions of the data, whatever Q says of them.
    Whoever acts lets N chains of diffusion end in actions of its moving average and does the one of the
    largest min_k Q̄_k, as the authors' code does; the paper also draws among them by weights.

    This is ``ddpm_iql_simple``, the class that the authors' package exports and their offline program trains,
    which as published stops at two settings that it seeks in the wrong place. The class of their fine-tuning
    program has another network.

    Differences from the authors' code:
        none in the losses and their order. The target of Q comes from V after its step, unlike in this
        project's IQL. V normalises its input, Q does not. The authors leave out exactly 5 % of the
        transitions, here each is left out with that probability. They never seed the environment; here
        each episode has random numbers of its own. They evaluate a run with N of 16, 64 and 256; here a run
        has one N. With the same weights, batches and noise, in float64 and over 60 updates, no parameter
        differs from those of the authors' class by more than 3e-13, and no action by more than 5e-15, if the
        actor's rate, too, is of float64. It is rounded to float32 here, which makes 5e-9 after two updates.
    """

    Hyperparameters = IDQLHyperparameters
    policy = ("ema_actor", "target_critic")

    def build(self) -> None:
        """Q, V, the model of the noise and its moving average."""
        h = self.hyper
        self.build_values()
        self.diffusion = Diffusion(h.diffusion_steps, self.device, self.dtype)
        self.actor = ResidualNoiseModel(
            self.initial,
            self.sizes,
            h.actor_hidden_sizes,
            steps=h.diffusion_steps,
            frequencies=h.time_frequencies,
            dropout=h.actor_dropout,
        )
        self.ema_actor = target_of(self.actor)
        self.actor_optimiser = Adam(
            self.actor.parameters(),
            h.actor_learning_rate,
            cosine_decay(h.actor_decay_steps, stays=True),
            weight_decay=h.actor_weight_decay,
        )
        self.noise = {"time": uniform(h.batch_size), "action": normal(h.batch_size, self.sizes.action)}
        self.noise |= self.actor.dropout_noise("actor", h.batch_size) if h.actor_dropout else {}
        self.acting_noise = normal(h.candidates, h.diffusion_steps, self.sizes.action)

    def value_layers(self, hidden_sizes: str) -> Layers:
        """ReLU layers whose first weights are Xavier's, and 0 in the bias."""
        return xavier_layers(hidden_sizes)

    def value_function(self) -> ValueFunction:
        """V as it begins."""
        return NormalisedValue(self.initial, self.sizes, self.value_layers(self.hyper.value_hidden_sizes))

    def actor_loss(self, batch: Batch, noise: Mapping[str, Tensor]) -> Tensor:
        """E[Σ_j (ε_θ(s, √ᾱ_t a + √(1 - ᾱ_t) ε, t) - ε)_j²], t uniform, ε ~ N(0, 1): ``(M, 1)``."""
        time = self.diffusion.times(noise["time"])
        noised = self.diffusion.noised(batch.action, noise["action"], time)
        dropout = [numbers for name, numbers in noise.items() if name.startswith("actor.")]
        predicted = self.actor(batch.observation, noised, time, dropout)
        return batch_mean(((predicted - noise["action"]) ** 2).sum(-1))

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """The model of the noise and its moving average, then V, then Q by the new V, then Q̄."""
        loss = self.actor_loss(batch, noise)
        self.actor_optimiser.descend(loss)
        soft_update(1 - self.hyper.ema_decay, (self.ema_actor, self.actor))
        _, metrics = self.update_value(batch)
        metrics |= self.update_critic(batch, self.next_value(batch))
        return metrics | {"actor_loss": loss.detach()}

    def proposed(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Ends of N chains at each observation: ``(M, B, S), (M, B, N, T, A) -> (M, B, N, A)``."""
        states = observation.repeat_interleave(self.hyper.candidates, 1)
        actions = self.diffusion.sample(self.ema_actor, states, noise.flatten(1, 2))
        return actions.view(noise.shape[:3] + actions.shape[2:])

    def act(self, observation: Tensor, noise: Tensor) -> Tensor:
        """The best of N proposed actions by min_k Q̄_k: ``(M, B, S), (M, B, N, T, A) -> (M, B, A)``."""
        return best_of(self.target_critic, observation, self.proposed(observation, noise))
