"""Whether this machine can do the work, and what to do where it cannot."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness import datasets
from harness.errors import HarnessError
from harness.processes import usable_cores
from harness.results.models import SCHEMA_VERSION
from harness.results.schema import Location, current_version
from harness.specs import Specs

_PACKAGES = ("torch", "mujoco", "gymnasium", "gymnasium-robotics", "minari")
_LITTLE_SPACE = 5_000_000_000  # bytes; the shipped tables' data take some tens of gigabytes


@dataclass(frozen=True)
class CheckResult:
    """One thing that was looked at.

    Attributes:
        level: 'ok', 'warn' (works, but) or 'FAIL'.
        subject: what was looked at.
        text: what was found.
        advice: what to do; empty where all is well.
    """

    level: Literal["ok", "warn", "FAIL"]
    subject: str
    text: str
    advice: str = ""


def examine(specs: Specs, database: str, home: Path | None = None) -> list[CheckResult]:
    """Look at versions, device, data folder, database and specs. Nothing is changed.

    Args:
        specs: to be checked.
        database: path or URL of the results database, which need not exist.
        home: data folder, None for the default.
    """
    return [
        CheckResult("ok", "python", platform.python_version()),
        *_packages(),
        _device(),
        *_home(home),
        _database(database),
        _specs(specs),
    ]


def _packages() -> Iterator[CheckResult]:
    for package in _PACKAGES:
        try:
            yield CheckResult("ok", package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield CheckResult(
                "FAIL", package, "not installed", "install this project again, with its dependencies"
            )


def _device() -> CheckResult:
    try:
        import torch
    except (ImportError, OSError) as error:
        return CheckResult("FAIL", "device", f"torch cannot be loaded: {error}", "install torch again")
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return CheckResult(
            "ok",
            "device",
            f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, "
            f"{free / 1e9:.0f} of {total / 1e9:.0f} GB free",
        )
    return CheckResult(
        "warn",
        "device",
        f"CPU only, {usable_cores()} cores (torch {torch.__version__} sees no CUDA device)",
        "enough for the smoke preset; a whole table wants a GPU",
    )


def _home(home: Path | None) -> Iterator[CheckResult]:
    subject, other = "data folder", "set HARNESS_DATA to another folder"
    try:
        home = home or datasets.default_home()
    except HarnessError as error:
        yield CheckResult("FAIL", subject, str(error))
        return
    try:
        existing = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
        if home.exists():
            next(home.iterdir(), None)
    except OSError as error:
        yield CheckResult("FAIL", subject, f"{home} cannot be read: {error.strerror}", other)
        return
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        cannot = f"{home} cannot be written: {error.strerror}"
        if existing == home:  # shared folders often are like that
            yield CheckResult(
                "warn", subject, cannot, f"enough for the data that are there; for more, {other}"
            )
        else:
            yield CheckResult("FAIL", subject, cannot, other)
        return
    yield CheckResult("ok", subject, f"{home}{'' if home.exists() else ' (will be made)'}")
    free = shutil.disk_usage(existing).free
    text = f"{free / 1e9:.1f} GB free"
    if free < _LITTLE_SPACE:
        yield CheckResult("warn", "disk", text, "make room, or set HARNESS_DATA to a folder on a larger disk")
    else:
        yield CheckResult("ok", "disk", text)


def _database(database: str) -> CheckResult:
    try:
        location = Location.parse(database)
        version = current_version(location)
    except HarnessError as error:
        return CheckResult("FAIL", "database", str(error))
    if version is None:
        return CheckResult("ok", "database", f"{location} does not exist yet; `harness reproduce` makes it")
    if version != SCHEMA_VERSION:
        return CheckResult(
            "FAIL",
            "database",
            f"{location} has schema version {version}, this program needs {SCHEMA_VERSION}",
            f"run `harness db upgrade --db {location}`",
        )
    return CheckResult("ok", "database", f"{location}, schema version {version}")


def _specs(specs: Specs) -> CheckResult:
    try:
        from harness.planning.validation import validate_everything as validate
    except (ImportError, OSError):  # torch, of which there is a finding of its own
        from harness.specs.validation import validate
    problems = validate(specs)
    if problems:
        return CheckResult(
            "FAIL", "specs", f"{len(problems)} problem(s), first: {problems[0]}", "run `harness validate`"
        )
    return CheckResult(
        "ok", "specs", f"{len(specs.ids('tables'))} tables, {len(specs.ids('datasets'))} datasets"
    )
