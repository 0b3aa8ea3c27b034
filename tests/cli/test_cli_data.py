"""`data import`, `show` and `pull --offline-list`, of data of one's own."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.errors import DataError
from harness.execution.data import examine
from harness.specs import Specs


def arrays(**changes):
    random = np.random.default_rng(0)
    obs = random.standard_normal((61, 4))
    ends = np.arange(1, 61) % 20 == 0
    return {
        "obs": obs[:-1],
        "next_obs": obs[1:],
        "action": random.uniform(-2, 2, (60, 2)),
        "reward": np.ones(60),
        "terminated": ends & (np.arange(60) > 30),
        "truncated": ends & (np.arange(60) < 30),
    } | changes


@pytest.fixture
def specs(tmp_path, monkeypatch):
    """A folder of specs in the working folder, with a file beside its datasets."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "datasets").mkdir(parents=True)
    (tmp_path / "mine" / "files").mkdir()
    np.savez(tmp_path / "mine" / "files" / "x.npz", **arrays())
    return tmp_path / "mine"


def test_an_import_writes_what_it_finds_and_names_what_is_missing(cli, specs):
    done = cli("data", "import", "mine/files/x.npz", "--id", "my-v0", "--to", "mine")
    assert (done.code, done.out) == (0, "mine/datasets/my-v0.yaml\n")
    for key in ("minimum", "maximum", "source"):
        assert f"reference.{key}: should be" in done.err
    text = (specs / "datasets" / "my-v0.yaml").read_text()
    assert "3 episodes of the data: 20 to 20" in text
    again = cli("data", "import", "mine/files/x.npz", "--id", "my-v0", "--to", "mine")
    assert again.code == 2
    assert (
        "there is a dataset 'my-v0' already"
        in cli("--specs", "mine", "data", "import", "mine/files/x.npz", "--id", "my-v0").err
    )
    assert (specs / "datasets" / "my-v0.yaml").read_text() == text
    (specs / "datasets" / "my-v0.yaml").write_text(
        text.replace("minimum:", "minimum: 0")
        .replace("maximum:", "maximum: 9")
        .replace("source:", "source: me")
    )
    dataset = Specs([specs]).dataset("my-v0")
    assert (dataset.observation_size, dataset.action_size) == (4, 2)
    assert dataset.file.fields == {
        "observations": "obs",
        "next_observations": "next_obs",
        "actions": "action",
        "rewards": "reward",
        "terminals": "terminated",
        "timeouts": "truncated",
    }
    shown = cli("--specs", "mine", "data", "show", "my-v0")
    assert shown.code == 0
    assert "| actions | -1.9" in shown.out
    card = json.loads(cli("--specs", "mine", "data", "show", "my-v0", "--data", "file", "--json").out)
    assert card["episodes"] == {"finished": 3, "terminal": 2, "cut": 1, "rows after the last": 0}
    assert (card["returns"]["mean"], card["lengths"]["max"], card["duplicates"]) == (20, 20, 0)
    assert cli("--specs", "mine", "data", "verify", "my-v0").out.startswith(
        "ok  my-v0 (file)  60 transitions"
    )


def test_an_import_for_a_known_environment_takes_its_reference_scores(cli, specs):
    done = cli(
        *("data", "import", "mine/files/x.npz", "--id", "my-v0", "--to", "mine", "--environment", "Hopper-v4")
    )
    assert (done.code, done.err) == (0, "")
    dataset = Specs([specs]).dataset("my-v0")
    assert dataset.reference.maximum == 3234.3
    assert dataset.environment.id == "Hopper-v4"


def test_an_import_says_which_fields_it_does_not_know(cli, specs):
    rows = arrays()
    rows["torque"] = rows.pop("action")
    np.savez(specs / "files" / "y.npz", **rows)
    order = ("data", "import", "mine/files/y.npz", "--id", "my-v0", "--to", "mine")
    refused = cli(*order)
    assert refused.code == 4
    assert "lacks actions; it has obs, next_obs, reward, terminated, truncated, torque" in refused.err
    assert cli(*order, "--field", "actions=torque").code == 0
    assert "actions: torque" in (specs / "datasets" / "my-v0.yaml").read_text()


def test_what_to_fetch_by_hand(cli, specs, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "none"))
    done = cli("data", "pull", "hopper-medium-v2", "--offline-list")
    assert done.out.splitlines() == [
        "hopper-medium-v2 (d4rl): 152,756,557 bytes, SHA-256 "
        "5bdf1bc4a713c82941de44633df669b36c89850b652a25985166796d25cf71a0",
        "  from http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2/hopper_medium-v2.hdf5",
        f"  to   {tmp_path / 'data' / 'd4rl' / 'hopper-medium-v2.hdf5'}",
    ]
    assert not (tmp_path / "data").exists()


def test_an_algorithm_that_reads_the_next_action_is_refused_on_shuffled_rows(specs):
    order = np.random.default_rng(1).permutation(60)
    rows = {name: array[order] for name, array in arrays().items()}
    np.savez(specs / "files" / "x.npz", **rows)
    fields = "{observations: obs, next_observations: next_obs, actions: action, rewards: reward, "
    (specs / "datasets" / "my-v0.yaml").write_text(
        "id: my-v0\ndomain: own\nobservation_size: 4\naction_size: 2\n"
        "reference: {minimum: 0, maximum: 1, source: me}\n"
        f"file: {{path: ../files/x.npz, fields: {fields}terminals: terminated}}}}\n"
    )
    dataset = Specs([specs]).dataset("my-v0")
    examine([(dataset, "td3_bc")], "file", None)
    with pytest.raises(DataError, match=r"rebrac reads what was done next, which my-v0 .* does not tell"):
        examine([(dataset, "td3_bc"), (dataset, "rebrac")], "file", None)


def test_a_file_of_ogbenchs_that_is_another_is_refused_with_exit_code_4(cli, tmp_path):
    name, home = "antmaze-large-navigate-singletask-task1-v0", tmp_path / "data"
    (home / "ogbench").mkdir(parents=True)
    ends = np.arange(1, 100 * 1001 + 1) % 1001 == 0
    np.savez(
        home / "ogbench" / "antmaze-large-navigate-v0.npz",
        observations=np.zeros((len(ends), 29), np.float32),
        actions=np.zeros((len(ends), 8), np.float32),
        terminals=ends,
    )
    refused = cli("data", "verify", name, "--lineage", "ogbench", "--data-home", str(home))
    assert refused.code == 4
    assert "has 100,100 rows, but the spec of" in refused.err
    assert "it is the validation file, whose name ends in -val" in " ".join(refused.err.split())
    unknown = cli("data", "verify", name.replace("task1", "task6"))
    assert unknown.code == 2
    assert "task6" in unknown.err
