"""Timing steps on made-up data, for estimates."""

from __future__ import annotations

import time

import pytest
import torch

from algorithms import algorithm_class
from harness.errors import HarnessError
from harness.execution import measure
from harness.planning.cells import resolve
from harness.planning.populations import PlannedRun, populations
from harness.specs import Specs


@pytest.fixture
def population():
    """Both seeds of a column that reads its α from another, on maze2d."""
    resolved = resolve(Specs(), "aspc-table2", preset="reduced", columns="converged", datasets="maze2d-*")
    [made] = populations([PlannedRun(run, cell) for cell in resolved.cells for run in cell.runs], 8)
    return made


def test_each_phase_weighs_as_much_as_it_occurs(population, monkeypatch):
    cls = algorithm_class("td3_bc")
    seconds = {"critic": 0.0, "critic and actor": 0.04}

    def update(self, batch, noise, phase):
        assert len(batch.reward) == len(population.runs)
        time.sleep(seconds[phase])
        return {}

    monkeypatch.setattr(cls, "update", update)
    found = measure.seconds_per_step(population, "cpu")
    assert found == pytest.approx(0.02, rel=0.5)


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
