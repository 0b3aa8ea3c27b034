"""Runs the update cycle: eagerly on a CPU, as replayed CUDA graphs on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from algorithms import Algorithm
from harness.training.replay import BLOCK, Block, Draws, Rows

Metrics = dict[str, Tensor]


class Graph(Protocol):
    """A captured piece of work."""

    def replay(self) -> None:
        """Do it again, on the memory it was captured with."""


Capture = Callable[[Callable[[], Metrics]], tuple[Graph, Metrics]]


def capture_cuda(work: Callable[[], Metrics]) -> tuple[Graph, Metrics]:
    """Capture `work` as a CUDA graph, after the warm-up on a side stream that capture needs.

    `work` runs during the warm-up, so the caller puts back what it changed.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has no types here
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        metrics = work()
    return graph, metrics


class Engine:
    """Advances an algorithm step by step.

    Args:
        algorithm: the population.
        replay: its data, on the same device.
        draws: its random numbers.
        capture: how to capture one phase of the update cycle; None runs every step eagerly.

    Attributes:
        metrics: name -> ``(M, 1)``, each from the last step that computed it.
    """

    def __init__(
        self, algorithm: Algorithm, replay: Rows, draws: Draws, capture: Capture | None = None
    ) -> None:
        self._algorithm, self._replay, self._draws = algorithm, replay, draws
        self._capture = capture
        self._block_index, self._block = -1, Block(torch.empty(0), {})
        self._input: Block | None = None
        self._graphs: dict[str, tuple[Graph, Metrics]] = {}
        self.metrics: Metrics = {}

    def step(self, step: int) -> None:
        """Do training step `step` = 1, 2, …; nothing waits for the device."""
        block_index, position = divmod(step - 1, BLOCK)
        if block_index != self._block_index:
            self._block_index, self._block = block_index, self._draws.block(block_index)
        inputs = Block(self._block.rows[position], {k: v[position] for k, v in self._block.noise.items()})
        phase = self._algorithm.phase(step)
        if self._capture is None:
            self.metrics |= self._update(inputs, phase)
        else:
            self.metrics |= self._replayed(inputs, phase, self._capture)

    def _update(self, inputs: Block, phase: str) -> Metrics:
        return self._algorithm.update(self._replay.batch(inputs.rows), inputs.noise, phase)

    def _replayed(self, inputs: Block, phase: str, capture: Capture) -> Metrics:
        if self._input is None:
            self._input = Block(inputs.rows.clone(), {k: v.clone() for k, v in inputs.noise.items()})
        fixed = self._input
        fixed.rows.copy_(inputs.rows)
        for name, values in inputs.noise.items():
            fixed.noise[name].copy_(values)
        if phase not in self._graphs:
            before = {name: tensor.clone() for name, tensor in self._algorithm.training_state().items()}
            self._graphs[phase] = capture(lambda: self._update(fixed, phase))
            self._algorithm.load_training_state(before)
        graph, metrics = self._graphs[phase]
        graph.replay()
        return metrics
