"""What a member is said to take, against what torch's allocator really does."""

from __future__ import annotations

import pytest
import torch
from torch.profiler import profile

from algorithms import algorithm_ids
from harness.training.memory import Watermark, bytes_of_member, bytes_of_row
from harness.training.population import build


def allocated(work):
    """The most bytes that `work` had allocated, as torch's profiler saw them come and go."""
    with profile(profile_memory=True) as profiled:
        work()
    changes = []

    def walk(event):
        if event.tag.name == "Allocation":
            changes.append((event.start_time_ns, event.extra_fields.alloc_size))
        for child in event.children:
            walk(child)

    for event in profiled.profiler.kineto_results.experimental_event_tree():
        walk(event)
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


@pytest.mark.parametrize("algorithm", ["td3_bc", "aspc", "cql"])
@pytest.mark.parametrize("members", [1, 4])
def test_an_updates_memory_is_what_the_allocator_gives(make_task, algorithm, members):
    learner, replay, draws = build(make_task(algorithm, seeds=range(members), batch_size=64))
    block = draws.block(0)
    batch, noise = replay.batch(block.rows[0]), {name: each[0] for name, each in block.noise.items()}

    def work():
        learner.update(batch, noise, learner.phase(20))

    expected = allocated(work)
    with Watermark() as held:
        work()
    assert held.most == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("algorithm", algorithm_ids())
def test_a_members_memory_covers_its_state_and_numbers_and_no_multiple_of_them(make_task, algorithm):
    task = make_task(algorithm, seeds=(0,))
    learner, replay, draws = build(task)
    state = sum(tensor.nbytes for tensor in learner.training_state().values())
    block = draws.block(0)
    numbers = sum(tensor.nbytes for tensor in (block.rows, *block.noise.values()))
    found = bytes_of_member(algorithm, task.runs[0].hyperparameters, learner.sizes)
    assert 2 * (state + numbers) < found < 10 * (state + numbers)
    assert replay.storage[0].nbytes == bytes_of_row(learner.sizes, len(learner.columns))


def test_only_what_is_alive_counts():
    outside = torch.ones(1000)
    with Watermark() as held:
        first = torch.ones(100)
        first.add_(1).view(10, 10)
        outside.mul_(2)
        del first
        second = torch.ones(50)
    assert held.most == 400
    assert held.now == second.nbytes
    del second
    assert held.now == 0
