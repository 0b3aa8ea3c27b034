"""OGBench's files: what is read, relabelled, held and refused."""

from __future__ import annotations

import re
import zipfile

import numpy as np
import pytest

from harness import datasets
from harness.datasets import cards
from harness.datasets.transforms import BestTrajectories, GoalTask, Inputs, Trajectories, prepare, steps_of
from harness.errors import DataError
from harness.specs.models import Dataset, Environment, OGBenchSource, ReferenceScores
from harness.specs.models import GoalTask as Task

EPISODES, LENGTH = 3, 11
GOAL = (2.0, 1.0)
FILE = "antmaze-large-navigate-v0.npz"


@pytest.fixture(autouse=True)
def _home_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("HARNESS_OGBENCH_MIRROR", raising=False)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def spec():
    def make(task=1, url=f"https://rail.eecs.berkeley.edu/datasets/ogbench/{FILE}", **source):
        said = {"rows": EPISODES * LENGTH, "episodes": EPISODES} | source
        return Dataset(
            id=f"antmaze-large-navigate-singletask-task{task}-v0",
            domain="ogbench-antmaze",
            environment=Environment(id="harness/ogbench-antmaze-large-task1", scored_by_success=True),
            observation_size=29,
            action_size=8,
            reference=ReferenceScores(minimum=0, maximum=1, source="a test"),
            goal_task=Task(goal=(GOAL[0] + task - 1, GOAL[1])),
            ogbench=OGBenchSource(url=(url,), **said),
        )

    return make


def rows_of(episodes=EPISODES, length=LENGTH, seed=0):
    """Ants that pass the goal in row 5 of every episode."""
    random = np.random.default_rng(seed)
    observations = random.normal(0, 1, (episodes, length, 29)).astype(np.float32)
    observations[..., 0] = np.arange(length) - 3
    observations[..., 1] = 1.0
    count = episodes * length
    return {
        "observations": observations.reshape(count, 29),
        "actions": random.uniform(-1, 1, (count, 8)).astype(np.float32),
        "terminals": np.arange(1, count + 1) % length == 0,
        "qpos": observations.reshape(count, 29)[:, :15],
        "qvel": observations.reshape(count, 29)[:, 15:],
    }


def write(place, rows):
    place.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(place, **rows)
    return place


@pytest.fixture
def placed(home):
    return write(home / "ogbench" / FILE, rows_of())


def test_rewards_and_masks_are_those_of_the_state_before_the_action(spec, home, placed):
    data, rows = datasets.load(spec(), "ogbench", home), rows_of()
    kept = ~rows["terminals"]
    assert len(data) == EPISODES * (LENGTH - 1)
    np.testing.assert_array_equal(data.observations, rows["observations"][kept])
    np.testing.assert_array_equal(data.actions, rows["actions"][kept])
    np.testing.assert_array_equal(data.next_observations, rows["observations"][np.flatnonzero(kept) + 1])
    np.testing.assert_array_equal(data.next_actions, rows["actions"][np.flatnonzero(kept) + 1])
    at_goal = np.arange(LENGTH - 1) == 5  # x is 2 there, and 1 in the row before
    np.testing.assert_array_equal(data.terminals, np.tile(at_goal, EPISODES))
    np.testing.assert_array_equal(data.rewards, np.tile(at_goal - 1.0, EPISODES))
    assert data.rewards.dtype == np.float32


def test_it_is_what_ogbenchs_own_loader_gives(spec, home, placed, ogbench):
    theirs = ogbench.utils.load_dataset(str(placed), add_info=True)
    data = datasets.load(spec(), "ogbench", home)
    for name in ("observations", "actions", "next_observations"):
        np.testing.assert_array_equal(getattr(data, name), theirs[name])
    near = np.linalg.norm(theirs["qpos"][:, :2] - np.array(GOAL), axis=-1) <= 0.5
    np.testing.assert_array_equal(data.terminals, near)
    assert (np.flatnonzero(theirs["terminals"]) + 1).tolist() == [10, 20, 30]
    assert np.flatnonzero(np.diff(Trajectories.of(data).number)).tolist() == [9, 19]


def test_one_file_serves_all_tasks_and_each_is_another_dataset(spec, home, placed):
    one, other = (datasets.load(spec(task), "ogbench", home) for task in (1, 2))
    assert datasets.path(spec(1), "ogbench", home) == datasets.path(spec(2), "ogbench", home) == placed
    np.testing.assert_array_equal(one.observations, other.observations)
    assert np.flatnonzero(one.terminals).tolist() == [5, 15, 25]
    assert np.flatnonzero(other.terminals).tolist() == [6, 16, 26]
    assert one.identity["goal_task"] == {"goal": [2.0, 1.0]}
    assert other.identity["goal_task"] == {"goal": [3.0, 1.0]}
    assert one.content_hash != other.content_hash


def test_episodes_run_on_through_the_goal(spec, home, placed):
    data = datasets.load(spec(), "ogbench", home)
    found = Trajectories.of(data)
    assert found.last.tolist() == [9, 19, 29]
    assert found.returns.tolist() == [-9.0] * 3
    assert len(prepare(data, [BestTrajectories(2)]).rows) == 20
    card = datasets.card(spec(), home, "ogbench")
    assert card["episodes"] == {"finished": 3, "terminal": 0, "cut": 3, "rows after the last": 0}
    assert card["lengths"]["mean"] == LENGTH


def test_a_card_leaves_out_what_the_spec_does_not_know(spec, home, placed):
    page = cards.markdown(datasets.card(spec(), home, "ogbench"))
    assert f"| rows of OGBench's own file | {EPISODES * LENGTH} |" in page
    unknown = datasets.card(spec(rows=None, episodes=None), home, "ogbench")
    assert "own file" not in cards.markdown(unknown)


def test_goal_task_is_a_transform_too(spec, home, placed):
    data = datasets.load(spec(), "ogbench", home)
    steps = steps_of({"data": [{"goal_task": {"goal": (5.0, 1.0), "radius": 1.0}}]})
    assert steps == (GoalTask((5.0, 1.0), 1.0),)
    rows = prepare(data, steps, Inputs()).rows
    assert np.flatnonzero(rows.rewards == 0).tolist() == np.flatnonzero(rows.terminals).tolist()
    assert np.flatnonzero(rows.terminals).tolist() == [7, 8, 9, 17, 18, 19, 27, 28, 29]
    np.testing.assert_array_equal(rows.observations, data.observations)


def test_the_packages_folder_is_read_and_never_written(spec, home, tmp_path):
    place = write(tmp_path / "user" / ".ogbench" / "data" / FILE, rows_of())
    assert datasets.path(spec(), "ogbench", home) == place
    assert len(datasets.load(spec(), "ogbench", home)) == 30
    assert [each.name for each in place.parent.iterdir()] == [FILE]
    write(place, rows_of(seed=1))
    with pytest.raises(DataError, match="but at first use it was"):
        datasets.load(spec(), "ogbench", home)


def served(server, rows, tmp_path):
    server.content = write(tmp_path / "served.npz", rows).read_bytes()
    return server.url.rpartition("/")[0] + f"/{FILE}"


def test_it_is_downloaded_once_for_all_tasks(spec, home, server, tmp_path):
    url = served(server, rows_of(), tmp_path)
    server.script = ["drop", "serve"]
    for task in (1, 2):
        datasets.pull(spec(task, url), "ogbench", home)
        assert len(datasets.load(spec(task, url), "ogbench", home)) == 30
    assert {path.rpartition("/")[2] for path in server.paths} == {FILE}
    assert len(server.paths) == 2  # the first broke off


def test_a_validation_file_is_not_downloaded_as_a_training_file(spec, home, server, tmp_path):
    url = served(server, rows_of(1), tmp_path)
    said = {"episodes": 10, "rows": 10 * LENGTH}
    with pytest.raises(DataError, match=r"has 11 rows, but .* says 110 \(a tenth: it is the validation file"):
        datasets.pull(spec(1, url, **said), "ogbench", home)
    assert not datasets.available(spec(1, url), "ogbench", home)


def test_a_mirror_has_files_by_their_names(spec, home, tmp_path, monkeypatch):
    write(tmp_path / "mirror" / FILE, rows_of())
    monkeypatch.setenv("HARNESS_OGBENCH_MIRROR", str(tmp_path / "mirror"))
    assert datasets.pull(spec(), "ogbench", home) == home / "ogbench" / FILE


def without(name):
    return {key: array for key, array in rows_of().items() if key != name}


def cut(rows, stop):
    return {name: array[:stop] for name, array in rows.items()}


def uneven():
    rows = rows_of()
    rows["terminals"] = rows["terminals"].copy()
    rows["terminals"][[10, 12]] = False, True
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            without("terminals"),
            "lacks terminals, so it is no file of OGBench's; it has observations, actions",
        ),
        (uneven(), "are of one length, but the first has 13 rows and number 2 has 9"),
        (
            rows_of() | {"observations": np.zeros((33, 27))},
            r"shape \(30, 27\), but the spec of .* \(30, 29\)",
        ),
        (rows_of() | {"actions": np.zeros((30, 8))}, r"actions have shape \(30, 8\), but there are 33 termi"),
        (rows_of() | {"terminals": np.full(33, 0.5)}, "terminals are 0 or 1"),
        (rows_of() | {"actions": np.full((33, 8), np.nan)}, "actions of .* hold values that are not finite"),
        (rows_of() | {"actions": np.array([None] * 33)}, "actions hold values of NumPy's type object, not"),
        (rows_of() | {"terminals": np.array(True)}, "but there are 1 terminals"),
        (cut(rows_of(), 0), "holds no rows"),
        (cut(rows_of(), 31), "ends within an episode: terminals are 0 in its last row; it was cut off"),
        (cut(rows_of(), 22), "has 22 rows, but the spec of .* says 33$"),
    ],
)
def test_other_files_are_refused_in_a_sentence(spec, home, rows, message):
    place = write(home / "ogbench" / FILE, rows)
    with pytest.raises(DataError, match=message) as refused:
        datasets.load(spec(), "ogbench", home)
    assert str(place) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (home / "ogbench" / f"{FILE}.sha256").exists()


def test_a_validation_file_in_its_place_is_named(spec, home):
    write(home / "ogbench" / FILE, rows_of(1))
    with pytest.raises(DataError, match="it is the validation file, whose name ends in -val"):
        datasets.load(spec(episodes=10, rows=110), "ogbench", home)
    with pytest.raises(DataError, match=r"has 1 episodes, but .* says 10 .*validation"):
        datasets.load(spec(episodes=10, rows=None), "ogbench", home)


def test_a_damaged_zip(spec, home, placed):
    content = placed.read_bytes()
    placed.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="is damaged or no npz file"):
        datasets.load(spec(), "ogbench", home)
    with zipfile.ZipFile(placed, "w") as archive:
        archive.writestr("terminals.npy", b"no array")
    with pytest.raises(DataError, match="is damaged or no npz file"):
        datasets.load(spec(), "ogbench", home)


def test_a_goal_belongs_to_data_without_rewards(spec, tmp_path):
    from harness.specs import Specs

    place = tmp_path / "datasets" / "mine-v0.yaml"
    place.parent.mkdir()
    text = (
        "id: mine-v0\ndomain: ogbench-antmaze\nobservation_size: 29\naction_size: 8\n"
        "reference: {minimum: 0, maximum: 1, source: mine}\n"
        "ogbench: {url: 'https://example.org/antmaze-large-navigate-v0.npz'}\n"
    )
    place.write_text(text)
    with pytest.raises(Exception, match=r"goal_task.*goes with data of OGBench"):
        Specs([tmp_path]).dataset("mine-v0")
    place.write_text(text + "goal_task: {goal: [1, 2]}\n")
    assert Specs([tmp_path]).dataset("mine-v0").goal_task.radius == 0.5
    place.write_text(re.sub("ogbench: .*", "minari: {id: a/b-v0}", text) + "goal_task: {goal: [1, 2]}\n")
    with pytest.raises(Exception, match=r"mine-v0.yaml:7:1: goal_task: .*goes with data of OGBench"):
        Specs([tmp_path]).dataset("mine-v0")
