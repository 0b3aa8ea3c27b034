"""A2PR."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms import Batch
from reference import base, td3_bc


class Program(td3_bc.Program):
    """Critics, V, a conditional VAE, and a policy that is held near the better of two actions."""

    def start(self, algorithm: Any, member: int) -> None:
        """As TD3+BC, and V, encoder and decoder."""
        super().start(algorithm, member)
        self.v = base.plain_mlp(algorithm.value.network, member)
        self.v_optimiser = base.adam(self.v.parameters(), self.h["value_learning_rate"])
        self.encoder = base.plain_mlp(algorithm.vae.encoder, member)
        self.decoder = base.plain_mlp(algorithm.vae.decoder, member, None, nn.Tanh())
        self.vae_optimiser = base.adam(
            [*self.encoder.parameters(), *self.decoder.parameters()], self.h["vae_learning_rate"]
        )

    def vae(self, s: Tensor, a: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction, and mean and standard deviation of z."""
        code = self.encoder(torch.cat([s, a], 1))
        mean, log_std = code[:, : 2 * a.shape[1]], code[:, 2 * a.shape[1] :]
        std = torch.exp(torch.clamp(log_std, -4, 15))
        return self.decoder(torch.cat([s, mean + std * noise], 1)), mean, std

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """Critics, V, VAE, and every second step policy and targets."""
        h, s, a = self.h, batch.observation, batch.action
        with torch.no_grad():
            a2 = self.next_action(batch, noise)
            y = self.backup(batch, self.target_critics, a2)
        self.update_critics(s, a, y)

        with torch.no_grad():
            target = torch.min(y, self.backup(batch, self.critics, a2))
        value = self.v(s).squeeze(1)
        base.descend(F.mse_loss(value, target), self.v_optimiser)
        value = value.detach()

        advantage = (self.q(self.critics[0], s, a) - value).detach()
        reconstruction, mean, std = self.vae(s, a, noise["data_latent"])
        good = advantage > h["advantage_threshold"]
        error = h["vae_weight"] * ((reconstruction - a) ** 2)[good].sum() / a.numel()
        divergence = -0.5 * (1 + torch.log(std**2) - mean**2 - std**2).mean()
        base.descend(error + h["kl_weight"] * divergence, self.vae_optimiser)

        if step % h["policy_frequency"] == 0:
            self.guide_policy(s, a, value, advantage, noise["policy_latent"])
            self.update_targets()

    def guide_policy(self, s: Tensor, a: Tensor, value: Tensor, advantage: Tensor, noise: Tensor) -> None:
        """One step of the policy."""
        h = self.h
        pi = self.actor(s)
        q = self.q(self.critics[0], s, pi)
        own = self.vae(s, pi, noise)[0]
        own_advantage = self.q(self.critics[0], s, own) - value
        guide = a.clone()
        prefer_own = own_advantage >= advantage
        guide[prefer_own] = own[prefer_own]
        counts = torch.logical_or(
            own_advantage >= h["advantage_threshold"], advantage > h["advantage_threshold"]
        )
        error = h["mask"] * ((pi - guide) ** 2)[counts].sum() / a.numel()
        loss = -h["alpha"] / q.abs().mean().detach() * q.mean() + error
        base.descend(loss, self.optimiser)

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """All networks."""
        yield from super().pairs(algorithm, member)
        yield "V", self.v, base.plain_mlp(algorithm.value.network, member)
        yield "encoder", self.encoder, base.plain_mlp(algorithm.vae.encoder, member)
        yield "decoder", self.decoder, base.plain_mlp(algorithm.vae.decoder, member)
