"""Plain one-seed programs, one per algorithm, written from the formulae: loops, ``torch.nn``, autograd.

Tests hold the population programs in ``algorithms/`` against these, in float64 and to 1e-10; benchmarks
measure against them what population training wins. So each is what a researcher would write by hand, with
nothing in closed form and nothing shared with ``algorithms/``.
"""

from __future__ import annotations

import importlib

from reference.base import Program


def program(algorithm_id: str) -> type[Program]:
    """The class ``Program`` of ``reference/<algorithm_id>.py``."""
    found: type[Program] = importlib.import_module(f"reference.{algorithm_id}").Program
    return found
