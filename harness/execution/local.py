"""Trains a table's missing runs in this process, population after population."""

from __future__ import annotations

import gc
import hashlib
import threading
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from algorithms import algorithm_class
from harness import files
from harness.errors import DataError, HarnessError, reason, system_error
from harness.execution import artefacts
from harness.execution.data import examine, prepare
from harness.execution.devices import arithmetic, chosen, out_of_memory, recover
from harness.execution.loading import Loader, try_transforms
from harness.execution.packing import Packing
from harness.execution.progress import Bar, Reporter
from harness.planning.cells import ResolvedTable
from harness.planning.dependencies import all_keys, open_runs, read_values, readable, waiting
from harness.planning.plan import CAPACITIES
from harness.planning.populations import PlannedRun, Population, halved, populations
from harness.planning.states import configurations_read, parts
from harness.planning.validation import check
from harness.processes import usable_cores
from harness.results.artefacts import kept_states
from harness.results.leases import LEASE_SECONDS, LeaseLostError
from harness.results.models import GATHERED, POLICY, STATE
from harness.results.provenance import both
from harness.results.records import BEGINNING, Artefact, EvaluationRecord, value_metric
from harness.results.store import RunState, Store
from harness.specs import Environment, Specs
from harness.training import checkpoints
from harness.training.checkpoints import Checkpoint
from harness.training.engine import Arithmetic, Precision
from harness.training.population import Options, Task, Trainer
from harness.training.population import Outcome as TrainingOutcome
from harness.training.provenance import loaded_source, provenance
from harness.training.workers import EvaluationPool


@dataclass(frozen=True)
class Settings:
    """How and where to train.

    Attributes:
        device: 'cpu' or 'cuda'.
        checkpoints: folder of the checkpoints.
        home: data folder, None for the default.
        checkpoint_seconds: at least this long between two checkpoints of a population.
        capacity: most members of one population; None for as many as the GPU's memory holds.
        workers: evaluation processes.
        arithmetic: how to compute.
        until: the step at which all training is interrupted; None: at none.
    """

    device: str
    checkpoints: Path
    home: Path | None
    checkpoint_seconds: float
    capacity: int | None
    workers: int
    arithmetic: Arithmetic
    until: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of the runs that were to be trained, as counts."""

    finished: int
    failed: int
    elsewhere: int
    interrupted: bool


def settings(
    device: str,
    checkpoint_folder: Path,
    *,
    home: Path | None = None,
    precision: Precision | None = None,
    compiled: bool = False,
    checkpoint_seconds: float = 60.0,
    workers: int | None = None,
    until: int | None = None,
) -> Settings:
    """Settings that suit a device.

    Args:
        device: 'auto', 'cpu' or 'cuda'.
        checkpoint_folder: of the checkpoints.
        home: data folder, None for the default.
        precision: of matrix products; None for TF32 on CUDA and float32 on a CPU.
        compiled: run updates through torch.compile.
        checkpoint_seconds: at least this long between two checkpoints of a population.
        workers: evaluation processes; None for as many as leave cores to the training.
        until: the step at which all training is interrupted; None: at none.

    Raises:
        HarnessError: CUDA, TF32 or a compiler is asked for and not there.
    """
    device = chosen(device)
    cores = usable_cores()
    gpu = device == "cuda"
    return Settings(
        device=device,
        checkpoints=checkpoint_folder,
        home=home,
        checkpoint_seconds=checkpoint_seconds,
        capacity=None if gpu else CAPACITIES["cpu"],
        workers=workers or max(1, cores - 2 if gpu else cores // 2),
        arithmetic=arithmetic(device, precision, compiled=compiled),
        until=until,
    )


def missing_runs(resolved: ResolvedTable, store: Store, home: Path | None = None) -> list[PlannedRun]:
    """What the table needs less what the database holds: runs neither finished nor failed.

    Also those, shown or not, that the table's runs read from; finished ones, too, whose state is not there.

    Args:
        resolved: the table.
        store: the database.
        home: data folder, None for the default.
    """
    states = store.runs(all_keys(resolved))
    left = open_runs(resolved, states, kept_states(store, home))
    return [
        PlannedRun(run, cell, again=key in states and states[key].status == "finished")
        for key, (run, cell) in left.items()
    ]


def train_missing(
    resolved: ResolvedTable,
    specs: Specs,
    store: Store,
    settings: Settings,
    reporter: Reporter,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train every missing run that can be trained, committing each score when it is measured.

    Runs that read from others are trained after these. Where one of these failed, or is trained by
    another process, they are left, with a message.

    Args:
        resolved: the table.
        specs: those that it was resolved with.
        store: open results database.
        settings: how to train.
        reporter: progress for the user.
        stop: asked between steps; True ends training with a checkpoint.

    Raises:
        SpecError: the specs are wrong or do not fit the code; nothing is trained.
        DataError: datasets are missing and cannot be had; names all of them.
        StoppedError: `stop` said so while data were made or fetched.
    """
    todo = missing_runs(resolved, store, settings.home)
    if not todo:
        return Outcome(0, 0, 0, False)
    check(resolved, specs)
    for lineage in dict.fromkeys(run.cell.lineage for run in todo):
        runs = [run for run in todo if run.cell.lineage == lineage]
        wanted = {name: dataset for run in runs for name, dataset in run.cell.datasets.items()}
        prepare(wanted.values(), lineage, settings.home, reporter, settings.device, stop)
        trained = [
            (dataset, str(run.record.configuration["algorithm"]))
            for run in runs
            for dataset in run.cell.datasets.values()
        ]
        examine(trained, lineage, settings.home)
    load = Loader(settings.home, store, reporter)
    try_transforms(todo, load)
    return train_runs(todo, resolved, specs, store, settings, reporter, load, stop)


def train_runs(
    todo: Sequence[PlannedRun],
    resolved: ResolvedTable,
    specs: Specs,
    store: Store,
    settings: Settings,
    reporter: Reporter,
    load: Loader,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train runs of a table whose specs are right and whose data are there; see `train_missing`."""
    store.register(run.record for run in todo)
    algorithms = {str(run.record.configuration["algorithm"]) for run in todo}
    for algorithm in algorithms:
        loaded_source(algorithm)  # what runs is what was read now, whatever becomes of the files meanwhile
    with EvaluationPool(settings.workers, algorithms, specs.folders) as pool:
        read = configurations_read(specs, resolved)
        session = _Session(resolved, store, settings, pool, reporter, stop, load, read)
        for rank in sorted({run.cell.rank for run in todo}):
            some = [run for run in todo if run.cell.rank == rank]
            ready = _ready(some, resolved, store, settings.home, reporter)
            capacity = settings.capacity or Packing.of_gpu()
            for population in populations(ready, capacity):
                if stop() or session.train(population, capacity):
                    return session.outcome(interrupted=True)
    return session.outcome(interrupted=False)


@dataclass(frozen=True)
class _Session:
    """What all populations of one command share.

    Attributes:
        read: keys of the configurations whose runs leave their whole training state.
        counts: what became of the runs so far, by the names of `Outcome`.
    """

    resolved: ResolvedTable
    store: Store
    settings: Settings
    pool: EvaluationPool
    reporter: Reporter
    stop: Callable[[], bool]
    load: Loader
    read: Set[str]
    counts: Counter[str] = field(default_factory=Counter)

    def outcome(self, *, interrupted: bool) -> Outcome:
        counts = self.counts
        return Outcome(counts["finished"], counts["failed"], counts["elsewhere"], interrupted)

    def train(self, population: Population, capacity: int | Packing) -> bool:
        """Train what of a population no other process holds; True if interrupted."""
        claimed = self.store.claim(
            population.keys, again={run.record.key for run in population.runs if run.again}
        )
        self.counts["elsewhere"] += len(population.keys) - len(claimed)
        try:
            with _heartbeat(claimed, self.store, self.reporter) as lost:
                fit = self._fit(population.only(claimed))
                if fit and isinstance(capacity, Packing):
                    taken = capacity.describe(fit.runs)
                    self.reporter.message(f"{fit.algorithm}, {len(fit.runs)} runs at once: {taken}")
                return fit is not None and self._train_or_halve(fit, lost)
        finally:
            self.store.release(claimed)

    def _fit(self, population: Population | None) -> Population | None:
        """Fail the runs that read a value which their algorithm does not take; the others."""
        if population is None:
            return None
        check = algorithm_class(population.algorithm).Hyperparameters.problems
        found = {run.record.key: check(run.record.hyperparameters) for run in population.runs}
        for run in population.runs:
            if problems := found[run.record.key]:
                text = "; ".join(f"{name} {problem}" for name, problem in problems.items())
                try:
                    self.store.fail(run.record.key, BEGINNING, text)
                except LeaseLostError as error:
                    self.counts["elsewhere"] += 1
                    self.reporter.message(str(error))
                else:
                    self.counts["failed"] += 1
                    self.reporter.message(f"{_title(run)}: {text}")
        return population.only(key for key, problems in found.items() if not problems)

    def _train_or_halve(self, population: Population, lost: Set[str]) -> bool:
        """Train claimed runs, in halves where the device's memory is too small; True if interrupted."""
        left = [population]
        while left:
            population, *left = left
            for part, checkpoint in _resumable(population, self.store, self.settings, self.reporter):
                execution = _Execution(self, part, checkpoint)
                match execution.run(lost):
                    case "interrupted":
                        return True
                    case "too large":
                        left = [*self._halves(execution, part), *left]
        return False

    def _halves(self, execution: _Execution, population: Population) -> list[Population]:
        """What is left of a population that was too large, in two."""
        self.pool.discard()
        if not recover(self.settings.device):
            raise DataError(execution.broken("out of memory"))
        running = population.only(self.store.held(population.keys))
        halves = halved(running) if running else []
        sizes = " and then ".join(str(len(half.runs)) for half in halves)
        self.reporter.message(
            f"{execution.label}: more than the device's memory holds; going on from the last checkpoint with "
            f"{sizes} at once"
        )
        return halves


def _ready(
    runs: Sequence[PlannedRun],
    resolved: ResolvedTable,
    store: Store,
    home: Path | None,
    reporter: Reporter,
) -> list[PlannedRun]:
    """The runs that can begin, with the values that they read from other runs; the others are reported."""
    kept = kept_states(store, home)
    for run in runs:
        if run.again:
            reporter.message(f"{_title(run)}: trained again for its state, which others read")
    dependent = {run.record.key: run for run in runs if run.cell.below}
    if not dependent:
        return list(runs)
    values = read_values(store, {key: run.cell for key, run in dependent.items()})
    left = {
        key: (run.record, run.cell)
        for key, run in dependent.items()
        if key not in values or not readable(run.cell, run.record, kept)
    }
    for one in waiting(left, store.runs(all_keys(resolved)), store, kept):
        reporter.message(str(one))
    return [
        replace(run, record=replace(run.record, resolved=values.get(run.record.key, {})))
        for run in runs
        if run.record.key not in left
    ]


@contextmanager
def _heartbeat(keys: Sequence[str], store: Store, reporter: Reporter) -> Iterator[Set[str]]:
    """Keep claimed runs' leases alive from a thread, also of those whose turn has not come yet.

    Yields:
        the runs that were lost all the same; it grows.
    """
    ended, lost = threading.Event(), set[str]()

    def beat() -> None:
        while not ended.wait(LEASE_SECONDS / 4):
            try:
                try:
                    store.heartbeat(store.held(keys))
                except LeaseLostError as error:
                    lost.update(store.held(error.keys))  # the others this process has just ended itself
            except Exception as error:  # a busy database, no free file: the next beat may get through
                reporter.message(f"warning: this process's leases were not renewed: {error}")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        ended.set()
        thread.join(5)  # it may be waiting for a server


def _title(run: PlannedRun) -> str:
    return f"{run.cell.column.label} on {run.cell.dataset.id}, seed {run.record.seed}"


def checkpoint_name(keys: Sequence[str]) -> str:
    """File name of a population's checkpoint."""
    return hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()[:24] + ".pt"


def _resumable(
    population: Population, store: Store, settings: Settings, reporter: Reporter
) -> Iterator[tuple[Population, Checkpoint | None]]:
    """Cut claimed runs into parts that stand at the same point: each with its checkpoint, or at the start.

    A checkpoint that presumes what the database lacks, as after a power cut or beside a restored backup,
    would leave holes: such runs go back to the start.
    """
    states, reported = store.runs(population.keys), store.reported(population.keys)
    behind = 0
    loaded: dict[str, Checkpoint] = {}
    parts: defaultdict[str | None, list[str]] = defaultdict(list)
    for key in population.keys:
        # the file may be newer than the database: a kill can fall between writing the one and the other;
        # a run of no population was never begun, or is retried from the start, whatever files there are
        name = states[key].checkpoint or f"{states[key].population}.pt"
        if name not in loaded and (path := files.inside(settings.checkpoints, name)).exists():
            loaded[name] = checkpoints.load(path)
        resumable = name in loaded and key in loaded[name].keys
        if resumable and loaded[name].presumes(key, *reported[key]):
            behind, resumable = behind + 1, False
        parts[name if resumable else None].append(key)
    if behind:
        reporter.message(
            f"{store.location} is older than the checkpoints of {behind} run(s) and lacks evaluations that "
            "they presume: these runs begin again at the start"
        )
    for file, keys in parts.items():
        if part := population.only(keys):
            yield part, loaded[file] if file else None


class _Execution:
    """One population under this process's lease; what training reports goes into the database."""

    def __init__(self, session: _Session, population: Population, checkpoint: Checkpoint | None) -> None:
        self._session, self._population, self._checkpoint = session, population, checkpoint
        self._settings, self._store = session.settings, session.store
        self._pool, self._reporter = session.pool, session.reporter
        self._runs = {run.record.key: run for run in population.runs}
        self._bar: Bar | None = None
        self._left: dict[str, list[Artefact]] = {}  # run key -> what it leaves when it ends
        self._latest: dict[str, float] = {}  # run key -> normalised score of its last evaluation

    def run(self, lost: Set[str]) -> Literal["ended", "interrupted", "too large"]:
        """Train until done, the session is to stop or some of the runs are `lost`; adds to its counts.

        Returns:
            how it ended. One run alone is never too large: it fails.
        """
        path = self._settings.checkpoints / checkpoint_name(self._population.keys)
        if self._checkpoint is None:
            path.unlink(missing_ok=True)  # of an attempt that is forgotten; nothing may go on from it

        def asked() -> bool:
            # no checkpoint then: the file is the other process's by now
            if gone := [key for key in self._runs if key in lost]:
                raise LeaseLostError(gone)
            return self._session.stop()

        counts = self._session.counts
        try:
            self._record_environment(path.stem)
            self._record_values()
            outcome = self._train_or_fail(path, asked)
            if isinstance(outcome, str):
                return outcome
            if outcome.interrupted:
                return "interrupted"
            seconds = outcome.seconds
            self._store.require_evaluations(outcome.finished)
            self._store.finish(outcome.finished, seconds, seconds / len(self._runs), self._left)
            counts["finished"] += len(outcome.finished)
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

    def _train_or_fail(
        self, path: Path, stop: Callable[[], bool]
    ) -> TrainingOutcome | Literal["ended", "too large"]:
        """Train; a failure is a row of the database: other populations go on."""
        try:
            return self._train(path, stop)
        except HarnessError:
            raise
        except OSError as error:  # the machine's trouble, not the runs'
            raise DataError(system_error(error)) from error
        except Exception as error:
            if out_of_memory(error) and len(self._runs) > 1:
                return "too large"
            text = traceback.format_exc()
            if not recover(self._settings.device):
                raise DataError(self.broken(reason(text))) from error
            self._pool.discard()
            self._fail_all(text)
            self._tidy(path)
            return "ended"

    def _train(self, path: Path, stop: Callable[[], bool]) -> TrainingOutcome:
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
        )
        options = Options(
            device=self._settings.device,
            arithmetic=self._settings.arithmetic,
            checkpoint_seconds=self._settings.checkpoint_seconds,
            until=self._settings.until,
        )
        trainer = Trainer(task, self, self._pool, path, options, self._checkpoint)
        del loaded, task  # the replay holds the transitions; they are not held twice
        start = self._checkpoint.step if self._checkpoint else 0
        self._bar = self._reporter.bar(self.label, protocol.length, start)
        outcome = trainer.train(stop)
        self._left = self._written(trainer, outcome.finished)
        return outcome

    def _state(self, run: PlannedRun, name: str) -> dict[str, Tensor]:
        """The state, or those parts of it, that a run reads of the run of its own seed."""
        source = run.cell.states[name]
        [below] = [each for each in source.cell.runs if each.seed == run.record.seed]
        artefact = self._store.artefacts([below.key])[below.key][STATE]
        return parts(artefacts.read(self._artefact_folder, artefact), source.state)

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
        return self._store.location.folder("artefacts", self._settings.home)

    def broken(self, why: str) -> str:
        """What to say where the device does not compute any more."""
        return (
            f"{self.label}: the GPU does not compute any more in this process: {why}; what was committed is "
            "kept, and the same command goes on from the last checkpoint (should it stop here again, leave "
            "these runs out with --datasets or --algorithms)"
        )

    def _fail_all(self, text: str) -> None:
        for key, state in self._store.held(self._runs).items():
            self.failed(key, state.step or 0, text)

    @property
    def label(self) -> str:
        """The population, for the user."""
        columns = sorted({run.cell.column.label for run in self._population.runs})
        names = sorted({run.cell.dataset.id for run in self._population.runs})
        rows = names[0] if len(names) == 1 else f"{len(names)} datasets"
        return f"{'/'.join(columns)}, {rows}, {len(self._runs)} runs"

    def _record_environment(self, population: str) -> None:
        """Write down what the runs train under; a run that was begun under something else says both."""
        now = provenance(self._population.algorithm, self._settings.device, self._settings.arithmetic)
        states = self._store.runs(self._runs)
        earlier = self._store.fingerprints(
            {s.environment_id for s in states.values() if s.environment_id is not None}
        )
        groups: defaultdict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
        for key, state in states.items():
            before = earlier.get(state.environment_id or -1, {})
            if state.status == "finished" and before.get("algorithm_source") != now["algorithm_source"]:
                title = _title(self._runs[key])
                self._reporter.message(
                    f"{title}: its state comes from other code than its scores, which stay"
                )
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
            self._store.record_environment(keys, dict(fields), population)

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
            needed_by[self._settings.checkpoints / checkpoint_name(self._checkpoint.keys)] = list(
                self._checkpoint.keys
            )
        for file, keys in needed_by.items():
            states = self._store.runs(keys).values()
            if all(state.status in ("finished", "failed") and not state.held for state in states):
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
        self._session.counts["failed"] += 1
        run = self._runs[key]
        self._reporter.message(f"{_title(run)}: {reason(text)}")

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
