from __future__ import annotations

import json
import statistics

import pytest

from harness.analysis.leading import leading
from harness.analysis.verdicts import estimate
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.store import Store
from harness.specs import Specs, models


@pytest.fixture
def imported(cli, scores):
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("-f", "latex", "--siunitx"), "S[table-format"),
        (("-f", "latex", "--with-published"), r"\textcolor{gray}{paper}"),
        (("-f", "latex", "--digits", "3"), "55.011"),
        (("-f", "latex", "--show", "ci", "--level", "0.8", "--ci", "t"), r"80 \% interval (Student t)"),
        (("-f", "latex", "--wide"), r"\begin{table*}"),
        (("-f", "markdown", "--with-published", "--digits", "0"), r"\["),
    ],
)
def test_how_numbers_look(cli, imported, options, shown):
    result = cli("table", "aspc-table1", *options)
    assert result.code == 0
    assert shown in result.out


@pytest.mark.parametrize(
    "options",
    [
        ("--siunitx",),
        ("--standalone",),
        ("-f", "csv", "--digits", "1"),
        ("-f", "json", "--with-published"),
        ("-f", "latex", "--digits", "7"),
        ("-f", "markdown", "--caption", "x"),
        ("-f", "latex", "--siunitx", "--style", "paper"),
        ("--level", "1.5"),
        ("-f", "latex", "--label", "two words"),
    ],
)
def test_options_without_a_meaning(cli, imported, options):
    result = cli("table", "aspc-table1", *options)
    assert (result.code, result.out) == (2, "")
    named = [option.removeprefix("--") for option in options if option.startswith("--")]
    assert any(name in result.err for name in named)


def test_leading_cells_follow_from_the_scores_by_seed(cli, imported):
    document = json.loads(cli("table", "aspc-table1", "-f", "json").out)
    found = 0
    for row in (row for group in document["groups"] for row in group["rows"]):
        by_cell = [[item["score"] for item in cell["scores"]] for cell in row["cells"]]
        estimates = [
            estimate(statistics.mean(values), statistics.stdev(values), 4, 1) if len(values) == 4 else None
            for values in by_cell
        ]
        assert [cell["leading"] for cell in row["cells"]] == leading(estimates, models.Verdict())
        found += any(cell["leading"] for cell in row["cells"])
    assert found


def test_whom_to_cite_and_what_it_took(cli, imported):
    cited = cli("cite", "aspc-table1").out
    assert cited.startswith("@misc{jing2025adaptive,")
    assert "author = {Tan Jing and Xiaorui Li" in cited
    assert "@misc{harness," in cited
    took = cli("cite", "aspc-table1", "--compute").out
    assert took == "Nothing of aspc-table1 has been trained in this database.\n"


def test_the_compute_paragraph_counts_failed_and_repeated_runs(cli, trained):
    trained("some.db")
    choice = ("--preset", "smoke", "--db", "some.db")
    resolved = resolve(Specs(), "aspc-table1", Choice(preset="smoke"))
    runs = [run.key for cell in resolved.cells for run in cell.runs]
    whole = cli("cite", "aspc-table1", "--compute", *choice).out
    assert f"{len(runs)} training runs were begun, of which {len(runs)} finished." in whole
    trained("less.db", only=lambda row, column, seed: (row, column, seed) != ("maze2d-umaze-v1", "aspc", 0))
    [cell] = [c for c in resolved.cells if (c.dataset.id, c.column.id) == ("maze2d-umaze-v1", "aspc")]
    with Store.open("less.db") as store:
        store.register(cell.runs[:1])
        for key in store.claim([cell.runs[0].key]):
            store.fail(key, 7, "it diverged")
    less = cli("cite", "aspc-table1", "--compute", *choice[:2], "--db", "less.db").out
    assert f"of which {len(runs) - 1} finished (1 failed)" in less
    assert "The time of 1 run is not recorded and not counted" in less


def test_the_long_list_in_latex(cli, imported):
    assert r"\begin{table*}" in cli("diff", "aspc-table1", "-f", "latex").out
