from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import DataError
from harness.specs import Environment
from harness.training.population import build
from harness.training.rollout import EvaluationTask
from harness.training.workers import EvaluationFailedError, EvaluationPool


@pytest.fixture
def evaluation(make_task):
    task = make_task("bc", seeds=(0,))
    learner, replay, _ = build(task)
    return EvaluationTask(
        key=task.runs[0].key,
        step=100,
        algorithm="bc",
        hyperparameters=task.runs[0].configuration["hyperparameters"],
        sizes=learner.sizes,
        policy={name: tensor.numpy() for name, tensor in learner.policy_state().items()},
        pipeline=replay.pipelines[0],
        environment=task.environments[0],
        episodes=2,
    )


def collect(pool, count):
    found = []
    while len(found) < count:
        found += list(pool.results(None))
    return found


def test_results_do_not_depend_on_the_worker_or_the_order(evaluation):
    tasks = [replace(evaluation, step=step) for step in range(1, 9)]
    with EvaluationPool(2) as pool:
        for task in tasks:
            pool.submit(task)
        found = {record.step: (record.returns, record.lengths) for record in collect(pool, 8)}
    assert len(found) == 8
    assert all(value == found[1] for value in found.values())


def test_a_killed_worker_is_replaced_and_its_work_done(evaluation):
    with EvaluationPool(1) as pool:
        pool.submit(evaluation)
        os.kill(pool._workers[0].process.pid, signal.SIGKILL)
        [record] = collect(pool, 1)
    assert record.key == evaluation.key


def test_a_worker_that_died_with_nothing_to_do_is_replaced(evaluation):
    with EvaluationPool(1) as pool:
        pool._workers[0].process.kill()
        pool._workers[0].process.join()
        pool.submit(evaluation)
        [record] = collect(pool, 1)
    assert record.key == evaluation.key


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_the_whole_group_are_the_parents_business(evaluation, number):
    with EvaluationPool(1) as pool:
        worker = pool._workers[0].process
        os.kill(worker.pid, number)  # while it starts, too
        pool.submit(evaluation)
        os.kill(worker.pid, number)
        collect(pool, 1)
        assert pool._workers[0].process is worker
        assert worker.is_alive()


def test_a_worker_that_keeps_dying_is_an_error(evaluation):
    def kill_for_ever(pool):
        pool.submit(evaluation)
        while True:
            os.kill(pool._workers[0].process.pid, signal.SIGKILL)
            list(pool.results(None))

    with EvaluationPool(1) as pool, pytest.raises(DataError, match="died 3 times"):
        kill_for_ever(pool)


LACKING = """
import errno
import gymnasium

class World(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9, 9, (11,))
    action_space = gymnasium.spaces.Box(-1, 1, (3,))

    def reset(self, seed=None, options=None):
        raise OSError(errno.EMFILE, "Too many open files")

gymnasium.register("tests/Lacking-v0", World)
"""


def test_what_the_machine_lacks_says_nothing_of_the_run(evaluation, write_files, tmp_path):
    write_files(tmp_path, {"code/lacking_worlds.py": LACKING})
    world = {"id": "tests/Lacking-v0", "import": "lacking_worlds", "max_episode_steps": 40}
    with EvaluationPool(1, folders=[tmp_path]) as pool:
        pool.submit(replace(evaluation, environment=Environment(**world)))
        with pytest.raises(DataError, match="Too many open files; allow more of them"):
            collect(pool, 1)


def test_a_policy_that_crashes_the_simulator_fails_its_run_and_no_other(evaluation):
    with EvaluationPool(1) as pool:
        pool.submit(evaluation)
        pool.submit(replace(evaluation, key="b" * 64))
        for _ in range(3):
            os.kill(pool._workers[0].process.pid, signal.SIGSEGV)
            found = list(pool.results(None))
        [failed] = found
        assert isinstance(failed, EvaluationFailedError)
        assert failed.task is evaluation
        assert "died 3 times (exit code -11)" in failed.text
        [record] = collect(pool, 1)
    assert record.key == "b" * 64


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import time\n"
        "from harness.training.workers import EvaluationPool\n"
        "if __name__ == '__main__':\n"
        "    pool = EvaluationPool(1)\n"
        "    print(pool._workers[0].process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived its parent")
