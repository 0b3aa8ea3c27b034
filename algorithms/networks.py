"""Member-batched networks: every layer holds the weights of all members and applies them in one product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


def _stacked(x: Tensor) -> Tensor:
    """Fold all axes before the last two into one, as batched products want it."""
    return x.flatten(0, -3)


class Linear(nn.Module):
    """``x W + b`` for every member and head: ``(M, *heads, B, in) -> (M, *heads, B, out)``.

    PyTorch's default initialisation, W and b ~ U(±1/√in), unless a bound for both, an orthogonal W of some
    gain or a constant b is given.
    """

    def __init__(
        self,
        initial: Initial,
        inputs: int,
        outputs: int,
        *,
        heads: tuple[int, ...] = (),
        bound: float | None = None,
        gain: float | None = None,
        bias: float | None = None,
    ) -> None:
        super().__init__()
        limit = inputs**-0.5 if bound is None else bound
        shape, bias_shape = (*heads, inputs, outputs), (*heads, 1, outputs)
        self.weight = initial.uniform(shape, limit) if gain is None else initial.orthogonal(shape, gain)
        self.bias = initial.uniform(bias_shape, limit) if bias is None else initial.constant(bias_shape, bias)

    def forward(self, x: Tensor, head: int | None = None) -> Tensor:
        """Apply all heads, or only `head`, whose axis is then absent from `x` and from the result."""
        weight, bias = (
            (self.weight, self.bias) if head is None else (self.weight[:, head], self.bias[:, head])
        )
        return torch.baddbmm(_stacked(bias), _stacked(x), _stacked(weight)).view(*x.shape[:-1], -1)


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis with each member's and head's own gain and offset."""

    def __init__(
        self, initial: Initial, size: int, *, heads: tuple[int, ...] = (), epsilon: float = 1e-5
    ) -> None:
        super().__init__()
        self.weight = initial.constant((*heads, 1, size), 1.0)
        self.bias = initial.constant((*heads, 1, size), 0.0)
        self.epsilon = epsilon

    def forward(self, x: Tensor, head: int | None = None) -> Tensor:
        """Normalise all heads, or only `head`."""
        weight, bias = (
            (self.weight, self.bias) if head is None else (self.weight[:, head], self.bias[:, head])
        )
        return torch.addcmul(bias, F.layer_norm(x, x.shape[-1:], eps=self.epsilon), weight)


@dataclass(frozen=True)
class Layers:
    """What an `MLP` is made of and how its parameters begin.

    PyTorch's default initialisation (W and b ~ U(±1/√in)) holds where nothing else is said.

    Attributes:
        hidden_sizes: widths joined by '-', for example ``"256-256"``.
        layer_norm: normalise after each ReLU.
        norm_epsilon: of the normalisation.
        hidden_bias: constant first bias of the hidden layers.
        hidden_gain: the hidden layers' first weights are orthogonal, times this.
        output_bound: output W ~ U(±bound), and its b too unless `output_bias` is given.
        output_gain: the output's first weights are orthogonal, times this.
        output_bias: constant first bias of the output.
    """

    hidden_sizes: str
    layer_norm: bool = False
    norm_epsilon: float = 1e-5
    hidden_bias: float | None = None
    hidden_gain: float | None = None
    output_bound: float | None = None
    output_gain: float | None = None
    output_bias: float | None = None


class MLP(nn.Module):
    """Linear-ReLU(-LayerNorm) layers and a linear output: ``(M, *heads, B, in) -> (M, *heads, B, out)``."""

    def __init__(
        self, initial: Initial, inputs: int, outputs: int, layers: Layers, *, heads: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        hidden = [inputs, *map(int, layers.hidden_sizes.split("-"))]
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        for i, o in pairwise(hidden):
            self.layers.append(
                Linear(initial, i, o, heads=heads, gain=layers.hidden_gain, bias=layers.hidden_bias)
            )
            if layers.layer_norm:
                self.norms.append(LayerNorm(initial, o, heads=heads, epsilon=layers.norm_epsilon))
        self.layers.append(
            Linear(
                initial,
                hidden[-1],
                outputs,
                heads=heads,
                bound=layers.output_bound,
                gain=layers.output_gain,
                bias=layers.output_bias,
            )
        )

    def forward(self, x: Tensor, head: int | None = None) -> Tensor:
        """Apply all heads, or only `head`, whose axis is then absent from `x` and from the result."""
        *hidden, output = self.layers
        for index, layer in enumerate(hidden):
            x = layer(x, head).relu()
            if self.norms:
                x = self.norms[index](x, head)
        result: Tensor = output(x, head)
        return result


class DeterministicActor(nn.Module):
    """An MLP and tanh: ``(M, B, S) -> (M, B, A)`` in [-1, 1]."""

    def __init__(self, initial: Initial, sizes: Sizes, layers: Layers) -> None:
        super().__init__()
        self.network = MLP(initial, sizes.observation, sizes.action, layers)

    def forward(self, observation: Tensor) -> Tensor:
        """The actions of all members."""
        return torch.tanh(self.network(observation))


class ValueFunction(nn.Module):
    """V(s), an MLP: ``(M, B, S) -> (M, B)``."""

    def __init__(self, initial: Initial, sizes: Sizes, layers: Layers) -> None:
        super().__init__()
        self.network = MLP(initial, sizes.observation, 1, layers)

    def forward(self, observation: Tensor) -> Tensor:
        """The values of all members."""
        value: Tensor = self.network(observation).squeeze(-1)
        return value


CRITICS = {
    "vanilla": Layers("256-256"),  # TD3 (Fujimoto et al., 2018)
    # ReBRAC's, taken over by ASPC for every starred column
    "robust": Layers("256-256-256", layer_norm=True, hidden_bias=0.1, output_bound=3e-3),
}


class TwinCritic(nn.Module):
    """Two independent Q functions per member, as two heads of one batched network."""

    def __init__(self, initial: Initial, sizes: Sizes, layers: Layers) -> None:
        super().__init__()
        self.network = MLP(initial, sizes.observation + sizes.action, 1, layers, heads=(2,))

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Both values: ``(M, B, S), (M, B, A) -> (M, 2, B)``."""
        x = torch.cat([observation, action], -1)
        value: Tensor = self.network(x.unsqueeze(1).expand(-1, 2, -1, -1)).squeeze(-1)
        return value

    def first(self, observation: Tensor, action: Tensor) -> Tensor:
        """The first critic alone: ``(M, B)``."""
        value: Tensor = self.network(torch.cat([observation, action], -1), 0).squeeze(-1)
        return value
