"""What is common to all lineages: identities, hashes, and messages."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from harness import datasets
from harness.datasets.base import hash_arrays, transitions
from harness.errors import DataError
from harness.specs.models import D4RLSource, GeneratedSource, MinariSource

D4RL = D4RLSource(url="http://elsewhere.example/hopper.hdf5")
MINARI = MinariSource(id="mujoco/hopper/medium-v0")
GENERATED = GeneratedSource(recipe="random-policy", version=1, seed=0, transitions=100)


@pytest.fixture
def full(make_dataset):
    return make_dataset(d4rl=D4RL, minari=MINARI, generated=GENERATED)


def test_identities_are_json_and_known_without_data(full):
    identities = [datasets.identity(full, lineage) for lineage in ("d4rl", "minari", "generated")]
    assert json.loads(json.dumps(identities)) == identities
    assert [(name["id"], name["lineage"]) for name in identities] == [
        ("hopper-medium-v2", lineage) for lineage in ("d4rl", "minari", "generated")
    ]
    assert identities[0]["file"] == "hopper.hdf5"
    assert "mujoco/hopper/medium-v0" in identities[1].values()
    assert {"recipe": "random-policy", "version": 1, "seed": 0, "transitions": 100}.items() <= identities[
        2
    ].items()


def test_a_lineage_without_source(make_dataset):
    with pytest.raises(DataError, match="hopper-medium-v2 has no minari data; its spec has d4rl"):
        datasets.load(make_dataset(d4rl=D4RL), "minari")
    with pytest.raises(DataError, match="not made here: run `harness data pull hopper-medium-v2`"):
        datasets.build(make_dataset(d4rl=D4RL), "d4rl")


def test_the_default_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "here"))
    assert datasets.default_home() == tmp_path / "here"
    monkeypatch.delenv("HARNESS_DATA")
    assert datasets.default_home().name == "harness"


def arrays(count=5):
    random = np.random.default_rng(0)
    return {
        "observations": random.standard_normal((count, 11)),
        "actions": random.standard_normal((count, 3)),
        "rewards": random.standard_normal(count),
        "next_observations": random.standard_normal((count, 11)),
        "terminals": np.zeros(count, bool),
        "next_actions": random.standard_normal((count, 3)),
    }


def test_the_hash_depends_on_every_value_type_shape_and_name():
    def of(**changes):
        return hash_arrays({**arrays(), **changes})

    base = arrays()
    seen = {of(), of(other=np.zeros(1)), of(rewards=base["rewards"].astype(np.float32))}
    seen.add(of(rewards=base["rewards"][:, None]))
    seen.add(of(observations=base["next_observations"], next_observations=base["observations"]))
    for name, array in base.items():
        changed = array.copy()
        changed.flat[-1] = not changed.flat[-1] if array.dtype == bool else changed.flat[-1] + 1
        seen.add(of(**{name: changed}))
    assert len(seen) == 5 + len(base)


def test_the_hash_does_not_depend_on_order_or_memory_layout():
    base = arrays()
    backwards = {name: np.asfortranarray(array) for name, array in reversed(base.items())}
    swapped = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in base.items()}
    assert hash_arrays(base) == hash_arrays(backwards) == hash_arrays(swapped)


def test_the_hash_is_the_same_tomorrow(full):
    zeros = {name: np.zeros_like(array) for name, array in arrays(1).items()}
    got = transitions(zeros, full, {}, "x")
    assert got.content_hash == HASH_OF_ZEROS
    assert [got.observations.dtype, got.terminals.dtype] == [np.float32, np.bool_]


HASH_OF_ZEROS = "f78379a70346545f1978c56c3d3eec4240a589120e3742a1c7f5b6df9f645de2"


@pytest.mark.parametrize(
    ("lineages", "wanted", "unwanted"),
    [
        (
            ["d4rl"],
            ["1 dataset is missing", "data pull hopper-medium-v2\n", "MIRROR", "minari or --data generated"],
            ["build"],
        ),
        (
            ["generated", "generated"],
            ["2 datasets are missing", "data build hopper-medium-v2 hopper-medium-v2"],
            ["pull", "MIRROR"],
        ),
        (["d4rl", "minari"], ["pull hopper-medium-v2\n", "pull hopper-medium-v2 --data minari"], []),
    ],
)
def test_one_message_for_many_missing_datasets(full, tmp_path, lineages, wanted, unwanted):
    message = datasets.missing_message([(full, lineage) for lineage in lineages], tmp_path)
    for text in wanted:
        assert text in message
    for text in unwanted:
        assert text not in message
    for lineage in lineages:
        assert str(datasets.path(full, lineage, tmp_path)) in message
    assert "N/C" in message


def test_importing_is_light():
    """`harness ls` passes through here for identities."""
    program = (
        "import sys, harness.datasets; "
        "heavy = 'torch', 'gymnasium', 'minari', 'h5py', 'requests', 'mujoco'; "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
