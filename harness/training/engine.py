"""Runs the update cycle: eagerly on a CPU, as replayed CUDA graphs on a GPU.

A population's step is some hundred small kernels, which take a GPU less time than a CPU needs to launch them.
So a whole cycle of steps is one graph: the host copies the cycle's random numbers to where the graph reads
them, launches once, and goes on; nothing in between waits for the device.
"""

from __future__ import annotations

import ctypes
import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from algorithms import Algorithm
from harness.training.replay import BLOCK, Block, Draws, Rows

Metrics = dict[str, Tensor]
Precision = Literal["fp32", "tf32"]

UNROLLED = 20
"""Steps that a short cycle is repeated to in one graph, so that few launches do much."""


class Graph(Protocol):
    """A captured piece of work."""

    def replay(self) -> None:
        """Do it again, on the memory it was captured with."""


Capture = Callable[[Callable[[], None]], Graph]


class CudaCapture:
    """Captures work as CUDA graphs whose intermediate results share one pool of memory.

    Replays may overwrite each other's intermediate results, so the work must write whatever outlives a replay
    into memory that was there before. The graphs of one instance should also end together.
    """

    def __init__(self) -> None:
        self._pool: Any = None
        # for warm-ups and captures, and of these graphs alone: torch keeps cuBLAS's workspaces (32 MiB each
        # on an H100) by stream, and frees a stream's with the first graph captured on it that ends
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has no types here

    def __call__(self, work: Callable[[], None]) -> Graph:
        """Capture `work`, after the warm-up on a side stream that capture needs.

        `work` runs during the warm-up, so the caller puts back what it changed.
        """
        # a graph of an earlier population that Python's collector ended during a capture would break it
        gc.collect()
        self._warm_up(work)
        graph = torch.cuda.CUDAGraph()
        cause: Exception | None = None
        try:
            with (
                torch.cuda.stream(torch.cuda.current_stream()),  # a capture that fails leaves another current
                torch.cuda.graph(graph, pool=self._pool, stream=self._stream),
            ):
                try:
                    work()
                except Exception as error:
                    cause = error
                    raise
        except Exception as error:
            cause = cause or error  # what ended the work, not the capture's complaint of having been broken
        if cause:
            raise cause
        self._pool = graph.pool()
        return graph

    def _warm_up(self, work: Callable[[], None]) -> None:
        stream, current = self._stream, torch.cuda.current_stream()
        stream.wait_stream(current)
        try:
            with torch.cuda.stream(stream), warnings.catch_warnings():
                # Adam warns of steps outside of a capture, which a warm-up's are
                warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
                for _ in range(3):
                    work()
        finally:
            # after a failure, too: what it leaves running writes to memory that others are given next
            current.wait_stream(stream)


def capture_for(device: torch.device | str) -> Capture | None:
    """How an engine on `device` captures: as CUDA graphs, or not at all."""
    return CudaCapture() if torch.device(device).type == "cuda" else None


@dataclass(frozen=True)
class Arithmetic:
    """How numbers are computed: part of what a run trained under, not of what it is.

    Attributes:
        precision: of float32 matrix products. TF32 rounds their factors to 10 bits of mantissa and adds up in
            float32, several times as fast on an NVIDIA matrix unit; on a CPU it means nothing.
        compiled: updates run through torch.compile, whose fused kernels round otherwise.
    """

    precision: Precision = "fp32"
    compiled: bool = False

    def __str__(self) -> str:
        """As it is recorded beside scores."""
        return {"fp32": "float32", "tf32": "tf32"}[self.precision] + ("+compile" if self.compiled else "")


PLAIN = Arithmetic()


def set_precision(precision: Precision, device: torch.device | str) -> None:
    """Choose the arithmetic of float32 matrix products, in this whole process; a CPU's is always float32."""
    tf32 = precision == "tf32" and torch.device(device).type == "cuda"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")


@contextmanager
def single_core(device: torch.device | str) -> Iterator[None]:
    """On a CPU this whole process computes with one thread and keeps its memory, while this is open.

    So numbers do not depend on how many cores there are, and none waits for another that is busy elsewhere.
    """
    if torch.device(device).type != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with kept_memory():
            yield
    finally:
        torch.set_num_threads(before)


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # glibc's names for them, in mallopt(3)


@contextmanager
def kept_memory() -> Iterator[None]:
    """This process keeps the memory that it frees, while this is open, if its C library is glibc.

    Every step of training takes what the step before has freed. Left alone, glibc gives large pieces back in
    between, and the system hands them out page by page, each cleared anew.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, 2**26)  # what is larger, such as data, is not a step's
    library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        # where glibc itself arrives in a process that frees large pieces; from now on it moves them no more
        library.mallopt(_MMAP_THRESHOLD, 2**25)
        library.mallopt(_TRIM_THRESHOLD, 2**26)
        library.malloc_trim(0)


class Engine:
    """Advances an algorithm step by step, or cycle by cycle.

    Args:
        algorithm: the population.
        replay: its data, on the same device.
        draws: its random numbers.
        capture: how to capture pieces of the update cycle; None runs every step eagerly.
        compiled: run updates through torch.compile, which fuses kernels and so rounds otherwise.

    Attributes:
        metrics: name -> ``(M, 1)``, each from the last step that computed it.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        replay: Rows,
        draws: Draws,
        capture: Capture | None = None,
        *,
        compiled: bool = False,
    ) -> None:
        self._algorithm, self._replay, self._draws = algorithm, replay, draws
        self._capture = capture
        self._apply = _compile(algorithm.update) if compiled else algorithm.update
        self._blocks: dict[int, Block] = {}
        self._cycle = cycle_of(algorithm) if capture else ()
        self._input: Block | None = None
        self._graphs: dict[tuple[str, ...], Graph] = {}
        self.metrics: Metrics = {}

    def advance(self, done: int, limit: int) -> int:
        """Do the step after `done`, or a whole cycle of steps where one begins and ends within `limit`.

        Args:
            done: number of the last step done; 0 at the beginning.
            limit: the last step that may be done.

        Returns:
            The last step done now. The device may not have reached it yet: nothing here waits for it.
        """
        self.prepare(done + 1)
        index, position = divmod(done, BLOCK)
        count = self._whole_cycle(done, min(limit, (index + 1) * BLOCK)) or 1
        inputs = _part(self._blocks[index], position, count)
        phases = _phases(self._algorithm, done, count)
        if self._capture is None:
            self._algorithm.clock.fill_(done)
            self.metrics |= self._update(inputs, phases)
        else:
            graph = self._graph(inputs, phases, self._capture)
            self._algorithm.clock.fill_(done)  # after a capture, whose warm-up moves it
            graph.replay()
        return done + count

    def step(self, step: int) -> None:
        """Do training step `step` = 1, 2, … alone."""
        self.advance(step - 1, step)

    def prepare(self, step: int) -> None:
        """Draw the random numbers of the block that `step` lies in, unless they are there.

        Called for a block ahead, it fills the time in which the device is still busy with the last one.
        """
        index = (step - 1) // BLOCK
        if index not in self._blocks:
            self._blocks = {i: block for i, block in self._blocks.items() if i == index - 1}
            self._blocks[index] = self._draws.block(index)

    def _whole_cycle(self, done: int, limit: int) -> int:
        """Length of the cycle that begins after `done`; 0 if none begins there or it goes beyond `limit`."""
        length = len(self._cycle)
        if not length or done % length or done + length > limit:
            return 0
        return length if _phases(self._algorithm, done, length) == self._cycle else 0

    def _update(self, inputs: Block, phases: tuple[str, ...]) -> Metrics:
        metrics: Metrics = {}
        for position, phase in enumerate(phases):
            batch = self._replay.batch(inputs.rows[position])
            noise = {name: values[position] for name, values in inputs.noise.items()}
            metrics |= self._apply(batch, noise, phase)
            self._algorithm.clock.add_(1)
        return metrics

    def _graph(self, inputs: Block, phases: tuple[str, ...], capture: Capture) -> Graph:
        """The graph of these phases, with the inputs where it reads them."""
        if self._input is None:
            like = _part(next(iter(self._blocks.values())), 0, max(1, len(self._cycle)))
            self._input = Block(like.rows.clone(), {k: v.clone() for k, v in like.noise.items()})
        fixed = _part(self._input, 0, len(phases))
        fixed.rows.copy_(inputs.rows)
        for name, values in inputs.noise.items():
            fixed.noise[name].copy_(values)
        if phases not in self._graphs:
            self._graphs[phases] = self._captured(fixed, phases, capture)
        return self._graphs[phases]

    def _captured(self, fixed: Block, phases: tuple[str, ...], capture: Capture) -> Graph:
        """The graph of these phases, with training as it was before the capture's warm-up."""

        def work() -> None:
            for name, value in self._update(fixed, phases).items():
                # made in the warm-up and thus outside of the graphs' pool, where a replay would overwrite it
                if name not in self.metrics:
                    self.metrics[name] = torch.empty_like(value)
                self.metrics[name].copy_(value)

        before = {name: tensor.clone() for name, tensor in self._algorithm.training_state().items()}
        graph = capture(work)
        self._algorithm.load_training_state(before)
        return graph


def cycle_of(algorithm: Algorithm) -> tuple[str, ...]:
    """The phases of the steps that one graph does, from step 1 on.

    That is the smallest number of steps after which the phases repeat, as often as fits into `UNROLLED` but
    at least once. Empty if they do not repeat within a block of random numbers.
    """
    seen = _phases(algorithm, 0, 2 * BLOCK)
    for period in range(1, BLOCK + 1):
        if seen[period:] == seen[:-period]:
            return seen[: period * max(1, UNROLLED // period)]
    return ()


def _phases(algorithm: Algorithm, done: int, count: int) -> tuple[str, ...]:
    """Phases of the `count` steps after `done`."""
    return tuple(algorithm.phase(step) for step in range(done + 1, done + count + 1))


def _part(block: Block, start: int, count: int) -> Block:
    """The numbers of `count` steps, sharing the block's memory."""
    chosen = slice(start, start + count)
    return Block(block.rows[chosen], {name: values[chosen] for name, values in block.noise.items()})


def _compile(update: Callable[..., Metrics]) -> Callable[..., Metrics]:
    import torch._functorch.config as functorch

    # ASPC differentiates twice through one forward pass, so its buffers must outlive the first time
    functorch.donated_buffer = False
    # what earlier populations compiled counts towards a limit, beyond which updates run uncompiled
    torch.compiler.reset()
    compiled: Callable[..., Metrics] = torch.compile(update, dynamic=False)
    return compiled
