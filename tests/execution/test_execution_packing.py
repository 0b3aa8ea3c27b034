"""As many runs as a memory holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from algorithms import algorithm_class
from harness.execution.packing import Packing
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.plan import plan
from harness.planning.populations import PlannedRun, populations
from harness.specs import Specs
from harness.specs.models import Gather

SPECS = Specs()
DATA = {"maze2d-umaze-v1": 1_000_000, "maze2d-medium-v1": 2_000_000}


@pytest.fixture
def resolved():
    """TD3+BC on two mazes, four seeds each: equal sizes, so one population would train them all."""
    return resolve(
        SPECS,
        "aspc-table1",
        Choice(lineage="generated", datasets=("maze2d-*m*-v1",), algorithms=("td3_bc",), seeds=range(4)),
    )


@pytest.fixture
def runs(resolved):
    return [PlannedRun(run, cell) for cell in resolved.cells for run in cell.runs]


def rows(run):
    return run.cell.dataset.generated.transitions


def test_a_dataset_counts_once_and_each_run_beside_it(runs, monkeypatch):
    monkeypatch.setattr("harness.execution.packing.bytes_of_member", lambda *_: 10_000_000)
    row = 4 * (2 * 4 + 2 * 2 + 2)
    names = list(dict.fromkeys(run.cell.dataset.id for run in runs))
    assert len(names) >= 2
    first = sum(run.cell.dataset.id == names[0] for run in runs)
    data = rows(runs[0]) * row
    of_three = Packing(int((data + 3 * 10_000_000) / 0.85) + 2)
    assert of_three(runs) == 3 < first
    # one run more brings its dataset along
    nearly = Packing(int((data + (first + 1) * 10_000_000) / 0.85) + 2)
    assert nearly(runs) == first
    both = data + rows(runs[first]) * row
    assert Packing(int((both + (first + 1) * 10_000_000) / 0.85) + 2)(runs) == first + 1
    assert Packing(10**15)(runs) == len(runs)
    assert Packing(0)(runs) == 1


def gathering(runs, **gather):
    """The runs under an online protocol."""
    online = {"steps": None, "interactions": 10_000, "gather": Gather.model_validate(gather)}
    return [
        replace(run, cell=replace(run.cell, protocol=run.cell.protocol.model_copy(update=online)))
        for run in runs
    ]


@pytest.mark.parametrize("columns", [(), ("trust",)], ids=str)
def test_a_run_that_gathers_takes_room_for_all_that_it_will(runs, monkeypatch, columns):
    """Beside its dataset, unless the protocol keeps nothing of that."""
    monkeypatch.setattr("harness.execution.packing.bytes_of_member", lambda *_: 10_000_000)
    monkeypatch.setattr(algorithm_class("td3_bc"), "columns", columns)
    row = 4 * (2 * 4 + 2 * 2 + 2 + len(columns))
    each = 10_000_000 + 10_000 * row
    data = rows(runs[0]) * row
    for keep, shared in (("all", data), ("none", 0), ({"best_trajectories": 5}, data)):
        online = gathering(runs, keep=keep)
        assert Packing(int((shared + 3 * each) / 0.85) + 2)(online) == 3
        assert Packing(int((shared + 3 * each) / 0.85) - 2)(online) == 2
    assert f"about {each / 1e6:.0f} MB each and 0.0 GB of data" in Packing(10**9).describe(
        gathering(runs, keep="none")
    )


def test_every_run_is_packed_once(runs):
    packing = Packing(300_000_000)
    made = populations(runs, packing)
    assert len(made) > 1
    assert [key for each in made for key in each.keys] == [run.record.key for run in runs]
    assert "MB each" in packing.describe(made[0].runs)


def test_the_plan_packs_where_there_is_a_gpu(resolved, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.planning.plan._DRIVERS", ("/",))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Some GPU")
    made = plan(resolved, SPECS, None, home=tmp_path, pack=lambda: lambda left: min(3, len(left)))
    gpu, cpu = made.estimates
    wanted = made.to_train
    assert (gpu.device, gpu.capacity, gpu.populations) == ("Some GPU", 3, -(-wanted // 3))
    assert (cpu.kind, cpu.capacity) == ("cpu", 4)
