"""The printed numbers of the ANQ paper's Table 2, and what a summary makes of them."""

from collections import Counter

import pytest

from harness.analysis.audit import audit
from harness.specs import Specs


@pytest.fixture(scope="module")
def table():
    return Specs().table("anq-table2")


@pytest.fixture(scope="module")
def printed(table):
    return Specs().published(table)


def test_every_printed_number_is_there(table, printed):
    assert [len(group.datasets) for group in table.groups] == [15, 6]
    assert len(printed) == 230
    assert {key for key, cell in printed.items() if cell.std is not None} == {
        (row, "anq") for row in table.datasets
    }


def test_all_totals_add_up(table, printed):
    for group in table.groups:
        for column in table.columns:
            added = sum(printed[row, column.id].mean for row in group.datasets)
            assert added == pytest.approx(printed[group.sum_id, column.id].mean, abs=0.05)


@pytest.mark.parametrize(
    ("row", "column", "mean", "std"),
    [
        ("halfcheetah-medium-v2", "bcq", 46.6, None),
        ("walker2d-medium-v2", "bear", -0.2, None),
        ("hopper-medium-v2", "anq", 100.9, 0.6),
        ("antmaze-large-play-v2", "anq", 56.2, 4.9),
        ("antmaze-umaze-v2", "anq", 96.0, 1.6),
        ("locomotion:sum", "anq", 1194.5, None),
        ("antmaze:sum", "iql", 392.4, None),
    ],
)
def test_literals(printed, row, column, mean, std):
    cell = printed[row, column]
    assert (cell.mean, cell.std, cell.n, cell.ddof) == (mean, std, 5, 1)


def test_what_the_paper_measured_itself(printed):
    assert Counter((cell.column == "anq", cell.source) for cell in printed.values()) == {
        (True, "own"): 23,
        (False, "unknown"): 207,
    }


def test_beside_the_summary_stand_the_papers_own_numbers(printed):
    specs = Specs()
    summary = specs.table("anq-summary")
    listing = specs.published(summary)
    told = {column.id for column in summary.columns if column.restates}
    assert {column.id for column in summary.columns if column.algorithm is None} == told  # never a target
    own = {key: cell for key, cell in listing.items() if key[1] not in told}
    assert own == {key: printed[key] for key in own}
    assert len(own) == 5 * 5
    assert len(listing) - len(own) == 18 + 8 + 4


def test_the_audit_says_which_of_the_summarys_numbers_contradict_the_paper():
    specs = Specs()
    findings = [each for each in audit(specs.table("anq-summary"), specs) if each.kind == "restated"]
    wrong = {cell for each in findings for cell in each.cells if cell[1].endswith("_summary")}
    right = {("halfcheetah-medium-v2", "iql_summary"), ("walker2d-medium-v2", "iql_summary")}
    right |= {(f"{env}-medium-v2", "td3_bc_summary") for env in ("halfcheetah", "hopper", "walker2d")}
    printed = set(specs.published(specs.table("anq-summary")))
    both = {key for key in printed if (key[0], key[1].removesuffix("_summary")) in printed - {key}}
    assert len(both) == 5 * 4 + 3  # the paper prints neither averages nor IDQL
    assert wrong == both - right
    assert {each.severity for each in findings} == {"error"}
    assert findings[0].sentence.startswith(
        "ANQ (summary): of 5 numbers that ANQ has, too, 5 differ: halfcheetah-medium-v2 48.4, where 61.8 is"
    )
