"""Signals that end a program: the first asks to stop at a good place, the second stops at once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from harness.signals import SIGNALS


class Interrupt:
    """A stop flag that signals set while this context manager is open; called, it says whether they did.

    Args:
        asked: called at the first signal, to tell the user.
    """

    def __init__(self, asked: Callable[[], None]) -> None:
        self._asked = asked
        self._stop = False
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Whether work is to stop."""
        return self._stop

    def __enter__(self) -> Self:
        ignored = (
            signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        )  # by nohup: the work outlives its terminal
        self._before = {
            number: signal.signal(number, self._handle)
            for number in SIGNALS
            if not (ignored and number == signal.SIGHUP)
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
        self._asked()
