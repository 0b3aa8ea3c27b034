"""Member-batched networks: every layer holds the weights of all members and applies them in one product."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms.base import Sizes, generator


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

    def constant(self, shape: Sequence[int], value: float) -> nn.Parameter:
        """`value` everywhere, of shape ``(M, *shape)``."""
        return nn.Parameter(torch.full((self.members, *shape), value, device=self.device, dtype=self.dtype))


def _stacked(x: Tensor) -> Tensor:
    """Fold all axes before the last two into one, as batched products want it."""
    return x.flatten(0, -3)


class Linear(nn.Module):
    """``x W + b`` for every member and head: ``(M, *heads, B, in) -> (M, *heads, B, out)``.

    PyTorch's default initialisation, W and b ~ U(±1/√in), unless a bound for both or a constant bias is
    given.
    """

    def __init__(
        self,
        initial: Initial,
        inputs: int,
        outputs: int,
        *,
        heads: tuple[int, ...] = (),
        bound: float | None = None,
        bias: float | None = None,
    ) -> None:
        super().__init__()
        limit = inputs**-0.5 if bound is None else bound
        self.weight = initial.uniform((*heads, inputs, outputs), limit)
        bias_shape = (*heads, 1, outputs)
        self.bias = initial.uniform(bias_shape, limit) if bias is None else initial.constant(bias_shape, bias)

    def forward(self, x: Tensor, head: int | None = None) -> Tensor:
        """Apply all heads, or only `head`, whose axis is then absent from `x` and from the result."""
        weight, bias = (
            (self.weight, self.bias) if head is None else (self.weight[:, head], self.bias[:, head])
        )
        return torch.baddbmm(_stacked(bias), _stacked(x), _stacked(weight)).view(*x.shape[:-1], -1)


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis with each member's and head's own gain and offset; eps 1e-5."""

    def __init__(self, initial: Initial, size: int, *, heads: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.weight = initial.constant((*heads, 1, size), 1.0)
        self.bias = initial.constant((*heads, 1, size), 0.0)

    def forward(self, x: Tensor, head: int | None = None) -> Tensor:
        """Normalise all heads, or only `head`."""
        weight, bias = (
            (self.weight, self.bias) if head is None else (self.weight[:, head], self.bias[:, head])
        )
        return torch.addcmul(bias, F.layer_norm(x, x.shape[-1:]), weight)


class DeterministicActor(nn.Module):
    """Linear-ReLU layers, then a linear layer and tanh: ``(M, B, S) -> (M, B, A)`` in [-1, 1].

    Args:
        initial: source of first weights (PyTorch's default initialisation).
        sizes: of observation and action.
        hidden_sizes: widths joined by '-', for example ``"256-256"``.
    """

    def __init__(self, initial: Initial, sizes: Sizes, hidden_sizes: str) -> None:
        super().__init__()
        widths = [sizes.observation, *map(int, hidden_sizes.split("-")), sizes.action]
        self.layers = nn.ModuleList(Linear(initial, i, o) for i, o in pairwise(widths))

    def forward(self, observation: Tensor) -> Tensor:
        """The actions of all members."""
        x = observation
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return torch.tanh(self.layers[-1](x))


class TwinCritic(nn.Module):
    """Two independent Q functions per member, as two heads of one batched network.

    Kinds:
        vanilla: two Linear-ReLU layers of width 256; PyTorch's default initialisation (Fujimoto et al.,
            2018).
        robust: three Linear-ReLU-LayerNorm layers of width 256; hidden W ~ U(±1/√in), hidden b = 0.1, output
            W and b ~ U(±3e-3) (the critic of ReBRAC, taken over by ASPC for every starred column).
    """

    def __init__(self, initial: Initial, sizes: Sizes, kind: str) -> None:
        super().__init__()
        robust, width, heads = kind == "robust", 256, (2,)
        widths = [sizes.observation + sizes.action, *[width] * (3 if robust else 2)]
        self.hidden, self.norms = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs in pairwise(widths):
            self.hidden.append(Linear(initial, inputs, outputs, heads=heads, bias=0.1 if robust else None))
            self.norms.append(LayerNorm(initial, outputs, heads=heads) if robust else _NoNorm())
        self.output = Linear(initial, width, 1, heads=heads, bound=3e-3 if robust else None)

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Both values: ``(M, B, S), (M, B, A) -> (M, 2, B)``."""
        x = torch.cat([observation, action], -1)
        return self._value(x.unsqueeze(1).expand(-1, 2, -1, -1), None)

    def first(self, observation: Tensor, action: Tensor) -> Tensor:
        """The first critic alone: ``(M, B)``."""
        return self._value(torch.cat([observation, action], -1), 0)

    def _value(self, x: Tensor, head: int | None) -> Tensor:
        for linear, norm in zip(self.hidden, self.norms, strict=True):
            x = norm(linear(x, head).relu(), head)
        value: Tensor = self.output(x, head)
        return value.squeeze(-1)


class _NoNorm(nn.Module):
    def forward(self, x: Tensor, head: int | None = None) -> Tensor:
        return x
