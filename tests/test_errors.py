"""The line that says why something failed."""

from __future__ import annotations

import errno
import traceback

import pytest

from harness.errors import DataError, reason, shortage

TORCH = """Traceback (most recent call last):
  File "training.py", line 1, in train
    graph.replay()
torch.AcceleratorError: CUDA error: an illegal memory access was encountered
Search for `cudaErrorIllegalAddress' in the documentation for more information.

Exception raised from c10_cuda_check_implementation at c10/cuda/CUDAException.cpp:44:
frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x9d
"
"""


def raised(error):
    try:
        raise error
    except BaseException:
        return traceback.format_exc()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("alpha is -1, but must be at least 0\nmore", "alpha is -1, but must be at least 0"),
        ("FloatingPointError: Q is nan\nTraceback: more", "FloatingPointError: Q is nan"),
        ("", "unknown"),
        ("\n \n", "unknown"),
        (raised(RuntimeError("it broke\nand this is more")), "RuntimeError: it broke"),
        (raised(ZeroDivisionError()), "ZeroDivisionError"),
        (raised(KeyboardInterrupt()), "KeyboardInterrupt"),
        (raised(StopIteration("none left")), "StopIteration: none left"),
        (TORCH, "torch.AcceleratorError: CUDA error: an illegal memory access was encountered"),
    ],
)
def test_the_line_that_says_why(text, line):
    assert reason(text) == line


def test_of_a_chain_it_is_the_last():
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise OSError("second") from error
    except OSError:
        assert reason(traceback.format_exc()) == "OSError: second"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "more memory than there is"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
            "more memory than there is",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory"),
        (RuntimeError("can't start new thread"), "no more threads"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "temporarily unavailable"),
        (OSError(errno.ENFILE, "Too many open files in system"), "ulimit -n"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
    ],
)
def test_what_a_machine_lacks_is_known_wherever_it_was_raised_from(error, says):
    def wrap(first):
        try:
            raise first
        except Exception as met:
            raise ValueError("the simulator is not there") from met

    with pytest.raises(ValueError, match="simulator") as caught:
        wrap(error)
    for each in (error, caught.value):
        lack = shortage(each)
        assert isinstance(lack, DataError)
        assert says in str(lack)


@pytest.mark.parametrize(
    "error",
    [None, ValueError("no memory"), FileNotFoundError(errno.ENOENT, "no such file"), RuntimeError("shapes")],
)
def test_other_errors_lack_nothing(error):
    assert shortage(error) is None
