"""Files that finished runs leave: recorded, checked, merged, copied."""

from __future__ import annotations

import hashlib
import json

import pytest

from harness.results import artefacts, transfer
from harness.results.models import POLICY, STATE
from harness.results.records import Artefact
from harness.results.schema import Location
from harness.results.store import Store


def folder(store):
    return store.location.folder("artefacts")


def leave(store, key, content=b"policy", kind=POLICY):
    """A file as a run leaves it."""
    made = Artefact(kind, f"{key}.{kind}.safetensors", hashlib.sha256(content).hexdigest(), len(content))
    folder(store).mkdir(exist_ok=True)
    (folder(store) / made.name).write_bytes(content)
    return made


@pytest.fixture
def finished(train):
    """Trains a run in a database, which leaves files of these contents."""

    def run(store, record, **contents):
        train(store, record, {5: [1.0], 10: [2.0]}, finish=False)
        left = [leave(store, record.key, content, kind) for kind, content in contents.items()]
        store.finish([record.key], 2.0, 1.0, {record.key: left})
        return left

    return run


@pytest.fixture
def other(tmp_path):
    (tmp_path / "other").mkdir()
    with Store.open(tmp_path / "other" / "other.db", create=True) as opened:
        yield opened


def test_they_lie_beside_the_real_file_or_with_the_data_of_a_server(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "results.db")
    assert Location.parse(tmp_path / "link.db").folder("artefacts") == tmp_path / "real" / "results.artefacts"
    server = Location.parse("postgresql://user:secret@host/one")
    assert server.folder("artefacts", tmp_path) == tmp_path / "artefacts" / "one"


def test_what_finished_runs_left_is_recorded_with_them(store, finished, record):
    left = finished(store, record(), policy=b"p", state=b"s")
    key = record().key
    assert store.artefacts() == {key: {POLICY: left[0], STATE: left[1]}}
    assert store.artefacts(["unknown"]) == {}
    kept = artefacts.kept_states(store)
    assert kept(key)
    assert not kept("unknown")
    assert store.claim([key], again=[key]) == [key]
    store.finish([key], 9.0, 9.0, {key: [leave(store, key, b"another", STATE)]})
    assert store.artefacts()[key][POLICY] == left[0]
    assert store.artefacts()[key][STATE].size == len(b"another")
    assert store.runs()[key].wall_seconds == 2.0


def test_check_names_what_is_missing_changed_or_elsewhere(store, finished, record):
    for seed in range(3):
        finished(store, record(seed), policy=b"p")
    assert list(artefacts.problems(store, folder(store))) == []
    (folder(store) / f"{record(0).key}.policy.safetensors").unlink()
    (folder(store) / f"{record(1).key}.policy.safetensors").write_bytes(b"q")
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE artefact SET name = '../results.db' WHERE run_id = 3")
    missing, changed, elsewhere = artefacts.problems(store, folder(store))
    assert missing.startswith(f"run {record(0).key}: its policy is missing")
    assert changed.startswith(f"run {record(1).key}: its policy has changed since it was written")
    assert "'../results.db' should be the name of a file in" in elsewhere


def test_merge_brings_the_files_and_loses_none(store, other, finished, record):
    finished(store, record(0), policy=b"ours")
    finished(other, record(0), policy=b"theirs", state=b"s")
    finished(other, record(1), policy=b"p1")
    finished(other, record(2), policy=b"p2")
    (folder(other) / f"{record(2).key}.policy.safetensors").unlink()
    report = transfer.merge(store, other.location.path)
    assert report.files == 2
    [left] = report.left
    assert left.startswith(f"run {record(2).key}: its policy there is missing")
    found = store.artefacts()
    assert {key: set(kinds) for key, kinds in found.items()} == {
        record(0).key: {POLICY, STATE},
        record(1).key: {POLICY},
    }
    assert (folder(store) / found[record(0).key][POLICY].name).read_bytes() == b"ours"
    assert list(artefacts.problems(store, folder(store))) == []
    again = transfer.merge(store, other.location.path)
    assert (again.files, len(again.left)) == (0, 1)
    (folder(store) / found[record(1).key][POLICY].name).unlink()  # the same file is there: it comes back
    transfer.merge(store, other.location.path)
    assert list(artefacts.problems(store, folder(store))) == []


def test_a_merge_without_files_knows_of_none(store, other, finished, record):
    finished(other, record(0), policy=b"theirs")
    report = transfer.merge(store, other.location.path, files=False)
    assert (report.added, report.files, report.left) == ((record(0).key,), 0, ())
    assert store.artefacts() == {}
    assert list(artefacts.problems(store, folder(store))) == []


def test_a_merge_overwrites_no_file(store, other, finished, record):
    finished(other, record(), policy=b"theirs")
    folder(store).mkdir()
    place = folder(store) / f"{record().key}.policy.safetensors"
    place.write_bytes(b"of nobody knows what")
    [left] = transfer.merge(store, other.location.path).left
    assert left.endswith(f"is not copied: another file is there, and kept ({place})")
    assert place.read_bytes() == b"of nobody knows what"
    assert store.artefacts() == {}


@pytest.mark.parametrize("write", [transfer.backup, transfer.export])
def test_a_copy_of_the_database_has_the_files(store, finished, record, tmp_path, write):
    finished(store, record(0), policy=b"p0", state=b"s0")
    finished(store, record(1), policy=b"p1")
    (folder(store) / f"{record(1).key}.policy.safetensors").write_bytes(b"damaged")
    said = []
    write(store, tmp_path / "copy.db", said.append)
    [missing] = said
    assert missing.startswith(f"run {record(1).key}: its policy has changed since it was written")
    with Store.open(tmp_path / "copy.db") as copied:
        assert copied.artefacts() == store.artefacts()
        assert {path.read_bytes() for path in folder(copied).iterdir()} == {b"p0", b"s0"}


def test_an_export_lists_them(store, finished, record, tmp_path):
    [left] = finished(store, record(), policy=b"p")
    transfer.export(store, tmp_path / "all.json")
    [run] = json.loads((tmp_path / "all.json").read_text())["runs"]
    assert run["artefacts"] == {"policy": left._asdict()}


def test_a_run_that_begins_anew_has_left_nothing(store, finished, record):
    finished(store, record(), policy=b"p")
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE run SET status = 'failed', error = 'e'")
    assert store.retry([record().key]) == 1
    assert store.artefacts() == {}
