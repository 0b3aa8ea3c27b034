"""What is computed with, where it cannot be, and how it is recorded."""

from __future__ import annotations

import pytest
import torch

from harness.errors import HarnessError
from harness.execution.devices import arithmetic, recover
from harness.execution.measure import timer
from harness.execution.setup import Setup


@pytest.mark.parametrize(
    ("device", "precision", "recorded"),
    [
        ("cpu", None, "float32"),
        ("cpu", "fp32", "float32"),
        ("cuda", None, "tf32"),
        ("cuda", "fp32", "float32"),
        ("cuda", "tf32", "tf32"),
    ],
)
def test_tf32_is_what_cuda_computes_with_unless_told_otherwise(device, precision, recorded):
    assert str(arithmetic(device, precision)) == recorded


def test_tf32_on_a_cpu_is_refused(tmp_path, monkeypatch):
    with pytest.raises(HarnessError, match=r"TF32 .* leave --precision out"):
        Setup.on("cpu", tmp_path, precision="tf32")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(HarnessError, match="TF32"):
        timer("tf32")


def test_compiling_is_recorded_and_needs_a_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(HarnessError, match=r"finds none \(no-such-compiler\)"):
        Setup.on("cpu", tmp_path, compiled=True)
    monkeypatch.delenv("CXX")
    monkeypatch.setattr("shutil.which", lambda name: name if name == "clang++" else None)
    assert str(Setup.on("cpu", tmp_path, compiled=True).conditions.arithmetic) == "float32+compile"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HarnessError, match="triton"):
        arithmetic("cuda", compiled=True)


@pytest.mark.parametrize("fails", [None, "synchronize", "empty_cache"])
def test_a_device_that_meets_an_error_at_every_call_has_not_recovered(monkeypatch, fails):
    def end():
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(f"torch.cuda.{name}", end if name == fails else lambda: None)
    monkeypatch.setattr("torch.zeros", lambda *_, device: torch.ones(1))
    assert recover("cuda") is (fails is None)
    assert recover("cpu")
