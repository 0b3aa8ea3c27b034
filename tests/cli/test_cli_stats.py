from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest


@pytest.fixture
def imported(cli, scores):
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0


@pytest.mark.parametrize("form", [[], ["-f", "markdown"], ["--json"]])
def test_what_is_used_and_what_is_left_out_is_said_everywhere(cli, imported, form):
    result = cli("stats", "aspc-table1", "--pairs", "--profile", "--reps", 200, *form)
    assert (result.code, result.err) == (0, "")
    for word in ("hopper-medium-v2", "antmaze-umaze-v2", "iql", "no complete cell", "pen-human-v1"):
        assert word in result.out
    assert "N/C" in result.out  # Maze2d's rows are not comparable
    assert "200" in result.out


def test_one_dataset_is_singular(cli, imported):
    result = cli("stats", "aspc-table1", "--datasets", "hopper-medium-v2", "--reps", 200, "-f", "markdown")
    assert "- Rests on: 1 dataset, 4 seeds: hopper" in result.out


def test_json_holds_method_seed_and_repetitions(cli, imported):
    arguments = ("stats", "aspc-table1", "--json", "--reps", 300, "--stat-seed", 7, "--metrics", "iqm, og")
    document = json.loads(cli(*arguments).out)
    assert document == json.loads(cli(*arguments).out)
    assert [one["metric"] for one in document["aggregates"]["aspc"]] == ["iqm", "og"]
    interval = document["aggregates"]["aspc"][0]["interval"]
    assert (interval["seed"], interval["repetitions"], interval["n"]) == (7, 300, 4)
    assert interval["method"] == "stratified percentile bootstrap"
    bca = json.loads(cli(*arguments, "--ci", "bca").out)["aggregates"]["aspc"][0]["interval"]
    assert bca["method"] == "stratified BCa bootstrap"


def test_the_presets_label_is_above_the_numbers(cli, scores):
    path = scores(rows=["maze2d-umaze-v1", "hopper-random-v2"], columns=["aspc", "td3_bc"], seeds=[0, 1])
    path.write_text(path.read_text().replace("1000000", "2000"))
    assert cli("db", "import", path, "--table", "aspc-table1", "--preset", "smoke").code == 0
    for form in ([], ["-f", "markdown"], ["--json"]):
        found = cli("stats", "aspc-table1", "--preset", "smoke", "--reps", 200, *form)
        assert found.code == 0, found.err
        assert "smoke protocol" in found.out
        assert "generated data" in found.out


def test_exported_matrices(cli, imported, elsewhere):
    result = cli("stats", "aspc-table1", "--reps", 200, "--export", "scores.npz", "-o", "statistics.md")
    assert (result.code, result.out) == (0, "")
    assert "over all datasets" in (elsewhere / "statistics.md").read_text()
    with np.load(elsewhere / "scores.npz") as file:
        assert {name for name in file if not name.startswith("_")} == {"aspc", "td3_bc"}
        assert file["aspc"].shape == (4, 2)
        assert file["_datasets"].tolist() == ["hopper-medium-v2", "antmaze-umaze-v2"]
        assert "N/C" in str(file["_warning"])
    assert cli("stats", "aspc-table1", "--reps", 200, "--export", "no/such/scores.npz").code == 4


def test_bad_arguments(cli, imported):
    unknown = cli("stats", "aspc-table1", "--metrics", "iqm,average")
    assert unknown.code == 2
    assert "'average'" in unknown.err
    assert cli("stats", "aspc-table1", "--reps", 5).code == 2
    nothing = cli("stats", "aspc-table1", "--datasets", "pen-*")
    assert nothing.code == 3
    assert "no complete cell" in nothing.err


@pytest.mark.parametrize("verb", ["table", "diff"])
def test_another_score_rule_is_not_comparable_and_said(cli, imported, verb):
    [same, other] = (cli(verb, "aspc-table1", "-f", "csv", "--score", rule) for rule in ("last", "best"))
    assert same.out == cli(verb, "aspc-table1", "-f", "csv").out
    rows = list(csv.DictReader(io.StringIO(other.out)))
    # the runs are the same ones: only what is read from their evaluations changes
    assert {row["n"] for row in rows if (row["row"], row["column"]) == ("hopper-medium-v2", "aspc")} == {"4"}
    for row in rows:
        assert row["verdict"].startswith("N/C")
        assert "score: best of the evaluations" in row["reasons"]
    text = cli(verb, "aspc-table1", "-f", "markdown", "--score", "mean_last").out
    assert "score: mean of the last 10 evaluations" in text


@pytest.mark.parametrize("verb", ["table", "diff"])
@pytest.mark.parametrize(
    ("ci", "method"),
    [("percentile", "exact percentile bootstrap"), ("bca", "exact BCa bootstrap"), ("t", "Student t")],
)
def test_intervals_of_cells(cli, imported, verb, ci, method):
    rows = list(csv.DictReader(io.StringIO(cli(verb, "aspc-table1", "-f", "csv", "--ci", ci).out)))
    assert {row["interval"] for row in rows if row["kind"] == "dataset"} == {"", method}
    assert method in cli(verb, "aspc-table1", "-f", "markdown", "--ci", ci).out


def test_other_formats_say_who_leads(cli, trained):
    trained("some.db", shift={"aspc": 30.0})
    choice = ("--preset", "smoke", "--db", "some.db", "--reps", 200)
    lines = list(csv.DictReader(cli("stats", "aspc-table1", "-f", "csv", *choice).out.splitlines()))
    assert {line["column"] for line in lines if line["leading"] == "True"} == {"aspc"}
    document = json.loads(cli("stats", "aspc-table1", "-f", "json", *choice).out)
    assert document["leaders"] == {metric: ["aspc"] for metric in ("iqm", "mean", "median", "og")}
    latex = cli("stats", "aspc-table1", "-f", "latex", "--level", 0.9, *choice).out
    assert r"90 \% stratified percentile bootstrap intervals from 200 resamples" in latex
    [line] = [line for line in latex.splitlines() if line.startswith("ASPC &")]
    assert line.count(r"\textbf") == 2 * 4
    assert latex.count(r"\textbf") == 2 * 4
    whole = cli("stats", "aspc-table1", "-f", "csv", "--pairs", "--profile", *choice).out
    found = {line["statistic"] for line in csv.DictReader(whole.splitlines())}
    assert found == {"iqm", "mean", "median", "og", "improvement", "profile of runs", "profile of means"}
    assert "a level is between 0 and 1" in cli("stats", "aspc-table1", "--level", 2, *choice).err
