from __future__ import annotations

import shutil

import pytest

from algorithms.wpc import WPC
from harness.planning import validation
from harness.planning.validation import validate_algorithms
from harness.specs import Specs
from harness.specs.catalogue import shipped_folder
from harness.specs.validation import validate


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the shipped specs to spoil."""
    folder = tmp_path / "specs"
    shutil.copytree(shipped_folder(), folder)
    monkeypatch.setattr("harness.specs.catalogue.shipped_folder", lambda: folder)
    monkeypatch.chdir(tmp_path)

    def spoil(path, old, new):
        text = (folder / path).read_text()
        assert text.count(old) == 1
        (folder / path).write_text(text.replace(old, new))
        spoilt = new.splitlines()[-1]
        return next(i for i, line in enumerate((folder / path).read_text().splitlines(), 1) if line == spoilt)

    return spoil


def test_the_shipped_specs_agree_with_the_code():
    assert validate_algorithms(Specs()) == []


def test_a_value_out_of_range_is_found_where_it_stands(copied):
    line = copied("algorithms/bc.yaml", "  batch_size:\n    value: 256", "  batch_size:\n    value: -256")
    [problem] = validate_algorithms(Specs())
    assert problem.startswith(f"specs/algorithms/bc.yaml:{line}:12: ")
    assert "-256" in problem


def test_a_hyperparameter_that_the_class_does_not_have(copied):
    copied("algorithms/bc.yaml", "  batch_size:", "  momentum:\n    value: 1\n    source: x\n  batch_size:")
    [problem] = validate_algorithms(Specs())
    assert "momentum" in problem
    assert "specs/algorithms/bc.yaml" in problem


def test_one_that_the_spec_lacks(copied):
    copied("algorithms/bc.yaml", "  batch_size:\n    value: 256\n", "  batch_sizes:\n    value: 256\n")
    problems = validate_algorithms(Specs())
    assert len(problems) == 2
    assert any("batch_size is missing" in problem for problem in problems)


def test_a_spec_without_code(copied, tmp_path):
    (tmp_path / "specs/algorithms/bcc.yaml").write_text(
        (tmp_path / "specs/algorithms/bc.yaml").read_text().replace("id: bc", "id: bcc")
    )
    [problem] = validate_algorithms(Specs())
    assert problem.startswith("specs/algorithms/bcc.yaml:1:5: ")
    assert "algorithms/bcc.py" in problem


def test_what_a_column_sets_is_found_once_and_only_for_tables_asked_for(copied):
    line = copied("tables/aspc-table1.yaml", "      critic: robust", "      critic: sturdy")
    [problem] = validate_algorithms(Specs(), ["aspc-table1"])
    assert problem.startswith(f"specs/tables/aspc-table1.yaml:{line}:15: ")
    assert "sturdy" in problem
    assert validate_algorithms(Specs(), []) == []


def test_per_dataset_values_are_checked(copied):
    copied(
        "tables/aspc-table1.yaml",
        "      critic: robust",
        "      critic: robust\n    per_dataset:\n      'hopper-*':\n        alpha: many",
    )
    [problem] = validate_algorithms(Specs())
    assert "per_dataset.hopper-*.alpha" in problem


def test_an_unknown_hyperparameter_of_a_column_is_left_to_the_check_of_the_specs(copied):
    line = copied("tables/aspc-table1.yaml", "      critic: robust", "      critics: robust")
    assert validate_algorithms(Specs()) == []
    [problem] = validate(Specs())
    assert problem.startswith(f"specs/tables/aspc-table1.yaml:{line}:7: ")


def test_a_bad_default_is_not_blamed_on_a_column_that_reads_the_value_from_another(copied):
    copied("algorithms/td3_bc.yaml", "  alpha:\n    value: 2.5", "  alpha:\n    value: true")
    problems = validate_algorithms(Specs())
    assert [problem.partition(":")[0] for problem in problems] == ["specs/algorithms/td3_bc.yaml"]


def test_nothing_but_the_code_is_asked(copied, monkeypatch):
    others = [name for name in validation.algorithm_ids() if name != "bc"]
    monkeypatch.setattr(validation, "algorithm_ids", lambda: others)
    [problem] = validate_algorithms(Specs())
    assert "bc.py" in problem


def test_a_state_that_an_algorithm_does_not_read(copied):
    line = copied(
        "tables/aspc-table1.yaml",
        "      critic: robust",
        "      critic: robust\n    inputs:\n      vae: {column: aspc}",
    )
    [problem] = validate_algorithms(Specs(), ["aspc-table1"])
    assert problem.startswith(f"specs/tables/aspc-table1.yaml:{line}:7: columns.0.inputs.vae: ")
    assert "no input of td3_bc: it reads none" in problem


def test_a_state_that_an_algorithm_reads_and_its_column_does_not_name(monkeypatch):
    monkeypatch.setattr(WPC, "reads", ("vae",))
    [problem] = validate_algorithms(Specs(), ["aspc-table1"])
    assert "specs/tables/aspc-table1.yaml:" in problem
    assert "wpc reads a state called 'vae': name its run in `inputs`" in problem
