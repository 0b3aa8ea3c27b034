"""What every algorithm is: M members trained at once, none of whom can feel the others.

Every parameter, loss and statistic has a leading member axis. A *per-member scalar* (a loss, a coefficient,
a normaliser) always has shape ``(M, 1)``, so that it broadcasts against ``(M, B)`` values without a thought;
data have shapes ``(M, B)`` and ``(M, B, size)``. Losses reduce over everything except members; their sum over
members is what is differentiated, so no member's gradient depends on another's.

Actions lie in [-1, 1], as they do in every dataset of D4RL.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from algorithms.hyperparameters import Hyperparameters, Value, layer_sizes, per_member, static
from algorithms.randomness import Initial, Noise, generator, normal, uniform

__all__ = [
    "REGISTERED",
    "Algorithm",
    "Batch",
    "Hyperparameters",
    "Initial",
    "Member",
    "Noise",
    "Selector",
    "Sizes",
    "Value",
    "batch_mean",
    "example",
    "generator",
    "layer_sizes",
    "member_slice",
    "normal",
    "per_member",
    "register",
    "stacked",
    "static",
    "uniform",
]

# -- data --------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """One minibatch of transitions for every member."""

    observation: Tensor  # (M, B, S)
    action: Tensor  # (M, B, A)
    reward: Tensor  # (M, B)
    next_observation: Tensor  # (M, B, S)
    terminal: Tensor  # (M, B), 1 where the episode ended by itself, never at a timeout
    next_action: Tensor  # (M, B, A), what the data did at next_observation; without meaning where terminal
    extra: Mapping[str, Tensor] = {}  # the columns that the algorithm asks for by name, (M, B) each

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        return (*self[:-1], *self.extra.values())

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with every tensor changed alike."""
        extra = {name: change(tensor) for name, tensor in self.extra.items()}
        return Batch._make((*map(change, self[:-1]), extra))


@dataclass(frozen=True)
class Member:
    """What sets one member of a population apart.

    Attributes:
        key: the run's key; all of the member's random numbers come from it.
        hyperparameters: complete, by name.
        reward_mean: mean reward of the member's dataset, as the replay holds it.
        inputs: name -> training state of another run, ``(1, ...)`` tensors; empty where nothing is trained.
    """

    key: str
    hyperparameters: Mapping[str, Value]
    reward_mean: float = 0.0
    inputs: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


class Sizes(NamedTuple):
    """Lengths of the observation and action vectors."""

    observation: int
    action: int


def _gather(each: Sequence[Hyperparameters], device: torch.device, dtype: torch.dtype) -> Any:
    """One object of the same fields whose per-member numbers are ``(M, 1)`` tensors."""
    gathered: dict[str, Any] = {}
    for declaration in fields(each[0]):
        name = declaration.name
        values = [getattr(h, name) for h in each]
        if not declaration.metadata["static"]:
            gathered[name] = torch.tensor(values, dtype=dtype, device=device).unsqueeze(1)
        elif len(set(values)) > 1:
            raise ValueError(f"members of one population share {name}, but it is {sorted(set(values))}")
        else:
            gathered[name] = values[0]
    return type(each[0])(**gathered)


def example(learner: Algorithm, make: Callable[..., Tensor] = torch.rand) -> tuple[Batch, dict[str, Tensor]]:
    """A minibatch and noise of the shapes that an update takes, to see what it costs or what it reports.

    Args:
        learner: whose.
        make: shape -> tensor.
    """
    size, (observation, action) = (len(learner.members), learner.hyper.batch_size), learner.sizes
    batch = Batch(
        make(*size, observation),
        make(*size, action),
        make(*size),
        make(*size, observation),
        make(*size),
        make(*size, action),
        {name: make(*size) for name in learner.columns},
    )
    return batch, {name: make(len(learner.members), *each.shape) for name, each in learner.noise.items()}


def batch_mean(values: Tensor) -> Tensor:
    """Mean over everything except members: ``(M, ...) -> (M, 1)``."""
    return values.flatten(1).mean(1, keepdim=True)


# -- algorithms --------------------------------------------------------------------------------------------


class Algorithm(nn.Module, ABC):
    """M independent learners of one algorithm, updated together.

    A subclass makes its networks from `self.initial` and its optimisers from `algorithms.optimisers.Adam` in
    `build`, and writes `update`. All state that training changes lives in parameters, buffers and optimisers,
    each with a leading member axis, so that any member can be cut out, saved and put back.

    Attributes:
        hyper: static hyperparameters as plain values, the others as ``(M, 1)`` tensors.
        noise: name -> the random numbers that one update of one member needs.
        acting_noise: the random numbers that acting needs for each observation; None: it needs none.
        clock: updates done in this run, ``(M, 1)``. The engine moves it; it is no part of the training state.
        reads: names of the inputs that it reads, states of other runs.
        inputs: name -> those runs' training states, ``(M, ...)`` tensors; for `build`, see `begin_as`. Empty
            where nothing is trained: a policy that is evaluated brings all that it needs.
        policy: names of the submodules that acting needs.
        columns: names of the columns of `Batch.extra` that an update needs.
        reads_next_action: whether an update reads `Batch.next_action`, which shuffled data do not have.
    """

    Hyperparameters: ClassVar[type[Hyperparameters]]
    policy: ClassVar[tuple[str, ...]] = ("actor",)
    reads: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[str, ...]] = ()
    reads_next_action: ClassVar[bool] = False
    acting_noise: Noise | None = None
    clock: Tensor

    def __init__(
        self,
        members: Sequence[Member],
        sizes: Sizes,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Check and gather the members' hyperparameters.

        Raises:
            ValueError: a hyperparameter is wrong, or members differ in a static one.
        """
        super().__init__()
        self.members, self.sizes = tuple(members), sizes
        self.device, self.dtype = torch.device(device), dtype
        each = [self.Hyperparameters.of(m.hyperparameters) for m in members]
        self.hyper: Any = _gather(each, self.device, dtype)
        self.initial = Initial([m.key for m in members], self.device, dtype)
        self.noise: dict[str, Noise] = {}
        self.inputs = {
            name: {part: t.to(self.device) for part, t in stacked([m.inputs[name] for m in members]).items()}
            for name in self.reads
            if name in members[0].inputs
        }
        self.register_buffer(
            "clock", torch.zeros(len(self.members), 1, device=self.device, dtype=dtype), persistent=False
        )
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Make the networks and optimisers, and say what noise an update needs."""

    def begin_as(self, module: str, source: str, there: str | None = None) -> None:
        """In `build`, let a submodule begin as one of another run ended; as it is, where nothing is trained.

        Args:
            module: its name.
            source: the input, one of `reads`.
            there: the name of the other run's submodule; None: the same.

        Raises:
            ValueError: the other run's submodule is of another architecture.
        """
        if source in self.inputs:
            own, state = self.get_submodule(module).state_dict(), _below(there or module, self.inputs[source])
            _copy(own, state, f"the state of {source} does not fit {module}")

    def phase(self, step: int) -> str:
        """Which part of the update cycle step 1, 2, … is; equal phases run the same operations."""
        return "update"

    @abstractmethod
    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """One training step of every member.

        Args:
            batch: the minibatch.
            noise: for each name in `self.noise`, its numbers, of shape ``(M, *shape)``.
            phase: `self.phase(step)`.

        Returns:
            metric name -> ``(M, 1)``, detached.
        """

    @abstractmethod
    def act(self, observation: Tensor, *noise: Any, **_: Any) -> Tensor:
        """Evaluation actions in [-1, 1]: ``(M, B, S) -> (M, B, A)``; observations as in the replay.

        Where there is `acting_noise`, its numbers, ``(M, B, *shape)``, are the second argument; elsewhere
        there is none.
        """

    def explore(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Actions that gather data, by default those of `act`: ``(M, B, S) -> (M, B, A)``.

        Args:
            observation: as in the replay.
            noise: the numbers of `acting_noise`, ``(M, B, *shape)``; where there is none, standard normal
                ``(M, B, A)``.
        """
        return self.act(observation, noise) if self.acting_noise else self.act(observation)

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by attribute name."""
        return {k: v for k, v in vars(self).items() if isinstance(v, torch.optim.Optimizer)}

    # -- state, member by member --

    def training_state(self) -> dict[str, Tensor]:
        """Everything an update changes, by name: tensors with a member axis, and counts and rates without."""
        state = {name: tensor.detach() for name, tensor in self.state_dict().items()}
        for label, optimiser in self.optimisers().items():
            for index, parameter in enumerate(optimiser.param_groups[0]["params"]):
                for name, value in optimiser.state[parameter].items():
                    state[f"{label}/{index}/{name}"] = value
            rate = optimiser.param_groups[0]["lr"]
            if isinstance(rate, Tensor):
                state[f"{label}/lr"] = rate
        return state

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `training_state` gave, into the same memory (captured graphs stay valid).

        Raises:
            ValueError: `state` is not of this algorithm, these hyperparameters and this number of members.
        """
        _copy(self.training_state(), state, "the saved state does not fit this algorithm")

    def policy_state(self) -> dict[str, Tensor]:
        """What acting needs, a copy on the CPU: name -> ``(M, ...)``."""
        return {
            f"{module}.{name}": tensor.detach().to("cpu", copy=True)
            for module in self.policy
            for name, tensor in self.get_submodule(module).state_dict().items()
        }

    def load_policy_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `policy_state` gave."""
        for module in self.policy:
            self.get_submodule(module).load_state_dict(_below(module, state))


@runtime_checkable
class Selector(Protocol):
    """An algorithm that says which transitions of the data other algorithms trust.

    Of its training state it needs the submodules of `Algorithm.policy` for that.
    """

    def trusts(self, observation: Tensor, action: Tensor) -> Tensor:
        """Whether each transition is trusted: ``(M, B, S), (M, B, A) -> (M, B)`` of booleans."""


def _below(module: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A submodule's part of a state, by its own names."""
    prefix = f"{module}."
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}


@torch.no_grad()
def _copy(own: Mapping[str, Tensor], state: Mapping[str, Tensor], unfit: str) -> None:
    """Copy `state` into `own`.

    Raises:
        ValueError: names or shapes differ; says that it is `unfit`, and where.
    """
    unlike = own.keys() ^ state.keys()
    unlike |= {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape}
    if unlike:
        raise ValueError(f"{unfit} at {', '.join(sorted(unlike)[:3])}")
    for name, tensor in own.items():
        tensor.copy_(state[name])


def member_slice(state: Mapping[str, Tensor], members: Sequence[int]) -> dict[str, Tensor]:
    """Cut some members out of a training or policy state; values without a member axis (step counts) stay."""
    return {name: tensor[list(members)] if tensor.dim() else tensor for name, tensor in state.items()}


def stacked(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """States of single members as one of all; values without a member axis (step counts) they share."""
    return {
        name: torch.cat([state[name] for state in states]) if tensor.dim() else tensor
        for name, tensor in states[0].items()
    }


REGISTERED: dict[str, type[Algorithm]] = {}
"""Algorithms whose modules have been imported, by id."""

A = TypeVar("A", bound=type[Algorithm])


def register(algorithm_id: str) -> Callable[[A], A]:
    """Class decorator: make an algorithm known under the name of its file.

    Raises:
        TypeError: a field of its hyperparameters is none; see `Hyperparameters.check_declarations`.
    """

    def add(cls: A) -> A:
        cls.Hyperparameters.check_declarations()
        REGISTERED[algorithm_id] = cls
        return cls

    return add
