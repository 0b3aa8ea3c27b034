"""What `harness data ls` lists: every lineage of a dataset, and what of it lies on this machine."""

from __future__ import annotations

import hashlib
import shutil
from types import SimpleNamespace

import pytest

from harness import datasets
from harness.datasets import generated
from harness.datasets.inventory import inventory
from harness.specs.models import D4RLSource, GeneratedSource, MinariSource

NAME = "hopper_medium-v2.hdf5"
SOURCE = D4RLSource(url=f"http://127.0.0.1/{NAME}", size=123, sha256="a" * 64)


@pytest.fixture
def spec(make_dataset):
    return make_dataset(
        steps=15,
        d4rl=SOURCE,
        minari=MinariSource(id="test/hopper-v0"),
        generated=GeneratedSource(recipe="random-policy", version=1, seed=3, transitions=100),
    )


@pytest.fixture
def listed(tmp_path):
    """Lists a dataset: lineage -> item."""

    def items(spec, *lineages):
        specs = SimpleNamespace(dataset={spec.id: spec}.__getitem__)
        return {item.lineage: item for item in inventory(specs, [spec.id], lineages, tmp_path)}

    return items


def test_what_is_not_here_is_listed_with_what_its_spec_says(spec, listed):
    found = listed(spec)
    assert list(found) == ["d4rl", "minari", "generated"]
    assert not any(item.present for item in found.values())
    assert [(item.size, item.sha256) for item in found.values()] == [
        (123, "a" * 64),
        (None, None),
        (None, None),
    ]
    assert list(listed(spec, "minari")) == ["minari"]


@pytest.mark.parametrize("pinned", [True, False])
def test_an_original_file_has_the_hash_recorded_at_its_first_use(spec, listed, tmp_path, hdf5_file, pinned):
    sha256 = hashlib.sha256(hdf5_file.read_bytes()).hexdigest()
    source = SOURCE.model_copy(update={"size": None, "sha256": sha256 if pinned else None})
    spec = spec.model_copy(update={"d4rl": source})
    place = tmp_path / "d4rl" / f"{spec.id}.hdf5"
    place.parent.mkdir()
    shutil.copy(hdf5_file, place)
    assert listed(spec)["d4rl"].sha256 == (sha256 if pinned else None)
    datasets.load(spec, "d4rl", tmp_path)
    item = listed(spec)["d4rl"]
    assert (item.present, item.path, item.size, item.sha256) == (
        True,
        place,
        hdf5_file.stat().st_size,
        sha256,
    )


def test_generated_data_have_the_hash_of_their_rows(spec, listed, tmp_path):
    place = datasets.build(spec, "generated", tmp_path)
    item = listed(spec)["generated"]
    assert (item.present, item.path, item.size) == (True, place, place.stat().st_size)
    assert item.sha256 == generated.read(spec, tmp_path, datasets.identity(spec, "generated")).content_hash
    place.write_bytes(b"no HDF5")
    assert (listed(spec)["generated"].size, listed(spec)["generated"].sha256) == (7, item.sha256)


def test_a_folder_of_minaris_is_as_large_as_its_files(spec, listed):
    folder = datasets.path(spec, "minari")
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "main_data.hdf5").write_bytes(b"12345")
    (folder / "data" / "metadata.json").write_bytes(b"{}")
    item = listed(spec)["minari"]
    assert (item.present, item.path, item.size, item.sha256) == (True, folder, 7, None)
