"""Minari datasets, made and read with Minari itself."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import warnings

import gymnasium
import h5py
import minari
import numpy as np
import pytest

from harness import datasets
from harness.datasets import minari as lineage
from harness.datasets import minari_download
from harness.datasets.download import Retry
from harness.errors import DataError
from harness.specs.models import MinariSource
from tests.datasets.hub import Hub, drip, drip_header, endless, refuse, round_and_round, unfolding

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


def create(episodes: list[object], *, goal: bool = False, stored_as: str = "hdf5") -> None:
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
            data_format=stored_as,
        )


@pytest.fixture
def spec(make_dataset):
    return make_dataset(sizes=(4, 2), minari=MinariSource(id=NAME))


@pytest.mark.parametrize("stored_as", ["hdf5", "arrow", "parquet"])
@pytest.mark.parametrize("goal", [False, True])
def test_every_step_becomes_a_transition(spec, goal, stored_as):
    episodes = [
        make_episode(0, 5, terminated=True, goal=goal),
        make_episode(1, 7, terminated=False, goal=goal),
    ]
    create(episodes, goal=goal, stored_as=stored_as)
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


@pytest.fixture
def place(spec):
    """The folder of a whole dataset of two episodes."""
    create([make_episode(0, 5, terminated=True), make_episode(1, 3, terminated=False)])
    return datasets.path(spec, "minari")


def edit(place, **fields):
    """Change metadata; ... takes a field away."""
    file = place / "data" / "metadata.json"
    metadata = {**json.loads(file.read_text()), **fields}
    file.write_text(json.dumps({name: value for name, value in metadata.items() if value is not ...}))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("minari_version", "0.9.0", "of version '0.9.0' of Minari's format; .* install another Minari, or"),
        ("minari_version", ..., "of version None of Minari's format"),
        ("minari_version", {}, "of version {} of Minari's format"),
        ("data_format", "zarr", "is stored as 'zarr'; hdf5, arrow, parquet are read here"),
        ("data_format", ..., "is stored as None"),
        ("data_format", [], r"is stored as \[\]"),
        ("total_episodes", "2", "its total_episodes are '2'"),
        ("total_episodes", ..., "its total_episodes are None"),
        ("total_episodes", 3, "episode_2 lacks its observations, actions, rewards, terminations"),
        ("total_episodes", 1, "has 5 steps, but its metadata say 8"),
        ("total_episodes", 10**12, "lacks its"),
        ("total_steps", 0, "holds no episodes"),
        ("total_steps", True, "its total_steps are True"),
        ("action_space", '{"type": "Discrete", "n": 3}', "actions are of the space Discrete; only arrays"),
        ("action_space", '{"type": "Dict", "subspaces": {}}', "actions are of the space Dict"),
        ("observation_space", '{"type": "Tuple", "subspaces": []}', "observations are of the space Tuple"),
        ("observation_space", '{"type": "Dict", "subspaces": {}}', "space Dict without 'observation'"),
        ("observation_space", '{"type": "Box", "dtype": "uint8", "shape": [64, 64, 3]}', "are images"),
        ("observation_space", "[" * 10**5, "do not say what its observations are"),
        ("observation_space", None, "do not say what its observations are"),
        ("observation_space", "3", "do not say what its observations are"),
    ],
)
def test_what_is_not_read_is_a_sentence(place, field, value, said):
    edit(place, **{field: value})
    with pytest.raises(DataError, match=f"(?s)^{place}.*{said}"):
        lineage.read(place, "hopper-medium-v2")


@pytest.mark.parametrize("fields", [{"env_spec": '{"id": "os:system"}'}, {"observation_space": ...}])
def test_what_is_not_needed_may_be_of_any_kind(place, fields):
    edit(place, **fields)
    assert len(lineage.read(place, "hopper-medium-v2")["rewards"]) == 8


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "has no metadata.json: a Minari before 0.5 wrote it"), ("[" * 10**5, "it is no JSON object")],
)
def test_metadata_that_are_none(place, content, said):
    file = place / "data" / "metadata.json"
    file.unlink()
    if content:
        file.write_text(content)
    with pytest.raises(DataError, match=f"{said}.*run `harness data pull hopper-medium-v2 --data minari`"):
        lineage.read(place, "hopper-medium-v2")


def test_links_out_of_the_file_and_values_that_nobody_wrote_are_no_data(place):
    with h5py.File(place / "data" / "main_data.hdf5", "a") as file:
        rewards = file["episode_0/rewards"][()]
        del file["episode_0/rewards"]
        file["episode_0/rewards"] = h5py.ExternalLink("/elsewhere.hdf5", "/rewards")
    with pytest.raises(DataError, match="episode_0 lacks its rewards, or has links in their place"):
        lineage.read(place, "x")
    with h5py.File(place / "data" / "main_data.hdf5", "a") as file:
        del file["episode_0/rewards"]
        file.create_dataset("episode_0/rewards", rewards.shape, "f8", external=[("/etc/passwd", 0, 40)])
    with pytest.raises(DataError, match="lie in other files, which are not read"):
        lineage.read(place, "x")
    with h5py.File(place / "data" / "main_data.hdf5", "a") as file:
        del file["episode_0/rewards"]
        file.create_dataset("episode_0/rewards", rewards.shape, "f8", chunks=rewards.shape)
    with pytest.raises(DataError, match="not all of them were written"):
        lineage.read(place, "x")


@pytest.mark.parametrize("stored_as", ["arrow", "parquet"])
@pytest.mark.parametrize("harm", [b"nothing", None])
def test_damage_in_other_formats(spec, stored_as, harm):
    create([make_episode(0, 5, terminated=True)], stored_as=stored_as)
    [file] = (datasets.path(spec, "minari") / "data" / "0").glob(f"*.{stored_as}")
    file.unlink() if harm is None else file.write_bytes(harm)
    with pytest.raises(DataError, match="damaged"):
        lineage.read(datasets.path(spec, "minari"), "x")


def test_certificates_that_are_missing_are_named(spec, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    monkeypatch.setenv("HF_ENDPOINT", "https://127.0.0.1:1")
    with pytest.raises(DataError, match=r"SSL_CERT_FILE names /nowhere/ca.pem, which is not there: correct"):
        datasets.pull(spec, "minari")


def test_no_home_folder_is_said_before_anything_is_written(spec, tmp_path, monkeypatch):
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: (_ for _ in ()).throw(KeyError(number)))
    monkeypatch.chdir(tmp_path)
    assert not datasets.available(spec, "minari")
    with pytest.raises(DataError, match="set MINARI_DATASETS_PATH to a folder, or HOME"):
        datasets.pull(spec, "minari")
    assert not (tmp_path / "~").exists()


def test_a_missing_client_is_not_taken_for_a_missing_network(spec, monkeypatch):
    monkeypatch.setenv("MINARI_REMOTE", "gcp://farama-minari")
    with pytest.raises(DataError, match=r"google-cloud-storage or tqdm are not installed") as caught:
        datasets.pull(spec, "minari")
    assert "network" not in str(caught.value)


def test_a_dataset_that_is_there_is_not_downloaded(spec, monkeypatch):
    create([make_episode(0, 5, terminated=True)])
    monkeypatch.setattr(minari_download, "fetch", lambda *args: pytest.fail("downloaded"))
    assert datasets.pull(spec, "minari") == datasets.path(spec, "minari")


# -- downloads ---------------------------------------------------------------------------------------------


@pytest.fixture
def hub(spec, tmp_path, monkeypatch):
    """A hub that has the dataset; it is not on this machine."""
    create([make_episode(0, 5, terminated=True), make_episode(1, 3, terminated=False)])
    there = tmp_path / "hub"
    (tmp_path / "minari").rename(there)
    (there / "test" / "namespace_metadata.json").write_text(json.dumps({"datasets": [NAME]}))
    found = Hub(there, "test")
    monkeypatch.setenv("HF_ENDPOINT", found.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield found
    found.close()


def test_a_download_is_what_the_hub_has(spec, hub, tmp_path):
    place = datasets.pull(spec, "minari")
    assert len(datasets.load(spec, "minari").rewards) == 8
    here = {file.relative_to(tmp_path / "minari").as_posix() for file in (tmp_path / "minari").rglob("*")}
    files = {"data/metadata.json", "data/main_data.hdf5", "data", "../namespace_metadata.json"}
    wanted = {(place / file).resolve().relative_to(tmp_path / "minari").as_posix() for file in files}
    # and nothing of the client's own
    assert {name for name in here if not name.endswith(".lock")} == wanted | {"test", NAME}
    assert list(minari.list_local_datasets()) == [NAME]


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (drip, "the server sends fewer than 1,000 bytes a second"),
        (refuse, r"403 Forbidden.*\(is the network up\?\); a copy of it belongs at /"),
        (endless, "the server sends more than the 3,000,000 bytes that a dataset may have here"),
        (round_and_round, "redirects"),
    ],
)
def test_a_hub_that_plays_tricks_is_given_up(spec, hub, tmp_path, trouble, said):
    hub.trouble = {"main_data.hdf5": trouble}
    retry = Retry(grace=3 if trouble is drip else 120, largest=3_000_000)
    with pytest.raises(DataError, match=f"(?s)cannot download .*{said}"):
        lineage.download(spec, MinariSource(id=NAME), retry)
    assert not [name for name in (tmp_path / "minari").iterdir() if not name.name.endswith(".lock")]


def test_whatever_is_asked_of_a_hub_may_dawdle(spec, hub):
    hub.trouble = {"/api/datasets": drip_header}
    with pytest.raises(DataError, match="fewer than 1,000 bytes a second"):
        lineage.download(spec, MinariSource(id=NAME), Retry(grace=1))


def test_an_answer_that_unfolds_takes_little_memory(spec, hub):
    hub.trouble = {"/api/datasets": unfolding}
    with pytest.raises(DataError, match="cannot download"):
        lineage.download(spec, MinariSource(id=NAME), Retry(grace=30))
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 6_000_000


def test_nothing_goes_on_downloading_after_a_program_was_killed(hub, tmp_path):
    hub.trouble = {"main_data.hdf5": drip}
    script = tmp_path / "program.py"
    script.write_text(
        "from pathlib import Path\n"
        "from harness.datasets import minari_download\n"
        "if __name__ == '__main__':\n"
        f"    minari_download.fetch({NAME!r}, Path({str(tmp_path / 'part')!r}))\n"
    )
    program = subprocess.Popen([sys.executable, script])
    assert hub.dripping.wait(30)
    program.kill()
    program.wait()
    assert hub.left.wait(30)
