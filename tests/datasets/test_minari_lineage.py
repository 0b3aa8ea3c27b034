"""Minari datasets, made and read with Minari itself."""

from __future__ import annotations

import warnings

import gymnasium
import minari
import numpy as np
import pytest

from harness import datasets
from harness.errors import DataError
from harness.specs.models import MinariSource

NAME = "test/hopper-v0"


def make_episode(number: int, steps: int, *, terminated: bool, goal: bool = False) -> object:
    random = np.random.default_rng(number)
    observations: object = random.standard_normal((steps + 1, 4))
    if goal:
        observations = {"observation": observations, "desired_goal": random.standard_normal((steps + 1, 2))}
    last = np.arange(steps) == steps - 1
    return minari.data_collector.EpisodeBuffer(
        id=number,
        observations=observations,
        actions=random.uniform(-1, 1, (steps, 2)).astype(np.float32),
        rewards=random.standard_normal(steps).tolist(),
        terminations=(last & terminated).tolist(),
        truncations=(last & (not terminated)).tolist(),
    )


def create(episodes: list[object], *, goal: bool = False) -> None:
    box = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
    space: gymnasium.Space = box
    if goal:
        pair = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        space = gymnasium.spaces.Dict({"observation": box, "desired_goal": pair})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            NAME,
            episodes,
            observation_space=space,
            action_space=gymnasium.spaces.Box(-1, 1, (2,), np.float32),
        )


@pytest.fixture
def spec(make_dataset):
    return make_dataset(sizes=(4, 2), minari=MinariSource(id=NAME))


@pytest.mark.parametrize("goal", [False, True])
def test_every_step_becomes_a_transition(spec, goal):
    episodes = [
        make_episode(0, 5, terminated=True, goal=goal),
        make_episode(1, 7, terminated=False, goal=goal),
    ]
    create(episodes, goal=goal)
    assert datasets.available(spec, "minari")
    got = datasets.load(spec, "minari")
    assert got.identity == datasets.identity(spec, "minari")
    assert got.identity["lineage"] == "minari"
    observed = [e.observations["observation"] if goal else e.observations for e in episodes]
    np.testing.assert_array_equal(
        got.observations, np.concatenate([o[:-1] for o in observed]).astype(np.float32)
    )
    np.testing.assert_array_equal(
        got.next_observations, np.concatenate([o[1:] for o in observed]).astype(np.float32)
    )
    np.testing.assert_array_equal(got.actions, np.concatenate([e.actions for e in episodes]))
    np.testing.assert_array_equal(
        got.rewards, np.concatenate([e.rewards for e in episodes]).astype(np.float32)
    )
    # after its last action an episode does nothing more
    expected = [np.concatenate([e.actions[1:], e.actions[-1:]]) for e in episodes]
    np.testing.assert_array_equal(got.next_actions, np.concatenate(expected))
    # the truncated last step of the second episode is kept, and is no terminal
    assert np.flatnonzero(got.terminals).tolist() == [4]


def test_where_minari_keeps_its_data(spec):
    assert datasets.path(spec, "minari") == minari.storage.get_dataset_path(NAME)


def test_a_missing_dataset(spec, tmp_path):
    assert not datasets.available(spec, "minari")
    with pytest.raises(DataError, match="harness data pull hopper-medium-v2 --data minari") as caught:
        datasets.load(spec, "minari")
    assert str(tmp_path / "minari" / NAME) in str(caught.value)


def test_other_sizes_than_the_specs(make_dataset):
    create([make_episode(0, 5, terminated=True)])
    with pytest.raises(DataError, match=r"observations have shape \(5, 4\)"):
        datasets.load(make_dataset(sizes=(11, 2), minari=MinariSource(id=NAME)), "minari")


def test_a_damaged_dataset(spec):
    create([make_episode(0, 5, terminated=True)])
    for file in (datasets.path(spec, "minari") / "data").glob("*.hdf5"):
        file.write_bytes(b"nothing")
    with pytest.raises(DataError, match="damaged"):
        datasets.load(spec, "minari")


def test_no_network(spec, monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(minari, "download_dataset", fail)
    with pytest.raises(DataError, match=r"cannot download .*no route to host; is the network up\?"):
        datasets.pull(spec, "minari")


def test_a_missing_client_is_not_taken_for_a_missing_network(spec, monkeypatch):
    def fail(*args, **kwargs):
        raise ImportError("huggingface_hub is not installed")

    monkeypatch.setattr(minari, "download_dataset", fail)
    with pytest.raises(DataError, match=r"huggingface_hub is not installed$"):
        datasets.pull(spec, "minari")


def test_a_dataset_that_is_there_is_not_downloaded(spec, monkeypatch):
    create([make_episode(0, 5, terminated=True)])
    monkeypatch.setattr(minari, "download_dataset", lambda *args: pytest.fail("downloaded"))
    assert datasets.pull(spec, "minari") == datasets.path(spec, "minari")
