"""Reproduce the tables of offline reinforcement learning papers, cell by cell.

>>> import harness
>>> harness.table("aspc-table1", preset="lite")

``docs/python.md`` has the rest. Everything in ``__all__`` is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "Table",
    "accept",
    "check_sources",
    "curves",
    "drift",
    "metrics",
    "plan",
    "reproduce",
    "scores",
    "table",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("harness.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
