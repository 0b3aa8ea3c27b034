"""What can be run, as data: tables, datasets, algorithms, protocols and presets.

The models are loaded when first asked for, so that listing names needs neither pydantic nor a YAML parser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.specs.catalogue import Specs
from harness.specs.published import PublishedCell

if TYPE_CHECKING:
    from harness.specs.models import (
        Algorithm,
        Column,
        D4RLSource,
        Dataset,
        Dependency,
        Environment,
        Footnote,
        GeneratedSource,
        Group,
        Hyperparameter,
        Hyperparameters,
        Lineage,
        MinariSource,
        Paper,
        PolicyFile,
        Preset,
        Protocol,
        Published,
        ReferenceScores,
        StateDependency,
        Table,
        Value,
        Verdict,
    )

__all__ = [
    "Algorithm",
    "Column",
    "D4RLSource",
    "Dataset",
    "Dependency",
    "Environment",
    "Footnote",
    "GeneratedSource",
    "Group",
    "Hyperparameter",
    "Hyperparameters",
    "Lineage",
    "MinariSource",
    "Paper",
    "PolicyFile",
    "Preset",
    "Protocol",
    "Published",
    "PublishedCell",
    "ReferenceScores",
    "Specs",
    "StateDependency",
    "Table",
    "Value",
    "Verdict",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from harness.specs import models

    return getattr(models, name)
