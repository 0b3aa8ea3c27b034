"""`sources`, `db import --from` and `stats --sources`, from a folder of specs with a source of its own."""

import csv
import hashlib
import json
import pickle

import numpy as np
import pytest

import harness
from harness.errors import IncompleteError, UnknownNameError
from harness.specs import Specs

# four seeds with mean 0 and standard deviation 1 (ddof 1)
SPREAD = np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(5 / 3)


def add(folder, name, content, **spec):
    sources = folder / "sources"
    sources.mkdir(parents=True, exist_ok=True)
    (sources / f"{name}.csv").write_text(content)
    file = {"path": f"{name}.csv", "format": "csv", "sha256": hashlib.sha256(content.encode()).hexdigest()}
    spec = {"id": name, "title": name, "licence": "MIT", "files": [file], **spec}
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in spec.items())
    (sources / f"{name}.yaml").write_text(text)


@pytest.fixture
def mine(elsewhere):
    """A folder with a source whose scores are behind the printed column of ASPC, but for three cells."""
    specs = Specs()
    table = specs.table("aspc-table1")
    rows = [["dataset", "algorithm", "seed", "step", "score", "setting"]]
    for place, cell in specs.published(table).items():
        if cell.column == "aspc" and cell.std:
            shift = 7 if place[0].startswith("maze2d") else 0
            scores = cell.mean + shift + 0.05 + (cell.std + 0.05) * SPREAD
            rows += [[place[0], "ASPC", seed, 1_000_000, score, "0.995"] for seed, score in enumerate(scores)]
    content = "\n".join(",".join(map(str, row)) for row in rows) + "\n"
    add(elsewhere / "mine", "mine", content, algorithms={"ASPC": "aspc"}, settings={"aspc": ["soft_update"]})
    return elsewhere / "mine"


def test_ls_and_show(cli, mine):
    listed = json.loads(cli("--specs", mine, "sources", "ls", "--json").out)
    assert {"id": "mine", "files": 1, "here": 1, "licence": "MIT", "title": "mine"} in listed
    assert "rebrac-2023" in cli("sources", "ls").out
    shown = cli("sources", "show", "rebrac-2023").out
    assert "SHA-256 e3b93a68b8b2075b5eef9e5c4d23b93b9214562e9c2c54eb572c2bc6730a4dbb): 0 of 1 here" in shown
    assert "Caveat: " in shown
    assert json.loads(cli("sources", "show", "mine-not", "--json").out or "null") is None
    assert "did you mean" in cli("sources", "show", "rebrac-2032").err


def test_check_from_python(mine):
    frame = harness.check_sources("aspc-table1", "mine", specs=mine)
    assert not frame.duplicated(["dataset", "column"]).any()
    aspc = frame[frame["column"] == "aspc"].set_index("dataset")
    derived = aspc.loc["hopper-medium-v2"]
    assert (derived["verdict"], derived["source"], derived["n"]) == ("DERIVED", "mine", 4)
    assert derived["rule"] == "last, all 4 seeds, ddof 1, cut off"
    assert aspc.loc["maze2d-umaze-v1", "verdict"] == "DIFFERENT"
    others = frame[frame["column"] == "wpc"]
    assert set(others["verdict"]) == {"NO SOURCE"}
    assert others["rule"].isna().all()
    with pytest.raises(UnknownNameError):
        harness.check_sources("aspc-table1", ["nobody"], specs=mine)
    with pytest.raises(IncompleteError, match="no source is on this machine"):
        harness.check_sources("aspc-table1", "corl-offline")


def test_check(cli, mine):
    arguments = ("--specs", mine, "sources", "check", "aspc-table1", "--source", "mine")
    found = json.loads(cli(*arguments, "--json").out)
    [aspc] = [column for column in found["columns"] if column["id"] == "aspc"]
    by_row = {cell["row"]: cell for cell in aspc["cells"]}
    assert by_row["hopper-medium-v2"]["check"] == "DERIVED"
    assert by_row["hopper-medium-v2"]["rule"]["rounding"] == "cut off"
    assert by_row["maze2d-umaze-v1"]["check"] == "DIFFERENT"
    assert by_row["antmaze-umaze-v2"]["check"] == "DERIVED"
    [believed] = aspc["believed"]
    assert believed["shuffled"] == 0.001
    assert {(each["name"], each["source"], each["spec"]) for each in aspc["settings"]} == {
        ("soft_update", 0.995, 0.005)
    }
    text = cli(*arguments)
    assert text.code == 0
    assert "aspc-table1: aspc: hopper-medium-v2: " in text.out
    assert "ASPC: mine gives" in text.out
    assert "the published file says otherwise of" in text.err
    assert cli(*arguments, "--recorded").code == 1
    markdown = cli(*arguments, "-f", "markdown").out
    assert "| ASPC | " in markdown
    assert "| hopper-medium-v2 |" in markdown
    latex = cli(*arguments, "-f", "latex", "-o", "check.tex")
    assert latex.out == ""
    assert r"\textsuperscript{d}" in (mine.parent / "check.tex").read_text()


def test_nothing_at_hand_is_3(cli):
    done = cli("sources", "check", "aspc-table1")
    assert done.code == 3
    assert "no source is on this machine; `harness sources pull" in done.err
    done = cli("sources", "check", "aspc-table2")
    assert (done.code, done.err.partition(",")[0]) == (
        3,
        "error: aspc-table2 has no printed cell of a dataset",
    )


def test_pulling_another_file_is_a_sentence(cli, elsewhere):
    (elsewhere / "scores.pickle").write_bytes(pickle.dumps({}))
    done = cli("sources", "pull", "rebrac-2023", "--file", "scores.pickle")
    assert done.code == 4
    assert "scores.pickle has the SHA-256" in done.err
    assert not (elsewhere / "data").exists()


def test_import_keeps_where_scores_come_from(cli, mine):
    arguments = ("--specs", mine, "db", "import", "--from", "mine", "--table", "aspc-table1")
    assert cli("db", "import", "--table", "aspc-table1").code == 2
    done = cli(*arguments)
    assert done.code == 0
    assert " shown" in done.err
    assert "0 scores added" in cli(*arguments).err
    shown = json.loads(cli("table", "aspc-table1", "-f", "json").out)
    [cell] = [
        cell
        for group in shown["groups"]
        for row in group["rows"]
        for cell in row["cells"]
        if (cell["row"], cell["column"]) == ("hopper-medium-v2", "aspc")
    ]
    [note] = [note for note in cell["notes"] if note.startswith("imported from mine")]
    assert "licence MIT" in note
    assert "settings soft_update=0.995" in note


def test_a_column_with_settings_of_its_own_is_left(cli, mine):
    add(
        mine,
        "other",
        "dataset,algorithm,seed,step,score\nhopper-medium-v2,TD3+BC,0,1000000,1\n",
        algorithms={"TD3+BC": "td3_bc"},
    )
    done = cli("--specs", mine, "db", "import", "--from", "other", "--table", "aspc-table1")
    assert done.code == 3
    assert "other: TD3+BC is not imported as td3_bc: the column has settings of its own (critic)" in done.err


def test_printed_columns_against_seeds(cli, mine):
    arguments = ("--specs", mine, "stats", "aspc-table1", "--sources", "--algorithms", "aspc,iql")
    found = {each["column"]: each for each in json.loads(cli(*arguments, "--json").out)}
    # the printed column and its own scores: equal but where they were moved by 7
    assert found["aspc"]["lower"] + found["aspc"]["higher"] + found["aspc"]["equal"] <= 38
    assert found["aspc"]["difference"] == pytest.approx(-7 * 3 / len(found["aspc"]["rows"]) - 0.05, abs=0.01)
    assert found["iql"]["lower"] > 5
    assert cli(*arguments, "--pairs").code == 2
    assert "| ASPC | mine | ASPC |" in cli(*arguments, "-f", "markdown").out


def test_publishing_is_read_elsewhere(cli, elsewhere, trained):
    trained(elsewhere / "mine.db", preset=None, only=lambda dataset, column, seed: column == "aspc")
    options = ("--db", "mine.db", "-o", "public", "--licence", "CC-BY-4.0")
    done = cli("sources", "publish", "aspc-table1", *options)
    assert done.code == 0, done.err
    assert "156 runs written as source aspc-table1; 0 imported left out" in done.err
    rows = list(csv.DictReader((elsewhere / "public/sources/aspc-table1/scores.csv").open()))
    assert {row["algorithm"] for row in rows} == {"aspc"}
    assert len({row["seed"] for row in rows}) == 4
    provenance = json.loads((elsewhere / "public/sources/aspc-table1/provenance.json").read_text())["runs"]
    assert provenance[0]["fingerprint"]["torch"] == "2.12"
    assert provenance[0]["configuration"]["hyperparameters"]
    read = cli("--specs", "public", "sources", "check", "aspc-table1", "--source", "aspc-table1", "--json")
    [aspc] = [column for column in json.loads(read.out)["columns"] if column["id"] == "aspc"]
    assert aspc["searched"] > 0
    assert cli("sources", "publish", "aspc-table1", *options).code == 4
    assert cli("sources", "publish", "aspc-table1", "--db", "none.db", *options[2:]).code == 4
