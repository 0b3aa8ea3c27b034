from __future__ import annotations

import hashlib
import os
import sqlite3

import pytest

from harness.analysis.drift import DriftSettings, Judgement, drift, overall
from harness.analysis.verdicts import VerdictKind
from harness.errors import SchemaError
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.imports import import_rows
from harness.results.store import Store
from harness.results.transfer import import_scores, read_scores_csv
from harness.specs import Specs

SEEDS = range(4)


@pytest.fixture
def table(tmp_path, trained):
    """Makes databases of four seeds of the smoke preset's cells, and holds two against each other."""

    class Table:
        path = tmp_path

        def write(self, name, **options):
            options.setdefault("seeds", SEEDS)
            return trained(tmp_path / name, **options)

        def drift(self, now, baseline, *settings, **options):
            options.setdefault("seeds", SEEDS)
            resolved = resolve(Specs(), "aspc-table1", Choice(**{"preset": "smoke"} | options))
            with Store.open(now) as ours, Store.open(baseline) as theirs:
                return drift(resolved, ours, theirs, *settings)

    return Table()


def kinds(items):
    return [item.verdict.kind for item in items]


def test_the_same_scores_pass(table):
    found = table.drift(table.write("now.db"), table.write("then.db"))
    assert found.judgement is Judgement.PASSED
    assert (len(found.cells), found.problem, found.unchecked) == (6, "", ())
    assert set(kinds(found.cells)) == {VerdictKind.OK}
    assert {cell.identical for cell in found.cells} == {4}
    assert {(item.row, item.column) for item in found.aggregates} == {
        (row, column) for row in ("mujoco", "maze2d", "total") for column in ("bc", "td3_bc", "aspc")
    }
    assert not any(item.changes for item in (*found.cells, *found.aggregates))


def test_lower_scores_are_drift_and_say_what_changed(table):
    now = table.write("now.db", shift={"aspc": -20}, fingerprint={"torch": "2.13"}, content="d" * 64)
    found = table.drift(now, table.write("then.db"))
    assert found.judgement is Judgement.DRIFT
    drifted = [item for item in (*found.aggregates, *found.cells) if item.drifted]
    assert {item.column for item in drifted} == {"aspc"}
    assert len(drifted) == 5
    changes = {change.field: (change.baseline, change.now) for change in drifted[-1].changes}
    assert changes == {"torch": (("2.12",), ("2.13",)), "data": (("c" * 64,), ("d" * 64,))}
    total = next(item for item in drifted if item.row == "total")
    assert total.verdict.difference == pytest.approx(-20)
    assert total.baseline - total.now == pytest.approx(20)


def test_improvement_is_reported_and_passes(table):
    found = table.drift(table.write("now.db", shift={"bc": 20}), table.write("then.db"))
    assert found.judgement is Judgement.PASSED
    assert {item.column for item in found.cells if item.improved} == {"bc"}


def test_which_of_two_baselines(table):
    now, low = table.write("now.db", shift={"bc": 10}), table.write("low.db")
    high = table.write("high.db", shift={"bc": 30})
    assert table.drift(now, low).judgement is Judgement.PASSED
    assert table.drift(now, high).judgement is Judgement.DRIFT


def test_the_gate_decides(table):
    def one_cell_worse(row, column, seed):
        return row != "hopper-random-v2"

    then = table.write("then.db")
    # one cell up, one down by as much: the total is where it was, the groups are not
    now = table.write("now.db", shift={"td3_bc": -20}, only=one_cell_worse)
    table.write("now.db", shift={"td3_bc": 20}, only=lambda *run: not one_cell_worse(*run))
    total = [item for item in table.drift(now, then).aggregates if item.row == "total"]
    assert not any(item.drifted for item in total)
    gated = {gate: table.drift(now, then, DriftSettings(gate)) for gate in ("aggregates", "cells", "both")}
    assert {found.judgement for found in gated.values()} == {Judgement.DRIFT}
    assert {gate: len(found.gated) for gate, found in gated.items()} == {
        "aggregates": 9,
        "cells": 6,
        "both": 15,
    }
    assert table.drift(now, then, DriftSettings("both", margin=40.0)).judgement is Judgement.PASSED


def test_aggregates_have_the_margin_of_averages(table):
    # a loss of 3.5 points over 16 seeds: within the 5 points of cells, beyond the 2 of averages
    seeds = range(16)
    now, then = table.write("now.db", shift={"aspc": -3.5}, seeds=seeds), table.write("then.db", seeds=seeds)
    found = table.drift(now, then, seeds=seeds)
    assert {item.column for item in found.aggregates if item.drifted} == {"aspc"}
    assert set(kinds(found.cells)) == {VerdictKind.OK}
    assert found.judgement is Judgement.DRIFT
    assert (
        table.drift(now, then, DriftSettings("both", margin=5.0), seeds=seeds).judgement is Judgement.PASSED
    )


def test_alpha_can_be_set(table):
    now, then = table.write("now.db", shift={"aspc": -8}), table.write("then.db")
    assert table.drift(now, then).judgement is Judgement.DRIFT
    assert table.drift(now, then, DriftSettings(alpha=1e-12)).judgement is Judgement.PASSED


def test_nothing_measured_is_not_green(table):
    Store.open(table.path / "empty.db", create=True).close()
    full, empty = table.write("full.db"), table.path / "empty.db"
    unmeasured, unaccepted = table.drift(empty, full), table.drift(full, empty)
    assert {unmeasured.judgement, unaccepted.judgement} == {Judgement.INCOMPLETE}
    assert "nothing of aspc-table1 is measured in" in unmeasured.problem
    assert "holds no finished runs" in unaccepted.problem
    assert (unmeasured.absent, unaccepted.absent) == (False, True)
    passed = table.drift(full, full)
    assert overall([passed, unaccepted]) is Judgement.PASSED
    assert overall([passed, unmeasured]) is Judgement.INCOMPLETE
    assert overall([unaccepted]) is overall([]) is Judgement.INCOMPLETE


def test_another_protocol_names_the_fields_that_differ(table):
    found = table.drift(table.write("now.db"), table.write("then.db", steps=1000))
    assert found.judgement is Judgement.INCOMPLETE
    assert "other settings" in found.problem
    assert "differs in: protocol.steps 2000 now, 1000 there." in found.problem
    assert not found.absent


def test_no_common_cells(table):
    def maze(row, column, seed):
        return row.startswith("maze2d")

    then = table.write("then.db", only=maze)
    found = table.drift(then, then, datasets=("hopper-*",))
    assert found.judgement is Judgement.INCOMPLETE
    assert "no cell in common" in found.problem
    assert "dataset.id" in found.problem
    assert found.absent
    now = table.write("now.db", only=lambda *run: not maze(*run))
    assert "nothing of" not in table.drift(now, then).problem
    assert "no cell of aspc-table1 has all the seeds of the baseline" in table.drift(now, then).problem


def test_a_baseline_of_another_schema(table):
    then = table.write("then.db")
    with sqlite3.connect(then) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(SchemaError, match=r"then\.db has schema version 0000 .* harness db upgrade --db"):
        table.drift(table.write("now.db"), then)


def test_lost_cells_and_seeds_are_not_green(table):
    then = table.write("then.db")
    now = table.write("now.db", only=lambda row, column, seed: column != "bc" or seed < 3)
    found = table.drift(now, then)
    assert found.judgement is Judgement.INCOMPLETE
    assert {(item.column, item.verdict.mark) for item in found.unchecked} == {("bc", "MISSING 3/4")}
    assert "bc" not in {item.column for item in found.aggregates}
    # and drift in what is left is drift
    worse = table.write("worse.db", shift={"aspc": -20}, only=lambda row, column, seed: column != "bc")
    assert table.drift(worse, then).judgement is Judgement.DRIFT


def test_ragged_seeds(table):
    then = table.write("then.db", only=lambda row, column, seed: seed < (2 if column == "bc" else 4))
    found = table.drift(table.write("now.db"), then)
    assert found.judgement is Judgement.PASSED
    [cell] = [cell for cell in found.cells if (cell.row, cell.column) == ("hopper-random-v2", "bc")]
    assert (cell.n_baseline, cell.n_now, cell.wanted, cell.identical) == (2, 4, 2, 2)
    assert "seeds 0, 1, 2, 3 now, 0, 1 in the baseline" in cell.notes


def test_new_cells_are_reported_only(table):
    then = table.write("then.db", only=lambda row, column, seed: column != "bc")
    found = table.drift(table.write("now.db"), then, DriftSettings("both"))
    assert found.judgement is Judgement.PASSED
    assert set(kinds(cell for cell in found.cells if cell.column == "bc")) == {VerdictKind.UNPUBLISHED}
    assert "bc" not in {item.column for item in found.aggregates}


def test_one_seed_a_side_tests_nothing_unless_it_is_the_same(table):
    one = {"seeds": [0]}
    then = table.write("then.db", **one)
    assert table.drift(table.write("same.db", **one), then, **one).judgement is Judgement.PASSED
    found = table.drift(table.write("now.db", shift={"bc": -50}, **one), then, **one)
    assert found.judgement is Judgement.INCOMPLETE
    assert {item.column for item in found.unchecked} == {"bc"}


def test_one_seed_against_four_says_whose_deviation_is_taken(table):
    then = table.write("then.db", only=lambda row, column, seed: seed == 0)
    found = table.drift(table.write("now.db"), then)
    assert any("baseline's deviation unknown" in note for note in found.cells[0].notes)


def test_imported_scores_are_not_held_against_trained_ones(table):
    then, now = table.write("then.db"), table.path / "now.db"
    path = table.path / "scores.csv"
    lines = [f"hopper-random-v2,bc,{seed},2000,50.{seed}" for seed in SEEDS]
    path.write_text("\n".join(["dataset,algorithm,seed,step,score", *lines]) + "\n")
    resolved = resolve(Specs(), "aspc-table1", Choice(preset="smoke"))
    with Store.open(now, create=True) as store:
        import_scores(store, import_rows(resolved, read_scores_csv(path), path), path)
    found = table.drift(now, then)
    assert found.judgement is Judgement.INCOMPLETE
    assert "can be compared: imported now, trained in the baseline" in found.problem
    # imported on both sides is a comparison like any other, and says so
    both = table.drift(now, now)
    assert both.judgement is Judgement.PASSED
    assert {"baseline: imported from scores.csv", "now: imported from scores.csv"} <= set(both.cells[0].notes)
    # beside trained scores imported ones do not count
    table.write("now.db", only=lambda row, column, seed: (row, column) == ("hopper-random-v2", "bc"))
    cell = next(cell for cell in table.drift(now, then).cells if cell.n_now)
    assert cell.verdict.kind is VerdictKind.OK
    assert cell.notes[0] == "now: also imported from scores.csv: 50.2 ± 0.1 (4 seeds)"


def test_the_baseline_is_only_read(table):
    then = table.write("baselines.db")
    with sqlite3.connect(then) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    now = table.write("now.db", shift={"bc": -20})
    folder = table.path / "locked"
    folder.mkdir()
    locked = then.rename(folder / "then.db")
    before = hashlib.sha256(locked.read_bytes()).hexdigest()
    locked.chmod(0o444)
    folder.chmod(0o555)
    try:
        assert table.drift(now, locked).judgement is Judgement.DRIFT
        assert os.listdir(folder) == ["then.db"]  # noqa: PTH208
    finally:
        folder.chmod(0o755)
    assert hashlib.sha256(locked.read_bytes()).hexdigest() == before


@pytest.mark.parametrize(
    ("shift", "kind"), [(0, VerdictKind.SAME), (-60, VerdictKind.WORSE), (60, VerdictKind.BETTER)]
)
def test_few_seeds_are_held_against_what_more_predict(table, shift, kind):
    now = table.write("now.db", seeds=(0, 1), shift={"aspc": shift})
    found = table.drift(now, table.write("then.db"), DriftSettings(gate="cells"), seeds=(0, 1))
    cells = [cell for cell in found.cells if cell.column == "aspc"]
    assert set(kinds(cells)) == {kind}
    assert {(cell.n_baseline, cell.n_now) for cell in cells} == {(4, 2)}
    for cell in cells:
        assert cell.predicted
        assert (cell.predicted.low <= cell.now <= cell.predicted.high) == (kind is VerdictKind.SAME)
    assert {cell.verdict.kind for cell in found.cells if cell.column != "aspc"} == {VerdictKind.SAME}
    assert {item.verdict.kind for item in found.aggregates if item.column == "aspc"} == {kind}
    assert all(item.predicted for item in found.aggregates)
    same = {"the seeds that both sides have score the same" in cell.notes for cell in cells}
    assert same == {shift == 0}
    assert {cell.as_recorded for cell in cells} == same


def test_scores_of_seeds_that_are_not_recorded_are_not_as_recorded(table):
    now = table.write("now.db", seeds=(0, 4))
    found = table.drift(now, table.write("then.db"), seeds=(0, 4))
    assert not any(cell.as_recorded for cell in found.cells)


def test_predicted_cells_do_not_count_in_the_adjustment_of_tested_ones(table):
    then = table.write("then.db", only=lambda row, column, seed: column != "bc" or seed < 2)
    now = table.write("now.db", seeds=(0, 1), shift={"bc": 3, "aspc": -60})
    few = {"seeds": (0, 1)}
    alone = [cell.verdict.p_adjusted for cell in table.drift(now, then, algorithms=("bc",), **few).cells]
    beside = [cell for cell in table.drift(now, then, **few).cells if cell.column == "bc"]
    assert [cell.verdict.p_adjusted for cell in beside] == alone
    assert {cell.predicted for cell in beside} == {None}


def test_one_of_two_seeds_is_not_enough(table):
    now = table.write("now.db", seeds=(0,))
    found = table.drift(now, table.write("then.db"), seeds=(0, 1))
    assert set(kinds(found.cells)) == {VerdictKind.MISSING}
