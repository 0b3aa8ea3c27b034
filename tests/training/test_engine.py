"""The graph path against the eager one, with a stand-in for CUDA's capture that a CPU can run."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from algorithms import algorithm_class, algorithm_ids
from algorithms.bc import BC
from harness.training.engine import CudaCapture, Engine, cycle_of, set_precision
from harness.training.population import build


def train(task, how, ends, **options):
    """An engine after the steps up to each of `ends`, and the lengths of its pieces."""
    learner, replay, draws = build(task)
    engine, done, pieces = Engine(learner, replay, draws, how, **options), 0, []
    for end in ends:
        while done < end:
            before, done = done, engine.advance(done, end)
            pieces.append(done - before)
    return engine, learner.training_state(), pieces


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("algorithm", algorithm_ids())
def test_graphs_do_what_eager_steps_do(make_task, capture, algorithm):
    """Through pieces of every kind: whole cycles, the steps before a boundary, and those after it."""
    task, ends = make_task(algorithm), (40, 47, 110)
    plain, expected, single = train(task, None, ends)
    graphed, found, pieces = train(task, capture, ends)
    assert single == [1] * 110
    assert pieces == [20, 20, *[1] * 20, 20, 20, *[1] * 10]
    assert_same(found, expected)
    assert_same(graphed.metrics, plain.metrics)


@pytest.mark.parametrize("graphed", [False, True])
def test_the_clock_counts_the_updates_of_the_run_also_in_graphs_and_after_a_resumption(
    make_task, capture, monkeypatch, graphed
):
    loss = BC.actor_loss
    monkeypatch.setattr(BC, "actor_loss", lambda self, batch: loss(self, batch) * (1 + self.clock))
    update = BC.update
    monkeypatch.setattr(
        BC, "update", lambda self, *given: update(self, *given) | {"clock": self.clock.clone()}
    )
    task, how = make_task("bc"), capture if graphed else None
    straight, expected, _ = train(task, None, (110,))
    assert straight.metrics["clock"].tolist() == [[109.0], [109.0]]
    _, half, _ = train(task, how, (47,))
    learner, replay, draws = build(task)
    learner.load_training_state(half)
    assert "clock" not in half
    engine, done = Engine(learner, replay, draws, how), 47
    while done < 110:
        done = engine.advance(done, 110)
    assert_same(learner.training_state(), expected)
    assert_same(engine.metrics, straight.metrics)


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({}, 20),
        ({"policy_frequency": 3, "alpha_interval": 1}, 18),
        ({"policy_frequency": 2, "alpha_interval": 23}, 46),
        ({"policy_frequency": 2, "alpha_interval": 51}, 0),
    ],
)
def test_a_cycle_ends_where_the_phases_repeat(make_task, capture, changes, length):
    """Also where blocks of random numbers are no multiple of it, or shorter."""
    task = make_task("aspc", **changes)
    assert len(cycle_of(build(task)[0])) == length
    plain, expected, _ = train(task, None, (210,))
    graphed, found, pieces = train(task, capture, (210,))
    assert set(pieces) == {1, length} - {0}
    assert_same(found, expected)
    assert_same(graphed.metrics, plain.metrics)


def test_phases_that_come_out_otherwise_later_are_not_taken_for_the_cycle(make_task, capture, monkeypatch):
    def phase(self, step):
        return "critic and actor" if step % 2 == 0 or step == 251 else "critic"

    monkeypatch.setattr(algorithm_class("td3_bc"), "phase", phase)
    task = make_task("td3_bc")
    _, expected, _ = train(task, None, (280,))
    _, found, pieces = train(task, capture, (280,))
    assert pieces == [*[20] * 12, *[1] * 20, 20]
    assert_same(found, expected)


def test_pieces_are_captured_once(make_task, capture):
    captured = []

    def counting(work):
        captured.append(work)
        return capture(work)

    train(make_task("aspc"), counting, (25, 60, 140))
    assert len(captured) == 1 + 3  # the cycle, and each phase alone


def test_numbers_drawn_ahead_are_those_drawn_in_time(make_task):
    learner, replay, draws = build(make_task("td3_bc"))
    asked, block = [], draws.block
    draws.block = lambda index: asked.append(index) or block(index)
    engine, done = Engine(learner, replay, draws), 0
    for end in (100, 200, 300):
        while done < end:
            done = engine.advance(done, end)
        engine.prepare(end + 1)
    assert asked == [0, 1, 2, 3]
    assert len(engine._blocks) == 2
    _, expected, _ = train(make_task("td3_bc"), None, (300,))
    assert_same(learner.training_state(), expected)


def test_tf32_is_for_cuda_alone():
    before = torch.get_float32_matmul_precision()
    try:
        found = []
        for precision, device in (("tf32", "cuda"), ("tf32", "cpu"), ("fp32", "cuda")):
            set_precision(precision, device)
            found.append(torch.get_float32_matmul_precision())
    finally:
        torch.set_float32_matmul_precision(before)
    assert found == ["high", "highest", "highest"]


def test_a_compiled_update_does_what_the_plain_one_does(make_task, monkeypatch):
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda work, **how: whole(work, backend="eager", **how))
    _, expected, _ = train(make_task("bc"), None, (3,))
    _, found, _ = train(make_task("bc"), None, (3,), compiled=True)
    assert_same(found, expected)


def test_the_updates_of_every_population_are_compiled(make_task, monkeypatch):
    whole, graphs = torch.compile, []

    def backend(module, _):
        graphs.append(module)
        return module

    monkeypatch.setattr(torch, "compile", lambda work, **how: whole(work, backend=backend, **how))
    with torch._dynamo.config.patch(recompile_limit=1):  # monkeypatch would leave the setting hidden
        train(make_task("bc"), None, (1,), compiled=True)
        once = len(graphs)
        train(make_task("bc"), None, (1,), compiled=True)
    assert len(graphs) == 2 * once > 0


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["aspc", "iql_aspc", "cql_aspc"])
def test_nothing_is_left_to_compile_when_a_graph_is_captured(make_task, monkeypatch, algorithm):
    """CUDA forbids a capture what torch's compiler does; the three warm-up runs have to be enough."""
    whole, counts = torch.compile, []

    def capture(work):
        for _ in range(4):
            work()
            counts.append(torch._dynamo.utils.counters["frames"]["total"])
        return SimpleNamespace(replay=work)

    monkeypatch.setattr(torch, "compile", lambda work, **how: whole(work, backend="eager", **how))
    learner, replay, draws = build(make_task(algorithm))
    Engine(learner, replay, draws, capture, compiled=True).advance(0, 20)
    assert counts[0] > 0
    assert counts[2] == counts[3]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_torchs_compiler_takes_two_derivatives_of_one_forward_pass(make_task):
    """ASPC's outer step; in float64, where fused kernels' other roundings stay small."""
    task, states = make_task("aspc", alpha_interval=1), []
    for compiled in (False, True):
        learner, replay, draws = build(task, "cpu", torch.float64)
        engine = Engine(learner, replay, draws, compiled=compiled)
        for step in range(1, 5):
            engine.step(step)
        states.append(learner.training_state())
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("algorithm", ["bc", "td3_bc", "aspc"])
def test_updates_never_wait_for_the_device(make_task, algorithm, monkeypatch):
    """No update reads a tensor's value on the host: that would stop a captured graph."""
    learner, replay, draws = build(make_task(algorithm))
    engine, block = Engine(learner, replay, draws), draws.block(0)
    engine.step(1)

    def refuse(*_):
        raise AssertionError("an update read a tensor on the host")

    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    phases = {}
    for step in range(2, 45):
        phases.setdefault(learner.phase(step), step)
    for phase in phases:
        learner.update(replay.batch(block.rows[0]), {k: v[0] for k, v in block.noise.items()}, phase)


@pytest.fixture
def cuda(monkeypatch):
    """What a capture asks of CUDA, as notes of the streams: which is current, and which waited for which."""

    class Stream:
        waited_for = ()

        def wait_stream(self, other):
            self.waited_for = (*self.waited_for, other)

    class Cuda:
        default = current = Stream()

    @contextmanager
    def stream(chosen):
        before, Cuda.current = Cuda.current, chosen
        try:
            yield
        finally:
            Cuda.current = before

    class Capturing:
        """As torch's: where the end of a capture fails, its stream stays the current one."""

        def __init__(self, graph, pool, stream):
            self._stream = stream

        def __enter__(self):
            Cuda.current = self._stream

        def __exit__(self, kind, error, trace):
            if error:
                raise RuntimeError("operation failed due to a previous error during capture")
            Cuda.current = Cuda.default

    monkeypatch.setattr("torch.cuda.Stream", Stream)
    monkeypatch.setattr("torch.cuda.current_stream", lambda: Cuda.current)
    monkeypatch.setattr("torch.cuda.stream", stream)
    monkeypatch.setattr("torch.cuda.graph", Capturing)
    monkeypatch.setattr("torch.cuda.CUDAGraph", type("Graph", (), {"pool": lambda self: 7}))
    return Cuda


def test_a_capture_that_fails_says_why_and_leaves_the_stream_as_it_was(cuda):
    calls = []

    def work():
        calls.append(cuda.current)
        if len(calls) == 4:  # after three warm-ups
            raise ValueError("not permitted when stream is capturing")

    with pytest.raises(ValueError, match=r"^not permitted"):
        CudaCapture()(work)
    assert len(set(calls)) == 1
    assert calls[0] is not cuda.default
    assert cuda.current is cuda.default


def test_what_a_failed_warm_up_left_running_is_waited_for(cuda):
    streams = []

    def work():
        streams.append(cuda.current)
        raise ValueError("wrong shape")

    with pytest.raises(ValueError, match="wrong shape"):
        CudaCapture()(work)
    assert cuda.default.waited_for == tuple(streams)
    assert streams[0].waited_for == (cuda.default,)


def test_a_capture_that_cannot_be_ended_says_so(cuda, monkeypatch):
    @contextmanager
    def graph(*_, **__):
        yield
        raise torch.OutOfMemoryError("while the graph is made")

    monkeypatch.setattr("torch.cuda.graph", graph)
    with pytest.raises(torch.OutOfMemoryError):
        CudaCapture()(lambda: None)
