"""What is in the wheel: all that an installed harness needs, and nothing else."""

import itertools
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def files(folder: str, *patterns: str) -> set[str]:
    """Paths of files below a folder of the checkout, relative to it."""
    top = ROOT / folder
    return {path.relative_to(top).as_posix() for pattern in patterns for path in top.rglob(pattern)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("package", ["algorithms", "harness"])
def test_wheel_has_the_whole_package(wheel: set[str], package: str) -> None:
    expected = {f"{package}/{name}" for name in files(package, "*.py", "*.j2", "py.typed")}
    assert f"{package}/py.typed" in expected
    assert expected <= wheel


def test_wheel_has_every_spec(wheel: set[str]) -> None:
    shipped = {
        f"harness/shipped_specs/{name}"
        for name in files("specs", "*.yaml", "*.csv", "*.json", "*.safetensors")
    }
    assert "harness/shipped_specs/tables/aspc-table1.yaml" in shipped
    assert shipped == {name for name in wheel if name.startswith("harness/shipped_specs/")}


def test_wheel_has_templates_and_migrations(wheel: set[str]) -> None:
    assert any(name.startswith("harness/reports/templates/") for name in wheel)
    assert "harness/results/migrations/env.py" in wheel
    assert any(name.startswith("harness/results/migrations/versions/0001") for name in wheel)


def test_wheel_has_nothing_else(wheel: set[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"algorithms", "harness"}
    assert not [name for name in wheel if "__pycache__" in name or name.endswith(".db")]


def test_every_requirement_has_its_version_in_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {
        canonicalize_name(requirement.name): requirement.specifier
        for requirement in (Requirement(line) for line in lines if not line.startswith("#"))
    }
    assert all([clause.operator for clause in clauses] == ["=="] for clauses in pinned.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in map(Requirement, itertools.chain(*lists)):
        if requirement.name != project["name"]:
            [clause] = pinned[canonicalize_name(requirement.name)]
            assert clause.version in requirement.specifier, requirement
