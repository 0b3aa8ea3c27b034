"""Shared by all tests: one thread a process, so that parallel tests on few cores do not fight."""

import importlib
import importlib.util
import os
import random
import sys
import tempfile
import types
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.records import EvaluationRecord
from harness.results.store import Store
from harness.specs import Specs
from tests.servers import Postgres

os.environ.setdefault("OMP_NUM_THREADS", "1")
# an example that takes long on a loaded machine is no bug, nor are examples that share a fixture
settings.register_profile("unhurried", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("unhurried")


@pytest.fixture
def store(tmp_path):
    """A new results database, r.db."""
    with Store.open(tmp_path / "r.db", create=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def server():
    """A PostgreSQL of the tests' own; those that use it are of one xdist group, `servers`."""
    if not Postgres.installed() and not os.environ.get("HARNESS_REQUIRE_POSTGRES"):
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="harness-postgres-", ignore_cleanup_errors=True) as folder:
        made = Postgres(Path(folder))
        yield made
        made.stop()


@pytest.fixture(scope="session")
def write_files():
    """Writes files into a folder, by their paths in it; gives the folder."""

    def write(folder, files):
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def trained():
    """Writes a database of made-up runs of a table, finished as training finishes them.

    Scores are near 50 and the same in every call; ``shift`` (points, by column id) moves them, ``only`` (of
    row, column id and seed) chooses the runs.
    """

    def write(path, *, specs=None, shift=None, only=None, fingerprint=None, content="c" * 64, **options):
        specs = specs or Specs()
        resolved = resolve(specs, "aspc-table1", Choice(**{"preset": "smoke"} | options))
        with Store.open(path, create=True) as store:
            for cell in resolved.cells:
                reference, name = cell.dataset.reference, cell.column.id
                runs = [r for r in cell.runs if only is None or only(cell.dataset.id, name, r.seed)]
                keys = [run.key for run in runs]
                store.register(runs)
                assert store.claim(keys) == keys
                environment = {
                    "git_commit": "a" * 40,
                    "torch": "2.12",
                    "mujoco": "3.17",
                    **(fingerprint or {}),
                }
                store.record_fingerprint(keys, environment, "made up")
                store.record_dataset(cell.runs[0].configuration["dataset"], content, 10)
                for run in runs:
                    score = 50 + random.Random(run.key).gauss(0, 1) + (shift or {}).get(name, 0.0)
                    raw = reference.minimum + score / 100 * (reference.maximum - reference.minimum)
                    store.record_evaluations(
                        [
                            EvaluationRecord(run.key, step, [raw] * 3, [10] * 3)
                            for step in cell.protocol.evaluations()
                        ]
                    )
                store.finish(keys, 60.0, 30.0)
        return path

    return write


@pytest.fixture(scope="session")
def ogbench():
    """The package of that name, without the half of it that wants dm_control."""
    found = importlib.util.find_spec("ogbench")
    if found is None or not found.submodule_search_locations:
        if os.environ.get("HARNESS_REQUIRE_OGBENCH"):
            pytest.fail("HARNESS_REQUIRE_OGBENCH is set, but the package ogbench is not installed")
        pytest.skip("takes the package ogbench: pip install --no-deps ogbench==1.2.2")
    package = types.ModuleType("ogbench")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["ogbench"] = package
    for half in ("locomaze", "utils"):
        importlib.import_module(f"ogbench.{half}")
    return package
