"""Who trains what a table lacks: this process, workers that an engine starts, or what a package brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from harness.errors import HarnessError, UnknownNameError, raised_at
from harness.execution import local
from harness.execution.progress import Reporter
from harness.execution.session import Outcome
from harness.execution.setup import Setup
from harness.planning.cells import ResolvedTable
from harness.results.store import Store
from harness.specs import Specs

GROUP = "harness.executors"
"""The entry points of executors in installed packages: a name, and an `Executor`."""

SHIPPED = {
    "local": "harness.execution.executors:train_here",
    "processes": "harness.execution.engines.processes:train",
    "slurm": "harness.execution.engines.slurm:train",
    "ray": "harness.execution.engines.ray:train",
}


@dataclass(frozen=True)
class Order:
    """What is to be trained, where its results go, and how it was asked for.

    Attributes:
        resolved: the table, with the choices made.
        specs: those that it was resolved with; a process elsewhere is given their folders.
        store: open results database; `Store.location` says where it is.
        home: data folder, None for the default.
        device: 'auto', 'cpu' or 'cuda'.
        how: what else `Setup.on` takes.
        worker: what follows the program's name in the command line of a worker: ``work TABLE ...``. The
            database it is told by the variable ``HARNESS_DB``.
        jobs: how many workers are wanted; None for as many as suit the executor.
        options: what was said to the executor alone, by its own names.
    """

    resolved: ResolvedTable
    specs: Specs
    store: Store
    home: Path | None
    device: str = "auto"
    how: Mapping[str, Any] = field(default_factory=dict)
    worker: tuple[str, ...] = ()
    jobs: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def setup(self) -> Setup:
        """What was asked for, on this machine.

        Raises:
            HarnessError: this machine does not have it.
        """
        folder = self.store.location.folder("checkpoints", self.home)
        return Setup.on(self.device, folder, home=self.home, **self.how)


class Executor(Protocol):
    """Trains every missing run of a table, as `train_here` does in this process.

    What is missing `harness.execution.local.missing_runs` says. A run is trained by whoever claims it
    (`Store.claim`), here or in a process that opens the same database; each score is committed when it is
    measured, a failure too, and neither ends the others.
    """

    def __call__(self, order: Order, reporter: Reporter, stop: Callable[[], bool]) -> Outcome:
        """Train, and say what became of the runs.

        Args:
            order: what is to be trained.
            reporter: progress for the user.
            stop: asked again and again; once it says so, training ends with checkpoints to go on from.

        Raises:
            HarnessError: nothing can be trained; says why, and what to do.
        """


def train_here(order: Order, reporter: Reporter, stop: Callable[[], bool]) -> Outcome:
    """The executor ``local``: population after population in this process.

    Raises:
        HarnessError: see `Executor`.
    """
    if order.options or (order.jobs or 1) > 1:
        raise HarnessError("--jobs and --executor-options are for other executors than local; name one")
    return local.train_missing(order.resolved, order.specs, order.store, order.setup(), reporter, stop)


def named(name: str) -> Executor:
    """The executor of that name.

    Raises:
        UnknownNameError: there is none.
        HarnessError: what a package brings cannot be imported, or is no executor.
    """
    if name in SHIPPED:
        module, _, function = SHIPPED[name].partition(":")
        shipped: Executor = getattr(import_module(module), function)
        return shipped
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in installed:
        raise UnknownNameError("executor", name, [*SHIPPED, *installed])
    place = f"executor {name} = {installed[name].value}"
    try:
        executor: Executor = installed[name].load()
    except Exception as error:
        raise HarnessError(f"the {place} cannot be imported: {raised_at(error)}") from error
    if not callable(executor):
        raise HarnessError(f"the {place} is no executor: it is to be called as `train_here` is")
    return executor
