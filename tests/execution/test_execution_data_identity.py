"""Runs of one database train on the same data: what a database remembers of its data is held against them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness import datasets
from harness.errors import DataError
from harness.execution import local
from harness.execution.progress import Reporter
from harness.planning.cells import resolve
from harness.results.store import Store
from harness.specs import Specs

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
seeds: [0]
steps: 20
evaluate_every: 20
episodes: 1
"""


@pytest.fixture
def specs(tmp_path):
    folder = tmp_path / "specs" / "presets"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text(PRESET)
    return Specs([tmp_path / "specs"])


@pytest.fixture
def resolved(specs):
    return resolve(specs, "aspc-table1", preset="tiny")


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "r.db", create=True) as opened:
        yield opened


@pytest.fixture
def train(resolved, specs, store, tmp_path):
    def run():
        settings = local.settings("cpu", tmp_path / "checkpoints", home=tmp_path / "data")
        with Reporter(Console(file=io.StringIO()), quiet=True) as reporter:
            return local.train_missing(resolved, specs, store, settings, reporter)

    return run


def recorded(store):
    with store.reading() as connection:
        return connection.exec_driver_sql("SELECT content_hash, transitions FROM dataset").all()


def test_what_is_trained_on_is_recorded(train, store, resolved, tmp_path):
    assert train().finished == 1
    data = datasets.load(resolved.cells[0].dataset, "generated", tmp_path / "data")
    assert recorded(store) == [(data.content_hash, len(data))]


def test_nothing_is_trained_on_data_other_than_those_recorded(train, store, resolved):
    identity = resolved.cells[0].runs[0].configuration["dataset"]
    store.record_dataset(identity, "0" * 64, 490)
    with pytest.raises(DataError, match=r"recorded 000000000000 \(490 transitions\) under that name"):
        train()
    assert recorded(store) == [("0" * 64, 490)]
    [run] = store.runs().values()
    assert (run.status, store.evaluations([run.key])) == ("interrupted", {run.key: []})
