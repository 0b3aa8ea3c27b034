from __future__ import annotations

import pytest

from harness.planning.cells import resolve
from harness.planning.imports import import_rows
from harness.planning.plan import plan
from harness.planning.status import status, trainable_keys
from harness.results.records import EvaluationRecord
from harness.results.scores import ScoreRow
from harness.results.store import Store
from harness.results.transfer import import_scores
from harness.specs import Specs

SPECS = Specs()


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "results.db", create=True) as store:
        yield store


@pytest.fixture
def resolved():
    """Two rows, of which the columns td3_bc and aspc can be trained and iql cannot."""
    return resolve(SPECS, "aspc-table1", datasets="hopper-[mr]*-v2")


def cell_of(resolved, column, dataset="hopper-medium-v2"):
    [cell] = [c for c in resolved.cells if (c.dataset.id, c.column.id) == (dataset, column)]
    return cell


def finish(store, runs, seconds):
    keys = [run.key for run in runs]
    store.register(runs)
    assert store.claim(keys) == keys
    store.record_evaluations([EvaluationRecord(key, 1_000_000, [1.0], [1]) for key in keys])
    store.finish(keys, seconds * len(keys), seconds)


def test_without_a_database_everything_is_missing(resolved, tmp_path):
    made = plan(resolved, None, home=tmp_path)
    rows = {cell.dataset for cell in made.cells}
    assert made.to_train == made.total("wanted") - 4 * 4 * len(rows) == 2 * 4 * len(rows)
    assert made.unavailable == {"no implementation": 4 * len(rows)}
    assert (made.seconds, set(made.unknown)) == (0.0, {"td3_bc", "aspc"})
    assert set(made.absent) == rows
    sizes = [SPECS.dataset(row).d4rl.size for row in rows]
    assert made.disk == sum(size or 0 for size in sizes)


def test_populations_have_no_more_members_than_they_may(resolved, tmp_path):
    made = plan(resolved, None, home=tmp_path, capacity=3)
    per_algorithm = made.to_train // 2
    assert made.populations == 2 * -(-per_algorithm // 3)


def test_every_run_is_counted_once(resolved, store, tmp_path):
    aspc, td3_bc, iql = (cell_of(resolved, column) for column in ("aspc", "td3_bc", "iql"))
    finish(store, aspc.runs[:1], 10.0)
    store.register(aspc.runs)
    store.claim([run.key for run in aspc.runs[1:3]])
    store.fail(aspc.runs[1].key, 5, "nan")
    scored = ScoreRow(2, "hopper-medium-v2", "iql", 0, 1_000_000, 50.0)

    source = tmp_path / "s.csv"
    source.write_text("x")
    import_scores(store, import_rows(resolved, [scored], source), source)
    cells = {(cell.dataset, cell.column): cell for cell in plan(resolved, store, home=tmp_path).cells}
    planned = cells["hopper-medium-v2", "aspc"]
    counts = (planned.done, planned.failed, planned.running, planned.queued, planned.missing)
    assert counts == (1, 1, 1, 1, 0)
    assert (planned.wanted, planned.to_train) == (4, 2)
    assert cells[td3_bc.dataset.id, "td3_bc"].missing == 4
    assert (cells[iql.dataset.id, "iql"].imported, cells[iql.dataset.id, "iql"].to_train) == (1, 0)


def test_time_follows_from_finished_runs_and_checkpoints(resolved, store, tmp_path):
    aspc = cell_of(resolved, "aspc")
    only = resolve(SPECS, "aspc-table1", datasets="hopper-medium-v2", columns="aspc")
    finish(store, aspc.runs[:2], 500.0)
    made = plan(only, store, home=tmp_path)
    assert made.seconds == pytest.approx(2 * 500.0)
    assert made.unknown == ()
    store.register(aspc.runs[2:3])
    store.claim([aspc.runs[2].key])
    store.record_checkpoint([aspc.runs[2].key], "c.pt", 250_000)
    assert plan(only, store, home=tmp_path).seconds == pytest.approx(1.75 * 500.0)
    half = resolve(SPECS, "aspc-table1", datasets="hopper-medium-v2", columns="aspc", steps=500_000)
    assert plan(half, store, home=tmp_path).seconds == pytest.approx(4 * 250.0)


def test_status_of_a_table_leaves_out_what_cannot_be_trained(resolved, store):
    aspc = cell_of(resolved, "aspc")
    finish(store, aspc.runs[:3], 1.0)
    found = status(store, resolved)
    assert found.counts["finished"] == 3
    assert sum(found.counts.values()) == len(trainable_keys(resolved))
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
