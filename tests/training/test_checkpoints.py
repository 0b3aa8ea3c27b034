from __future__ import annotations

import random

import pytest
import torch

from harness.errors import DataError
from harness.training import checkpoints
from harness.training.checkpoints import Checkpoint, PendingEvaluation


@pytest.fixture
def checkpoint():
    return Checkpoint(
        algorithm="td3_bc",
        source="0" * 64,
        keys=("a", "b"),
        step=300,
        state={"actor.weight": torch.randn(2, 3, 4), "steps": torch.tensor(150.0)},
        metrics={"alpha": torch.tensor([[1.0], [2.0]])},
        pending=(PendingEvaluation("b", 200, {"actor.weight": torch.randn(1, 3)}),),
        seconds=1.5,
    )


def test_round_trip(checkpoint, tmp_path):
    path = tmp_path / "deep" / "p.pt"
    checkpoints.save(checkpoint, path)
    back = checkpoints.load(path)
    assert (back.keys, back.step, back.seconds) == (("a", "b"), 300, 1.5)
    assert all(torch.equal(back.state[name], tensor) for name, tensor in checkpoint.state.items())
    assert torch.equal(back.metrics["alpha"], checkpoint.metrics["alpha"])
    assert torch.equal(back.pending[0].policy["actor.weight"], checkpoint.pending[0].policy["actor.weight"])
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_checkpoint(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "p.pt"
    checkpoints.save(checkpoint, path)
    before = path.read_bytes()

    def full(content, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(DataError, match=r"no space left to write .*p.pt.*the last one is kept"):
        checkpoints.save(checkpoint, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", None])
def test_a_damaged_checkpoint_says_what_to_do(checkpoint, tmp_path, damage):
    path = tmp_path / "p.pt"
    checkpoints.save(checkpoint, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage is None else damage)
    with pytest.raises(DataError, match="harness retry TABLE --restart"):
        checkpoints.load(path)


def test_no_flipped_bit_is_ever_loaded(checkpoint, tmp_path):
    path = tmp_path / "p.pt"
    checkpoints.save(checkpoint, path)
    whole = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(whole)), 500):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            checkpoints.load(path)


def test_another_format_is_refused(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "p.pt"
    monkeypatch.setattr(checkpoints, "_FORMAT", 2)
    checkpoints.save(checkpoint, path)
    monkeypatch.undo()
    with pytest.raises(DataError, match="of another format than this program's; delete it"):
        checkpoints.load(path)


def test_no_pickle_from_a_file_runs_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    path = tmp_path / "p.pt"
    checkpoints.write({"format": 3, "pending": [], "state": Evil()}, path)
    with pytest.raises(DataError):
        checkpoints.load(path)
    assert not (tmp_path / "owned").exists()
