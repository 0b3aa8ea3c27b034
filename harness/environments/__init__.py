"""Evaluation environments with flat observations, laid out as in D4RL's datasets."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from gymnasium import Env

    from harness.specs.models import Environment

__all__ = ["check_sizes", "make", "quiet"]

_OWN = "harness/"


def make(environment: Environment) -> Env[Any, Any]:
    """Make an evaluation environment.

    Ids are Gymnasium's (``Hopper-v4``: the physics of D4RL's v2 scores) or this project's own:
    ``harness/maze2d-umaze``, ``-medium`` and ``-large`` (`harness.environments.maze2d`), ``harness/antmaze-``
    with the same three (`harness.environments.antmaze`), and ``harness/adroit-pen``, ``-door``, ``-hammer``
    and ``-relocate`` (`harness.environments.adroit`).

    Args:
        environment: The id and the time limit, in steps.

    Returns:
        An environment with one-dimensional ``Box`` observations, shape (S,), and actions, shape (A,), which
        truncates after ``environment.max_episode_steps`` steps. ``reset(seed=...)`` makes it deterministic.

    Raises:
        HarnessError: There is no such environment here, or its observations are not flat.
    """
    import gymnasium

    if environment.id.startswith(_OWN):
        _register_own(environment.id)
    with quiet():
        try:
            env: Env[Any, Any] = gymnasium.make(
                environment.id, max_episode_steps=environment.max_episode_steps, disable_env_checker=True
            )
        except (gymnasium.error.Error, ImportError) as error:
            raise HarnessError(f"environment {environment.id!r} cannot be made: {error}") from error
    for what, space in (("observations", env.observation_space), ("actions", env.action_space)):
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            env.close()
            raise HarnessError(f"environment {environment.id!r} has {what} of {space}; a flat Box is needed")
    return env


def check_sizes(environment: Environment, observation_size: int, action_size: int) -> None:
    """See to it that an environment shows and takes what a dataset's spec says.

    Args:
        environment: The id and the time limit.
        observation_size: S of the spec.
        action_size: A of the spec.

    Raises:
        HarnessError: It cannot be made, its sizes are others, or its actions do not lie in [-1, 1].
    """
    env = make(environment)
    seen: Any = env.observation_space
    done: Any = env.action_space
    env.close()
    if (seen.shape, done.shape) != ((observation_size,), (action_size,)):
        raise HarnessError(
            f"the spec says {observation_size} numbers of an observation and {action_size} of an action, but "
            f"{environment.id} has {seen.shape[0]} and {done.shape[0]}; correct the dataset's spec"
        )
    if (done.low != -1).any() or (done.high != 1).any():
        raise HarnessError(
            f"actions of {environment.id} are not all of [-1, 1], as algorithms here act; name an "
            "environment where they are"
        )


def _register_own(name: str) -> None:
    """Register one of this project's environments with Gymnasium, once.

    Raises:
        HarnessError: The project has no environment of that name.
    """
    import gymnasium

    from harness.environments.maze2d import MAZES

    known: dict[str, tuple[str, dict[str, Any]]] = {
        **{f"maze2d-{size}": ("maze2d:Maze2D", {"layout": layout}) for size, layout in MAZES.items()},
        **{f"antmaze-{size}": ("antmaze:AntMaze", {"size": size}) for size in MAZES},
        **{
            f"adroit-{task}": ("adroit:Hand", {"task": task})
            for task in ("pen", "door", "hammer", "relocate")
        },
    }
    entry = known.get(name.removeprefix(_OWN))
    if entry is None:
        names = ", ".join(_OWN + own for own in known)
        raise HarnessError(f"environment {name!r} does not exist; this project has {names}")
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
