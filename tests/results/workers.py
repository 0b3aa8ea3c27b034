"""Processes that tests start: `python workers.py WHAT DATABASE ARGUMENT...`.

Imports once and forks, so that sixteen processes cost little more than one.
"""

import json
import multiprocessing
import os
import random
import sys
import time

from harness.results.records import EvaluationRecord, RunRecord, canonical, digest, run_key
from harness.results.store import Store

context = multiprocessing.get_context("fork")


def named(name):
    configuration = {"algorithm": "a", "dataset": {"id": "d", "lineage": "d4rl"}, "name": name}
    return RunRecord(run_key(canonical(configuration), 0), digest(configuration), configuration, 0)


def say(value):
    os.write(1, (json.dumps(value) + "\n").encode())


def evaluate(number, barrier, database, count):
    barrier.wait()
    with Store.open(database, create=True) as store:
        run = named(f"run {number}")
        key = run.key
        store.register([run])
        assert store.claim([key]) == [key]
        longest = 0.0
        for step in range(int(count)):
            returns = [number + step + episode / 4 for episode in range(4)]
            start = time.monotonic()
            store.record_evaluations([EvaluationRecord(key, step, returns, [1, 2, 3, 4])])
            longest = max(longest, time.monotonic() - start)
        store.finish([key], 1.0, 1.0)
        say(longest)


def create(number, barrier, database):
    barrier.wait()
    with Store.open(database, create=True) as store:
        store.register([named(f"run {number}")])


def claim(number, barrier, database, *keys):
    with Store.open(database) as store:
        barrier.wait()
        say([number, store.claim(keys)])
        barrier.wait()


def scramble(number, barrier, database):
    """Claim all runs, in an order of its own."""
    with Store.open(database) as store:
        keys = list(store.runs())
        random.Random(number).shuffle(keys)
        barrier.wait()
        say(len(store.claim(keys)))
        barrier.wait()


def hold(number, barrier, database, key):
    with Store.open(database) as store:
        say([os.getpid(), store.claim([key])])
        time.sleep(60)


if __name__ == "__main__":
    what, processes, *arguments = sys.argv[1:]
    barrier = context.Barrier(int(processes))
    children = [
        context.Process(target=globals()[what], args=(number, barrier, *arguments))
        for number in range(int(processes))
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    sys.exit(any(child.exitcode for child in children))
