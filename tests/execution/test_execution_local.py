"""Training a table's missing runs, with an algorithm made to misbehave."""

from __future__ import annotations

import errno
import io
import shutil
import threading
from pathlib import Path

import pytest
import torch
from rich.console import Console

import algorithms
from harness import datasets, processes
from harness.errors import DataError
from harness.execution import claims, local, population
from harness.execution.population import LeasedPopulation
from harness.execution.progress import Reporter
from harness.execution.setup import Setup
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.records import EvaluationRecord
from harness.results.store import Store
from harness.specs import Specs
from harness.training import checkpoints
from harness.training.provenance import loaded_source

PRESET = """
id: tiny
description: Seconds
label: tiny protocol
lineage: generated
transitions: 500
datasets: [maze2d-umaze-v1]
columns: []
extra_columns:
  - {id: bc, label: BC, algorithm: bc, hyperparameters: {batch_size: 16}}
  - {id: wide, label: BC wide, algorithm: bc, hyperparameters: {batch_size: 32}}
seeds: [0, 1]
steps: 200
evaluate_every: 100
episodes: 1
"""


def specs_in(folder):
    return Specs([folder / "specs"])


@pytest.fixture
def resolved(tmp_path):
    folder = tmp_path / "specs" / "presets"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text(PRESET)
    return resolve(specs_in(tmp_path), "aspc-table1", Choice(preset="tiny"))


@pytest.fixture
def train(resolved, tmp_path):
    """Train what is missing; gives the outcome and what was said."""

    def run(store, stop=lambda: False, **how):
        said = io.StringIO()
        setup = Setup.on("cpu", tmp_path / "checkpoints", home=tmp_path / "data", **how)
        with Reporter(Console(file=said, width=500), quiet=True) as reporter:
            outcome = local.train_missing(resolved, specs_in(tmp_path), store, setup, reporter, stop)
        return outcome, said.getvalue()

    return run


def statuses(store):
    return sorted(state.status for state in store.runs().values())


def test_everything_is_trained_once(train, store, tmp_path):
    outcome, _ = train(store)
    assert (outcome.finished, outcome.failed, outcome.interrupted) == (4, 0, False)
    assert statuses(store) == ["finished"] * 4
    assert list((tmp_path / "checkpoints").glob("*")) == []
    again, _ = train(store)
    assert (again.finished, again.failed) == (0, 0)


def test_progress_shows_the_mean_over_seeds_whose_evaluations_end_apart(train, store, resolved, monkeypatch):
    whole, shown = LeasedPopulation.evaluated, []

    def one_by_one(self, records):
        for record in records:
            whole(self, [record])

    monkeypatch.setattr(LeasedPopulation, "evaluated", one_by_one)
    monkeypatch.setattr(population.Bar, "scores", lambda self, latest: shown.append((self._label, latest)))
    train(store)
    newest = dict(shown)
    assert len(newest) == 2
    for cell in resolved.cells:
        (scores,) = (scores for label, scores in newest.items() if label.startswith(f"{cell.column.label},"))
        last = [store.evaluations([run.key])[run.key][-1].mean_return for run in cell.runs]
        reference = cell.dataset.reference
        assert scores == {cell.dataset.id: pytest.approx(sum(map(reference.normalise, last)) / 2)}


def test_an_exception_fails_its_population_and_no_other(train, store, monkeypatch):
    from algorithms.bc import BC

    whole = BC.update

    def update(self, batch, noise, phase):
        if self.hyper.batch_size == 16:
            raise RuntimeError('shapes differ, say\nadvice\n\n"')
        return whole(self, batch, noise, phase)

    monkeypatch.setattr(BC, "update", update)
    outcome, said = train(store)
    assert (outcome.finished, outcome.failed) == (2, 2)
    assert statuses(store) == ["failed", "failed", "finished", "finished"]
    assert "RuntimeError: shapes differ, say\n" in said
    failed = [state for state in store.runs().values() if state.status == "failed"]
    assert all("Traceback" in state.error and "shapes differ, say" in state.error for state in failed)

    # a failed run is trained again only when that is asked for
    monkeypatch.setattr(BC, "update", whole)
    assert train(store)[0].finished == 0
    assert store.retry([state.key for state in failed]) == 2
    assert train(store)[0].finished == 2
    assert statuses(store) == ["finished"] * 4


def scores(store):
    """Mean return by run key and step."""
    found = store.evaluations(store.runs())
    return {(key, one.step): one.mean_return for key, each in found.items() for one in each}


@pytest.mark.parametrize("says", ["torch", "capture", "ALLOC_FAILED", "NOT_INITIALIZED"])
def test_a_population_too_large_for_the_memory_goes_on_in_halves(
    train, store, resumed, tmp_path, monkeypatch, says
):
    """From its last checkpoint, with the scores that an untroubled run gives."""
    from algorithms.bc import BC

    with Store.open(tmp_path / "untroubled.db", create=True) as other:
        train(other)
        expected = scores(other)
    whole, steps = BC.update, []

    def update(self, batch, noise, phase):
        if len(self.members) > 1 and self.hyper.batch_size == 16:
            steps.append(self)
            if len(steps) > 130:
                if says.isupper():
                    raise RuntimeError(
                        f"CUDA error: CUBLAS_STATUS_{says} when calling `cublasCreate(handle)`"
                    )
                error = torch.OutOfMemoryError("CUDA out of memory, say")
                if says == "capture":  # which ended broken
                    raise RuntimeError("the capture was broken") from error
                raise error
        return whole(self, batch, noise, phase)

    monkeypatch.setattr(BC, "update", update)
    resumed.clear()
    outcome, said = train(store, checkpoint_seconds=0.0)
    assert (outcome.finished, outcome.failed) == (4, 0)
    assert "BC, maze2d-umaze-v1, 2 runs: more than the device's memory holds" in said
    assert "from the last checkpoint with 1 and then 1 at once" in said
    assert sorted(resumed.values()) == [False, False, True, True]
    assert scores(store).keys() == expected.keys()
    for place, returns in scores(store).items():
        assert returns == pytest.approx(expected[place], rel=1e-3)
    assert list((tmp_path / "checkpoints").glob("*")) == []


TOO_LARGE = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] data. DefaultCPUAllocator: can't allocate memory: say"),
]


@pytest.mark.parametrize("error", TOO_LARGE, ids=["Python", "torch"])
def test_runs_that_are_too_large_even_alone_are_left_out_and_not_failed(train, store, monkeypatch, error):
    """Memory that another program takes says nothing of a run."""
    from algorithms.bc import BC

    whole, members = BC.update, set()

    def update(self, batch, noise, phase):
        if self.hyper.batch_size == 16:
            members.add(len(self.members))
            raise error
        return whole(self, batch, noise, phase)

    monkeypatch.setattr(BC, "update", update)
    with pytest.raises(
        DataError, match=r"(?s)BC, .*, 1 run: more than .* even alone.*all other runs were trai"
    ):
        train(store)
    assert members == {1, 2}
    assert statuses(store) == ["finished", "finished", "interrupted", "interrupted"]
    monkeypatch.setattr(BC, "update", whole)
    assert train(store)[0].finished == 2


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("can't start new thread"), "starts no more threads"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
    ],
)
def test_what_the_machine_lacks_ends_the_command_and_fails_no_run(train, store, monkeypatch, error, says):
    from algorithms.bc import BC

    def update(self, batch, noise, phase):
        raise error

    monkeypatch.setattr(BC, "update", update)
    with pytest.raises(DataError, match=says):
        train(store)
    assert set(statuses(store)) == {"interrupted", "queued"}


def test_a_gpu_that_does_not_compute_any_more_ends_everything_and_fails_nothing(train, store, monkeypatch):
    """Every later call would meet the error: the other populations would all fail within seconds."""
    from algorithms.bc import BC

    whole, steps, asked = BC.update, [], []

    def update(self, batch, noise, phase):
        steps.append(self)
        if len(steps) > 130:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nadvice, at length")
        return whole(self, batch, noise, phase)

    with monkeypatch.context() as broken:
        broken.setattr(BC, "update", update)
        broken.setattr(population, "recover", lambda device: asked.append(device))
        with pytest.raises(
            DataError, match=r"runs: the GPU .*: RuntimeError: CUDA error: .* encountered; .*on from"
        ):
            train(store, checkpoint_seconds=0.0)
    assert asked == ["cpu"]
    assert len(steps) == 131
    assert set(statuses(store)) == {"interrupted", "queued"}
    assert train(store)[0].finished == 4


def test_an_error_that_the_device_survives_fails_its_population_alone(train, store, monkeypatch):
    from algorithms.bc import BC

    whole, first = BC.update, []

    def update(self, batch, noise, phase):
        first.append(self)
        if self is first[0]:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        return whole(self, batch, noise, phase)

    monkeypatch.setattr(BC, "update", update)
    outcome, said = train(store)
    assert (outcome.finished, outcome.failed) == (2, 2)
    assert "not permitted when stream is capturing" in said


def test_arithmetic_is_recorded_beside_the_scores(train, store, monkeypatch):
    monkeypatch.setattr("torch.compile", lambda work, **_: work)
    train(store, compiled=True)
    found = store.fingerprints({state.fingerprint_id for state in store.runs().values()})
    assert {each["precision"] for each in found.values()} == {"float32+compile"}


def test_a_full_disk_ends_everything_and_keeps_what_was_committed(train, store, monkeypatch):
    def full(*_):
        raise DataError("no space left")

    monkeypatch.setattr("harness.training.checkpoints.save", full)
    asked = iter([False] * 151)
    with pytest.raises(DataError, match="no space left"):
        train(store, stop=lambda: next(asked, True))
    assert set(statuses(store)) == {"interrupted", "queued"}
    monkeypatch.undo()
    assert train(store)[0].finished == 4


def recorded(store):
    with store.reading() as connection:
        return connection.exec_driver_sql("SELECT content_hash, transitions FROM dataset").all()


def test_what_is_trained_on_is_recorded(train, store, resolved, tmp_path):
    assert train(store)[0].finished == 4
    data = datasets.load(resolved.cells[0].dataset, "generated", tmp_path / "data")
    assert recorded(store) == [(data.content_hash, len(data))]


def test_nothing_is_trained_on_data_other_than_those_recorded(train, store, resolved):
    identity = resolved.cells[0].runs[0].configuration["dataset"]
    store.record_dataset(identity, "0" * 64, 490)
    with pytest.raises(DataError, match=r"recorded 000000000000 \(490 transitions\) under that name"):
        train(store)
    assert recorded(store) == [("0" * 64, 490)]
    assert set(statuses(store)) == {"interrupted", "queued"}
    assert not any(store.evaluations(store.runs()).values())


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A copy of the algorithms' files to be edited between two commands."""
    folder = shutil.copytree(Path(algorithms.__file__).parent, tmp_path / "algorithms")
    monkeypatch.setattr(algorithms, "__path__", [str(folder)])

    def begin_anew():
        loaded_source.cache_clear()
        processes._hash.cache_clear()

    def edit(file, old, new):
        place = folder / file
        text = place.read_text(encoding="utf-8")
        assert text.count(old) == 1
        place.write_text(text.replace(old, new), encoding="utf-8")
        begin_anew()

    begin_anew()
    yield edit
    begin_anew()


def test_begun_runs_go_on_after_what_does_not_run_has_changed(train, store, source):
    asked = iter([False] * 151)
    assert train(store, stop=lambda: next(asked, True))[0].interrupted
    source("bc.py", "E[(π(s) - a)²], the mean over", "E[(π(s) - a)²], the average over")
    source(
        "networks.py",
        "class ValueFunction(",
        "class Unrelated(nn.Linear):\n    pass\n\n\nclass ValueFunction(",
    )
    source("optimisers.py", "class Adam(", "# a comment\nclass Adam(")
    assert train(store)[0].finished == 4


def test_begun_runs_do_not_go_on_after_a_formula_has_changed(train, store, source):
    asked = iter([False] * 151)
    assert train(store, stop=lambda: next(asked, True))[0].interrupted
    source("networks.py", "return torch.tanh(self.network(", "return torch.sin(self.network(")
    with pytest.raises(DataError, match=r"begun by other code of bc .*retry TABLE --restart"):
        train(store)


def test_other_code_does_not_go_on_with_begun_runs(train, store, monkeypatch):
    asked = iter([False] * 151)
    assert train(store, stop=lambda: next(asked, True))[0].interrupted
    now = population.provenance
    monkeypatch.setattr(population, "provenance", lambda *a: now(*a) | {"algorithm_source": "another"})
    with pytest.raises(DataError, match=r"begun by other code of bc .*retry TABLE --restart"):
        train(store)
    assert set(statuses(store)) == {"interrupted", "queued"}


def test_runs_of_a_damaged_checkpoint_are_left_out_and_the_others_go_on(train, store, tmp_path):
    asked = iter([False] * 151)
    assert train(store, stop=lambda: next(asked, True))[0].interrupted
    [path] = (tmp_path / "checkpoints").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    damaged = path.read_bytes()
    for _ in range(2):
        with pytest.raises(
            DataError, match=r"(?s)the checkpoint .* is missing, damaged .*all other runs were"
        ):
            train(store)
        assert statuses(store) == ["finished", "finished", "interrupted", "interrupted"]
        assert path.read_bytes() == damaged
    path.write_bytes(whole)  # as from a backup
    assert train(store)[0].finished == 2
    assert store.check() == []


def test_a_checkpoint_that_is_gone_is_said(train, store, tmp_path):
    asked = iter([False] * 151)
    assert train(store, stop=lambda: next(asked, True))[0].interrupted
    [path] = (tmp_path / "checkpoints").iterdir()
    path.unlink()
    outcome, said = train(store)
    assert outcome.finished == 4
    assert f"the checkpoints of 2 run(s) are gone from {path.parent}: these runs begin again" in said


@pytest.fixture
def resumed(monkeypatch):
    """Run key -> whether its training began from a checkpoint."""
    trainer, found = population.Trainer, {}

    def spy(task, recorder, pool, path, options, checkpoint):
        found.update({run.key: checkpoint is not None for run in task.runs})
        return trainer(task, recorder, pool, path, options, checkpoint)

    monkeypatch.setattr(population, "Trainer", spy)
    return found


def test_checkpoints_of_a_database_that_is_gone_are_left_alone(train, store, tmp_path, resumed):
    """The new database knows neither what was evaluated before nor by which code."""
    asked = iter([False] * 151)
    assert train(store, stop=lambda: next(asked, True))[0].interrupted
    assert list((tmp_path / "checkpoints").glob("*.pt"))
    with Store.open(tmp_path / "new.db", create=True) as new:
        assert train(new)[0].finished == 4
    assert list(resumed.values()) == [False] * 4


def test_a_retried_run_begins_anew_and_the_others_go_on(train, store, resumed):
    asked = iter([False] * 151)
    train(store, stop=lambda: next(asked, True))
    begun = [key for key, state in store.runs().items() if state.checkpoint]
    store.claim(begun[:1])
    store.fail(begun[0], 150, "it diverged")
    store.retry(begun[:1])
    assert train(store)[0].finished == 4
    assert [key for key, on in resumed.items() if on] == begun[1:]


def test_nothing_goes_on_from_an_attempt_that_was_given_up(train, store, resumed):
    asked = iter([False] * 151)
    train(store, stop=lambda: next(asked, True))
    begun = [key for key, state in store.runs().items() if state.checkpoint]
    store.claim(begun)
    for key in begun:
        store.fail(key, 150, "it raised")
    store.retry(begun)

    asked = iter([False] * 10)

    def killed():
        if next(asked, True):
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):  # before the new attempt's first checkpoint
        train(store, stop=killed)
    resumed.clear()
    assert train(store)[0].finished == 4
    assert not any(resumed.values())


def test_a_run_resumed_elsewhere_says_both(train, store, monkeypatch):
    asked = iter([False] * 151)
    train(store, stop=lambda: next(asked, True))
    now = population.provenance
    monkeypatch.setattr(population, "provenance", lambda *a: now(*a) | {"torch": "9.9"})
    assert train(store)[0].finished == 4
    states = store.runs().values()
    found = store.fingerprints({state.fingerprint_id for state in states})
    versions = sorted(found[state.fingerprint_id]["torch"] for state in states)
    assert versions[:2] != versions[2:]
    assert versions[2:] == ["9.9", "9.9"]
    assert all(version.endswith(" → 9.9") for version in versions[:2])


def test_two_trainers_share_without_doubling(train, store, resolved, tmp_path):
    """What another living process holds is left to it."""
    with Store.open(tmp_path / "r.db", owner="elsewhere:1:x.1") as other:
        store.register(run.record for run in local.missing_runs(resolved, store))
        held = other.claim(list(store.runs())[:1])
        outcome, _ = train(store)
        assert (outcome.finished, outcome.elsewhere) == (3, 1)
        assert store.runs(held)[held[0]].status == "running"


@pytest.fixture
def in_parts(train, store):
    """Two interrupted runs of one population that now stand at different points: their keys in order."""
    asked = iter([False] * 151)
    train(store, stop=lambda: next(asked, True))
    begun = [key for key, state in store.runs().items() if state.checkpoint]
    store.claim(begun[:1])
    store.fail(begun[0], 150, "it diverged")
    store.retry(begun[:1])
    return begun


@pytest.fixture
def during_training(monkeypatch):
    """Does something when the training of a population begins, given its run keys."""

    def hook(action):
        whole = population.Trainer.train

        def train(self, stop):
            action([run.key for run in self._task.runs])
            return whole(self, stop)

        monkeypatch.setattr(population.Trainer, "train", train)

    return hook


def test_all_claimed_runs_are_kept_alive_whatever_is_wrong_once(
    train, store, in_parts, during_training, monkeypatch
):
    monkeypatch.setattr(claims, "LEASE_SECONDS", 0.2)
    beats, failures, beaten = [], ["Too many open files"], threading.Event()
    beat, read, main = store.heartbeat, store.runs, threading.current_thread()

    def heartbeat(keys):
        keys = list(keys)
        beat(keys)
        beats.append(set(keys))
        beaten.set()

    def runs(keys=None):
        if failures and threading.current_thread() is not main:
            raise OSError(24, failures.pop())
        return read(keys)

    def wait(keys):
        beaten.clear()
        assert beaten.wait(20), "no heartbeat"

    monkeypatch.setattr(store, "heartbeat", heartbeat)
    monkeypatch.setattr(store, "runs", runs)
    during_training(wait)
    outcome, said = train(store)
    assert outcome.finished == 4
    assert "Too many open files" in said
    assert set(in_parts) in beats


def test_a_part_that_another_process_took_is_left_to_it(train, store, in_parts, during_training, tmp_path):
    with Store.open(tmp_path / "r.db", owner="elsewhere:1:x.1", lease_seconds=0) as other:

        def take(keys):
            [rest] = set(in_parts) - set(keys) if set(keys) < set(in_parts) else [None]
            if rest and store.runs([rest])[rest].status == "running":
                other.claim([rest])

        during_training(take)
        outcome, said = train(store)
    assert (outcome.finished, outcome.elsewhere, outcome.interrupted) == (3, 1, False)
    assert "no longer holds 1 run(s)" in said


def test_a_run_lost_while_it_trains_ends_its_part_and_not_the_command(
    train, store, during_training, monkeypatch, tmp_path
):
    """The checkpoint, which is the other process's by then, is not written."""
    monkeypatch.setattr(claims, "LEASE_SECONDS", 0.04)
    taken, saved = [], []
    monkeypatch.setattr(checkpoints, "save", lambda content, path: saved.append(content.keys))
    with Store.open(tmp_path / "r.db", owner="elsewhere:1:x.1", lease_seconds=0) as other:

        def take(keys):
            if not taken:
                taken.extend(other.claim(keys[:1]))

        during_training(take)
        outcome, said = train(store)
    assert (outcome.finished, outcome.elsewhere, outcome.interrupted) == (2, 1, False)
    assert "no longer holds 1 run(s)" in said
    assert not any(taken[0] in keys for keys in saved)
    assert store.runs(taken)[taken[0]].owner == "elsewhere:1:x.1"


def test_a_woken_process_leaves_nothing_of_runs_that_another_finished(
    train, store, during_training, monkeypatch, tmp_path
):
    """Suspended in the midst of training, or of writing a checkpoint, for longer than its lease."""
    finished, save = [], checkpoints.save

    def finish(keys):
        with Store.open(tmp_path / "r.db", owner="elsewhere:1:x.1", lease_seconds=0) as other:
            assert other.claim(keys) == keys
            other.record_evaluations(
                [EvaluationRecord(key, step, [1.0], [1]) for key in keys for step in (100, 200)]
            )
            other.finish(keys, 1.0, 1.0)
        finished.extend(keys)

    def suspended(content, path):
        if len(finished) == 2:
            finish(list(content.keys))
        save(content, path)

    monkeypatch.setattr(checkpoints, "save", suspended)
    during_training(lambda keys: finished or finish(keys))
    outcome, said = train(store, checkpoint_seconds=0)
    assert (outcome.finished, outcome.failed, outcome.elsewhere) == (0, 0, 4)
    assert len(finished) == 4
    assert said.count("no longer holds") == 2
    assert not list((tmp_path / "checkpoints").glob("*.pt"))
