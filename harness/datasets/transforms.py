"""What is done to a dataset before it is trained on, step by step.

A step is first fitted to the transitions that it gets, then makes others of them. What it fitted also changes
what is observed and rewarded later: while a policy acts, and in transitions that are gathered.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from harness.datasets.base import Transitions
from harness.datasets.qlearning import episode_ends
from harness.errors import DataError
from harness.results.records import canonical, digest
from harness.specs.columns import other_sizes

CORL_EPISODE = 1000
"""Transitions at which CORL's `return_range` ends an episode, whatever the environment."""

Floats = NDArray[np.floating[Any]]


#: From observations ``(N, S)`` and actions ``(N, A)`` to which of them are trusted, ``(N,)``.
Selector = Callable[[Floats, Floats], NDArray[np.bool_]]


class Inputs(NamedTuple):
    """What steps may need beside the transitions.

    Attributes:
        seed: Of the run; what steps draw depends on it, on the dataset and on the step alone.
        others: Datasets that are mixed in, by id.
        selector: What says which transitions are trusted, where a step leaves that to another run.
    """

    seed: int = 0
    others: Mapping[str, Transitions] = {}
    selector: Selector | None = None


@dataclass(frozen=True)
class Step:
    """One change of a dataset; this one changes nothing.

    Attributes:
        random: Whether it draws, so that runs of other seeds have other transitions.
        whole: Whether it looks at whole trajectories.
        cuts: Whether it leaves trajectories with holes.
        last: Whether it comes after all others, wherever it is named.
    """

    random: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    cuts: ClassVar[bool] = False
    last: ClassVar[bool] = False

    def fit(self, data: Transitions, inputs: Inputs) -> Self:
        """The step with all that it takes from the data."""
        return self

    def rows(self, data: Transitions) -> Transitions:
        """The transitions changed, or fewer, or with another column, by what was fitted to them."""
        return data

    def observation(self, observation: Floats) -> Floats:
        """Observations ``(..., S)`` of the environment, changed as those of the data."""
        return observation

    def reward(self, reward: Floats) -> Floats:
        """Rewards ``(...)`` of the environment, changed as those of the data."""
        return reward


@dataclass(frozen=True)
class Standardise(Step):
    """o ← (o - mean) / (standard deviation + epsilon) per dimension, deviations with ddof 0."""

    epsilon: float
    mean: Floats = field(default_factory=lambda: np.zeros(1, np.float32), compare=False, repr=False)
    scale: Floats = field(default_factory=lambda: np.ones(1, np.float32), compare=False, repr=False)

    def fit(self, data: Transitions, inputs: Inputs) -> Self:
        """Take mean and deviation of the observations."""
        mean = data.observations.mean(0, dtype=np.float64)
        scale = data.observations.std(0, dtype=np.float64) + self.epsilon
        return replace(self, mean=mean.astype(np.float32), scale=scale.astype(np.float32))

    def rows(self, data: Transitions) -> Transitions:
        """Both observations of every transition."""
        return replace(
            data,
            observations=self.observation(data.observations),
            next_observations=self.observation(data.next_observations),
        )

    def observation(self, observation: Floats) -> Floats:
        """See the class."""
        return (observation - self.mean) / self.scale


@dataclass(frozen=True)
class Reward(Step):
    """r ← scale · r + shift, of float64."""

    scale: float = 1.0
    shift: float = 0.0

    def rows(self, data: Transitions) -> Transitions:
        """The reward of every transition."""
        return replace(data, rewards=self.reward(data.rewards))

    def reward(self, reward: Floats) -> Floats:
        """See the class."""
        return (np.asarray(reward, np.float64) * self.scale + self.shift).astype(np.float32)


@dataclass(frozen=True)
class ReturnRange(Reward):
    """r ← scale · r · (span / (largest - smallest return)) + shift.

    Attributes:
        corl: Count episodes as CORL does, see `corl_returns`; else returns are those of the trajectories.
    """

    whole: ClassVar[bool] = True
    span: float = 1000.0
    corl: bool = False

    def fit(self, data: Transitions, inputs: Inputs) -> Self:
        """Take the range of the returns.

        Raises:
            DataError: No two returns differ.
        """
        returns = corl_returns(data.rewards, data.terminals) if self.corl else Trajectories.of(data).returns
        low, high = (float(returns.min()), float(returns.max())) if len(returns) else (0.0, 0.0)
        if not low < high:
            raise DataError(
                f"the rewards of {data.identity['id']} cannot be normalised: "
                f"all returns of whole episodes are {low:g}"
            )
        return replace(self, scale=self.scale * (self.span / (high - low)))


@dataclass(frozen=True)
class StandardiseRewards(Reward):
    """r ← (r - mean) / standard deviation, with ddof 1 as torch takes it."""

    def fit(self, data: Transitions, inputs: Inputs) -> Self:
        """Take mean and deviation of the rewards.

        Raises:
            DataError: All rewards are equal.
        """
        rewards = np.asarray(data.rewards, np.float64)
        if not len(rewards) or rewards.min() == rewards.max():
            raise DataError(
                f"the rewards of {data.identity['id']} cannot be standardised: no two of them differ"
            )
        scale = 1 / float(rewards.std(ddof=1))
        return replace(self, scale=scale, shift=-float(rewards.mean()) * scale)


@dataclass(frozen=True)
class GoalTask(Step):
    """Pay for a goal on the ground, whatever the data were gathered for, as OGBench's ``relabel_utils.py``.

    A transition is judged by the state in which it begins: r ← 0 and terminal within `radius` of the goal,
    else r ← -1. Episodes run on through it.
    """

    goal: tuple[float, float]
    radius: float = 0.5

    def rows(self, data: Transitions) -> Transitions:
        """The transitions with the task's rewards and terminals."""
        rewards, arrived = self.outcomes(data.observations)
        return replace(data, rewards=rewards, terminals=arrived, runs_on=True)

    def outcomes(self, observations: Floats) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Rewards (N,) of states (N, S), and which of them are at the goal (N,)."""
        arrived = np.linalg.norm(observations[:, :2] - np.array(self.goal), axis=-1) <= self.radius
        return arrived.astype(np.float32) - 1, arrived


@dataclass(frozen=True)
class ClipActions(Step):
    """a ← a, but at least -bound and at most bound.

    What is gathered keeps its actions as they were done, as it does in the code of CQL(SA) and of FamCQL.
    """

    bound: float

    def rows(self, data: Transitions) -> Transitions:
        """Both actions of every transition."""
        bound = np.float32(self.bound)
        actions, following = (np.clip(each, -bound, bound) for each in (data.actions, data.next_actions))
        return replace(data, actions=actions, next_actions=following)


@dataclass(frozen=True)
class BestTrajectories(Step):
    """Keep the `count` trajectories of the highest returns; a last one that has no end is left out."""

    whole: ClassVar[bool] = True
    count: int

    def rows(self, data: Transitions) -> Transitions:
        """The transitions of these, in their order."""
        return data.take(self.chosen(data))

    def chosen(self, data: Transitions) -> NDArray[np.bool_]:
        """Which transitions are of these, (N,).

        Raises:
            DataError: No trajectory has an end.
        """
        trajectories = Trajectories.of(data)
        ended = len(trajectories.returns) - (not (data.terminals[-1] or data.runs_on))
        if not ended:
            raise DataError(f"no trajectory of {data.identity['id']} has an end, so none is among the best")
        best = np.argsort(-trajectories.returns[:ended], kind="stable")[: self.count]
        return np.isin(trajectories.number, best)


@dataclass(frozen=True)
class Drop(Step):
    """Leave out each transition with probability `share`."""

    random: ClassVar[bool] = True
    cuts: ClassVar[bool] = True
    share: float
    seed: int = field(default=0, compare=False, repr=False)

    def fit(self, data: Transitions, inputs: Inputs) -> Self:
        """Take the seed."""
        return replace(self, seed=inputs.seed)

    def rows(self, data: Transitions) -> Transitions:
        """What is left."""
        random = _generator("drop", data.identity, self.share, self.seed)
        return data.take(random.random(len(data)) >= self.share)


@dataclass(frozen=True)
class Mix(Step):
    """Put transitions of another dataset in the place of some, so that they are `ratio` of all.

    Transitions are drawn without replacement; there are as many as before, or as many as the other dataset
    allows at this ratio.
    """

    random: ClassVar[bool] = True
    cuts: ClassVar[bool] = True
    dataset: str
    ratio: float
    seed: int = field(default=0, compare=False, repr=False)
    other: Transitions | None = field(default=None, compare=False, repr=False)

    def fit(self, data: Transitions, inputs: Inputs) -> Self:
        """Take the seed and the other dataset.

        Raises:
            DataError: It is of other sizes.
        """
        other = inputs.others[self.dataset]
        here, there = ((rows.observations.shape[1], rows.actions.shape[1]) for rows in (data, other))
        if here != there:
            raise DataError(other_sizes(data.identity["id"], self.dataset, here, there))
        return replace(self, seed=inputs.seed, other=other)

    def rows(self, data: Transitions) -> Transitions:
        """Those kept, then those mixed in, each in their order."""
        assert self.other is not None  # noqa: S101 - fitted first
        total = min(len(data), int(len(self.other) / self.ratio))
        theirs = round(total * self.ratio)
        random = _generator("mix", [data.identity, self.other.identity], self.ratio, self.seed)

        def some(rows: Transitions, count: int) -> Transitions:
            return rows.take(np.sort(random.permutation(len(rows))[:count]))

        return some(data, total - theirs).followed_by(some(self.other, theirs))


@dataclass(frozen=True)
class Trust(Step, ABC):
    """A column ``trust``: 1 for transitions that are chosen, else 0."""

    @abstractmethod
    def chosen(self, data: Transitions) -> NDArray[np.bool_]:
        """Which transitions are, ``(N,)``."""

    def rows(self, data: Transitions) -> Transitions:
        """The transitions with the column."""
        return replace(data, extra={**data.extra, "trust": self.chosen(data).astype(np.float32)})


@dataclass(frozen=True)
class TrustReturn(Trust):
    """Trust in trajectories whose return is above a threshold.

    Attributes:
        above: The threshold.
        top: Instead of a threshold, the share of all trajectories that are trusted: those of the highest
            returns, and at least one. Fitting takes the threshold from them.
        allow_empty: Whether nothing may be trusted.
    """

    whole: ClassVar[bool] = True
    above: float = -np.inf
    top: float | None = None
    allow_empty: bool = False

    def fit(self, data: Transitions, inputs: Inputs) -> Self:
        """Take the threshold from the returns where it is a share; else see that some are above it.

        Raises:
            DataError: No trajectory has such a return.
        """
        returns = np.sort(Trajectories.of(data).returns)
        if self.top is not None:
            worst = returns[-max(1, round(self.top * len(returns)))]
            return replace(self, above=float(np.nextafter(worst, -np.inf)))
        if not (self.allow_empty or returns[-1] > self.above):
            raise DataError(none_trusted(data.identity["id"], self.above, returns[-1]))
        return self

    def chosen(self, data: Transitions) -> NDArray[np.bool_]:
        """See the class."""
        trajectories = Trajectories.of(data)
        return (trajectories.returns > self.above)[trajectories.number]


@dataclass(frozen=True)
class TrustSuccess(Trust):
    """Trust in trajectories whose last reward is above 0.

    On AntMaze, which pays at the goal alone, these are the ones that reach it.
    """

    whole: ClassVar[bool] = True

    def fit(self, data: Transitions, inputs: Inputs) -> Self:
        """See that there are some.

        Raises:
            DataError: There is none.
        """
        if not self.chosen(data).any():
            raise DataError(
                f"no trajectory of {data.identity['id']} has a last reward above 0, so none would be "
                f"trusted; the largest is {data.rewards[Trajectories.of(data).last].max():g}"
            )
        return self

    def chosen(self, data: Transitions) -> NDArray[np.bool_]:
        """See the class."""
        trajectories = Trajectories.of(data)
        return (data.rewards[trajectories.last] > 0)[trajectories.number]


@dataclass(frozen=True)
class TrustSelector(Trust):
    """Trust in the transitions that another run trusts.

    It judges what is trained on: observations and actions as all other steps leave them.
    """

    last: ClassVar[bool] = True
    selector: Selector | None = field(default=None, compare=False, repr=False)

    def fit(self, data: Transitions, inputs: Inputs) -> Self:
        """Take the selector, and see that it trusts some.

        Raises:
            DataError: It trusts none.
        """
        fitted = replace(self, selector=inputs.selector)
        if not fitted.chosen(data).any():
            raise DataError(f"the selector trusts none of the transitions of {data.identity['id']}")
        return fitted

    def chosen(self, data: Transitions) -> NDArray[np.bool_]:
        """See the class."""
        assert self.selector is not None  # noqa: S101 - fitted first
        return self.selector(data.observations, data.actions)


def none_trusted(name: str, above: float, largest: float) -> str:
    """What is said of a dataset none of whose returns is above a threshold."""
    return (
        f"no trajectory of {name} has a return above {above:g}, so none would be trusted; the largest is "
        f"{largest:g}"
    )


_TRUST: Mapping[str, Callable[..., Step]] = {
    "return": TrustReturn,
    "success": TrustSuccess,
    "selector": TrustSelector,
}

#: How a configuration names each step -> the step, from its value there.
STEPS: Mapping[str, Callable[[Any], Step]] = {
    "standardise": Standardise,
    "reward": lambda value: Reward(**value),
    "return_range": lambda value: ReturnRange(span=value),
    "standardise_rewards": lambda _: StandardiseRewards(),
    "goal_task": lambda value: GoalTask(**(value | {"goal": tuple(value["goal"])})),
    "clip_actions": ClipActions,
    "best_trajectories": BestTrajectories,
    "drop": Drop,
    "mix": lambda value: Mix(value["dataset"]["id"], value["ratio"]),
    "trust": lambda value: _TRUST[value["by"]](
        **{name: each for name, each in value.items() if name != "by"}
    ),
}


def steps_of(configuration: Mapping[str, Any]) -> tuple[Step, ...]:
    """The steps of a run: those that its configuration names as data, then those among its hyperparameters.

    Last come those that say so of themselves.

    Args:
        configuration: `harness.results.records.RunRecord.configuration`, or its ``data`` and
            ``hyperparameters``.
    """
    entries = [item for entry in configuration.get("data", ()) for item in entry.items()]
    named = [STEPS[name](value) for name, value in entries]
    steps = (*named, *_of_hyperparameters(configuration.get("hyperparameters") or {}))
    return tuple(sorted(steps, key=lambda step: step.last))


def _of_hyperparameters(values: Mapping[str, Any]) -> list[Step]:
    steps: list[Step] = []
    if values.get("normalize_observations"):
        steps.append(Standardise(values["observation_epsilon"]))
    scale, shift = values.get("reward_scale", 1.0), values.get("reward_shift", 0.0)
    if values.get("normalize_rewards"):
        steps.append(ReturnRange(scale, shift, corl=True))
    elif (scale, shift) != (1.0, 0.0):
        steps.append(Reward(scale, shift))
    return steps


def observed_alike(one: Sequence[Step], other: Sequence[Step]) -> bool:
    """Whether two runs that these steps make transitions for see the same observations of equal data."""
    kept = (Standardise, BestTrajectories, Drop, Mix)
    first, second = ([step for step in steps if isinstance(step, kept)] for steps in (one, other))
    return first == second


def order_problem(steps: Sequence[Step]) -> str | None:
    """What is wrong with an order of steps, or None."""
    cut = None
    for step in steps:
        if cut and step.whole:
            return (
                f"{_name(step)} looks at whole trajectories, which {_name(cut)} before it has cut: change "
                "their order, or leave one out"
            )
        cut = step if step.cuts else cut
    return None


def _name(step: Step) -> str:
    """As configurations name it."""
    hyperparameter = isinstance(step, ReturnRange) and step.corl
    return (
        "normalize_rewards"
        if hyperparameter
        else re.sub(
            r"(?<=.)([A-Z])", r"_\1", (Trust if isinstance(step, Trust) else type(step)).__name__
        ).lower()
    )


class Prepared(NamedTuple):
    """Transitions as they are trained on, and the fitted steps that made them."""

    rows: Transitions
    steps: Pipeline


@dataclass(frozen=True)
class Pipeline:
    """Fitted steps, as one."""

    steps: tuple[Step, ...] = ()

    @property
    def acting(self) -> Pipeline:
        """The steps that acting needs: those that change what is observed."""
        return Pipeline(tuple(step for step in self.steps if type(step).observation is not Step.observation))

    def rows(self, data: Transitions) -> Transitions:
        """Other transitions of the dataset that the steps were fitted to, changed alike."""
        for step in self.steps:
            data = step.rows(data)
        return data

    def observation(self, observation: Floats) -> NDArray[np.float32]:
        """Observations ``(..., S)`` of the environment as a policy takes them."""
        for step in self.steps:
            observation = step.observation(observation)
        return np.asarray(observation, np.float32)

    def reward(self, reward: Floats) -> NDArray[np.float32]:
        """Rewards ``(...)`` of the environment as they are trained on."""
        for step in self.steps:
            reward = step.reward(reward)
        return np.asarray(reward, np.float32)


def prepare(data: Transitions, steps: Sequence[Step], inputs: Inputs = Inputs()) -> Prepared:  # noqa: B008
    """Fit and make the steps, one after the other.

    Raises:
        DataError: A step finds nothing to keep, or cannot be fitted.
    """
    fitted = []
    for step in steps:
        fitted.append(step.fit(data, inputs))
        data = fitted[-1].rows(data)
    # what only chooses rows, and may hold others, has no part in what comes later
    return Prepared(data, Pipeline(tuple(step for step in fitted if not step.cuts)))


def shared(steps: Sequence[Step], seed: int) -> str:
    """Equal for runs to which the steps give equal transitions of equal data."""
    drawn = seed if any(step.random for step in steps) else None
    return f"{tuple(steps)} {drawn}"


# -- trajectories ------------------------------------------------------------------------------------------


class Trajectories(NamedTuple):
    """The trajectories that consecutive transitions make.

    Attributes:
        number: (N,) which one each transition belongs to, from 0.
        returns: (T,) the undiscounted return of each, in float64.
        last: (T,) the index of the last transition of each.
    """

    number: NDArray[np.int64]
    returns: NDArray[np.float64]
    last: NDArray[np.int64]

    @classmethod
    def of(cls, data: Transitions) -> Self:
        """A trajectory ends where it is terminal, where the next row begins elsewhere, and at the last row.

        Raises:
            DataError: The rows are in no order.
        """
        ends = episode_ends(data.by_row()) if data.ordered else None
        if ends is None:
            raise DataError(
                f"the rows of {data.identity['id']} are in no order, so which of them make a trajectory is "
                "not known"
            )
        number = np.concatenate([[0], np.cumsum(ends[:-1])])
        last = np.flatnonzero(np.diff(number, append=number[-1] + 1))
        return cls(number, np.bincount(number, data.rewards).astype(np.float64), last)


def corl_returns(rewards: NDArray[np.float32], terminals: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns of the episodes in (N,) transitions, as CORL counts them.

    An episode ends at a terminal or after 1000 transitions; what is left at the end does not count. Since
    D4RL drops the row at which an episode was cut, an episode of 1000 steps has 999 transitions, and the
    count runs into the next one: CORL's IQL and CQL train with that.
    """
    ends: list[int] = []
    start = 0
    for terminal in [*np.flatnonzero(terminals).tolist(), len(rewards)]:
        ends += range(start + CORL_EPISODE - 1, min(terminal + 1, len(rewards)), CORL_EPISODE)
        if terminal < len(rewards) and (not ends or ends[-1] != terminal):
            ends.append(terminal)
        start = terminal + 1
    # sums of the transitions after one end up to the next
    return np.diff(np.cumsum(rewards, dtype=np.float64)[ends], prepend=0.0)


# -- actions -----------------------------------------------------------------------------------------------


def rescaled(data: Transitions, low: Floats, high: Floats) -> Transitions:
    """Transitions whose actions are mapped from the bounds of an environment, (A,) each, to [-1, 1]."""

    def mapped(actions: Floats) -> NDArray[np.float32]:
        return (2 * (actions.astype(np.float64) - low) / (high.astype(np.float64) - low) - 1).astype(
            np.float32
        )

    return replace(
        data,
        actions=mapped(data.actions),
        next_actions=mapped(data.next_actions),
        content_hash=digest([data.content_hash, low.tolist(), high.tolist()]),
    )


def _generator(*names: Any) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(canonical(names).encode()).digest()))
