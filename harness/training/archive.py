"""What a run gathered and how its policy stood on the way, as named tensors: what data are made of."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from harness.training.replay import columns

FIELDS = ("observations", "actions", "rewards", "next_observations", "terminals")
"""Of gathered rows, in the order of the replay's columns; ``timeouts`` comes to them."""

Archive = dict[str, Tensor]


def archive(
    rows: Tensor, cuts: Tensor, sizes: Sequence[int], policies: Mapping[int, Mapping[str, Tensor]]
) -> Archive:
    """One member's.

    Args:
        rows: of the replay, ``(n, 2 S + 2 A + 2 + E)``.
        cuts: ``(n,)``, where an episode was cut.
        sizes: of observation and action.
        policies: step of an evaluation -> the policy that was evaluated.
    """
    parts = dict(zip(FIELDS, columns(rows, sizes), strict=False))
    return {
        **parts,
        "rewards": parts["rewards"].squeeze(-1),
        "terminals": parts["terminals"].squeeze(-1).bool(),
        "timeouts": cuts,
        **{
            f"policy/{step}/{name}": tensor
            for step, policy in policies.items()
            for name, tensor in policy.items()
        },
    }


def rows_of(content: Archive, count: int | None = None) -> dict[str, NDArray[Any]]:
    """The first `count` rows, or all, as D4RL names their fields."""
    return {name: content[name][:count].numpy() for name in (*FIELDS, "timeouts")}


def policies_of(content: Archive) -> dict[int, dict[str, Tensor]]:
    """Step -> the policy that was evaluated there: `Algorithm.policy_state` of one member."""
    found: defaultdict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in content.items():
        if place := re.fullmatch(r"policy/(\d+)/(.+)", name):
            found[int(place[1])][place[2]] = tensor
    return dict(found)


def member_of(policies: Mapping[int, Mapping[str, Tensor]], member: int) -> dict[int, dict[str, Tensor]]:
    """One member's of the policies ``(M, ...)`` of several."""
    return {
        step: {name: tensor[member : member + 1] for name, tensor in policy.items()}
        for step, policy in policies.items()
    }
