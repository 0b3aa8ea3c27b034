"""What a training writes down of its own code, device and arithmetic."""

from __future__ import annotations

import functools

import torch

from algorithms import algorithm_class, source_hash
from harness.results.provenance import fingerprint
from harness.training.engine import Arithmetic


@functools.cache
def loaded_source(algorithm_id: str) -> str:
    """Hash of the source of an algorithm as this process runs it.

    Imports the algorithm, so that what is hashed is what was loaded: a file edited during a long training
    moves neither.
    """
    algorithm_class(algorithm_id)
    return source_hash(algorithm_id)


def provenance(algorithm_id: str, device: str, arithmetic: Arithmetic) -> dict[str, str]:
    """The environment that a population trains under, as recorded beside its scores.

    Args:
        algorithm_id: what it trains.
        device: 'cpu' or 'cuda'; a card is recorded by its name.
        arithmetic: how it computes.
    """
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return fingerprint(loaded_source(algorithm_id), name, str(arithmetic), cuda=torch.version.cuda or "none")
