from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from harness.results.models import EpisodeRow, EvaluationRow
from harness.results.records import EvaluationRecord, RunRecord, canonical, digest, run_key
from harness.results.store import Store

WORKERS = Path(__file__).with_name("workers.py")


@pytest.fixture
def record() -> Callable[..., RunRecord]:
    """Makes a run, keyed as planning keys it; without a protocol any evaluations finish it."""

    def make(
        seed: int = 0,
        *,
        algorithm: str = "td3_bc",
        dataset: str = "hopper-medium-v2",
        protocol: dict[str, int] | None = None,
    ) -> RunRecord:
        configuration = {
            "algorithm": algorithm,
            "hyperparameters": {"alpha": 2.5},
            "dataset": {"id": dataset, "lineage": "d4rl"},
            "environment": None,
            **({"protocol": protocol} if protocol else {}),
        }
        return RunRecord(run_key(canonical(configuration), seed), digest(configuration), configuration, seed)

    return make


@pytest.fixture
def train() -> Callable[..., None]:
    """Registers, claims, evaluates and finishes a run."""

    def run(store: Store, record: RunRecord, scores: dict[int, list[float]], finish: bool = True) -> None:
        store.register([record])
        assert store.claim([record.key]) == [record.key]
        store.record_evaluations(
            [
                EvaluationRecord(record.key, step, returns, [7] * len(returns))
                for step, returns in scores.items()
            ]
        )
        if finish:
            store.finish([record.key], 2.0, 1.0)

    return run


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def store(database: Path) -> Iterator[Store]:
    with Store.open(database, create=True) as opened:
        yield opened


@pytest.fixture
def workers() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a function of workers.py in the given number of processes."""
    started = []

    def start(what: str, processes: int, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(WORKERS), what, str(processes), *map(str, arguments)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def sixteen_writers(workers: Callable[..., subprocess.Popen[str]]) -> Callable[[str | Path, int], float]:
    """Sixteen processes write to one database at once, and all that each committed is there once.

    Gives the seconds of the longest commit. COMMITS in the environment sets how many each makes.
    """

    def write(database: str | Path, commits: int) -> float:
        commits = int(os.environ.get("COMMITS", commits))
        process = workers("evaluate", 16, database, commits)
        output, _ = process.communicate(timeout=60 + 2 * commits)
        assert process.returncode == 0
        with Store.open(database) as store:
            assert store.check() == []
            with store.reading() as connection:
                for row, each in ((EvaluationRow, 1), (EpisodeRow, 4)):
                    total = connection.execute(select(func.count()).select_from(row)).scalar_one()
                    assert total == 16 * commits * each
            contents = store.configurations()
            keys = {contents[run.configuration_key]["name"]: run.key for run in store.runs().values()}
            evaluations = store.evaluations(keys.values())
            for number in range(16):
                found = [(e.step, e.mean_return, e.episodes) for e in evaluations[keys[f"run {number}"]]]
                assert found == [(step, number + step + 0.375, 4) for step in range(commits)]
            assert [state.status for state in store.runs().values()] == ["finished"] * 16
        return max(map(float, output.split()))

    return write
