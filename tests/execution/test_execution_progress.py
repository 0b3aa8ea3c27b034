"""What is said of work under way, where stderr is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.execution import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when told to."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("unit", "at", "seconds", "said"),
    [
        ("steps", 30_000, 1000, "Hopper: 30,000/100,000, 30 steps/s, 39 min left"),
        ("steps", 40_000, 1000, "Hopper: 40,000/100,000, 40 steps/s, 25 min left; seed 0 51.2"),
        ("epochs", 30, 900, "Hopper: 30/100,000, 2 epochs/min, 35 days left"),
        ("rows", 100_000, 20, "Hopper: 100,000/100,000, 5,000 rows/s"),
    ],
)
def test_a_line_says_how_fast_and_how_long(clock, unit, at, seconds, said):
    console = io.StringIO()
    with progress.Reporter(Console(file=console, width=200)) as reporter:
        bar = reporter.bar("Hopper", 100_000, 0, unit)
        if "51.2" in said:
            bar.scores({"seed 0": 51.23})
        clock[0] = seconds
        bar.advance(at)
    assert console.getvalue() == said + "\n"
