"""What `db import` says of scores, keeps of them and shows."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from pathlib import Path

import pytest

from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.imports import import_rows
from harness.results import transfer
from harness.results.store import Store
from harness.specs import Specs

IMPORT = ("db", "import", "scores.csv", "--table", "aspc-table1")


@pytest.fixture
def write(elsewhere):
    """Writes a file of scores; `more` are the texts of further columns."""

    def file(
        seeds=range(4),
        steps=(1_000_000,),
        row="hopper-medium-v2",
        score=60.0,
        name="scores.csv",
        column="aspc",
        **more,
    ):
        lines = [",".join(["dataset,algorithm,seed,step,score", *more])]
        lines += [
            ",".join([f"{row},{column},{seed},{step},{score + seed / 2}", *more.values()])
            for seed in seeds
            for step in steps
        ]
        (elsewhere / name).write_text("\n".join(lines) + "\n")

    return file


def cell(cli, *options, row="hopper-medium-v2"):
    text = cli("table", "aspc-table1", "-f", "csv", *options).out
    return next(r for r in csv.DictReader(io.StringIO(text)) if (r["row"], r["column"]) == (row, "aspc"))


def test_what_will_be_seen_is_said(cli, write):
    write(seeds=range(10), steps=(500_000, 1_000_000))
    done = cli(*IMPORT)
    assert done.code == 0
    assert (
        "20 scores: 4 shown, 16 not: seeds 4 to 9 are not in protocol d4rl-1m; "
        "step 500,000 is not what protocol d4rl-1m counts; --seeds all of table, diff, stats and report "
        "shows every seed"
    ) in done.err
    write()
    assert "4 scores: 4 shown\n" in cli(*IMPORT).err


def test_nothing_to_be_seen_is_3(cli, write):
    write(seeds=[7, 8])
    done = cli(*IMPORT)
    assert done.code == 3
    assert "2 scores: 0 shown, 2 not: seeds 7, 8 are not in protocol d4rl-1m" in done.err
    write(steps=[999])
    assert cli(*IMPORT).code == 3


def test_a_score_beyond_all_computing_is_refused_with_its_line(cli, write):
    write(seeds=[0], score=1e308)
    result = cli("db", "import", "scores.csv", "--table", "aspc-table1")
    assert (result.code, result.err) == (2, "error: scores.csv:2: score: 1e+308 is too large\n")


def test_every_seed_is_shown_on_request(cli, write):
    write(seeds=[0, 1, 2, 3, 8])
    assert cli(*IMPORT).code == 0
    assert cell(cli)["n"] == "4"
    assert cell(cli, "--seeds", "all")["n"] == "5"
    assert cell(cli, "--seeds", "all")["scores"].split()[-1] == "8:64.0"
    assert "(5)" in cli("diff", "aspc-table1", "--datasets", "hopper-medium-v2", "--seeds", "all").out
    choice = ("--datasets", "hopper-medium-v2", "--algorithms", "aspc", "--seeds", "all", "--json")
    assert json.loads(cli("stats", "aspc-table1", *choice).out)["seeds"] == [0, 1, 2, 3, 8]
    assert cli("table", "aspc-table1", "--seeds", "0-3").code == 2


def test_a_score_from_elsewhere_met_no_environment_of_ours(cli, write):
    """Our AntMaze makes scores N/C; those of a file were measured elsewhere, unless it says otherwise."""
    row = "antmaze-umaze-v2"
    write(row=row)
    assert cli(*IMPORT).code == 0
    found = cell(cli, row=row)
    assert (found["reasons"], found["verdict"] != "N/C") == ("", True)
    write(row=row, environment="harness/antmaze-umaze", name="ours.csv", score=61)
    cli("db", "import", "ours.csv", "--table", "aspc-table1", "--db", "other.db")
    assert "environment harness/antmaze-umaze" in cell(cli, "--db", "other.db", row=row)["reasons"]


def test_only_what_the_file_says_is_kept(cli, write, elsewhere):
    write(commit="abc123", episodes="10")
    assert cli(*IMPORT).code == 0
    notes = cell(cli)["notes"]
    assert "imported from scores.csv, commit abc123, episodes 10" in notes
    with sqlite3.connect(elsewhere / "results.db") as database:
        [[text]] = database.execute("SELECT content FROM configuration").fetchall()
    assert json.loads(text).keys() == {"algorithm", "settings", "dataset", "source"}
    assert cli("db", "check").code == 0


def test_a_second_source_stands_beside_the_first(cli, write):
    write()
    assert cli(*IMPORT).code == 0
    write(score=70.0, name="other.csv")
    done = cli("db", "import", "other.csv", "--table", "aspc-table1", "--source", "another lab")
    assert done.code == 3
    assert "4 scores: 0 shown, 4 not: 4 beside scores of the same cells that were" in done.err
    found = cell(cli)
    assert float(found["mean"]) == pytest.approx(60.75)
    assert "also imported from another lab: 70.8 ± 0.6 (4 seeds)" in found["notes"]
    write(score=71.0)
    assert "name another --source" in cli(*IMPORT).err


def test_an_earlier_step_of_a_second_source_counts_where_its_last_came_before(cli, write):
    """The protocol counts the mean of the last three evaluations."""
    here = {"row": "antmaze-large-navigate-singletask-task1-v0", "column": "iql", "seeds": range(1)}
    write(steps=(800_000, 900_000, 1_000_000), **here)
    table = ("--table", "aspc-table4")
    assert cli("db", "import", "scores.csv", *table).code == 0
    for step in (1_000_000, 900_000):
        write(name="other.csv", steps=(step,), **here)
        done = cli("db", "import", "other.csv", *table, "--source", "another lab")
        assert "1 score: 0 shown, 1 not: 1 beside scores of the same cells" in done.err


def test_of_two_sources_in_a_file_one_is_beside_the_other(cli, write):
    write(name="one.csv", seeds=range(1), source="a")
    write(score=70.0, name="two.csv", seeds=range(1), source="b")
    lines = Path("one.csv").read_text().splitlines() + Path("two.csv").read_text().splitlines()[1:]
    Path("scores.csv").write_text("\n".join(lines) + "\n")
    assert "2 scores: 1 shown, 1 not: 1 beside scores of the same cells" in cli(*IMPORT).err


@pytest.mark.parametrize("name", ["scores.csv", "renamed.csv"])
def test_a_file_that_was_imported_before_sources_were_kept_is_no_second_source(cli, write, name):
    write()
    path = Path("scores.csv")
    rows = import_rows(
        resolve(Specs(), "aspc-table1", Choice()), transfer.read_scores_csv(path), path, sourceless=True
    )
    with Store.open("results.db", create=True) as store:
        transfer.import_scores(store, rows, path)
        assert store.sources() == ("",)
    path.rename(name)
    done = cli("db", "import", name, "--table", "aspc-table1")
    assert (done.code, "0 scores added, 4 were there already" in done.err) == (0, True)
    assert "also imported" not in cell(cli)["notes"]
    if name == "scores.csv":  # with more in it, it is still the same source
        write(seeds=range(5))
        assert "1 score added, 4 were there already" in cli(*IMPORT).err
        assert cell(cli, "--seeds", "all")["n"] == "5"


def test_fractions_beside_printed_per_cents_are_asked_about(cli, write):
    write(score=0.6, seeds=[0, 1])
    done = cli(*IMPORT)
    assert done.code == 2
    assert "no score in scores.csv is above 1.5" in done.err
    assert "--scale 1 to multiply them by 100, or --scale 100" in done.err
    with pytest.MonkeyPatch.context() as patch:  # a terminal that is closed in the midst of the question
        patch.setattr("sys.stdin", io.StringIO())
        patch.setattr("sys.stdin.isatty", lambda: True)
        closed = cli(*IMPORT)
    assert (closed.code, "--scale 1 to multiply" in closed.err) == (2, True)
    assert cli(*IMPORT, "--scale", "1").code == 0
    assert float(cell(cli)["mean"]) == pytest.approx(85.0)
    assert cli(*IMPORT, "--scale", "100", "--source", "b", "--db", "b.db").code == 0
    assert float(cell(cli, "--db", "b.db")["mean"]) == pytest.approx(0.85)


def test_the_scores_that_a_printed_number_was_made_of_are_not_tested_against_it(cli, elsewhere):
    """ASPC on hopper-medium is printed as 92.7 7.2, which these four scores give."""
    for scores, tested in (([82.8, 92.4, 96.1, 99.5], False), ([82.8, 92.4, 96.1, 99.9], True)):
        lines = [f"hopper-medium-v2,aspc,{seed},1000000,{score}" for seed, score in enumerate(scores)]
        (elsewhere / "scores.csv").write_text("\n".join(["dataset,algorithm,seed,step,score", *lines]))
        assert cli(*IMPORT, "--db", f"{tested}.db").code == 0
        found = cell(cli, "--db", f"{tested}.db")
        assert (found["p"] != "") == tested
        assert ("from the same scores: not tested" not in found["notes"]) == tested


def test_scores_written_per_seed_are_read_again(cli, trained, elsewhere):
    trained("some.db")
    choice = ("--preset", "smoke")
    per_seed = ("table", "aspc-table1", "-f", "csv", "--per-seed", *choice)
    written = cli(*per_seed, "--db", "some.db", "-o", "out.csv")
    assert written.code == 0
    lines = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert set(lines[0]) == {"dataset", "algorithm", "seed", "step", "score", "return", "source"}
    assert cli("db", "import", "out.csv", "--table", "aspc-table1", *choice, "--db", "new.db").code == 0

    def means(database):
        found = json.loads(cli("table", "aspc-table1", "-f", "json", *choice, "--db", database).out)
        rows = [row for group in found["groups"] for row in group["rows"]]
        return [cell["mean"] for row in rows for cell in row["cells"]]

    assert means("new.db") == pytest.approx(means("some.db"))
    assert cli("table", "aspc-table1", "--per-seed").code == 2
    assert cli(*per_seed, "--digits", "2", "--db", "some.db").code == 2


RUNS = "Name,State,env,algo,Seed,_step,final_score,lr\n"


def test_a_table_of_runs_of_weights_and_biases(cli, elsewhere):
    Path("runs.csv").write_text(
        RUNS
        + "".join(f"r{seed},finished,hopper-medium-v2,aspc,{seed},9,{90 + seed},0.1\n" for seed in range(4))
    )
    given = ("db", "import", "runs.csv", "--table", "aspc-table1")
    asked = cli(*given)
    assert asked.code == 2
    assert "table of runs; say which of its columns are which" in asked.err
    mapping = "dataset=env,algorithm=algo,seed=Seed,score=final_score"
    done = cli(*given, "--map", mapping, "--map", "step==1000000", "--map", "rate=lr")
    assert done.code == 0, done.err
    table = cli(
        "table", "aspc-table1", "-f", "json", "--datasets", "hopper-medium-v2", "--algorithms", "aspc"
    ).out
    [cell] = json.loads(table)["groups"][0]["rows"][0]["cells"]
    assert cell["mean"] == 91.5
    assert "rate 0.1" in " ".join(cell["notes"])
    Path("runs.csv").write_text(RUNS + "r,crashed,hopper-medium-v2,aspc,0,999,90,0.1\n")
    assert "the run is 'crashed'" in cli(*given, "--map", mapping, "--map", "step==1000000").err


@pytest.mark.parametrize(
    "header",
    ["Step,aspc - score,aspc - score__MIN,aspc - score__MAX", "_step,_timestamp,_runtime,score"],
)
def test_a_sampled_history_is_refused(cli, elsewhere, header):
    Path("history.csv").write_text(f"{header}\n1,2,3,4\n")
    result = cli("db", "import", "history.csv", "--table", "aspc-table1", "--map", "score=score")
    assert result.code == 2
    assert "history is sampled" in result.err
    assert "export the table of runs" in result.err


@pytest.mark.parametrize("mapping", ["score", "=x", "score=", "score==", "score=a,score=b"])
def test_mappings_that_are_none(cli, elsewhere, mapping):
    result = cli("db", "import", "x.csv", "--table", "aspc-table1", "--map", mapping)
    assert result.code == 2
    assert "NAME=COLUMN" in result.err


def test_a_column_that_the_file_lacks_is_named(cli, scores):
    result = cli("db", "import", scores(), "--table", "aspc-table1", "--map", "score=final")
    assert (result.code, "column 'final' is missing" in result.err) == (2, True)
