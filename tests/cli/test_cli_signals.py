"""What asks a program to end is heeded while it waits, too: it ends soon, with 130, and leaves nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from harness import datasets, files
from harness.signals import SIGNALS
from harness.specs import Specs

BUILD = ("data", "build", "maze2d-umaze-v1", "--transitions", "1500", "--no-minari")
TRAIN = ("reproduce", "aspc-table1", "--preset", "tiny", "--device", "cpu")


def begin(*arguments, ignored=()):
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: [
            signal.signal(n, signal.SIG_IGN if n in ignored else signal.SIG_DFL) for n in SIGNALS
        ],
    )


@pytest.fixture
def busy():
    """Another process makes the data that both commands want."""
    dataset = Specs().dataset("maze2d-umaze-v1")
    fewer = dataset.generated.model_copy(update={"transitions": 1500})
    target = datasets.path(dataset.model_copy(update={"generated": fewer}), "generated")
    with files.locked(target):
        yield


@pytest.mark.parametrize(
    ("number", "arguments"),
    [(signal.SIGHUP, BUILD), (signal.SIGUSR1, BUILD), (signal.SIGTERM, TRAIN)],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else value[0],
)
def test_signals_while_it_waits_for_another_process(busy, tiny, elsewhere, number, arguments):
    process = begin("--specs", tiny, *arguments)
    while "waiting for it" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(number)
    sent = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert time.monotonic() - sent < 10
    assert "Traceback" not in said
    assert not [file for file in (elsewhere / "data").rglob("*") if file.suffix != ".lock" and file.is_file()]


def test_what_nohup_began_outlives_its_terminal(busy, elsewhere):
    process = begin(*BUILD, ignored=[signal.SIGHUP])
    while "waiting for it" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.kill()
    process.communicate()
