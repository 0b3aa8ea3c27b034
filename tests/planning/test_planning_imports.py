"""Imported scores stay with their column, whatever becomes of its algorithm."""

from __future__ import annotations

import pytest

from harness.analysis.comparison import compare
from harness.planning.cells import resolve
from harness.planning.imports import import_rows
from harness.results.scores import ScoreRow
from harness.results.store import Store
from harness.results.transfer import import_scores
from harness.specs import Specs

TABLE = """id: own
version: 1
title: Own
paper: {title: T, authors: A, year: 2020}
lineage: generated
protocol: d4rl-1m
groups:
  - {id: mazes, label: Mazes, datasets: [maze2d-umaze-v1]}
columns:
  - id: mine
    label: Mine
    algorithm: newest
    hyperparameters: {temperature: 3}
"""
ALGORITHM = """id: newest
title: Newest
paper: {title: T, authors: A, year: 2020}
hyperparameters:
  temperature: {value: 1, source: made up}
  rate: {value: 0.5, source: made up}
"""


@pytest.fixture
def own(tmp_path):
    """Writes a table and perhaps its algorithm; gives the specs."""

    def write(table=TABLE, algorithm=None):
        for kind, text in (("tables/own", table), ("algorithms/newest", algorithm)):
            path = tmp_path / "specs" / f"{kind}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            if text:
                path.write_text(text)
        return Specs([tmp_path / "specs"])

    return write


@pytest.fixture
def imported(own, tmp_path):
    """A database with one imported score, made when nothing implemented the algorithm."""
    source = tmp_path / "scores.csv"
    source.write_text("x")
    with Store.open(tmp_path / "r.db", create=True) as store:
        resolved = resolve(own(), "own")
        assert resolved.cells[0].unavailable == "no implementation"
        rows = import_rows(resolved, [ScoreRow(2, "maze2d-umaze-v1", "mine", 1, 1_000_000, 50.0)], source)
        assert import_scores(store, rows, source).added == 1
        yield store


def shown(specs, store):
    [cell] = compare(resolve(specs, "own"), specs, store).cells
    return [(score.seed, round(score.score, 6)) for score in cell.scores]


def test_scores_are_found_when_the_algorithm_is_implemented_and_its_defaults_change(own, imported):
    assert shown(own(), imported) == [(1, 50.0)]
    without = resolve(own(), "own").cells[0].runs[0].key
    specs = own(algorithm=ALGORITHM)
    assert resolve(specs, "own").cells[0].runs[0].key != without
    assert shown(specs, imported) == [(1, 50.0)]
    assert shown(own(algorithm=ALGORITHM.replace("0.5", "0.7")), imported) == [(1, 50.0)]


def test_scores_are_not_shown_for_other_settings_of_the_column(own, imported):
    assert shown(own(TABLE.replace("temperature: 3", "temperature: 4")), imported) == []
    assert shown(own(TABLE.replace("temperature: 3", "temperature: 3.0")), imported) == [(1, 50.0)]
