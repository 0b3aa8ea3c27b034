"""How many claims and evaluations a second a database server takes from 1, 8 and 64 simulated workers.

    python benchmarks/claims.py postgresql://me@server/empty

Each worker is a thread with connections of its own, as a process has them. First all claim populations of 8
runs, each trying every one in an order of its own; then each commits some evaluations of 10 episodes for the
runs that it got, one transaction a population and step as training does, and finishes them. No time goes into
training, so this is the most that the database takes. 64 workers are 8 processes of 8 threads.
"""

from __future__ import annotations

import argparse
import multiprocessing
import multiprocessing.synchronize
import random
import threading
import time

from harness.results.records import EvaluationRecord, RunRecord, canonical, digest, run_key
from harness.results.store import Store

MEMBERS, EPISODES = 8, 10
PROCESSES = 8
Answers = multiprocessing.Queue  # of lists of seconds
Barrier = (
    multiprocessing.synchronize.Barrier
)  # passed before the first claim, and before the first evaluation


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


def work(
    url: str, keys: list[str], evaluations: int, owner: str, together: Barrier, claims: list[float]
) -> None:
    """Claim what there is, evaluate and finish what was got of it."""
    populations = [keys[i : i + MEMBERS] for i in range(0, len(keys), MEMBERS)]
    random.shuffle(populations)
    mine = []
    with Store.open(url, owner=owner) as store:
        together.wait()
        for population in populations:
            began = time.perf_counter()
            mine.append(store.claim(population))
            claims.append(time.perf_counter() - began)
        together.wait()
        for population in filter(None, mine):
            for step in range(evaluations):
                store.record_evaluations(
                    [EvaluationRecord(key, step, [1.0] * EPISODES, [7] * EPISODES) for key in population]
                )
            store.finish(population, 1.0, 1.0)


def process(
    url: str, keys: list[str], evaluations: int, names: list[str], together: Barrier, answers: Answers
) -> None:
    """Some workers as threads."""
    claims: list[float] = []
    threads = [
        threading.Thread(target=work, args=(url, keys, evaluations, name, together, claims)) for name in names
    ]
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
    together = multiprocessing.Barrier(workers + 1)
    groups = [names[i::PROCESSES] for i in range(min(PROCESSES, workers))]
    children = [
        multiprocessing.Process(target=process, args=(url, keys, evaluations, group, together, answers))
        for group in groups
    ]
    for child in children:
        child.start()
    together.wait()
    began = time.perf_counter()
    together.wait()
    claimed = time.perf_counter()
    claims = sorted(seconds for _ in children for seconds in answers.get())
    ended = time.perf_counter()
    with Store.open(url) as store:
        found = store.evaluations(keys).values()
        assert all(len(each) == evaluations for each in found)
        assert {state.attempt for state in store.runs(keys).values()} == {1}
    print(
        f"| {workers} | {len(claims) / (claimed - began):,.0f} | {1000 * claims[len(claims) // 2]:.0f} | "
        f"{1000 * claims[int(0.99 * len(claims))]:.0f} | {runs * evaluations / (ended - claimed):,.0f} |",
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
