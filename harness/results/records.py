"""Plain values that pass between planning, training and the database."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: Step of the metrics that record what a run read from other runs before it began.
BEGINNING = 0
_READ = "hyperparameter."
#: Begins the names of what a file says of imported scores, in the fingerprint of their environment.
LABEL = "label."
#: What a file of scores does not say.
UNKNOWN = "unknown"

#: Joins a fingerprint's values where a run was begun under one and went on under another.
CHANGED = " → "


#: The largest size of a return or a score: sums and squares of larger ones leave the range of floats.
LARGEST = 1e100


def countable(value: float) -> bool:
    """Whether statistics can be made of a number: it is finite, and not beyond `LARGEST`."""
    return abs(value) <= LARGEST  # false for NaN


def commits(fingerprint: Mapping[str, str]) -> list[str]:
    """The git commits that a run trained at; 'changed' where the code was not as committed."""
    known = fingerprint["git_commit"].split(CHANGED) if "git_commit" in fingerprint else []
    dirty = " (changed)" if "true" in fingerprint.get("git_dirty", "") else ""
    return [f"{commit}{dirty}" for commit in known]


def shortened(value: str) -> str:
    """A fingerprint's value as people read it: commits and hashes by their first twelve characters."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]+\b", r"\1", value)


def canonical(value: Any) -> str:
    """The one JSON text of a JSON-like value: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: the value holds NaN or an infinity.
        TypeError: the value is not JSON-like.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-like value, however it is spelt."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@dataclass(frozen=True)
class RunRecord:
    """One seed of one fully resolved configuration.

    Attributes:
        key: SHA-256 (hex) of the canonical configuration and the seed; the run's identity everywhere.
        configuration_key: SHA-256 (hex) of the canonical configuration alone.
        configuration: JSON-like mapping with ``algorithm``, ``hyperparameters``, ``dataset``,
            ``environment`` and ``protocol``.
        seed: seed of the run.
        resolved: hyperparameter -> the measured value, of those whose value in the configuration is a
            dependency on other runs. No part of the run's identity.
        described: the configuration as far as it is known without an implementation, as text: scores imported
            for the run are found by it. '' where the key is all there is.
    """

    key: str
    configuration_key: str
    configuration: Mapping[str, Any]
    seed: int
    resolved: Mapping[str, float] = field(default_factory=dict)
    described: str = ""

    @property
    def imported_key(self) -> str:
        """Key of the run that holds the scores imported for this one."""
        return imported_key(f"{self.described}#{self.seed}" if self.described else self.key)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What to train with: the configuration's values, and measured ones in the place of dependencies."""
        return {**self.configuration["hyperparameters"], **self.resolved}


def run_key(configuration: str, seed: int) -> str:
    """Key of the run of a seed of a configuration, given as canonical text."""
    return hashlib.sha256(f"{configuration}#{seed}".encode()).hexdigest()


def value_metric(hyperparameter: str) -> str:
    """Name of the metric, at step `BEGINNING`, that says what a run read for a hyperparameter."""
    return f"{_READ}{hyperparameter}"


def read_hyperparameter(metric: str) -> str:
    """The hyperparameter that a metric at step `BEGINNING` is about."""
    return metric.removeprefix(_READ)


def imported_key(key: str) -> str:
    """Key of the run that holds the scores imported for the run of that key, or so described."""
    return hashlib.sha256(f"{key}:imported".encode()).hexdigest()


class Artefact(NamedTuple):
    """A file that a finished run left.

    Its kind is 'policy', what acting needs, 'state', all that an update changes, or 'gathered', what a run
    gathered while it trained and the policies that it was evaluated by.

    ``name`` is that of a file in the folder of artefacts; ``sha256`` (hex) and ``size`` (bytes) are
    its content's.
    """

    kind: str
    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class EvaluationRecord:
    """Raw returns and lengths (environment steps) of one evaluation's episodes."""

    key: str
    step: int
    returns: Sequence[float]
    lengths: Sequence[int]
