"""Algorithms and executors that a person brings: by a folder, and by an installed package."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import algorithms
from algorithms import registry
from algorithms.base import REGISTERED
from harness import plugs
from harness.execution import executors
from harness.results.store import Store

ROOT = Path(__file__).parents[2]

MINE = '''
from dataclasses import dataclass

from algorithms.base import per_member, register
from algorithms.bc import BC, BCHyperparameters
from algorithms.{shared} import halved
from my_maths import clipped


@dataclass(frozen=True, kw_only=True)
class MineHyperparameters(BCHyperparameters):
    limit: float = per_member(above=0, neutral=1.0)


@register("{name}")
class Mine(BC):
    """Cloning, within bounds."""

    Hyperparameters = MineHyperparameters

    def act(self, observation):
        return clipped(halved(self.actor(observation)), self.hyper.limit.unsqueeze(-1))
'''
SHARED = '"""A helper, no algorithm; @register is only mentioned."""\n\n\ndef halved(x):\n    return x / 2\n'
MATHS = (
    "import torch\n\n\ndef clipped(x, limit):\n    return torch.minimum(torch.maximum(x, -limit), limit)\n"
)
SPEC = """
id: {name}
title: Cloning within bounds
paper: {{title: None, authors: Nobody, year: 2026}}
hyperparameters:
  learning_rate: {{value: 3.0e-4, source: chosen}}
  batch_size: {{value: 16, source: chosen}}
  actor_hidden_sizes: {{value: 8-8, source: chosen}}
  normalize_observations: {{value: true, source: chosen}}
  observation_epsilon: {{value: 1.0e-3, source: chosen}}
  normalize_rewards: {{value: false, source: chosen}}
  reward_scale: {{value: 1.0, source: chosen}}
  reward_shift: {{value: 0.0, source: chosen}}
  limit: {{value: 0.5, source: chosen, neutral: {neutral}}}
"""
TABLE = """
id: ours
version: 1
title: Our own
paper: {{title: None, authors: Nobody, year: 2026}}
lineage: generated
protocol: short
groups: [{{id: maze, label: Maze, datasets: [maze2d-umaze-v1]}}]
columns:
{columns}
"""
PROTOCOL = """
id: short
description: seconds
steps: 20
evaluate_every: 20
episodes: 1
seeds: [0, 1]
"""
PRESET = "id: tiny\ndescription: small data\nlabel: small data\ntransitions: 500\n"


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def algorithm(name="mine", shared="shared_by_mine", neutral="1.0"):
    return {
        f"algorithms/{name}.py": MINE.format(name=name, shared=shared),
        f"algorithms/{shared}.py": SHARED,
        f"algorithms/{name}.yaml": SPEC.format(name=name, neutral=neutral),
        "code/my_maths.py": MATHS,
    }


def table(*names):
    columns = "\n".join(f"  - {{id: {name}, label: {name}, algorithm: {name}}}" for name in names)
    return {"tables/ours.yaml": TABLE.format(columns=columns), "protocols/short.yaml": PROTOCOL}


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """Folders used in this process are forgotten."""
    monkeypatch.setattr(algorithms, "__path__", list(algorithms.__path__))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(plugs, "_used", {})
    yield
    registry._places.cache_clear()
    for name in [
        n for n in sys.modules if n.startswith(("algorithms.mine", "algorithms.shared", "my_maths"))
    ]:
        del sys.modules[name]
    REGISTERED.pop("mine", None)


@pytest.mark.slow
def test_who_installed_the_wheel_adds_algorithms_by_a_folder_and_by_a_package(elsewhere):
    """Trained and evaluated in other processes, and nothing of the installation is touched."""
    site = elsewhere / "site"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(elsewhere)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(elsewhere.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    packed = algorithm("packed", "shared_by_packed")
    own = packed.pop("algorithms/packed.py").replace("algorithms.shared_by_packed", "our_package.helper")
    del packed["algorithms/shared_by_packed.py"], packed["code/my_maths.py"]
    write(site / "our_package" / "specs", packed)
    write(
        site,
        {
            "our_package/__init__.py": "",
            "our_package/helper.py": SHARED,
            "our_package/learners.py": own.replace("from my_maths", "from our_package.maths"),
            "our_package/maths.py": MATHS,
            "our_package-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: our_package\nVersion: 1.0\n",
            "our_package-1.0.dist-info/entry_points.txt": (
                "[harness.algorithms]\npacked = our_package.learners:Mine\n"
                "[harness.specs]\nour_package = our_package.specs\n"
            ),
        },
    )
    write(elsewhere / "mine", algorithm() | table("mine", "packed") | {"presets/tiny.yaml": PRESET})
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*.py")}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "harness", "--specs", "mine", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env=os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        )

    done = run("reproduce", "ours", "--preset", "tiny", "--device", "cpu", "-q")
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("| maze2d-umaze-v1"))
    assert row.count("±") == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("code of your own that runs")]
    assert len(said) == 1
    for name in ("algorithms/mine.py", "algorithms/shared_by_mine.py", "code/my_maths.py"):
        assert f"mine/{name}" in said[0]
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*.py")} == before

    listed = run("table", "ours", "--preset", "tiny")
    assert listed.returncode == 0
    assert "code of your own" not in listed.stderr


def test_a_helper_is_not_taken_for_an_algorithm(cli, elsewhere):
    write(elsewhere / "mine", algorithm() | table("mine"))
    done = cli("--specs", "mine", "validate", "ours")
    assert (done.code, done.out) == (0, "")
    assert "mine" in registry.algorithm_ids()
    assert "shared_by_mine" not in registry.algorithm_ids()


def test_two_files_of_one_name_are_both_named(cli, elsewhere):
    write(elsewhere / "mine", {"algorithms/td3_bc.py": SHARED} | table("td3_bc"))
    done = cli("--specs", "mine", "validate", "ours")
    assert done.code == 2
    assert done.err.count("mine/algorithms/td3_bc.py:1:1: ") == 1
    assert f"{ROOT}/algorithms/td3_bc.py has the same name" in done.err


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def broken(:\n", "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("x = 1 / 0\n", "ZeroDivisionError: division by zero"),
    ],
)
def test_an_algorithm_that_cannot_be_imported_is_one_sentence(cli, elsewhere, text, last):
    files = algorithm() | table("mine")
    files["algorithms/mine.py"] = text + files["algorithms/mine.py"]
    write(elsewhere / "mine", files)
    done = cli("--specs", "mine", "plan", "ours")
    assert done.code == 2
    [said] = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert said.startswith("error: mine/algorithms/mine.yaml:2:5: id: ")
    assert f"mine/algorithms/mine.py cannot be imported: {last}" in said
    assert "mine.py:1)" in said
    assert "Traceback" not in done.err


@pytest.mark.parametrize("field", ["limit: float = 1.0", "limit: float | None = per_member(neutral=1.0)"])
def test_a_field_that_is_no_hyperparameter_is_one_sentence(cli, elsewhere, field):
    files = algorithm() | table("mine")
    declared = "limit: float = per_member(above=0, neutral=1.0)"
    assert declared in files["algorithms/mine.py"]
    files["algorithms/mine.py"] = files["algorithms/mine.py"].replace(declared, field)
    done = cli("--specs", write(elsewhere / "mine", files), "validate", "ours")
    assert done.code == 2
    [said] = done.out.splitlines()
    assert "mine.py cannot be imported: TypeError: MineHyperparameters.limit is no hyperparameter" in said


@pytest.mark.parametrize(
    ("neutral", "problem"),
    [
        ("0.9", "0.9 is not the neutral value of limit in the code: 1.0 is"),
        ("true", "True is not the neutral value of limit in the code: 1.0 is"),
    ],
)
def test_a_neutral_value_is_held_to_the_code(cli, elsewhere, neutral, problem):
    write(elsewhere / "mine", algorithm(neutral=neutral) | table("mine"))
    done = cli("--specs", "mine", "validate", "ours")
    assert done.code == 2
    assert done.out == f"mine/algorithms/mine.yaml:14:48: hyperparameters.limit.neutral: {problem}\n"


# -- entry points --


def entry(name, value, group):
    return EntryPoint(name, value, group)


@pytest.fixture
def installed(monkeypatch):
    """Makes packages believe to be installed that have these entry points."""

    def install(module, *entries):
        monkeypatch.setattr(
            module, "entry_points", lambda *, group: [each for each in entries if each.group == group]
        )
        registry._places.cache_clear()

    return install


def test_a_package_may_not_take_a_shipped_name(cli, installed):
    installed(registry, entry("bc", "somebody.bc:BC", registry.GROUP))
    done = cli("validate", "aspc-table1")
    assert done.code == 2
    assert "algorithms/bc.py and the entry point bc = somebody.bc:BC are algorithms of one id" in done.err


def test_what_a_package_brings_must_be_an_algorithm(installed):
    installed(registry, entry("path", "pathlib:Path", registry.GROUP))
    with pytest.raises(
        registry.AlgorithmError, match=r"path = pathlib:Path is no subclass of algorithms.base"
    ):
        registry.algorithm_class("path")


PACKAGE = """
from harness.execution import local
from harness.execution.session import Outcome
from harness.results.records import EvaluationRecord

answer = 42


def train(order, reporter, stop):
    store = order.store
    runs = {run.record.key: run for run in local.missing_runs(order.resolved, store, order.home)}
    store.register(run.record for run in runs.values())
    keys = store.claim(runs)
    for key in keys:
        steps = runs[key].cell.protocol.evaluations()
        store.record_evaluations([EvaluationRecord(key, step, [50.0], [10]) for step in steps])
    store.finish(keys, 1.0, 1.0)
    reporter.message(f"{len(keys)} runs were trained elsewhere")
    return Outcome(len(keys), 0, 0, stop())
"""


def test_an_executor_of_a_package_trains_what_a_table_lacks(cli, elsewhere, installed, monkeypatch):
    (elsewhere / "their_executor.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(elsewhere)
    installed(executors, entry("theirs", "their_executor:train", executors.GROUP))
    done = cli("reproduce", "aspc-table1", "--preset", "smoke", "--executor", "theirs")
    assert "runs were trained elsewhere" in done.err
    assert "verdicts: " in done.err
    assert done.code == 0
    again = cli("reproduce", "aspc-table1", "--preset", "smoke", "--executor", "theirs")
    assert "0 runs were trained elsewhere" in again.err
    with Store.open("smoke.db") as store:
        assert {state.status for state in store.runs().values()} == {"finished"}
        assert all(state.owner is None for state in store.runs().values())
    installed(executors, entry("theirs", "their_executor:answer", executors.GROUP))
    wrong = cli("reproduce", "aspc-table1", "--preset", "smoke", "--executor", "theirs")
    assert wrong.code == 2
    assert "theirs = their_executor:answer is no executor" in wrong.err
    assert executors.named("local") is executors.train_here


def test_an_unknown_executor_and_a_broken_one_are_sentences(cli, installed):
    installed(executors, entry("broken", "no_such_module:train", executors.GROUP))
    unknown = cli("reproduce", "aspc-table1", "--preset", "smoke", "--executor", "brokn")
    assert unknown.code == 2
    assert "no executor named 'brokn'; did you mean broken?" in unknown.err
    broken = cli("reproduce", "aspc-table1", "--preset", "smoke", "--executor", "broken")
    assert broken.code == 2
    assert "executor broken = no_such_module:train cannot be imported: ModuleNotFoundError" in broken.err
    assert not Path("smoke.db").exists()
