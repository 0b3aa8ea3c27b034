"""The graph path against the eager one, with a stand-in for CUDA's capture that a CPU can run."""

from __future__ import annotations

import pytest
import torch

from harness.training.engine import Engine
from harness.training.population import build


class Recording:
    """Replays work on the memory it was captured with, as a CUDA graph does."""

    def __init__(self, work, outputs):
        self._work, self._outputs = work, outputs

    def replay(self):
        for name, value in self._work().items():
            self._outputs[name].copy_(value)


def capture(work):
    for _ in range(4):  # three warm-up runs and the capture itself change the state
        outputs = work()
    return Recording(work, outputs), outputs


@pytest.mark.parametrize("algorithm", ["bc", "td3_bc", "aspc"])
def test_graphs_do_what_eager_steps_do(make_task, algorithm):
    task = make_task(algorithm)
    engines, states = [], []
    for how in (None, capture):
        learner, replay, draws = build(task)
        engine = Engine(learner, replay, draws, how)
        for step in range(1, 145):
            engine.step(step)
        engines.append(engine)
        states.append(learner.training_state())
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    for name, tensor in engines[0].metrics.items():
        assert torch.equal(tensor, engines[1].metrics[name]), name


def test_each_phase_is_captured_once(make_task):
    captured = []

    def counting(work):
        captured.append(work)
        return capture(work)

    learner, replay, draws = build(make_task("aspc"))
    engine = Engine(learner, replay, draws, counting)
    for step in range(1, 61):
        engine.step(step)
    assert len(captured) == 3


@pytest.mark.parametrize("algorithm", ["bc", "td3_bc", "aspc"])
def test_updates_never_wait_for_the_device(make_task, algorithm, monkeypatch):
    """No update reads a tensor's value on the host: that would stop a captured graph."""
    learner, replay, draws = build(make_task(algorithm))
    engine = Engine(learner, replay, draws)
    engine.step(1)

    def refuse(*_):
        raise AssertionError("an update read a tensor on the host")

    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    phases = {}
    for step in range(2, 45):
        phases.setdefault(learner.phase(step), step)
    for phase in phases:
        learner.update(
            replay.batch(engine._block.rows[0]), {k: v[0] for k, v in engine._block.noise.items()}, phase
        )
