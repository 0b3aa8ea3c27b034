"""Timing steps on made-up data, for estimates."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from algorithms import algorithm_class
from harness.errors import HarnessError
from harness.execution import measure
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.plan import plan
from harness.planning.populations import PlannedRun, populations
from harness.specs import Specs
from harness.specs.models import Gather


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


KEEP = ["all", "none", {"best_trajectories": 5}]


def online(keep="all", **gather):
    """Both seeds of the online smoke table's runs that gather, in one population."""
    resolved = resolve(Specs(), "online-smoke", Choice(algorithms=("td3_bc_online",)))
    [cell] = resolved.cells
    how = Gather.model_validate({"keep": keep, "explore": {"noise": 0.1}, **gather})
    cell = replace(cell, protocol=cell.protocol.model_copy(update={"gather": how}))
    [made] = populations([PlannedRun(run, cell) for run in cell.runs], 8)
    return made


@pytest.mark.parametrize("gather", [{}, {"every": 1000, "warmup": 1000}, {"mix": (200, 56)}], ids=str)
@pytest.mark.parametrize("keep", KEEP, ids=str)
def test_an_online_step_is_an_interaction_of_all_members_and_an_update(monkeypatch, keep, gather):
    """Whatever the protocol keeps: what is timed are made-up rows, in no order."""
    if keep == "none" and "mix" in gather:
        gather = {}
    planned, turns = online(keep, **gather), []
    clock = SimpleNamespace(passed=0.0, perf_counter=lambda: clock.passed)

    def update(self, batch, noise, phase):
        assert batch.reward.shape == (2, 256)
        clock.passed += 1.0
        return {}

    def fill(self, step, end):
        assert end == step + 1
        turns.append(step)
        clock.passed += 10.0
        return end

    monkeypatch.setattr(algorithm_class("td3_bc"), "update", update)
    monkeypatch.setattr(measure.Gathering, "fill", fill)
    monkeypatch.setattr(measure, "time", clock)
    assert measure.seconds_per_step(planned, "cpu") == pytest.approx(11.0)
    assert turns == list(range(len(turns)))


def test_an_environment_that_cannot_be_timed_is_a_sentence(monkeypatch):
    planned = online()
    [cell] = {id(run.cell): run.cell for run in planned.runs}.values()
    nowhere = cell.dataset.environment.model_copy(update={"id": "NoSuchWorld-v4"})
    cell = replace(cell, dataset=cell.dataset.model_copy(update={"environment": nowhere}))
    with pytest.raises(HarnessError, match=r"NoSuchWorld-v4 cannot be timed: .*NoSuchWorld"):
        measure.seconds_per_step(populations([PlannedRun(run, cell) for run in cell.runs], 8)[0], "cpu")


def test_the_plan_times_what_gathers_with_real_steps(tmp_path):
    """Of the offline runs of the table and of those that begin with their states."""
    made = plan(resolve(Specs(), "online-smoke"), Specs(), None, home=tmp_path, measure=measure.timer())
    [cpu] = [each for each in made.estimates if each.kind == "cpu"]
    assert (cpu.basis, cpu.unknown, cpu.populations) == ("measured now", (), 2)
    assert cpu.seconds > 0
