"""The printed numbers of the ANQ paper's Table 2."""

from collections import Counter

import pytest

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
