"""Timing steps on made-up data, for estimates."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from algorithms import algorithm_class
from harness.errors import HarnessError
from harness.execution import measure
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.populations import PlannedRun, populations
from harness.specs import Specs


@pytest.fixture
def population():
    """Both seeds of a column that reads its α from another, on maze2d."""
    resolved = resolve(
        Specs(), "aspc-table2", Choice(preset="reduced", algorithms=("converged",), datasets=("maze2d-*",))
    )
    [made] = populations([PlannedRun(run, cell) for cell in resolved.cells for run in cell.runs], 8)
    return made


def test_each_phase_weighs_as_much_as_it_occurs(monkeypatch):
    """ASPC's policy learns at every second step and α at every twentieth; only updates move this clock."""
    resolved = resolve(
        Specs(), "aspc-table1", Choice(preset="reduced", algorithms=("aspc",), datasets=("maze2d-*",))
    )
    [planned] = populations([PlannedRun(run, cell) for cell in resolved.cells for run in cell.runs], 8)
    seconds = {"critic": 1.0, "critic and actor": 10.0, "critic, actor and alpha": 100.0}
    clock = SimpleNamespace(passed=0.0, perf_counter=lambda: clock.passed)

    def update(self, batch, noise, phase):
        assert len(batch.reward) == len(planned.runs)
        clock.passed += seconds[phase]
        return {}

    monkeypatch.setattr(algorithm_class("aspc"), "update", update)
    monkeypatch.setattr(measure, "time", clock)
    found = measure.seconds_per_step(planned, "cpu")
    assert found == pytest.approx((10 * 1 + 9 * 10 + 1 * 100) / 20)


def test_real_steps_take_some_time_and_nothing_is_read(population, monkeypatch):
    monkeypatch.setattr("harness.datasets.load", lambda *_: pytest.fail("data were read"))
    assert 0 < measure.seconds_per_step(population, "cpu") < 5


def test_what_is_too_large_is_timed_in_halves(population, monkeypatch):
    def seconds(some, kind, how):
        if len(some.runs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory, say")
        return 0.25

    monkeypatch.setattr(measure, "seconds_per_step", seconds)
    monkeypatch.setattr(measure, "recover", lambda device: True)
    assert measure.timer()(population, "cpu") == 0.5

    def too_large(*_):
        raise torch.OutOfMemoryError("CUDA out of memory, say")

    monkeypatch.setattr(measure, "seconds_per_step", too_large)
    with pytest.raises(
        HarnessError, match=r"^one run of .* is more than the GPU's memory holds; leave its column out"
    ):
        measure.timer()(population, "cpu")

    def wrong(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(measure, "seconds_per_step", wrong)
    with pytest.raises(RuntimeError, match="shapes differ"):
        measure.timer()(population, "cpu")
