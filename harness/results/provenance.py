"""What could move a score without being asked for: the code, the versions, the machine."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import harness
from harness.errors import HarnessError
from harness.results.records import CHANGED

_CODE = ("algorithms", "harness", "specs")
_PACKAGES = ("torch", "numpy", "gymnasium", "gymnasium-robotics", "mujoco", "minari")


def fingerprint(
    algorithm_source_hash: str, device: str, precision: str, *, cuda: str = "none"
) -> dict[str, str]:
    """The environment of a run, as recorded beside its scores.

    Args:
        algorithm_source_hash: hash of the algorithm's source.
        device: name of the device that trains, for example ``cpu`` or ``NVIDIA H100``.
        precision: floating-point precision of the training, for example ``float32``.
        cuda: version of CUDA, ``none`` without.

    Returns:
        names and values; ``git_commit`` is ``none`` outside a checkout and ``unknown`` where git fails.
    """
    commit, dirty = _git(Path(harness.__file__).parent.parent)
    return {
        "origin": "trained",
        "harness": harness.__version__,
        "git_commit": commit,
        "git_dirty": dirty,
        "algorithm_source": algorithm_source_hash,
        "device": device,
        "precision": precision,
        "cuda": cuda,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        **{package: _version(package) for package in _PACKAGES},
    }


def both(begun: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """The fingerprint `now`, with 'old → new' where what goes on was begun under something else."""
    joined = {}
    for name, value in now.items():
        last = begun.get(name, value).split(CHANGED)
        joined[name] = CHANGED.join(last if last[-1] == value else [*last, value])
    return joined


def committed() -> str:
    """The commit of this checkout, whose code and specs are as committed; ``none`` outside a checkout.

    Raises:
        HarnessError: something is changed or new, or git does not answer.
    """
    root = Path(harness.__file__).parent.parent
    if not (root / ".git").exists():
        return "none"
    commit = _run_git(root, "rev-parse", "HEAD")
    changes = _run_git(root, "status", "--porcelain", "--", *_CODE)
    if not commit or changes is None:
        raise HarnessError(f"git does not say whether the code in {root} is committed; make git work there")
    if changes:
        first, *others = changes.splitlines()
        more = f" and {len(others)} more" if others else ""
        raise HarnessError(
            f"the code in {root} is not as committed ({first.strip()}{more}); commit or stash it first"
        )
    return commit


@functools.cache
def _git(root: Path) -> tuple[str, str]:
    """Commit, and whether the code (not results or reports) differs from it."""
    # An installed package may lie in a virtual environment inside somebody else's checkout.
    if not (root / ".git").exists():
        return "none", "none"
    commit = _run_git(root, "rev-parse", "HEAD")
    changes = _run_git(root, "status", "--porcelain", "--", "algorithms", "harness")
    return commit or "unknown", "unknown" if changes is None else str(bool(changes)).lower()


def _run_git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@functools.cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


@functools.cache
def cpu_model() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
