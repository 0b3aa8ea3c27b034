"""`kill -9` at random moments of the real command, then the same again: the same scores, every time."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from harness.errors import HarnessError
from harness.results import transfer
from harness.results.models import ArtefactRow, EpisodeRow, EvaluationRow, MetricRow, RunRow
from harness.results.store import Store

PRESET = """
id: kill
description: Two populations of some seconds with many evaluations and checkpoints
label: kill protocol
lineage: generated
transitions: 2000
datasets: [maze2d-umaze-v1]
columns: []
extra_columns:
  - id: small_aspc
    label: ASPC
    algorithm: aspc
    hyperparameters: {batch_size: 32, alpha_interval: 5}
  - {id: small_bc, label: BC, algorithm: bc, hyperparameters: {batch_size: 32}}
seeds: [0, 1]
steps: 240
evaluate_every: 24
episodes: 2
"""
ONLINE = """
id: online
description: As kill, of runs that gather where others ended
label: kill protocol
transitions: 1000
seeds: [0, 1]
steps: 40
interactions: 160
evaluate_every: 40
episodes: 1
"""
KILLS = int(os.environ.get("KILLS", "1"))  # in each of two tests, and as many cuts
pytestmark = pytest.mark.xdist_group("kill")  # what was trained without a kill is trained once
TRAINERS = min(2, len(os.sched_getaffinity(0)))  # processes that train at once
VICTIMS = ("trainer", "command", "group", "evaluator")
TABLES = {"kill": "aspc-table1", "online": "online-smoke"}  # by preset


def whole(folder: Path, preset: str, text: str, evaluations: int):
    """A folder of specs, a data folder, and what an uninterrupted run leaves in its database."""
    (folder / "specs" / "presets").mkdir(parents=True)
    (folder / "specs" / "presets" / f"{preset}.yaml").write_text(text)
    start, seen = time.monotonic(), 0
    process = begin(folder, "whole", preset)
    while process.poll() is None:
        seen = max(seen, len(children(process.pid)))
        time.sleep(0.02)
    assert process.wait() == 0
    seconds = time.monotonic() - start
    if preset == "kill":
        assert seen == TRAINERS
    assert len(content(folder, "whole")["evaluations"]) == evaluations
    return folder, content(folder, "whole"), seconds


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return whole(tmp_path_factory.mktemp("kill"), "kill", PRESET, 4 * 10)


@pytest.fixture(scope="session")
def online(tmp_path_factory):
    return whole(tmp_path_factory.mktemp("online"), "online", ONLINE, 2 * (1 + 5))


def begin(folder: Path, name: str, preset: str = "kill") -> subprocess.Popen:
    command = [sys.executable, "-m", "harness", "--specs", folder / "specs", "reproduce", TABLES[preset]]
    options = ["--preset", preset, "--db", folder / f"{name}.db", "--data-home", folder / "data", "--quiet"]
    surroundings = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return subprocess.Popen(
        [*command, *options, "--checkpoint-seconds", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=surroundings,
        start_new_session=True,
    )


def children(pid: int) -> list[int]:
    """The processes that one started for its work, without multiprocessing's own."""
    found = []
    with contextlib.suppress(OSError):  # it ended
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def kill(process: subprocess.Popen, victim: str, moments: random.Random) -> bool:
    """Kill the command, its group, a process that trains or one that evaluates; whether there was one."""
    trainers = children(process.pid)
    if victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
        return True
    at_risk = {
        "command": [process.pid],
        "trainer": trainers,
        "evaluator": [each for trainer in trainers for each in children(trainer)],
    }[victim]
    if at_risk:
        with contextlib.suppress(ProcessLookupError):  # it ended in this moment
            os.kill(moments.choice(at_risk), signal.SIGKILL)
            return True
    return False


def content(folder: Path, name: str) -> dict[str, list]:
    """Everything measured, in the order of the keys; identifiers and times left out."""
    with Store.open(folder / f"{name}.db") as store, store.reading() as connection:
        assert store.check() == []
        runs = connection.execute(select(RunRow.key, RunRow.status).order_by(RunRow.key)).all()
        evaluations = connection.execute(
            select(RunRow.key, EvaluationRow.step, EvaluationRow.mean_return, EvaluationRow.mean_length)
            .join(RunRow, RunRow.id == EvaluationRow.run_id)
            .order_by(RunRow.key, EvaluationRow.step)
        ).all()
        episodes = connection.execute(
            select(
                RunRow.key, EvaluationRow.step, EpisodeRow.number, EpisodeRow.raw_return, EpisodeRow.length
            )
            .select_from(EpisodeRow)
            .join(EvaluationRow, EvaluationRow.id == EpisodeRow.evaluation_id)
            .join(RunRow, RunRow.id == EvaluationRow.run_id)
            .order_by(RunRow.key, EvaluationRow.step, EpisodeRow.number)
        ).all()
        metrics = connection.execute(
            select(RunRow.key, MetricRow.step, MetricRow.name, MetricRow.value)
            .join(RunRow, RunRow.id == MetricRow.run_id)
            .order_by(RunRow.key, MetricRow.step, MetricRow.name)
        ).all()
        left = connection.execute(
            select(RunRow.key, ArtefactRow.kind, ArtefactRow.sha256)
            .join(RunRow, RunRow.id == ArtefactRow.run_id)
            .order_by(RunRow.key, ArtefactRow.kind)
        ).all()
    rows = {
        "artefacts": left,
        "runs": runs,
        "evaluations": evaluations,
        "episodes": episodes,
        "metrics": metrics,
    }
    return json.loads(json.dumps({name: [list(row) for row in each] for name, each in rows.items()}))


@pytest.mark.slow
@pytest.mark.parametrize("chance", range(2))
def test_killed_at_random_moments(place, chance):
    folder, whole, seconds = place
    moments = random.Random(chance)
    kills = chains = 0
    while kills < KILLS:
        name = f"chain-{chance}-{chains}"
        chains += 1
        for _ in range(4):  # so many kills at most before the command may end in peace
            process = begin(folder, name)
            try:
                process.wait(moments.uniform(0, seconds))
                break
            except subprocess.TimeoutExpired:
                victim = VICTIMS[(chance + kills) % len(VICTIMS)]
                kills += kill(process, victim, moments)
                ended = process.wait()
                # 0 where the command goes on without the victim, or had done all in this moment
                assert ended == 0 or (ended == -signal.SIGKILL and victim in ("command", "group"))
        assert begin(folder, name).wait() == 0
        assert content(folder, name) == whole


@pytest.mark.slow
def test_power_cuts_that_leave_an_older_database_beside_newer_checkpoints(place):
    folder, whole, seconds = place
    moments = random.Random(0)
    for cut in range(KILLS):
        name = f"cut-{cut}"
        database, backup = folder / f"{name}.db", folder / f"{name}.backup"
        process = begin(folder, name)
        kept, ends = sorted(moments.uniform(seconds / 3, seconds) for _ in range(2))
        time.sleep(kept)
        with Store.open(database) as store:
            transfer.backup(store, backup)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ends - kept)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for suffix in ("-wal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)
        backup.rename(database)
        assert begin(folder, name).wait() == 0
        assert content(folder, name) == whole


@pytest.mark.slow
def test_killed_while_gathering(online):
    """The same scores, and policies of the same bits: an episode that was cut is played again."""
    folder, expected, _ = online
    process = begin(folder, "killed", "online")
    kills = 0
    while process.poll() is None and kills < 3:
        time.sleep(0.05)
        if gathered(folder / "killed.db") > 10 + 40 * kills:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            process = begin(folder, "killed", "online")
    assert process.wait() == 0
    assert kills == 3
    assert content(folder, "killed") == expected


def gathered(database: Path) -> int:
    """Interactions up to the last checkpoint; 0 as long as the offline runs are not finished."""
    try:
        with Store.open(database) as store:
            states = store.runs().values()
    except HarnessError:  # it is not there yet
        return 0
    if sum(state.status == "finished" for state in states) < 2:
        return 0
    return max((state.checkpoint_step or 0 for state in states if state.status != "finished"), default=0)
