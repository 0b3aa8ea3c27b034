from __future__ import annotations

import csv
import io
import json

import pytest

from harness.specs import Specs


def test_findings_are_data(cli):
    result = cli("audit", "aspc-table1")
    assert result.code == 0
    assert result.out.startswith("aspc-table1: error: average: TD3+BC*, MuJoCo Avg: 70.7 is printed")
    assert result.err == f"{len(result.out.splitlines())} findings in 1 table\n"


def test_all_tables_as_json(cli):
    result = cli("audit", "--all", "--json")
    assert result.code == 0
    documents = json.loads(result.out)
    assert [document["table"] for document in documents] == Specs().ids("tables")
    finding = next(document["findings"][0] for document in documents if document["findings"])
    assert list(finding) == ["kind", "severity", "cells", "sentence"]


def test_all_tables_as_markdown(cli):
    markdown = cli("audit", "--all", "-f", "markdown").out
    headings = [line for line in markdown.splitlines() if line.startswith("### ")]
    assert headings == [f"### {Specs().table(name).title}" for name in Specs().ids("tables")]
    assert "- error: TD3+BC\\*, MuJoCo Avg: 70.7 is printed" in markdown


@pytest.mark.parametrize("arguments", [[], ["aspc-table1", "--all"]], ids=["none", "both"])
def test_one_table_or_all(cli, arguments):
    result = cli("audit", *arguments)
    assert (result.code, result.out) == (2, "")
    assert "name one table, or give --all" in result.err


def test_an_unknown_table(cli):
    result = cli("audit", "aspc-tabel1")
    assert result.code == 2
    assert "aspc-table1" in result.err


@pytest.fixture
def mine(elsewhere):
    """A folder of specs whose one table prints a wrong average, and whose labels are up to no good."""
    folder = elsewhere / "mine"
    for name in ("tables", "published"):
        (folder / name).mkdir(parents=True)
    (folder / "tables" / "mine.yaml").write_text(
        "id: mine\nversion: 1\ntitle: <script>Mine</script>\npaper: {title: P, authors: A, year: 2026}\n"
        "lineage: d4rl\nprotocol: d4rl-1m\ngroups:\n"
        "  - {id: g, label: G, datasets: [hopper-medium-v2, hopper-expert-v2], average: Avg}\ncolumns:\n"
        '  - {id: a, label: "A\\e[2J|*", algorithm: td3_bc}\n'
        "published: {file: ../published/mine.csv, seeds: 4, ddof: 1}\n"
    )
    (folder / "published" / "mine.csv").write_text(
        "row,column,mean,std,source,note\nhopper-medium-v2,a,60.0,1.5,own,\n"
        "hopper-expert-v2,a,100.0,2.5,own,\ng,a,85.0,,own,\n"
    )
    return folder


def test_own_tables_and_hostile_labels(cli, mine):
    text = cli("--specs", mine, "audit", "mine").out
    assert "A\\u001b[2J|*, Avg: 85.0 is printed, the printed cells give 80" in text
    markdown = cli("--specs", mine, "audit", "mine", "-f", "markdown").out
    assert "<script>" not in markdown
    assert "\x1b" not in markdown
    assert r"\|\*" in markdown


def test_wrong_numbers_are_a_spec_error(cli, mine):
    (mine / "published" / "mine.csv").write_text(
        'row,column,mean,std,source,note\nhopper-medium-v2,a,"60,0",1.5,own,\n'
    )
    result = cli("--specs", mine, "audit", "mine")
    assert (result.code, result.out) == (2, "")
    assert "mine.csv:2: mean: '60,0' is no number; write the decimal point as '.'" in result.err
    # another table's wrong file is told where that table is asked for
    assert cli("--specs", mine, "audit", "aspc-table1").code == 0


# -- footnotes of printed tables ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["markdown", "latex", "json"])
def test_every_finding_is_a_footnote(cli, scores, form):
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    printed = cli("table", "aspc-table1", "-f", form).out
    findings = json.loads(cli("audit", "aspc-table1", "--json").out)[0]["findings"]
    plain = printed.replace("\\", "").replace("{*}", "*")
    for finding in findings:
        assert finding["sentence"].replace("\\", "") in plain, finding["sentence"]
    if form == "json":
        assert json.loads(printed)["findings"] == findings


def test_csv_has_findings_beside_the_cells(cli, scores):
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    records = csv.DictReader(io.StringIO(cli("table", "aspc-table1", "-f", "csv").out))
    noted = {(record["row"], record["column"]): record["audit"] for record in records}
    assert "repeat hopper-medium-v2" in noted["walker2d-expert-v2", "td3_bc"]
    assert "77.922" in noted["mujoco", "wpc"]
    assert noted["hopper-random-v2", "aspc"] == ""


def test_only_footnotes_of_what_is_shown(cli, scores):
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    printed = cli("table", "aspc-table1", "--datasets", "hopper-random-v2", "--algorithms", "aspc").out
    assert "Audit:" not in printed
    assert "Tarasov" not in printed
    some = cli("table", "aspc-table1", "--datasets", "*-expert-v2", "--algorithms", "td3_bc").out
    assert some.count("Audit:") == 1
    assert "repeat hopper-medium-v2" in some
    assert "MuJoCo Avg: 70.7 is printed" not in some  # the average itself is not shown
    assert "Maze2d Umaze" not in some
    assert "MuJoCo Avg: 70.7 is printed" in cli("table", "aspc-table1", "--algorithms", "td3_bc").out


@pytest.mark.parametrize("table", ["aspc-table2", "aspc-table3", "aspc-table13"])
def test_every_verb_works_on_tables_of_averages(cli, scores, table):
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    for arguments in (
        ["show"],
        ["show", "--published"],
        ["plan"],
        ["status"],
        ["table"],
        ["diff"],
        ["validate"],
    ):
        verb, *options = arguments
        assert cli(verb, table, *options).code == 0, arguments
    lines = cli("show", table, "--published").out.splitlines()
    assert len(lines) == (11 if table == "aspc-table3" else 6)
