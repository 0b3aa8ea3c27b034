from __future__ import annotations

import json
import statistics

import pytest

from harness.planning.cells import resolve
from harness.results.store import Store
from harness.specs import Specs

CHOICE = ("--preset", "smoke", "--db", "some.db")
ALPHAS = {"maze2d-umaze-v1": (3.0, 3.5), "hopper-random-v2": (0.25, float("nan"))}


@pytest.fixture
def measured(elsewhere):
    """ASPC's runs of the miniature have reported α twice, and one of them something else."""
    resolved = resolve(Specs(), "aspc-table1", preset="smoke", columns="aspc")
    with Store.open("some.db", create=True) as store:
        for cell in resolved.cells:
            keys = [run.key for run in cell.runs]
            store.register(cell.runs)
            store.claim(keys)
            store.record_metrics(1000, {key: {"alpha": 2.0} for key in keys})
            values = ALPHAS[cell.dataset.id]
            store.record_metrics(2000, {k: {"alpha": v} for k, v in zip(keys, values, strict=True)})
        store.record_metrics(2000, {keys[0]: {"critic_loss": 1.0}})


def test_each_cell_has_its_mean_and_deviation(cli, measured):
    found = cli("metrics", "aspc-table1", "alpha", *CHOICE)
    assert found.code == 0
    assert "smoke protocol" in found.err
    assert "generated data" in found.err
    lines = found.out.splitlines()
    assert lines[0].split() == ["Dataset", "ASPC"]
    assert lines[1].split() == ["hopper-random-v2", "nan"]
    assert lines[2].split() == ["maze2d-umaze-v1", "3.250", "±", f"{statistics.stdev((3.0, 3.5)):.2g}"]


def test_an_earlier_step_and_missing_seeds(cli, measured):
    earlier = cli("metrics", "aspc-table1", "alpha", "--at", 1000, *CHOICE)
    assert earlier.out.count("2.000 ± 0") == 2
    markdown = cli("metrics", "aspc-table1", "critic_loss", "-f", "markdown", *CHOICE).out
    assert markdown.startswith("**Not trained as the paper did: ")
    assert markdown.splitlines()[2:] == [
        "| Dataset | ASPC |",
        "| :--- | ---: |",
        "| maze2d-umaze-v1 | 1.000 (1/2) |",
    ]


def test_json_holds_every_seed(cli, measured):
    document = json.loads(cli("metrics", "aspc-table1", "alpha", "--json", *CHOICE).out)
    assert (document["metric"], document["step"], document["lineage"]) == ("alpha", 2000, "generated")
    assert "generated data" in document["warning"]
    cells = {(cell["row"], cell["column"]): cell for cell in document["cells"]}
    assert cells["maze2d-umaze-v1", "aspc"]["values"] == {"0": 3.0, "1": 3.5}
    assert cells["hopper-random-v2", "aspc"]["values"] == {"0": 0.25, "1": None}  # JSON has no NaN
    assert cells["maze2d-umaze-v1", "td3_bc"]["mean"] is None


def test_names_are_listed_and_wrong_ones_corrected(cli, measured):
    assert cli("metrics", "aspc-table1", *CHOICE).out.split() == ["alpha", "critic_loss"]
    wrong = cli("metrics", "aspc-table1", "alpa", *CHOICE)
    assert (wrong.code, "did you mean alpha?" in wrong.err) == (2, True)
    never = cli("metrics", "aspc-table1", "alpha", "--at", 7, *CHOICE)
    assert (never.code, "--at" in never.err) == (3, True)


def test_without_any_run_it_is_said_what_makes_them(cli, measured):
    nothing = cli("metrics", "aspc-table1", "alpha", "--db", "some.db")
    assert (nothing.code, "`harness reproduce` trains them" in nothing.err) == (3, True)
