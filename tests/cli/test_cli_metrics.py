from __future__ import annotations

import json
import math
import statistics

import pytest

from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.store import Store
from harness.specs import Specs

CHOICE = ("--preset", "smoke", "--db", "some.db")
ALPHAS = {"maze2d-umaze-v1": (3.0, 3.5), "hopper-random-v2": (0.25, float("nan"))}


CAPTION = "alpha after 2,000 updates: mean ± standard deviation (ddof 1) over 2 seeds"


@pytest.fixture
def measured(elsewhere):
    """ASPC's runs of the miniature have reported α twice, and one of them something else."""
    resolved = resolve(Specs(), "aspc-table1", Choice(preset="smoke", algorithms=("aspc",)))
    with Store.open("some.db", create=True) as store:
        for cell in resolved.cells:
            keys = [run.key for run in cell.runs]
            store.register(cell.runs)
            store.claim(keys)
            store.record_metrics(1000, {key: {"alpha": 2.0} for key in keys})
            values = ALPHAS[cell.dataset.id]
            store.record_metrics(2000, {k: {"alpha": v} for k, v in zip(keys, values, strict=True)})
            if cell.dataset.id == "maze2d-umaze-v1":
                store.record_metrics(2000, {keys[0]: {"critic_loss": 1.0}})
    return {(cell.dataset.id, run.seed): run.key for cell in resolved.cells for run in cell.runs}


def fail(*keys):
    with Store.open("some.db") as store:
        for key in keys:
            store.fail(key, 2000, "Traceback\n  ...\nDivergedError: loss is NaN\n")


def test_each_cell_has_its_mean_and_deviation(cli, measured):
    found = cli("metrics", "aspc-table1", "alpha", *CHOICE)
    assert (found.code, found.err) == (0, "")
    warning, caption, empty, *lines = found.out.splitlines()
    assert warning == (
        "Not comparable with the paper: generated data; smoke protocol; "
        "environment harness/maze2d-umaze (1 of 2 cells)."
    )
    assert (caption, empty) == (CAPTION, "")
    assert lines[0].split() == ["Dataset", "ASPC"]
    assert lines[1].split() == ["hopper-random-v2", "nan"]
    assert lines[2].split() == ["maze2d-umaze-v1", "3.250", "±", f"{statistics.stdev((3.0, 3.5)):.2g}"]


@pytest.mark.parametrize(
    ("values", "shown"),
    [((math.inf, -math.inf), "nan"), ((1.7e308, 1.7e308), "inf"), ((1e200, -1e200), "0.000")],
)
def test_numbers_beyond_all_computing_are_shown_as_far_as_they_go(cli, measured, values, shown):
    keys = [key for (dataset, _), key in measured.items() if dataset == "hopper-random-v2"]
    with Store.open("some.db") as store:
        store.record_metrics(2000, {key: {"huge": value} for key, value in zip(keys, values, strict=True)})
    found = cli("metrics", "aspc-table1", "huge", *CHOICE)
    assert found.code == 0, found.err
    assert found.out.splitlines()[4].split() == ["hopper-random-v2", shown]


def test_an_earlier_step_and_missing_seeds(cli, measured):
    earlier = cli("metrics", "aspc-table1", "alpha", "--at", 1000, *CHOICE)
    assert earlier.out.count("2.000 ± 0") == 2
    assert "alpha after 1,000 updates: " in earlier.out
    markdown = cli("metrics", "aspc-table1", "critic_loss", "-f", "markdown", *CHOICE).out
    assert markdown.splitlines() == [
        r"# ASPC, Table 1: critic\_loss",
        "",
        "**Not comparable with the paper: generated data; smoke protocol; "
        "environment harness/maze2d-umaze.**",
        "",
        "| Dataset | ASPC |",
        "| :--- | ---: |",
        "| maze2d-umaze-v1 | 1.000 (1/2) |",
        "",
        r"- Values: critic\_loss after 2,000 updates: mean ± standard deviation (ddof 1) over 2 seeds, "
        "or over k of n where (k/n) stands",
    ]


def test_only_what_is_shown_gives_reasons(cli, measured):
    """The maze's environment is no matter of hopper."""
    fail(measured["maze2d-umaze-v1", 0], measured["maze2d-umaze-v1", 1])
    found = cli("metrics", "aspc-table1", "alpha", *CHOICE)
    assert found.out.startswith("Not comparable with the paper: generated data; smoke protocol.\n")


def test_failed_runs_are_not_averaged(cli, measured):
    fail(measured["maze2d-umaze-v1", 0])
    [line] = [
        line
        for line in cli("metrics", "aspc-table1", "alpha", *CHOICE).out.splitlines()
        if line.startswith("maze2d-umaze-v1")
    ]
    assert line.split()[1:] == ["3.500", "(1/2)"]
    fail(*(key for place, key in measured.items() if place != ("maze2d-umaze-v1", 0)))
    nothing = cli("metrics", "aspc-table1", "alpha", *CHOICE)
    assert nothing.code == 3
    assert "every run that reported alpha failed; `harness retry aspc-table1 --preset smoke" in nothing.err


def test_json_holds_every_seed(cli, measured):
    document = json.loads(cli("metrics", "aspc-table1", "alpha", "--json", *CHOICE).out)
    assert (document["metric"], document["lineage"]) == ("alpha", "generated")
    assert {cell["step"] for cell in document["cells"]} == {2000}
    assert "generated data" in document["warning"]
    assert document["caption"] == CAPTION
    cells = {(cell["row"], cell["column"]): cell for cell in document["cells"]}
    assert cells["maze2d-umaze-v1", "aspc"]["values"] == {"0": 3.0, "1": 3.5}
    assert cells["hopper-random-v2", "aspc"]["values"] == {"0": 0.25, "1": None}  # JSON has no NaN
    assert cells["maze2d-umaze-v1", "td3_bc"]["mean"] is None


def test_names_are_listed_and_wrong_ones_corrected(cli, measured):
    assert cli("metrics", "aspc-table1", *CHOICE).out.split() == ["alpha", "critic_loss"]
    wrong = cli("metrics", "aspc-table1", "alpa", *CHOICE)
    assert (wrong.code, "did you mean alpha?" in wrong.err) == (2, True)
    never = cli("metrics", "aspc-table1", "alpha", "--at", 7, *CHOICE)
    assert (never.code, "after 7 updates; --at takes any of 2: 1000, 2000\n" in never.err) == (3, True)


def test_many_steps_are_not_all_listed(cli, measured):
    with Store.open("some.db") as store:
        for step in range(100, 1000, 100):
            store.record_metrics(step, {measured["maze2d-umaze-v1", 0]: {"alpha": 1.0}})
    never = cli("metrics", "aspc-table1", "alpha", "--at", 7, *CHOICE)
    assert "--at takes any of 11: 100, 200, …, 2000\n" in never.err


@pytest.mark.parametrize("name", [(), ("alpha",)])
def test_without_any_run_it_is_said_what_makes_them(cli, measured, name):
    chosen = ("--datasets", "hopper-*", "--db", "some.db")
    nothing = cli("metrics", "aspc-table1", *name, *chosen)
    assert nothing.code == (3 if name else 0)
    assert "`harness reproduce aspc-table1 --datasets 'hopper-*' --db some.db` trains them" in nothing.err
