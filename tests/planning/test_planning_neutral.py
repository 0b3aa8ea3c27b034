"""A neutral value is no part of a key: what is new to all algorithms makes no run another one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from algorithms.hyperparameters import Hyperparameters, per_member, static
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.specs import Specs, catalogue

ROOT = Path(__file__).parents[2]
FIELD = "    action_clip: float = per_member(minimum=0, neutral=1.0)\n"
ENTRY = "hyperparameters:\n  action_clip: {value: VALUE, neutral: 1, source: all that was printed}\n"


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A copy of the shipped specs, and a function that adds an entry to every algorithm's."""
    folder = shutil.copytree(ROOT / "specs", tmp_path / "specs")
    monkeypatch.setattr(catalogue, "shipped_folder", lambda: folder)

    def add(value):
        for path in folder.glob("algorithms/*.yaml"):
            text = path.read_text(encoding="utf-8")
            assert text.count("\nhyperparameters:\n") == 1
            path.write_text(
                text.replace("\nhyperparameters:\n", f"\n{ENTRY.replace('VALUE', value)}"), encoding="utf-8"
            )

    return add


def runs():
    resolved = resolve(Specs(), "aspc-table1", Choice(preset="lite"))
    return [run for cell in resolved.with_below for run in cell.runs]


def test_a_neutral_value_is_not_in_the_key_and_another_one_is(shipped):
    before = [run.key for run in runs()]
    assert len(before) == 28
    shipped("1.0")
    assert [run.key for run in runs()] == before
    assert all("action_clip" not in run.hyperparameters for run in runs())


def test_a_value_that_is_not_neutral_makes_other_runs(shipped):
    before = {run.key for run in runs()}
    shipped("0.9")
    assert not before & {run.key for run in runs()}
    assert all(run.hyperparameters["action_clip"] == 0.9 for run in runs())


@pytest.mark.parametrize("named", [False, True])
def test_a_neutral_field_of_all_algorithms_leaves_every_shipped_run_finished(tmp_path, shipped, named):
    if named:
        shipped("1.0")
    folder = shutil.copytree(ROOT / "algorithms", tmp_path / "algorithms")
    (tmp_path / "harness").symlink_to(ROOT / "harness")
    path = folder / "hyperparameters.py"
    text = path.read_text(encoding="utf-8")
    last = "    reward_shift: float = static()\n"
    assert text.count(last) == 1
    path.write_text(text.replace(last, last + FIELD), encoding="utf-8")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    database = shutil.copy(ROOT / "results.db", tmp_path / "copy.db")
    planned = run("plan", "aspc-table1", "--preset", "lite", "--db", database)
    assert planned.stdout.rstrip().endswith("to train: 0 of 28 runs"), planned.stderr
    validated = run("validate", "aspc-table1")
    assert (validated.returncode, validated.stdout) == (0, "")


@dataclass(frozen=True, kw_only=True)
class Clipped(Hyperparameters):
    action_clip: float = per_member(minimum=0, neutral=1.0)
    twice: bool = static(neutral=False)


def test_what_a_run_does_not_name_is_filled_in_from_the_class():
    values = {
        "batch_size": 4,
        "normalize_observations": True,
        "observation_epsilon": 1e-3,
        "normalize_rewards": False,
        "reward_scale": 1.0,
        "reward_shift": 0.0,
    }
    made = Clipped.of(values)
    assert (made.action_clip, made.twice) == (1.0, False)
    assert Clipped.of(values | {"action_clip": 0.5}).action_clip == 0.5
    assert Clipped.neutral() == {"action_clip": 1.0, "twice": False}
    assert Clipped.problems(values | {"action_clip": -1}).keys() == {"action_clip"}
    assert Clipped.problems({}).keys() == values.keys()
