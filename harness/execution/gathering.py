"""SAC trained online, for its policies and its replay data: runs like any other, in a database."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from harness import environments, files
from harness.datasets.generated import Trained
from harness.datasets.navigation import ANT
from harness.datasets.transforms import steps_of
from harness.errors import DataError, StoppedError, reason
from harness.execution import artefacts
from harness.execution.interrupt import Interrupt
from harness.execution.loading import Loader
from harness.execution.local import train_runs
from harness.execution.measure import seconds_per_step
from harness.execution.progress import Reporter
from harness.execution.setup import Setup
from harness.planning.cells import Cell, ResolvedTable, run_record
from harness.planning.plan import Kind
from harness.planning.populations import PlannedRun, populations
from harness.results.models import GATHERED
from harness.results.records import digest
from harness.results.store import Store
from harness.specs import Column, Dataset, Environment, GeneratedSource, Protocol, Specs, Table
from harness.specs.columns import Written, hyperparameters
from harness.specs.models import Group
from harness.training import checkpoints
from harness.training.archive import Archive, archive, member_of, rows_of
from harness.training.memory import bytes_of_row

PROTOCOL = "sac-online"
_ANT_PROTOCOL = "sac-ogbench"
_DATABASE = "runs.db"
_CHECKPOINT_SECONDS = 600.0


def replay(
    dataset: Dataset,
    source: GeneratedSource,
    home: Path,
    reporter: Reporter,
    trained: Path | None = None,
    device: str = "cpu",
) -> Trained:
    """The first transitions that SAC gathers, in order.

    Datasets of one environment and seed share one run, kept in ``online/`` of the data folder, which is
    trained as far as the longest of them takes.

    Args:
        dataset: whose environment it is.
        source: its recipe; the seed is that of the run.
        home: data folder.
        reporter: progress for the user.
        trained: a folder of `train` with a run that has gathered them already; nothing is trained then.
        device: 'auto', 'cpu' or 'cuda', to train on.

    Raises:
        DataError: the hyperparameters are no longer those of the spec, or `trained` has too little, or was
            trained otherwise.
        StoppedError: interrupted; what was done is kept.
    """
    specs = Specs()
    if (own := hyperparameters_hash(specs)) != source.hyperparameters_sha256:
        raise DataError(
            f"{dataset.id} was specified for SAC with hyperparameters of SHA-256 "
            f"{source.hyperparameters_sha256}, but specs/algorithms/sac.yaml has {own}"
        )
    run = planned(dataset, source.seed, _protocol(specs, source.transitions), specs)
    folder = trained or home / "online"
    if trained is None:
        with _locked(folder, reporter):
            _train([run], folder, specs, reporter, device, until=source.transitions)
    with opened(folder) as store:
        key = _longest(store, run) if trained else run.record.key
        content = archived(store, key) if key else None
        have = 0 if content is None else len(content["rewards"])
        if key is None or content is None or have < source.transitions:
            raise DataError(
                f"{folder} has {have:,} transitions of SAC in {_environment(run)}, seed {source.seed}, with "
                f"the hyperparameters of the spec, but {dataset.id} takes {source.transitions:,}"
            )
        gather = run.cell.protocol.gather
        warmup = gather.warmup if gather else 0
        return Trained(rows_of(content, source.transitions), _origin(store, key, warmup, source.transitions))


def train(
    datasets: Sequence[Dataset],
    seed: int,
    updates: int,
    folder: Path,
    reporter: Reporter,
    device: str = "cpu",
) -> None:
    """Train SAC in the environments of some datasets; those of equal sizes in one population.

    Args:
        datasets: of which only the environments count; those of one environment share a run.
        seed: of the runs.
        updates: of each policy, in whole thousands.
        folder: gets the database and its files; goes on with what is there.
        reporter: progress for the user.
        device: 'auto', 'cpu' or 'cuda', to train on.

    Raises:
        DataError: a dataset names no environment, or a run failed.
        HarnessError: an environment cannot be made, or is of other sizes than its spec says.
        StoppedError: interrupted; what was done is kept.
    """
    specs = Specs()

    def run(dataset: Dataset) -> PlannedRun:
        shipped = specs.protocol(_ANT_PROTOCOL if _trained_in(dataset) == ANT else PROTOCOL)
        assert shipped.gather is not None  # noqa: S101 - an online one
        whole = -(-updates // shipped.gather.every) * shipped.gather.every + shipped.gather.warmup
        return planned(dataset, seed, shipped.model_copy(update={"interactions": whole}), specs)

    runs = {each.record.key: each for each in map(run, datasets)}
    with _locked(folder, reporter):
        _train(list(runs.values()), folder, specs, reporter, device)


def planned(dataset: Dataset, seed: int, protocol: Protocol, specs: Specs) -> PlannedRun:
    """The run of SAC in a dataset's environment; of the dataset nothing else counts.

    Raises:
        DataError: it names no environment, or SAC wants its data changed by what is fitted to all of them.
    """
    environment, sac = _trained_in(dataset), specs.algorithm("sac")
    if environment is None:
        raise DataError(f"{dataset.id} names no environment to train in")
    column = Column(id="sac", label="SAC", algorithm="sac")
    settings = hyperparameters(specs, Written(column, "tables", "", ()), dataset.id)
    name = re.sub(r"[^a-z0-9]+", "-", environment.id.lower()).strip("-")
    changed = {"id": name, "environment": environment, **dict.fromkeys(dataset.sources)}
    place = dataset.model_copy(update=changed)
    configuration = {
        "algorithm": "sac",
        "hyperparameters": sac.in_key({each: entry.value for each, entry in settings.items()}),
        "dataset": {"id": name, "lineage": "generated"},
        "environment": environment.identity,
        "protocol": protocol.configuration,
    }
    if steps_of(configuration):
        raise DataError("data that are gathered from nothing cannot be normalised, scaled or shifted before")
    record = run_record(configuration, seed)
    return PlannedRun(record, Cell(place, column, protocol, (record,), None, ()))


def _trained_in(dataset: Dataset) -> Environment | None:
    """Where the policies behind a dataset are trained: where it is from, but for the ant that navigates."""
    return ANT if dataset.goal_task else dataset.environment


def hyperparameters_hash(specs: Specs) -> str:
    """SHA-256 (hex) of SAC's hyperparameters, by name."""
    sac = specs.algorithm("sac")
    return digest(sac.in_key({name: h.value for name, h in sac.hyperparameters.items()}))


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """The database of a folder that `train` has filled.

    Raises:
        DataError: there is none.
    """
    if not (folder / _DATABASE).exists():
        raise DataError(
            f"{folder} holds no runs of SAC: it has no {_DATABASE}; `harness data train` makes some"
        )
    with Store.open(folder / _DATABASE) as store:
        yield store


def archived(store: Store, key: str) -> Archive | None:
    """What a run has gathered, and its policies: those of the end or, before it, of the last checkpoint.

    Returns:
        None where nothing was saved yet.

    Raises:
        DataError: a file is missing or was changed.
    """
    if artefact := store.artefacts([key]).get(key, {}).get(GATHERED):
        return artefacts.read(store.location.folder("artefacts"), artefact)
    name = store.runs([key])[key].checkpoint
    if name is None:
        return None
    checkpoint = checkpoints.load(files.inside(store.location.folder("checkpoints"), name))
    member = checkpoint.keys.index(key)
    saved = checkpoint.gathered[member]
    sizes = saved["sizes"]
    return archive(saved["rows"], saved["cuts"], sizes, member_of(checkpoint.policies, member))


class Scored(NamedTuple):
    """What a run's policy earned after so many updates.

    Attributes:
        step: of the evaluation.
        updates: done before.
        returns: raw, of its episodes.
    """

    step: int
    updates: int
    returns: list[float]

    @property
    def mean(self) -> float:
        """Mean return."""
        return sum(self.returns) / len(self.returns)


def scored(store: Store, key: str, warmup: int) -> list[Scored]:
    """A run's evaluations, in order; its first update came after `warmup` interactions."""
    return [Scored(step, max(0, step - warmup), returns) for step, returns in store.returns(key).items()]


def _protocol(specs: Specs, transitions: int) -> Protocol:
    """The shipped protocol, of more interactions where there are to be more transitions."""
    shipped = specs.protocol(PROTOCOL)
    return shipped.model_copy(update={"interactions": max(shipped.length, transitions)})


def _longest(store: Store, like: PlannedRun) -> str | None:
    """The finished run of most interactions that is `like` another but for its length, if there is one."""

    def but_for_length(configuration: Mapping[str, Any]) -> dict[str, Any]:
        protocol = {**configuration["protocol"], "interactions": None}
        return {**configuration, "protocol": protocol}

    configurations, wanted = store.configurations(), but_for_length(like.record.configuration)
    found = {
        key: int(configurations[state.configuration_key]["protocol"]["interactions"])
        for key, state in store.runs().items()
        if state.status == "finished"
        and state.seed == like.record.seed
        and but_for_length(configurations[state.configuration_key]) == wanted
    }
    return max(found, key=found.__getitem__, default=None)


@contextmanager
def _locked(folder: Path, reporter: Reporter) -> Iterator[None]:
    waits = False

    def waiting() -> None:
        nonlocal waits
        if not waits:
            reporter.message(f"another process trains in {folder}: waiting for it")
        waits = True

    with files.locked(folder / _DATABASE, waiting):
        yield


def _train(
    runs: Sequence[PlannedRun],
    folder: Path,
    specs: Specs,
    reporter: Reporter,
    device: str,
    until: int | None = None,
) -> None:
    """Train runs to their end, or until they have gathered so much, unless that was done."""
    with Store.open(folder / _DATABASE, create=True) as store:
        wanted = [run for run in runs if not _gathered(store, run, until)]
        if not wanted:
            return
        for run in wanted:
            dataset = run.cell.dataset
            assert dataset.environment is not None  # noqa: S101 - `planned` asks for one
            environments.check(dataset.environment, dataset.observation_size, dataset.action_size)
        here = Setup.on(
            device,
            store.location.folder("checkpoints"),
            precision="fp32",
            checkpoint_seconds=_CHECKPOINT_SECONDS,
            until=until,
        )
        _announce(wanted, store, here, reporter, until)
        load = Loader(here.home, store, reporter)
        names = ", ".join(_environment(run) for run in wanted)
        with Interrupt(lambda: reporter.message("stopping: the work is saved (again: stop at once)")) as stop:
            outcome = train_runs(wanted, _table(wanted, specs), specs, store, here, reporter, load, stop)
        if outcome.failed:
            failed = {key: state.error for key, state in store.runs().items() if state.status == "failed"}
            one = next(run for run in wanted if run.record.key in failed)
            error = reason(failed[one.record.key] or "")
            raise DataError(
                f"{_environment(one)}, seed {one.record.seed}: {error}; what the others did is in {folder}"
            )
        if stop():  # at the very end, too: what comes after the training was not asked for any more
            state = "is not finished" if outcome.interrupted else "is trained to the end"
            raise StoppedError(
                f"{names} {state}; what was done is kept in {folder}, and the same command goes on from there"
            )


def _gathered(store: Store, run: PlannedRun, until: int | None) -> bool:
    """Whether a run has gathered all it is to, or as much as is asked for."""
    state = store.runs([run.record.key]).get(run.record.key)
    if state is None:
        return False
    return state.status == "finished" or (until is not None and (state.checkpoint_step or 0) >= until)


def _announce(
    runs: Sequence[PlannedRun], store: Store, here: Setup, reporter: Reporter, until: int | None
) -> None:
    """Say how long it will take, and refuse if the disk is too small.

    Raises:
        DataError: there is too little room for the checkpoints.
    """
    states = store.runs([run.record.key for run in runs])
    lengths = {run.record.key: until or run.cell.protocol.length for run in runs}
    rows = sum(lengths[run.record.key] * bytes_of_row(_sizes(run.cell.dataset)) for run in runs)
    # every checkpoint holds all transitions, and replaces the one before only once it is written
    files.require_space(here.checkpoints, 2 * rows)
    left = dict(lengths)
    for key, state in states.items():
        left[key] -= state.checkpoint_step or 0
    kind: Kind = "gpu" if here.conditions.device == "cuda" else "cpu"
    seconds = sum(
        seconds_per_step(population, kind, here.conditions.arithmetic)
        * max(left[key] for key in population.keys)
        for population in populations(runs, here.capacity or len(runs))
    )
    reporter.message(
        f"SAC has up to {max(left.values()):,} of {max(lengths.values()):,} interactions to go, about "
        f"{seconds / 3600:.1f} h here (a few were timed). Ctrl-C saves, and the same command goes on."
    )


def _environment(run: PlannedRun) -> str:
    name: str = run.record.configuration["environment"]["id"]
    return name


def _sizes(dataset: Dataset) -> tuple[int, int]:
    return dataset.observation_size, dataset.action_size


def _table(runs: Sequence[PlannedRun], specs: Specs) -> ResolvedTable:
    """The runs as a table of one column."""
    sac = specs.algorithm("sac")
    names = tuple(dict.fromkeys(run.cell.dataset.id for run in runs))
    table = Table(
        id="sac",
        version=1,
        title=sac.title,
        paper=sac.paper,
        lineage="generated",
        protocol=PROTOCOL,
        groups=(Group(id="environments", label="Environments", datasets=names),),
        columns=(runs[0].cell.column,),
    )
    return ResolvedTable(table, "generated", None, tuple(run.cell for run in runs))


def _origin(store: Store, key: str, warmup: int, transitions: int) -> dict[str, Any]:
    """What a card says of the training behind replay data."""
    origin: dict[str, Any] = dict(fingerprint(store, key))
    for each in scored(store, key, warmup):
        if each.step <= transitions:
            origin |= {"updates when last scored": each.updates, "mean return then": each.mean}
    return origin


def fingerprint(store: Store, key: str) -> dict[str, str]:
    """What a run was trained under."""
    row = store.runs([key])[key].fingerprint_id
    return store.fingerprints([row]).get(row, {}) if row is not None else {}
