"""One fused Adam for all members, and the soft update of target networks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


Schedule = Callable[[Tensor], Tensor]


def exponential_decay(final: float, steps: int) -> Schedule:
    """A factor that shrinks by the same ratio at every step, to `final` after `steps`."""
    ratio: float = final ** (1 / steps)
    return lambda count: ratio**count


def cosine_decay(steps: int) -> Schedule:
    """A factor from 1 to 0 along half a cosine over `steps`, and 0 after."""
    return lambda count: (1 + torch.cos(math.pi * (count / steps).clamp(max=1))) / 2


class Adam(torch.optim.Adam):
    """Adam (betas 0.9 and 0.999, eps 1e-8) over parameters with a member axis.

    Adam works element by element, so one step of it is one step of every member.

    Args:
        parameters: of all members.
        learning_rate: shared by the members.
        schedule: number of steps done -> factor of the learning rate at the next one.
    """

    beta1, beta2, eps = 0.9, 0.999, 1e-8

    def __init__(
        self, parameters: Iterable[nn.Parameter], learning_rate: float, schedule: Schedule | None = None
    ) -> None:
        self.parameters, self._initial, self._schedule = list(parameters), learning_rate, schedule
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
            The gradients, one per parameter.
        """
        gradients = torch.autograd.grad(loss.sum(), self.parameters, retain_graph=retain_graph)
        self.apply(gradients)
        return gradients

    def apply(self, gradients: Iterable[Tensor]) -> None:
        """Step with these gradients, one per parameter."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.step()
        if self._schedule:
            # from the number of steps, since tens of thousands of products would add up float32's roundings
            self.param_groups[0]["lr"].copy_(self._initial * self._schedule(self.steps))

    @property
    def steps(self) -> Tensor:
        """Number of steps done, a float64 scalar."""
        count: Tensor = self.state[self.parameters[0]]["step"].double()
        return count

    @property
    def learning_rate(self) -> float | Tensor:
        """The rate of the next step; a tensor that the step changes in place if there is a schedule."""
        rate: float | Tensor = self.param_groups[0]["lr"]
        return rate

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
def soft_update(rate: float, *pairs: tuple[nn.Module, nn.Module]) -> None:
    """Move every (target, online) pair's target: target ← target + rate (online - target)."""
    targets: list[Tensor] = [p for target, _ in pairs for p in target.parameters()]
    onlines: list[Tensor] = [p for _, online in pairs for p in online.parameters()]
    torch._foreach_lerp_(targets, onlines, rate)
