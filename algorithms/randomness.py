"""Random numbers that are functions of a run's key, a stream's name and a step, and of nothing else."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn


def generator(key: str, stream: str, block: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on its arguments alone: not on the population, not on what ran before."""
    digest = hashlib.sha256(f"{key}/{stream}/{block}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class Noise(NamedTuple):
    """Random numbers that every update of every member gets: their shape, and what they are drawn from."""

    shape: tuple[int, ...]
    distribution: str = "normal"  # or "uniform", on [0, 1)

    def draw(self, source: torch.Generator, *before: int) -> torch.Tensor:
        """Numbers of shape ``(*before, *shape)``, on the generator's device."""
        draw = torch.randn if self.distribution == "normal" else torch.rand
        return draw(*before, *self.shape, generator=source, device=source.device)


def normal(*shape: int) -> Noise:
    """Standard normal numbers of this shape."""
    return Noise(shape)


def uniform(*shape: int) -> Noise:
    """Numbers of this shape, uniform on [0, 1)."""
    return Noise(shape, "uniform")


class Initial:
    """Draws initial parameters, each member's from its own generator.

    Args:
        keys: one run key per member.
        device: where parameters live.
        dtype: of the parameters.
    """

    def __init__(self, keys: Sequence[str], device: torch.device, dtype: torch.dtype) -> None:
        self.members, self.device, self.dtype = len(keys), device, dtype
        self._generators = [generator(key, "initialisation") for key in keys]

    def uniform(self, shape: Sequence[int], bound: float) -> nn.Parameter:
        """U(-bound, bound) of shape ``(M, *shape)``."""
        # drawn on the CPU in float32, so that neither device nor precision changes a run's first weights
        draws = [torch.rand(*shape, generator=g, dtype=torch.float32) for g in self._generators]
        return nn.Parameter(((torch.stack(draws) * 2 - 1) * bound).to(self.device, self.dtype))

    def normal(self, shape: Sequence[int], deviation: float) -> nn.Parameter:
        """N(0, deviation²) of shape ``(M, *shape)``."""
        draws = [torch.randn(*shape, generator=g, dtype=torch.float32) for g in self._generators]
        return nn.Parameter((torch.stack(draws) * deviation).to(self.device, self.dtype))

    def cut_normal(self, shape: Sequence[int], deviation: float) -> nn.Parameter:
        """A normal distribution cut off at ±2, scaled to this standard `deviation`; shape ``(M, *shape)``."""
        draws = [torch.rand(*shape, generator=g, dtype=torch.float32) for g in self._generators]
        within = (torch.stack(draws) * 2 - 1) * math.erf(2**0.5)
        normal = 2**0.5 * torch.erfinv(within)
        # what cutting leaves of a standard deviation of 1
        return nn.Parameter((normal * (deviation / 0.87962566103423978)).to(self.device, self.dtype))

    def orthogonal(self, shape: Sequence[int], gain: float) -> nn.Parameter:
        """`gain` times orthonormal rows or columns, whichever are fewer; shape ``(M, *heads, in, out)``."""
        *heads, inputs, outputs = shape
        size = (*heads, max(inputs, outputs), min(inputs, outputs))
        q, r = torch.linalg.qr(torch.stack([torch.randn(*size, generator=g) for g in self._generators]))
        # the signs make the distribution uniform (Mezzadri, 2007), as in torch.nn.init.orthogonal_
        q = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
        return nn.Parameter(
            (gain * (q if inputs >= outputs else q.mT)).contiguous().to(self.device, self.dtype)
        )

    def constant(self, shape: Sequence[int], value: float) -> nn.Parameter:
        """`value` everywhere, of shape ``(M, *shape)``."""
        return nn.Parameter(torch.full((self.members, *shape), value, device=self.device, dtype=self.dtype))
