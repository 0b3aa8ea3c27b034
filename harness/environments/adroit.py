"""Adroit's four tasks with D4RL's rewards and ends of episodes, on Gymnasium-Robotics' models.

Models, observations, actions and starts are those of Gymnasium-Robotics' ``AdroitHand*-v1``, which are D4RL's
(``d4rl/hand_manipulation_suite/*_v0.py``): the same XML files and meshes, the same numbers in the same order,
uniformly drawn from the same intervals. Two things are not, and are D4RL's here:

- Versions 1.2.1 to 1.4.2 *add* 0.1 times the distance from palm to object in door, hammer and relocate, which
  D4RL subtracts; so the rewards are computed here, from D4RL's formulae.
- D4RL ends an episode of pen when the pen is dropped; Gymnasium-Robotics goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

_PEN_DROPPED = 0.075  # height in metres


class Hand(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """A robot hand: turns a pen, opens a door, hammers a nail or carries a ball.

    Observations have shape (45,), (39,), (46,) or (39,), in the order of the tasks above; actions are target
    positions of the 24, 28, 26 or 30 joints, scaled from their ranges to [-1, 1] and held for 0.01 s.

    Args:
        task: ``pen``, ``door``, ``hammer`` or ``relocate``.
    """

    def __init__(self, task: str) -> None:
        self._hand = _hand(task)
        self._reward = _REWARDS[task]
        self._can_drop = task == "pen"
        self.observation_space = self._hand.observation_space
        self.action_space = self._hand.action_space

    @property
    def data(self) -> Any:
        """MuJoCo's state of the simulation."""
        return self._hand.data

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Start an episode; ``options={"initial_state_dict": ...}`` is Gymnasium-Robotics' way to say where.

        Args:
            seed: Seeds the generator of starts; None continues it.
            options: None, or Gymnasium-Robotics' state of the task.

        Returns:
            The observation, shape (S,), and an empty dictionary.
        """
        observation, info = self._hand.reset(seed=seed, options=options)
        return observation, info

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Move the hand for 0.01 s.

        Args:
            action: Shape (A,), clipped to [-1, 1].

        Returns:
            Observation (S,), D4RL's dense reward, whether the pen was dropped, never truncated, and
            ``success``: whether the goal is reached at this step.
        """
        observation, _, _, _, info = self._hand.step(action)
        dropped = self._can_drop and bool(self.data.body("Object").xpos[2] < _PEN_DROPPED)
        return observation, float(self._reward(self.data)), dropped, False, info


def pen_reward(data: Any) -> float:
    """How near the pen is to its target place and how much it points its target's way (``pen_v0.py``)."""
    pen = data.body("Object").xpos
    distance = np.linalg.norm(pen - data.site("eps_ball").xpos)
    similarity = _direction(data, "object") @ _direction(data, "target")
    near = distance < 0.075
    bonus = 10.0 * (near and similarity > 0.9) + 50.0 * (near and similarity > 0.95)
    return float(similarity - distance + bonus - 5.0 * (pen[2] < _PEN_DROPPED))


def door_reward(data: Any) -> float:
    """How near the palm is to the handle and how far the door is open (``door_v0.py``)."""
    angle = data.joint("door_hinge").qpos[0]
    to_handle = np.linalg.norm(data.site("S_grasp").xpos - data.site("S_handle").xpos)
    cost = 0.1 * to_handle + 0.1 * (angle - 1.57) ** 2 + 1e-5 * np.sum(data.qvel**2)
    return float(2.0 * (angle > 0.2) + 8.0 * (angle > 1.0) + 10.0 * (angle > 1.35) - cost)


def hammer_reward(data: Any) -> float:
    """How near palm and hammer, its head and the nail, nail and goal are (``hammer_v0.py``)."""
    hammer, head = data.body("Object").xpos, data.site("tool").xpos
    nail = data.site("S_target").xpos
    to_hammer = np.linalg.norm(data.site("S_grasp").xpos - hammer)
    out = np.linalg.norm(nail - data.site("nail_goal").xpos)
    cost = 0.1 * to_hammer + np.linalg.norm(head - nail) + 10.0 * out + 0.01 * np.linalg.norm(data.qvel)
    lifted = hammer[2] > 0.04 and head[2] > 0.04
    return float(2.0 * lifted + 25.0 * (out < 0.02) + 75.0 * (out < 0.01) - cost)


def relocate_reward(data: Any) -> float:
    """How near the palm is to the ball and, once it is lifted, both to the target (``relocate_v0.py``)."""
    ball, palm, target = data.body("Object").xpos, data.site("S_grasp").xpos, data.site("target").xpos
    away = np.linalg.norm(ball - target)
    reward = 10.0 * (away < 0.1) + 20.0 * (away < 0.05) - 0.1 * np.linalg.norm(palm - ball)
    if ball[2] > 0.04:
        reward += 1.0 - 0.5 * np.linalg.norm(palm - target) - 0.5 * away
    return float(reward)


_REWARDS: dict[str, Callable[[Any], float]] = {
    "pen": pen_reward,
    "door": door_reward,
    "hammer": hammer_reward,
    "relocate": relocate_reward,
}


def _direction(data: Any, what: str) -> NDArray[np.float64]:
    along = data.site(f"{what}_top").xpos - data.site(f"{what}_bottom").xpos
    return np.asarray(along / np.linalg.norm(along))


def _hand(task: str) -> Any:
    """Gymnasium-Robotics' environment of a task."""
    import farama_notifications

    # printed on import: a note about the rewards that this module replaces
    farama_notifications.notifications.pop("gymnasium_robotics", None)
    from gymnasium_robotics.envs import adroit_hand

    return getattr(adroit_hand, f"AdroitHand{task.capitalize()}Env")()
