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
from harness.training.stepping import Environments, Episode, Failure, Step

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

    An action is chosen as soon as its observation is there, before the updates that follow the interaction.
    So every row is whole, with the action that followed, and environments step while updates are computed.

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
        self._protocol, self._every = protocol, protocol.gather.every
        self._explorer, self._replay, self._failed = explorer, replay, failed
        self._members = dict.fromkeys(range(len(keys)))  # those that have not failed
        self._done = max((len(each["rows"]) for each in saved), default=0)
        self._numbers = [int(each["episode"]) for each in saved] or [0] * len(keys)
        self._actions: list[list[Floats]] = [list(each["actions"].numpy()) for each in saved] or [
            [] for _ in keys
        ]
        self._cuts = np.zeros((len(keys), protocol.length), bool)
        if saved:
            replay.restore([each["rows"] for each in saved])
            for member, each in enumerate(saved):
                self._cuts[member, : self._done] = each["cuts"]
        self._action = np.stack([each["action"].numpy() for each in saved]) if saved else None
        self._environments = Environments(keys, environments, self._episode)
        self._seen: Floats | None = None  # what the members act on, as the replay has it

    def _episode(self, member: int) -> Episode:
        return Episode(self._numbers[member], np.array(self._actions[member], np.float32))

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
        if self._action is None:
            return ()
        return [
            {
                "rows": self._replay.region(member).to("cpu", copy=True),  # the storage has room for more
                "sizes": tuple(self._replay.sizes),
                "cuts": torch.from_numpy(self._cuts[member, : self._done].copy()),
                "episode": self._numbers[member],
                "actions": torch.from_numpy(self._episode(member).actions),
                "action": torch.from_numpy(self._action[member].copy()),
            }
            for member in range(len(self._numbers))
        ]

    def close(self) -> None:
        """End the processes that step environments."""
        self._environments.close()

    def _begin(self) -> None:
        """Bring the environments to where the episodes are; choose the first actions if that was not done."""
        found = self._survivors(self._environments.begin(list(self._members)))
        observations = np.zeros((len(self._numbers), self._replay.sizes[0]), np.float32)
        for member, step in found.items():
            observations[member] = step.observation
        self._seen = self._observed(observations)
        if self._action is None:
            self._action = self._chosen(self._seen[:, None])[:, 0]
        self._send()

    def _interact(self) -> None:
        """Let what came of the members' actions be rows, and choose the next ones."""
        assert self._seen is not None  # noqa: S101 - they have begun
        assert self._action is not None  # noqa: S101
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
                        pipelines[member].action(self._action[member]),
                        pipelines[member].reward(np.array([step.reward])),
                        seen[member, 0],
                        [step.terminal],
                        pipelines[member].action(chosen[member, 0]),
                    ],
                    dtype=np.float32,
                )
                for member, step in steps.items()
            }
        )
        for member, step in steps.items():
            self._cuts[member, self._done - 1] = step.cut
            self._actions[member].append(self._action[member])
            if step.terminal or step.cut:
                self._numbers[member] += 1
                self._actions[member] = []
        self._seen, self._action = seen[:, 1], chosen[:, 1]
        self._send()

    def _survivors(self, answers: Mapping[int, Step | Failure]) -> dict[int, Step]:
        """What came of the members' actions; those whose environment failed are reported and dropped."""
        for member, answer in answers.items():
            if isinstance(answer, Failure) and member in self._members:
                self.drop(member)
                self._failed(member, answer.text)
        return {
            member: answer
            for member, answer in answers.items()
            if isinstance(answer, Step) and member in self._members
        }

    def _observed(self, observations: Floats) -> Floats:
        """Observations ``(M, ..., S)`` of the environments as they are trained on."""
        pipelines = self._replay.pipelines
        return np.stack([each.observation(o) for each, o in zip(pipelines, observations, strict=True)])

    def _chosen(self, seen: Floats) -> Floats:
        """Actions of the next interaction: ``(M, B, S) -> (M, B, A)``."""
        actions = self._explorer(torch.from_numpy(seen).to(self._replay.storage), self._done)
        return actions.to("cpu", torch.float32).numpy()

    def _send(self) -> None:
        """Let the environments step; what comes of it is waited for when it is needed."""
        assert self._action is not None  # noqa: S101
        if self._done < self._protocol.length:
            self._environments.step({member: self._action[member] for member in self._members})


def following(step: int, every: int) -> int:
    """The first multiple of `every` after `step`."""
    return (step // every + 1) * every
