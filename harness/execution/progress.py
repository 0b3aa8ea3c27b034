"""What a person sees while populations train: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from harness.counting import duration
from harness.escaping import terminal
from harness.streams import said

_LINE_SECONDS = 10.0


class Reporter:
    """Progress on stderr; stdout stays free for data. Use as a context manager.

    Args:
        console: where to write; default stderr.
        quiet: say nothing but messages.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._console = console or Console(file=said(), highlight=False)
        self._quiet = quiet
        self._live: Progress | None = None
        if self._console.is_terminal and not quiet:
            self._live = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[scores]}", markup=False),
                console=self._console,
            )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def message(self, text: str) -> None:
        """One line for the user."""
        self._console.print(terminal(text), markup=False, soft_wrap=True)

    @contextmanager
    def lines(self) -> Iterator[Callable[[Sequence[str]], None]]:
        """Lines that stay in one place on a terminal; elsewhere they are written now and then, if changed.

        Yields:
            what shows lines, in the place of those before.
        """
        if self._live is None:
            yield _Written(self.message, quiet=self._quiet)
            return
        self._live.stop()  # a terminal has one live display
        with Live(console=self._console, auto_refresh=False, vertical_overflow="visible") as live:
            yield lambda lines: live.update(_cropped(lines), refresh=True)
        self._live.start()

    def bar(self, label: str, total: int, start: int, unit: str = "steps") -> Bar:
        """Begin a bar that already stands at `start`."""
        label = terminal(label)
        task = (
            self._live.add_task(label, total=total, completed=start, rate="", scores="")
            if self._live
            else None
        )
        return Bar(self, self._live, task, label, total, start, unit, quiet=self._quiet)


class _Written:
    """Lines where there is no terminal."""

    def __init__(self, message: Callable[[str], None], *, quiet: bool) -> None:
        self._message, self._quiet = message, quiet
        self._last: list[str] = []
        self._said = -_LINE_SECONDS

    def __call__(self, lines: Sequence[str]) -> None:
        if self._quiet or time.monotonic() - self._said < _LINE_SECONDS:
            return
        for line in lines:
            if line not in self._last:
                self._message(line)
        self._last, self._said = list(lines), time.monotonic()


def _cropped(lines: Sequence[str]) -> Text:
    """Lines of text, each cut where the terminal ends."""
    return Text("\n".join(map(terminal, lines)), no_wrap=True, overflow="ellipsis")


class Bar:
    """One piece of work under way."""

    def __init__(
        self,
        reporter: Reporter,
        live: Progress | None,
        task: TaskID | None,
        label: str,
        total: int,
        start: int,
        unit: str,
        *,
        quiet: bool,
    ) -> None:
        self._reporter, self._live, self._task = reporter, live, task
        self._label, self._total, self._start, self._unit, self._quiet = label, total, start, unit, quiet
        self._began = self._said = time.monotonic()
        self._at = start
        self._scores: dict[str, float] = {}

    def advance(self, to: int) -> None:
        """The work has reached `to`."""
        self._at = to
        if self._live is not None and self._task is not None:
            self._live.update(self._task, completed=to, rate=self._speed(), scores=self._summary())
        elif not self._quiet and time.monotonic() - self._said > _LINE_SECONDS:
            self._line()

    def scores(self, latest: Mapping[str, float]) -> None:
        """Latest normalised scores, by name."""
        self._scores |= latest

    def done(self) -> None:
        """The work has ended."""
        if self._live is None and not self._quiet:
            self._line()

    def _rate(self) -> float:
        return (self._at - self._start) / max(time.monotonic() - self._began, 1e-9)

    def _speed(self) -> str:
        rate, per = self._rate(), "s"
        if rate < 10:
            rate, per = 60 * rate, "min"
        return f"{rate:,.0f} {self._unit}/{per}"

    def _summary(self) -> str:
        return "  ".join(f"{name} {score:.1f}" for name, score in self._scores.items())

    def _line(self) -> None:
        self._said = time.monotonic()
        rate = self._rate()
        left = (self._total - self._at) / rate if rate > 0 else float("inf")
        ending = f", {duration(left)} left" if self._at < self._total and rate > 0 else ""
        scores = f"; {self._summary()}" if self._scores else ""
        self._reporter.message(
            f"{self._label}: {self._at:,}/{self._total:,}, {self._speed()}{ending}{scores}"
        )
