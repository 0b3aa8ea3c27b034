"""Offline reinforcement learning algorithms, one file each, trained as populations.

Imports torch and the standard library only. The defaults of every hyperparameter, with their sources, are in
``specs/algorithms/<id>.yaml``.
"""

from algorithms.base import (
    Algorithm,
    Batch,
    Hyperparameters,
    Member,
    Noise,
    Selector,
    Sizes,
    batch_mean,
    example,
    generator,
    member_slice,
    stacked,
)
from algorithms.registry import AlgorithmError, algorithm_class, algorithm_ids
from algorithms.source import source_hash

__all__ = [
    "Algorithm",
    "AlgorithmError",
    "Batch",
    "Hyperparameters",
    "Member",
    "Noise",
    "Selector",
    "Sizes",
    "algorithm_class",
    "algorithm_ids",
    "batch_mean",
    "example",
    "generator",
    "member_slice",
    "source_hash",
    "stacked",
]
