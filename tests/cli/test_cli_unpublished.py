"""Tables without printed numbers, and columns that read from others, in every verb."""

from __future__ import annotations

import json
import random

import pytest

from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.records import BEGINNING, EvaluationRecord, value_metric
from harness.results.store import Store
from harness.specs import Specs

CHOICE = ("--preset", "reduced", "--db", "made-up.db")


@pytest.fixture
def made_up(elsewhere):
    """A database of made-up finished runs of a table under the preset `reduced`."""

    def write(table):
        resolved = resolve(Specs(), table, Choice(preset="reduced"))
        environment = {"git_commit": "a" * 40, "device": "cpu", "cpu": "Some CPU"}
        with Store.open("made-up.db", create=True) as store:
            for cell in resolved.cells:
                if cell.unavailable:
                    continue
                keys = [run.key for run in cell.runs]
                store.register(cell.runs)
                assert store.claim(keys) == keys
                store.record_fingerprint(keys, environment, "made up")
                for key in keys:
                    raw = cell.dataset.reference.raw(random.Random(key).gauss(50, 1))
                    store.record_evaluations([EvaluationRecord(key, 2000, [raw] * 3, [10] * 3)])
                    for name in cell.metrics:
                        store.record_metrics(BEGINNING, {key: {value_metric(name): 3.25}})
                store.finish(keys, 60.0, 30.0)

    return write


@pytest.mark.parametrize("table", ["aspc-fig5", "aspc-fig6", "aspc-fig11", "aspc-fig12"])
def test_every_verb_takes_a_table_without_printed_numbers(cli, made_up, table):
    made_up(table)
    for verb in (
        ["table", table, "-f", "markdown"],
        ["table", table, "-f", "latex", "--with-published"],
        ["table", table, "-f", "html"],
        ["table", table, "-f", "csv"],
        ["diff", table],
        ["diff", table, "-f", "json"],
        ["stats", table],
        ["plan", table],
        ["status", table],
    ):
        result = cli(*verb, *CHOICE)
        assert (result.code, "error" in result.err) == (0, False), (verb, result.err)
        assert result.out
    found = json.loads(cli("table", table, "-f", "json", *CHOICE).out)
    cells = [cell for group in found["groups"] for row in group["rows"] for cell in row["cells"]]
    # under a preset nothing is comparable, whether there is a printed number or not
    assert {cell["published"] for cell in cells} == {None}
    whole = cli("table", table, "--db", "made-up.db")
    assert whole.code == 0
    assert cli("audit", table).code == 0
    assert cli("show", table).code == 0
    assert (
        cli("drift", table, "--preset", "reduced", "--db", "made-up.db", "--baseline", "made-up.db").code == 0
    )


def test_a_report_of_a_table_without_printed_numbers(cli, made_up, elsewhere):
    made_up("aspc-fig11")
    result = cli("report", "aspc-fig11", *CHOICE, "-o", "report")
    assert result.code == 0, result.err
    assert list((elsewhere / "report").rglob("*.html"))


def test_what_a_column_read_is_shown_with_its_cells(cli, made_up):
    made_up("aspc-table2")
    found = json.loads(cli("table", "aspc-table2", "-f", "json", *CHOICE).out)
    cells = [cell for group in found["groups"] for row in group["rows"] for cell in row["cells"]]
    notes = {cell["column"]: cell["notes"] for cell in cells}
    assert notes["converged"] == ["alpha 3.25, from aspc"]
    assert notes["linear"] == ["final_alpha 3.25, from aspc"]
    assert notes["aspc"] == notes["naive"] == []
    assert "alpha 3.25, from aspc" in cli("table", "aspc-table2", *CHOICE).out


def test_seeds_that_read_different_values_are_told_apart(cli, made_up):
    made_up("aspc-table2")
    [cell] = resolve(
        Specs(),
        "aspc-table2",
        Choice(preset="reduced", algorithms=("converged",), datasets=("maze2d-umaze-*",)),
    ).cells
    one, *rest = cell.runs
    with Store.open("made-up.db") as store, store.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE metric SET value = 0.5 WHERE run_id = (SELECT id FROM run WHERE key = ?)", (one.key,)
        )
    found = json.loads(cli("table", "aspc-table2", "-f", "json", *CHOICE).out)
    rows = [row for group in found["groups"] for row in group["rows"]]
    cells = {(cell["row"], cell["column"]): cell["notes"] for row in rows for cell in row["cells"]}
    others = ", ".join(str(run.seed) for run in rest)
    assert cells["maze2d-umaze-v1", "converged"] == [
        f"alpha 0.5 (seed {one.seed}), from aspc",
        f"alpha 3.25 (seed{'s' * (len(rest) > 1)} {others}), from aspc",
    ]


def test_runs_that_are_needed_and_not_asked_for_are_called_so(cli, elsewhere, monkeypatch):
    """Readers whose source another process trains: neither is finished, and one was not asked for."""
    from harness.execution import local
    from harness.execution.session import Outcome

    monkeypatch.setattr(local, "train_missing", lambda *_: Outcome(0, 0, 0, False))
    result = cli("reproduce", "aspc-table2", *CHOICE, "--algorithms", "converged", "--seeds", "0")
    assert "that this needs are not finished" in result.err


def test_what_is_trained_for_others_is_said(cli):
    result = cli("plan", "aspc-table2", "--preset", "reduced", "--algorithms", "converged", "--seeds", "0,7")
    assert result.code == 0
    assert "to train: 4 of 4 runs" in result.out
    assert "also trains aspc (4 runs): converged reads alpha from it" in result.out
    assert "seed 7 is not among the table's seeds" in result.out
    made = json.loads(
        cli("plan", "aspc-table2", "--preset", "reduced", "--algorithms", "converged", "--json").out
    )
    [also] = made["also"]
    assert made["to_train"] == 8
    assert (also["column"], also["runs"], also["readers"]) == ("aspc", 4, ["converged reads alpha"])


def test_a_failed_source_is_seen_in_plan_and_status_and_mended_by_retry(cli, made_up):
    resolved = resolve(
        Specs(), "aspc-table2", Choice(preset="reduced", algorithms=("aspc",), datasets=("maze2d-*",))
    )
    [first, _] = resolved.cells[0].runs
    with Store.open("made-up.db", create=True) as store:
        store.register([first])
        store.claim([first.key])
        store.fail(first.key, 7, "it diverged")
    only = ("aspc-table2", *CHOICE, "--algorithms", "converged", "--datasets", "maze2d-*")
    why = "it reads alpha from aspc, seed 0 failed"
    assert f"waiting: 2 runs: converged on maze2d-umaze-v1 waits: {why}" in cli("plan", *only).out
    assert "queues the failed runs that they wait for again" in cli("plan", *only).out
    assert "queues the failed runs" not in cli("plan", "aspc-table2", *CHOICE).out  # that failure is shown
    assert why in cli("status", *only).out
    assert json.loads(cli("status", *only, "--json").out)["waiting"][0]["reason"].startswith(why)
    assert "1 failed run queued again" in cli("retry", *only).err
    assert why not in cli("plan", *only).out
