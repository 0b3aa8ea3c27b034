"""Signals that ask a program to end."""

from __future__ import annotations

import signal

#: They may reach a whole group of processes; the parent decides.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def raise_them() -> None:
    """Let each do what an interrupt from the keyboard does, so that files and processes are put away.

    One that whoever began this program has it ignore, as nohup does, stays ignored.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
