from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.imports import import_rows
from harness.planning.plan import CAPACITIES, plan
from harness.planning.status import status, trainable_keys
from harness.results.provenance import cpu_model
from harness.results.records import CHANGED, EvaluationRecord
from harness.results.scores import ScoreRow
from harness.results.store import Store
from harness.results.transfer import import_scores
from harness.specs import Specs

SPECS = Specs([Path(__file__).parent / "specs"])


@pytest.fixture
def resolved():
    """Four rows; the columns td3_bc and aspc can be trained and the third cannot."""
    return resolve(SPECS, "two-of-three")


def cell_of(resolved, column, dataset="hopper-medium-v2"):
    [cell] = [c for c in resolved.cells if (c.dataset.id, c.column.id) == (dataset, column)]
    return cell


def finish(store, runs, seconds, environment=None):
    keys = [run.key for run in runs]
    store.register(runs)
    assert store.claim(keys) == keys
    if environment:
        store.record_fingerprint(keys, environment, "made up")
    store.record_evaluations([EvaluationRecord(key, 1_000_000, [1.0], [1]) for key in keys])
    store.finish(keys, seconds * len(keys), seconds)


def test_without_a_database_everything_is_missing(resolved, tmp_path):
    made = plan(resolved, SPECS, None, home=tmp_path)
    rows = {cell.dataset for cell in made.cells}
    assert made.to_train == made.total("wanted") - 4 * len(rows) == 2 * 4 * len(rows)
    assert made.unavailable == {"no implementation": len(rows)}
    here = made.estimates[0]
    assert (here.seconds, set(here.unknown), here.here) == (0.0, {"td3_bc", "aspc"}, True)
    assert any("--measure" in remark for remark in made.remarks)
    assert set(made.absent) == rows
    sizes = [SPECS.dataset(row).d4rl.size for row in rows]
    assert made.disk == sum(size or 0 for size in sizes)


def test_populations_have_no_more_members_than_they_may(resolved, tmp_path, monkeypatch):
    monkeypatch.setitem(CAPACITIES, "cpu", 3)
    made = plan(resolved, SPECS, None, home=tmp_path)
    per_algorithm = made.to_train // 2
    [cpu] = [each for each in made.estimates if each.kind == "cpu"]
    assert (cpu.populations, cpu.capacity) == (2 * -(-per_algorithm // 3), 3)


def test_runs_that_two_columns_show_are_trained_once(resolved, tmp_path):
    first = next(cell for cell in resolved.cells if not cell.unavailable)
    twice = replace(resolved, cells=(*resolved.cells, first))
    made, once = (plan(each, SPECS, None, home=tmp_path) for each in (twice, resolved))
    assert (made.shared, once.shared) == (len(first.runs), 0)
    assert made.to_train == once.to_train


def test_every_run_is_counted_once(resolved, store, tmp_path):
    aspc, td3_bc, third = (cell_of(resolved, column) for column in ("aspc", "td3_bc", "unwritten"))
    finish(store, aspc.runs[:1], 10.0)
    store.register(aspc.runs)
    store.claim([run.key for run in aspc.runs[1:3]])
    store.fail(aspc.runs[1].key, 5, "nan")
    scored = ScoreRow(2, "hopper-medium-v2", "unwritten", 0, 1_000_000, 50.0)

    source = tmp_path / "s.csv"
    source.write_text("x")
    import_scores(store, import_rows(resolved, [scored], source), source)
    cells = {(cell.dataset, cell.column): cell for cell in plan(resolved, SPECS, store, home=tmp_path).cells}
    planned = cells["hopper-medium-v2", "aspc"]
    counts = (planned.done, planned.failed, planned.running, planned.queued, planned.missing)
    assert counts == (1, 1, 1, 1, 0)
    assert (planned.wanted, planned.to_train) == (4, 2)
    assert cells[td3_bc.dataset.id, "td3_bc"].missing == 4
    assert (cells[third.dataset.id, "unwritten"].imported, cells[third.dataset.id, "unwritten"].to_train) == (
        1,
        0,
    )


GPU = {"device": "Some GPU", "cpu": "Some CPU"}
CPU = {"device": "cpu", "cpu": cpu_model()}


def seconds(made, device):
    [estimate] = [each for each in made.estimates if each.device == device]
    return estimate.seconds


def test_time_follows_from_finished_runs_of_the_same_device(resolved, store, tmp_path):
    aspc = cell_of(resolved, "aspc")
    only = resolve(SPECS, "two-of-three", Choice(datasets=("hopper-medium-v2",), algorithms=("aspc",)))
    finish(store, aspc.runs[:1], 500.0, CPU)
    finish(store, aspc.runs[1:2], 50.0, GPU)
    made = plan(only, SPECS, store, home=tmp_path)
    assert seconds(made, cpu_model()) == pytest.approx(2 * 500.0)
    assert seconds(made, "Some GPU") == pytest.approx(2 * 50.0)
    assert [(each.kind, each.here, each.unknown) for each in made.estimates if each.device == "Some GPU"] == [
        ("gpu", False, ())
    ]
    assert not any("GPU" in remark for remark in made.remarks)
    store.register(aspc.runs[2:3])
    store.claim([aspc.runs[2].key])
    store.record_checkpoint([aspc.runs[2].key], "c.pt", 250_000)
    assert seconds(plan(only, SPECS, store, home=tmp_path), cpu_model()) == pytest.approx(1.75 * 500.0)
    half = resolve(
        SPECS, "two-of-three", Choice(datasets=("hopper-medium-v2",), algorithms=("aspc",), steps=500_000)
    )
    assert seconds(plan(half, SPECS, store, home=tmp_path), cpu_model()) == pytest.approx(4 * 250.0)


def test_runs_whose_device_changed_tell_nothing(resolved, store, tmp_path):
    aspc = cell_of(resolved, "aspc")
    finish(store, aspc.runs[:1], 500.0, {"device": f"cpu{CHANGED}Some GPU", "cpu": "Some CPU"})
    made = plan(resolved, SPECS, store, home=tmp_path)
    assert {each.seconds for each in made.estimates} == {0.0}
    *here, last = made.estimates
    if last.device == "":  # this machine has no GPU
        assert (last.kind, last.basis, set(last.unknown)) == ("gpu", "not measured", {"td3_bc", "aspc"})
        assert last.populations < here[0].populations  # of at most 64 runs instead of 8
        assert any("no GPU's time has been measured" in remark for remark in made.remarks)


def test_what_is_measured_now_counts_every_population_and_times_each_shape_once(resolved, tmp_path):
    asked = []

    def measure(population, kind):
        asked.append((population.algorithm, len(population.runs), kind))
        return 0.5

    made = plan(resolved, SPECS, None, home=tmp_path, measure=measure)
    [cpu] = [each for each in made.estimates if each.kind == "cpu"]
    assert cpu.seconds == pytest.approx(cpu.populations * 1_000_000 * 0.5)
    assert (cpu.basis, cpu.unknown) == ("measured now", ())
    assert len(asked) == len(set(asked)) < cpu.populations


def test_a_seed_that_no_table_shows_is_named(tmp_path):
    odd = resolve(
        SPECS, "two-of-three", Choice(datasets=("hopper-medium-v2",), algorithms=("aspc",), seeds=(1, 7))
    )
    assert plan(odd, SPECS, None, home=tmp_path).extra_seeds == (7,)


def test_status_of_a_table_leaves_out_what_cannot_be_trained(resolved, store):
    aspc = cell_of(resolved, "aspc")
    finish(store, aspc.runs[:3], 1.0)
    found = status(store, resolved)
    assert found.counts["finished"] == 3
    assert sum(found.counts.values()) == len(trainable_keys(resolved, store))
    assert sum(status(store).counts.values()) == 3


def test_status_tells_the_dead_from_the_living(tmp_path, resolved):
    runs = cell_of(resolved, "aspc").runs
    with Store.open(tmp_path / "r.db", create=True) as store:
        store.register(runs)
        store.claim([runs[0].key])
        found = status(store)
        assert ([work.key for work in found.active], found.stale) == ([runs[0].key], ())
    with Store.open(tmp_path / "r.db", lease_seconds=-1) as later:
        found = status(later)
        assert ([work.key for work in found.stale], found.active) == ([runs[0].key], ())


def test_status_gives_the_first_line_of_an_error(store, resolved):
    run = cell_of(resolved, "aspc").runs[0]
    store.register([run])
    store.claim([run.key])
    store.fail(run.key, None, "\n\nValueError: bad\n  more\n")
    [failure] = status(store, resolved).failures
    assert (failure.error, failure.step, failure.seed) == ("ValueError: bad", None, 0)
