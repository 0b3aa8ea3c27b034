"""Transforms of data that specs name: which list holds, what enters a key, and what is refused."""

from __future__ import annotations

from typing import ClassVar

import pytest

import algorithms.bc
from harness.errors import SpecError
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.validation import check, validate_algorithms
from harness.specs import Specs
from harness.specs.validation import validate

TABLE = """
id: toy
version: 1
title: Toy
paper: {title: T, authors: A, year: 2026}
lineage: d4rl
protocol: d4rl-1m
groups:
  - {id: rows, label: Rows, datasets: [hopper-medium-v2, hopper-expert-v2]}
columns:
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Specs with a table of these columns."""
    monkeypatch.chdir(tmp_path)

    def write(*columns):
        path = tmp_path / "own/tables/toy.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TABLE + "".join(f"  - {{label: L, algorithm: bc, {column}}}\n" for column in columns))
        return Specs([tmp_path / "own"])

    return write


def data_of(specs, column, dataset="hopper-medium-v2"):
    [cell] = [
        cell for cell in resolve(specs, "toy").cells if (cell.column.id, cell.dataset.id) == (column, dataset)
    ]
    return cell.runs[0].configuration.get("data")


def test_the_narrowest_list_holds_as_a_whole(write):
    specs = write(
        "id: a, data: [{drop: 0.3}, {clip_actions: 0.9}], per_dataset: {hopper-exp*: {data: [{drop: 0.4}]}}",
        "id: b, data: [{drop: 0.3}], per_dataset: {hopper-medium-v2: {data: []}}",
        "id: c, per_dataset: {hopper-*: {batch_size: 64}}",
    )
    assert data_of(specs, "a") == [{"drop": 0.3}, {"clip_actions": 0.9}]
    assert data_of(specs, "a", "hopper-expert-v2") == [{"drop": 0.4}]
    assert data_of(specs, "b") is None
    assert data_of(specs, "b", "hopper-expert-v2") == [{"drop": 0.3}]
    assert data_of(specs, "c") is None


def test_an_algorithms_own_list_holds_where_the_column_has_none(write, tmp_path):
    spec = (Specs().document("algorithms", "bc").path.read_text()).replace("id: bc", "id: mine")
    for path, text in (
        ("mine.yaml", spec + "data: [{drop: 0.1}]\nper_dataset: {'*-expert-*': {data: []}}\n"),
    ):
        (tmp_path / "own/algorithms").mkdir(parents=True)
        (tmp_path / "own/algorithms" / path).write_text(text)
    specs = write("id: a", "id: b, data: [{drop: 0.2}]")
    table = tmp_path / "own/tables/toy.yaml"
    table.write_text(table.read_text().replace("algorithm: bc", "algorithm: mine"))
    assert data_of(specs, "a") == [{"drop": 0.1}]
    assert data_of(specs, "a", "hopper-expert-v2") is None
    assert data_of(specs, "b", "hopper-expert-v2") == [{"drop": 0.2}]


def test_what_changes_nothing_and_how_it_is_written_are_no_part_of_a_key(write):
    specs = write(
        "id: plain",
        "id: none, data: []",
        "id: neutral, data: [{drop: 0}, {reward: {scale: 1, shift: 0.0}}, "
        "{mix: {dataset: hopper-expert-v2, ratio: 0}}]",
        "id: short, data: [{reward: {shift: -1}}]",
        "id: long, data: [{reward: {scale: 1.0, shift: -1.0}}]",
        "id: other, data: [{reward: {shift: -2}}]",
    )
    keys = {cell.column.id: cell.runs[0].key for cell in resolve(specs, "toy").cells}
    assert keys["plain"] == keys["none"] == keys["neutral"]
    assert keys["short"] == keys["long"]
    assert len({keys["plain"], keys["short"], keys["other"]}) == 3


def test_order_is_part_of_a_key_and_so_is_what_makes_a_dataset_that_is_mixed_in(write):
    specs = write(
        "id: a, data: [{drop: 0.3}, {clip_actions: 0.9}]",
        "id: b, data: [{clip_actions: 0.9}, {drop: 0.3}]",
        "id: m, data: [{mix: {dataset: hopper-random-v2, ratio: 0.7}}]",
    )
    cells = {cell.column.id: cell for cell in resolve(specs, "toy").cells}
    assert cells["a"].runs[0].key != cells["b"].runs[0].key
    assert data_of(specs, "m") == [
        {"mix": {"dataset": specs.dataset("hopper-random-v2").identity("d4rl"), "ratio": 0.7}}
    ]
    assert list(cells["m"].datasets) == ["hopper-expert-v2", "hopper-random-v2"]
    described = [cell.runs[0].described for cell in cells.values()]
    assert len(set(described)) == 3  # imported scores of the one are not found for the other


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("[{drop: 1.5}]", "data.0.drop: should be less than 1, got 1.5"),
        ("[{mix: {dataset: hopper-expert-v2, ratio: 1.2}}]", "mix.ratio: should be less than or equal to 1"),
        (
            "[{drop: 0.1, clip_actions: 0.5}]",
            "data.0: should have exactly one of the keys standardise, reward",
        ),
        ("[{}]", "data.0: should have exactly one of the keys standardise"),
        ("[{standardize: 0.1}]", "unknown key; did you mean 'standardise'?"),
        ("[{trust: {by: selector, above: 1}}]", "trust.above: by selector there is no threshold"),
        ("[{clip_actions: 2}]", "clip_actions: should be less than or equal to 1, got 2"),
        (
            "[{mix: {dataset: hoper-v2, ratio: 0.1}}]",
            "mix.dataset: no dataset named 'hoper-v2'; did you mean",
        ),
        ("[{mix: {dataset: pen-human-v1, ratio: 0.1}}]", "numbers there, 11 and 3 here"),
    ],
)
def test_what_a_list_says_wrong_is_found_where_it_stands(write, data, problem):
    lines = validate(write(f"id: a, data: {data}"), ["toy"])
    assert len(set(lines)) == len(lines) >= 1
    assert all(line.startswith("own/tables/toy.yaml:11:") for line in lines)
    assert problem in lines[0]


def test_a_list_that_holds_on_one_row_only_is_judged_there(write):
    specs = write("id: a, per_dataset: {hopper-e*: {data: [{mix: {dataset: nothing, ratio: 0.1}}]}}")
    with pytest.raises(
        SpecError, match=r"toy.yaml:11:.*per_dataset.hopper-e\*.data.0.mix.dataset: no dataset"
    ):
        resolve(specs, "toy")


@pytest.mark.parametrize(
    "steps", ["{drop: 0.1}, {best_trajectories: 3}", "{drop: 0.1}, {return_range: 1000}"]
)
def test_trajectories_that_were_cut_before_are_refused(write, steps):
    [problem] = validate_algorithms(write(f"id: a, data: [{steps}]"), ["toy"])
    assert "looks at whole trajectories, which drop before it has cut" in problem
    specs = write("id: a, data: [{drop: 0.1}], hyperparameters: {normalize_rewards: true}")
    [problem] = validate_algorithms(specs, ["toy"])
    assert "data: normalize_rewards looks at whole trajectories, which drop before it has cut" in problem


def test_a_column_belongs_to_an_algorithm_that_asks_for_it(write, monkeypatch):
    trusting = write("id: a, data: [{trust: {by: return, above: 100}}]")
    [problem] = validate_algorithms(trusting, ["toy"])
    assert problem.endswith("bc has no use for the column that 'trust' adds; leave it out")
    columns: ClassVar[tuple[str, ...]] = ("trust",)
    monkeypatch.setattr(algorithms.bc.BC, "columns", columns)
    assert validate_algorithms(trusting, ["toy"]) == []
    [problem] = validate_algorithms(write("id: a"), ["toy"])
    assert problem.endswith("bc trains on a column 'trust', so 'data' needs a transform 'trust'")


def test_a_drop_that_leaves_less_than_a_minibatch_is_refused_where_the_rows_are_known(write):
    specs = write("id: a, data: [{drop: 0.99}, {drop: 0.99}]", "id: b, data: [{drop: 0.99}]")
    with pytest.raises(SpecError) as caught:
        check(resolve(specs, "toy", Choice(lineage="generated")), specs)
    one, other = str(caught.value).splitlines()
    assert one.startswith("own/tables/toy.yaml:11:")
    assert "columns.0.data: of the 1,000,000 rows of hopper-expert-v2 about 100 are left, fewer than" in other
