"""Plain values that pass between planning, training and the database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Joins a fingerprint's values where a run was begun under one and went on under another.
CHANGED = " → "


def canonical(value: Any) -> str:
    """The one JSON text of a JSON-like value: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: the value holds NaN or an infinity.
        TypeError: the value is not JSON-like.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class RunRecord:
    """One seed of one fully resolved configuration.

    Attributes:
        key: SHA-256 (hex) of the canonical configuration and the seed; the run's identity everywhere.
        configuration_key: SHA-256 (hex) of the canonical configuration alone.
        configuration: JSON-like mapping with ``algorithm``, ``hyperparameters``, ``dataset``,
            ``environment`` and ``protocol``.
        seed: seed of the run.
    """

    key: str
    configuration_key: str
    configuration: Mapping[str, Any]
    seed: int


def imported_key(key: str) -> str:
    """Key of the run that holds the scores imported for the run of that key."""
    return hashlib.sha256(f"{key}:imported".encode()).hexdigest()


@dataclass(frozen=True)
class EvaluationRecord:
    """Raw returns and lengths (environment steps) of one evaluation's episodes."""

    key: str
    step: int
    returns: Sequence[float]
    lengths: Sequence[int]
