"""The autoencoder of SPOT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms import Batch
from reference import base


class Autoencoder(nn.Module):
    """One member's copy of an `algorithms.networks.CVAE`."""

    def __init__(self, vae: Any, member: int) -> None:
        super().__init__()
        self.encoder = base.plain_mlp(vae.encoder, member)
        self.decoder = base.plain_mlp(vae.decoder, member, None, nn.Tanh())

    def forward(self, s: Tensor, a: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction, and mean and standard deviation of z."""
        mean, log_std = self.encoder(torch.cat([s, a], 1)).chunk(2, 1)
        std = torch.exp(torch.clamp(log_std, -4, 15))
        return self.decoder(torch.cat([s, mean + std * noise], 1)), mean, std

    def loss(self, s: Tensor, a: Tensor, noise: Tensor, kl_weight: float) -> Tensor:
        """Reconstruction and Kullback-Leibler term, averaged over everything."""
        reconstruction, mean, std = self(s, a, noise)
        divergence = -0.5 * (1 + torch.log(std.pow(2)) - mean.pow(2) - std.pow(2)).mean()
        loss: Tensor = F.mse_loss(reconstruction, a) + kl_weight * divergence
        return loss


class Program(base.Program):
    """Encoder and decoder."""

    def start(self, algorithm: Any, member: int) -> None:
        """Network and optimiser."""
        self.vae = Autoencoder(algorithm.vae, member)
        self.optimiser = base.adam(self.vae.parameters(), self.h["learning_rate"])

    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """One step."""
        loss = self.vae.loss(batch.observation, batch.action, noise["latent"], self.h["kl_weight"])
        base.descend(loss, self.optimiser)

    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """Both networks."""
        yield "vae", self.vae, Autoencoder(algorithm.vae, member)
