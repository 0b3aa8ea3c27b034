from __future__ import annotations

import json
import statistics

import pytest

from harness.analysis.leading import leading
from harness.analysis.verdicts import estimate


@pytest.fixture
def imported(cli, scores):
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("-f", "latex", "--siunitx"), "S[table-format"),
        (("-f", "latex", "--with-published"), r"\textcolor{gray}{paper}"),
        (("-f", "latex", "--digits", "3"), ".000"),
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
    ],
)
def test_options_without_a_meaning(cli, imported, options):
    result = cli("table", "aspc-table1", *options)
    assert (result.code, result.out) == (2, "")
    assert next(option for option in reversed(options) if option.startswith("--")) in result.err


def test_leading_cells_follow_from_the_scores_by_seed(cli, imported):
    document = json.loads(cli("table", "aspc-table1", "-f", "json").out)
    found = 0
    for row in (row for group in document["groups"] for row in group["rows"]):
        by_cell = [[item["score"] for item in cell["scores"]] for cell in row["cells"]]
        estimates = [
            estimate(statistics.mean(values), statistics.stdev(values), 4, 1) if len(values) == 4 else None
            for values in by_cell
        ]
        assert [cell["leading"] for cell in row["cells"]] == leading(estimates, 0.05)
        found += any(cell["leading"] for cell in row["cells"])
    assert found
