"""Who trains what a table lacks: this process, or what an installed package brings."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Protocol

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


class Executor(Protocol):
    """Trains every missing run of a table, as `harness.execution.local.train_missing` does in this process.

    What is missing `harness.execution.local.missing_runs` says. A run is trained by whoever claims it
    (`Store.claim`), here or in a process that opens the same database; each score is committed when it is
    measured, a failure too, and neither ends the others.
    """

    def __call__(
        self,
        resolved: ResolvedTable,
        specs: Specs,
        store: Store,
        setup: Setup,
        reporter: Reporter,
        stop: Callable[[], bool],
    ) -> Outcome:
        """Train, and say what became of the runs.

        Args:
            resolved: the table, with the choices made.
            specs: those that it was resolved with; a process elsewhere is given their folders.
            store: open results database; `Store.location` says where it is.
            setup: what was asked for: device, folders, workers.
            reporter: progress for the user.
            stop: asked again and again; once it says so, training ends with checkpoints to go on from.

        Raises:
            HarnessError: nothing can be trained; says why, and what to do.
        """


def named(name: str) -> Executor:
    """The executor of that name.

    Raises:
        UnknownNameError: there is none.
        HarnessError: what a package brings cannot be imported, or is no executor.
    """
    if name == "local":
        return local.train_missing
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in installed:
        raise UnknownNameError("executor", name, ["local", *installed])
    place = f"executor {name} = {installed[name].value}"
    try:
        executor: Executor = installed[name].load()
    except Exception as error:
        raise HarnessError(f"the {place} cannot be imported: {raised_at(error)}") from error
    if not callable(executor):
        raise HarnessError(f"the {place} is no executor: it is to be called as `local.train_missing` is")
    return executor
