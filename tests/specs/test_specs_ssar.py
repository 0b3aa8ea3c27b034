"""The printed numbers of the SSAR paper's two tables, and the tables that are made of them."""

from collections import Counter

import pytest

from harness.specs import Specs

NUMBERS = ("mean", "std", "low", "high", "before_mean", "before_std")
# (row, column) of sums and means that are printed farther off than rounding of their parts allows
INCONSISTENT = {
    "ssar-offline": {
        ("locomotion:sum", "cql"): 1027.3,
        ("halfcheetah-medium-v2", "mean_sa"): 60.2,
    },
    "ssar-online": {},
}


@pytest.fixture(scope="module")
def specs():
    return Specs()


@pytest.mark.parametrize(
    ("name", "cells", "numbers"), [("ssar-offline", 120, 216), ("ssar-online", 133, 195)]
)
def test_every_printed_number_is_there(specs, name, cells, numbers):
    printed = specs.published(specs.table(name))
    assert len(printed) == cells
    assert sum(getattr(cell, key) is not None for cell in printed.values() for key in NUMBERS) == numbers


@pytest.mark.parametrize("name", INCONSISTENT)
def test_sums_and_means_add_up_except_where_the_paper_errs(specs, name):
    table = specs.table(name)
    printed = specs.published(table)
    wrong = {}
    for row in (*table.datasets, *(group.sum_id for group in table.groups)):
        for column in table.columns:
            parts = [(row, member) for member in column.mean_of or ()]
            if not parts:
                parts = [
                    (each, column.id)
                    for group in table.groups
                    if group.sum_id == row
                    for each in group.datasets
                ]
            if not parts or (row, column.id) not in printed:
                continue
            added = sum(printed[part].mean for part in parts) / (len(parts) if column.mean_of else 1)
            lost = 0.05 * (2 if column.mean_of else len(parts) + 1)
            if abs(added - printed[row, column.id].mean) > lost + 1e-9:
                wrong[row, column.id] = added
    assert wrong == pytest.approx(INCONSISTENT[name])


@pytest.mark.parametrize(
    ("name", "row", "column", "numbers"),
    [
        ("ssar-offline", "hopper-medium-replay-v2", "td3_bc", (66.4, 27.1, None, None)),
        ("ssar-offline", "halfcheetah-medium-v2", "cql_sa", (63.9, 1.2, None, None)),
        ("ssar-offline", "locomotion:sum", "mean", (1015.6, None, 937.5, 1078.6)),
        ("ssar-offline", "antmaze:sum", "cql_sa", (406.8, None, 334.9, 478.7)),
        ("ssar-online", "locomotion:sum", "td3_bc_sa", (1218.6, None, 1165.4, 1248.9)),
        ("ssar-online", "antmaze-umaze-v2", "cql_sa", (99.0, 0.6, None, None)),
        ("ssar-online", "halfcheetah-expert-v2", "fam_cql", (106.5, None, None, None)),
    ],
)
def test_literals(specs, name, row, column, numbers):
    cell = specs.published(specs.table(name))[row, column]
    assert (cell.mean, cell.std, cell.low, cell.high) == numbers


def test_seeds_and_sources(specs):
    offline, online = (specs.published(specs.table(name)) for name in INCONSISTENT)
    assert {cell.ddof for cell in (*offline.values(), *online.values())} == {0}
    assert {column for (row, column), cell in offline.items() if cell.n == 4} == {"cql", "mean"}
    assert Counter(cell.n for (row, _), cell in online.items() if row.startswith("antmaze")) == {4: 41, 5: 1}
    assert {column for (_, column), cell in offline.items() if cell.source == "own"} == {
        "td3_bc_sa",
        "cql_sa",
        "mean_sa",
    }


def test_online_has_the_rows_of_offline_and_no_famcql_on_antmaze(specs):
    offline, online = map(specs.table, INCONSISTENT)
    assert offline.datasets == online.datasets
    assert [len(group.datasets) for group in online.groups] == [12, 6]
    empty = [key for key, cell in specs.listing(online).items() if cell is None]
    assert empty == [(row, "fam_cql") for row in (*online.groups[1].datasets, "antmaze:sum")]
