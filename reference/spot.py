"""SPOT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from algorithms import Batch
from reference import base, cvae, td3_bc


class Program(td3_bc.Program):
    """TD3 with dropout and an autoencoder that has learnt before."""

    def start(self, algorithm: Any, member: int) -> None:
        """As TD3+BC, and the autoencoder."""
        super().start(algorithm, member)
        self.vae = cvae.Autoencoder(algorithm.vae, member).requires_grad_(False)

    def dropped(self, policy: nn.Sequential, x: Tensor, name: str, noise: Mapping[str, Tensor]) -> Tensor:
        """The policy's action at states x where units drop out after each linear layer but the last."""
        rate, hidden = self.h["actor_dropout"], 0
        for layer in policy:
            x = layer(x)
            if isinstance(layer, nn.Linear) and f"{name}.{hidden}" in noise:
                x = x * (noise[f"{name}.{hidden}"] >= rate) / (1 - rate)
                hidden += 1
        return x

    def next_action(self, batch: Batch, noise: Mapping[str, Tensor]) -> Tensor:
        """The target policy's, smoothed."""
        h = self.h
        smoothing = (noise["target_action"] * h["policy_noise"]).clamp(-h["noise_clip"], h["noise_clip"])
        action = self.dropped(self.target_actor, batch.next_observation, "target_actor", noise)
        smoothed: Tensor = (action + smoothing).clamp(-1, 1)
        return smoothed

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """Critics, and every second step policy and targets."""
        with torch.no_grad():
            y = self.backup(batch, self.target_critics, self.next_action(batch, noise))
        self.update_critics(batch.observation, batch.action, y)
        if step % self.h["policy_frequency"] == 0:
            self.support_policy(step, batch.observation, noise)
            self.update_targets()

    def support_policy(self, step: int, s: Tensor, noise: Mapping[str, Tensor]) -> None:
        """One step of the policy."""
        h = self.h
        weight = h["lambda_start"] * max(h["lambda_floor"], 1 - step / h["lambda_horizon"])
        pi = self.dropped(self.actor, s, "actor", noise)
        q = self.q(self.critics[0], s, pi)
        loss = -q.mean() / q.abs().mean().detach()
        base.descend(loss + weight * self.vae.loss(s, pi, noise["latent"], h["kl_weight"]), self.optimiser)

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks."""
        yield from super().pairs(algorithm, member)
        yield "vae", self.vae, cvae.Autoencoder(algorithm.vae, member)
