"""Member-batched networks: every layer holds the weights of all members and applies them in one product."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import Tensor, nn

from algorithms.base import Initial, Noise, Sizes, uniform

FirstWeights = Callable[[Initial, Sequence[int]], nn.Parameter]
"""Draws a layer's first weights, ``(M, *shape)``; the last axes of `shape` are inputs and outputs."""


def within(bound: float) -> FirstWeights:
    """U(±bound)."""
    return lambda initial, shape: initial.uniform(shape, bound)


def orthogonal(gain: float) -> FirstWeights:
    """Orthonormal rows or columns, whichever are fewer, times `gain`."""
    return lambda initial, shape: initial.orthogonal(shape, gain)


def xavier(gain: float = 1.0) -> FirstWeights:
    """U(±gain √(6 / (inputs + outputs))) (Glorot and Bengio, 2010)."""
    return lambda initial, shape: initial.uniform(shape, gain * (6 / (shape[-2] + shape[-1])) ** 0.5)


def fan_in(scale: float) -> FirstWeights:
    """Uniform with variance scale / inputs, JAX's variance_scaling(scale, "fan_in", "uniform")."""
    return lambda initial, shape: initial.uniform(shape, (3 * scale / shape[-2]) ** 0.5)


def lecun_normal(initial: Initial, shape: Sequence[int]) -> nn.Parameter:
    """A normal distribution cut off at two deviations, with variance 1 / inputs: JAX's default."""
    return initial.cut_normal(shape, shape[-2] ** -0.5)


def _stacked(x: Tensor) -> Tensor:
    """Fold all axes before the last two into one, as batched products want it."""
    return x.flatten(0, -3)


class Linear(nn.Module):
    """``x W + b`` for every member and head: ``(M, *heads, B, in) -> (M, *heads, B, out)``.

    PyTorch's default initialisation, W and b ~ U(±1/√in), where nothing else is said.
    """

    def __init__(
        self,
        initial: Initial,
        inputs: int,
        outputs: int,
        *,
        heads: tuple[int, ...] = (),
        weights: FirstWeights | None = None,
        bias: float | FirstWeights | None = None,
    ) -> None:
        super().__init__()
        default = within(inputs**-0.5)
        self.weight = (weights or default)(initial, (*heads, inputs, outputs))
        shape, first = (*heads, 1, outputs), default if bias is None else bias
        self.bias = first(initial, shape) if callable(first) else initial.constant(shape, first)

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
        if self.weight.numel() == x.shape[-1]:  # one network, for which torch has all in one operation
            return F.layer_norm(x, x.shape[-1:], self.weight.flatten(), self.bias.flatten(), self.epsilon)
        weight, bias = (
            (self.weight, self.bias) if head is None else (self.weight[:, head], self.bias[:, head])
        )
        return torch.addcmul(bias, F.layer_norm(x, x.shape[-1:], eps=self.epsilon), weight)


_Activation = Callable[[Tensor], Tensor]
_ValueAndSlope = Callable[[Tensor], tuple[Tensor, Tensor]]


class _Sloped(torch.autograd.Function):
    """An activation whose slope is computed with it: ``x -> (value, slope)``."""

    @staticmethod
    def forward(x: Tensor, both: _ValueAndSlope, torchs: _Activation) -> tuple[Tensor, Tensor]:
        """What `both` gives; `torchs` is torch's own activation."""
        return both(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep what the derivative needs."""
        x, _, ctx.torchs = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor, None, None]:
        """The derivative; torch's own where it is to be differentiated again."""
        x: Tensor
        slope: Tensor
        x, slope = ctx.saved_tensors
        if torch.is_grad_enabled():
            own = torch.autograd.grad(ctx.torchs(x), [x], gradient, create_graph=True)[0]
            return own, None, None
        return gradient * slope, None, None


def _with_slope(x: Tensor, both: _ValueAndSlope, torchs: _Activation) -> Tensor:
    """The activation alone, to be differentiated."""
    value: Tensor = _Sloped.apply(x, both, torchs)[0]  # type: ignore[no-untyped-call]  # torch has no types here
    return value


def _mish_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    """With s = σ(x) and r = σ(-x), x t and t + 4 x s (r / (1 + r²))², t = s (1 + r) / (1 + r²)."""
    below, above = torch.sigmoid(-x), torch.sigmoid(x)
    denominator = below.square().add_(1)
    gate = (below + 1).mul_(above).div_(denominator)
    bend = below.div_(denominator).square_().mul_(above).mul_(x)
    return x * gate, torch.add(gate, bend, alpha=4)


def mish(x: Tensor) -> Tensor:
    """Mish, x tanh(ln(1 + eˣ)) (Misra, 2019). On a CPU it takes about half of the time of torch's."""
    if x.device.type != "cpu":
        return F.mish(x)
    if torch.is_grad_enabled() and x.requires_grad:
        return _with_slope(x, _mish_and_slope, F.mish)
    below = torch.sigmoid(-x)
    return (below + 1).mul_(torch.sigmoid(x)).mul_(x).div_(below.square_().add_(1))


_GELU_SCALE, _GELU_BEND = 2 * math.sqrt(2 / math.pi), 0.044715
_torch_gelu = functools.partial(F.gelu, approximate="tanh")


def _gelu_exponent(x: Tensor) -> Tensor:
    """What x is multiplied by within σ: c (1 + 0.044715 x²)."""
    return torch.addcmul(torch.full((), _GELU_SCALE, dtype=x.dtype), x, x, value=_GELU_SCALE * _GELU_BEND)


def _gelu_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    """With e = c (1 + 0.044715 x²) and g = σ(x e), x g and g + x g (1 - g) (3 e - 2 c)."""
    exponent = _gelu_exponent(x)
    gate = torch.mul(x, exponent).sigmoid_()
    value = x * gate
    bend = exponent.mul_(3).sub_(2 * _GELU_SCALE).mul_(value)
    return value, gate.lerp_(torch.ones((), dtype=x.dtype), bend)


def gelu_tanh(x: Tensor) -> Tensor:
    """What JAX calls GELU, with tanh for erf: x σ(c (x + 0.044715 x³)), c = 2 √(2/π).

    On a CPU it takes about half of the time of torch's.
    """
    if x.device.type != "cpu":
        return _torch_gelu(x)
    if torch.is_grad_enabled() and x.requires_grad:
        return _with_slope(x, _gelu_and_slope, _torch_gelu)
    return _gelu_exponent(x).mul_(x).sigmoid_().mul_(x)


ACTIVATIONS: Mapping[str, _Activation] = {
    "relu": F.relu,
    "silu": F.silu,
    "mish": mish,
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
}


@dataclass(frozen=True)
class Layers:
    """What an `MLP` is made of and how its parameters begin.

    PyTorch's default initialisation (W and b ~ U(±1/√in)) holds where nothing else is said.

    Attributes:
        hidden_sizes: widths joined by '-', for example ``"256-256"``.
        activation: of the hidden layers, a name of `ACTIVATIONS`.
        norm: where layer normalisation stands: before or after each activation; None: nowhere.
        norm_epsilon: of the normalisation.
        dropout: rate of dropout, which ends each hidden layer.
        hidden_weights: draws the hidden layers' first weights.
        hidden_bias: constant first bias of the hidden layers, or what draws it.
        output_weights: draws the output's first weights.
        output_bias: constant first bias of the output, or what draws it.
    """

    hidden_sizes: str
    activation: str = "relu"
    norm: Literal["before", "after"] | None = None
    norm_epsilon: float = 1e-5
    dropout: float = 0.0
    hidden_weights: FirstWeights | None = None
    hidden_bias: float | FirstWeights | None = None
    output_weights: FirstWeights | None = None
    output_bias: float | FirstWeights | None = None


def flax_layers(hidden_sizes: str, *, norm: bool = False, output_scale: float = 1.0) -> Layers:
    """Layers as the authors of OGBench and FQL write them in flax, with its GELU, which takes tanh for erf.

    Weights begin as variance_scaling(scale, "fan_avg", "uniform") draws them, scale 1 but perhaps in the
    output, and biases at 0.

    Args:
        hidden_sizes: widths joined by '-'.
        norm: whether layer normalisation, with flax's epsilon, follows each activation.
        output_scale: of the output's first weights.
    """
    return Layers(
        hidden_sizes,
        "gelu_tanh",
        norm="after" if norm else None,
        norm_epsilon=1e-6,
        hidden_weights=xavier(),
        hidden_bias=0.0,
        output_weights=xavier(output_scale**0.5),
        output_bias=0.0,
    )


class MLP(nn.Module):
    """Hidden layers and a linear output: ``(M, *heads, B, in) -> (M, *heads, B, out)``.

    A hidden layer is linear map, activation and, if asked for, layer normalisation and dropout; see `Layers`.
    """

    def __init__(
        self, initial: Initial, inputs: int, outputs: int, layers: Layers, *, heads: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self._activate, self._dropout, self._heads = ACTIVATIONS[layers.activation], layers.dropout, heads
        self.norm = layers.norm
        self._widths = [int(width) for width in layers.hidden_sizes.split("-")]
        hidden = [inputs, *self._widths]
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        for i, o in pairwise(hidden):
            self.layers.append(
                Linear(initial, i, o, heads=heads, weights=layers.hidden_weights, bias=layers.hidden_bias)
            )
            if layers.norm:
                self.norms.append(LayerNorm(initial, o, heads=heads, epsilon=layers.norm_epsilon))
        self.layers.append(
            Linear(
                initial,
                hidden[-1],
                outputs,
                heads=heads,
                weights=layers.output_weights,
                bias=layers.output_bias,
            )
        )

    def dropout_noise(self, name: str, rows: int) -> dict[str, Noise]:
        """The random numbers of dropout on `rows` inputs of each member: those of layer i as ``name.i``."""
        widths = enumerate(self._widths)
        return {f"{name}.{index}": uniform(*self._heads, rows, width) for index, width in widths}

    def forward(self, x: Tensor, head: int | None = None, dropout: Sequence[Tensor] = ()) -> Tensor:
        """Apply all heads, or only `head`, whose axis is then absent from `x` and from the result.

        Args:
            x: ``(M, *heads, B, in)``.
            head: the only one to apply.
            dropout: numbers for `dropout_noise`, one tensor a hidden layer; none: nothing is dropped.
        """
        *hidden, output = self.layers
        norm, rate = self.norm, self._dropout
        for index, layer in enumerate(hidden):
            x = layer(x, head)
            if norm == "before":
                x = self.norms[index](x, head)
            x = self._activate(x)
            if norm == "after":
                x = self.norms[index](x, head)
            if dropout:
                x = x * (dropout[index] >= rate) / (1 - rate)
        result: Tensor = output(x, head)
        return result


class DeterministicActor(nn.Module):
    """An MLP and tanh: ``(M, B, S) -> (M, B, A)`` in [-1, 1]."""

    def __init__(self, initial: Initial, sizes: Sizes, layers: Layers) -> None:
        super().__init__()
        self.network = MLP(initial, sizes.observation, sizes.action, layers)

    def forward(self, observation: Tensor, dropout: Sequence[Tensor] = ()) -> Tensor:
        """The actions of all members; for `dropout` see `MLP`."""
        return torch.tanh(self.network(observation, dropout=dropout))


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
    "layer_norm": Layers("256-256", norm="before"),  # SSAR's
    # ReBRAC's, taken over by ASPC for every starred column
    "robust": Layers(
        "256-256-256", norm="after", hidden_bias=0.1, output_weights=within(3e-3), output_bias=within(3e-3)
    ),
}


class Critics(nn.Module):
    """Independent Q functions of each member, as heads of one batched network.

    Args:
        initial: draws the first parameters.
        sizes: of observations and actions.
        layers: of each critic.
        count: N, how many each member has.
    """

    def __init__(self, initial: Initial, sizes: Sizes, layers: Layers, count: int = 2) -> None:
        super().__init__()
        self.count = count
        self.network = MLP(initial, sizes.observation + sizes.action, 1, layers, heads=(count,))

    def forward(self, observation: Tensor, action: Tensor, dropout: Sequence[Tensor] = ()) -> Tensor:
        """All values: ``(M, B, S), (M, B, A) -> (M, N, B)``; for `dropout` see `MLP`."""
        x = torch.cat([observation, action], -1).unsqueeze(1).expand(-1, self.count, -1, -1)
        value: Tensor = self.network(x, dropout=dropout).squeeze(-1)
        return value

    def first(self, observation: Tensor, action: Tensor) -> Tensor:
        """The first critic alone: ``(M, B)``."""
        value: Tensor = self.network(torch.cat([observation, action], -1), 0).squeeze(-1)
        return value


def best_of(critics: Critics, observation: Tensor, candidates: Tensor) -> Tensor:
    """Of N actions at each observation the one of the largest min_k Q_k.

    Args:
        critics: Q_k.
        observation: ``(M, B, S)``.
        candidates: ``(M, B, N, A)``.

    Returns:
        ``(M, B, A)``.
    """
    states = observation.repeat_interleave(candidates.shape[2], 1)
    q = critics(states, candidates.flatten(1, 2)).amin(1).view(candidates.shape[:3])
    best = q.argmax(-1)[..., None, None].expand(-1, -1, 1, candidates.shape[-1])
    return torch.gather(candidates, 2, best).squeeze(2)


class GaussianActor(DeterministicActor):
    """N(μ(s), diag σ²): μ an MLP and tanh, one learnt σ for all states; samples are not squashed.

    Calling it gives μ, ``(M, B, S) -> (M, B, A)`` in [-1, 1]. ln σ begins at 0 and counts as in [-20, 2].
    """

    def __init__(self, initial: Initial, sizes: Sizes, layers: Layers) -> None:
        super().__init__(initial, sizes, layers)
        self.log_std = initial.constant((1, sizes.action), 0.0)

    def log_likelihood(self, mean: Tensor, action: Tensor) -> Tensor:
        """Sum of ln π(a_j|s) over action dimensions, where `mean` is μ(s): ``(M, B, A) -> (M, B)``."""
        log_std = self.log_std.clamp(-20, 2)
        deviation = (action - mean) * torch.exp(-log_std)
        return -(deviation**2 / 2 + log_std + math.log(2 * math.pi) / 2).sum(-1)

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """μ(s) + σ ε: ``(M, B, S)`` and standard normal ε, ``(M, B, A)``, to ``(M, B, A)``."""
        sample: Tensor = self(observation) + self.log_std.clamp(-20, 2).exp() * noise
        return sample


class UnitGaussianActor(nn.Module):
    """N(μ(s), 1), μ an MLP that nothing keeps in [-1, 1]: ``(M, B, S) -> (M, B, A)``."""

    def __init__(self, initial: Initial, sizes: Sizes, layers: Layers) -> None:
        super().__init__()
        self.network = MLP(initial, sizes.observation, sizes.action, layers)

    def forward(self, observation: Tensor) -> Tensor:
        """μ(s) of all members."""
        mean: Tensor = self.network(observation)
        return mean

    def log_likelihood(self, mean: Tensor, action: Tensor) -> Tensor:
        """Sum of ln π(a_j|s) over action dimensions, where `mean` is μ(s): ``(M, B, A) -> (M, B)``."""
        return -((action - mean) ** 2 / 2 + math.log(2 * math.pi) / 2).sum(-1)

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """μ(s) + ε: ``(M, B, S)`` and standard normal ε, ``(M, B, A)``, to ``(M, B, A)``."""
        sample: Tensor = self(observation) + noise
        return sample


class CVAE(nn.Module):
    """A variational autoencoder of actions given observations (Fujimoto et al., 2019).

    The encoder takes (s, a) to the mean and the logarithm of the standard deviation of a latent vector z, the
    decoder (s, z) to an action in [-1, 1]. z is twice as long as an action.
    """

    def __init__(self, initial: Initial, sizes: Sizes, layers: Layers) -> None:
        super().__init__()
        self.latent = 2 * sizes.action
        self.encoder = MLP(initial, sizes.observation + sizes.action, 2 * self.latent, layers)
        self.decoder = MLP(initial, sizes.observation + self.latent, sizes.action, layers)

    def encode(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of z, the latter clamped to [-4, 15]: twice ``(M, B, 2A)``."""
        mean, log_std = self.encoder(torch.cat([observation, action], -1)).chunk(2, -1)
        return mean, log_std.clamp(-4, 15)

    def decode(self, observation: Tensor, latent: Tensor) -> Tensor:
        """``(M, B, S), (M, B, 2A) -> (M, B, A)``."""
        return torch.tanh(self.decoder(torch.cat([observation, latent], -1)))

    def forward(self, observation: Tensor, action: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The action after encoding and decoding, z = mean + std · noise, and mean and log std of z."""
        mean, log_std = self.encode(observation, action)
        return self.decode(observation, mean + log_std.exp() * noise), mean, log_std

    @staticmethod
    def divergence(mean: Tensor, log_std: Tensor) -> Tensor:
        """KL(z ‖ N(0, 1)), the mean over z's dimensions: twice ``(M, B, 2A)`` to ``(M, B)``."""
        return -0.5 * (1 + 2 * log_std - mean**2 - (2 * log_std).exp()).mean(-1)

    def loss(self, observation: Tensor, action: Tensor, noise: Tensor, kl_weight: Tensor) -> Tensor:
        """How unlikely actions are: -ELBO(a|s), but for a factor and a constant.

        (decode(s, z) - a)² + `kl_weight` KL(z ‖ N(0, 1)), each a mean over its dimensions.

        Args:
            observation: ``(M, B, S)``.
            action: ``(M, B, A)``.
            noise: what samples z, ``(M, B, 2A)``.
            kl_weight: ``(M, 1)``.

        Returns:
            ``(M, B)``.
        """
        decoded, mean, log_std = self(observation, action, noise)
        loss: Tensor = ((decoded - action) ** 2).mean(-1) + kl_weight * self.divergence(mean, log_std)
        return loss


class TanhGaussian(NamedTuple):
    """The distribution of tanh(x), x ~ N(mean, exp(log_std)²), whose dimensions are independent."""

    mean: Tensor  # (M, B, A)
    log_std: Tensor  # (M, B, A)

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions a = tanh(mean + std ε) and their log-densities, summed over action dimensions.

        The logarithm of tanh's derivative, ln(1 - tanh² x), is computed as 2 (ln 2 - x - softplus(-2x)), as
        PyTorch's TanhTransform does and so CORL; it stays exact where tanh x rounds to ±1.

        Args:
            noise: standard normal ε, ``(M, B, A)``, or ``(M, B, N, A)`` for N actions each.

        Returns:
            ``(M, B, A)`` and ``(M, B)``, or ``(M, B, N, A)`` and ``(M, B, N)``.
        """
        mean, log_std = (t.unsqueeze(2) if noise.dim() == 4 else t for t in self)
        x = mean + log_std.exp() * noise
        log_density = _log_densities(x, noise, log_std).sum(-1)
        return torch.tanh(x), log_density

    def log_densities(self, action: Tensor) -> Tensor:
        """Ln π_j(a_j) of each action dimension j, -1 < a_j < 1: ``(M, B, A) -> (M, B, A)``."""
        x = torch.atanh(action)
        return _log_densities(x, (x - self.mean) / self.log_std.exp(), self.log_std)

    def detach(self) -> TanhGaussian:
        """The same, constant."""
        return TanhGaussian(self.mean.detach(), self.log_std.detach())


def _log_densities(x: Tensor, noise: Tensor, log_std: Tensor) -> Tensor:
    """Log-densities of each dimension of tanh x, where x lies `noise` standard deviations off the mean."""
    log_normal = -(noise**2) / 2 - log_std - math.log(2 * math.pi) / 2
    log_slope = 2 * (math.log(2) - x - F.softplus(-2 * x))
    return log_normal - log_slope


class TanhGaussianActor(nn.Module):
    """A policy tanh(N(μ(s), σ(s)²)), μ and ln σ from one MLP.

    ln σ = clamp(m · output + c, least, 2), m and c learnt scalars, or 1 and 0.

    Args:
        initial: draws the first parameters.
        sizes: of observations and actions.
        layers: of the MLP.
        log_std_multiplier: m at the start; None: m and c are not learnt.
        log_std_offset: c at the start.
        log_std_minimum: the least that ln σ may be.
    """

    def __init__(
        self,
        initial: Initial,
        sizes: Sizes,
        layers: Layers,
        *,
        log_std_multiplier: float | None = None,
        log_std_offset: float = 0.0,
        log_std_minimum: float = -20.0,
    ) -> None:
        super().__init__()
        self.network = MLP(initial, sizes.observation, 2 * sizes.action, layers)
        self._least = log_std_minimum
        self.scaled = log_std_multiplier is not None
        if log_std_multiplier is not None:
            self.log_std_multiplier = initial.constant((1, 1), log_std_multiplier)
            self.log_std_offset = initial.constant((1, 1), log_std_offset)

    def forward(self, observation: Tensor) -> TanhGaussian:
        """The distributions of actions: ``(M, B, S) -> (M, B, A)`` twice."""
        mean, log_std = self.network(observation).chunk(2, -1)
        if self.scaled:
            log_std = self.log_std_multiplier * log_std + self.log_std_offset
        return TanhGaussian(mean, log_std.clamp(self._least, 2))


class Critic(nn.Module):
    """One Q function per member."""

    def __init__(self, initial: Initial, sizes: Sizes, layers: Layers) -> None:
        super().__init__()
        self.network = MLP(initial, sizes.observation + sizes.action, 1, layers)

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Q(s, a), for one action or N actions of each observation.

        Args:
            observation: ``(M, B, S)``.
            action: ``(M, B, A)`` or ``(M, B, N, A)``.

        Returns:
            ``(M, B)`` or ``(M, B, N)``.
        """
        if action.dim() == 4:
            observation = observation.unsqueeze(2).expand(-1, -1, action.shape[2], -1)
        pairs = torch.cat([observation, action], -1).flatten(1, -2)
        value: Tensor = self.network(pairs).view(action.shape[:-1])
        return value
