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
    """Trains every missing run of a table; does what `harness.execution.local.train_missing` does.

    It commits scores to the store, or has processes do so that open the same database, reports to the user,
    and ends with checkpoints once `stop` says so.
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
        """Train, and say what became of the runs."""


def named(name: str) -> Executor:
    """The executor of that name.

    Raises:
        UnknownNameError: there is none.
        HarnessError: the package that brings it cannot be imported.
    """
    if name == "local":
        return local.train_missing
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in installed:
        raise UnknownNameError("executor", name, ["local", *installed])
    try:
        executor: Executor = installed[name].load()
    except Exception as error:
        place = f"executor {name} = {installed[name].value}"
        raise HarnessError(f"the {place} cannot be imported: {raised_at(error)}") from error
    return executor
