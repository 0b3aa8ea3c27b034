"""Rolls trained policies out as D4RL's ``collect_data.py`` does, many environments at once.

Episode i has a seed of its own for its start and its noise, and the dataset is episode 0, 1, 2, … up to the
wanted number of rows. So neither the number of processes nor the order in which they finish shows in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from harness import environments, processes
from harness.datasets.policies import Policy, Returns, check_fit
from harness.specs.models import Environment

EPISODES = 25
"""Episodes that step together, at most; a unit of work. No part of what the data are."""

Rows = dict[str, NDArray[Any]]
Progress = Callable[[int], None]


class Crew(Protocol):
    """Many copies of an environment in which a policy acts; ``close`` puts them away."""

    def __init__(self, policy: Policy, environment: Environment, count: int) -> None: ...

    @staticmethod
    def length(environment: Environment) -> int:
        """The most rows of an episode."""

    def close(self) -> None:
        """No further episode is asked for."""

    def roll_out(self, seed: int, first: int) -> list[Rows]:
        """One episode of each copy, of which the first has this number in the dataset of this seed."""


class Actors:
    """A policy in many copies of its environment. Use as a context manager.

    Args:
        policy: Who acts.
        environment: Where, and the length at which an episode is cut.
        count: Copies of the environment.

    Raises:
        DataError: The policy does not fit the environment.
        HarnessError: The environment cannot be made.
    """

    def __init__(self, policy: Policy, environment: Environment, count: int) -> None:
        self._policy, self._limit = policy, environments.time_limit(environment)
        # without wrappers: they would take a third of the time
        self._envs = [environments.make(environment).unwrapped for _ in range(count)]
        shown, wanted = (
            space.shape or (0,) for space in (self._envs[0].observation_space, self._envs[0].action_space)
        )
        check_fit(f"policy {policy.sha256[:12]}", policy, environment, shown[0], wanted[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def length(environment: Environment) -> int:
        """The most rows of an episode."""
        return environments.time_limit(environment)

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs:
            env.close()

    def roll_out(self, seed: int, first: int, noisy: bool = True) -> list[Rows]:
        """One episode in every environment, to its end.

        Args:
            seed: Of the whole dataset.
            first: Number of the first episode.
            noisy: Draw actions from the policy; else they are tanh μ(s).

        Returns:
            For each episode of T steps ``observations`` (T, S), ``actions`` (T, A), ``rewards`` (T,),
            ``next_observations`` (T, S), ``terminals`` (T,) and ``timeouts`` (T,); one that ends at its last
            step counts as cut, as in D4RL.
        """
        count, actions = len(self._envs), len(self._policy.biases[-1]) // 2
        seen = np.empty((count, self._limit + 1, len(self._policy.weights[0])), np.float32)
        done = np.empty((count, self._limit, actions), np.float32)
        noise = np.empty((count, self._limit, actions))
        rewards = np.empty((count, self._limit))
        lengths = np.zeros(count, int)
        terminal = np.zeros(count, bool)
        for i, env in enumerate(self._envs):
            random = episode_random(self._policy, seed, first + i)
            seen[i, 0] = env.reset(seed=episode_start(random))[0]
            if noisy:
                noise[i] = random.standard_normal((self._limit, actions))
        running = np.arange(count)
        for step in range(self._limit):
            acted = self._policy.act(seen[running, step], noise[running, step] if noisy else None)
            done[running, step] = acted
            for i, action in zip(running.tolist(), acted, strict=True):
                seen[i, step + 1], rewards[i, step], ended, _, _ = self._envs[i].step(action)
                terminal[i] = ended and step + 1 < self._limit
            lengths[running] += 1
            running = running[~terminal[running]]
            if not len(running):
                break
        return [
            {
                "observations": seen[i, :length],
                "actions": done[i, :length],
                "rewards": rewards[i, :length].astype(np.float32),
                "next_observations": seen[i, 1 : length + 1],
                "terminals": _last(length, bool(terminal[i])),
                "timeouts": _last(length, not terminal[i]),
            }
            for i, length in enumerate(lengths.tolist())
        ]


def collect(
    policy: Policy,
    environment: Environment,
    rows: int,
    seed: int,
    *,
    workers: int | None = None,
    progress: Progress = lambda done: None,
    crew: type[Crew] = Actors,
) -> Rows:
    """Rows of a file: whole episodes one after the other, the last one cut off without a mark.

    Args:
        policy: Who acts.
        environment: Where, and the length at which an episode is cut; it can be made and fits the policy.
        rows: Rows to make; fewer rows are the beginning of more.
        seed: Of starts and noise.
        workers: Processes; None: as many as this process may use.
        progress: Called with the rows made so far.
        crew: Who rolls the policy out, in each process; `Actors` draws actions as D4RL does.

    Returns:
        The fields of the crew's ``roll_out``, each with ``rows`` rows.

    Raises:
        DataError: A worker process died.
    """
    together = min(EPISODES, -(-rows // crew.length(environment)))
    largest = together * crew.length(environment)
    workers = min(workers or processes.usable_cores(), -(-rows // largest))
    blocks: dict[int, Rows] = {}
    made = 0
    with contextlib.ExitStack() as stack:
        if workers == 1:
            alone = stack.enter_context(contextlib.closing(crew(policy, environment, together)))
            while made < rows:
                blocks[len(blocks)] = _joined(alone.roll_out(seed, len(blocks) * together))
                made += len(blocks[len(blocks) - 1]["actions"])
                progress(min(made, rows))
        else:
            begun, does = (crew, policy, environment, together), f"acts in {environment.id}"
            pool = stack.enter_context(processes.pool(workers, _begin, begun, does))
            running: dict[Future[Rows], int] = {}
            while made < rows or running:
                each = made / len(blocks) if blocks else largest
                # no more than what is missing will need, as far as that can be told
                while len(running) < workers and made + len(running) * each < rows:
                    block = len(blocks) + len(running)
                    running[pool.submit(_work, seed, block * together)] = block
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    block = running.pop(future)
                    blocks[block] = future.result()
                    made += len(blocks[block]["actions"])
                progress(min(made, rows))
    return {
        name: array[:rows] for name, array in _joined([blocks[block] for block in sorted(blocks)]).items()
    }


def evaluate(policy: Policy, environment: Environment, episodes: int, seed: int) -> Returns:
    """Returns of whole episodes with fixed starts, with the policy's noise and without.

    Args:
        policy: Who acts.
        environment: Where, and for how many steps.
        episodes: Of each kind; fewer are the beginning of more.
        seed: Of starts and noise.

    Raises:
        HarnessError: The environment cannot be made.
    """
    stochastic, deterministic = (
        returns(policy, environment, episodes, seed, noisy=noisy) for noisy in (True, False)
    )
    return Returns(stochastic=stochastic, deterministic=deterministic)


def returns(
    policy: Policy, environment: Environment, episodes: int, seed: int, *, noisy: bool
) -> tuple[float, ...]:
    """One kind of those that `evaluate` gives."""
    with Actors(policy, environment, episodes) as actors:
        rolled = actors.roll_out(seed, 0, noisy)
    return tuple(float(rows["rewards"].sum(dtype=np.float64)) for rows in rolled)


def starts(policy: Policy, seed: int, episodes: int) -> list[int]:
    """With what the first episodes' environments are reset."""
    return [episode_start(episode_random(policy, seed, episode)) for episode in range(episodes)]


def episode_start(random: np.random.Generator) -> int:
    """The seed of an episode's reset, drawn from its random numbers."""
    return int(random.integers(2**31))


def episode_random(policy: Policy, seed: int, episode: int) -> np.random.Generator:
    """The random numbers of an episode, by its number in the dataset of a seed."""
    # the policy's hash, so that medium and expert data of one seed share neither starts nor noise
    return np.random.default_rng([int(policy.sha256[:16], 16), seed, episode])


def _last(length: int, value: bool) -> NDArray[np.bool_]:
    flags = np.zeros(length, bool)
    flags[-1] = value
    return flags


def _joined(parts: list[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


# -- in worker processes -----------------------------------------------------------------------------------

_crew: Crew


def _begin(crew: type[Crew], policy: Policy, environment: Environment, together: int) -> None:
    global _crew
    _crew = crew(policy, environment, together)


def _work(seed: int, first: int) -> Rows:
    return _joined(_crew.roll_out(seed, first))
