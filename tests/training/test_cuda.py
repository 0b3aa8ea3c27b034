"""What only a GPU can show: captured graphs, their memory, and that nothing waits for the device."""

from __future__ import annotations

import pytest
import torch

from algorithms import algorithm_ids
from harness.execution.packing import _SHARE
from harness.training import checkpoints
from harness.training.engine import CudaCapture, Engine, set_precision
from harness.training.memory import bytes_of_member
from harness.training.population import Conditions, Trainer, build

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def advance(engine, done, end):
    while done < end:
        done = engine.advance(done, end)


def trained(task, capture, dtype=torch.float64, *, compiled=False):
    """Training and metrics after whole cycles, single steps, and cycles again."""
    learner, replay, draws = build(task, "cuda", dtype)
    engine, done = Engine(learner, replay, draws, capture, compiled=compiled), 0
    for end in (40, 47, 110, 200):
        advance(engine, done, end)
        done = end
    return learner.training_state() | {f"metric {name}": value for name, value in engine.metrics.items()}


@pytest.mark.parametrize("algorithm", algorithm_ids())
def test_graphs_do_what_eager_steps_do(make_task, algorithm):
    task = make_task(algorithm)
    expected, found = trained(task, None), trained(task, CudaCapture())
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("algorithm", ["bc", "aspc", "cql"])
def test_compiled_updates_are_captured_too(make_task, algorithm):
    task = make_task(algorithm)
    expected, found = trained(task, None), trained(task, CudaCapture(), compiled=True)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-6, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("algorithm", ["bc", "td3_bc", "aspc"])
def test_nothing_waits_for_the_device(make_task, algorithm):
    learner, replay, draws = build(make_task(algorithm), "cuda")
    engine = Engine(learner, replay, draws, CudaCapture())
    advance(engine, 0, 47)
    advance(engine, 47, 60)  # now cycles and single steps of every phase are captured
    torch.cuda.set_sync_debug_mode("error")
    try:
        advance(engine, 60, 67)
        advance(engine, 67, 200)
        engine.prepare(201)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("algorithm", ["td3_bc", "aspc", "cql"])
def test_no_more_memory_is_taken_than_the_planner_thinks(make_task, algorithm):
    task = make_task(algorithm, seeds=range(16), batch_size=256)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    learner, replay, draws = build(task, "cuda")
    engine = Engine(learner, replay, draws, CudaCapture())
    advance(engine, 0, 47)  # whole cycles, then single steps: several graphs
    advance(engine, 47, 100)
    engine.prepare(101)
    advance(engine, 100, 200)
    taken = torch.cuda.max_memory_reserved() - before
    each = bytes_of_member(algorithm, task.runs[0].hyperparameters, learner.sizes)
    workspaces = 256_000_000  # of libraries: the same however many members
    assert taken < (16 * each + replay.storage.nbytes) / _SHARE + workspaces


def test_members_that_gather_train_and_go_on(make_task, notebook, pool, tmp_path):
    """Graphs are captured once and see what is gathered since; an interrupted run goes on where it was."""
    gather = {"warmup": 50, "explore": {"noise": 0.1}}
    task = make_task("td3_bc", steps=200, evaluate_every=100, gather=gather, batch_size=64)
    book, asked = notebook(), iter([False] * 60)
    options = Conditions(device="cuda")
    first = Trainer(task, book, pool, tmp_path / "p.pt", options)
    assert first.train(lambda: next(asked, True)).interrupted
    second = Trainer(task, book, pool, tmp_path / "p.pt", options, checkpoints.load(tmp_path / "p.pt"))
    assert set(second.train().finished) == {run.key for run in task.runs}
    assert sorted({step for _, step in book.scores}) == [0, 100, 200]
    assert not torch.equal(second._replay.region(0), second._replay.region(1))
    assert len(second._replay.region(0)) == 200


def test_tf32_rounds_otherwise():
    a, b = torch.randn(2, 512, 512, device="cuda")
    try:
        set_precision("fp32", "cuda")
        exact = a @ b
        set_precision("tf32", "cuda")
        rounded = a @ b
    finally:
        set_precision("fp32", "cuda")
    error = ((rounded - exact).norm() / exact.norm()).item()
    assert 1e-6 < error < 5e-3
