"""Where the rows of a training come from: they were there before, or members gather them on the way."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.specs import Environment, Protocol
from harness.training.acting import Explorer
from harness.training.replay import GrowingReplay
from harness.training.rollout import episode_seed
from harness.training.stepping import Environments, Episode, StepFailure, TimeStep, exploration_seed

Floats = NDArray[np.float32]

Saved = Sequence[Mapping[str, Any]]
"""What a checkpoint holds of a feed, member by member; empty where nothing was gathered yet."""


class Feed(typing.Protocol):
    """Sees to it that there are rows to train on."""

    def fill(self, step: int, end: int) -> int:
        """Get what the steps after `step` need; the last step, at most `end`, that may be done with it."""

    def drop(self, member: int) -> None:
        """A member has failed: nothing more is gathered for it."""

    def save(self) -> Saved:
        """What going on from here takes."""

    def close(self) -> None:
        """End what gathers."""


class Fixed:
    """Rows that were there before the training."""

    def fill(self, step: int, end: int) -> int:
        """There is nothing to get."""
        return end

    def drop(self, member: int) -> None:
        """Nothing is gathered for anybody."""

    def save(self) -> Saved:
        """Nothing changes."""
        return ()

    def close(self) -> None:
        """Nothing is under way."""


class Gathering:
    """Members that act, each in an environment of its own, and keep what comes of it.

    An action is chosen as soon as its observation is there, before the updates that follow the interaction,
    so that environments step while these are computed; where the protocol has no overlap, it is chosen after
    them. Every row is whole: its a' is chosen when the row is there.

    Args:
        protocol: of an online run.
        keys: of the members' random numbers.
        environments: one per member.
        explorer: chooses actions.
        replay: gets the rows.
        failed: told of a member whose environment failed, and why.
        saved: where to go on.
    """

    def __init__(
        self,
        protocol: Protocol,
        keys: Sequence[str],
        environments: Sequence[Environment],
        explorer: Explorer,
        replay: GrowingReplay,
        failed: Callable[[int, str], None],
        saved: Saved = (),
    ) -> None:
        assert protocol.gather is not None  # noqa: S101 - an online one has it
        self._protocol, self._every, self._overlap = protocol, protocol.gather.every, protocol.gather.overlap
        self._explorer, self._replay, self._failed = explorer, replay, failed
        self._keys = keys
        self._members = dict.fromkeys(range(len(keys)))  # those that have not failed
        # interactions after which there has just been an evaluation in the environments that gather
        shared = protocol.gather.reproduce_defects and protocol.episodes
        self._disturbed = {0, *protocol.evaluations()} if shared else set()
        self._done = max((len(each["rows"]) for each in saved), default=0)
        self._numbers = [int(each["episode"]) for each in saved] or [0] * len(keys)
        self._seeds = [exploration_seed(*each) for each in zip(keys, self._numbers, strict=True)]
        self._actions: list[list[Floats]] = [list(each["actions"].numpy()) for each in saved] or [
            [] for _ in keys
        ]
        self._cuts = np.zeros((len(keys), protocol.length), bool)
        if saved:
            replay.restore([each["rows"] for each in saved])
            for member, each in enumerate(saved):
                self._cuts[member, : self._done] = each["cuts"]
        # those that are done next, if they have been chosen
        self._action = (
            np.stack([each["action"].numpy() for each in saved]) if saved and self._overlap else None
        )
        self._environments = Environments(keys, environments, self._episode)
        self._seen: Floats | None = None  # what the members act on, as the replay has it

    def _episode(self, member: int) -> Episode:
        actions = np.array(self._actions[member], np.float32)
        return Episode(self._numbers[member], self._seeds[member], actions)

    def fill(self, step: int, end: int) -> int:
        """Gather the interactions of the turn that the steps after `step` are of, unless they are there."""
        protocol = self._protocol
        turn = min(following(step, self._every), following(step, protocol.interval), protocol.length)
        if self._seen is None:
            self._begin()
        while self._done < turn and self._members:
            self._interact()
        return min(end, turn)

    def drop(self, member: int) -> None:
        """A member has failed: it acts no more."""
        self._members.pop(member, None)

    def save(self) -> Saved:
        """Rows, where episodes were cut, the episodes under way, and the actions that are done next."""
        if self._seen is None and not self._done:
            return ()
        return [
            {
                "rows": self._replay.region(member).to("cpu", copy=True),  # the storage has room for more
                "sizes": tuple(self._replay.sizes),
                "cuts": torch.from_numpy(self._cuts[member, : self._done].copy()),
                "episode": self._numbers[member],
                "actions": torch.from_numpy(self._episode(member).actions),
                "action": None if self._action is None else torch.from_numpy(self._action[member].copy()),
            }
            for member in range(len(self._numbers))
        ]

    def close(self) -> None:
        """End the processes that step environments."""
        self._environments.close()

    def _begin(self) -> None:
        """Bring the environments to where the episodes are."""
        self._seen = self._seen_in(self._survivors(self._environments.begin(list(self._members))))
        if self._overlap:
            self._act(self._chosen(self._seen[:, None])[:, 0] if self._action is None else self._action)

    def _act(self, action: Floats, *, reset: bool | None = None) -> None:
        """Let the environments step; what comes of it is waited for when it is needed."""
        self._action = action
        if self._done < self._protocol.length:
            self._environments.step({member: action[member] for member in self._members}, reset=reset)

    def _interact(self) -> None:
        """Let what came of the members' actions be rows, and choose the next ones."""
        assert self._seen is not None  # noqa: S101 - they have begun
        disturbed = self._done in self._disturbed
        if not self._overlap:
            if disturbed:
                self._end_evaluation()
            self._act(self._chosen(self._seen[:, None])[:, 0], reset=disturbed or None)
        assert self._action is not None  # noqa: S101
        action = self._action
        steps = self._survivors(self._environments.answers())
        seen = np.zeros((len(self._numbers), 2, self._replay.sizes[0]), np.float32)
        for member, step in steps.items():
            seen[member] = step.after, step.observation
        seen = self._observed(seen)
        self._done += 1
        pipelines = self._replay.pipelines
        # what follows the action, and what is done where the next episode begins if this one ended
        chosen = self._chosen(seen)
        self._replay.append(
            {
                member: np.concatenate(
                    [
                        self._seen[member],
                        action[member],
                        pipelines[member].reward(np.array([step.reward])),
                        seen[member, 0],
                        [step.terminal or disturbed],
                        chosen[member, 0],
                    ],
                    dtype=np.float32,
                )
                for member, step in steps.items()
            }
        )
        for member, step in steps.items():
            self._cuts[member, self._done - 1] = step.cut and not disturbed
            self._actions[member].append(action[member])
            if step.terminal or step.cut or disturbed:
                self._numbers[member] += 1
                self._seeds[member] = exploration_seed(self._keys[member], self._numbers[member])
                self._actions[member] = []
        self._seen, self._action = seen[:, 1], None
        if self._overlap:
            self._act(chosen[:, 1])

    def _end_evaluation(self) -> None:
        """Leave the environments where the last episode of the evaluation ends that has just been.

        So do loops that evaluate in the environment that they gather in, without a reset. The next action,
        though chosen for what was seen before the evaluation, is done there, and counts as the end of an
        episode. (SSAR's code, td3_bc.py: train and eval_actor.)
        """
        last = (self._protocol.episodes or 1) - 1
        for member in self._members:
            self._seeds[member], self._actions[member] = episode_seed(self._keys[member], last), []
        steps = self._survivors(self._environments.begin(list(self._members)))
        while steps:
            action = self._chosen(self._seen_in(steps)[:, None], self._explorer.settled)[:, 0]
            self._environments.step({member: action[member] for member in steps}, reset=False)
            steps = self._survivors(self._environments.answers())
            for member in steps:
                self._actions[member].append(action[member])
            steps = {member: step for member, step in steps.items() if not (step.terminal or step.cut)}

    def _survivors(self, answers: Mapping[int, TimeStep | StepFailure]) -> dict[int, TimeStep]:
        """What came of the members' actions; those whose environment failed are reported and dropped."""
        for member, answer in answers.items():
            if isinstance(answer, StepFailure) and member in self._members:
                self.drop(member)
                self._failed(member, answer.text)
        return {
            member: answer
            for member, answer in answers.items()
            if isinstance(answer, TimeStep) and member in self._members
        }

    def _seen_in(self, steps: Mapping[int, TimeStep]) -> Floats:
        """What the members act on next, as they are trained on it: ``(M, S)``, 0 where there is none."""
        observations = np.zeros((len(self._numbers), self._replay.sizes[0]), np.float32)
        for member, step in steps.items():
            observations[member] = step.observation
        return self._observed(observations)

    def _observed(self, observations: Floats) -> Floats:
        """Observations ``(M, ..., S)`` of the environments as they are trained on."""
        pipelines = self._replay.pipelines
        return np.stack([each.observation(o) for each, o in zip(pipelines, observations, strict=True)])

    def _chosen(self, seen: Floats, how: Callable[[torch.Tensor, int], torch.Tensor] | None = None) -> Floats:
        """Actions of the next interaction, by default such as explore: ``(M, B, S) -> (M, B, A)``."""
        actions = (how or self._explorer)(torch.from_numpy(seen).to(self._replay.storage), self._done)
        array: Floats = actions.to("cpu", torch.float32).numpy()
        return array


def following(step: int, every: int) -> int:
    """The first multiple of `every` after `step`."""
    return (step // every + 1) * every
