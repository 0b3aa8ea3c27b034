from __future__ import annotations

import os
import signal

import pytest

from harness.execution.interrupt import Interrupt


@pytest.fixture
def restored(number):
    """The signal means afterwards what it meant before."""
    before = signal.getsignal(number)
    yield
    signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_the_first_asks_and_the_second_ends(number, restored):
    signal.signal(number, before := signal.default_int_handler)  # whatever began the tests may ignore some
    asked = []
    with Interrupt(lambda: asked.append(1)) as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert asked == [1]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert asked == [1]
    assert signal.getsignal(number) is before


def test_what_nohup_began_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt(lambda: None) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)
