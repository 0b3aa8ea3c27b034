"""Who trains a command's populations: this process, or several of one thread each, one for each core.

Threads that share one population wait for each other at every operation, so that on a loaded core all do; and
what they compute depends on their number. Populations in processes of one thread need nothing of each other.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from harness import files, plugs, streams
from harness.counting import count
from harness.errors import DataError, HarnessError
from harness.execution import claims
from harness.execution.loading import Loader
from harness.execution.packing import Packing
from harness.execution.progress import Bar, Reporter
from harness.execution.session import Session, Tally
from harness.execution.setup import Setup
from harness.planning.populations import Population
from harness.processes import Child, end_with_parent
from harness.results.store import Store
from harness.training.engine import single_core
from harness.training.provenance import loaded_source
from harness.training.workers import EvaluationPool

Train = Callable[[Sequence[Population], int | Packing], bool]
"""Trains populations of at most so many runs; True if interrupted."""

_LOOK_SECONDS = 0.2
_LIVES = 4  # of a process that something kills over the same population


@dataclass(frozen=True)
class Terms:
    """What a process must know to train some of a command's populations.

    Attributes:
        setup: how to train.
        algorithms: ids of all that are trained.
        folders: of specs, whose own code these may need.
        read: keys of the configurations whose runs leave their whole training state.
    """

    setup: Setup
    algorithms: tuple[str, ...]
    folders: tuple[Path, ...]
    read: frozenset[str]

    @contextlib.contextmanager
    def session(
        self, store: Store, reporter: Reporter, load: Loader, stop: Callable[[], bool], tally: Tally
    ) -> Iterator[Session]:
        """What populations share that this process trains."""
        plugs.use(self.folders)
        for algorithm in self.algorithms:
            loaded_source(algorithm)  # what runs is what was read now, whatever becomes of the files
        with (
            single_core(self.setup.conditions.device),
            EvaluationPool(self.setup.workers, self.algorithms, self.folders) as pool,
        ):
            yield Session(store, self.setup, pool, reporter, stop, load, self.read, tally)


@contextlib.contextmanager
def trainers(
    terms: Terms,
    wanted: int,
    store: Store,
    reporter: Reporter,
    load: Loader,
    stop: Callable[[], bool],
    tally: Tally,
) -> Iterator[Train]:
    """What trains populations, while this is open: as many at once as suit the machine.

    Args:
        terms: for all of them.
        wanted: populations that could train at once.
        store: the database.
        reporter: progress for the user.
        load: loads data in this process.
        stop: asked again and again; True ends training with checkpoints.
        tally: what becomes of the runs is added to it.
    """
    path = store.location.path
    shared = path is None or not files.network_file_system(path)  # where SQLite bears one process alone
    number = min(terms.setup.trainers, wanted) if shared else 1
    if number > 1:
        with _Crew(number, terms, store, reporter, stop, tally) as crew:
            yield crew.train
        return
    with terms.session(store, reporter, load, stop, tally) as session:
        yield lambda populations, capacity: any(
            stop() or claims.train(session, population, capacity) for population in populations
        )


class _Crew:
    """Processes that train the populations they are handed; use as a context manager."""

    def __init__(
        self,
        number: int,
        terms: Terms,
        store: Store,
        reporter: Reporter,
        stop: Callable[[], bool],
        tally: Tally,
    ) -> None:
        terms = replace(terms, setup=replace(terms.setup, workers=max(1, terms.setup.workers // number)))
        self._new_trainer = functools.partial(_Trainer, store.location.address, terms)
        self._trainers = [self._new_trainer() for _ in range(number)]
        self._reporter, self._stop, self._tally = reporter, stop, tally
        self._said: set[tuple[str, ...]] = set()

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for trainer in self._trainers:
            trainer.end()

    def train(self, populations: Sequence[Population], _: int | Packing) -> bool:
        """See `Train`.

        Raises:
            HarnessError: what one of them met, once the others have written checkpoints.
        """
        left = deque(populations)
        interrupted, errors = False, list[BaseException]()
        while left or any(trainer.population for trainer in self._trainers):
            if asked := errors or self._stop():
                for trainer in self._trainers:
                    trainer.stop()
            if asked or interrupted:
                interrupted = interrupted or bool(left)
                left.clear()
            for trainer in self._trainers:
                if left and trainer.population is None:
                    trainer.start(left.popleft(), _LIVES)
            busy = {t.connection: t for t in self._trainers if t.population}
            for connection in wait(list(busy), _LOOK_SECONDS):
                trainer = busy[connection]  # type: ignore[index]  # only our own connections were waited for
                try:
                    interrupted |= self._heed(trainer, *trainer.hear())
                except Exception as error:  # what it met
                    errors.append(error)
        if errors:
            raise errors[0]
        return interrupted

    def _heed(self, trainer: _Trainer, what: str, *said: Any) -> bool:
        """Do what a process's words ask for; whether it was interrupted.

        Raises:
            Exception: what it met.
        """
        match what:
            case "message":
                if said not in self._said:  # by another, as of a dataset that both load
                    self._said.add(said)
                    self._reporter.message(*said)
            case "bar":
                trainer.bar = self._reporter.bar(*said)
            case "trained":
                interrupted, tally = said
                trainer.population, trainer.bar = None, None
                self._tally.add(tally)
                return bool(interrupted)
            case "error":
                trainer.population, trainer.bar = None, None
                raise said[0]
            case "died":
                return self._replace(trainer)
            case _:
                getattr(trainer.bar, what)(*said)
        return False

    def _replace(self, trainer: _Trainer) -> bool:
        """A process died: another goes on from the last checkpoint; whether a later command is to do that.

        Raises:
            DataError: others died over the same population before.
            EnvironmentUnusableError: see `Child.died`.
        """
        population, trainer.population = trainer.population, None
        assert population is not None  # noqa: S101 - only busy ones are heard
        died = f"{population.label}: the process that trained them died (exit code {trainer.died()})"
        if trainer.asked:
            self._reporter.message(f"{died}; their last checkpoint stands")
            return True
        if trainer.lives == 1:
            raise DataError(
                f"{died} {count(_LIVES, 'time')}; is there enough memory? Committed scores are kept: run "
                "the same command again"
            )
        fresh = self._trainers[self._trainers.index(trainer)] = self._new_trainer()
        self._reporter.message(f"{died}; another one goes on from their last checkpoint")
        fresh.start(population, trainer.lives - 1)
        return False


class _Trainer(Child):
    """A process that trains what it is sent.

    Attributes:
        population: what it trains; None: nothing.
        lives: how often that is still begun, this time included.
        bar: how far that is.
        asked: whether it was asked to write a checkpoint and end.
    """

    def __init__(self, database: str | Path, terms: Terms) -> None:
        super().__init__(_serve, database, terms, parent=True)
        self.population: Population | None = None
        self.lives = 0
        self.bar: Bar | None = None
        self.asked = False

    def start(self, population: Population, lives: int) -> None:
        self.population, self.lives = population, lives
        with contextlib.suppress(OSError):  # it died, as will be heard
            self.connection.send(population)

    def hear(self) -> tuple[Any, ...]:
        """What it says; that it died, perhaps in the middle of a word."""
        try:
            said: tuple[Any, ...] = self.connection.recv()
        except (EOFError, OSError):
            return ("died",)
        return said

    def stop(self) -> None:
        """Ask it to write a checkpoint and end."""
        if self.population and not self.asked:
            self.asked = True
            with contextlib.suppress(OSError):
                self.connection.send(None)


# -- in these processes ------------------------------------------------------------------------------------


def _serve(connection: Connection, database: str | Path, terms: Terms) -> None:
    """Body of a process: train what comes, until it is told to stop or the parent is gone."""
    streams.settle()
    end_with_parent()
    reporter = _Relay(connection)
    try:
        with Store.open(database) as store:
            store.tell = reporter.message
            load = Loader(terms.setup.home, store, reporter)
            with terms.session(store, reporter, load, connection.poll, Tally()) as session:
                while (population := connection.recv()) is not None:
                    whole = replace(session, tally=Tally())
                    interrupted = claims.train(whole, population, len(population.runs))
                    reporter.send("trained", interrupted, whole.tally)
    except EOFError:  # the parent closed its end
        pass
    except (HarnessError, OSError, MemoryError) as error:
        reporter.send("error", error)
    except Exception:
        reporter.send("error", RuntimeError(traceback.format_exc()))  # itself may not survive the way


class _Relay(Reporter):
    """Progress that the parent shows."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection, self._lock = connection, threading.Lock()

    def send(self, *what: Any) -> None:
        """Say something; also from a thread that keeps leases alive."""
        with self._lock:
            self._connection.send(what)

    def message(self, text: str) -> None:
        self.send("message", text)

    def bar(self, label: str, total: int, start: int, unit: str = "steps") -> Bar:
        self.send("bar", label, total, start, unit)
        return _RelayedBar(self.send)


class _RelayedBar(Bar):
    """A bar that the parent shows."""

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send

    def advance(self, to: int) -> None:
        self._send("advance", to)

    def scores(self, latest: Mapping[str, float]) -> None:
        self._send("scores", dict(latest))

    def done(self) -> None:
        self._send("done")
