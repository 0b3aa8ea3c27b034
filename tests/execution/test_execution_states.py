"""Runs that begin with the state of others' runs: order, artefacts, damage, two tables, two processes."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from rich.console import Console

import algorithms
from harness.errors import DataError, SpecError
from harness.execution import artefacts, local, population
from harness.execution.progress import Reporter
from harness.execution.restart import restart
from harness.execution.setup import Setup
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.plan import plan
from harness.planning.status import status, trainable_keys
from harness.results import artefacts as artefacts_of_runs
from harness.results.models import POLICY, STATE
from harness.results.records import Artefact
from harness.results.store import Store
from harness.specs import Specs

SMALL = "hyperparameters: {batch_size: 16, actor_hidden_sizes: '16'}"
TABLE = """
id: {id}
version: 1
title: Own
paper: {{title: T, authors: A, year: 2020}}
lineage: generated
protocol: short
groups:
  - {{id: mazes, label: Mazes, datasets: [maze2d-umaze-v1, maze2d-medium-v1]}}
columns:
{columns}
"""
OFFLINE = f"""
  - {{id: base, label: Base, algorithm: td3_bc, {SMALL}}}
  - {{id: other, label: Other, algorithm: td3_bc, {SMALL.replace("}", ", alpha: 1.0}")}}}
"""
ONLINE = f"""
  - id: on
    label: On
    algorithm: td3_bc
    {SMALL}
    start: {{table: offline, column: base}}
  - id: part
    label: Part
    algorithm: td3_bc
    {SMALL}
    start: {{table: offline, column: base, state: [critic, target_critic]}}
"""
READER = """
from algorithms.bc import BC, BCHyperparameters
from algorithms.base import register


@register("reads_a_critic")
class Reads(BC):
    Hyperparameters = BCHyperparameters
    reads = ("judge",)

    def update(self, batch, noise, phase):
        read = sum(each.flatten(1).sum(1, keepdim=True) for each in self.inputs["judge"].values())
        return super().update(batch, noise, phase) | {"read": read}
"""
READS = f"""
  - id: reads
    label: Reads
    algorithm: reads_a_critic
    {SMALL}
    inputs: {{judge: {{table: offline, column: base, state: [critic]}}}}
"""
PROTOCOL = "id: short\ndescription: D\nsteps: 20\nevaluate_every: 10\nepisodes: 1\nseeds: [0, 1]\n"
PRESET = "id: tiny\ndescription: Seconds\nlabel: tiny\ntransitions: 500\n"
ROW = "maze2d-umaze-v1"


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def specs(tmp_path, write_files):
    files = {
        "tables/offline.yaml": TABLE.format(id="offline", columns=OFFLINE),
        "tables/online.yaml": TABLE.format(id="online", columns=ONLINE),
        "protocols/short.yaml": PROTOCOL,
        "presets/tiny.yaml": PRESET,
    }
    return Specs([write_files(tmp_path / "specs", files)])


def resolved(specs, table, **choices):
    return resolve(specs, table, Choice(preset="tiny", datasets=(ROW,), **choices))


@pytest.fixture
def train(specs, tmp_path, data):
    """Train what is missing of a table; gives the outcome and what was said."""

    def run(store, table, stop=lambda: False, **choices):
        said = io.StringIO()
        setup = Setup.on("cpu", tmp_path / "checkpoints", home=data, checkpoint_seconds=0, workers=1)
        with Reporter(Console(file=said, width=500), quiet=True) as reporter:
            table = resolved(specs, table, **choices)
            outcome = local.train_missing(table, specs, store, setup, reporter, stop)
        return outcome, said.getvalue()

    return run


def runs(specs, table, column):
    [cell] = [cell for cell in resolved(specs, table).cells if cell.column.id == column]
    return {run.seed: run.key for run in cell.runs}


def folder(store):
    return store.location.folder("artefacts")


def state_of(store, key, kind=STATE):
    return artefacts.read(folder(store), store.artefacts([key])[key][kind])


def scores(store):
    return {key: (store.runs([key])[key].finished, store.evaluations([key])[key]) for key in store.runs()}


def test_a_table_trains_what_it_starts_from_and_both_share_it(train, store, specs):
    made = plan(resolved(specs, "online", algorithms=("on",)), specs, None)
    assert made.to_train == 2 + 2
    [also] = made.also
    assert (also.table, also.column, also.runs, also.again) == ("offline", "base", 2, False)
    assert also.readers == ("on starts",)
    outcome, said = train(store, "online")
    assert (outcome.finished, outcome.failed) == (2 + 4, 0)
    assert "waits" not in said
    left = store.artefacts()
    for seed, key in runs(specs, "offline", "base").items():
        assert left[key].keys() == {POLICY, STATE}
        assert left[runs(specs, "online", "on")[seed]].keys() == {POLICY}  # nobody reads its state
        policy, state = state_of(store, key, POLICY), state_of(store, key)
        assert all(torch.equal(tensor, state[name]) for name, tensor in policy.items())
    assert train(store, "offline")[0].finished == 2  # the column that nobody reads; `base` is there
    assert store.check() == []


def test_a_run_begins_with_the_state_of_its_own_seed(train, store, specs, monkeypatch):
    trainer, begun = population.Trainer, {}

    def spy(task, *rest):
        made = trainer(task, *rest)
        begun.update({run.key: state for run, state in zip(task.runs, made.states().values(), strict=True)})
        return made

    monkeypatch.setattr(population, "Trainer", spy)
    train(store, "online")
    for seed, source in runs(specs, "offline", "base").items():
        whole = state_of(store, source)
        on, part = (begun[runs(specs, "online", column)[seed]] for column in ("on", "part"))
        assert all(torch.equal(on[name], tensor) for name, tensor in whole.items())
        same = {name for name, tensor in whole.items() if torch.equal(part[name], tensor)}
        assert {name for name in whole if name.startswith(("critic.", "target_critic."))} <= same
        assert not any(name.startswith("actor.") and name.endswith("weight") for name in same)


def test_an_algorithm_reads_the_state_of_another_run(train, specs, store, tmp_path):
    """Also after an interruption."""
    own = tmp_path / "specs" / "algorithms"
    own.mkdir()
    (own / "reads_a_critic.py").write_text(READER)
    bc = Path(algorithms.__file__).parents[1] / "specs" / "algorithms" / "bc.yaml"
    (own / "reads_a_critic.yaml").write_text(bc.read_text().replace("id: bc", "id: reads_a_critic"))
    table = tmp_path / "specs" / "tables" / "online.yaml"
    table.write_text(TABLE.format(id="online", columns=READS))
    left = iter(range(30))
    assert train(store, "online", stop=lambda: next(left, None) is None)[0].interrupted
    outcome, said = train(store, "online")
    assert outcome.failed == 0, said
    assert {state.status for state in store.runs().values()} == {"finished"}
    fresh = Specs([tmp_path / "specs"])
    for seed, key in runs(specs, "offline", "base").items():
        critic = {name: each for name, each in state_of(store, key).items() if name.startswith("critic.")}
        reader = runs(fresh, "online", "reads")[seed]
        read = store.metrics([reader], "read")[reader]
        assert [metric.value for metric in read] == pytest.approx(
            [float(sum(each.sum() for each in critic.values()))] * 2, rel=1e-4
        )


def test_a_seed_starts_when_its_own_source_is_there(train, store, specs, tmp_path):
    source, readers = runs(specs, "offline", "base"), runs(specs, "online", "on")
    store.register(r for cell in resolved(specs, "offline").cells for r in cell.runs)
    with Store.open(tmp_path / "r.db", owner="elsewhere:1:x.1") as elsewhere:
        elsewhere.claim([source[0]])
        outcome, said = train(store, "online", algorithms=("on",))
        assert "on on maze2d-umaze-v1 waits: it starts from base of offline, seed 0 being trained" in said
        assert outcome.finished == 2
        assert store.runs([readers[1]])[readers[1]].status == "finished"
        elsewhere.fail(source[0], 3, "it diverged")
    [one] = plan(resolved(specs, "online", algorithms=("on",)), specs, store).waiting
    assert (one.keys, one.runs, one.failed, one.retriable) == ((readers[0],), 1, True, True)
    assert one.reason == "it starts from base of offline, seed 0 failed"
    assert train(store, "online", algorithms=("on",))[0].finished == 0
    store.retry(trainable_keys(resolved(specs, "online", algorithms=("on",)), store))
    assert train(store, "online", algorithms=("on",))[0].finished == 2


@pytest.mark.parametrize("damage", ["missing", "changed", "never written"])
def test_a_state_that_is_not_there_is_trained_again_and_scores_stay(train, store, specs, damage):
    train(store, "offline", algorithms=("base",))
    source = runs(specs, "offline", "base")
    before, whole = scores(store), state_of(store, source[0])
    path = folder(store) / f"{source[0]}.state.safetensors"
    if damage == "missing":
        path.unlink()
    elif damage == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    else:
        with store.writing() as connection:
            connection.exec_driver_sql("DELETE FROM artefact WHERE kind = 'state'")
    lost = 2 if damage == "never written" else 1
    assert (
        train(store, "offline", algorithms=("base",))[0].finished == 0
    )  # nobody wants it: nothing is trained
    wanted = resolved(specs, "online", algorithms=("on",))
    made = plan(wanted, specs, store)
    [also] = made.also
    assert (also.column, also.runs, also.again, made.to_train) == ("base", lost, True, 2 + lost)
    shown = status(store, wanted)
    assert [one.key for one in shown.again] == list(source.values())[:lost]
    assert shown.counts["finished"] == 2
    outcome, said = train(store, "online", algorithms=("on",))
    assert outcome.finished == 2 + lost
    assert "Base on maze2d-umaze-v1, seed 0: trained again for its state, which others read" in said
    after = scores(store)
    assert {key: after[key] for key in before} == before
    for name, tensor in state_of(store, source[0]).items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-3, atol=1e-3)  # in another population
    assert status(store, wanted).again == ()
    assert not any(state.held for state in store.runs().values())


def test_interrupted_while_it_is_trained_again_it_goes_on(train, store, specs, tmp_path):
    train(store, "offline", algorithms=("base",))
    source = runs(specs, "offline", "base")
    before = scores(store)
    for key in source.values():
        (folder(store) / f"{key}.state.safetensors").unlink()
    left = iter(range(15))
    outcome, _ = train(store, "online", stop=lambda: next(left, None) is None, algorithms=("on",))
    assert outcome.interrupted
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    assert {state.status for state in store.runs(source.values()).values()} == {"finished"}
    assert not any(state.held for state in store.runs().values())
    assert train(store, "online", algorithms=("on",))[0].finished == 4
    assert {key: scores(store)[key] for key in before} == before
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_state_from_other_code_than_the_scores_is_said(train, store, specs):
    train(store, "offline", algorithms=("base",))
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE environment SET fingerprint = '{}'")
        connection.exec_driver_sql("DELETE FROM artefact WHERE kind = 'state'")
    outcome, said = train(store, "online", algorithms=("on",))
    assert outcome.finished == 4
    assert "Base on maze2d-umaze-v1, seed 0: its state comes from other code than its scores" in said


def test_two_processes_do_not_train_a_finished_run_at_once(train, store, specs, tmp_path):
    train(store, "offline", algorithms=("base",))
    source = runs(specs, "offline", "base")
    for key in source.values():
        (folder(store) / f"{key}.state.safetensors").unlink()
    with Store.open(tmp_path / "r.db", owner="elsewhere:1:x.1") as elsewhere:
        assert elsewhere.claim(source.values()) == []
        assert elsewhere.claim(source.values(), again={source[0]}) == [source[0]]
        assert store.claim(source.values(), again=set(source.values())) == [source[1]]
        store.release([source[1]])
        outcome, said = train(store, "online", algorithms=("on",))
        assert "seed 0 being trained again for its state" in said
        assert (outcome.finished, outcome.elsewhere) == (2, 1)
        [work] = status(store).active
        assert work.key == source[0]


def test_one_that_fails_when_it_is_trained_again_keeps_its_scores(train, store, specs, monkeypatch):
    train(store, "offline", algorithms=("base",))
    source = runs(specs, "offline", "base")
    before = scores(store)
    for key in source.values():
        (folder(store) / f"{key}.state.safetensors").unlink()

    def broken(*_):
        raise RuntimeError("diverged this time")

    with monkeypatch.context() as patch:
        patch.setattr(population, "Trainer", broken)
        outcome, said = train(store, "online", algorithms=("on",))
    assert (outcome.finished, outcome.failed) == (0, 2)
    assert "it starts from base of offline, seeds 0, 1 failed when it was trained again for its state" in said
    assert {state.status for state in store.runs(source.values()).values()} == {"finished"}
    assert scores(store).items() >= before.items()
    wanted = resolved(specs, "online", algorithms=("on",))
    assert plan(wanted, specs, store).to_train == 0
    assert store.retry(trainable_keys(wanted, store)) == 2
    assert train(store, "online", algorithms=("on",))[0].finished == 4
    assert scores(store).items() >= before.items()


def test_a_write_cut_short_is_written_again(train, store, specs, monkeypatch):
    """The files are there and the database knows nothing of them yet: the run goes on from its checkpoint."""
    finish, written = Store.finish, []

    def killed(self, *arguments):
        written.extend(path.name for path in folder(store).iterdir())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            train(store, "online", algorithms=("on",))
    assert len(written) == 2 * 2
    assert store.artefacts() == {}
    assert Store.finish is finish
    assert train(store, "online", algorithms=("on",))[0].finished == 4
    assert store.artefacts().keys() == store.runs().keys()


def test_no_flipped_bit_is_ever_used(tmp_path):
    state = {"critic.weight": torch.randn(1, 8, 4), "critic_optimiser/0/step": torch.tensor(20.0)}
    kept = artefacts.write(tmp_path, "a" * 64, STATE, state)
    path = tmp_path / kept.name
    assert artefacts.read(tmp_path, kept).keys() == state.keys()
    assert safetensors.torch.load_file(path).keys() == state.keys()  # a file for everybody
    content = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(content)), 200):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="has changed since it was written"):
            artefacts.read(tmp_path, kept)
    assert [each.name for each in tmp_path.iterdir()] == [kept.name]


def test_an_artefact_is_a_file_of_its_folder(tmp_path):
    for name in ("../r.db", "/etc/passwd", "a/b"):
        with pytest.raises(DataError, match="should be the name of a file in"):
            artefacts.read(tmp_path, Artefact(STATE, name, "0" * 64, 1))


def test_restart_takes_what_unfinished_runs_left_and_nothing_elsewhere(train, store, specs):
    train(store, "offline", algorithms=("base",))
    source = list(runs(specs, "offline", "base").values())
    names = {path.name for path in folder(store).iterdir()}
    assert restart(store, source) == 0  # finished runs stay as they are
    assert {path.name for path in folder(store).iterdir()} == names
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE run SET status = 'failed', error = 'by hand'")
    assert restart(store, source[:1]) == 1
    assert {path.name for path in folder(store).iterdir()} == {
        n for n in names if not n.startswith(source[0])
    }
    assert source[0] not in store.artefacts()
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE artefact SET name = '../r.db'")
    with pytest.raises(DataError, match="should be the name of a file in"):
        restart(store, source)
    assert store.location.path.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            SMALL + "\n    start: {table: offline, column: base}\n",
            SMALL.replace("16'}", "24'}") + "\n    start: {table: offline, column: base}\n",
            r"online.yaml:\d+:\d+: columns.0.start: on maze2d-\S+, on cannot start from base of offline, "
            r"which is of another architecture: actor\S* is \S+ there and \S+ here",
        ),
        (
            "state: [critic, target_critic]",
            "state: [critics]",
            r"online.yaml:\d+:\d+: columns.1.start.state: base of offline: no part of the state named "
            r"'critics'; did you mean critic",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_training(train, store, specs, tmp_path, old, new, message):
    path = tmp_path / "specs" / "tables" / "online.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SpecError, match=message):
        plan(resolved(Specs([tmp_path / "specs"]), "online"), Specs([tmp_path / "specs"]), store)


def test_the_heartbeat_keeps_a_finished_run_that_is_trained_again(train, store, specs):
    train(store, "offline", algorithms=("base",))
    source = list(runs(specs, "offline", "base").values())
    assert store.claim(source, again=source) == source
    thread = threading.Thread(target=store.heartbeat, args=(source,))
    thread.start()
    thread.join()
    assert all(state.alive and state.status == "finished" for state in store.runs(source).values())
    store.record_fingerprint(source, {"torch": "another"}, "again")
    kept = store.runs(source)[source[0]]
    assert kept.population == "again"
    assert store.fingerprints([kept.fingerprint_id])[kept.fingerprint_id] != {"torch": "another"}
    store.finish(source, 1e9, 1e9)
    assert store.runs(source)[source[0]].wall_seconds < 1e9


def begin(specs_folder, data, name):
    """The command line's reproduce, in a process of its own."""
    command = [sys.executable, "-m", "harness", "--specs", specs_folder, "reproduce", "online"]
    options = ["--preset", "tiny", "--datasets", ROW, "--db", name, "--data-home", data, "--quiet"]
    return subprocess.Popen(
        [*command, *options, "--checkpoint-seconds", "0", "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_alike(specs, data, tmp_path):
    """Whatever is cut short: training, the writing of files, what comes between two tables."""

    def content(name):
        with Store.open(tmp_path / name) as store:
            assert [*store.check(), *artefacts_of_runs.problems(store, folder(store))] == []
            evaluated = {key: store.evaluations([key])[key] for key in store.runs()}
            return evaluated, {key: set(left) for key, left in store.artefacts().items()}

    start = time.monotonic()
    assert begin(tmp_path / "specs", data, tmp_path / "whole.db").wait() == 0
    seconds = time.monotonic() - start
    moments, kills = random.Random(0), 0
    while kills < 4:
        process = begin(tmp_path / "specs", data, tmp_path / "killed.db")
        try:
            process.wait(moments.uniform(0.3, 0.9) * seconds)
            if kills:
                break
            seconds /= 2  # the machine was busier before: once more, with less time
            (tmp_path / "killed.db").unlink()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    assert begin(tmp_path / "specs", data, tmp_path / "killed.db").wait() == 0
    assert kills
    assert content("killed.db") == content("whole.db")
