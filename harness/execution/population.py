"""One population while it is trained under this process's lease."""

from __future__ import annotations

import gc
import hashlib
import traceback
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Literal

from torch import Tensor

from harness.errors import DataError, HarnessError, reason, shortage, system_error
from harness.execution import artefacts
from harness.execution.devices import out_of_memory, recover
from harness.execution.progress import Bar
from harness.execution.session import Session
from harness.planning.populations import PlannedRun, Population
from harness.planning.states import parts
from harness.results.leases import LeaseLostError
from harness.results.models import GATHERED, POLICY, STATE
from harness.results.provenance import both
from harness.results.records import BEGINNING, Artefact, EvaluationRecord, value_metric
from harness.results.store import RunState
from harness.specs import Environment
from harness.specs.models import SELECTOR
from harness.training.checkpoints import Checkpoint
from harness.training.population import Ending, Task, Trainer
from harness.training.provenance import provenance
from harness.training.selectors import SelectingRun


def title(run: PlannedRun) -> str:
    """A run, for the user."""
    return f"{run.cell.column.label} on {run.cell.dataset.id}, seed {run.record.seed}"


def checkpoint_name(keys: Sequence[str]) -> str:
    """File name of a population's checkpoint."""
    return hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()[:24] + ".pt"


class LeasedPopulation:
    """One population under this process's lease; what training reports goes into the database.

    Args:
        session: what it shares with others.
        population: its runs, which this process holds.
        states: of these, as they are before.
        checkpoint: where they go on; None: at the start.
    """

    def __init__(
        self,
        session: Session,
        population: Population,
        states: Mapping[str, RunState],
        checkpoint: Checkpoint | None,
    ) -> None:
        self._session, self._population, self._checkpoint = session, population, checkpoint
        self._setup, self._store, self._states = session.setup, session.store, states
        self._pool, self._reporter = session.pool, session.reporter
        self._runs = {run.record.key: run for run in population.runs}
        self._bar: Bar | None = None
        self._left: dict[str, list[Artefact]] = {}  # run key -> what it leaves when it ends
        self._latest: dict[str, float] = {}  # run key -> normalised score of its last evaluation

    def run(self, lost: Set[str]) -> Literal["ended", "interrupted", "too large"]:
        """Train until done, the session is to stop or some of the runs are `lost`; adds to its counts.

        Returns:
            how it ended. One run alone is never too large: it is left out, for the want of memory is the
            machine's.
        """
        path = self._setup.checkpoints / checkpoint_name(self._population.keys)
        if self._checkpoint is None:
            path.unlink(missing_ok=True)  # of an attempt that is forgotten; nothing may go on from it

        def asked() -> bool:
            # no checkpoint then: the file is the other process's by now
            if gone := [key for key in self._runs if key in lost]:
                raise LeaseLostError(gone)
            return self._session.stop()

        counts = self._session.tally.counts
        try:
            self._record_fingerprint(path.stem)
            self._record_values()
            ending = self._train_or_fail(path, asked)
            if isinstance(ending, str):
                return ending
            if ending.interrupted:
                return "interrupted"
            seconds = ending.seconds
            self._store.require_evaluations(ending.finished)
            share = len(self._runs) * self._setup.trainers  # of the device, which trains so many at once
            self._store.finish(ending.finished, seconds, seconds / share, self._left)
            counts["finished"] += len(ending.finished)
            self._tidy(path)
        except LeaseLostError as error:
            self._pool.discard()
            self._reporter.message(str(error))
            counts["elsewhere"] += len(self._runs.keys() & error.keys)
            self._tidy(path)  # which may have been written after another process had finished the runs
        finally:
            if self._bar:
                self._bar.done()
        return "ended"

    def _train_or_fail(self, path: Path, stop: Callable[[], bool]) -> Ending | Literal["ended", "too large"]:
        """Train; a failure is a row of the database: other populations go on."""
        try:
            return self._train(path, stop)
        except HarnessError:
            raise
        except OSError as error:  # the machine's trouble, not the runs'
            raise DataError(system_error(error)) from error
        except Exception as error:
            too_large = out_of_memory(error)
            if too_large and len(self._runs) > 1:
                return "too large"
            if not too_large and (lack := shortage(error)):
                raise lack from error
            text = traceback.format_exc()
            if not recover(self._setup.conditions.device):
                raise DataError(self.broken(reason(text))) from error
            self._pool.discard()
            if too_large:
                self._leave_out()
                return "ended"
            self._fail_all(text)
            self._tidy(path)
            return "ended"

    def _train(self, path: Path, stop: Callable[[], bool]) -> Ending:
        gc.collect()  # the population before may hang in cycles of references, and hold the device's memory
        protocol, loaded = self._population.runs[0].cell.protocol, self._session.load(self._population.runs)
        task = Task(
            algorithm=self._population.algorithm,
            runs=[run.record for run in self._population.runs],
            data=[each.data for each in loaded],
            environments=[_environment(run) for run in self._population.runs],
            protocol=protocol,
            starts=[self._state(run, "start") for run in self._population.runs if "start" in run.cell.states],
            inputs=[
                {name: self._state(run, name) for name in run.cell.states if name != "start"}
                for run in self._population.runs
            ],
            mixed=[each.mixed for each in loaded],
            selectors=[self._selector(run) for run in self._population.runs],
        )
        trainer = Trainer(task, self, self._pool, path, self._setup.conditions, self._checkpoint)
        del loaded, task  # the replay holds the transitions; they are not held twice
        start = self._checkpoint.step if self._checkpoint else 0
        self._bar = self._reporter.bar(self._population.label, protocol.length, start)
        ending = trainer.train(stop)
        self._left = self._written(trainer, ending.finished)
        return ending

    def _state(self, run: PlannedRun, name: str) -> dict[str, Tensor]:
        """The state, or those parts of it, that a run reads of the run of its own seed."""
        read = run.cell.states[name]
        below = read.of(run.record.seed)
        artefact = self._store.artefacts([below.key])[below.key][STATE]
        return parts(artefacts.read(self._artefact_folder, artefact), read.state)

    def _selector(self, run: PlannedRun) -> SelectingRun | None:
        """The run that says which transitions a run trusts, if it asks one."""
        if SELECTOR not in run.cell.states:
            return None
        below = run.cell.states[SELECTOR].of(run.record.seed)
        algorithm = below.configuration["algorithm"]
        return SelectingRun(below.key, algorithm, below.hyperparameters, self._state(run, SELECTOR))

    def _written(self, trainer: Trainer, keys: Sequence[str]) -> dict[str, list[Artefact]]:
        """Write what finished runs leave: their policies and, where it is read, their whole state."""
        folder = self._artefact_folder
        policies = trainer.policies()
        left = {key: [artefacts.write(folder, key, POLICY, policies[key])] for key in keys}
        read = [key for key in keys if self._runs[key].record.configuration_key in self._session.read]
        states = trainer.states() if read else {}
        for key in read:
            left[key].append(artefacts.write(folder, key, STATE, states[key]))
        archives = trainer.archives() if self._population.runs[0].cell.protocol.archive else {}
        for key in archives.keys() & set(keys):
            left[key].append(artefacts.write(folder, key, GATHERED, archives[key]))
        return left

    @property
    def _artefact_folder(self) -> Path:
        return self._store.location.folder("artefacts", self._setup.home)

    def broken(self, why: str) -> str:
        """What to say where the device does not compute any more."""
        return (
            f"{self._population.label}: the GPU does not compute any more in this process: {why}; what was "
            "committed is kept, and the same command goes on from the last checkpoint (should it stop here "
            "again, leave these runs out with --datasets or --algorithms)"
        )

    def _leave_out(self) -> None:
        why = (
            f"{self._population.label}: more than the memory holds, even alone; its runs stay as they were: "
            "free some and run again, or leave them out with --datasets or --algorithms"
        )
        self._session.tally.left_out.append(why)
        self._reporter.message(why)

    def _fail_all(self, text: str) -> None:
        for key, state in self._store.held(self._runs).items():
            self.failed(key, state.step or 0, text)

    def _record_fingerprint(self, population: str) -> None:
        """Write down what the runs train under; a run that was begun under something else says both."""
        conditions = self._setup.conditions
        now = provenance(self._population.algorithm, conditions.device, conditions.arithmetic)
        earlier = self._store.fingerprints(
            {s.fingerprint_id for s in self._states.values() if s.fingerprint_id is not None}
        )
        groups: defaultdict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
        for key, state in self._states.items():
            before = earlier.get(state.fingerprint_id or -1, {})
            if state.status == "finished" and before.get("algorithm_source") != now["algorithm_source"]:
                what = "its state comes from other code than its scores, which stay"
                self._reporter.message(f"{title(self._runs[key])}: {what}")
            begun = before if self._has_begun(state) else {}
            sources = {begun.get("algorithm_source"), self._checkpoint and self._checkpoint.source}
            if sources - {None, now["algorithm_source"]}:
                raise DataError(
                    f"run {key[:12]} ({state.algorithm}, {state.dataset}, seed {state.seed}) was begun by "
                    f"other code of {state.algorithm} (commit {begun.get('git_commit', 'unknown')}); check "
                    f"that code out again, or begin such runs anew with `harness retry TABLE --restart` and "
                    f"this command's filters"
                )
            groups[tuple(sorted(both(begun, now).items()))].append(key)
        for fields, keys in groups.items():
            self._store.record_fingerprint(keys, dict(fields), population)

    def _has_begun(self, state: RunState) -> bool:
        # a finished one, which has scores, is trained again from its beginning, whatever code they are from
        return state.status != "finished" and (self._checkpoint is not None or state.step is not None)

    def _record_values(self) -> None:
        """Write down what the runs read from others; what they began with stays."""
        values = {
            key: {value_metric(name): value for name, value in run.record.resolved.items()}
            for key, run in self._runs.items()
            if run.record.resolved
        }
        self._store.record_metrics(BEGINNING, values)

    def _tidy(self, path: Path) -> None:
        """Remove checkpoints that no unfinished run needs."""
        needed_by = {path: list(self._runs)}
        if self._checkpoint:
            needed_by[self._setup.checkpoints / checkpoint_name(self._checkpoint.keys)] = list(
                self._checkpoint.keys
            )
        for file, keys in needed_by.items():
            if all(state.over for state in self._store.runs(keys).values()):
                file.unlink(missing_ok=True)

    # -- Recorder --

    def evaluated(self, records: Sequence[EvaluationRecord]) -> None:
        """Commit evaluations and show their scores."""
        self._store.record_evaluations(records)
        for record in records:
            mean = sum(record.returns) / len(record.returns)
            reference = self._runs[record.key].cell.dataset.reference
            self._latest[record.key] = reference.normalise(mean)
        if self._bar:
            self._bar.scores(self._scores_by_dataset())

    def _scores_by_dataset(self) -> dict[str, float]:
        """The mean over a dataset's runs of their latest scores, so far as there are any."""
        scores: defaultdict[str, list[float]] = defaultdict(list)
        for key, score in self._latest.items():
            scores[self._runs[key].cell.dataset.id].append(score)
        return {name: sum(values) / len(values) for name, values in scores.items()}

    def measured(self, step: int, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Commit metrics."""
        self._store.record_metrics(step, metrics)

    def failed(self, key: str, step: int, text: str) -> None:
        """Commit a failure; the others go on."""
        self._store.fail(key, step, text)
        self._session.tally.counts["failed"] += 1
        run = self._runs[key]
        self._reporter.message(f"{title(run)}: {reason(text)}")

    def checkpointing(self, keys: Sequence[str]) -> None:
        """Renew the leases: a process that was taken for dead must not write over its heir's checkpoint."""
        self._store.heartbeat(keys)

    def checkpointed(self, keys: Sequence[str], path: Path, step: int) -> None:
        """Commit where the runs can go on from."""
        self._store.record_checkpoint(keys, path.name, step)

    def progressed(self, step: int) -> None:
        """Move the bar."""
        if self._bar:
            self._bar.advance(step)


def _environment(run: PlannedRun) -> Environment:
    environment = run.cell.dataset.environment
    assert environment is not None  # noqa: S101 - cells without one are not trained
    return environment
