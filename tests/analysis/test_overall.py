from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from harness.analysis.aggregates import BootstrapSettings
from harness.analysis.overall import overall, select
from harness.errors import IncompleteError

QUICK = BootstrapSettings(repetitions=200)


def comparison(scores, wanted=3):
    """A comparison as far as these functions look: ``scores`` by (row, column), seeds in falling order."""
    rows = list(dict.fromkeys(row for row, _ in scores))
    columns = list(dict.fromkeys(column for _, column in scores))

    def cell(row, column):
        values = scores[row, column]
        return SimpleNamespace(
            column=column,
            n=len(values),
            wanted=wanted,
            complete=len(values) >= wanted,
            scores=[SimpleNamespace(seed=seed, score=value) for seed, value in enumerate(values)][::-1],
        )

    return SimpleNamespace(
        table=SimpleNamespace(id="paper-table1"),
        columns=[SimpleNamespace(id=column, algorithm=column) for column in columns],
        groups=[
            SimpleNamespace(
                rows=[
                    SimpleNamespace(id=row, cells=[cell(row, column) for column in columns]) for row in rows
                ]
            )
        ],
    )


SCORES = {
    ("d1", "a"): [1.0, 2.0, 3.0],
    ("d1", "b"): [2.0, 3.0, 4.0],
    ("d1", "c"): [],
    ("d2", "a"): [5.0, 6.0],
    ("d2", "b"): [5.0, 6.0, 7.0],
    ("d2", "c"): [1.0],
    ("d3", "a"): [7.0, 8.0, 9.0],
    ("d3", "b"): [70.0, 80.0, 90.0],
    ("d3", "c"): [],
    ("d4", "a"): [],
    ("d4", "b"): [],
    ("d4", "c"): [],
}


def test_only_what_every_column_has_is_used_and_the_rest_is_named():
    found = select(comparison(SCORES))
    assert (found.datasets, found.seeds) == (("d1", "d3"), (0, 1, 2))
    assert list(found.scores) == ["a", "b"]
    assert found.scores["b"].tolist() == [[2, 70], [3, 80], [4, 90]]
    assert [(one.kind, one.id, one.reason) for one in found.left_out] == [
        ("column", "c", "no complete cell"),
        ("dataset", "d2", "incomplete: a (2 of 3 seeds)"),
        ("dataset", "d4", "no scores"),
    ]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({("d1", "a"): [1.0]}, "no complete cell"),
        (
            {("d1", "a"): [1.0] * 3, ("d1", "b"): [], ("d2", "a"): [], ("d2", "b"): [1.0] * 3},
            "no dataset is complete for all of a, b",
        ),
    ],
)
def test_nothing_left(scores, message):
    with pytest.raises(IncompleteError, match=message):
        select(comparison(scores))


def test_one_seed_has_no_interval():
    with pytest.raises(IncompleteError, match="two seeds"):
        select(comparison({("d1", "a"): [1.0]}, wanted=1))


def test_only_what_is_asked_for_is_computed():
    found = overall(comparison(SCORES), ("og", "mean"), QUICK)
    assert [one.metric for one in found.aggregates["a"]] == ["og", "mean"]
    assert found.aggregates["a"][1].value == pytest.approx(np.mean([1, 2, 3, 7, 8, 9]))
    assert (found.improvements, found.profiles) == ((), {})


def test_pairs_and_profiles_have_percentile_intervals_even_where_bca_is_asked_for():
    found = overall(
        comparison(SCORES), ("mean",), BootstrapSettings("bca", repetitions=200), pairs=100, profiles=True
    )
    assert {one.interval.repetitions for one in found.improvements} == {100}
    assert [one.kind for one in found.profiles["b"]] == ["runs", "means"]
    assert found.aggregates["b"][0].interval.method == "stratified BCa bootstrap"
