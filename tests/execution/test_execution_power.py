"""An older database beside newer checkpoints, as a power cut or a restored backup leaves them."""

from __future__ import annotations

import contextlib
import itertools
import os
import random

import pytest
from rich.console import Console
from sqlalchemy import delete, select

from harness.errors import DataError
from harness.execution import local, trainers
from harness.execution.progress import Reporter
from harness.execution.setup import Setup
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results import transfer
from harness.results.models import EpisodeRow, EvaluationRow, RunRow
from harness.results.store import Store
from harness.specs import Specs
from harness.training.workers import EvaluationPool

PRESET = """
id: cut
description: Some hundred updates with many evaluations
label: cut protocol
lineage: generated
transitions: 500
datasets: [maze2d-umaze-v1]
columns: []
extra_columns:
  - {id: bc, label: BC, algorithm: bc, hyperparameters: {batch_size: 8}}
seeds: [0, 1]
steps: 120
evaluate_every: 20
episodes: 1
"""
CUTS = int(os.environ.get("CUTS", "10"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder, and what trains in its database until a condition holds: the outcome and what was said."""
    folder = tmp_path_factory.mktemp("cut")
    (folder / "specs" / "presets").mkdir(parents=True)
    (folder / "specs" / "presets" / "cut.yaml").write_text(PRESET)
    specs = Specs([folder / "specs"])
    resolved = resolve(specs, "aspc-table1", Choice(preset="cut"))
    setup = Setup.on("cpu", folder / "checkpoints", home=folder / "data", checkpoint_seconds=0)

    processes = itertools.count(1)

    with pytest.MonkeyPatch.context() as patch, EvaluationPool(1, ["bc"]) as pool:
        patch.setattr(trainers, "EvaluationPool", lambda *_: contextlib.nullcontext(pool))

        def train(name, stop=lambda: False):
            console = Console(record=True, width=300, file=(folder / "said").open("w"))
            pool.discard()
            owner = f"before a power cut:{next(processes)}:x.1"
            with (
                Store.open(folder / name, create=True, owner=owner, lease_seconds=0) as store,
                Reporter(console, quiet=True) as reporter,
            ):
                outcome = local.train_missing(resolved, specs, store, setup, reporter, stop)
            return outcome, console.export_text()

        yield folder, train


def content(path):
    """What there is of every run; not the numbers, for who trains beside whom moves their last digits."""
    with Store.open(path) as store, store.reading() as connection:
        assert store.check() == []
        rows = connection.execute(
            select(RunRow.key, RunRow.status, EvaluationRow.step, EpisodeRow.number)
            .select_from(RunRow)
            .outerjoin(EvaluationRow, EvaluationRow.run_id == RunRow.id)
            .outerjoin(EpisodeRow, EpisodeRow.evaluation_id == EvaluationRow.id)
        )
        metrics = store.metrics(store.runs()).items()
        return sorted(map(tuple, rows)), {key: [(m.step, m.name) for m in of] for key, of in metrics}


@pytest.mark.slow
def test_no_finished_run_has_a_hole_after_power_cuts(world):
    folder, train = world
    train("whole.db")
    whole = content(folder / "whole.db")
    moments, presumed = random.Random(0), 0
    for cut in range(CUTS):
        name, backup = f"{cut}.db", folder / f"{cut}.backup"
        kept, ends = sorted(moments.sample(range(1, 115), 2))
        asked = iter(range(1000))

        def stop(name=name, backup=backup, kept=kept, ends=ends, asked=asked):
            now = next(asked)
            if now == kept:
                with Store.open(folder / name) as store:
                    transfer.backup(store, backup)
            return now >= ends

        assert train(name, stop)[0].interrupted
        for suffix in ("", "-wal", "-shm"):
            (folder / (name + suffix)).unlink(missing_ok=True)
        backup.rename(folder / name)
        outcome, said = train(name)
        presumed += "is older than the checkpoints" in said
        assert not outcome.interrupted
        assert content(folder / name) == whole
    assert presumed > CUTS // 3


def test_a_run_with_a_hole_is_not_finished_and_a_finished_one_is_queued_again(world):
    folder, train = world

    def lose(store, step):
        with store.writing() as connection:
            lost = select(EvaluationRow.id).where(EvaluationRow.step == step)
            connection.execute(delete(EpisodeRow).where(EpisodeRow.evaluation_id.in_(lost)))
            connection.execute(delete(EvaluationRow).where(EvaluationRow.step == step))

    with Store.open(folder / "hole.db", create=True) as store:

        def stop():
            if any(40 in steps for steps, _ in store.reported(store.runs()).values()):
                lose(store, 20)
            return False

        with pytest.raises(DataError, match=r"2 run\(s\) lack evaluations .* at step 20"):
            train("hole.db", stop)
        assert {state.status for state in store.runs().values()} <= {"interrupted", "queued"}
        assert train("hole.db")[0].finished == 2
        assert store.check() == []

        lose(store, 60)
        found = store.check()
        assert len(found) == 2
        assert "is finished and lacks the evaluations at 60" in found[0]
        assert store.retry(store.runs()) == 2
        assert train("hole.db")[0].finished == 2
        assert store.check() == []
