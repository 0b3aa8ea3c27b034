"""FamCQL: CQL with a family of policies, and a model that chooses among them for each state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.base import (
    Batch,
    Sizes,
    batch_mean,
    layer_sizes,
    normal,
    per_member,
    register,
    static,
    uniform,
)
from algorithms.cql import ACTORS_BEGIN, ConservativeCritics, ConservativeHyperparameters, minimum
from algorithms.networks import Layers, TanhGaussian, TanhGaussianActor
from algorithms.optimisers import Adam


@dataclass(frozen=True, kw_only=True)
class FamCQLHyperparameters(ConservativeHyperparameters):
    """Hyperparameters of FamCQL."""

    cql_alpha: float = per_member(minimum=0)  # α
    minimum_balance: float = per_member()  # k₁
    maximum_balance: float = per_member()  # k₂
    embedding_frequencies: int = static(minimum=1)  # F
    embedding_base: float = per_member(above=0)  # n
    balance_hidden_sizes: str = layer_sizes()
    balance_learning_rate: float = static(minimum=0)
    # of which balance the policy is trained: random offline, the model's online
    balance: str = static(choices=("random", "model"), neutral="random")
    reproduce_defects: bool = static(neutral=False)


@register("fam_cql")
class FamCQL(ConservativeCritics):
    """CQL within FamO2O (Wang et al., 2023, arXiv:2310.17966).

    The policy π(a|s, k) depends on a balance k of improvement and conservatism: it minimises
    E[T ln π(ã|s, k) - k min_j Q_j(s, ã)], offline for k ~ U(k₁, k₂). A balance model, another tanh-Gaussian,
    gives k(s): it descends -E[min_j Q_j(s, ã)], ã ~ π(s, k(s)), through the policy. Online the policy, too,
    is trained at k(s). Whoever acts takes the model's mode.

    The critics are CQL's. Actions at s', those of the target as well as those that are penalised, are of the
    k(s) that was drawn at s.

    Differences from the authors' code:
        The model's tanh lies in (-1, 1), and the code maps it by x (k₂ - k₁) + k₁, which takes (0, 1) to
        (k₁, k₂): its k(s) reaches from -0.5 to 1.5, the policy knows 0.5 to 1.5, and with a negative k it
        learns online to make Q small. Their own version for IQL maps (-1, 1) to (k₁, k₂), and so it is here.
        ``reproduce_defects: true`` does as the code does; with it, the same weights, batches and noise, in
        float64 and over 3 updates, offline and online, no parameter differs from those of the authors' class
        by more than 3e-16, which is rounding.
    """

    Hyperparameters = FamCQLHyperparameters
    policy = ("actor", "balance_model")

    def build(self) -> None:
        """As CQL, with k for the policy to see; and the balance model."""
        super().build()
        hyper = self.hyper
        self.balance_model = TanhGaussianActor(
            self.initial,
            Sizes(self.sizes.observation, 1),
            Layers(hyper.balance_hidden_sizes, **ACTORS_BEGIN[hyper.initialisation]),
            log_std_multiplier=hyper.log_std_multiplier,
            log_std_offset=hyper.log_std_offset,
        )
        self.balance_optimiser = Adam(self.balance_model.parameters(), hyper.balance_learning_rate)
        self.noise["balance"] = normal(hyper.batch_size, 1)
        if hyper.balance == "random":
            self.noise["random_balance"] = uniform(hyper.batch_size)
            self.noise["balanced_action"] = normal(hyper.batch_size, self.sizes.action)

    def actor_sizes(self) -> Sizes:
        """The policy takes the embedding of k besides."""
        return Sizes(self.sizes.observation + 2 * self.hyper.embedding_frequencies, self.sizes.action)

    # -- the family --

    def embedding(self, k: Tensor) -> Tensor:
        """(sin, cos)(k / n^(i/F)) for i = 0 … F - 1, in turn: ``(M, B) -> (M, B, 2F)``."""
        exponents = torch.arange(self.hyper.embedding_frequencies, device=k.device, dtype=k.dtype)
        scale = self.hyper.embedding_base.unsqueeze(-1) ** (exponents / self.hyper.embedding_frequencies)
        angle = k.unsqueeze(-1) / scale
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)

    def member_policy(self, observation: Tensor, k: Tensor) -> TanhGaussian:
        """π(·|s, k): ``(M, B, S)`` and ``(M, B)`` to the distributions of ``(M, B, A)``."""
        policy: TanhGaussian = self.actor(torch.cat([observation, self.embedding(k)], -1))
        return policy

    def balance_of(self, x: Tensor) -> Tensor:
        """From the model's tanh to k: ``(M, B, 1) -> (M, B)``."""
        x = x.squeeze(-1)
        return self.between(x if self.hyper.reproduce_defects else (x + 1) / 2)

    def between(self, fraction: Tensor) -> Tensor:
        """From [0, 1] to [k₁, k₂]: ``(M, B) -> (M, B)``."""
        k: Tensor = torch.lerp(self.hyper.minimum_balance, self.hyper.maximum_balance, fraction)
        return k

    # -- losses --

    def family_loss(self, k: Tensor, log_prob: Tensor, value: Tensor) -> Tensor:
        """E[T ln π(ã|s, k) - k min_j Q_j(s, ã)], T and k constant: ``(M, 1)``."""
        return batch_mean(self.log_temperature.detach().exp() * log_prob - k.detach() * value)

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Temperature, policy, balance model, critics: all by the networks as they were; then the targets."""
        observation = batch.observation
        chosen = self.balance_of(self.balance_model(observation).sample(noise["balance"])[0])  # k(s)
        random = self.hyper.balance == "random"
        k = self.between(noise["random_balance"]) if random else chosen
        policy = self.member_policy(observation, k)
        with torch.no_grad():
            next_policy = self.member_policy(batch.next_observation, chosen)
        samples = self.sampled(policy, next_policy, noise)
        target = self.target_value(batch, next_policy, noise["target_action"])

        action, log_prob = policy.sample(noise["action"])
        value = minimum(self.critics, observation, action)
        actor_loss = self.family_loss(k, log_prob, value)
        if random:
            action = self.member_policy(observation, chosen).sample(noise["balanced_action"])[0]
            value = minimum(self.critics, observation, action)
        balance_loss = -batch_mean(value)
        gradients = [
            torch.autograd.grad(loss.sum(), optimiser.parameters, retain_graph=True)
            for loss, optimiser in (
                (actor_loss, self.actor_optimiser),
                (balance_loss, self.balance_optimiser),
            )
        ]
        self.temperature_optimiser.descend(self.temperature_loss(log_prob))
        self.actor_optimiser.apply(gradients[0])
        self.balance_optimiser.apply(gradients[1])
        critics = self.update_critics(batch, target, samples, self.hyper.cql_alpha)
        return critics.metrics | {
            "actor_loss": actor_loss.detach(),
            "balance_loss": balance_loss.detach(),
            "balance": batch_mean(chosen.detach()),
            "entropy": -batch_mean(log_prob.detach()),
            "temperature": self.log_temperature.detach().exp(),
        }

    # -- acting --

    def acting_policy(self, observation: Tensor) -> TanhGaussian:
        """π(·|s, k(s)) at the mode of the balance model."""
        k = self.balance_of(torch.tanh(self.balance_model(observation).mean))
        return self.member_policy(observation, k)

    def act(self, observation: Tensor) -> Tensor:
        """The mode before tanh, through it: tanh μ(s, k(s))."""
        return torch.tanh(self.acting_policy(observation).mean)

    def explore(self, observation: Tensor, noise: Tensor) -> Tensor:
        """ã ~ π(s, k(s)): ``(M, B, S)`` and standard normal ``(M, B, A)`` to ``(M, B, A)``."""
        return self.acting_policy(observation).sample(noise)[0]
