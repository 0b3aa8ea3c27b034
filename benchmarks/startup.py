"""What the verbs that only read take of a processor and of a person's time, beside what they may."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.specs import Specs

_TABLE = "aspc-table1"
_REPEATS = 5
#: Verb -> seconds of processor time that it may take, the start of Python included.
_BOUNDS = {
    ("--help",): 0.25,
    ("ls",): 0.35,
    ("plan", _TABLE): 1.2,
    ("table", _TABLE): 0.8,
    ("diff", _TABLE): 0.8,
    ("status", _TABLE): 0.8,
}


def main() -> None:
    """Time the verbs with one score in the database and with a whole table: the best of some repetitions."""
    for rows in (1, None):
        with tempfile.TemporaryDirectory() as folder:
            scores = Path(folder) / "scores.csv"
            count = _write_scores(scores, rows)
            _harness(folder, "db", "import", str(scores), "--table", _TABLE)
            print(f"seconds, best of {_REPEATS}, scores in the database: {count}")
            print(f"{'':<28} {'waited':>7} {'processor':>10} {'at most':>8}")
            for arguments, bound in _BOUNDS.items():
                waited, busy = map(
                    min, zip(*(_harness(folder, *arguments) for _ in range(_REPEATS)), strict=True)
                )
                within = "" if busy <= bound else "  TOO SLOW"
                print(f"harness {' '.join(arguments):<20} {waited:7.2f} {busy:10.2f} {bound:8.2f}{within}")


def _write_scores(path: Path, rows: int | None) -> int:
    table = Specs().table(_TABLE)
    rng = random.Random(0)
    lines = [
        f"{dataset},{column.id},{seed},1000000,{rng.uniform(0, 110):.3f}"
        for dataset in table.datasets
        for column in table.columns
        for seed in range(4)
    ][:rows]
    path.write_text("\n".join(["dataset,algorithm,seed,step,score", *lines]) + "\n")
    return len(lines)


def _harness(folder: str, *arguments: str) -> tuple[float, float]:
    """Seconds from start to end, and seconds of processor time: the two differ on a busy machine."""
    environment = os.environ | {"HARNESS_DB": str(Path(folder) / "results.db"), "HARNESS_DATA": folder}
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        check=True,
        capture_output=True,
        env=environment,
        cwd=folder,
    )
    waited, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return waited, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
