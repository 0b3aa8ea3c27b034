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
    assert f"run `harness data build {NAME}`" in missing.err


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
    again = cli(*arguments)
    assert again.code == 4
    assert "already" in again.err


def test_a_folder_without_a_training_gives_no_policies(cli, tmp_path):
    result = cli("data", "policies", tmp_path, "--to", tmp_path)
    assert result.code == 4
    assert "holds no online training" in result.err


def test_the_doctor_calibrates(cli):
    found = json.loads(cli("doctor", "--calibrate", "--json").out)
    assert any(finding["subject"].startswith("calibration") for finding in found)
    assert not any(
        finding["subject"].startswith("calibration") for finding in json.loads(cli("doctor", "--json").out)
    )
