"""Diffusion of actions: a chain of steps to noise, a network that knows the noise, and the chain back.

What is shared by all who learn a policy so. Steps are numbered 0, …, T-1; step T-1 is nearly all noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms.base import Initial, Noise, Sizes, uniform
from algorithms.networks import MLP, LayerNorm, Layers, Linear, lecun_normal, mish, within, xavier

SMALLEST_RATE, LARGEST_RATE = 0.1, 10.0
"""β_min and β_max, the rates in continuous time between which the schedule rises (Song et al., 2021)."""
EPSILON = 1e-6
"""Of layer normalisation, as in JAX."""

NoiseModel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""ε(s, x, t), the noise in x: ``(M, B, S), (M, B, A)`` and times ``(M, B, T)``, to ``(M, B, A)``.

Times of ``(M, 1, T)`` are the same for all rows.
"""


def variance_preserving(steps: int) -> list[float]:
    """The share of noise that each of T steps brings in, β_t.

    1 - β_t = exp(-β_min / T - (β_max - β_min) (2t + 1) / (2 T²)), t = 0, …, T-1, the integral of a rate that
    rises linearly from β_min to β_max (Song et al., 2021; Xiao et al., 2022).
    """
    slope = (LARGEST_RATE - SMALLEST_RATE) / (2 * steps**2)
    return [-math.expm1(-SMALLEST_RATE / steps - slope * (2 * t + 1)) for t in range(steps)]


def xavier_layers(hidden_sizes: str, activation: str = "relu") -> Layers:
    """Layers whose first weights are Xavier's and whose biases begin at 0."""
    return Layers(
        hidden_sizes,
        activation,
        hidden_weights=xavier(),
        hidden_bias=0.0,
        output_weights=xavier(),
        output_bias=0.0,
    )


class Diffusion(nn.Module):
    """A chain of T steps from actions to noise, and back by a model of the noise (DDPM; Ho et al., 2020).

    A *time* is a step in one-hot form, so that what belongs to it is found by products alone.

    Args:
        steps: T.
        device: of the schedule.
        dtype: of the schedule.

    Attributes:
        beta: β_t, ``(T,)``.
        alpha_bar: ᾱ_t = Π_{i ≤ t} (1 - β_i), ``(T,)``.
    """

    beta: Tensor
    alpha_bar: Tensor
    each_time: Tensor

    def __init__(self, steps: int, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        beta = torch.tensor(variance_preserving(steps), dtype=torch.float64)
        constants = {
            "beta": beta,
            "alpha_bar": torch.cumprod(1 - beta, 0),
            "each_time": torch.eye(steps),  # in its row t time t
        }
        for name, value in constants.items():
            self.register_buffer(name, value.to(device, dtype), persistent=False)

    def times(self, drawn: Tensor) -> Tensor:
        """Times, each as probable as any other, from numbers uniform on [0, 1): ``(M, B) -> (M, B, T)``."""
        steps = len(self.beta)
        # a product with a number just below 1 may be rounded up to T
        return self.each_time[(drawn * steps).long().clamp(max=steps - 1)]

    def noised(self, action: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """x_t = √ᾱ_t a + √(1 - ᾱ_t) ε: ``(M, B, A), (M, B, A), (M, B, T) -> (M, B, A)``."""
        kept = (time @ self.alpha_bar).unsqueeze(-1)
        return kept.sqrt() * action + (1 - kept).sqrt() * noise

    def sample(self, model: NoiseModel, observation: Tensor, noise: Tensor) -> Tensor:
        """Actions at the end of chains back from noise, see `back`.

        Args:
            model: ε.
            observation: s, ``(M, B, S)``.
            noise: x_T and then the z of each step but the last, standard normal ``(M, B, T, A)``.

        Returns:
            ``(M, B, A)``.
        """
        x, *following = noise.unbind(-2)
        each: list[Tensor | None] = [*following, None]
        for t, z in zip(reversed(range(len(each))), each, strict=True):
            predicted = model(observation, x, self.each_time[t].expand(len(x), 1, -1))
            x = self.back(t, x, predicted, z)
        return x

    def back(self, t: int, x: Tensor, predicted: Tensor, z: Tensor | None) -> Tensor:
        """One step back: x ← clip((x - β_t ε(s, x, t) / √(1 - ᾱ_t)) / √(1 - β_t) + √β_t z, -1, 1).

        Args:
            t: the step.
            x: ``(M, B, A)``.
            predicted: ε(s, x, t), ``(M, B, A)``.
            z: standard normal, ``(M, B, A)``; None: nothing is added, as at the last step.
        """
        beta = self.beta[t]
        x = (x - beta / (1 - self.alpha_bar[t]).sqrt() * predicted) / (1 - beta).sqrt()
        if z is not None:
            x = x + beta.sqrt() * z
        return x.clamp(-1, 1)


class PosteriorDiffusion(Diffusion):
    """A chain whose steps back follow q(x_{t-1} | x_t, x_0), x_0 being estimated and clipped.

    Unlike `Diffusion` it adds noise of the variance of that distribution, which is below β_t.
    """

    def __init__(self, steps: int, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(steps, device, dtype)
        self._coefficients: list[tuple[float, ...]] = []  # of the host; a kernel takes numbers along
        before = 1.0
        for beta in variance_preserving(steps):
            kept = before * (1 - beta)
            self._coefficients.append(
                (
                    1 / math.sqrt(kept),
                    -math.sqrt(1 / kept - 1),
                    beta * math.sqrt(before) / (1 - kept),
                    (1 - before) * math.sqrt(1 - beta) / (1 - kept),
                    math.sqrt(beta * (1 - before) / (1 - kept)),
                )
            )
            before = kept

    def back(self, t: int, x: Tensor, predicted: Tensor, z: Tensor | None) -> Tensor:
        """One step back: x ← μ + σ_t z.

        x̂_0 = clip(x / √ᾱ_t - √(1 / ᾱ_t - 1) ε(s, x, t), -1, 1)
        μ = β_t √ᾱ_{t-1} / (1 - ᾱ_t) x̂_0 + (1 - ᾱ_{t-1}) √(1 - β_t) / (1 - ᾱ_t) x
        σ_t² = β_t (1 - ᾱ_{t-1}) / (1 - ᾱ_t)

        ᾱ_{-1} = 1, so the last step leaves x̂_0. Arguments as of `Diffusion.back`.
        """
        of_x, of_noise, of_start, of_present, deviation = self._coefficients[t]
        start = torch.add(of_x * x, predicted, alpha=of_noise).clamp(-1, 1)
        if t == 0:
            return start
        mean = torch.add(of_start * start, x, alpha=of_present)
        return mean if z is None else torch.add(mean, z, alpha=deviation)


class ResidualBlock(nn.Module):
    """x + W₂ silu(W₁ norm(dropout(x))), W₁ four times as wide as the result; a wider or narrower x is mapped.

    Args:
        initial: draws the first parameters.
        inputs: width of x.
        outputs: width of the result.
        dropout: rate.
    """

    def __init__(self, initial: Initial, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm = LayerNorm(initial, inputs, epsilon=EPSILON)
        self.widen = Linear(initial, inputs, 4 * outputs, weights=lecun_normal, bias=0.0)
        self.narrow = Linear(initial, 4 * outputs, outputs, weights=lecun_normal, bias=0.0)
        same = inputs == outputs
        self.skip = (
            nn.Identity() if same else Linear(initial, inputs, outputs, weights=lecun_normal, bias=0.0)
        )

    def forward(self, x: Tensor, dropped: Tensor | None = None) -> Tensor:
        """``(M, B, inputs) -> (M, B, outputs)``; `dropped` are numbers of x's shape, uniform on [0, 1)."""
        hidden = x if dropped is None else x * (dropped >= self.dropout) / (1 - self.dropout)
        result: Tensor = self.skip(x) + self.narrow(F.silu(self.widen(self.norm(hidden))))
        return result


class ResidualNoiseModel(nn.Module):
    """IDQL's model of the noise in an action: residual blocks with layer normalisation.

    A step t is seen as cos(2π t w) and sin(2π t w), w learnt, through a hidden layer and a linear map.

    Args:
        initial: draws the first parameters.
        sizes: of observations and actions.
        hidden_sizes: widths of the blocks, as of `Layers`.
        steps: T.
        frequencies: how many w there are.
        dropout: rate at the beginning of each block.
    """

    def __init__(
        self,
        initial: Initial,
        sizes: Sizes,
        hidden_sizes: str,
        *,
        steps: int,
        frequencies: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self._steps, self._widths = steps, [int(width) for width in hidden_sizes.split("-")]
        first, embedded = self._widths[0], 4 * frequencies
        self.frequencies = initial.normal((1, frequencies), 0.2)
        self.embed = MLP(initial, 2 * frequencies, embedded, xavier_layers(str(embedded), activation="silu"))
        inputs = sizes.action + sizes.observation + embedded
        self.enter = Linear(initial, inputs, first, weights=xavier(), bias=0.0)
        self.blocks = nn.ModuleList(
            ResidualBlock(initial, i, o, dropout) for i, o in pairwise([first, *self._widths])
        )
        self.leave = Linear(initial, self._widths[-1], sizes.action, weights=xavier(), bias=0.0)

    def dropout_noise(self, name: str, rows: int) -> dict[str, Noise]:
        """The random numbers of dropout on `rows` inputs of each member: those of block i as ``name.i``."""
        inputs = [self._widths[0], *self._widths[:-1]]
        return {f"{name}.{index}": uniform(rows, width) for index, width in enumerate(inputs)}

    def embeddings(self) -> Tensor:
        """How each step is seen: ``(M, T, E)``."""
        step = torch.arange(self._steps, device=self.frequencies.device, dtype=self.frequencies.dtype)
        angle = 2 * math.pi * step.unsqueeze(-1) * self.frequencies
        embeddings: Tensor = self.embed(torch.cat([angle.cos(), angle.sin()], -1))
        return embeddings

    def forward(
        self, observation: Tensor, action: Tensor, time: Tensor, dropout: Sequence[Tensor] = ()
    ) -> Tensor:
        """ε(s, x, t), see `NoiseModel`; numbers for `dropout_noise` as `dropout`, or nothing is dropped."""
        seen = (time @ self.embeddings()).expand(*action.shape[:-1], -1)
        x = self.enter(torch.cat([action, observation, seen], -1))
        for index, block in enumerate(self.blocks):
            x = block(x, dropout[index] if dropout else None)
        noise: Tensor = self.leave(F.silu(x))
        return noise


class PlainNoiseModel(nn.Module):
    """Diffusion-QL's model of the noise in an action: an MLP with Mish.

    A step t is seen as sin(t w) and cos(t w), w from 1 down to 10⁻⁴ in even ratios, through a hidden layer
    and a linear map. Action, step and observation enter together; the part of the first layer that the step
    enters by is a layer of its own here, computed for each of T steps and not for each row.

    Args:
        initial: draws the first parameters.
        sizes: of observations and actions.
        hidden_sizes: widths, as of `Layers`.
        steps: T.
        frequencies: how many w there are.
    """

    seen: Tensor

    def __init__(
        self, initial: Initial, sizes: Sizes, hidden_sizes: str, *, steps: int, frequencies: int
    ) -> None:
        super().__init__()
        widths, embedded = [int(width) for width in hidden_sizes.split("-")], 2 * frequencies
        self.embed = MLP(initial, embedded, embedded, Layers(str(2 * embedded), "mish"))
        inputs = sizes.action + sizes.observation
        default = within((inputs + embedded) ** -0.5)  # PyTorch's, of the layer that both are
        self.enter = default(initial, (inputs, widths[0]))
        self.enter_time = Linear(initial, embedded, widths[0], weights=default, bias=default)
        self.hidden = nn.ModuleList(Linear(initial, i, o) for i, o in pairwise(widths))
        self.leave = Linear(initial, widths[-1], sizes.action)
        angle = torch.arange(steps).unsqueeze(-1) * torch.logspace(0, -4, frequencies, dtype=torch.float64)
        seen = torch.cat([angle.sin(), angle.cos()], -1)
        self.register_buffer("seen", seen.to(initial.device, initial.dtype), persistent=False)

    def offsets(self) -> Tensor:
        """What each step adds to the first layer: ``(M, T, first width)``."""
        seen = self.seen.expand(len(self.enter), -1, -1)
        offsets: Tensor = self.enter_time(self.embed(seen))
        return offsets

    def forward(
        self, observation: Tensor, action: Tensor, time: Tensor, offsets: Tensor | None = None
    ) -> Tensor:
        """ε(s, x, t), see `NoiseModel`; `offsets` are those of `offsets`, where they are known already."""
        offset = time @ (self.offsets() if offsets is None else offsets)
        x = mish(torch.baddbmm(offset, torch.cat([action, observation], -1), self.enter))
        for layer in self.hidden:
            x = mish(layer(x))
        noise: Tensor = self.leave(x)
        return noise
