"""Evaluation environments with flat observations, laid out as in D4RL's datasets."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from harness.errors import EnvironmentUnusableError, raised_at

if TYPE_CHECKING:
    from gymnasium import Env
    from gymnasium.envs.registration import EnvSpec
    from numpy.typing import NDArray

    from harness.specs.models import Environment

    Floats = NDArray[np.float32]

__all__ = ["action_bounds", "check", "make", "quiet", "time_limit"]

T = TypeVar("T")

_OWN = "harness/"


def make(environment: Environment) -> Env[Any, Any]:
    """Make an evaluation environment.

    Ids are Gymnasium's (``Hopper-v4``: the physics of D4RL's v2 scores), this project's own:
    ``harness/maze2d-umaze``, ``-medium`` and ``-large`` (`harness.environments.maze2d`), ``harness/antmaze-``
    with the same three (`harness.environments.antmaze`), ``harness/adroit-pen``, ``-door``, ``-hammer`` and
    ``-relocate`` (`harness.environments.adroit`), ``harness/ogbench-antmaze-large-task1`` to ``-task5``, the
    same with ``giant``, and ``harness/ogbench-ant`` (`harness.environments.ogbench`), or those that
    ``environment.module`` registers.

    Args:
        environment: The id, what to import and to make it with, and the time limit, in steps.

    Returns:
        An environment with one-dimensional ``Box`` observations, shape (S,), and actions, shape (A,), which
        truncates after `time_limit` steps. With ``environment.rescale_actions`` it takes actions in [-1, 1].
        ``reset(seed=...)`` makes it deterministic.

    Raises:
        EnvironmentUnusableError: There is no such environment here, it cannot be made, or what it shows or
            takes is not flat.
    """
    env = _made(environment)
    if environment.rescale_actions:
        from gymnasium.wrappers import RescaleAction

        low, high = _bounds(env)
        if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
            env.close()
            raise EnvironmentUnusableError(
                f"actions of {environment.id!r} lie in {_shown(low, high)}, which rescale_actions cannot map "
                "to [-1, 1]"
            )
        env = RescaleAction(env, np.float32(-1), np.float32(1))
    return env


def time_limit(environment: Environment) -> int:
    """Steps after which an episode is cut: as the spec says, else as the id is registered.

    Raises:
        EnvironmentUnusableError: Neither says, or there is no such environment.
    """
    if environment.max_episode_steps is not None:
        return environment.max_episode_steps
    limit = _registered(environment).max_episode_steps
    if limit is None:
        raise EnvironmentUnusableError(
            f"{environment.id!r} is registered without a time limit; give it a max_episode_steps"
        )
    return limit


def action_bounds(environment: Environment) -> tuple[Floats, Floats]:
    """Lowest and highest action, (A,) each, that an environment takes before any rescaling.

    Raises:
        EnvironmentUnusableError: It cannot be made.
    """
    env = _made(environment)
    env.close()
    return _bounds(env)


def check(environment: Environment, observation_size: int, action_size: int) -> None:
    """Make an environment once, and see to it that it shows and takes what a dataset's spec says.

    Args:
        environment: The environment.
        observation_size: S of the spec.
        action_size: A of the spec.

    Raises:
        EnvironmentUnusableError: It cannot be made or reset, its sizes are others, or its actions do not lie
            in [-1, 1].
    """
    env = make(environment)
    try:
        (seen,), (taken,) = env.observation_space.shape or (0,), env.action_space.shape or (0,)
        if (seen, taken) != (observation_size, action_size):
            raise EnvironmentUnusableError(
                f"the spec says {observation_size} numbers of an observation and {action_size} of an action, "
                f"but {environment.id} has {seen} and {taken}; correct the dataset's spec"
            )
        low, high = _bounds(env)
        if (low != -1).any() or (high != 1).any():
            raise EnvironmentUnusableError(
                f"actions of {environment.id} lie in {_shown(low, high)}, but algorithms act in [-1, 1]: "
                "write rescale_actions: true to map the actions of the data and of the environment alike"
            )
        first, _ = _called(f"environment {environment.id!r} cannot be reset", lambda: env.reset(seed=0))
        if np.shape(first) != (seen,):
            raise EnvironmentUnusableError(
                f"{environment.id} says that it shows {seen} numbers, but shows an array of shape "
                f"{np.shape(first)}"
            )
    finally:
        env.close()


def _made(environment: Environment) -> Env[Any, Any]:
    """The environment with its own actions, and a time limit."""
    import gymnasium

    registered, limit = _registered(environment), time_limit(environment)
    # as YAML wrote them, lists too, and the environment's own to change
    kwargs = json.loads(json.dumps(environment.kwargs))
    given = f" with {kwargs}" if kwargs else ""
    with quiet():
        env: Env[Any, Any] = _called(
            f"environment {environment.id!r} cannot be made{given}",
            lambda: gymnasium.make(registered, max_episode_steps=limit, disable_env_checker=True, **kwargs),
        )
    for what, space in (("observations", env.observation_space), ("actions", env.action_space)):
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            env.close()
            raise EnvironmentUnusableError(
                f"environment {environment.id!r} has {what} of {space}; a flat Box is needed"
            )
    return env


def _bounds(env: Env[Any, Any]) -> tuple[Floats, Floats]:
    space: Any = env.action_space
    return space.low, space.high


def _shown(low: Floats, high: Floats) -> str:
    """Bounds for a sentence, once where all are the same."""
    pairs = dict.fromkeys(f"[{least:g}, {most:g}]" for least, most in zip(low, high, strict=True))
    return ", ".join(pairs)


def _registered(environment: Environment) -> EnvSpec:
    """What an id is registered with.

    Raises:
        EnvironmentUnusableError: Nothing of that id is, or its module cannot be imported.
    """
    import gymnasium

    if environment.id.startswith(_OWN):
        _register_own(environment.id)
    if environment.module is not None:
        _import(environment.module, environment.id)
    try:
        return gymnasium.spec(environment.id)
    except (gymnasium.error.Error, ImportError) as error:
        raise EnvironmentUnusableError(f"environment {environment.id!r} cannot be made: {error}") from error


def _import(module: str, name: str) -> None:
    failure = f"import {module!r} of environment {name!r} failed"
    try:
        _called(failure, lambda: import_module(module))
    except EnvironmentUnusableError as error:
        if isinstance(error.__cause__, ModuleNotFoundError) and error.__cause__.name == module.split(".")[0]:
            raise EnvironmentUnusableError(
                f"{error}; it lies in code/ of a folder given with --specs, or is installed"
            ) from error.__cause__
        raise


def _called(failure: str, call: Callable[[], T]) -> T:
    """What a call of somebody's code gives.

    Raises:
        EnvironmentUnusableError: It raised; says `failure`, what was raised and at which line.
    """
    try:
        return call()
    except (Exception, SystemExit) as error:
        raise EnvironmentUnusableError(f"{failure}: {raised_at(error)}") from error


def _register_own(name: str) -> None:
    """Register one of this project's environments with Gymnasium, once.

    Raises:
        EnvironmentUnusableError: The project has no environment of that name.
    """
    import gymnasium

    from harness.environments.maze2d import MAZES

    sizes, tasks = ("large", "giant"), range(1, 6)
    known: dict[str, tuple[str, dict[str, Any]]] = {
        **{f"maze2d-{size}": ("maze2d:Maze2D", {"layout": layout}) for size, layout in MAZES.items()},
        **{f"antmaze-{size}": ("antmaze:AntMaze", {"size": size}) for size in MAZES},
        **{
            f"adroit-{task}": ("adroit:Hand", {"task": task})
            for task in ("pen", "door", "hammer", "relocate")
        },
        **{
            f"ogbench-antmaze-{size}-task{task}": ("ogbench:OGBenchAntMaze", {"size": size, "task": task})
            for size in sizes
            for task in tasks
        },
        "ogbench-ant": ("ogbench:DirectedAnt", {}),
    }
    entry = known.get(name.removeprefix(_OWN))
    if entry is None:
        names = ", ".join(_OWN + own for own in known)
        raise EnvironmentUnusableError(f"environment {name!r} does not exist; this project has {names}")
    if name not in gymnasium.registry:
        gymnasium.register(name, entry_point=f"harness.environments.{entry[0]}", kwargs=entry[1])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence two known warnings about Gymnasium's '-v4' environments, and only those.

    Gymnasium calls them out of date, and MuJoCo dislikes an attribute of their models; MuJoCo would also
    append that line to MUJOCO_LOG.TXT in the current folder.
    """
    import mujoco

    def show(message: str) -> None:
        if "settotalmass" not in message:
            warnings.warn(f"MuJoCo: {message.strip()}", RuntimeWarning, stacklevel=2)

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(show)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is out of date", category=DeprecationWarning)
            yield
    finally:
        mujoco.set_mju_user_warning(before)
