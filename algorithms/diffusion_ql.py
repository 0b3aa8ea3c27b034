"""Diffusion-QL: a diffusion model that clones the data and whose samples climb Q."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from algorithms.base import (
    Algorithm,
    Batch,
    Hyperparameters,
    batch_mean,
    layer_sizes,
    normal,
    per_member,
    register,
    static,
    uniform,
)
from algorithms.diffusion import NoiseModel, PlainNoiseModel, PosteriorDiffusion
from algorithms.networks import Critics, Layers, best_of
from algorithms.optimisers import Adam, Schedule, cosine_decay, soft_update, target_of
from algorithms.td3_bc import mean_magnitude

EPOCH = 1000
"""Updates of what the authors' program calls an epoch."""
WINDOW = 50
"""Epochs between two evaluations there, after each of which it steps the cosine of the rates."""
BACKUP_ACTIONS = 10
"""Actions of each next state of which the target takes the best, with `max_q_backup`."""


@dataclass(frozen=True, kw_only=True)
class DiffusionQLSharedHyperparameters(Hyperparameters):
    """What Diffusion-QL and Diffusion-QL+ASPC share."""

    discount: float = per_member(minimum=0, maximum=1)  # γ
    soft_update: float = static(minimum=0, maximum=1)  # τ
    clip_norm: float = per_member(above=0)  # the most that the norm of a gradient may be
    max_q_backup: bool = static()  # the target takes the best of ten actions
    policy_value: str = static(choices=("coin", "first"))  # which critic the policy climbs
    diffusion_steps: int = static(minimum=1)  # T
    time_frequencies: int = static(minimum=1)  # by which the model sees a step
    ema_decay: float = static(minimum=0, maximum=1)  # of the model that the target samples
    ema_interval: int = static(minimum=1)  # updates per update of it
    ema_begin: int = static(minimum=0)  # updates that leave it as it began
    candidates: int = static(minimum=1)  # actions of which one is done
    choice: str = static(choices=("softmax", "best"))  # which one
    actor_learning_rate: float = static(minimum=0)
    critic_learning_rate: float = static(minimum=0)
    rate_decay: str = static(choices=("none", "windows", "epochs"))  # when the cosine of both rates steps
    rate_decay_epochs: int = static(minimum=1)  # steps of the cosine until the rates are 0
    actor_hidden_sizes: str = layer_sizes()
    critic_hidden_sizes: str = layer_sizes()


@dataclass(frozen=True, kw_only=True)
class DiffusionQLHyperparameters(DiffusionQLSharedHyperparameters):
    """Hyperparameters of Diffusion-QL."""

    eta: float = per_member(minimum=0)  # η


class PolicyLoss(NamedTuple):
    """The parts of a policy's loss, and the values that one of them is made of."""

    cloning: Tensor  # L_d, (M, 1)
    improvement: Tensor  # L_q, (M, 1)
    q: Tensor  # both critics' of the policy's actions, (M, 2, B)


class DiffusionPolicy(Algorithm):
    """What Diffusion-QL and Diffusion-QL+ASPC share: all but how η comes to be."""

    policy = ("actor", "target_critic")

    @property
    @abstractmethod
    def eta(self) -> Tensor:
        """η, a constant to every loss: ``(M, 1)``."""

    def build(self) -> None:
        """The model of the noise and its moving average, twin critics and their targets."""
        h, sizes = self.hyper, self.sizes
        steps, layers = h.diffusion_steps, Layers(h.critic_hidden_sizes, "mish")
        self.diffusion = PosteriorDiffusion(steps, self.device, self.dtype)
        self.actor = PlainNoiseModel(
            self.initial, sizes, h.actor_hidden_sizes, steps=steps, frequencies=h.time_frequencies
        )
        self.critic = Critics(self.initial, sizes, layers)
        self.ema_actor, self.target_critic = target_of(self.actor), target_of(self.critic)
        schedule = self.schedule()
        self.actor_optimiser = Adam(
            self.actor.parameters(), h.actor_learning_rate, schedule, clip_norm=h.clip_norm
        )
        self.critic_optimiser = Adam(
            self.critic.parameters(), h.critic_learning_rate, schedule, clip_norm=h.clip_norm
        )
        chain = (steps, sizes.action)
        self.noise = {
            "target_action": normal(h.batch_size, BACKUP_ACTIONS if h.max_q_backup else 1, *chain),
            "time": uniform(h.batch_size),
            "action": normal(h.batch_size, sizes.action),
            "policy_action": normal(h.batch_size, *chain),
        }
        self.noise |= {"coin": uniform(1)} if h.policy_value == "coin" else {}
        # the chains of all candidates, and a number that draws among them
        self.acting_noise = normal(h.candidates * steps * sizes.action + 1)

    def schedule(self) -> Schedule | None:
        """The factor of the learning rates: a cosine that steps once an epoch or a window, or none."""
        if self.hyper.rate_decay == "none":
            return None
        cosine = cosine_decay(self.hyper.rate_decay_epochs)
        updates = EPOCH * (WINDOW if self.hyper.rate_decay == "windows" else 1)
        return lambda count: cosine(torch.floor(count / updates))

    def phase(self, step: int) -> str:
        """Every `ema_interval`-th update, the first among them, may move the average."""
        return "update and average" if (step - 1) % self.hyper.ema_interval == 0 else "update"

    # -- critics --

    def samples(self, model: PlainNoiseModel, observation: Tensor, noise: Tensor) -> Tensor:
        """N actions of a policy at each observation: ``(M, B, S), (M, B, N, T, A) -> (M, B, N, A)``."""
        states = observation.repeat_interleave(noise.shape[2], 1)
        actions = self.diffusion.sample(prepared(model), states, noise.flatten(1, 2))
        return actions.view(*noise.shape[:3], -1)

    @torch.no_grad()
    def target_value(self, batch: Batch, noise: Tensor) -> Tensor:
        """What the critics aim at: ``(M, B)``.

        y = r + γ (1 - d) min_k max_n Q̄_k(s', a'_n), a'_n samples of the averaged policy: one, or ten with
        `max_q_backup`, whose noise is ``(M, B, N, T, A)``.
        """
        actions = self.samples(self.ema_actor, batch.next_observation, noise)
        states = batch.next_observation.repeat_interleave(noise.shape[2], 1)
        q = self.target_critic(states, actions.flatten(1, 2))
        next_value = q.view(*q.shape[:2], *noise.shape[1:3]).amax(-1).amin(1)
        target: Tensor = batch.reward + self.hyper.discount * (1 - batch.terminal) * next_value
        return target

    def update_critic(self, batch: Batch, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One step of both critics down E[(Q₁(s, a) - y)²] + E[(Q₂(s, a) - y)²]."""
        target = self.target_value(batch, noise["target_action"])
        error = self.critic(batch.observation, batch.action) - target.unsqueeze(1)
        loss = 2 * batch_mean(error**2)  # the mean over two critics is half of the sum
        self.critic_optimiser.descend(loss)
        return {"critic_loss": loss.detach(), "target_value": batch_mean(target)}

    # -- policy --

    def cloning_loss(self, model: NoiseModel, batch: Batch, noise: Mapping[str, Tensor]) -> Tensor:
        """L_d = E[(ε - ε_θ(s, √ᾱ_t a + √(1 - ᾱ_t) ε, t))²], t uniform, ε ~ N(0, 1): ``(M, 1)``."""
        time = self.diffusion.times(noise["time"])
        noised = self.diffusion.noised(batch.action, noise["action"], time)
        return batch_mean((model(batch.observation, noised, time) - noise["action"]) ** 2)

    def climbed(self, q: Tensor, noise: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Q_i, which the policy climbs, and Q_j, which scales it, each ``(M, B)``, of ``(M, 2, B)``.

        ``coin``: i is 1 or 2, each as probable as the other, and j is the other; ``first``: both are 1.
        """
        first, second = q.unbind(1)
        if self.hyper.policy_value == "first":
            return first, first
        heads = noise["coin"] > 0.5
        return torch.where(heads, first, second), torch.where(heads, second, first)

    def policy_loss(self, batch: Batch, noise: Mapping[str, Tensor]) -> PolicyLoss:
        """L_d and L_q = -E[Q_i(s, a⁰)] / E|Q_j(s, a⁰)|, a⁰ sampled with gradients through its whole chain."""
        model = prepared(self.actor)
        action = self.diffusion.sample(model, batch.observation, noise["policy_action"])
        q = self.critic(batch.observation, action)
        climbed, scale = self.climbed(q, noise)
        improvement = -batch_mean(climbed) / mean_magnitude(scale)
        return PolicyLoss(self.cloning_loss(model, batch, noise), improvement, q)

    def update_policy(self, loss: PolicyLoss) -> None:
        """One step of the policy down L_d + η L_q."""
        self.actor_optimiser.descend(loss.cloning + self.eta * loss.improvement)

    def update_averages(self, phase: str) -> None:
        """Q̄ follows Q at rate τ; the averaged policy follows at its own pace."""
        h = self.hyper
        soft_update(h.soft_update, (self.target_critic, self.critic))
        if "average" in phase:
            begun = (self.clock >= h.ema_begin).to(self.dtype)
            soft_update((1 - h.ema_decay) * begun, (self.ema_actor, self.actor))

    def report(self, loss: PolicyLoss) -> dict[str, Tensor]:
        """Metrics of the policy, before its step."""
        return {
            "actor_loss": (loss.cloning + self.eta * loss.improvement).detach(),
            "cloning_loss": loss.cloning.detach(),
            "q_loss": loss.improvement.detach(),
            "q": batch_mean(loss.q.detach()),
            "eta": self.eta,
        }

    # -- acting --

    def act(self, observation: Tensor, noise: Tensor) -> Tensor:
        """One of N samples of the policy: ``(M, B, S), (M, B, N T A + 1) -> (M, B, A)``.

        ``softmax``: sample n with probability ∝ exp(min_k Q̄_k(s, a_n)); ``best``: that of the largest.
        """
        h = self.hyper
        chains = noise[..., :-1].view(*noise.shape[:2], h.candidates, h.diffusion_steps, -1)
        actions = self.samples(self.actor, observation, chains)
        if h.choice == "best":
            return best_of(self.target_critic, observation, actions)
        states = observation.repeat_interleave(h.candidates, 1)
        q = self.target_critic(states, actions.flatten(1, 2)).amin(1).view(actions.shape[:3])
        below = torch.softmax(q, -1).cumsum(-1) < torch.special.ndtr(noise[..., -1:])
        chosen = below.sum(-1).clamp(max=h.candidates - 1)
        return torch.take_along_dim(actions, chosen[..., None, None], 2).squeeze(2)


@register("diffusion_ql")
class DiffusionQL(DiffusionPolicy):
    """Diffusion Q-learning (Diffusion-QL; Wang, Hunt and Zhou, 2023, arXiv:2208.06193).

    The policy is a chain of T denoising steps. It minimises L_d + η L_q: the error of its model of the noise
    in the data's actions, and the negative Q of what the chain ends in. The critics' targets take samples of
    the policy's moving average.

    Where the authors' code decides, an option names it: ``policy_value: coin`` has a coin choose which critic
    the policy climbs, the other's magnitude scaling it; the moving average stands still for `ema_begin`
    updates and then moves every `ema_interval`; ``rate_decay: windows`` is their ``--lr_decay``, whose cosine
    counts windows of 50 epochs as if they were epochs, so that after two million updates the rates are at
    99.9 % of the first ones; ``choice: softmax`` does one of 50 samples at random, by their values.

    Differences from the authors' code:
        none in the losses and their order. Acting draws one number for the choice among the candidates where
        theirs calls a multinomial. They evaluate in the same states every time, from a seed of theirs. With
        the same weights, batches and noise, in float64 and over 50 updates, no parameter differs from those
        of the authors' class by more than 2e-14, if the schedule of the noise, too, is of float64. Theirs is
        rounded to float32, which makes 5e-8. Where they select by the cloning loss (``--ms offline``), they
        also end a run once that loss rises from one window to the next (``--early_stop``); here no run ends
        early.
    """

    Hyperparameters = DiffusionQLHyperparameters

    @property
    def eta(self) -> Tensor:
        """η: ``(M, 1)``."""
        eta: Tensor = self.hyper.eta
        return eta

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Critics; then the policy, on the same batch with the updated critics; then the averages."""
        metrics = self.update_critic(batch, noise)
        loss = self.policy_loss(batch, noise)
        self.update_policy(loss)
        self.update_averages(phase)
        return metrics | self.report(loss)


def prepared(model: PlainNoiseModel) -> NoiseModel:
    """The model with what its steps add computed once, for as long as its parameters stay."""
    return functools.partial(model, offsets=model.offsets())
