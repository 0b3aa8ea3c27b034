"""Datasets made here: deterministic, whole or absent, and what D4RL's recipes describe."""

from __future__ import annotations

import errno
import multiprocessing
import shutil
import threading
import time

import h5py
import numpy as np
import pytest

from harness import datasets, files
from harness.datasets import generated
from harness.datasets.waypoints import Pilot, shortest_path, walk
from harness.environments.maze2d import MAZES, Ball, Maze2D, State, at_goal, free_cells, goal_cell
from harness.errors import DataError, HarnessError
from harness.specs.models import Environment, GeneratedSource, PolicyFile

POLICY = PolicyFile(id="hopper-medium", sha256="0" * 64)
STEPS = {"umaze": 300, "medium": 600, "large": 800}


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def maze(make_dataset):
    def make(size="umaze", transitions=3000, seed=0, version=1, **fields):
        source = GeneratedSource(
            recipe="maze2d-waypoints", version=version, seed=seed, transitions=transitions
        )
        return make_dataset(
            **{
                "identifier": f"maze2d-{size}-v1",
                "environment": f"harness/maze2d-{size}",
                "steps": STEPS[size],
                "sizes": (4, 2),
                "generated": source,
                **fields,
            }
        )

    return make


@pytest.fixture
def random_hopper(make_dataset):
    return make_dataset(
        identifier="hopper-random-v2",
        steps=15,
        generated=GeneratedSource(recipe="random-policy", version=1, seed=3, transitions=2000),
    )


def build_in_process(dataset, home, together, builds):
    def make():
        with builds.open("a", encoding="utf-8") as file:
            file.write("built\n")
        time.sleep(0.5)  # so that the other would come in between if nothing held it back
        return generated.Trained(generated.maze2d_waypoints(dataset.environment, 3000, 0), {})

    together.wait()
    datasets.build(dataset, "generated", home, train=make)


# -- the file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["maze", "random_hopper"])
def test_the_same_recipe_makes_the_same_content(kind, request, tmp_path):
    spec = request.getfixturevalue(kind)
    spec = spec() if kind == "maze" else spec
    hashes = []
    for folder in ("one", "two"):
        assert not datasets.available(spec, "generated", tmp_path / folder)
        datasets.build(spec, "generated", tmp_path / folder)
        assert datasets.available(spec, "generated", tmp_path / folder)
        hashes.append(datasets.load(spec, "generated", tmp_path / folder).content_hash)
    assert hashes[0] == hashes[1]


def test_another_seed_or_size_is_another_file_with_other_content(maze, home):
    specs = [maze(), maze(seed=1), maze(transitions=2000)]
    loaded = []
    for spec in specs:
        datasets.build(spec, "generated", home)
        loaded.append(datasets.load(spec, "generated", home))
    assert len({datasets.path(spec, "generated", home) for spec in specs}) == 3
    assert len({data.content_hash for data in loaded}) == 3
    # a smaller dataset is the beginning of the larger one
    np.testing.assert_array_equal(
        loaded[2].observations[:1000], loaded[0].observations[: len(loaded[2])][:1000]
    )


def test_a_preset_that_shrinks_the_spec_has_its_own_identity(maze, home):
    spec = maze()
    small = spec.model_copy(update={"generated": spec.generated.model_copy(update={"transitions": 100})})
    assert datasets.identity(small, "generated") != datasets.identity(spec, "generated")
    datasets.build(small, "generated", home)
    assert not datasets.available(spec, "generated", home)


def test_another_time_limit_is_another_file(maze, home):
    assert datasets.path(maze(steps=10), "generated", home) != datasets.path(maze(), "generated", home)


def test_building_twice_keeps_the_first_file(maze, home):
    before = datasets.build(maze(), "generated", home).stat().st_mtime_ns
    assert datasets.build(maze(), "generated", home).stat().st_mtime_ns == before


def test_two_processes_build_once(maze, home, tmp_path):
    context = multiprocessing.get_context("spawn")
    together, builds = context.Barrier(2), tmp_path / "builds"
    arguments = (maze(), home, together, builds)
    processes = [context.Process(target=build_in_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert builds.read_text(encoding="utf-8") == "built\n"
    assert len(datasets.load(maze(), "generated", home)) > 2900


def test_whoever_waits_for_another_process_says_so(tmp_path):
    said, free = [], threading.Event()

    def hold():
        with files.locked(tmp_path / "x"):
            held.set()
            free.wait(20)

    held = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)
    with files.locked(tmp_path / "x", lambda: (said.append("waiting"), free.set())):
        assert said == ["waiting"]
    holder.join()
    with files.locked(tmp_path / "x", lambda: said.append("again")):
        assert said == ["waiting"]


def test_missing_data_say_what_to_run(maze, home):
    with pytest.raises(
        DataError, match=r"run `harness data build maze2d-umaze-v1 --transitions 3000 --data-home .*`"
    ) as caught:
        datasets.load(maze(), "generated", home)
    assert str(datasets.path(maze(), "generated", home)) in str(caught.value)
    with pytest.raises(DataError, match="harness data build maze2d-umaze-v1"):
        datasets.pull(maze(), "generated", home)


def test_a_tampered_file_is_refused(maze, home):
    place = datasets.build(maze(), "generated", home)
    with h5py.File(place, "r+") as file:
        file["rewards"][5] = 1 - file["rewards"][5]
    with pytest.raises(
        DataError, match=r"was changed.*harness data build maze2d-umaze-v1 --transitions 3000"
    ):
        datasets.load(maze(), "generated", home)


def test_a_file_of_another_identity_is_refused(maze, home):
    other = datasets.build(maze(seed=9), "generated", home)
    other.rename(datasets.path(maze(), "generated", home))
    with pytest.raises(DataError, match=r'was made for .*"seed":9'):
        datasets.load(maze(), "generated", home)


def test_an_unfinished_build_leaves_nothing(maze, home, monkeypatch):
    def fail(target, *others):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(generated, "_write", fail)
    with pytest.raises(KeyboardInterrupt):
        datasets.build(maze(), "generated", home)
    assert [path.name for path in (home / "generated").iterdir() if path.suffix != ".lock"] == []


def test_what_a_killed_build_left_is_removed(maze, home):
    place = datasets.path(maze(), "generated", home)
    place.parent.mkdir(parents=True)
    left = place.with_name(f".{place.name}.99-1.tmp")
    other = place.with_name(f".{place.name}.sha256.99-1.tmp")
    for file in (left, other):
        file.write_bytes(b"half")
    datasets.build(maze(), "generated", home)
    assert not left.exists()
    assert other.exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("Can't write data (errno = 28, error message = 'No space left on device')"),  # h5py's
    ],
)
def test_a_disk_that_fills_up(maze, home, monkeypatch, error):
    def fail(self, *args, **kwargs):
        raise error

    monkeypatch.setattr(h5py.File, "create_dataset", fail)
    with pytest.raises(DataError, match="no space left to write"):
        datasets.build(maze(), "generated", home)
    assert [path.name for path in (home / "generated").iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"GCOL", b"\0COL"),  # where texts are kept
        (b"actions", b"\xffctions"),
        (b'"made_with"', b'"made_with '),
        (b'"made_with"', b'"made\xffwith"'),
        (b"SNOD", b"SNOX"),
        (b"TREE", b"\0\0\0\0"),
    ],
)
def test_a_damaged_file_is_said_to_be(make_dataset, home, old, new):
    """Names, texts and what leads to them: each fails in a way of its own."""
    source = GeneratedSource(recipe="random-policy", version=1, seed=0, transitions=40)
    spec = make_dataset(generated=source)
    file = datasets.build(spec, home=home)
    whole = file.read_bytes()
    assert old in whole
    file.write_bytes(whole.replace(old, new))
    with pytest.raises(DataError, match="is damaged or no HDF5 file"):
        datasets.card(spec, home)


def test_too_little_space_is_said_before_the_work(maze, home, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DataError, match="needs 1,186,576 more bytes"):
        datasets.build(maze(), "generated", home)


@pytest.mark.parametrize("kind", ["maze", "random_hopper"])
def test_a_file_takes_what_is_planned_for_it(kind, request, home):
    spec = request.getfixturevalue(kind)
    spec = spec() if callable(spec) else spec
    size = datasets.build(spec, "generated", home).stat().st_size
    planned = spec.generated.transitions * generated.row_bytes(spec)
    assert 0.5 * planned < size < planned + generated._SLACK


def test_a_version_that_this_harness_does_not_make(maze, home):
    with pytest.raises(DataError, match=r"asks for version 2 .* makes version 1"):
        datasets.build(maze(version=2), "generated", home)


def test_recipes_need_their_environment(maze, home):
    with pytest.raises(HarnessError, match=r"needs a harness/maze2d-\*, not 'Hopper-v4'"):
        generated.maze2d_waypoints(Environment(id="Hopper-v4", max_episode_steps=10), 10, 0)
    with pytest.raises(DataError, match="names no environment"):
        datasets.build(maze(environment=None), "generated", home)


def test_an_environment_that_cannot_be_made(make_dataset, home):
    """Said once, and not by every process that acts."""
    source = GeneratedSource(
        recipe="policy-rollout", version=1, seed=0, transitions=10**6, policies=(POLICY,)
    )
    with pytest.raises(HarnessError, match="'Nope-v4' cannot be made"):
        datasets.build(make_dataset(environment="Nope-v4", generated=source), home=home)


@pytest.mark.parametrize("sizes", [(17, 3), (11, 6)])
def test_sizes_that_are_not_the_environments(make_dataset, home, sizes):
    """Rows of other lengths would be found by whoever trains on them."""
    source = GeneratedSource(recipe="random-policy", version=1, seed=0, transitions=20)
    with pytest.raises(HarnessError, match=r"the spec says .* but Hopper-v4 has 11 and 3"):
        datasets.build(make_dataset(sizes=sizes, generated=source), home=home)


def test_actions_of_another_range(make_dataset, home):
    source = GeneratedSource(recipe="random-policy", version=1, seed=0, transitions=20)
    with pytest.raises(HarnessError, match=r"actions of InvertedPendulum-v4 lie in \[-3, 3\], but"):
        datasets.build(
            make_dataset(environment="InvertedPendulum-v4", sizes=(4, 1), generated=source), home=home
        )


# -- random policy -----------------------------------------------------------------------------------------


def test_random_policy(random_hopper):
    source = random_hopper.generated
    rows = generated.random_policy(random_hopper.environment, source.transitions, source.seed)
    assert {name: len(array) for name, array in rows.items()} == dict.fromkeys(rows, 2000)
    assert rows["actions"].min() < -0.99
    assert rows["actions"].max() > 0.99
    assert rows["actions"].std() == pytest.approx(1 / np.sqrt(3), rel=0.02)
    ends = np.flatnonzero(rows["terminals"] | rows["timeouts"])
    lengths = np.diff(ends, prepend=-1)
    assert not (rows["terminals"] & rows["timeouts"]).any()
    # hopper falls after some ten to forty steps of random actions, so both kinds of ends occur
    assert rows["terminals"].any()
    assert (lengths[rows["timeouts"][ends]] == 15).all()
    assert (lengths[rows["terminals"][ends]] < 15).all()
    # the rows after ends are starts: near rest, 1.25 m high
    starts = rows["observations"][ends[:-1] + 1]
    assert np.abs(starts[:, 0] - 1.25).max() <= 0.0051
    assert np.abs(starts[:, 1:]).max() <= 0.0051


def test_random_policy_rows_are_steps_of_the_environment(random_hopper):
    from harness import environments

    rows = generated.random_policy(random_hopper.environment, 100, 3)
    env = environments.make(random_hopper.environment)
    env.reset(seed=0)
    for row in range(99):
        if rows["terminals"][row] or rows["timeouts"][row]:
            continue
        observation = rows["observations"][row].astype(float)
        env.reset()
        env.unwrapped.set_state(np.concatenate([[0.0], observation[:5]]), observation[5:])
        after, reward, *_ = env.step(rows["actions"][row])
        np.testing.assert_allclose(after, rows["observations"][row + 1], atol=2e-3)
        assert reward == pytest.approx(rows["rewards"][row], abs=2e-3)


# -- maze2d ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=MAZES)
def walked(request):
    size = request.param
    return size, walk(MAZES[size], STEPS[size], 20_000, 0)


def test_the_walk_stays_in_free_cells(walked):
    size, rows = walked
    positions = rows["observations"][:, :2]
    cells = np.floor(positions + 0.7).astype(int)
    assert {tuple(cell) for cell in cells.tolist()} <= set(free_cells(MAZES[size]))
    # the ball, of radius 0.1, is never inside a wall: boxes of half size 0.5 around (i - 0.2, j - 0.2)
    walls = [(i, j) for i, row in enumerate(MAZES[size]) for j, tile in enumerate(row) if tile == "#"]
    outside = np.abs(positions[:, None] - (np.array(walls) - 0.2)) - 0.5
    assert np.linalg.norm(outside.clip(0), axis=2).min() > 0.09


def test_the_walk_covers_the_maze(walked):
    size, rows = walked
    visited = {tuple(cell) for cell in np.floor(rows["observations"][:, :2] + 0.7).astype(int).tolist()}
    assert len(visited) >= 0.9 * len(free_cells(MAZES[size]))


def test_rewards_are_those_of_the_evaluations_goal(walked):
    size, rows = walked
    x, y = rows["observations"][:, :2].astype(float).T
    expected = at_goal(x, y, goal_cell(MAZES[size]))
    assert (rows["rewards"] == expected).mean() > 0.9999  # float32 at the rim
    assert set(rows["rewards"].tolist()) == {0.0, 1.0}
    assert 0.003 < rows["rewards"].mean() < 0.3


def test_timeouts_mark_changes_of_goal(walked):
    size, rows = walked
    changes = (np.diff(rows["infos/goal"], axis=0) != 0).any(axis=1)
    np.testing.assert_array_equal(rows["timeouts"][:-1], changes)
    assert not rows["terminals"].any()
    ends = np.flatnonzero(rows["timeouts"])
    lengths = np.diff(ends, prepend=-1)
    assert lengths.max() <= STEPS[size] + 1
    reached = lengths <= STEPS[size]
    assert reached.mean() > 0.9
    distance = np.linalg.norm(rows["observations"][ends, :2] - rows["infos/goal"][ends].round(), axis=1)
    assert distance[reached].max() < 0.1
    goals = rows["infos/goal"][ends]
    assert np.abs(goals - goals.round()).max() <= 0.1 + 1e-6


def test_rows_are_steps_of_the_environment_even_across_changes_of_goal(walked):
    size, rows = walked
    env = Maze2D(MAZES[size])
    for row in range(0, 19_999, 7):
        env.reset(options={"state": rows["observations"][row].tolist()})
        after = env.step(rows["actions"][row])[0]
        np.testing.assert_allclose(after, rows["observations"][row + 1], atol=2e-3)


def test_actions_are_those_of_the_controller(walked):
    _, rows = walked
    assert np.abs(rows["actions"]).max() == 1.0
    state, action = rows["observations"].astype(float), rows["actions"]
    inside = (np.abs(action) < 1).all(axis=1)
    # a = 10 (waypoint - position) - velocity, so this is where it steers
    waypoint = state[inside, :2] + (action[inside] + state[inside, 2:]) / 10
    offset = waypoint - np.floor(waypoint + 0.7)
    assert offset.min() > -0.2001
    assert offset.max() < 0.0001


def test_a_goal_out_of_time_is_given_up():
    rows = walk(MAZES["large"], 20, 3000, 0)
    lengths = np.diff(np.flatnonzero(rows["timeouts"]), prepend=-1)
    # as in D4RL, the clock is read before it ticks: 21 rows
    assert lengths.max() == 21
    assert (lengths == 21).mean() > 0.5


def test_a_goal_in_the_same_cell_is_reached_at_once():
    pilot = Pilot(MAZES["umaze"], np.random.default_rng(0))
    steered = [pilot.steer((1.0, 1.0), (0.0, 0.0), goal) for goal in ((1.05, 0.95), (0.98, 1.02))]
    assert steered == [((0.0, 0.0), True)] * 2


def test_shortest_paths():
    free = frozenset(free_cells(MAZES["umaze"]))
    around = [(1, 2), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1)]
    assert shortest_path(free, (1, 1), (3, 1)) == around
    assert shortest_path(free, (3, 1), (1, 1)) == [*around[-2::-1], (1, 1)]
    assert shortest_path(free, (1, 1), (1, 1)) == [(1, 1)]


def test_a_walk_survives_every_corner():
    """Planning must not fail wherever the ball may have been pushed when time ran out."""
    layout = MAZES["umaze"]
    for force in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        ball = Ball(layout)
        for cell in free_cells(layout):
            ball.place(State(*cell, 0, 0))
            for _ in range(300):
                state = ball.push(*force)
            action, _ = Pilot(layout, np.random.default_rng(0)).steer(state[:2], state[2:], (1.0, 1.0))
            assert np.isfinite(action).all()
