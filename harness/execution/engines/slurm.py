"""The executor ``slurm``: a job array by submitit, which requeues what preemption or a time limit ends."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
    folder = order.store.location.folder("jobs", order.home).resolve() / "submitit"
    try:
        return jobs.train(order, _Slurm(folder, order.options), reporter, stop)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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

    def suitable_jobs(self) -> int:
        return 1

    def start(self, workers: Sequence[Worker]) -> None:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        from harness.execution.engines.slurm_task import PREFIX, Task

        try:
            with self._executor.batch():
                self._submitted = [self._executor.submit(Task(worker)) for worker in workers]
        except (FailedJobError, FailedSubmissionError) as error:
            raise HarnessError(f"Slurm refuses the jobs: {_said(str(error))}") from error
        self._seen = [Job(f"{PREFIX}{job.job_id}", "waiting") for job in self._submitted]

    def jobs(self) -> list[Job]:
        asked = _run("squeue", "-h", "-r", "-j", self._array, "-o", "%i|%T|%N|%r")
        if asked.returncode and "Invalid job id" not in asked.stderr:
            return self._seen  # the controller does not answer for now
        lines = [line.split("|") for line in asked.stdout.splitlines()]
        known = {name: (state, node, why) for name, state, node, why in lines}
        self._seen = [_job(each, known.get(str(each.job_id))) for each in self._submitted]
        return self._seen

    def stop(self) -> None:
        _run("scancel", "--state=PENDING", self._array)
        _run("scancel", "--signal=TERM", self._array)  # to the steps, whose workers write their checkpoints

    def cancel(self) -> None:
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


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
