"""Columns that show the best of several settings, and what the best of so many is worth."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.comparison import compare
from harness.analysis.history import histories
from harness.analysis.tuning import expected_best, settings_of, sweeps
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.reports import render
from harness.reports.figures import illustrations
from harness.results.records import EvaluationRecord
from harness.results.store import Store
from harness.specs import Specs
from harness.specs.validation import validate

ROWS = ("hopper-medium-v2", "walker2d-medium-v2", "maze2d-umaze-v1")
#: Means over seeds of the three settings; the second is best over both of the one domain.
MEANS = {"alpha_1": (40, 60, 20), "alpha_2": (38, 70, 5), "alpha_3": (39, 65, 30)}
TABLE = """
id: tuned
version: 1
title: Tuned
paper: {title: P, authors: A, year: 2026}
lineage: d4rl
protocol: short
groups:
  - {id: all, label: All, datasets: [hopper-medium-v2, walker2d-medium-v2, maze2d-umaze-v1], sum: Sum}
columns:
  - {id: alpha_1, label: "TD3+BC, alpha = 1", algorithm: td3_bc, hyperparameters: {alpha: 1.0}}
  - {id: alpha_2, label: "TD3+BC, alpha = 2", algorithm: td3_bc, hyperparameters: {alpha: 2.0}}
  - {id: alpha_3, label: "TD3+BC, alpha = 3", algorithm: td3_bc, hyperparameters: {alpha: 3.0}}
  - {id: bc, label: BC, algorithm: bc}
  - {id: best, label: "TD3+BC, best per dataset", best_of: [alpha_1, alpha_2, alpha_3], per: dataset}
  - {id: domain, label: "TD3+BC, best per domain", best_of: [alpha_1, alpha_2, alpha_3], per: domain}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text=TABLE):
        for kind, name, content in (
            ("tables", "tuned", text.lstrip()),
            (
                "protocols",
                "short",
                "id: short\ndescription: x\nsteps: 100\nevaluate_every: 100\nepisodes: 1\nseeds: [0, 1]\n",
            ),
        ):
            path = tmp_path / "own" / kind / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return Specs([tmp_path / "own"])

    return write


@pytest.fixture
def world(write, tmp_path):
    """From the columns without scores to the table as compared, and its histories."""
    specs = write()

    def world(lacking=(), **choice):
        resolved = resolve(specs, "tuned", Choice(**choice))
        with Store.open(tmp_path / f"{len(lacking)}.db", create=True) as store:
            for cell in resolve(specs, "tuned").cells:
                column, row = cell.column.id, ROWS.index(cell.dataset.id)
                if (cell.dataset.id, column) in lacking:
                    continue
                store.register(cell.runs)
                keys = [run.key for run in cell.runs]
                store.claim(keys)
                store.record_fingerprint(keys, {"torch": "2"}, "alone")
                mean = MEANS[column][row] if column in MEANS else 25
                store.record_evaluations(
                    [
                        EvaluationRecord(
                            run.key, 100, [cell.dataset.reference.raw(mean - 1 + 2 * run.seed)], [1]
                        )
                        for run in cell.runs
                    ]
                )
                store.finish(keys, 1.0, 1.0)
            found = compare(resolved, specs, store)
            past = histories(resolved, found, store)
            return found, lambda: past

    return world


def of(comparison, column):
    return {row.id: next(cell for cell in row.cells if cell.column == column) for row in comparison.rows}


def test_the_best_setting_is_chosen_for_each_dataset_or_for_a_domain(world):
    comparison, _ = world()
    best, domain = of(comparison, "best"), of(comparison, "domain")
    assert [best[row].mean for row in ROWS] == pytest.approx([40, 70, 30])
    assert [domain[row].mean for row in ROWS] == pytest.approx([38, 70, 30])  # hopper's own would be 40
    assert [score.score for score in best[ROWS[0]].scores] == pytest.approx([39, 41])
    assert best[ROWS[0]].std == of(comparison, "alpha_1")[ROWS[0]].std
    assert best["all:sum"].mean == pytest.approx(140)
    assert domain["all:sum"].mean == pytest.approx(138)
    assert best[ROWS[1]].notes == ("of 3 settings: TD3+BC, alpha = 2",)
    assert not any(cell.leading for cell in (*best.values(), *domain.values()))
    text = render(comparison, "markdown")
    assert (
        "best per domain is whichever of TD3+BC, alpha = 1, TD3+BC, alpha = 2, TD3+BC, alpha = 3 has" in text
    )
    assert "chosen by the scores shown" in text


def test_nothing_is_chosen_before_every_setting_has_all_its_scores(world):
    comparison, _ = world(lacking=[(ROWS[0], "alpha_3")])
    best, domain = of(comparison, "best"), of(comparison, "domain")
    assert [best[row].mean for row in ROWS] == [None, pytest.approx(70), pytest.approx(30)]
    assert [domain[row].mean for row in ROWS] == [None, None, pytest.approx(30)]
    assert best["all:sum"].mean is domain["all:sum"].mean is None
    assert best[ROWS[0]].unavailable == domain[ROWS[1]].unavailable == "0 of 2"


def test_a_domain_is_chosen_for_over_the_rows_that_are_shown_and_that_is_said(world):
    comparison, _ = world(datasets=ROWS[:1])
    assert of(comparison, "domain")[ROWS[0]].mean == pytest.approx(40)  # over both of the domain it is 38
    assert "highest mean over the domain's datasets that are shown" in render(comparison, "markdown")


def test_a_choice_alone_trains_what_is_chosen_from(write):
    resolved = resolve(write(), "tuned", Choice(algorithms=("best",)))
    assert {cell.column.id for cell in resolved.cells} == set(MEANS)


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("best_of: [alpha_1, alpha_2]", "columns.6.best_of: 'best_of' and 'per' go together"),
        ("mean_of: [alpha_1, alpha_2], per: domain", "columns.6.per: 'best_of' and 'per' go together"),
        ("best_of: [alpha_1, alpha_2], per: row", "should be 'dataset' or 'domain', got 'row'"),
        ("best_of: [alpha_1, nothing], per: domain", "best_of.1: no column named 'nothing'"),
        ("best_of: [alpha_1, best], per: domain", "best_of.1: column best has no algorithm"),
        ("best_of: [alpha_1, alpha_2], per: domain, algorithm: bc", "a column that has 'algorithm' has no"),
    ],
)
def test_what_a_choice_says_wrong_is_found_where_it_stands(write, column, problem):
    [line] = validate(write(f"{TABLE}  - {{id: bad, label: Bad, {column}}}\n"), ["tuned"])
    assert line.startswith("own/tables/tuned.yaml:16:")
    assert problem in line


@given(st.lists(st.floats(-100, 200), min_size=1, max_size=6))
def test_the_expected_best_is_the_mean_over_all_subsets(scores):
    found = expected_best(scores)
    for k, value in enumerate(found, 1):
        every = [max(some) for some in itertools.combinations(scores, k)]
        assert value == pytest.approx(statistics.fmean(every), abs=1e-9)
    assert found[0] == pytest.approx(statistics.fmean(scores), abs=1e-9)
    assert found[-1] == pytest.approx(max(scores), abs=1e-9)


def test_what_a_run_is_set_to():
    found = settings_of(
        {
            "algorithm": "anq",
            "hyperparameters": {"beta": 3, "alpha": {"mean_of": "alpha"}, "penalty": "norm"},
            "data": [
                {"mix": {"dataset": {"id": "a"}, "ratio": 0.7}},
                {"reward": {"shift": -1}},
                {"drop": 0.2},
            ],
        }
    )
    shares = {"drop": 0.2, "mix.ratio": 0.7}
    assert found == {"algorithm": "anq", "beta": 3, "penalty": "norm", "reward.shift": -1, **shares}
    assert settings_of({}) == {"algorithm": "", "drop": 0, "mix.ratio": 0}


def test_a_sweep_is_of_columns_that_differ_in_one_number_alone(world):
    comparison, _ = world()
    row = comparison.rows[0]
    [sweep] = sweeps(row.cells)
    assert (sweep.setting, list(sweep.cells)) == ("alpha", [1, 2, 3])
    assert [cell.column for cell in sweep.cells.values()] == list(MEANS)
    assert sweeps(row.cells[:2]) == []  # two points are no line
    first, *others = row.cells
    other = replace(first, settings={**first.settings, "batch_size": 64})
    assert sweeps((other, *others)) == []
    assert sweeps([replace(cell, mean=None) for cell in row.cells]) == []


def test_scores_are_drawn_over_the_values_of_what_varies(world):
    [item] = illustrations(*world(), ["sensitivity"])
    assert item.name == "sensitivity-alpha"
    data = item.data
    assert set(data["line"]) == {"TD3+BC", "BC"}
    line = data[(data["line"] == "TD3+BC") & (data["dataset"] == ROWS[1])]
    assert line["value"].tolist() == [1, 2, 3]
    assert line["mean"].tolist() == pytest.approx([60, 70, 65])
    assert (line["low"] < line["mean"]).all()
    assert data[data["line"] == "BC"]["value"].isna().all()
    panel = item.figure.axes[0]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["1", "2", "3"]


def test_what_so_many_settings_are_expected_to_bring(world):
    [item] = illustrations(*world(lacking=[(ROWS[2], "alpha_3")]), ["tuning"])
    assert item.data["settings"].tolist() == [1, 2, 3]  # the two columns choose from the same three
    expected = [
        statistics.fmean(both)
        for both in zip(expected_best([40, 38, 39]), expected_best([60, 70, 65]), strict=True)
    ]
    assert item.data["mean"].tolist() == pytest.approx(expected)
    assert "2 datasets" in item.figure.axes[0].get_xlabel()


def test_a_table_without_such_columns_lacks_no_such_figures(world):
    comparison, past = world(algorithms=("bc",))
    drawn = {item.name for item in illustrations(comparison, past)}
    assert not any("sensitivity" in name or "tuning" in name for name in drawn)
    assert [item.figure for item in illustrations(comparison, past, ["sensitivity", "tuning"])] == [
        None,
        None,
    ]
