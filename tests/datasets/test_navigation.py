"""Data of an ant that wanders through OGBench's mazes."""

from __future__ import annotations

import numpy as np
import pytest

from harness import datasets
from harness.datasets import navigation, policies
from harness.datasets.navigation import Navigators
from harness.environments.antmaze import cell_of, position
from harness.environments.ogbench import LAYOUTS, cells, crossings
from harness.errors import DataError, HarnessError
from harness.specs import Environment, GeneratedSource, PolicyFile, Specs

NAME = "antmaze-large-navigate-singletask-task{}-v0"


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Episodes of a tenth."""
    monkeypatch.setattr(navigation, "_LENGTHS", {"large": 101, "giant": 201})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def expert(home):
    """An ant that twitches."""
    random = np.random.default_rng(0)
    weights = [random.normal(0, 0.3, shape) for shape in ((29, 8), (8, 16))]
    place = home / "policies" / "twitch.safetensors"
    sha256 = policies.write(place, weights, [np.zeros(8), np.zeros(16)], {"activation": "gelu_tanh"})
    return PolicyFile(id="twitch", sha256=sha256)


@pytest.fixture(scope="module")
def dataset(expert):
    def make(task=1, rows=150):
        source = GeneratedSource(
            recipe="ant-navigate", version=1, seed=0, transitions=rows, policies=(expert,)
        )
        return Specs().dataset(NAME.format(task)).model_copy(update={"generated": source})

    return make


def built(dataset, home):
    datasets.build(dataset, "generated", home)
    return datasets.load(dataset, "generated", home)


def test_the_rows_of_five_tasks_differ_in_what_pays(dataset, home):
    one, other = (built(dataset(task), home) for task in (1, 5))
    np.testing.assert_array_equal(one.observations, other.observations)
    np.testing.assert_array_equal(one.actions, other.actions)
    assert one.identity != other.identity
    for data, goal in ((one, (36, 24)), (other, (12, 16))):
        near = np.linalg.norm(data.observations[:, :2] - np.array(goal), axis=1) <= 0.5
        np.testing.assert_array_equal(data.terminals, near)
        np.testing.assert_array_equal(data.rewards, near - 1.0)


def test_episodes_are_as_long_as_ogbenchs_and_their_last_row_only_shows_where_it_led(dataset, home):
    data = built(dataset(), home)
    assert len(data) == 150 - 2  # of 101 rows and 49
    follows = (data.next_observations[:-1] == data.observations[1:]).all(1)
    assert np.flatnonzero(~follows).tolist() == [99]
    card = datasets.card(dataset(), home)
    assert card["episodes"] == {"finished": 1, "terminal": 0, "cut": 1, "rows after the last": 49}
    assert card["lengths"]["mean"] == 101
    assert card["normalised_returns"] is None
    assert card["ogbench"] == {"rows": 1_001_000, "episodes": 1000}
    assert navigation.Navigators.length(dataset().environment) == 101


def test_fewer_rows_are_the_beginning_of_more_and_data_have_a_seed(dataset, home):
    few, many = built(dataset(rows=40), home), built(dataset(), home)
    np.testing.assert_array_equal(few.observations, many.observations[:39])
    seeded = dataset(rows=40).generated.model_copy(update={"seed": 1})
    other = built(dataset().model_copy(update={"generated": seeded}), home)
    assert (few.observations[0] != other.observations[0]).any()


def test_starts_lie_in_all_cells_and_goals_at_crossings():
    for size, counts in (("large", (46, 22)), ("giant", (86, 46))):
        layout = LAYOUTS[size]
        assert (len(cells(layout)), len(crossings(layout))) == counts
        assert set(crossings(layout)) < set(cells(layout))
    assert (1, 2) not in crossings(LAYOUTS["large"])  # between (1, 1) and (1, 3), with walls beside
    assert (3, 4) in crossings(LAYOUTS["large"])


def test_a_position_is_in_the_cell_whose_centre_is_within_two_metres():
    for cell in cells(LAYOUTS["giant"]):
        for offset in ((0, 0), (1.99, -1.99), (-2, 1.99)):
            assert cell_of(position(cell) + offset) == cell


def test_the_way_to_a_goal_is_a_shortest_path():
    layout = LAYOUTS["large"]
    step = navigation._next_cells(layout, (7, 10))
    assert step[7, 10] == (7, 10)
    assert set(step) == set(cells(layout))
    for cell in step:
        way = [cell]
        while way[-1] != (7, 10):
            way.append(step[way[-1]])
            assert abs(way[-1][0] - way[-2][0]) + abs(way[-1][1] - way[-2][1]) == 1
        assert len(way) < len(step)
    # of two ways of equal length, OGBench's order of moves decides: up before left before down before right
    assert step[1, 4] == (2, 4)


def test_an_ant_is_pointed_at_the_next_cell_with_noise_and_gets_another_goal_when_it_arrives(expert, home):
    policy = policies.read(home / "policies" / "twitch.safetensors")
    task = Environment(id="harness/ogbench-antmaze-large-task1")
    crew = Navigators(policy, task, 1)
    walk = navigation._Walk(crew._ants[0], LAYOUTS["large"], np.random.default_rng(0))
    here = cell_of(walk.state[:2])
    assert np.abs(walk.state[:2] - position(here)).max() <= 1
    following = navigation._next_cells(LAYOUTS["large"], walk._target)[here]
    way = position(following) - walk.state[:2]
    np.testing.assert_allclose(walk.direction(), way / np.linalg.norm(way), rtol=1e-5)
    assert np.linalg.norm(walk.direction()) < 1
    goals = {tuple(walk._ant.goal)}
    for _ in range(3):
        walk._ant.goal = walk.state[:2].copy()
        walk.step(np.zeros(8, np.float32))
        goals.add(tuple(walk._ant.goal))
        assert np.abs(walk._ant.goal - position(walk._target)).max() <= 1
    assert len(goals) == 4
    walk._ant.goal = np.array([100.0, 100.0])
    actions = np.array([walk.step(np.full(8, 0.9, np.float32)) for _ in range(200)])
    assert actions.max() == 1
    assert actions.mean(where=actions < 1) < 0.9
    assert np.std([walk.step(np.zeros(8, np.float32)) for _ in range(200)]) == pytest.approx(0.2, rel=0.06)
    assert tuple(walk._ant.goal) == (100, 100)


def test_another_environment_or_policy_is_refused(dataset, expert, home):
    with pytest.raises(
        HarnessError, match="needs a harness/ogbench-antmaze-\\*, not 'harness/antmaze-large'"
    ):
        Navigators.length(Environment(id="harness/antmaze-large"))
    place = home / "policies" / "small.safetensors"
    small = policies.write(place, [np.zeros((11, 6))], [np.zeros(6)])
    source = dataset().generated.model_copy(update={"policies": (PolicyFile(id="small", sha256=small),)})
    with pytest.raises(DataError, match="it takes 11 numbers and gives 3, but the environment shows 29"):
        datasets.build(dataset().model_copy(update={"generated": source}), "generated", home)
