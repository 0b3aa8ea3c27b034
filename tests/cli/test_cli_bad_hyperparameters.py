"""Hyperparameters that an algorithm does not take: refused with their place before anything trains."""

from __future__ import annotations

import re
import shutil

import pytest

from harness.specs.catalogue import shipped_folder

TABLE = """id: own
version: 1
title: Own
paper: {title: T, authors: A, year: 2020}
lineage: generated
protocol: d4rl-1m
groups:
  - {id: mazes, label: Mazes, datasets: [maze2d-umaze-v1, hopper-random-v2]}
columns:
  - id: mine
    label: Mine
    algorithm: bc
    hyperparameters: {learning_rate: 1.0e-3}
    per_dataset:
      hopper-*: {batch_size: 64}
"""
PRESET = """id: extra
description: D
label: extra
transitions: 500
extra_columns:
  - id: more
    label: More
    algorithm: td3_bc
    hyperparameters: {alpha: 2}
    per_dataset:
      maze2d-*: {critic: robust}
steps: 20
"""
#: file, what stands there, what is put there instead, the problem
BAD = [
    ("tables/own.yaml", "1.0e-3", "-1", r"13:38: .*learning_rate is -1, but must be"),
    ("tables/own.yaml", "1.0e-3", "fast", r"13:38: .*learning_rate is 'fast', but must be a number"),
    (
        "tables/own.yaml",
        "learning_rate:",
        "learn_rate:",
        r"13:23: .*no hyperparameter of bc named 'learn_rate'",
    ),
    (
        "tables/own.yaml",
        "batch_size: 64",
        "batch_size: 0.5",
        r"15:30: .*batch_size is 0.5, but must be a whole",
    ),
    (
        "tables/own.yaml",
        "batch_size: 64",
        "bath_size: 64",
        r"15:18: .*no hyperparameter of bc named 'bath_size'",
    ),
    ("tables/own.yaml", "hopper-*", "hoper-*", r"15:7: .*'hoper-\*' matches no dataset here"),
    ("presets/extra.yaml", "alpha: 2", "alpha: -2", r"9:30: .*alpha is -2, but must be at least 0"),
    (
        "presets/extra.yaml",
        "alpha: 2",
        "alpha: " + "9" * 400,
        r"9:30: .*alpha: .* has more than 64 bits$",
    ),
    ("presets/extra.yaml", "alpha: 2", "alpha: 1e39", r"9:30: .*alpha is 1e\+39, but its magnitude"),
    (
        "tables/own.yaml",
        "batch_size: 64",
        "batch_size: 1" + "0" * 24,
        r"15:30: .*batch_size: .* has more than 64 bits$",
    ),
    (
        "tables/own.yaml",
        "learning_rate: 1.0e-3",
        "actor_hidden_sizes: 99999999-99999999",
        r"13:43: .*actor_hidden_sizes is '99999999-99999999', but its widths must be at most 65536$",
    ),
    ("presets/extra.yaml", "alpha: 2", "beta: 2", r"9:23: .*no hyperparameter of td3_bc named 'beta'"),
    ("presets/extra.yaml", "robust", "sturdy", r"11:26: .*critic is 'sturdy', but must be one of"),
    ("presets/extra.yaml", "maze2d-*", "maze3d-*", r"11:7: .*'maze3d-\*' matches no dataset here"),
    (
        "algorithms/bc.yaml",
        "    value: 256",
        "    value: -256",
        r"\d+:12: hyperparameters.batch_size.value: batch_size is -256, but must be at least 1",
    ),
    (
        "algorithms/bc.yaml",
        "hyperparameters:\n",
        "per_dataset:\n  maze2d-*: {batch_size: true}\nhyperparameters:\n",
        r"\d+:26: per_dataset.maze2d-\*.batch_size: batch_size is True, but must be a whole number",
    ),
    (
        "algorithms/bc.yaml",
        "hyperparameters:\n",
        "per_dataset:\n  maze2d-*: {bath_size: 4}\nhyperparameters:\n",
        r"\d+:14: per_dataset.maze2d-\*.bath_size: no hyperparameter of bc named 'bath_size'; did",
    ),
]


@pytest.fixture
def specs(elsewhere, monkeypatch):
    """A copy of the shipped specs, a table and a preset more, all right; its folder."""
    folder = elsewhere / "specs"
    shutil.copytree(shipped_folder(), folder)
    monkeypatch.setattr("harness.specs.catalogue.shipped_folder", lambda: folder)
    (folder / "tables/own.yaml").write_text(TABLE)
    (folder / "presets/extra.yaml").write_text(PRESET)
    return folder


def test_what_is_right_is_planned(cli, specs):
    assert cli("validate").code == 0
    assert cli("plan", "own", "--preset", "extra").code == 0


@pytest.mark.parametrize(("file", "old", "new", "problem"), BAD)
def test_refused_by_name_with_its_place(cli, specs, elsewhere, file, old, new, problem):
    path = specs / file
    path.write_text(path.read_text().replace(old, new, 1))
    expected = re.compile(f"^(error: )?specs/{file}:{problem}", re.MULTILINE)
    for verb in (["plan", "own"], ["reproduce", "own", "--dry-run"], ["reproduce", "own"]):
        result = cli(*verb, "--preset", "extra")
        assert result.code == 2
        assert expected.search(result.err), result.err
        assert "Traceback" not in result.err
    assert not list(elsewhere.glob("data/**/*"))
    result = cli("validate")
    assert result.code == 2
    assert expected.search(result.out), result.out
    assert len(result.out.splitlines()) == len(set(result.out.splitlines()))


def test_a_pattern_of_an_algorithm_may_match_datasets_of_other_tables(cli, specs):
    path = specs / "algorithms/bc.yaml"
    path.write_text(path.read_text() + "per_dataset:\n  antmaze-*: {batch_size: 4}\n")
    assert cli("validate").code == 0
    path.write_text(path.read_text().replace("antmaze-*", "antmase-*"))
    assert "'antmase-*' matches no dataset here" in cli("validate").out
