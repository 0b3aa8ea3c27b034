"""FQL: a policy of one step that a flow model of the data teaches and that Q pulls along."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from algorithms.base import (
    Algorithm,
    Batch,
    Hyperparameters,
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
from algorithms.networks import MLP, Critics, flax_layers
from algorithms.optimisers import Adam, soft_update, target_of
from algorithms.td3_bc import mean_magnitude


@dataclass(frozen=True, kw_only=True)
class FlowHyperparameters(Hyperparameters):
    """What FQL and FQL+ASPC share."""

    discount: float = per_member(minimum=0, maximum=1)  # γ
    soft_update: float = static(minimum=0, maximum=1)  # τ
    learning_rate: float = static(minimum=0)  # of all networks
    flow_steps: int = static(minimum=1)  # K, Euler's steps from noise to an action
    target_aggregate: str = static(choices=("min", "mean"))  # of the target critics
    actor_hidden_sizes: str = layer_sizes()  # of the student and of the flow's velocity
    critic_hidden_sizes: str = layer_sizes()


@dataclass(frozen=True, kw_only=True)
class FQLHyperparameters(FlowHyperparameters):
    """Hyperparameters of FQL."""

    alpha: float = per_member(minimum=0)  # α, weight of the distillation
    normalize_q_loss: bool = static()


class VectorField(nn.Module):
    """An MLP that takes a state, a vector as long as an action and, if `timed`, a time to such a vector."""

    def __init__(self, initial: Initial, sizes: Sizes, hidden_sizes: str, *, timed: bool = False) -> None:
        super().__init__()
        inputs = sizes.observation + sizes.action + timed
        self.network = MLP(initial, inputs, sizes.action, flax_layers(hidden_sizes))

    def forward(self, observation: Tensor, vector: Tensor, *time: Tensor) -> Tensor:
        """``(M, B, S), (M, B, A)`` and, if `timed`, ``(M, B, 1)`` to ``(M, B, A)``."""
        result: Tensor = self.network(torch.cat([observation, vector, *time], -1))
        return result


class FlowQLearning(Algorithm):
    """What FQL and FQL+ASPC share: the critics, the flow, and the student whom both teach.

    A descendant says what the student minimises.
    """

    def build(self) -> None:
        """Student μ(s, z), which acts; velocity v(s, x, t) of the flow; critics and their targets."""
        h, action = self.hyper, normal(self.hyper.batch_size, self.sizes.action)
        self.actor = VectorField(self.initial, self.sizes, h.actor_hidden_sizes)
        self.flow = VectorField(self.initial, self.sizes, h.actor_hidden_sizes, timed=True)
        self.critic = Critics(self.initial, self.sizes, flax_layers(h.critic_hidden_sizes, norm=True))
        self.target_critic = target_of(self.critic)
        self.actor_optimiser = Adam(self.actor.parameters(), h.learning_rate)
        self.flow_optimiser = Adam(self.flow.parameters(), h.learning_rate)
        self.critic_optimiser = Adam(self.critic.parameters(), h.learning_rate)
        self.noise = {"next_action": action, "action": action, "flow_start": action}
        self.noise["flow_time"] = uniform(h.batch_size)
        self.acting_noise = normal(self.sizes.action)

    @torch.no_grad()
    def target_value(self, batch: Batch, noise: Tensor) -> Tensor:
        """What the critics aim at: ``(M, B)``.

        y = r + γ (1 - d) Q̄(s', clip(μ(s', z), -1, 1)),  Q̄ the smaller or the mean of both target critics
        """
        q = self.target_critic(batch.next_observation, self.act(batch.next_observation, noise))
        next_value = q.amin(1) if self.hyper.target_aggregate == "min" else q.mean(1)
        value: Tensor = batch.reward + self.hyper.discount * (1 - batch.terminal) * next_value
        return value

    def critic_loss(self, batch: Batch, target: Tensor) -> Tensor:
        """E[(Q_k(s, a) - y)²], the mean over both critics: ``(M, 1)``."""
        return batch_mean((self.critic(batch.observation, batch.action) - target.unsqueeze(1)) ** 2)

    def flow_loss(self, batch: Batch, noise: Mapping[str, Tensor]) -> Tensor:
        """E[(v(s, (1 - t) x₀ + t a, t) - (a - x₀))²], x₀ ~ N(0, 1), t ~ U(0, 1): ``(M, 1)``."""
        start, time = noise["flow_start"], noise["flow_time"].unsqueeze(-1)
        velocity = self.flow(batch.observation, torch.lerp(start, batch.action, time), time)
        return batch_mean((velocity - (batch.action - start)) ** 2)

    @torch.no_grad()
    def flow_action(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Where K steps of Euler's method take z, clipped: ``(M, B, S), (M, B, A) -> (M, B, A)``.

        x₀ = z,  x_{k+1} = x_k + v(s, x_k, k / K) / K
        """
        steps, x = self.hyper.flow_steps, noise
        for step in range(steps):
            x = x + self.flow(observation, x, x.new_full((*x.shape[:-1], 1), step / steps)) / steps
        return x.clamp(-1, 1)

    def student(self, batch: Batch, noise: Tensor, taught: Tensor) -> tuple[Tensor, Tensor]:
        """How good μ(s, z) is, and how far from what the flow teaches.

        Args:
            batch: of which the states count.
            noise: z, ``(M, B, A)``.
            taught: the flow's actions of the same z, ``(M, B, A)``.

        Returns:
            The critics' mean at clip(μ(s, z), -1, 1), and the mean square of μ(s, z) - `taught`, which is not
            clipped; each ``(M, B)``.
        """
        action = self.actor(batch.observation, noise)
        q = self.critic(batch.observation, action.clamp(-1, 1)).mean(1)
        return q, ((action - taught) ** 2).mean(-1)

    @abstractmethod
    def update_actor(self, batch: Batch, noise: Tensor, phase: str) -> dict[str, Tensor]:
        """One step of the student with the present flow and critics; `noise` is z, ``(M, B, A)``."""

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Student, flow and critics, whose losses are all of the networks before this step.

        Each loss moves one network alone, so that three steps of Adam are one on their sum. The student comes
        first, since its loss sees the flow and the critics. The target critics follow the critics before
        their step.
        """
        target = self.target_value(batch, noise["next_action"])
        metrics = self.update_actor(batch, noise["action"], phase)
        flow_loss = self.flow_loss(batch, noise)
        self.flow_optimiser.descend(flow_loss)
        soft_update(self.hyper.soft_update, (self.target_critic, self.critic))
        critic_loss = self.critic_loss(batch, target)
        self.critic_optimiser.descend(critic_loss)
        losses = {"critic_loss": critic_loss.detach(), "flow_loss": flow_loss.detach()}
        return metrics | losses | {"target_value": batch_mean(target)}

    def act(self, observation: Tensor, noise: Tensor) -> Tensor:
        """clip(μ(s, z), -1, 1), a z ~ N(0, 1) for each action."""
        action: Tensor = self.actor(observation, noise)
        return action.clamp(-1, 1)


@register("fql")
class FQL(FlowQLearning):
    """Flow Q-learning (FQL; Park et al., 2025, arXiv:2502.02538).

    Differences from the authors' code:
        none in the losses and their order. With the same weights, batches and noise, in float64 and over 50
        updates, no parameter differs from those of the authors' class by more than 2e-15. They evaluate 50
        episodes every 100,000 steps and give the mean at 800,000, 900,000 and a million; here the table's
        protocol decides.
    """

    Hyperparameters = FQLHyperparameters

    def update_actor(self, batch: Batch, noise: Tensor, phase: str) -> dict[str, Tensor]:
        """One step down α E[(μ(s, z) - flow(s, z))²] - E[Q(s, μ(s, z))].

        The second term is over E|Q(s, μ(s, z))|, held constant, if it is to be normalised.
        """
        q, error = self.student(batch, noise, self.flow_action(batch.observation, noise))
        q_loss, distillation = -batch_mean(q), batch_mean(error)
        if self.hyper.normalize_q_loss:
            q_loss = q_loss / mean_magnitude(q)
        loss = self.hyper.alpha * distillation + q_loss
        self.actor_optimiser.descend(loss)
        return {"actor_loss": loss.detach(), "distillation_loss": distillation.detach()}
