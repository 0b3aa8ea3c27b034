"""The original files: pulled, checked, held to their first hash, and loaded."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness import datasets, files
from harness.errors import DataError
from harness.specs.models import D4RLSource

ORIGIN = "http://rail.eecs.berkeley.edu/datasets/offline_rl"
URL = f"{ORIGIN}/gym_mujoco_v2/hopper_medium-v2.hdf5"
FILE = "hopper_medium-v2.hdf5"  # on the server, and so in the d4rl package's folder
NAME = "hopper-medium-v2.hdf5"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def spec(make_dataset):
    return make_dataset(d4rl=D4RLSource(url=URL))


@pytest.fixture
def with_source(make_dataset):
    return lambda **fields: make_dataset(d4rl=D4RLSource(**{"url": URL, **fields}))


@pytest.fixture
def placed(home, hdf5_file):
    (home / "d4rl").mkdir(parents=True)
    return Path(shutil.copy(hdf5_file, home / "d4rl" / NAME))


def test_load_gives_transitions(spec, home, placed, hdf5_rows):
    got = datasets.load(spec, "d4rl", home)
    # 30 of 6000 rows are cut, and the last of those is the last row
    assert len(got) == 5970
    assert got.identity == datasets.identity(spec, "d4rl")
    keep = np.flatnonzero(~hdf5_rows["timeouts"])
    np.testing.assert_array_equal(got.observations, hdf5_rows["observations"][keep])
    np.testing.assert_array_equal(got.next_observations, hdf5_rows["observations"][keep + 1])
    assert got.terminals.sum() == 30
    assert datasets.load(spec, "d4rl", home).content_hash == got.content_hash


def test_rows_without_timeouts_use_the_time_limit(make_dataset, home, hdf5_rows, write_rows):
    del hdf5_rows["timeouts"]
    hdf5_rows["terminals"][:] = False
    # D4RL lets these two be columns
    hdf5_rows["rewards"] = hdf5_rows["rewards"][:, None]
    hdf5_rows["terminals"] = hdf5_rows["terminals"][:, None]
    write_rows(home / "d4rl" / NAME, hdf5_rows)
    source = D4RLSource(url=URL)
    assert len(datasets.load(make_dataset(steps=50, d4rl=source), "d4rl", home)) == 6000 - 120
    with pytest.raises(DataError, match="no timeouts"):
        datasets.load(make_dataset(environment=None, d4rl=source), "d4rl", home)


def test_a_missing_file(spec, home, tmp_path):
    assert not datasets.available(spec, "d4rl", home)
    with pytest.raises(DataError) as caught:
        datasets.load(spec, "d4rl", home)
    for part in (
        home / "d4rl" / NAME,
        tmp_path / "d4rl-package" / FILE,
        "harness data pull hopper-medium-v2",
    ):
        assert str(part) in str(caught.value)


def test_the_d4rl_packages_folder_is_read_and_never_written(spec, home, hdf5_file, tmp_path):
    folder = tmp_path / "d4rl-package"
    folder.mkdir()
    shutil.copy(hdf5_file, folder / FILE)
    folder.chmod(0o555)
    assert datasets.path(spec, "d4rl", home) == folder / FILE
    datasets.load(spec, "d4rl", home)
    assert [path.name for path in folder.iterdir()] == [FILE]
    assert datasets.pull(spec, "d4rl", home) == folder / FILE


def test_a_file_under_the_servers_name_is_used_where_it_is_the_right_one(
    with_source, home, hdf5_file, make_dataset
):
    (home / "d4rl").mkdir(parents=True)
    old = Path(shutil.copy(hdf5_file, home / "d4rl" / FILE))
    own = home / "d4rl" / NAME
    assert datasets.path(with_source(), "d4rl", home) == old  # D4RL's own names are unique
    elsewhere = f"https://example.org/other/{FILE}"
    assert datasets.path(with_source(url=elsewhere), "d4rl", home) == own
    assert datasets.path(with_source(url=elsewhere, sha256=files.sha256(old)), "d4rl", home) == old
    assert datasets.path(with_source(url=elsewhere, sha256="0" * 64), "d4rl", home) == own
    assert datasets.path(with_source(size=7), "d4rl", home) == own


def test_two_datasets_whose_urls_end_alike_do_not_share_a_file(make_dataset, home, server):
    source = D4RLSource(url=server.url)
    one, two = (make_dataset(identifier=name, d4rl=source) for name in ("one-v0", "two-v0"))
    assert [datasets.pull(each, "d4rl", home).name for each in (one, two)] == ["one-v0.hdf5", "two-v0.hdf5"]


def test_the_hash_of_first_use_is_kept_and_not_computed_again(spec, home, placed, monkeypatch):
    datasets.load(spec, "d4rl", home)
    record = json.loads((home / "d4rl" / f"{NAME}.sha256").read_text())
    assert record["sha256"] == files.sha256(placed)
    monkeypatch.setattr(files, "sha256", lambda path: pytest.fail("hashed again"))
    datasets.load(spec, "d4rl", home)


def test_a_touched_or_moved_file_is_hashed_again_and_accepted(spec, home, placed, tmp_path):
    datasets.load(spec, "d4rl", home)
    os.utime(placed, ns=(1, 1))
    datasets.load(spec, "d4rl", home)
    (tmp_path / "d4rl-package").mkdir()
    placed.rename(tmp_path / "d4rl-package" / FILE)
    datasets.load(spec, "d4rl", home)


def test_another_valid_file_under_the_same_name_is_refused(spec, home, placed, hdf5_rows, write_rows):
    datasets.load(spec, "d4rl", home)
    before = files.sha256(placed)
    hdf5_rows["rewards"][17] += 1
    write_rows(placed, hdf5_rows)
    with pytest.raises(DataError) as caught:
        datasets.load(spec, "d4rl", home)
    assert before in str(caught.value)
    assert files.sha256(placed) in str(caught.value)


def test_verify_finds_a_change_that_kept_size_and_time(spec, home, placed):
    datasets.load(spec, "d4rl", home)
    status = placed.stat()
    content = bytearray(placed.read_bytes())
    content[len(content) // 2] ^= 1
    placed.write_bytes(content)
    os.utime(placed, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match=r"damaged|SHA-256"):
        datasets.verify(spec, "d4rl", home)


def test_a_flipped_bit_in_an_unused_array_is_found_at_the_latest_by_verify(spec, home, hdf5_rows, write_rows):
    place = write_rows(home / "d4rl" / NAME, hdf5_rows, compression="gzip", chunks=True)
    content = place.read_bytes()
    # break the chunks of infos/qpos only, by overwriting their compressed bytes with zeros
    import h5py

    with h5py.File(place) as file:
        chunk = file["infos/qpos"].id.get_chunk_info(0)
    place.write_bytes(
        content[: chunk.byte_offset] + bytes(chunk.size) + content[chunk.byte_offset + chunk.size :]
    )
    with pytest.raises(DataError, match="damaged"):
        datasets.verify(spec, "d4rl", home)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_a_damaged_file(spec, home, placed, damage):
    content = placed.read_bytes()
    placed.write_bytes({"truncated": content[:-1000], "empty": b"", "text": b"<html>"}[damage])
    with pytest.raises(DataError, match=f"{NAME} is damaged or no HDF5 file"):
        datasets.load(spec, "d4rl", home)
    assert not (home / "d4rl" / f"{NAME}.sha256").exists(), "a damaged file became the truth"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.pop("terminals"), "lacks terminals"),
        (lambda rows: rows.update(actions=rows["actions"][:-1]), r"actions have shape \(5999, 3\)"),
        (lambda rows: rows.update(timeouts=rows["timeouts"][:-1]), r"timeouts have shape \(5999,\)"),
        (lambda rows: rows.update(rewards=np.ones((6000, 2))), r"rewards have shape \(6000, 2\)"),
        (
            lambda rows: rows.update(observations=rows["observations"][:, :10]),
            r"observations have shape .*10\), but the spec",
        ),
        (lambda rows: rows["rewards"].__setitem__(3, np.nan), "rewards .* not finite"),
        (lambda rows: rows["observations"].__setitem__((8, 2), np.inf), "observations .* not finite"),
        (lambda rows: rows["timeouts"].__setitem__(slice(None), True), "no transitions"),
    ],
)
def test_a_file_of_other_content(spec, home, hdf5_rows, write_rows, change, message):
    change(hdf5_rows)
    place = write_rows(home / "d4rl" / NAME, hdf5_rows)
    with pytest.raises(DataError, match=message) as caught:
        datasets.load(spec, "d4rl", home)
    assert str(place) in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 7}, "but the spec says 7; remove the file and run `harness data pull"),
        ({"rows": 7}, "6,000 rows, but the spec of hopper-medium-v2 says 7"),
        ({"sha256": "0" * 64}, "but the spec says 0000"),
    ],
)
def test_what_the_spec_says_is_held(with_source, home, placed, fields, message):
    with pytest.raises(DataError, match=message):
        datasets.load(with_source(**fields), "d4rl", home)


def test_a_spec_that_is_right_about_everything(with_source, home, placed):
    source = {"size": placed.stat().st_size, "rows": 6000, "sha256": files.sha256(placed)}
    assert len(datasets.verify(with_source(**source), "d4rl", home)) == 5970


def test_pull_downloads_once(with_source, home, server):
    spec = with_source(url=server.url)
    place = datasets.pull(spec, "d4rl", home)
    assert place == home / "d4rl" / NAME
    assert datasets.pull(spec, "d4rl", home) == place
    assert len(server.requests) == 1
    assert len(datasets.load(spec, "d4rl", home)) == 5970


def test_pull_refuses_another_dataset_and_keeps_nothing(with_source, home, server, make_dataset):
    spec = make_dataset(sizes=(17, 6), d4rl=D4RLSource(url=server.url))
    with pytest.raises(DataError, match=r"not usable: .*HARNESS_D4RL_MIRROR"):
        datasets.pull(spec, "d4rl", home)
    with pytest.raises(DataError, match="SHA-256"):
        datasets.pull(with_source(url=server.url, sha256="0" * 64), "d4rl", home)
    assert [path.name for path in (home / "d4rl").iterdir() if path.suffix != ".lock"] == []


def test_a_mirror_url_replaces_d4rls_root(spec, home, server, monkeypatch):
    monkeypatch.setenv("HARNESS_D4RL_MIRROR", server.url.rpartition("/")[0] + "/mirror/")
    datasets.pull(spec, "d4rl", home)
    assert server.paths == ["/mirror/gym_mujoco_v2/hopper_medium-v2.hdf5"]


@pytest.mark.parametrize("layout", ["gym_mujoco_v2", "."])
def test_a_mirror_folder_is_copied_from(spec, home, hdf5_file, tmp_path, monkeypatch, layout):
    folder = tmp_path / "mirror"
    (folder / layout).mkdir(parents=True)
    monkeypatch.setenv("HARNESS_D4RL_MIRROR", str(folder))
    with pytest.raises(DataError, match="HARNESS_D4RL_MIRROR has no file for hopper-medium-v2"):
        datasets.pull(spec, "d4rl", home)
    shutil.copy(hdf5_file, folder / layout / FILE)
    place = datasets.pull(spec, "d4rl", home)
    assert place.read_bytes() == hdf5_file.read_bytes()


def test_the_identity_does_not_depend_on_what_is_known_about_the_file(with_source):
    plain = datasets.identity(with_source(), "d4rl")
    assert plain == datasets.identity(with_source(size=5, rows=5, sha256="0" * 64), "d4rl")
