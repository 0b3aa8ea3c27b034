"""Building, showing and exporting generated data, and what is said where that cannot be."""

from __future__ import annotations

import json

import pytest

NAME = "maze2d-umaze-v1"


@pytest.fixture
def built(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    assert cli("data", "build", NAME, "--data", "generated", "--transitions", "900").code == 0


def test_the_card_is_shown(cli, built, tmp_path):
    page = cli("data", "show", NAME, "--transitions", "900")
    assert page.code == 0
    assert page.out.startswith(f"# {NAME} (generated)\n\n900 rows; SHA-256 of the content")
    [written] = (tmp_path / "data" / "generated").glob("*.card.md")
    assert page.out == written.read_text()
    card = json.loads(cli("data", "show", NAME, "--transitions", "900", "--json").out)
    assert card == json.loads(written.with_suffix(".json").read_text())
    missing = cli("data", "show", NAME)
    assert (missing.code, missing.out) == (4, "")
    assert f"run `harness data build {NAME} --transitions 1000000`" in missing.err
    assert "--transitions 800`" in cli("data", "show", NAME, "--transitions", "800").err


def test_an_ids_version_may_be_left_out(cli, built):
    short = NAME.removesuffix("-v1")
    whole = cli("data", "show", NAME, "--transitions", "900")
    assert cli("data", "show", short, "--transitions", "900").out == whole.out
    assert cli("data", "path", short, "--lineage", "generated").out.count(NAME) == 1
    several = cli("data", "show", "maze2d-*")
    assert (several.code, "give one" in several.err) == (2, True)
    assert cli("data", "path", "hopper").code == 2


def test_minari_gets_a_copy(cli, built):
    arguments = ("data", "export-minari", NAME, "--transitions", "900")
    done = cli(*arguments)
    assert done.code == 0
    assert done.out.strip().endswith(f"minari/harness/{NAME}")
    assert cli(*arguments).out == done.out
    assert cli("data", "build", NAME, "--transitions", "900", "--minari").code == 0
    other = cli("data", "build", NAME, "--transitions", "800", "--minari")
    assert other.code == 4
    assert "Minari has another dataset" in other.err
    assert "building" not in other.err  # which would be minutes of work first


OWN = """
id: small-maze-v1
domain: maze2d
observation_size: 4
action_size: 2
environment: {id: harness/maze2d-umaze, max_episode_steps: 300}
reference: {minimum: 0, maximum: 100, source: a test}
generated: {recipe: maze2d-waypoints, version: 1, seed: 0, transitions: 900}
"""


@pytest.mark.parametrize(
    ("options", "copied"),
    [([], True), (["--no-minari"], False), (["--transitions", "800"], False)],
)
def test_what_is_built_whole_is_also_minaris(cli, monkeypatch, tmp_path, options, copied):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    folder = tmp_path / "specs" / "datasets"
    folder.mkdir(parents=True)
    (folder / "small-maze-v1.yaml").write_text(OWN)
    for _ in range(2):  # again, it is there
        done = cli("--specs", folder.parent, "data", "build", "small-maze-v1", *options)
        assert done.code == 0, done.err
        assert ("minari/harness/small-maze-v1" in done.out) == copied
    assert (tmp_path / "minari" / "harness" / "small-maze-v1").exists() == copied


def test_a_training_for_data_that_take_none(cli, tmp_path):
    result = cli("data", "build", NAME, "--trained", tmp_path)
    assert result.code == 2
    assert "none of these datasets is replay data" in result.err


def test_a_folder_without_a_training_gives_no_policies(cli, tmp_path):
    result = cli("data", "policies", tmp_path, "--to", tmp_path)
    assert result.code == 4
    assert "holds no runs of SAC" in result.err


def test_the_doctor_calibrates(cli):
    found = json.loads(cli("doctor", "--calibrate", "--json").out)
    assert any(finding["subject"].startswith("calibration") for finding in found)
    assert not any(
        finding["subject"].startswith("calibration") for finding in json.loads(cli("doctor", "--json").out)
    )
