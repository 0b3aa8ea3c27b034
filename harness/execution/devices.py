"""Which device trains, what arithmetic it computes with, and whether it can."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
from typing import Literal

import torch

from harness.errors import CPU_ALLOCATOR, HarnessError, causes
from harness.training.engine import Arithmetic, Precision

_COMPILERS = ("g++", "clang++", "c++")


def chosen(device: str) -> Literal["cpu", "cuda"]:
    """The device that 'auto', 'cpu' or 'cuda' means here.

    Raises:
        HarnessError: CUDA is asked for and not there.
    """
    if device != "cpu" and torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise HarnessError("there is no CUDA device that this torch can use; choose --device cpu")
    return "cpu"


def out_of_memory(error: BaseException | None) -> bool:
    """Whether the device's memory was too small; a graph's broken capture hides that behind another error."""
    # CUDA itself, as when it instantiates a graph, says so by another type than torch's allocator
    # and cuBLAS, which allocates for itself, by its own words
    signs = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED", CPU_ALLOCATOR)
    return any(
        isinstance(each, MemoryError)
        or (isinstance(each, RuntimeError) and any(sign in str(each) for sign in signs))
        for each in causes(error)
    )


def recover(device: str) -> bool:
    """Give back the memory that nothing holds; False if the device does not compute any more.

    Some errors of CUDA are met by every later call, until the process ends.
    """
    gc.collect()  # what was trained hangs in cycles
    if device == "cuda":
        try:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.zeros(1, device=device).item()
        except RuntimeError:
            return False
    return True


def arithmetic(device: str, precision: Precision | None = None, *, compiled: bool = False) -> Arithmetic:
    """What to compute with.

    Args:
        device: 'cpu' or 'cuda'.
        precision: of matrix products; None for TF32 on CUDA and float32 on a CPU.
        compiled: run updates through torch.compile.

    Raises:
        HarnessError: TF32 is asked of a CPU, or torch.compile finds no compiler.
    """
    cuda = device == "cuda"
    if precision == "tf32" and not cuda:
        raise HarnessError(
            "TF32 is arithmetic of NVIDIA's GPUs; on a CPU leave --precision out, or give fp32"
        )
    if compiled:
        wanted = [os.environ["CXX"]] if "CXX" in os.environ else _COMPILERS
        if not any(map(shutil.which, wanted)):
            raise HarnessError(
                f"--compile needs a C++ compiler and finds none ({', '.join(wanted)}); install one, "
                "name it in CXX, or leave --compile out"
            )
        if cuda and importlib.util.find_spec("triton") is None:
            raise HarnessError("--compile on CUDA needs triton; install it, or leave --compile out")
    return Arithmetic(precision or ("tf32" if cuda else "fp32"), compiled)
