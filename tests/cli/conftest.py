from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass

import pytest

from harness.cli import main
from harness.specs import Specs


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test in an empty folder of its own, with no settings from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    for name in ("HARNESS_DB", "HARNESS_DEBUG", "D4RL_DATASET_DIR", "MINARI_DATASETS_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture
def cli(capsys):
    """Runs a command line in this process."""

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        captured = capsys.readouterr()
        return Result(ended.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture
def program():
    """Runs a command line in a process of its own."""

    def run(*arguments, **options):
        return subprocess.run(
            [sys.executable, "-m", "harness", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            **options,
        )

    return run


@pytest.fixture
def scores(elsewhere):
    """Writes a file of scores for some cells of the shipped table; returns its path."""

    def write(rows=("hopper-medium-v2", "antmaze-umaze-v2"), columns=("aspc", "td3_bc"), seeds=range(4)):
        rng = random.Random(1)
        path = elsewhere / "scores.csv"
        lines = ["dataset,algorithm,seed,step,score"]
        lines += [
            f"{row},{column},{seed},1000000,{rng.uniform(20, 90):.3f}"
            for row in rows
            for column in columns
            for seed in seeds
        ]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def tiny(elsewhere):
    """A folder of specs with a preset whose runs take a second; its path."""
    folder = elsewhere / "specs"
    (folder / "presets").mkdir(parents=True)
    (folder / "presets" / "tiny.yaml").write_text(
        "id: tiny\ndescription: two runs\nlabel: tiny protocol\nlineage: generated\ntransitions: 1500\n"
        "datasets: [maze2d-umaze-v1]\ncolumns: [td3_bc]\nseeds: [0, 1]\nsteps: 20\nevaluate_every: 10\n"
        "episodes: 1\ndatabase: tiny.db\n"
    )
    assert Specs([folder]).preset("tiny").database == "tiny.db"
    return folder


@pytest.fixture
def environment():
    """The environment of a process that this test starts."""
    return dict(os.environ)


@pytest.fixture
def unimplemented(elsewhere):
    """A folder with a table of which one column's algorithm has no code."""
    (elsewhere / "own/tables").mkdir(parents=True)
    (elsewhere / "own/tables/own.yaml").write_text(
        "id: own\nversion: 1\ntitle: Own\npaper: {title: T, authors: A, year: 2020}\nlineage: generated\n"
        "protocol: d4rl-1m\ngroups:\n  - {id: g, label: G, datasets: [hopper-random-v2]}\n"
        "columns:\n  - {id: theirs, label: Theirs, algorithm: nobody_wrote_it}\n"
    )
    return "own"
