"""24 runs by workers of a real Slurm and a real Ray, with faults: the scores are those of one process."""

from __future__ import annotations

import _thread
import functools
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from rich.console import Console

from harness.errors import HarnessError
from harness.execution import handing, jobs
from harness.execution.engines import ray, ray_task, slurm
from harness.execution.executors import Order
from harness.execution.jobs import DATABASE, Job
from harness.execution.local import missing_runs
from harness.execution.progress import Reporter
from harness.execution.versions import VERSION
from harness.execution.worker import log_of
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.leases import job_of
from harness.results.records import EvaluationRecord
from harness.results.store import Store
from harness.specs import Specs
from tests.servers import Slurm

pytestmark = pytest.mark.xdist_group("servers")

PRESET = """
id: {id}
description: 24 {id} runs
label: {id} protocol
lineage: generated
transitions: 1000
datasets: [maze2d-umaze-v1]
columns: []
extra_columns:
  - {{id: a, label: BC a, algorithm: bc, hyperparameters: {{batch_size: 16}}}}
  - {{id: b, label: BC b, algorithm: bc, hyperparameters: {{batch_size: 24}}}}
  - {{id: c, label: BC c, algorithm: bc, hyperparameters: {{batch_size: 32}}}}
seeds: [0, 1, 2, 3, 4, 5, 6, 7]
steps: {steps}
evaluate_every: {every}
episodes: 1
"""
# longer ones are not over before several faults have happened to them
STEPS = {"short": 400, "longer": 1000}
HARNESS = [sys.executable, "-m", "harness"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of specs and data."""
    folder = tmp_path_factory.mktemp("clusters")
    (folder / "specs" / "presets").mkdir(parents=True)
    for name, steps in STEPS.items():
        (folder / "specs" / "presets" / f"{name}.yaml").write_text(
            PRESET.format(id=name, steps=steps, every=steps // 4)
        )
    return folder


def command(place: Path, database: str | Path, *options: str, preset: str = "short") -> list[str]:
    chosen = ["--preset", preset, "--db", str(database), "--data-home", str(place / "data")]
    program = [*HARNESS, "--specs", str(place / "specs"), "reproduce", "aspc-table1", *chosen]
    return [*program, "--checkpoint-seconds", "0", *options]


@pytest.fixture(scope="module")
def expected(place):
    """What one process measures of a preset's runs, by run: the returns of all episodes."""

    @functools.cache
    def by_one_process(preset="short"):
        database = place / f"{preset}.db"
        subprocess.run(command(place, database, "-q", preset=preset), check=True, capture_output=True)
        with Store.open(database) as store:
            assert len(store.runs()) == 24
            return {key: store.returns(key) for key in store.runs()}

    return by_one_process


@pytest.fixture(scope="module")
def cluster():
    if not Slurm.installed() and not os.environ.get("HARNESS_REQUIRE_SLURM"):
        pytest.skip("Slurm is not installed, or this is not root")
    with tempfile.TemporaryDirectory(prefix="harness-slurm-", ignore_cleanup_errors=True) as folder:
        made = Slurm(Path(folder))
        yield made
        made.stop()


BEGUN: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def no_command_outlives_its_test():
    yield
    while BEGUN:
        BEGUN.pop().kill()  # which one that has ended does not mind


def begin(arguments: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    BEGUN.append(subprocess.Popen(arguments, env=environment, **pipes))
    return BEGUN[-1]


def ended(process: subprocess.Popen) -> str:
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    return err


def measured(database: str | Path):
    with Store.open(database) as store:
        assert store.check() == []
        assert {state.status for state in store.runs().values()} == {"finished"}
        return {key: store.returns(key) for key in store.runs()}


def owner_once(process: subprocess.Popen, place: str | Path, job: str = "", other_than: str = "") -> str:
    """The process that trains runs in a job, as soon as there is one; not the one before.

    Its place is a database, or a folder of workers' files.
    """
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        for database in place.glob("worker-*/runs.db") if isinstance(place, Path) else [place]:
            try:
                with Store.open(database) as store:
                    owners = {run.owner for run in store.runs().values() if run.owner and run.checkpoint_step}
            except (HarnessError, sa.exc.SQLAlchemyError):
                owners = set()
            for owner in owners - {other_than}:
                if (job_of(owner) or "").endswith(job):
                    return owner
        time.sleep(0.2)
    raise AssertionError(f"nothing is trained by {job or 'anybody'}")


def pid_of(owner: str) -> int:
    return int(owner.split(":")[1])


def until(condition, what: str) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def number_of(owner: str) -> str:
    """The number of the job of Slurm that a process belongs to."""
    return (job_of(owner) or "").removeprefix("slurm-")


def gone(owner: str) -> bool:
    return not Path(f"/proc/{pid_of(owner)}").exists()


def test_slurm_loses_nothing_whatever_happens(place, expected, cluster, server):
    server.sql("CREATE DATABASE faults")
    database = server.url("faults")
    options = ("--executor", "slurm", "--jobs", "2", "--executor-options", "time=30")
    process = begin(command(place, database, *options, preset="longer"), cluster.environment)
    warned, killed = (owner_once(process, database, name) for name in ("_0", "_1"))
    # what Slurm sends before a time limit: the job is requeued, and the other takes its runs meanwhile
    cluster.run("scancel", "--signal=USR2", number_of(warned))
    os.kill(pid_of(killed), signal.SIGKILL)
    server.stop()
    server.start()
    ended(process)
    assert measured(database) == expected("longer")
    assert cluster.shown(number_of(warned), "Restarts") == "1"
    folder = place / "data" / "jobs" / "faults"
    assert [log_of(folder, job_of(owner)).read_text().count("starts on") for owner in (warned, killed)] == [
        2,
        2,
    ]
    assert not list(folder.glob("submitit*"))


def test_a_job_that_is_requeued_by_hand_or_by_a_lost_node_goes_on(place, expected, cluster):
    database = place / "requeued.db"
    process = begin(
        command(place, database, "--executor", "slurm", preset="longer"), cluster.environment
    )  # one job, for which the work waits however long the node is away
    folder = place / "requeued.jobs"
    first = owner_once(process, folder)
    cluster.run("scontrol", "requeue", number_of(first))
    second = owner_once(process, folder, other_than=first)
    assert cluster.steps(number_of(first))
    cluster.node("DOWN")
    # what of the job is left would meet its successor on the same machine, which Slurm takes for a fault
    until(lambda: not cluster.steps(number_of(first)), "the job goes on")
    until(lambda: gone(second) and cluster.listed() == ["PENDING"], "the job is not requeued")
    cluster.node("RESUME")
    owner_once(process, folder, other_than=second)
    ended(process)
    assert measured(database) == expected("longer")
    assert cluster.shown(number_of(first), "Restarts") == "2"


def test_an_interrupt_leaves_checkpoints_and_a_second_one_cancels_the_jobs(
    place, expected, cluster, monkeypatch
):
    database = place / "interrupted.db"
    arguments = command(place, database, "--executor", "slurm", preset="longer")
    folder = place / "interrupted.jobs"

    def interrupted(before: str = "", *, again: bool) -> tuple[str, str]:
        """Interrupt once, or twice; the process that trained, and what became of its job."""
        process = begin(arguments, cluster.environment)
        owner = owner_once(process, folder, other_than=before)
        process.send_signal(signal.SIGINT)
        if again:
            while "stopping" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
        assert process.returncode == 130
        until(lambda: cluster.listed() == [] and gone(owner), "the job goes on")
        return owner, cluster.shown(number_of(owner), "JobState")

    first, state = interrupted(again=False)
    assert state == "COMPLETED"
    with Store.open(database) as store:
        assert "interrupted" in {run.status for run in store.runs().values()}
    assert list(folder.glob("*/runs.checkpoints/*.pt"))
    second, state = interrupted(first, again=True)
    assert state == "CANCELLED"
    process = begin(arguments, cluster.environment)
    third = owner_once(process, folder, other_than=second)
    # what commands that were killed have left for their jobs
    for name, owner in (("submitit-ended", second), ("submitit-living", third)):
        (folder / name).mkdir()
        (folder / name / f"{number_of(owner)}_submission.sh").touch()
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    slurm._forget_ended(folder)
    assert (folder / "submitit-living").exists()
    assert not (folder / "submitit-ended").exists()
    ended(process)
    assert measured(database) == expected("longer")


def test_jobs_of_slurm_that_share_no_database_are_merged(place, expected, cluster):
    database = place / "slurm.db"
    options = ("--executor", "slurm", "--jobs", "2", "--executor-options", "partition=main")
    err = ended(begin(command(place, database, *options), cluster.environment))
    assert "24 runs for 2 workers" in err
    assert measured(database) == expected()
    assert [path.suffix for path in (place / "slurm.jobs").iterdir()] == [".log", ".log"]
    with Store.open(database) as store:
        assert len(store.artefacts()) == 24


def test_a_command_leaves_what_the_jobs_of_another_read(place, store, cluster, monkeypatch):
    folder = store.location.folder("jobs")
    seen = []

    def train(order, engine, reporter, stop):
        seen.append({*folder.iterdir()})
        if len(seen) == 1:
            slurm.train(order, reporter, stop)
            seen.append({*folder.iterdir()})

    monkeypatch.setattr(jobs, "train", train)
    slurm.train(order(place, store), Reporter(quiet=True), lambda: False)
    first, both, afterwards = seen
    assert first == afterwards < both
    assert not [*folder.iterdir()]


def test_what_slurm_refuses_is_a_sentence(place, cluster):
    options = ("--executor", "slurm", "--executor-options", "partition=nowhere")
    refused = begin(command(place, place / "refused.db", *options), cluster.environment)
    _, err = refused.communicate(timeout=300)
    assert refused.returncode == 2
    assert "error: Slurm refuses the jobs: invalid partition specified: nowhere" in err
    assert cluster.run("squeue", "-h") == ""


def test_ray_goes_on_after_its_worker_was_killed(place, expected):
    pytest.importorskip("ray")
    database = place / "ray.db"
    process = begin(command(place, database, "--executor", "ray", "--jobs", "2"))
    owner = owner_once(process, place / "ray.jobs")
    status = Path(f"/proc/{pid_of(owner)}/status").read_text()
    (parent,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))
    os.kill(parent, signal.SIGKILL)
    ended(process)
    assert measured(database) == expected()


def test_a_task_that_ray_cancels_asks_its_worker_for_a_checkpoint():
    class Blocked:
        asked = threading.Event()

        def run(self, name):
            assert self.asked.wait(20)
            return 130

        def stop(self):
            self.asked.set()

    threading.Timer(0.3, _thread.interrupt_main).start()  # as Ray does: no system call is broken off by it
    assert ray_task.run(Blocked(), "ray-0") == 130


def test_a_full_disk_of_the_workers_costs_nothing(place, expected, tmp_path):
    if (
        os.getuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", tmp_path]).returncode
    ):
        pytest.skip("only root can make a small disk, and some containers' root cannot")
    try:
        full = tmp_path / "full"
        full.write_bytes(b"0" * (62 * 2**20))
        arguments = command(place, tmp_path / "r.db", "--executor", "processes", "--jobs", "2")
        stopped = begin(arguments)
        _, err = stopped.communicate(timeout=200)
        assert stopped.returncode in (2, 4), err
        assert "no space left" in err or "disk is full" in err
        assert "Traceback" not in err
        full.unlink()
        ended(begin(arguments))
        assert measured(tmp_path / "r.db") == expected()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_file_that_a_worker_of_a_killed_command_uses_is_left_to_it(place, store):
    asked = order(place, store)
    runs = missing_runs(asked.resolved, store)
    folder = store.location.folder("jobs")
    store.register(run.record for run in runs)
    files = handing.hand_out(asked, runs, 2, 12, folder)
    (used, keys), (waiting, others) = files.items()
    assert sorted([*keys, *others]) == sorted(run.record.key for run in runs)
    with Store.open(used, owner="elsewhere:1:1.1") as worker:
        worker.claim(keys)
        assert handing.gather(asked, folder) == set(keys)
        with Store.open(waiting, owner="elsewhere:2:1.1") as other:
            [failed, *going_on] = other.claim(others)
            other.fail(failed, 1, "it diverged")
            other.release(others)
        assert handing.gather(asked, folder) == set(keys)
        assert {key for key, run in store.runs().items() if run.status == "failed"} == {failed}
        # a job may wait for its turn to this day that was told this file: now it finds none
        left = [run for run in runs if run.record.key in going_on]
        [given] = handing.hand_out(asked, left, 1, 24, folder).values()
        assert set(given) == set(going_on)
        assert used.exists()
        assert not waiting.exists()
        worker.release(keys)
    assert handing.gather(asked, folder) == set()


def test_a_worker_whose_file_was_given_to_another_says_so(place, tmp_path, monkeypatch, capsys):
    from harness.cli import main

    monkeypatch.setenv(handing.OWN, "1")
    arguments = ["work", "aspc-table1", "--preset", "short", "--db", str(tmp_path / "gone" / "runs.db")]
    with pytest.raises(SystemExit) as ended:
        main(["--specs", str(place / "specs"), *arguments])
    assert not ended.value.code
    assert "were given to another" in capsys.readouterr().err
    assert not (tmp_path / "gone").exists()


# -- bad input ---------------------------------------------------------------------------------------------


def order(place: Path, store: Store, **options: str) -> Order:
    specs = Specs([place / "specs"])
    worker = ("--specs", str(place / "specs"), "work", "aspc-table1", "--preset", "short")
    resolved = resolve(specs, "aspc-table1", Choice(preset="short"))
    return Order(resolved, specs, store, place / "data", worker=worker, options=options)


def test_no_slurm_and_no_ray_are_sentences(place, store, monkeypatch):
    monkeypatch.setenv("PATH", str(place))
    with pytest.raises(HarnessError, match="no Slurm on this machine's path"):
        slurm.train(order(place, store), Reporter(quiet=True), lambda: False)
    with pytest.raises(HarnessError, match=r"Ray at 127.0.0.1:1 does not answer .*address=HOST:PORT"):
        ray.train(order(place, store, address="127.0.0.1:1"), Reporter(quiet=True), lambda: False)
    assert store.runs() == {}


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("1:30:00", 90), ("2-12", 3600), ("1-00:30", 1470), ("10:30", 10)]
)
def test_time_limits_are_slurms(text, expected):
    assert slurm.minutes(text) == expected
    with pytest.raises(HarnessError, match="is no time"):
        slurm.minutes("soon")


class Elsewhere:
    """An engine whose jobs see other things than the command that starts them."""

    shares_files = True
    seconds = 0.01

    def __init__(self, **environment: str) -> None:
        self._environment, self._names = environment, []

    def suitable_jobs(self):
        return 1

    def start(self, workers):
        for worker in workers:
            worker.environment = {**worker.environment, **self._environment}
            self._names.append(f"elsewhere-{len(self._names)}")
            worker.run(self._names[-1])

    def jobs(self):
        return [Job(name, "ended") for name in self._names]

    def cancel(self):
        pass

    stop = cancel


def test_a_command_waits_for_the_workers_of_one_that_was_killed(place, store):
    class Apart(Elsewhere):
        shares_files = False

        def start(self, workers):
            raise AssertionError(f"{len(workers)} workers are started beside those that train")

    asked, said = order(place, store), io.StringIO()
    runs = missing_runs(asked.resolved, store)
    store.register(run.record for run in runs)
    [(file, keys)] = handing.hand_out(asked, runs, 1, 24, store.location.folder("jobs")).items()
    with (
        Store.open(file, owner="elsewhere:1:1.1") as worker,
        Reporter(Console(file=said, width=200)) as reporter,
    ):
        worker.claim(keys)
        outcome = jobs.train(asked, Apart(), reporter, lambda: "waiting" in said.getvalue())
    assert "waiting for 24 runs of workers that an earlier command started" in said.getvalue()
    assert outcome.interrupted


def test_jobs_that_ended_early_are_followed_by_others_unless_they_came_no_further(place, store):
    asked = order(place, store)
    store.register(run.record for run in missing_runs(asked.resolved, store))

    class Dying(Elsewhere):
        rounds = 0

        def start(self, workers):
            self._names = ["elsewhere"]
            self.rounds += 1
            if self.rounds > 1:
                return
            with Store.open(store.location.path, owner="elsewhere:1:1.1") as worker:
                [key, *_] = worker.runs()
                worker.claim([key])
                worker.record_evaluations([EvaluationRecord(key, 100, [1.0], [1])])
                worker.release([key])

    engine = Dying()
    with pytest.raises(HarnessError, match="no worker trained a run"):
        jobs.train(asked, engine, Reporter(quiet=True), lambda: False)
    assert engine.rounds == 2


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({DATABASE: "postgresql+odd://me:secret@there/r"}, "cannot open postgresql+odd://me:***@there/r"),
        ({VERSION: "another"}, "has another version of the project or of the specs"),
    ],
)
def test_what_only_a_node_can_know_is_said_and_stays_in_status(
    place, store, tmp_path, environment, sentence, capsys
):
    from harness.cli import main

    with pytest.raises(HarnessError, match="no worker trained a run; elsewhere-0 said") as raised:
        jobs.train(order(place, store), Elsewhere(**environment), Reporter(quiet=True), lambda: False)
    assert sentence in str(raised.value)
    with pytest.raises(SystemExit):
        main(["status", "--db", str(tmp_path / "r.db")])
    shown = capsys.readouterr().out
    assert "jobs that ended with an error:" in shown
    assert sentence in shown
    assert "secret" not in shown
