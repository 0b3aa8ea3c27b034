"""One fused Adam for all members, and the soft update of target networks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


Schedule = Callable[[Tensor], Tensor]


def exponential_decay(final: float, steps: int) -> Schedule:
    """A factor that shrinks by the same ratio at every step, to `final` after `steps`."""
    ratio: float = final ** (1 / steps)
    return lambda count: ratio**count


def cosine_decay(steps: int, *, stays: bool = False) -> Schedule:
    """A factor along a cosine, from 1 to 0 over `steps`.

    Then it rises again, as PyTorch's CosineAnnealingLR does, or it `stays` at 0, as Optax's cosine does.
    """
    last = steps if stays else math.inf
    return lambda count: (1 + torch.cos(math.pi * count.clamp(max=last) / steps)) / 2


class Adam(torch.optim.Adam):
    """Adam (betas 0.9 and 0.999, eps 1e-8) over parameters with a member axis.

    Adam works element by element, so one step of it is one step of every member.

    Args:
        parameters: of all members.
        learning_rate: shared by the members.
        schedule: number of steps done -> factor of the learning rate at the next one.
        clip_norm: the most that the norm of a member's gradient over all parameters may be, a number or
            ``(M, 1)``; gradients of a larger norm are shortened to it.
        weight_decay: λ, a number or ``(M, 1)``.
        decay: how weights decay: ``decoupled``, by the rate times λ at each step, as in AdamW; ``l2``, by λ
            times the weight in the gradient, after clipping, as in torch's Adam.
    """

    beta1, beta2, eps = 0.9, 0.999, 1e-8

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        schedule: Schedule | None = None,
        *,
        clip_norm: float | Tensor | None = None,
        weight_decay: float | Tensor = 0.0,
        decay: Literal["decoupled", "l2"] = "decoupled",
    ) -> None:
        self.parameters, self._initial, self._schedule = list(parameters), learning_rate, schedule
        self._clip_norm, self._weight_decay, self._decay = clip_norm, weight_decay, decay
        device = self.parameters[0].device
        cuda = device.type == "cuda"
        # a scheduled rate is float32, because CUDA's fused Adam reads a tensor of nothing else
        rate = torch.tensor(learning_rate, dtype=torch.float32, device=device) if schedule else learning_rate
        super().__init__(
            self.parameters,
            lr=rate,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            fused=True,
            capturable=cuda,
        )
        # the moments exist from the start, so that a captured graph and a checkpoint find them in place
        for parameter in self.parameters:
            self.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def descend(self, loss: Tensor, *, retain_graph: bool = False) -> Sequence[Tensor]:
        """Step down the gradient of the members' summed losses; other networks get no gradient.

        Args:
            loss: ``(M, 1)``.
            retain_graph: keep the graph for another derivative.

        Returns:
            The gradients that the step took, one per parameter.
        """
        return self.apply(torch.autograd.grad(loss.sum(), self.parameters, retain_graph=retain_graph))

    def apply(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """Step with these gradients, one per parameter.

        Returns:
            The gradients that the step took: clipped, and with weight decay if that is ``l2``.
        """
        if self._clip_norm is not None:
            gradients = clipped(gradients, self._clip_norm)
        if isinstance(self._weight_decay, Tensor) or self._weight_decay:
            gradients = self._decayed(gradients)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.step()
        if self._schedule:
            # from the number of steps, since tens of thousands of products would add up float32's roundings
            self.param_groups[0]["lr"].copy_(self._initial * self._schedule(self.steps))
        return gradients

    @torch.no_grad()
    def _decayed(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """Let the weights decay, or their gradients grow."""
        weights = [_like(self._weight_decay, parameter) for parameter in self.parameters]
        if self._decay == "l2":
            return [g + w * p for g, w, p in zip(gradients, weights, self.parameters, strict=True)]
        for parameter, weight in zip(self.parameters, weights, strict=True):
            parameter.mul_(1 - self.learning_rate * weight)
        return gradients

    @property
    def steps(self) -> Tensor:
        """Number of steps done, a float64 scalar."""
        count: Tensor = self.state[self.parameters[0]]["step"].double()
        return count

    @property
    def learning_rate(self) -> float | Tensor:
        """The rate of the next step; a tensor if there is a schedule, and not the one that steps change."""
        rate: float | Tensor = self.param_groups[0]["lr"]
        return rate.clone() if isinstance(rate, Tensor) else rate

    @torch.no_grad()
    def jacobian(self, parameter: nn.Parameter, gradient: Tensor) -> Tensor:
        """How the last step's direction changed with its own `gradient`, element by element.

        With g the gradient, m and v the moments after the step and t its number, the direction is
        m̂ / (√v̂ + ε) and its derivative with respect to g, the moments' past held fixed, is

            (1-β₁)/(1-β₁ᵗ) / (√v̂ + ε)  -  m̂ / (√v̂ + ε)² · (1-β₂) g / ((1-β₂ᵗ) √v̂)

        and 0 where v = 0: a weight that no gradient ever reached stays where it is. (The gradient is handed
        in, because torch.compile would compile anew wherever ``parameter.grad`` is another tensor.)
        """
        state = self.state[parameter]
        step = state["step"].to(parameter.dtype)
        correction1, correction2 = 1 - self.beta1**step, 1 - self.beta2**step
        root = (state["exp_avg_sq"] / correction2).sqrt()
        denominator = root + self.eps
        direct = (1 - self.beta1) / correction1 / denominator
        through_v = (
            (state["exp_avg"] / correction1)
            / denominator**2
            * (1 - self.beta2)
            * gradient
            / (correction2 * root)
        )
        return torch.where(root > 0, direct - through_v, torch.zeros_like(root))


def target_of(network: Net) -> Net:
    """A copy of a network that no gradient reaches."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def soft_update(rate: float | Tensor, *pairs: tuple[nn.Module, nn.Module]) -> None:
    """Move every (target, online) pair's target: target ← target + rate (online - target).

    An exponential moving average of parameters is this, too; see `average_rate`.

    Args:
        rate: a number or ``(M, 1)``.
        pairs: networks of the same structure.
    """
    targets: list[Tensor] = [p for target, _ in pairs for p in target.parameters()]
    onlines: list[Tensor] = [p for _, online in pairs for p in online.parameters()]
    if isinstance(rate, Tensor):
        for target, online in zip(targets, onlines, strict=True):
            target.lerp_(online, _like(rate, target))
    else:
        torch._foreach_lerp_(targets, onlines, rate)


def average_rate(decay: float | Tensor, clock: Tensor, begin: int = 0) -> Tensor:
    """The rate at which the moving average of parameters follows them: ``(M, 1)``.

    1 - `decay`, but 1 before `begin` updates: until then the average is the parameters themselves.
    """
    return 1 - decay * (clock >= begin).to(clock.dtype)


def clipped(gradients: Sequence[Tensor], norm: float | Tensor) -> list[Tensor]:
    """Gradients whose norm over all parameters of a member is at most `norm`, see `clip_factor`."""
    return scaled(gradients, clip_factor(gradients, norm))


@torch.no_grad()
def clip_factor(gradients: Sequence[Tensor], norm: float | Tensor) -> Tensor:
    """What shortens each member's gradients to a norm of at most `norm`, as torch clips them: ``(M, 1)``.

    Args:
        gradients: with a member axis each.
        norm: a number or ``(M, 1)``.
    """
    squares = torch.cat([gradient.flatten(1).square().sum(1, keepdim=True) for gradient in gradients], 1)
    return (norm / (squares.sum(1, keepdim=True).sqrt() + 1e-6)).clamp(max=1)


@torch.no_grad()
def scaled(gradients: Sequence[Tensor], factor: Tensor) -> list[Tensor]:
    """Each member's gradients times its `factor`, ``(M, 1)``."""
    return [gradient * _like(factor, gradient) for gradient in gradients]


def _like(value: float | Tensor, parameter: Tensor) -> float | Tensor:
    """A per-member scalar with as many axes as a parameter; a number as it is."""
    return value.view(-1, *[1] * (parameter.dim() - 1)) if isinstance(value, Tensor) else value
