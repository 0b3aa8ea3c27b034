"""Pools of worker processes, whatever happens to them or to their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import plugs, processes
from harness.errors import DataError, EnvironmentUnusableError
from harness.signals import SIGNALS
from harness.training.workers import EvaluationPool


@pytest.mark.parametrize(
    ("own", "limits", "cores"),
    [
        ("0::/", {"cpu.max": "max 100000\n"}, 4),
        ("0::/", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/", {"cpu.max": "900000 100000\n"}, 4),
        ("0::/", {"cpu.max": "?"}, 4),
        ("0::/", {}, 4),
        ("0::/batch/job", {"batch/job/cpu.max": "max 100000", "batch/cpu.max": "300000 100000"}, 3),
        ("0::/of/the/host", {"cpu.max": "200000 100000"}, 2),  # a container sees its own group as the top
        (
            "4:memory:/m\n3:cpu,cpuacct:/job",
            {
                "cpu,cpuacct/job/cpu.cfs_quota_us": "250000",
                "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/cpu.cfs_quota_us": "-1",
                "cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            2,
        ),
        ("3:cpuset:/job", {"cpuset/job/cpu.max": "100000 100000"}, 4),
    ],
)
def test_a_containers_share_of_the_cores(monkeypatch, tmp_path, own, limits, cores):
    (tmp_path / "own").write_text(own)
    for name, limit in limits.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(limit)
    monkeypatch.setattr(processes, "_GROUPS", tmp_path / "own")
    monkeypatch.setattr(processes, "_HIERARCHIES", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5})
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert processes.usable_cores() == cores
    (tmp_path / "own").unlink()
    assert processes.usable_cores() == 4


@pytest.mark.parametrize(("threads", "cores"), [("3", 3), ("16", 4), ("0", 1), ("4,2", 4)])
def test_a_person_may_ask_for_fewer_cores(monkeypatch, threads, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5})
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert processes.usable_cores() == cores


def begin(value):
    os.environ["BEGUN_WITH"] = value


def begun_with():
    return os.environ["BEGUN_WITH"], os.getpid()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_all_processes_are_there_at_once_and_begin_alike():
    with processes.pool(2, begin, ("this",), "tests") as pool:
        assert len(pool._processes) == 2
        found = [pool.submit(begun_with).result() for _ in range(5)]
    assert {value for value, _ in found} == {"this"}


def test_signals_to_the_whole_group_are_the_parents_business():
    with processes.pool(1, begin, ("this",), "tests") as pool:
        [pid] = pool._processes
        for number in SIGNALS:
            os.kill(pid, number)  # while it starts
        assert pool.submit(begun_with).result() == ("this", pid)
        os.kill(pid, signal.SIGINT)
        assert pool.submit(begun_with).result() == ("this", pid)


GROUP = """
import os, signal, time
from harness import processes, signals
from harness.processes import Child, resource_tracker

def wait(connection):
    connection.recv()

if __name__ == "__main__":
    for number in signals.SIGNALS:
        signal.signal(number, lambda *_: None)
    with processes.pool(1, len, ([],), "waits") as pool:
        child = Child(wait)
        tracker = resource_tracker._resource_tracker._pid
        for number in signals.SIGNALS:
            os.killpg(0, number)
        time.sleep(0.5)
        os.kill(tracker, 0)
        print("tracker", open(f"/proc/{tracker}/stat").read().split()[2], "child", child.process.is_alive())
        child.end()
"""


def test_signals_to_the_whole_group_spare_the_process_that_cleans_up(tmp_path):
    script = tmp_path / "group.py"
    script.write_text(GROUP)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, start_new_session=True
    )
    assert (done.stdout, done.stderr) == ("tracker S child True\n", "")


def test_a_process_that_dies_is_an_error_in_words():
    with (
        pytest.raises(DataError, match=r"a process that tests this died, .*; run the same command again"),
        processes.pool(1, begin, ("this",), "tests this") as pool,
    ):
        pool.submit(die).result()


def test_a_new_process_never_runs_other_code_than_its_parents(tmp_path, monkeypatch):
    (tmp_path / "algorithm.py").write_text("rate = 1")
    first = {str(tmp_path): processes._hash.__wrapped__(str(tmp_path))}
    monkeypatch.setattr(processes, "known_code", lambda: first)
    child = processes.Child(_echo)
    child.connection.send("here")
    assert child.connection.recv() == "here"
    assert child.died() == -signal.SIGKILL
    (tmp_path / "algorithm.py").write_text("rate = 2")
    child = processes.Child(_echo)
    with pytest.raises(EOFError):
        child.connection.recv()
    with pytest.raises(EnvironmentUnusableError, match="code of this program has changed since"):
        child.died()


def test_a_process_that_dies_of_new_code_before_it_can_compare_is_no_crash(tmp_path, monkeypatch):
    (tmp_path / "algorithm.py").write_text("rate = 1")
    first = {str(tmp_path): processes._hash.__wrapped__(str(tmp_path))}
    monkeypatch.setattr(processes, "known_code", lambda: first)
    child = processes.Child(_echo)
    (tmp_path / "algorithm.py").write_text("rate =")
    child.process.kill()
    with pytest.raises(EnvironmentUnusableError, match="code of this program has changed since"):
        child.died()


@pytest.mark.parametrize("kind", ["code", "datasets"])
def test_a_persons_own_modules_are_held_to_their_beginning_too(tmp_path, write_files, monkeypatch, kind):
    write_files(tmp_path, {f"{kind}/mine.py": "rate = 1"})
    monkeypatch.setattr(processes, "_held", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    plugs.use([tmp_path])
    write_files(tmp_path, {f"{kind}/mine.py": "rate = 2"})
    child = processes.Child(_echo)
    with pytest.raises(EOFError):
        child.connection.recv()
    with pytest.raises(EnvironmentUnusableError, match="code of this program has changed since"):
        child.died()


def test_no_process_of_a_pool_runs_other_code_than_its_parents(tmp_path, monkeypatch):
    (tmp_path / "algorithm.py").write_text("rate = 1")
    first = {str(tmp_path): processes._hash.__wrapped__(str(tmp_path))}
    monkeypatch.setattr(processes, "known_code", lambda: first)
    (tmp_path / "algorithm.py").write_text("rate = 2")
    with (
        pytest.raises(EnvironmentUnusableError, match="code of this program has changed since"),
        processes.pool(1, begin, ("this",), "tests this") as pool,
    ):
        pool.submit(begun_with).result()


def _echo(connection):
    while True:
        connection.send(connection.recv())


def test_evaluations_that_meet_other_code_fail_no_run(tmp_path, monkeypatch):
    (tmp_path / "algorithm.py").write_text("rate = 1")
    first = {str(tmp_path): processes._hash.__wrapped__(str(tmp_path))}
    monkeypatch.setattr(processes, "known_code", lambda: first)
    with EvaluationPool(1) as pool:
        (tmp_path / "algorithm.py").write_text("rate = 2")
        pool._workers[0].process.kill()
        task = SimpleNamespace(key="k", step=1, environment=SimpleNamespace(id="e"))
        steps = [lambda: pool.submit(task), *[lambda: list(pool.results(timeout=60))] * 3]
        with pytest.raises(EnvironmentUnusableError, match="what was done is kept"):
            [step() for step in steps]


def test_no_process_outlives_its_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from harness import processes\n"
        "if __name__ == '__main__':\n"
        "    with processes.pool(1, os.getpid, (), 'waits') as pool:\n"
        "        print(pool.submit(os.getpid).result(), flush=True)\n"
        "        time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    worker = Path("/proc", parent.stdout.readline().strip(), "stat")
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if worker.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived its parent")
