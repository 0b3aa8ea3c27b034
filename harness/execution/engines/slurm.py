"""The executor ``slurm``: a job array by submitit, which requeues what preemption or a time limit ends."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import files
from harness.errors import HarnessError
from harness.execution import jobs
from harness.execution.executors import Order
from harness.execution.jobs import Job
from harness.execution.progress import Reporter
from harness.execution.session import Outcome
from harness.execution.worker import Worker

_DAY = 24 * 60
_REQUEUES = 10_000  # submitit wants a limit
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")
_FOLDER = "submitit-"  # a folder for each command, whose jobs read from it when they begin
_WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED", "STOPPED")


def train(order: Order, reporter: Reporter, stop: Callable[[], bool]) -> Outcome:
    """Train what a table lacks with jobs of Slurm, see `harness.execution.executors.Executor`.

    Raises:
        HarnessError: there is no Slurm here, submitit is not installed, Slurm refuses the jobs, or see
            `harness.execution.jobs.train`.
    """
    if not shutil.which("sbatch"):
        raise HarnessError(
            "there is no Slurm on this machine's path (sbatch); run this where jobs are submitted, or choose "
            "another --executor"
        )
    try:
        import submitit  # noqa: F401 - an extra
    except ModuleNotFoundError as error:
        raise HarnessError("the executor slurm needs submitit: pip install 'harness[slurm]'") from error
    folder = files.real(order.store.location.folder("jobs", order.home))
    _forget_ended(folder)
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        own = Path(tempfile.mkdtemp(prefix=_FOLDER, dir=folder))
    try:
        return jobs.train(order, _Slurm(own, order.options), reporter, stop)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _forget_ended(folder: Path) -> None:
    """Remove what commands that were killed left for their jobs, where all these have ended."""
    for left in folder.glob(f"{_FOLDER}*"):
        arrays = {path.name.partition("_")[0] for path in left.glob("*_submission.sh")}
        if arrays and all(_listed("-j", array) == "" for array in arrays):
            shutil.rmtree(left, ignore_errors=True)


def minutes(text: str) -> int:
    """A time limit in minutes, from any way in which Slurm writes one: '90', '1:30:00', '2-12'.

    Raises:
        HarnessError: it is none.
    """
    match = _TIME.fullmatch(text)
    if not match:
        raise HarnessError(
            f"time={text!r} is no time limit; write minutes (90), 1:30:00 or 2-12 (days-hours)"
        )
    days, first, second, _ = (int(number or 0) for number in match.groups())
    if match["days"]:
        return max(1, days * _DAY + first * 60 + second)
    return max(1, first * 60 + second if match["third"] else first)


class _Slurm:
    """An engine whose jobs are those of an array, see `harness.execution.jobs.Engine`."""

    shares_files = False
    seconds = 2.0

    def __init__(self, folder: Path, options: Mapping[str, str]) -> None:
        from submitit.slurm import slurm

        given: dict[str, Any] = {"time": _DAY, "job_name": "harness", "wckey": None, **options}
        given["time"] = minutes(str(given["time"]))
        if "signal_delay_s" in given:
            given["signal_delay_s"] = int(given["signal_delay_s"])
        self._executor = slurm.SlurmExecutor(folder, _REQUEUES, python=given.pop("python", None))
        known = slurm.SlurmExecutor._valid_parameters()
        others = {name.replace("_", "-"): given.pop(name) for name in given.keys() - known}
        self._executor.update_parameters(**given, additional_parameters=others)
        self._submitted: list[Any] = []
        self._seen: list[Job] = []
        self._stopping = False
        self._asked: set[str] = set()  # steps of jobs

    def suitable_jobs(self) -> int:
        return 1

    def start(self, workers: Sequence[Worker]) -> None:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        from harness.execution.engines.slurm_task import PREFIX, Task

        try:
            with self._executor.batch():
                submitted = [self._executor.submit(Task(worker)) for worker in workers]
        except (FailedJobError, FailedSubmissionError) as error:
            raise HarnessError(f"Slurm refuses the jobs: {_said(str(error))}") from error
        self._submitted = submitted  # which are jobs once the batch is over
        self._seen = [Job(f"{PREFIX}{job.job_id}", "waiting") for job in self._submitted]

    def jobs(self) -> list[Job]:
        if self._stopping:
            self._ask()  # those that were just about to begin
        listed = _listed("-r", "-j", self._array, "-o", "%i|%T|%N|%r")
        if listed is None:
            silent = "unknown (Slurm does not answer)"
            return [job if job.over else replace(job, state=silent) for job in self._seen]
        lines = [line.split("|") for line in listed.splitlines()]
        known = {name: (state, node, why) for name, state, node, why in lines}
        self._seen = [_job(each, known.get(str(each.job_id))) for each in self._submitted]
        return self._seen

    def stop(self) -> None:
        self._stopping = True
        self._ask()

    def _ask(self) -> None:
        """End the jobs that wait, and ask each worker once for its checkpoint; twice would end it at once."""
        _run("scancel", "--state=PENDING", self._array)
        for step in (_listed("-s", "-j", self._array, "-o", "%i") or "").split():
            if step not in self._asked and step.endswith(".0"):  # others are not the workers'
                _run("scancel", "--signal=TERM", step)
                self._asked.add(step)

    def cancel(self) -> None:
        if self._submitted:
            _run("scancel", self._array)

    @property
    def _array(self) -> str:
        return str(self._submitted[0].job_id).partition("_")[0]


def _job(submitted: Any, known: tuple[str, str, str] | None) -> Job:
    from harness.execution.engines.slurm_task import PREFIX

    name, log = f"{PREFIX}{submitted.job_id}", Path(submitted.paths.stderr)
    if known is None:  # Slurm lists only those that go on
        return Job(name, "ended", engine_log=log)
    state, node, why = known
    return Job(name, f"waiting ({why})" if state in _WAITING else "running", node, engine_log=log)


def _said(text: str) -> str:
    """The sentence in what sbatch writes."""
    found = re.findall(r"^sbatch: (?:error: )?(.+)", text, re.MULTILINE)
    return "; ".join(found) or text.strip().splitlines()[-1]


def _listed(*arguments: str) -> str | None:
    """What Slurm lists of jobs that go on; None where its controller does not answer for now."""
    asked = _run("squeue", "-h", *arguments)
    return None if asked.returncode and "Invalid job id" not in asked.stderr else asked.stdout


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
