"""A plan of what was found right once needs neither torch nor the algorithms."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness.planning import checked, validation
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.specs import Specs

CHOICE = Choice(datasets=("hopper-medium-v2",), algorithms=("td3_bc", "aspc"))


@pytest.fixture
def checks(monkeypatch, tmp_path):
    """Counts how often specs are held against the code."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    counted, check = [], validation.check
    monkeypatch.setattr(validation, "check", lambda *given: (counted.append(given), check(*given)))
    return counted


def test_once_until_something_changes(checks, monkeypatch):
    resolved = resolve(Specs(), "aspc-table1", CHOICE)
    first = checked.static_names(resolved, Specs())
    assert checked.static_names(resolved, Specs()) == first
    whole = {cell.column.algorithm for cell in resolve(Specs(), "aspc-table1").cells}
    assert set(first) == whole  # a part of the table was chosen, and what is found is kept for all of it
    assert "batch_size" in first["aspc"]
    assert len(checks) == 1
    monkeypatch.setattr(checked, "_stamp", lambda folder: "other")
    assert checked.static_names(resolved, Specs()) == first
    assert len(checks) == 2


def test_what_is_changed_is_seen(tmp_path):
    stamps = {checked._stamp(tmp_path)}
    for name, text in (("a.yaml", "x"), ("a.yaml", "y"), ("b/c.csv", "z"), ("d.py", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        stamps.add(checked._stamp(tmp_path))
    assert len(stamps) == 4  # an empty file says nothing


def test_specs_of_ones_own_are_checked_each_time(checks, tmp_path):
    (tmp_path / "own" / "tables").mkdir(parents=True)
    specs = Specs([tmp_path / "own"])
    for _ in range(2):
        checked.static_names(resolve(specs, "aspc-table1", CHOICE), specs)
    assert len(checks) == 2
    assert not (tmp_path / "data").exists()


def test_what_cannot_be_kept_is_found_again(checks, monkeypatch, tmp_path):
    (tmp_path / "data").write_text("a file in its place")
    for _ in range(2):
        assert checked.static_names(resolve(Specs(), "aspc-table1", CHOICE), Specs())
    assert len(checks) == 2


def test_the_second_plan_imports_no_torch(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    code = (
        "import sys\nfrom harness.cli import main\n"
        "try:\n    main(['plan', 'aspc-table1', '--datasets', 'hopper-medium-v2', '--json'])\n"
        "except SystemExit as end:\n    sys.stderr.write(f\"{end.code} {'torch' in sys.modules}\")"
    )
    plans, said = [], []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        plans.append(json.loads(done.stdout))
        said.append(done.stderr)
    assert said == ["0 True", "0 False"]
    assert plans[0] == plans[1]
