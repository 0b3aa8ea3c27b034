from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest

import harness
from harness.errors import HarnessError, IncompleteError, NoBaselineError, SchemaError, UnknownNameError
from harness.execution import executors
from harness.execution.session import Outcome
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.store import Store
from harness.specs import Specs

SMOKE = {"preset": "smoke", "db": "some.db"}


@pytest.fixture
def database(tmp_path, monkeypatch, trained):
    monkeypatch.chdir(tmp_path)
    return trained("some.db")


def test_importing_harness_loads_nothing_heavy():
    code = (
        "import time; begun = time.process_time(); import harness; took = time.process_time() - begun; "
        "import sys; print(took, *{'numpy', 'pandas', 'torch', 'harness.api'} & sys.modules.keys())"
    )
    took, *loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded == []
    assert float(took) < 0.1


def test_the_public_names_are_there_and_described():
    assert set(harness.__all__) <= set(dir(harness))
    for name in harness.__all__:
        assert inspect.getdoc(getattr(harness, name))
    assert "preset" in inspect.signature(harness.scores).parameters
    with pytest.raises(AttributeError, match="no_such"):
        _ = harness.no_such


def test_scores_are_those_of_the_table(database):
    scores = harness.scores("aspc-table1", **SMOKE)
    table = harness.table("aspc-table1", **SMOKE)
    means = scores.groupby(["dataset", "column"])["score"].mean()
    for cell in table.comparison.cells:
        assert means[cell.row, cell.column] == pytest.approx(cell.mean)
    for line in scores.itertuples(index=False):
        reference = Specs().dataset(line.dataset).reference
        assert reference.normalise(line._7) == pytest.approx(line.score)
    assert set(scores["source"]) == {"trained"}
    assert set(scores["step"]) == {cell.protocol.length for cell in table.comparison.cells}


def test_curves_have_every_evaluation_and_end_at_the_score(database):
    curves = harness.curves("aspc-table1", algorithms="aspc", **SMOKE)
    scores = harness.scores("aspc-table1", algorithms=["aspc"], **SMOKE)
    resolved = resolve(Specs(), "aspc-table1", Choice(preset="smoke", algorithms=("aspc",)))
    assert len(curves) == sum(
        len(cell.runs) * len(list(cell.protocol.evaluations())) for cell in resolved.cells
    )
    last = curves.groupby(["dataset", "column", "seed"]).last()["score"].to_numpy()
    assert last == pytest.approx(scores.sort_values(["dataset", "column", "seed"])["score"].to_numpy())


def test_metrics_are_every_value_of_every_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [cell, *_] = resolve(Specs(), "aspc-table1", Choice(preset="smoke", algorithms=("aspc",))).cells
    keys = [run.key for run in cell.runs]
    with Store.open("some.db", create=True) as store:
        store.register(cell.runs)
        store.claim(keys)
        for step in range(1, 61):
            store.record_metrics(step, {key: {"alpha": step / 10, "loss": 1.0} for key in keys})
    assert len(harness.metrics("aspc-table1", **SMOKE)) == 60 * 2 * len(keys)
    found = harness.metrics("aspc-table1", "alpha", **SMOKE)
    assert set(zip(found["step"], found["value"], strict=True)) == {(k, k / 10) for k in range(1, 61)}
    assert set(found["seed"]) == {run.seed for run in cell.runs}
    with pytest.raises(UnknownNameError, match="did you mean alpha"):
        harness.metrics("aspc-table1", "alhpa", **SMOKE)


def test_a_table_in_a_notebook_is_escaped_and_complete(database, tmp_path):
    folder = tmp_path / "specs" / "presets"
    folder.mkdir(parents=True)
    (folder / "odd.yaml").write_text(
        "id: odd\ndescription: two\nlabel: <b>odd</b>\nlineage: generated\ntransitions: 1500\n"
        "datasets: [maze2d-umaze-v1]\ncolumns: []\n"
        "seeds: [0, 1]\nsteps: 20\nevaluate_every: 10\nepisodes: 1\n"
        "extra_columns: [{id: mine, label: <i>Mine, algorithm: td3_bc}]\n"
    )
    shown = harness.table("aspc-table1", preset="odd", specs=tmp_path / "specs", db="some.db")._repr_html_()
    assert "<b>odd" not in shown
    assert "<i>" not in shown
    assert "&lt;i&gt;Mine" in shown
    whole = harness.table("aspc-table1", **SMOKE)
    page = whole._repr_html_()
    assert all(row.label in page for row in whole.comparison.rows)
    assert list(whole.verdicts.index) == [row.id for row in whole.comparison.rows]
    assert whole.verdicts.loc["maze2d-umaze-v1", "aspc"] == "N/C (smoke protocol)"
    assert r"\begin{tabular}" in whole.to_latex()


def test_rliable_gets_what_it_would_compute_itself(database):
    from rliable import metrics as theirs

    found = harness.table("aspc-table1", **SMOKE).rliable(repetitions=200)
    assert found.metrics == ("IQM", "Mean", "Median", "Optimality gap")
    for name, matrix in found.scores.items():
        functions = (
            theirs.aggregate_iqm,
            theirs.aggregate_mean,
            theirs.aggregate_median,
            theirs.aggregate_optimality_gap,
        )
        assert found.aggregates[name] == pytest.approx([function(matrix) for function in functions])
        low, high = found.aggregate_intervals[name]
        assert (low <= found.aggregates[name]).all()
        assert (high >= found.aggregates[name]).all()
        assert found.profiles[name] == pytest.approx(
            [np.mean(matrix > threshold) for threshold in found.thresholds]
        )
        assert found.profile_intervals[name].shape == (2, len(found.thresholds))
    first, second, *_ = found.scores
    assert found.improvements[f"{first},{second}"] == pytest.approx(
        theirs.probability_of_improvement(found.scores[first], found.scores[second])
    )


def test_aggregates_are_a_line_per_column_and_metric(database):
    table = harness.table("aspc-table1", **SMOKE)
    frame = table.aggregates(metrics=("iqm",), repetitions=200, level=0.5)
    assert list(frame["metric"]) == ["iqm"] * len(table.comparison.columns)
    assert set(frame["level"]) == {0.5}
    assert (frame["low"] <= frame["value"]).all()


def test_drift_and_accept(database, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.results.provenance.committed", lambda: "c0ffee" * 6 + "beef")
    with pytest.raises(NoBaselineError, match="has no baseline"):
        harness.drift("aspc-table1", **SMOKE)
    done = harness.accept("aspc-table1", "first", **SMOKE)
    assert done.baseline.exists()
    assert harness.drift("aspc-table1", **SMOKE).judgement.exit_code == 0
    with pytest.raises(HarnessError, match="is a URL"):
        harness.accept("aspc-table1", "again", baseline="postgresql://there/x", **SMOKE)


def test_nothing_is_trained_twice(database, capfd):
    assert harness.plan("aspc-table1", **SMOKE).to_train == 0
    done = harness.reproduce("aspc-table1", quiet=True, device="cpu", **SMOKE)
    assert (done.exit_code, done.error) == (0, None)
    assert done.status.counts["finished"] == sum(done.status.counts.values())
    assert "<table" in done._repr_html_()


def test_another_executor_gets_what_is_meant_for_it(database, monkeypatch):
    orders = []

    def executor(order, reporter, stop):
        orders.append(order)
        return Outcome(0, 0, 0, False)

    monkeypatch.setattr(executors, "named", {"slurm": executor}.__getitem__)
    harness.reproduce(
        "aspc-table1", executor="slurm", jobs=2, executor_options={"time": 600}, quiet=True, **SMOKE
    )
    [order] = orders
    assert (order.jobs, order.options) == (2, {"time": "600"})
    monkeypatch.undo()
    with pytest.raises(HarnessError, match="are for other executors than local"):
        harness.reproduce("aspc-table1", jobs=2, quiet=True, **SMOKE)
    with pytest.raises(UnknownNameError, match=r"slrum.*slurm"):
        harness.reproduce("aspc-table1", executor="slrum", quiet=True, **SMOKE)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"preset": "smok"}, UnknownNameError, "did you mean smoke"),
        ({"algorithms": "nothing"}, HarnessError, "nothing"),
        ({"colour": "red"}, TypeError, "colour"),
        ({"db": "absent.db"}, SchemaError, "harness reproduce aspc-table1"),
    ],
)
def test_what_is_wrong_is_a_sentence(database, options, error, said):
    with pytest.raises(error, match=said):
        harness.scores("aspc-table1", **options)


def test_statistics_of_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Store.open("empty.db", create=True):
        pass
    empty = harness.table("aspc-table1", db="empty.db")
    assert harness.scores("aspc-table1", db="empty.db").empty
    with pytest.raises(IncompleteError, match="nothing to aggregate"):
        empty.statistics()
