"""A folder with an environment, data and a table of one's own: what is said of it, and when."""

from __future__ import annotations

import json

import numpy as np
import pytest

MODULE = """
import gymnasium
import numpy as np


class Line(gymnasium.Env):
    def __init__(self, bound=2.0, fails_at=99):
        self.observation_space = gymnasium.spaces.Box(-9, 9, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box(-bound, bound, (2,), np.float32)
        self.fails_at = fails_at

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.steps = self.np_random.uniform(-1, 1, 3), 0
        return self.at.astype(np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps == self.fails_at:
            raise RuntimeError("the line has broken")
        self.at[:2] += action / 8
        return self.at.astype(np.float32), -float(np.abs(self.at).sum()), False, False, {}


gymnasium.register("test/CliLine-v0", entry_point=Line, max_episode_steps=5)
"""
DATASET = """
id: line-v0
domain: line
environment: {{id: test/CliLine-v0, import: {module}{more}}}
observation_size: 3
action_size: 2
reference: {{minimum: -20, maximum: 0, source: mine}}
file:
  path: ../files/line.npz
"""
TABLE = """
id: mine
version: 1
title: Mine
paper: {{title: Mine, authors: Me, year: 2026}}
lineage: file
protocol: brief
groups: [{{id: line, label: Line, datasets: [line-v0]}}]
columns: [{{id: bc, label: BC, algorithm: bc, hyperparameters: {{batch_size: 16}}{more}}}]
"""
PROTOCOL = """
id: brief
description: Seconds
steps: 20
evaluate_every: 10
episodes: 1
seeds: [0, 1]
"""


@pytest.fixture
def own(tmp_path, request):
    """Writes the folder. Every test has a module of its own, for what is imported stays imported."""
    module = f"own_{abs(hash(request.node.name)) % 10**9}"

    def write(environment="", column="", reach=2.0, code=MODULE):
        folder, random = tmp_path / "own", np.random.default_rng(0)
        observations = random.normal(size=(400, 3)).astype(np.float32)
        files = {
            f"code/{module}.py": code.replace("CliLine", f"Cli{module}"),
            "datasets/line-v0.yaml": DATASET.format(module=module, more=environment).replace(
                "CliLine", f"Cli{module}"
            ),
            "tables/mine.yaml": TABLE.format(more=column),
            "protocols/brief.yaml": PROTOCOL,
        }
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        (folder / "files").mkdir(exist_ok=True)
        np.savez(
            folder / "files/line.npz",
            observations=observations,
            next_observations=observations + np.float32(0.1),
            actions=random.uniform(-reach, reach, (400, 2)).astype(np.float32),
            rewards=random.normal(size=400).astype(np.float32),
            terminals=np.zeros(400, bool),
        )
        return ("--specs", folder)

    return write


def test_actions_of_other_bounds_are_refused_by_every_verb_before_anything_trains(cli, own):
    where = own()
    sentence = "lie in [-2, 2], but algorithms act in [-1, 1]: write rescale_actions: true"
    checked = cli(*where, "validate", "mine")
    assert checked.code == 2
    assert checked.out.startswith("own/datasets/line-v0.yaml:4:19: environment.id: actions of test/Cli")
    assert sentence in checked.out
    planned = cli(*where, "plan", "mine")
    assert (planned.code, sentence in planned.err) == (4, True)
    found = cli(*where, "doctor")
    assert sentence in found.out
    reproduced = cli(*where, "reproduce", "mine", "--db", "r.db", "--device", "cpu")
    assert (reproduced.code, sentence in reproduced.err) == (4, True)
    assert "Traceback" not in reproduced.err


def test_an_environment_that_cannot_be_made_ends_reproduce_at_once(cli, own):
    where = own(environment=", rescale_actions: true", code="import gymnasium\n\n1 / 0\n")
    ended = cli(*where, "reproduce", "mine", "--db", "r.db", "--device", "cpu")
    assert ended.code == 4
    assert "ZeroDivisionError: division by zero" in ended.err
    assert ".py:3)" in ended.err


def test_rescaled_actions_train_in_workers_and_those_beyond_the_bounds_are_told_of(cli, own):
    where = own(
        environment=", rescale_actions: true, kwargs: {bound: 2.0}",
        column=", data: [{drop: 0.25}, {mix: {dataset: line-v0, ratio: 0.5}}, {standardise: 0.001}]",
        reach=2.5,
    )
    assert cli(*where, "validate", "mine").code == 0
    ended = cli(*where, "reproduce", "mine", "--db", "r.db", "--device", "cpu", "--workers", 1)
    assert ended.code == 0, ended.err
    assert "actions of line-v0 lie outside the bounds of its environment, up to 1.2" in ended.err
    assert ended.err.count("lie outside") == 1
    again = cli(*where, "plan", "mine", "--db", "r.db")
    assert "to train: 0 of 2 runs" in again.out


def test_transforms_that_leave_nothing_end_it_before_a_run_is_known(cli, own):
    for data, sentence in (
        ("[{best_trajectories: 3}]", "the rows of line-v0 are in no order"),
        ("[{drop: 0.99}]", "its transforms leave"),
    ):
        where = own(environment=", rescale_actions: true", column=f", data: {data}")
        ended = cli(*where, "reproduce", "mine", "--db", "r.db", "--device", "cpu")
        assert (ended.code, sentence in ended.err) == (4, True), ended.err
        assert json.loads(cli(*where, "status", "--db", "r.db", "--json").out)["counts"]["queued"] == 0


def test_a_failure_names_what_was_raised(cli, own):
    where = own(environment=", rescale_actions: true, kwargs: {fails_at: 3}")
    ended = cli(*where, "reproduce", "mine", "--db", "r.db", "--device", "cpu", "--workers", 1)
    sentence = "its evaluation raised RuntimeError: the line has broken"
    assert ended.code == 5
    assert ended.err.count(sentence) >= 3  # both runs when they fail, and the first at the end
    assert sentence in cli(*where, "status", "mine", "--db", "r.db").out
    failures = json.loads(cli(*where, "status", "mine", "--db", "r.db", "--json").out)["failures"]
    assert [failure["error"] for failure in failures] == [sentence] * 2


def test_a_dataset_is_shown_as_a_column_has_it(cli, own):
    where = own(environment=", rescale_actions: true", column=", data: [{drop: 0.5}, {reward: {shift: -9}}]")
    shown = json.loads(cli(*where, "data", "show", "line-v0", "--column", "mine/bc", "--json").out)
    assert 150 < shown["rows"] < 250
    assert shown["transforms"][:2] == ["Drop(share=0.5)", "Reward(scale=1.0, shift=-9)"]
    assert shown["values"]["actions"]["max"] <= 1  # 2 in the file
    assert shown["values"]["rewards"]["max"] < -4
    page = cli(*where, "data", "show", "line-v0", "--column", "mine/bc").out
    assert "Transformed: Drop(share=0.5), then Reward(scale=1.0, shift=-9), then" in page
    assert cli(*where, "data", "show", "line-v0", "--column", "mine").code == 2
    assert cli(*where, "data", "show", "line-v0", "--column", "mine/bcc").code == 2
