"""How many runs one population can hold in a GPU's memory."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence

import torch

from algorithms import Sizes, algorithm_class
from harness import datasets
from harness.datasets.transforms import shared, steps_of
from harness.planning.populations import PlannedRun, shape
from harness.planning.states import stand_ins
from harness.specs.models import SELECTOR
from harness.training.memory import bytes_of_member, bytes_of_row

_SHARE = 0.85
"""Of the free memory that is filled; the rest is for workspaces of libraries and for gaps between tensors."""

_ROWS = 2_000_000  # where a spec does not tell: as many as the largest locomotion data of D4RL have


class Packing:
    """Fills a memory with runs: what each takes beside what their distinct datasets take once.

    Args:
        free: bytes.
        most: runs that are never exceeded; None where the memory alone decides.
    """

    def __init__(self, free: int, most: int | None = None) -> None:
        self._free, self._most = free, most
        self._each: dict[str, int] = {}  # bytes of a run, by shape

    @classmethod
    def of_gpu(cls, most: int | None = None) -> Packing:
        """For what is free on this machine's GPU once this process has given back what it does not use."""
        gc.collect()  # an earlier population may hang in cycles of references
        torch.cuda.empty_cache()  # what stays after this, as the pool of a broken capture, is not to be had
        return cls(torch.cuda.mem_get_info()[0], most)

    def __call__(self, runs: Sequence[PlannedRun]) -> int:
        """How many of the first of these runs of one shape fit; at least one, which is then tried."""
        data, each = self._bytes(runs[:1])
        seen, count = {_rows_of(runs[0])}, 1
        for run in runs[1 : self._most]:
            if _rows_of(run) not in seen:
                seen.add(_rows_of(run))
                data += self._bytes_of_data([run])
            if data + (count + 1) * each > _SHARE * self._free:
                break
            count += 1
        return count

    def describe(self, runs: Sequence[PlannedRun]) -> str:
        """What a population of these runs is expected to take, for the user."""
        data, each = self._bytes(runs)
        return (
            f"about {each / 1e6:.0f} MB each and {data / 1e9:.1f} GB of data: "
            f"{(data + len(runs) * each) / 1e9:.1f} of the {self._free / 1e9:.1f} GB that are free"
        )

    def _bytes(self, runs: Sequence[PlannedRun]) -> tuple[int, int]:
        """Bytes of the data of all runs, and of each run apart from them."""
        run = runs[0]
        name, dataset = shape(run), run.cell.dataset
        if name not in self._each:
            values = run.stand_in.hyperparameters
            sizes = Sizes(dataset.observation_size, dataset.action_size)
            algorithm = run.record.configuration["algorithm"]
            gathered = (run.cell.protocol.interactions or 0) * _bytes_of_row(run)
            self._each[name] = gathered + bytes_of_member(algorithm, values, sizes, stand_ins(run.cell))
        return self._bytes_of_data(runs), self._each[name]

    def _bytes_of_data(self, runs: Iterable[PlannedRun]) -> int:
        total = 0
        for run in {_rows_of(run): run for run in runs}.values():
            dataset, gather = run.cell.dataset, run.cell.protocol.gather
            if gather and gather.keep == "none":
                continue
            rows = datasets.count(dataset, run.cell.lineage) or _ROWS
            total += rows * _bytes_of_row(run)
        return total


def _bytes_of_row(run: PlannedRun) -> int:
    columns = algorithm_class(run.record.configuration["algorithm"]).columns
    sizes = (run.cell.dataset.observation_size, run.cell.dataset.action_size)
    return bytes_of_row(sizes, len(columns))


def _rows_of(run: PlannedRun) -> tuple[str, str, str]:
    """Equal for runs that train on the same rows."""
    record, cell = run.record, run.cell
    selector = cell.states[SELECTOR].of(record.seed).key if SELECTOR in cell.states else ""
    return f"{cell.dataset.id} {cell.lineage}", shared(steps_of(record.configuration), record.seed), selector
