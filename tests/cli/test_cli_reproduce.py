from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.store import Store
from harness.specs import Specs


def test_dry_run_writes_nothing(cli, tiny, elsewhere):
    before = sorted(elsewhere.rglob("*"))
    result = cli("--specs", tiny, "reproduce", "aspc-table1", "--preset", "tiny", "--dry-run")
    assert result.code == 0
    assert "to train: 2 of 2 runs" in result.out
    assert "1 population one after another, each of at most 4 runs" in result.out
    assert "data to obtain (generated): 1 dataset" in result.out
    assert sorted(elsewhere.rglob("*")) == before


def test_data_that_cannot_be_had_are_exit_code_4(cli, monkeypatch):
    monkeypatch.setenv("HARNESS_D4RL_MIRROR", "/nowhere")
    result = cli("reproduce", "aspc-table1", "--datasets", "hopper-medium-v2", "--algorithms", "aspc")
    assert (result.code, result.out) == (4, "")
    assert "harness data pull hopper-medium-v2" in result.err


def test_nothing_that_can_be_trained_is_exit_code_3(cli, unimplemented):
    result = cli("--specs", unimplemented, "reproduce", "own")
    assert result.code == 3
    assert "1 cell cannot be trained: no implementation" in result.err
    assert "nothing was measured" in result.err


def test_cuda_where_there_is_none(cli):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    result = cli("reproduce", "aspc-table1", "--device", "cuda")
    assert result.code == 2
    assert "--device cpu" in result.err


def test_tf32_on_a_cpu_is_refused(cli):
    result = cli("reproduce", "aspc-table1", "--device", "cpu", "--precision", "tf32")
    assert (result.code, result.out) == (2, "")
    assert "leave --precision out" in result.err


def test_how_to_measure_means_nothing_where_nothing_is_measured(cli):
    result = cli("plan", "aspc-table1", "--precision", "fp32")
    assert result.code == 2
    assert "--measure" in result.err


def test_trains_prints_and_trains_nothing_twice(program, cli, tiny, elsewhere):
    command = ["--specs", tiny, "reproduce", "aspc-table1", "--preset", "tiny", "-q"]
    done = program(*command)
    assert done.returncode == 0, done.stderr
    assert "| maze2d-umaze-v1 |" in done.stdout
    assert "N/C" in done.stdout
    assert "verdicts: N/C 1 (1 cell)" in done.stderr
    again = next(
        line for line in done.stderr.splitlines() if line.startswith("  harness ") and "diff" in line
    )
    assert cli(*shlex.split(again)[1:]).code == 0
    assert (elsewhere / "tiny.db").exists()
    plan = json.loads(cli("--specs", tiny, "plan", "aspc-table1", "--preset", "tiny", "--json").out)
    assert (plan["to_train"], plan["cells"][0]["done"], plan["estimates"]) == (0, 2, [])
    again = cli(*command)
    assert again.code == 0
    assert again.out == done.stdout
    more = json.loads(
        cli("--specs", tiny, "plan", "aspc-table1", "--preset", "tiny", "--seeds", "0-2", "--json").out
    )
    assert more["to_train"] == 1
    assert more["estimates"][0]["seconds"] > 0
    assert more["estimates"][0]["unknown"] == []

    specs = Specs([tiny])
    keys = [
        run.key for run in resolve(specs, "aspc-table1", Choice(preset="tiny", seeds=(0, 1, 2))).cells[0].runs
    ]
    with Store.open("tiny.db") as store:
        records = resolve(specs, "aspc-table1", Choice(preset="tiny", seeds=(2,))).cells[0].runs
        store.register(records)
        store.claim(keys[2:])
        store.fail(keys[2], 7, "FloatingPointError: diverged")
    failed = cli(*command, "--seeds", "2")
    assert failed.code == 5
    assert "seed 2 at step 7: FloatingPointError: diverged" in failed.err
    assert "| maze2d-umaze-v1 |" in failed.out


def test_failed_runs_are_exit_code_5_and_the_way_on_works_as_printed(cli, tiny):
    specs = Specs([tiny])
    resolved = resolve(specs, "aspc-table1", Choice(preset="tiny"))
    runs = [run for cell in resolved.cells for run in cell.runs]
    with Store.open("other.db", create=True) as store:
        store.register(runs)
        for key in store.claim([run.key for run in runs]):
            store.fail(key, 7, "it diverged")
    result = cli("--specs", tiny, "reproduce", "aspc-table1", "--preset", "tiny", "--db", "other.db", "-q")
    assert result.code == 5
    listed, queued = re.findall("`(harness [^`]*)`", result.err)
    assert "it diverged" in cli(*shlex.split(listed)[1:]).out
    assert "2 failed runs queued again" in cli(*shlex.split(queued)[1:]).err


def test_the_error_says_why_a_run_failed_and_in_which_column(cli, tiny):
    preset = tiny / "presets" / "tiny.yaml"
    preset.write_text(
        preset.read_text().replace("columns: [td3_bc]", "columns: []")
        + "extra_columns: [{id: mine, label: Mine, algorithm: td3_bc}]\n"
    )
    [cell] = resolve(Specs([tiny]), "aspc-table1", Choice(preset="tiny")).cells
    with Store.open("tiny.db", create=True) as store:
        store.register(cell.runs)
        for key in store.claim([run.key for run in cell.runs]):
            store.fail(key, 7, "Traceback (most recent call last):\n  File x\nValueError: no good\nadvice\n")
    result = cli("--specs", tiny, "reproduce", "aspc-table1", "--preset", "tiny", "-q")
    assert result.code == 5
    assert (
        "the first is mine (td3_bc) on maze2d-umaze-v1, seed 0 at step 7: ValueError: no good. `"
        in result.err
    )


def test_runs_that_somebody_else_trains_are_incomplete(cli, tiny):
    records = resolve(Specs([tiny]), "aspc-table1", Choice(preset="tiny")).cells[0].runs
    cli("data", "build", "maze2d-umaze-v1", "--transitions", "1500")
    with Store.open("tiny.db", create=True) as store:
        store.register(records)
        store.claim([record.key for record in records])  # by this living process
        status = cli("--specs", tiny, "status", "aspc-table1", "--preset", "tiny").out
        assert "trained now" in status
        with Store.open("tiny.db", owner="another") as _:
            result = cli("--specs", tiny, "reproduce", "aspc-table1", "--preset", "tiny", "-q")
    assert result.code == 3
    assert "2 of them are trained elsewhere" in result.err.replace("2 runs of", "2 of")


def test_a_seed_that_no_table_shows_is_announced(cli, tiny):
    result = cli(
        "--specs",
        tiny,
        "reproduce",
        "aspc-table1",
        "--preset",
        "tiny",
        "--seeds",
        "1,7",
        "--steps",
        "10",
        "-q",
    )
    assert (
        "seed 7 is not among the table's seeds: its runs are kept, and shown with --seeds all" in result.err
    )
    assert "seed 1 is" not in result.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_saves_and_restart_forgets(program, cli, tiny, elsewhere, number):
    command = ["--specs", str(tiny), "reproduce", "aspc-table1", "--preset", "tiny", "--steps", "3000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", *command, "--checkpoint-seconds", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    try:
        deadline = time.monotonic() + 120
        while not list(elsewhere.glob("tiny.checkpoints/*.pt")) and time.monotonic() < deadline:
            time.sleep(0.1)
            assert process.poll() is None, process.communicate()
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, ""), err
    assert "stopping: writing a checkpoint" in err
    assert "go on with: harness " in err
    state = json.loads(
        cli("--specs", tiny, "status", "aspc-table1", "--preset", "tiny", "--steps", "3000", "--json").out
    )
    assert state["counts"]["interrupted"] == 2
    assert (
        "2 unfinished runs"
        in cli(
            "--specs", tiny, "retry", "aspc-table1", "--preset", "tiny", "--steps", "3000", "--restart"
        ).err
    )
    assert not list(elsewhere.glob("tiny.checkpoints/*.pt"))
