"""How many claims and evaluations a second a database server takes from 1, 8 and 64 simulated workers.

    python benchmarks/claims.py postgresql://me@server/empty

Each worker is a thread with connections of its own, as a process has them: it claims a population of 8 runs,
commits some evaluations of 10 episodes for each, one transaction a step as training does, and finishes them.
No time goes into training, so this is the most that the database takes. 64 workers are 8 processes of 8
threads.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import threading
import time

from harness.results.records import EvaluationRecord, RunRecord, canonical, digest, run_key
from harness.results.store import Store

MEMBERS, EPISODES = 8, 10
PROCESSES = 8
Answers = multiprocessing.Queue  # of lists of seconds


def records(number: int, kind: str) -> list[RunRecord]:
    """Runs that differ in nothing but their seeds."""
    configuration = {
        "algorithm": kind,
        "hyperparameters": {},
        "dataset": {"id": "made up", "lineage": "generated"},
        "environment": None,
    }
    return [
        RunRecord(run_key(canonical(configuration), seed), digest(configuration), configuration, seed)
        for seed in range(number)
    ]


def work(url: str, keys: list[str], evaluations: int, owner: str, claims: list[float]) -> None:
    """Claim and finish population after population, until none is left."""
    populations = [keys[i : i + MEMBERS] for i in range(0, len(keys), MEMBERS)]
    random.shuffle(populations)
    with Store.open(url, owner=owner) as store:
        for population in populations:
            began = time.perf_counter()
            mine = store.claim(population)
            claims.append(time.perf_counter() - began)
            for step in range(evaluations if mine else 0):
                store.record_evaluations(
                    [EvaluationRecord(key, step, [1.0] * EPISODES, [7] * EPISODES) for key in mine]
                )
            store.finish(mine, 1.0, 1.0)


def process(url: str, keys: list[str], evaluations: int, names: list[str], answers: Answers) -> None:
    """Some workers as threads."""
    claims: list[float] = []
    threads = [threading.Thread(target=work, args=(url, keys, evaluations, name, claims)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.put(claims)


def measure(url: str, workers: int, runs: int, evaluations: int) -> None:
    """Print one line for so many workers."""
    kind = f"made up for {workers} workers, {time.time()}"
    made = records(runs, kind)
    with Store.open(url, create=True) as store:
        store.register(made)
    keys = [record.key for record in made]
    names = [f"w{i}:1:1.1" for i in range(workers)]
    answers: Answers = multiprocessing.Queue()
    groups = [names[i::PROCESSES] for i in range(min(PROCESSES, workers))]
    children = [
        multiprocessing.Process(target=process, args=(url, keys, evaluations, group, answers))
        for group in groups
    ]
    began = time.perf_counter()
    for child in children:
        child.start()
    claims = sorted(seconds for _ in children for seconds in answers.get())
    seconds = time.perf_counter() - began
    with Store.open(url) as store:
        found = store.evaluations(keys).values()
        assert all(len(each) == evaluations for each in found)
        assert {state.attempt for state in store.runs(keys).values()} == {1}
    print(
        f"| {workers} | {len(claims) / seconds:,.0f} | {1000 * claims[len(claims) // 2]:.0f} | "
        f"{1000 * claims[int(0.99 * len(claims))]:.0f} | {runs * evaluations / seconds:,.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--runs", type=int, default=936)
    parser.add_argument("--evaluations", type=int, default=20, help="of each run")
    given = parser.parse_args()
    print("| Workers | Claims/s | Median of a claim, ms | 99 % below, ms | Evaluations/s |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for number in (1, 8, 64):
        measure(given.url, number, given.runs, given.evaluations)
