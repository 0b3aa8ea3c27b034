from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import harness
from harness.results.store import Store
from harness.specs import Specs, syntax

ROOT = Path(harness.__file__).parents[1]
SMOKE = ("aspc-table1", "--preset", "smoke")
REASONS = ["generated data", "smoke protocol", "environment harness/maze2d-umaze (3 of 6 cells)"]
WARNING = f"Not comparable with the paper: {'; '.join(REASONS)}."


@pytest.fixture(scope="module")
def templates(tmp_path_factory, trained):
    folder = tmp_path_factory.mktemp("databases")
    trained(folder / "smoke.db")
    trained(folder / "high.db", shift={"aspc": 20}, fingerprint={"torch": "<script>alert(1)</script>"})
    return folder


@pytest.fixture
def databases(elsewhere, templates):
    """smoke.db, which the preset reads, and baselines to hold it against."""
    (elsewhere / "baselines").mkdir()
    shutil.copy(templates / "smoke.db", elsewhere)
    shutil.copy(templates / "smoke.db", elsewhere / "baselines" / "aspc-table1-smoke.db")
    shutil.copy(templates / "high.db", elsewhere)
    return elsewhere


@pytest.fixture
def clean(monkeypatch):
    """Code that is as committed."""
    monkeypatch.setattr("harness.results.provenance.committed", lambda: "c0ffee" * 6 + "beef")


def suite(path):
    root = ElementTree.parse(path).getroot()
    cases = {
        (case.get("classname"), case.get("name")): [e.tag for e in case] for case in root.iter("testcase")
    }
    return root, cases


def test_drift_that_passes(cli, databases):
    result = cli("drift", *SMOKE, "--junit", "drift.xml", "--all-cells")
    assert result.code == 0
    assert "aspc-table1: passed: gate on aggregates" in result.out
    assert "hopper-random-v2" in result.out
    assert result.out.count("OK, as recorded") == 6  # the cells; aggregates have no seeds of their own
    root, cases = suite("drift.xml")
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("15", "0", "0")
    assert len(cases) == 15  # so no two have the same name
    assert all(tags == ["system-out"] for tags in cases.values())


def test_drift_that_fails_in_every_format(cli, databases):
    result = cli("drift", *SMOKE, "--baseline", "high.db", "--junit", "d.xml", "--markdown", "d.md", "--json")
    assert result.code == 1
    document = json.loads(result.out)
    [table] = document["tables"]
    assert (document["outcome"], table["outcome"], table["baseline"]) == ("drift", "drift", "high.db")
    assert {item["column"] for item in table["aggregates"] if item["verdict"]["kind"] == "WORSE"} == {"aspc"}
    [change] = table["cells"][-1]["changes"]
    assert change == {"field": "torch", "baseline": ["<script>alert(1)</script>"], "now": ["2.12"]}

    root, cases = suite("d.xml")
    assert root.get("failures") == "3"
    assert [name for name, tags in cases.items() if tags == ["failure"]] == [
        ("aspc-table1.aggregates", name) for name in ("MuJoCo, ASPC", "Maze2d, ASPC", "Total, ASPC")
    ]
    assert root.get("skipped") == "2"  # the cells, which are worse and not gated
    assert "<script>" not in Path("d.xml").read_text()
    [first, *_] = root.iter("failure")
    assert "torch <script>alert(1)</script> -> 2.12" in first.get("message")
    markdown = Path("d.md").read_text()
    assert "<script>" not in markdown
    assert "&lt;script&gt;" in markdown
    assert "**drift: gate on aggregates: OK" in markdown


def test_every_format_says_that_the_numbers_are_not_the_papers(cli, databases):
    shown = cli("drift", *SMOKE, "--junit", "d.xml", "--markdown", "d.md")
    assert shown.out.splitlines()[1] == WARNING
    assert f"\n**{WARNING}**\n" in Path("d.md").read_text()
    [suite_of_table] = suite("d.xml")[0]
    properties = {each.get("name"): each.get("value") for each in suite_of_table.find("properties")}
    assert properties == {"preset": "smoke", "lineage": "generated", "warning": WARNING}
    [table] = json.loads(cli("drift", *SMOKE, "--json").out)["tables"]
    assert (table["preset"], table["lineage"], table["warning"]) == ("smoke", "generated", WARNING)
    assert table["incomparable"] == REASONS


def test_what_was_trained_as_the_paper_did_has_no_warning(cli, elsewhere, trained):
    trained("results.db", preset=None, only=lambda row, column, seed: row == "hopper-medium-v2")
    result = cli("drift", "aspc-table1", "--baseline", "results.db", "--junit", "d.xml", "--markdown", "d.md")
    assert result.code == 0
    pages = (result.out, Path("d.xml").read_text(), Path("d.md").read_text())
    assert not [page for page in pages if "Not comparable with the paper" in page]


def test_new_cells_are_counted(cli, databases, trained):
    trained("part.db", only=lambda row, column, seed: column == "bc")
    result = cli("drift", *SMOKE, "--baseline", "part.db")
    assert result.code == 0
    assert "not in the baseline: 4 cells measured now" in result.out
    assert "TD3+BC" not in result.out


def test_names_that_formats_would_obey(cli, databases, trained):
    folder = databases / "my-specs" / "presets"
    folder.mkdir(parents=True)
    (folder / "bad.yaml").write_text(
        "id: bad\ndescription: x\nlabel: bad\nlineage: generated\ntransitions: 20000\ncolumns: []\n"
        "datasets: [hopper-random-v2]\nseeds: [0, 1]\nsteps: 2000\nevaluate_every: 1000\nepisodes: 3\n"
        'extra_columns:\n  - {id: bc, label: "<script>|`\\u001b[31m\\u0007", algorithm: bc}\n'
    )
    specs = Specs([databases / "my-specs"])
    trained("now.db", specs=specs, preset="bad")
    trained("then.db", specs=specs, preset="bad", shift={"bc": 20})
    result = cli(
        *("--specs", "my-specs", "drift", "aspc-table1", "--preset", "bad", "--db", "now.db"),
        *("--baseline", "then.db", "--junit", "d.xml", "--markdown", "-"),
    )
    assert result.code == 1
    assert r"|&lt;script&gt;\|\` \[31m |" in result.out
    _, cases = suite("d.xml")
    assert ("aspc-table1.cells", r"hopper-random-v2, <script>|`\u001b[31m\u0007") in cases


def test_nothing_measured_is_an_error_in_every_format(cli, databases):
    Store.open("empty.db", create=True).close()
    result = cli("drift", *SMOKE, "--db", "empty.db", "--junit", "d.xml", "--markdown", "-")
    assert result.code == 3
    assert "nothing of aspc-table1 is measured in empty.db" in result.out
    root, _ = suite("d.xml")
    assert int(root.get("errors")) > 0
    [of_table] = [case for case in root.iter("testcase") if case.get("classname") == "aspc-table1"]
    assert "nothing of aspc-table1" in of_table.find("error").get("message")
    # a baseline without anything is no better
    assert cli("drift", *SMOKE, "--baseline", "empty.db", "--junit", "d.xml").code == 3
    assert int(suite("d.xml")[0].get("errors")) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("aspc-table1",), 3, "no baseline baselines/aspc-table1.db; `harness accept aspc-table1"),
        ((*SMOKE, "--baseline", "nowhere.db"), 3, "no baseline nowhere.db"),
        ((*SMOKE, "--baseline", "old.db"), 4, "old.db has schema version 0000"),
        ((*SMOKE, "--baseline", "scores.csv"), 4, "scores.csv is not a SQLite database"),
        ((), 2, "name one table, or give --all"),
        (("aspc-table1", "--all"), 2, "name one table, or give --all"),
        ((*SMOKE, "--json", "--markdown", "-"), 2, "give Markdown a file"),
        ((*SMOKE, "--gate", "none"), 2, "none"),
        ((*SMOKE, "--alpha", "0"), 2, "alpha is a probability between 0 and 1, not 0"),
        ((*SMOKE, "--margin", "inf"), 2, "a positive number of points, not inf"),
        (("--all", "--preset", "smok"), 2, "no preset named"),
        ((*SMOKE, "--junit", "nowhere/d.xml"), 4, "nowhere/d.xml cannot be written"),
    ],
)
def test_what_cannot_be_compared_is_said(cli, databases, scores, arguments, code, words):
    scores()
    shutil.copy("high.db", "old.db")
    with sqlite3.connect("old.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    result = cli("drift", *arguments)
    assert result.code == code
    assert words in " ".join(re.sub("[│╭╮╰╯─]", " ", result.err).split())


def test_all_tables(cli, databases):
    result = cli("drift", "--all", "--preset", "smoke", "--json")
    assert (result.code, json.loads(result.out)["outcome"]) == (0, "passed")
    (databases / "none").mkdir()
    result = cli("drift", "--all", "--preset", "smoke", "--baseline", "none", "--json")
    assert (result.code, json.loads(result.out)["tables"]) == (3, [])
    assert "skipped: aspc-table1 has no baseline none/aspc-table1-smoke.db" in result.err


# -- accept ------------------------------------------------------------------------------------------------


def test_accept_and_drift(cli, elsewhere, trained, clean):
    trained(elsewhere / "smoke.db")
    trained(elsewhere / "smoke.db", preset=None, only=lambda row, column, seed: row == "pen-human-v1")
    result = cli("accept", *SMOKE, "--reason", "first | <b>\n'row'")
    assert (result.code, result.out) == (0, "")
    assert "6 cells accepted, 0 cells kept" in result.err
    assert sorted(path.name for path in Path("baselines").iterdir()) == [
        "aspc-table1-smoke.db",
        "score-log.md",
    ]
    with Store.open("baselines/aspc-table1-smoke.db") as store:
        runs = store.runs().values()
        assert len(runs) == 12  # and none of the table without the preset
        assert {run.dataset for run in runs} == {"hopper-random-v2", "maze2d-umaze-v1"}
        assert store.check() == []
    assert cli("drift", *SMOKE).code == 0

    trained(elsewhere / "later.db", shift={"bc": -30})
    assert cli("drift", *SMOKE, "--db", "later.db").code == 1
    again = cli(
        "accept", *SMOKE, "--db", "later.db", "--reason", "BC was wrong before", "--datasets", "hopper-*"
    )
    assert "3 cells accepted, 3 cells kept" in again.err
    # the chosen row is the new one, the other as it was
    assert cli("drift", *SMOKE, "--db", "later.db", "--datasets", "hopper-*").code == 0
    assert cli("drift", *SMOKE, "--datasets", "maze2d-*").code == 0
    assert cli("drift", *SMOKE, "--db", "later.db").code == 1

    rows = [
        line for line in Path("baselines/score-log.md").read_text().splitlines() if line.startswith("| 2")
    ]
    assert len(rows) == 2
    assert "first \\| &lt;b&gt; 'row'" in rows[0]
    first, second = ([cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows)
    assert first[1:4] == [f"aspc-table1 ({'; '.join(REASONS)})", "c0ffeec0ffee", "a" * 12]
    assert re.fullmatch(r".*BC – -&gt; (\d\d\.\d) \(2\).*", first[5])
    old, new = map(float, re.search(r"BC (\d\d\.\d) \(2\) -&gt; (\d\d\.\d) \(2\)", second[5]).groups())
    assert old - new == pytest.approx(15, abs=0.2)


def test_other_data_have_a_baseline_of_their_own(cli, elsewhere, trained, clean):
    """With a preset its lineage goes without saying."""

    def hopper(row, column, seed):
        return row == "hopper-medium-v2"

    trained("results.db", preset=None, only=hopper)
    trained("results.db", preset=None, only=hopper, lineage="generated")
    for options in ((), ("--data", "generated"), ("--data", "d4rl")):
        assert cli("accept", "aspc-table1", *options, "--reason", "x").code == 0
        assert cli("drift", "aspc-table1", *options).code == 0
        assert cli("drift", "aspc-table1", *options, "--baseline", "baselines").code == 0
    assert sorted(path.name for path in Path("baselines").glob("*.db")) == [
        "aspc-table1-generated.db",
        "aspc-table1.db",
    ]
    tables = re.findall(r"^\| 2[^|]*\| ([^|]*) \|", Path("baselines/score-log.md").read_text(), re.MULTILINE)
    assert tables == ["aspc-table1", "aspc-table1 (generated data)", "aspc-table1"]
    missing = cli("drift", *SMOKE, "--data", "minari", "--db", "results.db")
    assert "no baseline baselines/aspc-table1-smoke-minari.db; " in missing.err


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_accept_wants_a_reason(cli, databases, clean, reason):
    result = cli("accept", *SMOKE, "--reason", reason)
    assert (result.code, "--reason TEXT" in result.err) == (2, True)
    assert not Path("baselines/score-log.md").exists()


def test_accept_refuses_nothing(cli, elsewhere, clean):
    Store.open("smoke.db", create=True).close()
    result = cli("accept", *SMOKE, "--reason", "why not")
    assert result.code == 3
    assert "nothing of aspc-table1 is measured in smoke.db" in result.err
    assert "`harness reproduce aspc-table1 --preset smoke`" in result.err
    assert not Path("baselines").exists()


def test_accept_never_writes_its_own_source(cli, databases, clean):
    result = cli("accept", *SMOKE, "--reason", "x", "--baseline", "smoke.db")
    assert (result.code, "is the results database itself" in result.err) == (4, True)


def test_accept_leaves_the_old_baseline_when_the_log_cannot_be_written(cli, databases, clean):
    before = Path("baselines/aspc-table1-smoke.db").read_bytes()
    (databases / "log.md").mkdir()
    result = cli("accept", *SMOKE, "--db", "high.db", "--reason", "x", "--log", "log.md")
    assert (result.code, "log.md cannot be written" in result.err) == (4, True)
    assert Path("baselines/aspc-table1-smoke.db").read_bytes() == before
    assert [path.name for path in Path("baselines").iterdir()] == ["aspc-table1-smoke.db"]


def git(folder, *arguments):
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_accept_refuses_a_dirty_tree(databases, environment):
    checkout = databases / "checkout"
    for folder in ("harness", "algorithms", "specs"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / ".gitignore").write_text("__pycache__/\n")
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "all")

    def accept():
        return subprocess.run(
            [sys.executable, "-m", "harness", "accept", *SMOKE, "--reason", "x"],
            env=environment | {"PYTHONPATH": str(checkout)},
            capture_output=True,
            text=True,
            check=False,
        )

    new = checkout / "specs" / "new.yaml"
    new.write_text("a: 1\n")
    refused = accept()
    assert (refused.returncode, "specs/new.yaml" in refused.stderr) == (2, True)
    assert "is not as committed" in refused.stderr
    assert not Path("baselines/score-log.md").exists()
    new.unlink()
    (checkout / "notes.txt").write_text("no code")
    assert accept().returncode == 0


# -- the workflow of the docs ------------------------------------------------------------------------------


def steps():
    path = ROOT / "docs" / "workflows" / "drift.yml"
    workflow = syntax.parse(path, path.read_text(encoding="utf-8")).data  # `on` is a key, not true
    job = workflow["jobs"]["drift"]
    assert {"pull_request", "schedule"} <= workflow["on"].keys()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert [run for run in runs if run.startswith("pip install")] == [runs[0]]  # the one that needs a network
    return runs[1:], job["env"], [step["with"] for step in job["steps"] if "upload" in step.get("uses", "")]


@pytest.mark.parametrize(("shift", "code"), [({}, 0), ({"aspc": -30}, 1)])
def test_the_workflow_runs(databases, trained, environment, shift, code):
    trained("baselines/aspc-table1-first-look.db", preset="first-look", seeds=tuple(range(10)))
    trained("first-look.db", preset="first-look", shift=shift)
    runs, variables, [upload] = steps()
    summary = databases / "summary.md"
    summary.write_text("# before\n")
    environment |= variables | {
        "GITHUB_STEP_SUMMARY": str(summary),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    codes = [
        subprocess.run(["bash", "-eo", "pipefail", "-c", run], env=environment, check=False).returncode
        for run in runs
    ]
    assert codes == [0, code]
    text = summary.read_text()
    assert text.startswith("# before\n## Drift of aspc-table1\n")
    assert f"**{'drift' if code else 'passed'}: gate on cells" in text
    assert bool(int(suite("drift.xml")[0].get("failures"))) == bool(code)
    assert all(Path(name).exists() for name in upload["path"].split())


def test_the_conclusion_and_what_moved_come_first(cli, databases, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = cli("drift", *SMOKE, "--baseline", "high.db", "--markdown", "drift.md")
    first, *lines = result.out.splitlines()
    assert first.startswith("aspc-table1: drift")
    assert "hopper-random-v2" not in "".join(line for line in lines if not line.startswith("- "))
    assert any(line.startswith("Cells (seeds): ") for line in lines)
    assert "--all-cells" in result.out
    whole = cli("drift", *SMOKE, "--baseline", "high.db", "--all-cells").out
    assert "hopper-random-v2" in whole
    errors = [
        line for line in result.err.splitlines() if line.startswith("::error title=Drift of aspc-table1::")
    ]
    assert errors
    assert all("WORSE" in line for line in errors)
    written = Path("drift.md").read_text()
    assert written.index("WORSE") < written.index("<details><summary>")
    assert written.count("<details>") == written.count("</details>") == 2


def test_nothing_in_an_annotation_ends_it():
    from harness.reports.drift import _command

    assert _command("50% of\nit") == "50%25 of%0Ait"
