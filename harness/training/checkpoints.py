"""Checkpoints of populations: written whole or not at all, read if not a bit has changed."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness import files
from harness.errors import DataError

_FORMAT = 3


@dataclass(frozen=True)
class PendingEvaluation:
    """A policy whose evaluation had not come back when the checkpoint was written."""

    key: str
    step: int
    policy: dict[str, Tensor]  # name -> (1, ...)


@dataclass(frozen=True)
class Checkpoint:
    """Where a population stands.

    Random numbers need no place here: they are a function of the run's key and the step.

    Attributes:
        algorithm: its id.
        source: hash of the algorithm's source.
        keys: run keys of the members, in order.
        step: of the last update.
        state: `Algorithm.training_state`.
        metrics: name -> ``(M, 1)``, see `Engine.metrics`: a phase of the update may not come again before the
            next evaluation.
        pending: evaluations not yet committed.
        evaluated: run key -> steps of the evaluations that were committed before.
        measured: run key -> steps of the metrics that were.
        seconds: wall time of training so far.
        gathered: of each member what it has gathered, and where its episode stands; empty for fixed data.
        policies: step of an evaluation -> `Algorithm.policy_state`, where the protocol archives them.
    """

    algorithm: str
    source: str
    keys: tuple[str, ...]
    step: int
    state: dict[str, Tensor]
    metrics: dict[str, Tensor]
    pending: tuple[PendingEvaluation, ...] = ()
    seconds: float = field(default=0.0)
    gathered: Sequence[Mapping[str, Any]] = ()
    policies: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict)
    evaluated: dict[str, list[int]] = field(default_factory=dict)
    measured: dict[str, list[int]] = field(default_factory=dict)

    def presumes(self, key: str, evaluated: Container[int], measured: Container[int]) -> bool:
        """Whether a run that goes on from here presumes more than what a database has of it.

        Args:
            key: the run.
            evaluated: steps of the evaluations that it has.
            measured: steps of the metrics that it has.
        """
        return not (
            all(step in evaluated for step in self.evaluated[key])
            and all(step in measured for step in self.measured[key])
        )


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write atomically: a reader finds the old file or the new one, whole, even after a power cut.

    Raises:
        DataError: the file cannot be written; the old one is untouched.
    """
    # not `asdict`, which would copy every tensor
    content = {**vars(checkpoint), "pending": [vars(each) for each in checkpoint.pending], "format": _FORMAT}
    write(content, path)


def write(content: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values atomically, and the SHA-256 of all that behind them.

    Raises:
        DataError: the file cannot be written; the old one is untouched.
    """
    kept = "(a checkpoint; everything up to the last one is kept)"
    try:
        with files.atomic(path) as temporary:
            with temporary.open("wb") as file:
                torch.save(content, file)
            files.seal(temporary)
    except DataError as error:
        raise DataError(f"{error} {kept}") from error
    except RuntimeError as error:  # what torch makes of a write error
        raise DataError(f"cannot write {path}: {error} {kept}") from error


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DataError: it is missing, damaged or of another format.
    """
    advice = "delete it and run `harness retry TABLE --restart`: its runs then begin anew"
    damaged = f"the checkpoint {path} is missing, damaged or of another format than this program's; {advice}"
    try:
        with path.open("rb") as file:
            if not files.sealed(file):
                raise DataError(damaged)
            content = torch.load(file, map_location="cpu", weights_only=True)
        if content.pop("format") != _FORMAT:
            raise DataError(damaged)
        pending = tuple(PendingEvaluation(**evaluation) for evaluation in content.pop("pending"))
        return Checkpoint(**(content | {"keys": tuple(content["keys"]), "pending": pending}))
    except DataError:
        raise
    except Exception as error:  # a whole file of another program can fail in any way inside the unpickler
        raise DataError(f"{damaged} ({type(error).__name__})") from error
