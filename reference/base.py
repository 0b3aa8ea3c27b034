"""What the plain programs share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from algorithms import Algorithm, Batch


class Program(ABC):
    """One seed of one algorithm.

    Args:
        algorithm: where the first weights are copied from.
        hyper: the hyperparameters by name.
        member: whose weights.
        reward_mean: of the dataset.
    """

    def __init__(
        self, algorithm: Algorithm, hyper: Mapping[str, Any], member: int = 0, reward_mean: float = 0.0
    ) -> None:
        self.h, self.reward_mean = hyper, reward_mean
        self.start(algorithm, member)

    @abstractmethod
    def start(self, algorithm: Any, member: int) -> None:
        """Copy the first weights and make the optimisers."""

    @abstractmethod
    def update(self, step: int, batch: Batch, noise: Mapping[str, Tensor]) -> None:
        """Training step 1, 2, … on one seed's minibatch, ``(B, S)``, ``(B, A)`` and ``(B,)``."""

    @abstractmethod
    def pairs(self, algorithm: Any, member: int) -> Iterator[tuple[str, nn.Module | Tensor, Any]]:
        """Name, what this program has, and a copy of what `algorithm` has for that member."""


def plain_linear(layer: nn.Module, member: int, head: int | None = None) -> nn.Linear:
    """One member's (and head's) layer."""
    weight, bias = (
        p.detach()[member] if head is None else p.detach()[member, head] for p in layer.parameters()
    )
    inputs, outputs = weight.shape
    plain = nn.Linear(inputs, outputs, device=weight.device, dtype=weight.dtype)
    plain.weight.data, plain.bias.data = weight.T.clone(), bias[0].clone()
    return plain


def gelu() -> nn.GELU:
    """GELU as flax has it by default: tanh in place of the error function."""
    return nn.GELU(approximate="tanh")


def plain_mlp(
    network: Any,
    member: int,
    head: int | None = None,
    *end: nn.Module,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """One member's (and head's) copy of an `algorithms.networks.MLP`, and then `end`."""
    layers: list[nn.Module] = []
    for index, linear in enumerate(network.layers):
        hidden: list[nn.Module] = [activation()]
        if index < len(network.norms):
            norm = network.norms[index]
            weight, bias = (
                p.detach()[member] if head is None else p.detach()[member, head] for p in norm.parameters()
            )
            plain = nn.LayerNorm(weight.shape[-1], norm.epsilon, device=weight.device, dtype=weight.dtype)
            plain.weight.data, plain.bias.data = weight[0].clone(), bias[0].clone()
            hidden.insert(0 if network.norm == "before" else 1, plain)
        layers += [plain_linear(linear, member, head), *hidden]
    return nn.Sequential(*layers[:-1], *end)


def adam(parameters: Iterable[nn.Parameter], rate: float = 1e-3) -> torch.optim.Adam:
    """PyTorch's Adam as everyone writes it."""
    return torch.optim.Adam(parameters, lr=rate)


def descend(loss: Tensor, *optimisers: torch.optim.Optimizer) -> None:
    """Gradients from zero, then one step of each optimiser."""
    for optimiser in optimisers:
        optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
    for optimiser in optimisers:
        optimiser.step()


def follow(rate: float, targets: Sequence[nn.Module], networks: Sequence[nn.Module]) -> None:
    """Target ← (1 - rate) target + rate network."""
    for target, network in zip(targets, networks, strict=True):
        for slow, fast in zip(target.parameters(), network.parameters(), strict=True):
            slow.data = (1 - rate) * slow.data + rate * fast.data


def adam_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    count: int,
    rate: float,
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Adam as a differentiable function of the gradients; a weight without any gradient so far stays.

    Returns:
        The moved parameters, and the new moments, detached.
    """
    new_first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
    new_second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
    moved = []
    for p, m, v in zip(parameters, new_first, new_second, strict=True):
        reached = v > 0
        root = torch.where(reached, v / (1 - 0.999**count), torch.ones_like(v)).sqrt()
        step = m / (1 - 0.9**count) / (root + 1e-8)
        moved.append(p - rate * torch.where(reached, step, torch.zeros_like(step)))
    return moved, [m.detach() for m in new_first], [v.detach() for v in new_second]


def call(network: nn.Module, parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """`network` at other parameters."""
    names = [name for name, _ in network.named_parameters()]
    result: Tensor = torch.func.functional_call(network, dict(zip(names, parameters, strict=True)), (x,))
    return result
