"""Workers beside each other: what they claim, wait for and take over; and the executor ``processes``."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from rich.console import Console

from harness import files
from harness.errors import DataError, EnvironmentUnusableError, HarnessError
from harness.execution import work
from harness.execution.engines import processes
from harness.execution.executors import Order, train_here
from harness.execution.progress import Reporter
from harness.execution.setup import Setup
from harness.execution.versions import VERSION, require_same_version, version_of
from harness.execution.worker import PARENT, Worker, ended_badly, heard_of, last_words, left_alone
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results import leases
from harness.results.schema import Location
from harness.results.store import Store
from harness.specs import Specs

MANY = Choice(preset="many")
PRESET = """
id: many
description: Short runs
label: many protocol
lineage: generated
transitions: 500
datasets: [maze2d-umaze-v1]
columns: []
extra_columns:
  - {id: bc, label: BC, algorithm: bc, hyperparameters: {batch_size: 16}}
  - {id: wide, label: BC wide, algorithm: bc, hyperparameters: {batch_size: 32}}
seeds: [0, 1]
steps: 100
evaluate_every: 50
episodes: 1
"""


SMALL = "batch_size: 16, actor_hidden_sizes: '16'"
READING = f"""
id: reading
version: 1
title: Columns of which three read what another leaves
paper: {{title: T, authors: A, year: 2026}}
lineage: generated
transitions: 500
protocol: short
groups:
  - {{id: mazes, label: Mazes, datasets: [maze2d-umaze-v1]}}
columns:
  - {{id: aspc, label: A, algorithm: aspc, hyperparameters: {{{SMALL}, alpha_interval: 2}}}}
  - id: alpha
    label: B
    algorithm: td3_bc
    hyperparameters: {{{SMALL}, alpha: {{column: aspc, metric: alpha}}}}
  - {{id: base, label: C, algorithm: td3_bc, hyperparameters: {{{SMALL}}}}}
  - {{id: started, label: D, algorithm: td3_bc, hyperparameters: {{{SMALL}}}, start: {{column: base}}}}
  - id: judge
    label: E
    algorithm: iql_selector
    protocol: unevaluated
    hyperparameters: {{batch_size: 16, critic_hidden_sizes: '16', value_hidden_sizes: '16'}}
  - id: trusting
    label: F
    algorithm: td3_bc_sa
    hyperparameters: {{{SMALL}}}
    data: [{{trust: {{by: selector}}}}]
    inputs: {{selector: {{column: judge, state: [critic, value]}}}}
"""
SHORT = "id: short\ndescription: D\nsteps: 20\nevaluate_every: 20\nepisodes: 1\nseeds: [0, 1]\n"
UNEVALUATED = "id: unevaluated\ndescription: D\nsteps: 20\nseeds: [0, 1]\n"


@pytest.fixture
def specs(tmp_path, write_files):
    files = {
        "presets/many.yaml": PRESET,
        "tables/reading.yaml": READING,
        "protocols/short.yaml": SHORT,
        "protocols/unevaluated.yaml": UNEVALUATED,
    }
    return Specs([write_files(tmp_path / "specs", files)])


@pytest.fixture
def claimable(specs, tmp_path):
    """Train what can be claimed; gives the outcome and what was said."""

    def run(store, stop=lambda: False, table="aspc-table1", choice=MANY, said=None, **how):
        said = said or io.StringIO()
        setup = Setup.on("cpu", tmp_path / "checkpoints", home=tmp_path / "data", workers=1)
        resolved = resolve(specs, table, choice)
        with Reporter(Console(file=said, width=500), quiet=True) as reporter:
            outcome = work.train_claimable(resolved, specs, store, setup, reporter, stop, **how)
        return outcome, said.getvalue()

    return run


@pytest.fixture
def records(specs):
    resolved = resolve(specs, "aspc-table1", MANY)
    return [run for cell in resolved.cells for run in cell.runs]


def test_a_worker_leaves_what_others_hold_and_takes_it_over_if_it_waits(claimable, records, store, tmp_path):
    store.register(records)
    held = [records[0].key, records[3].key]
    with Store.open(tmp_path / "r.db", owner=f"elsewhere:1:{leases._pid_namespace()}.1") as other:
        assert other.claim(held) == held
        outcome, _ = claimable(store)
        assert (outcome.finished, outcome.interrupted) == (2, False)
        assert {key for key, state in store.runs().items() if state.status == "running"} == set(held)
        threading.Timer(1, lambda: other.release(held)).start()
        outcome, said = claimable(store, wait=True)
    assert outcome.finished == 2
    assert "waiting for runs that others hold" in said
    assert {state.attempt for state in store.runs().values()} == {1, 2}


def test_a_worker_may_keep_to_what_is_queued(claimable, records, store):
    store.register(records[:1])
    outcome, _ = claimable(store, queued_only=True)
    assert outcome.finished == len(store.runs()) == 1


@pytest.mark.parametrize(
    ("source", "reader"), [("aspc", "alpha"), ("base", "started"), ("judge", "trusting")]
)
def test_a_worker_waits_for_what_its_runs_read_of_anothers(claimable, specs, store, tmp_path, source, reader):
    said, waits = io.StringIO(), threading.Event()

    def until_it_waits():
        if not waits.is_set() and any(run.alive for run in other.runs().values()):
            assert waits.wait(60)
        return False

    def notice():
        if "waiting for runs that others hold" in said.getvalue():
            waits.set()
        return False

    both = {"table": "reading", "choice": Choice(algorithms=(source, reader))}
    with Store.open(tmp_path / "r.db", owner=f"elsewhere:1:{leases._pid_namespace()}.1") as other:
        alone = {"table": "reading", "choice": Choice(algorithms=(source,))}
        with ThreadPoolExecutor(1) as thread:
            theirs = thread.submit(claimable, other, until_it_waits, **alone)
            while not any(run.alive for run in store.runs().values()):
                assert not theirs.done(), theirs.result()
                time.sleep(0.05)
            ours, _ = claimable(store, notice, said=said, wait=True, **both)
    assert waits.is_set()
    assert (theirs.result()[0].finished, ours.finished, ours.failed) == (2, 2, 0)
    assert {state.attempt for state in store.runs().values()} == {1}


def test_a_worker_that_waits_can_be_stopped(claimable, records, store, tmp_path):
    store.register(records)
    with Store.open(tmp_path / "r.db", owner="elsewhere:1:1.1") as other:
        other.claim(record.key for record in records)
        began = time.monotonic()
        outcome, _ = claimable(store, stop=lambda: time.monotonic() > began + 0.5, wait=True)
    assert outcome.interrupted


def test_a_job_that_is_started_again_takes_its_runs_over_at_once(records, store, tmp_path, monkeypatch):
    store.register(records)
    monkeypatch.setenv(leases.JOB, "slurm-7_1")
    keys = [record.key for record in records]
    with Store.open(tmp_path / "r.db", owner="slurm-7_1@another-node:4:1.1") as before:
        before.claim(keys[:2])
    with Store.open(tmp_path / "r.db", owner="slurm-7_0@another-node:4:1.1") as neighbour:
        neighbour.claim(keys[2:])
    assert store.claim(keys) == keys[:2]
    assert leases.job_of("slurm-7_0@another-node:4:1.1") == "slurm-7_0"
    assert leases.job_of("another-node:4:1.1") is None


@pytest.mark.parametrize(
    ("named", "number", "expected"),
    [
        (None, 2, ["0", "1"]),
        ("5,7", 2, ["5", "7"]),
        ("GPU-8932f937, MIG-1b2c", 2, ["GPU-8932f937", "MIG-1b2c"]),
        ("3,-1,4", 1, ["3"]),
        ("", 0, []),
    ],
)
def test_each_visible_gpu_is_named_as_it_was_given(named, number, expected, monkeypatch):
    monkeypatch.delenv(processes.VISIBLE, raising=False)
    if named is not None:
        monkeypatch.setenv(processes.VISIBLE, named)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
    assert processes.visible_gpus() == expected


def test_more_workers_than_gpus_and_options_that_nobody_takes_are_refused(specs, store, monkeypatch):
    resolved = resolve(specs, "aspc-table1", MANY)
    monkeypatch.setattr(processes, "chosen", lambda device: "cuda")
    monkeypatch.setattr(processes, "visible_gpus", lambda: ["0", "1"])
    with pytest.raises(HarnessError, match="--jobs 3: each needs a GPU of its own, and 2 are visible"):
        processes.train(Order(resolved, specs, store, None, jobs=3), Reporter(quiet=True), lambda: False)
    order = Order(resolved, specs, store, None, options={"partition": "gpu"})
    with pytest.raises(HarnessError, match="no options, so not partition"):
        processes.train(order, Reporter(quiet=True), lambda: False)
    with pytest.raises(HarnessError, match="other executors than local"):
        train_here(order, Reporter(quiet=True), lambda: False)


def test_network_file_systems_are_recognised_and_sqlite_is_not_shared_there(tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n"
        "40 22 0:41 / /net rw - autofs auto.net rw\n"
        "41 40 0:42 / /net/our\\040home rw,relatime shared:5 - nfs4 server:/home rw\n"
        "42 41 254:1 / /net/our\\040home/local rw - xfs /dev/vdb rw\n"
    )
    monkeypatch.setattr(files, "_MOUNTS", mounts)
    kinds = {name: files.network_file_system(tmp_path.joinpath(name)) for name in ("/", "/net", "/net/x.db")}
    assert set(kinds.values()) == {None}
    assert files.network_file_system(tmp_path.joinpath("/net/our home/x/r.db")) == "nfs4"
    assert files.network_file_system(tmp_path.joinpath("/net/our home/local/r.db")) is None
    with pytest.raises(DataError, match=r"network file system \(nfs4\).*database server"):
        work.require_shareable(Location.parse("/net/our home/r.db"))
    work.require_shareable(Location.parse("postgresql://somewhere/r"))
    monkeypatch.setattr(files, "network_file_system", lambda path: "nfs4")
    with Store.open(tmp_path / "one.db", create=True) as store:  # one process may use it
        assert store.count() == 0
    assert not list(tmp_path.glob("one.db-*"))


def test_a_worker_of_another_version_trains_nothing(specs, tmp_path, monkeypatch):
    monkeypatch.setenv(VERSION, version_of(specs))
    require_same_version(specs)
    (tmp_path / "specs" / "presets" / "many.yaml").write_text(PRESET.replace("0, 1", "0, 1, 2"))
    with pytest.raises(EnvironmentUnusableError, match="another version of the project or of the specs"):
        require_same_version(specs)


def test_a_worker_whose_log_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    engine = processes._Processes([])
    engine.start([Worker((), {}, tmp_path / "file" / "logs")])
    engine._running[0].join(20)
    with pytest.raises(DataError, match=r"cannot write .*logs"):
        engine.jobs()


def test_jobs_are_known_by_what_their_workers_said_last(tmp_path):
    for name, said in {"old": "nothing is left", "new": "8 runs: 100/400", "bad": "error: no space"}.items():
        (tmp_path / f"{name}.log").write_text(f"a worker starts on node-{name}\n{said}\n\n")
    os.utime(tmp_path / "old.log", (0, 0))
    assert heard_of(tmp_path) == [("new", "node-new", "8 runs: 100/400")]
    assert ended_badly(tmp_path) == [("bad", "node-bad", "no space")]


def test_a_worker_ends_when_nobody_follows_it_any_more(monkeypatch):
    assert not left_alone()
    monkeypatch.setenv(PARENT, str(os.getppid()))
    assert not left_alone()
    monkeypatch.setenv(PARENT, "1" if os.getppid() != 1 else "2")
    assert left_alone()


def test_a_worker_that_is_stopped_while_it_is_started_is_not_left_to_itself(tmp_path, monkeypatch):
    worker = Worker(("--help",), {}, tmp_path)
    start, began = subprocess.Popen, []

    def popen(command, **how):
        worker.stop(wait=False)
        began.append(start([sys.executable, "-c", "import time; time.sleep(60)"], **how))
        return began[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    assert worker.run("job") == -signal.SIGTERM
    assert len(began) == 1
    assert worker.run("job") == -signal.SIGTERM  # without another start
    assert len(began) == 1


def test_an_engines_warning_is_heard_although_it_comes_while_a_worker_is_started(tmp_path, monkeypatch):
    start, heard = subprocess.Popen, []

    def popen(command, **how):
        os.kill(os.getpid(), signal.SIGUSR2)
        kill = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2)"  # the worker itself does not hear it
        return start([sys.executable, "-c", kill], **how)

    monkeypatch.setattr(subprocess, "Popen", popen)
    before = signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    try:
        assert Worker((), {}, tmp_path).run("job") == 0
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert heard == [signal.SIGUSR2]


def test_two_processes_give_the_scores_of_one_although_one_is_killed(claimable, specs, tmp_path, store):
    claimable(store)
    expected = {key: store.returns(key) for key in store.runs()}
    command = [sys.executable, "-m", "harness", "--specs", tmp_path / "specs", "reproduce", "aspc-table1"]
    options = ["--preset", "many", "--data-home", tmp_path / "data", "--db", tmp_path / "two.db"]
    process = subprocess.Popen(
        [*command, *options, "--executor", "processes", "--jobs", "2", "--checkpoint-seconds", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = None
    while process.poll() is None and killed is None:
        time.sleep(0.1)
        if (tmp_path / "two.db").exists():
            with Store.open(tmp_path / "two.db", create=True) as two:
                killed = next((state.owner for state in two.runs().values() if state.owner), None)
    assert killed is not None
    os.kill(int(killed.split(":")[1]), signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "| maze2d-umaze-v1 |" in out
    assert "4 runs for 2 workers" in err
    with Store.open(tmp_path / "two.db") as two:
        assert two.check() == []
        assert {key: two.returns(key) for key in two.runs()} == expected
        assert max(state.attempt for state in two.runs().values()) == 2
    logs = list((tmp_path / "two.jobs").glob("*.log"))
    assert len(logs) == 2
    assert any("trained by this worker" in last_words(log) for log in logs)
