"""What is said fails nobody; data that are lost are an error; exit codes stay true."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from harness import streams
streams.settle()
print('said', file=sys.stderr)
print('data ± →')
sys.stdout.flush()
sys.exit(3)
"""


def run(redirections="", script=SCRIPT, **environment):
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-c", script],
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "redirections",
    ["2>&-", "2>/dev/full", "2</dev/null", ">&-", "<&- >&- 2>&-"],
)
def test_streams_that_cannot_be_written_change_no_exit_code(redirections):
    done = run(redirections)
    assert done.returncode == 3
    assert done.stdout == (b"" if ">&-" in redirections and redirections != "2>&-" else "data ± →\n".encode())
    assert b"Traceback" not in done.stderr


def test_data_that_are_lost_are_an_error():
    done = run(">/dev/full", "from harness.cli import main; main(['--version'])")
    assert done.returncode == 4
    assert done.stderr == b"error: standard output cannot be written: No space left on device\n"


def test_a_reader_that_has_read_enough_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    script = SCRIPT.replace("sys.stdout.flush()", "print('x' * 100_000); sys.stdout.flush()")
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=writing, stderr=writing, check=False, timeout=60
    )
    os.close(writing)
    assert done.returncode == 3


def test_a_terminal_that_is_gone_is_no_error():
    master, slave = pty.openpty()
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", f"input()\n{SCRIPT}"], stdin=reading, stdout=subprocess.DEVNULL, stderr=slave
    )
    os.close(slave)
    os.close(master)
    os.write(writing, b"\n")
    assert process.wait(60) == 3
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("ascii", rb"data \u00b1 \u2192"), ("latin-1", b"data \xb1 \\u2192"), ("utf-8", "data ± →".encode())],
)
def test_characters_that_an_encoding_lacks_are_written_as_in_json(encoding, written):
    done = run(PYTHONIOENCODING=encoding)
    assert done.returncode == 3
    assert done.stdout.strip() == written
    assert json.loads(f'"{written.decode(encoding)}"') == "data ± →"


def test_a_closed_stream_is_not_the_next_file(tmp_path):
    """The number of a closed stream would be the next file's, and what is said would land in it."""
    script = (
        "import os, sys\nfrom harness import streams\nstreams.settle()\n"
        f"file = open({str(tmp_path / 'results')!r}, 'w')\nos.write(2, b'said by a library')\nfile.write('x')"
    )
    assert run("2>&-", script).returncode == 0
    assert (tmp_path / "results").read_text() == "x"
