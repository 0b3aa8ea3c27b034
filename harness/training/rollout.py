"""Rolls a policy out for whole episodes; what evaluation workers do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from algorithms import Member, Sizes, algorithm_class, generator
from harness import environments
from harness.datasets.transforms import Pipeline
from harness.errors import EnvironmentUnusableError
from harness.specs import Environment


@dataclass(frozen=True)
class EvaluationTask:
    """One member's policy at one step, with all that rolling it out needs.

    Attributes:
        policy: `Algorithm.policy_state` of the one member, ``(1, ...)``; arrays, because tensors travel
            between processes through shared memory and open files.
        pipeline: what was done to the data that the policy was trained on.
    """

    key: str
    step: int
    algorithm: str
    hyperparameters: dict[str, Any]
    sizes: Sizes
    policy: dict[str, np.ndarray]
    pipeline: Pipeline
    environment: Environment
    episodes: int


def episode_seed(key: str, episode: int) -> int:
    """Seed of an episode; all evaluations of a run share their start states, as in the authors' code."""
    digest = hashlib.sha256(f"{key}/evaluation/{episode}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


def evaluate(task: EvaluationTask, envs: Sequence[Any] | None = None) -> tuple[list[float], list[int]]:
    """Roll out `task.episodes` episodes, one environment each, actions computed for all of them at once.

    Returns:
        Raw returns and lengths in environment steps, episode by episode.
    """
    member = Member(task.key, task.hyperparameters)
    algorithm = algorithm_class(task.algorithm)([member], task.sizes)
    algorithm.load_policy_state({name: torch.from_numpy(array) for name, array in task.policy.items()})
    wanted = algorithm.acting_noise
    sources = [generator(task.key, f"acting/{episode}", task.step) for episode in range(task.episodes)]

    @torch.no_grad()
    def act(observations: np.ndarray, episodes: Sequence[int]) -> np.ndarray:
        seen = task.pipeline.observation(observations)
        noise = [torch.stack([wanted.draw(sources[e]) for e in episodes]).unsqueeze(0)] if wanted else []
        return algorithm.act(torch.from_numpy(seen).unsqueeze(0), *noise).squeeze(0).numpy()

    envs = envs or [environments.make(task.environment) for _ in range(task.episodes)]
    seeds = [episode_seed(task.key, i) for i in range(task.episodes)]
    return roll_out(act, envs, seeds, by_success=task.environment.scored_by_success)


def roll_out(
    act: Callable[[np.ndarray, Sequence[int]], np.ndarray],
    envs: Sequence[Any],
    seeds: Sequence[int],
    *,
    by_success: bool = False,
) -> tuple[list[float], list[int]]:
    """One episode in every environment, to its end.

    Args:
        act: observations ``(n, S)``, and which of the episodes they are of -> actions ``(n, A)``.
        envs: Gymnasium environments.
        seeds: of their resets.
        by_success: give in the place of returns what the last steps say is ``info["success"]``.

    Raises:
        EnvironmentUnusableError: they say nothing of success.
    """
    observations = [np.asarray(env.reset(seed=seed)[0]) for env, seed in zip(envs, seeds, strict=True)]
    returns, lengths = [0.0] * len(envs), [0] * len(envs)
    running = list(range(len(envs)))
    while running:
        actions = act(np.stack([observations[i] for i in running]), running)
        still_running = []
        for i, action in zip(running, actions, strict=True):
            observations[i], reward, terminated, truncated, info = envs[i].step(action)
            returns[i] = _success(info) if by_success else returns[i] + float(reward)
            lengths[i] += 1
            if not (terminated or truncated):
                still_running.append(i)
        running = still_running
    return returns, lengths


def _success(info: Mapping[str, Any]) -> float:
    if "success" not in info:
        raise EnvironmentUnusableError(
            "the environment is scored_by_success, but its steps' info says nothing of success"
        )
    return float(info["success"])
