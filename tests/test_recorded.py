"""What ``make smoke`` holds this machine against notices what breaks training."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.analysis.measurements import measure
from harness.analysis.prediction import forecast, judged
from harness.analysis.verdicts import VerdictKind
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.seeds import with_every_seed
from harness.results.records import EvaluationRecord
from harness.results.store import Store
from harness.specs import Specs
from harness.specs.catalogue import shipped_folder

RECORDED = Path(__file__).parents[1] / "baselines" / "aspc-table1-first-look.db"
ROWS = ("halfcheetah-medium-v2", "hopper-expert-v2")
ROW = ROWS[1]  # of which a wrong training by BC, the fastest, falls
WRONG = """columns: []
extra_columns:
  - {id: faithful, label: BC, algorithm: bc}
  - {id: slow, label: BC, algorithm: bc, hyperparameters: {learning_rate: 3.0e-5}}
  - {id: raw, label: BC, algorithm: bc, hyperparameters: {normalize_observations: false}}
seeds:"""


@pytest.fixture
def recorded(tmp_path):
    """The shipped baseline's cells with every seed, read from a copy."""
    shutil.copy(RECORDED, tmp_path / "recorded.db")
    resolved = resolve(Specs(), "aspc-table1", Choice(preset="first-look"))
    with Store.open(tmp_path / "recorded.db") as store:
        return measure(with_every_seed(resolved, store), store, {}).cells


def test_it_has_ten_seeds_of_every_cell_of_the_preset(recorded):
    """And was not made for another version of the specs, whose runs would have other keys."""
    assert {key: len(cell.scores) for key, cell in recorded.items()} == {
        (row, column): 10 for row in ROWS for column in ("bc", "td3_bc", "aspc")
    }


# a seed that is not recorded, so that what was recorded does not predict itself
SEED = 10


def drift(database, returns):
    """The exit code of ``harness drift`` where BC's runs ended so, as if the code itself were wrong."""
    choice = Choice(preset="first-look", datasets=(ROW,), algorithms=("bc",))
    [cell] = resolve(Specs(), "aspc-table1", choice).cells
    keys = [run.key for run in cell.runs]
    with Store.open(database, create=True) as store:
        store.register(cell.runs)
        store.claim(keys)
        for key in keys:
            store.record_evaluations(
                [EvaluationRecord(key, step, raw, [1000] * len(raw)) for step, raw in returns.items()]
            )
        store.finish(keys, 1.0, 1.0)
    command = ["drift", "aspc-table1", "--preset", "first-look", "--datasets", ROW, "--algorithms", "bc"]
    options = ["--gate", "cells", "--db", database, "--baseline", "recorded.db"]
    return subprocess.run([sys.executable, "-m", "harness", *command, *options], check=False).returncode


@pytest.mark.slow
def test_a_wrong_learning_rate_and_raw_observations_are_noticed(recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    presets = tmp_path / "wrong" / "presets"
    presets.mkdir(parents=True)
    text = (shipped_folder() / "presets" / "first-look.yaml").read_text(encoding="utf-8")
    text = re.sub(r"^columns:.*?^seeds:", WRONG, text, flags=re.MULTILINE | re.DOTALL)
    (presets / "wrong.yaml").write_text(text.replace("id: first-look", "id: wrong"), encoding="utf-8")
    specs = Specs([tmp_path / "wrong"])
    chosen = {"preset": "wrong", "datasets": [ROW], "seeds": [SEED]}
    harness.reproduce("aspc-table1", **chosen, specs=tmp_path / "wrong", db="wrong.db")
    with Store.open("wrong.db") as store:
        resolved = resolve(specs, "aspc-table1", Choice(preset="wrong", datasets=(ROW,), seeds=(SEED,)))
        trained = measure(resolved, store, {}).cells
        returns = {column: store.returns(cell.cell.runs[0].key) for (_, column), cell in trained.items()}
    tests = specs.table("aspc-table1").verdict
    expected = forecast(recorded[ROW, "bc"].estimate, 1)
    verdicts = {
        column: judged(expected, cell.mean, 1, tests, of=len(recorded))[0].kind
        for (_, column), cell in trained.items()
    }
    assert verdicts == {
        "faithful": VerdictKind.SAME,
        "slow": VerdictKind.WORSE,
        "raw": VerdictKind.WORSE,
    }
    assert [drift(f"now-{column}.db", returns[column]) for column in ("slow", "raw")] == [1, 1]
