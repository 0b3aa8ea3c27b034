"""Who may import whom: the contracts in pyproject.toml, and what they cannot say."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALGORITHMS = sorted((ROOT / "algorithms").glob("*.py"))
WITHOUT_TORCH = (
    "harness.analysis.comparison",
    "harness.analysis.drift",
    "harness.cli",
    "harness.planning.cells",
    "harness.planning.status",
    "harness.reports",
    "harness.acceptance",
    "harness.reports.browse",
    "harness.results.store",
    "harness.results.transfer",
    "harness.specs",
    "harness.specs.validation",
)
HEAVY = {"torch", "gymnasium", "minari", "scipy.stats"}


def imported(source: str) -> set[str]:
    """Top-level names of all packages that a module imports, at whatever depth of its code."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("algorithms" if node.level else str(node.module).partition(".")[0])
    return names


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_are_found_at_any_depth() -> None:
    assert imported("import a.b\nfrom c.d import e\ndef f():\n    import g\n    from . import h") == {
        "a",
        "c",
        "g",
        "algorithms",
    }


@pytest.mark.parametrize("path", ALGORITHMS, ids=lambda path: path.stem)
def test_algorithms_import_torch_and_the_standard_library_only(path: Path) -> None:
    allowed = sys.stdlib_module_names | {"algorithms", "torch"}
    assert imported(path.read_text(encoding="utf-8")) <= allowed


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_what_must_answer_at_once_does_not_load_torch(module: str) -> None:
    code = f"import {module}, sys; print(*sys.modules.keys() & {HEAVY})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
