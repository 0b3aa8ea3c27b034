"""The environments that members act in, stepped in worker processes: all at once, none at another's cost.

An episode is the seed of its reset and the actions done since. So a process that died, or a training that was
interrupted, is brought back to where it stood by doing them again.
"""

from __future__ import annotations

import contextlib
import hashlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness import environments, plugs
from harness.errors import DataError, shortage
from harness.processes import CONTEXT, CRASHES, Child, usable_cores
from harness.specs import Environment

_ATTEMPTS = 3  # with a process that dies


class Episode(NamedTuple):
    """An episode under way.

    Attributes:
        number: 0, 1, … of its member.
        seed: of its reset.
        actions: ``(T, A)``, done so far.
    """

    number: int
    seed: int
    actions: NDArray[np.float32]


class TimeStep(NamedTuple):
    """What an action led to.

    Attributes:
        observation: ``(S,)``, what to act on next; the first one of the next episode where this one ended.
        after: ``(S,)``, what the action led to; None if there was no action.
        reward: of the action.
        terminal: the episode ended by itself.
        cut: it ended at its time limit; one that ends by itself at its last step counts as cut, as in D4RL.
    """

    observation: NDArray[np.float32]
    after: NDArray[np.float32] | None = None
    reward: float = 0.0
    terminal: bool = False
    cut: bool = False


class StepFailure(NamedTuple):
    """Why a member cannot go on: a traceback, or a sentence."""

    text: str


def exploration_seed(key: str, episode: int) -> int:
    """Seed of an environment's reset when the member of that key begins an episode."""
    digest = hashlib.sha256(f"{key}/exploration/{episode}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


class Environments:
    """One environment of each member; use as a context manager.

    Args:
        keys: of the members' random numbers.
        made: one environment per member.
        episode: the episode that a member is in, without an action that is under way.
        workers: most processes; None for as many as this process may use cores.
    """

    def __init__(
        self,
        keys: Sequence[str],
        made: Sequence[Environment],
        episode: Callable[[int], Episode],
        workers: int | None = None,
    ) -> None:
        count = min(len(keys), workers or usable_cores())
        self._episode, self._places = episode, list(zip(keys, made, strict=True))
        self._workers = [
            _Worker(dict(list(enumerate(self._places))[number::count])) for number in range(count)
        ]

    def __enter__(self) -> Environments:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, members: Sequence[int]) -> dict[int, TimeStep | StepFailure]:
        """Bring members to where their episodes are: what to act on."""
        self._ask({member: _Request(self._episode(member)) for member in members})
        return self.answers()

    def step(self, actions: Mapping[int, NDArray[np.float32]], *, reset: bool | None = None) -> None:
        """Let members act ``(A,)``, without waiting for what comes of it.

        Args:
            actions: by member.
            reset: whether another episode begins then; None: where this one has ended.
        """
        self._ask({member: _Request(None, action, reset) for member, action in actions.items()})

    def answers(self) -> dict[int, TimeStep | StepFailure]:
        """What came of the last `step`, by member; waits for it.

        Raises:
            DataError: a process died again and again, and not by what an environment did; or it met that the
                machine lacks something.
        """
        found: dict[int, TimeStep | StepFailure] = {}
        for worker in self._workers:
            found |= self._answers(worker)
        return found

    def _ask(self, requests: Mapping[int, _Request]) -> None:
        for worker in self._workers:
            worker.ask({member: request for member, request in requests.items() if member in worker.places})

    def _answers(self, worker: _Worker) -> dict[int, TimeStep | StepFailure]:
        failed: dict[int, TimeStep | StepFailure] = {}
        deaths = 0
        while True:
            try:
                return failed | worker.answers()
            except (EOFError, OSError):  # it died
                deaths += 1
            code, member = worker.died()
            if deaths == _ATTEMPTS:
                environment = self._places[next(iter(worker.places)) if member is None else member][1].id
                died = f"the process that acts in {environment} died {deaths} times (exit code {code})"
                if member is None or -(code or 0) not in CRASHES:
                    raise DataError(
                        f"{died}; is there enough memory? What was saved is kept: run the same command again"
                    )
                failed[member], deaths = StepFailure(died), 0
            worker.start()
            worker.ask(
                {
                    each: request._replace(episode=self._episode(each))
                    for each, request in worker.asked.items()
                    if each not in failed
                }
            )

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.end()


class _Request(NamedTuple):
    """What a member is asked: to be brought to where an episode is, to act, or both in turn."""

    episode: Episode | None
    action: NDArray[np.float32] | None = None
    reset: bool | None = None  # as of `Environments.step`


class _Worker:
    """A process with the environments of some members.

    Attributes:
        places: member -> the key of its random numbers, and its environment.
        asked: the last requests.
    """

    def __init__(self, places: Mapping[int, tuple[str, Environment]]) -> None:
        self.places = places
        self.asked: Mapping[int, _Request] = {}
        self.start()

    def start(self) -> None:
        self._at = CONTEXT.RawValue("i", _NOBODY)
        self._child = Child(_serve, self.places, plugs.folders(), self._at)

    def ask(self, requests: Mapping[int, _Request]) -> None:
        self.asked = requests
        if requests:
            with contextlib.suppress(OSError):  # it died; whoever waits for its answers will find out
                self._child.connection.send(requests)

    def answers(self) -> dict[int, TimeStep | StepFailure]:
        found: dict[int, TimeStep | StepFailure] | DataError = (
            self._child.connection.recv() if self.asked else {}
        )
        if isinstance(found, DataError):
            raise found
        return found

    def end(self) -> None:
        self._child.end()

    def died(self) -> tuple[int | None, int | None]:
        """Its exit code, and the member whose environment it was in; None for nobody's."""
        code = self._child.died()
        return code, None if self._at.value == _NOBODY else self._at.value


_NOBODY = -1

# -- in worker processes -----------------------------------------------------------------------------------


def _serve(
    connection: Connection, places: Mapping[int, tuple[str, Environment]], folders: Sequence[Path], at: Any
) -> None:
    """Answer what comes until the parent is gone."""
    plugs.use(folders)
    actors = {member: _Actor(*place) for member, place in places.items()}
    while True:
        try:
            requests: Mapping[int, _Request] = connection.recv()
        except (EOFError, OSError):  # the parent closed its end or died
            return
        answers: dict[int, TimeStep | StepFailure] = {}
        lack: DataError | None = None
        for member, request in requests.items():
            at.value = member
            try:
                answers[member] = actors[member].answer(request)
            except Exception as error:  # belongs to the member, not to the process, if not to the machine
                if lack := shortage(error):
                    break
                answers[member] = StepFailure(f"its environment raised\n{traceback.format_exc()}")
        at.value = _NOBODY
        try:
            connection.send(lack or answers)
        except OSError:
            return


class _Actor:
    """One member's environment."""

    def __init__(self, key: str, environment: Environment) -> None:
        self._key, self._environment = key, environment
        self._env: Any = None
        self._number = 0

    def answer(self, request: _Request) -> TimeStep:
        found = self._resume(request.episode) if request.episode else None
        if request.action is not None:
            found = self._step(request.action, request.reset)
        assert found is not None  # noqa: S101 - nobody asks for nothing
        return found

    def _resume(self, episode: Episode) -> TimeStep:
        if self._env is None:
            self._env = environments.make(self._environment)
        observation = self._begin(episode.number, episode.seed)
        for action in episode.actions:
            observation = _observed(self._env.step(action)[0])
        return TimeStep(observation)

    def _begin(self, number: int, seed: int) -> NDArray[np.float32]:
        self._number = number
        return _observed(self._env.reset(seed=seed)[0])

    def _step(self, action: NDArray[np.float32], reset: bool | None) -> TimeStep:
        seen, reward, terminated, cut, _ = self._env.step(action)
        observation = after = _observed(seen)
        if (terminated or cut) if reset is None else reset:
            observation = self._begin(self._number + 1, exploration_seed(self._key, self._number + 1))
        return TimeStep(observation, after, float(reward), bool(terminated and not cut), bool(cut))


def _observed(observation: Any) -> NDArray[np.float32]:
    return np.array(observation, dtype=np.float32)  # a copy: some environments show what they then change
