"""Updates on an accelerator that is not there: torch computes devices and shapes, but no numbers.

So a CPU shows what a captured graph forbids: reading a number back, copying between host and device, and
shapes that depend on numbers. The device has to be registered for a whole process, so this file is also the
program that the tests run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from algorithms import Hyperparameters, algorithm_class, algorithm_ids
from harness.specs import Specs
from harness.training import engine
from harness.training.engine import Engine, cycle_of
from harness.training.population import build
from harness.training.replay import BLOCK, Block

BATCH = 16
MIXES = (None, (BATCH // 2, BATCH // 2))


def variants():
    """Every algorithm as shipped, and with each other choice of each of its own options."""
    shared = {field.name for field in fields(Hyperparameters)}
    for algorithm in algorithm_ids():
        shipped = Specs().algorithm(algorithm).hyperparameters
        yield algorithm, {}
        for field in fields(algorithm_class(algorithm).Hyperparameters):
            choices = field.metadata.get("choices") or ((True, False) if field.type in ("bool", bool) else ())
            for choice in choices:
                if field.name not in shared and choice != shipped[field.name].value:
                    yield algorithm, {field.name: choice}


def name_of(algorithm, changes):
    return " ".join([algorithm, *(f"{name}={value}" for name, value in changes.items())])


class OnDevice(TorchDispatchMode):
    """Refuses operations that read or make a tensor of the host."""

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        result = operation(*arguments, **(named or {}))
        tensors = [t for t in tree_leaves((arguments, named, result)) if isinstance(t, torch.Tensor)]
        if any(t.device.type == "cpu" for t in tensors):
            raise RuntimeError(f"{operation} touches the host")
        return result


class Zeros:
    """Random numbers by shape only; draws of rows are numbers of `kind`."""

    def __init__(self, learner, kind=torch.long):
        self._learner, self._kind = learner, kind

    def block(self, index):
        members, device = len(self._learner.members), self._learner.device
        noise = {
            name: torch.zeros(BLOCK, members, *each.shape, device=device)
            for name, each in self._learner.noise.items()
        }
        return Block(torch.zeros(BLOCK, members, BATCH, dtype=self._kind, device=device), noise)


class Graph:
    """Stands for a captured graph: captured on the device alone, and nothing to replay without numbers."""

    def __init__(self, work):
        with OnDevice():
            work()

    def replay(self):
        pass


def register_device():
    """Make torch believe in a device "absent", where three things of torch need its kernels."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend("absent")
    from_numbers, begin = torch.tensor, torch.optim.Adam.__init__

    def tensor(data, *, dtype=None, device=None):
        made = from_numbers(data, dtype=dtype)
        return made if device is None else torch.zeros(made.shape, dtype=made.dtype, device=device)

    def adam(self, parameters, lr, **options):
        begin(self, parameters, lr=1.0, **options)  # it would read a rate that is a tensor
        self.param_groups[0]["lr"] = lr

    def step(*states, lr, **options):
        assert lr.dtype == torch.float32  # CUDA's kernel reads nothing else

    torch.tensor, torch.optim.Adam.__init__ = tensor, adam
    library = torch.library.Library("aten", "IMPL")
    library.impl("_fused_adam_.tensor_lr", step, "Meta")
    return library  # its kernel goes with it


def update(make_task, algorithm, changes):
    """Capture one step of each phase."""
    learner, replay, _ = build(make_task(algorithm, **changes), "absent")
    trained = Engine(learner, replay, Zeros(learner), Graph)
    for step in {phase: step for step, phase in enumerate(cycle_of(learner), 1)}.values():
        trained.step(step)
    assert all(value.device.type == "absent" for value in trained.metrics.values())


def gather(make_task, mix):
    """Capture a step on a buffer that grows."""
    learner, replay, _ = build(make_task("td3_bc", gather={"explore": {"noise": 0.1}, "mix": mix}), "absent")
    Engine(learner, replay, Zeros(learner, torch.float64), Graph).step(1)


def read_a_number():
    return torch.zeros((), device="absent").item()


def decide():
    return bool(torch.zeros((), device="absent") > 0)


def copy_to_host():
    return torch.zeros(2, device="absent").cpu()


def mix():
    return torch.zeros(2, device="absent") + torch.zeros(2)


def select():
    return torch.zeros(2, device="absent")[torch.ones(2, dtype=torch.bool, device="absent")]


FORBIDDEN = (read_a_number, decide, copy_to_host, mix, select)


def problem(work, *arguments):
    """The first line of what goes wrong; None where nothing does."""
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            work(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def main():
    """All cases, as JSON: name -> problem."""
    from conftest import task  # of this folder, from where the program runs

    kept = register_device()
    engine.UNROLLED = 1
    torch.set_num_threads(1)
    found = {work.__name__: problem(Graph, work) for work in FORBIDDEN}
    for algorithm, changes in variants():
        found[name_of(algorithm, changes)] = problem(update, task, algorithm, changes)
    for mix in MIXES:
        found[f"gathering {mix}"] = problem(gather, task, mix)
    sys.stdout.write(json.dumps(found))
    del kept


@pytest.fixture(scope="module")
def problems():
    ran = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout)


def test_what_a_graph_forbids_is_noticed(problems):
    assert all(problems[work.__name__] for work in FORBIDDEN), problems


@pytest.mark.parametrize("case", [name_of(*variant) for variant in variants()])
def test_updates_stay_on_the_device(problems, case):
    assert problems[case] is None


@pytest.mark.parametrize("mix", MIXES)
def test_updates_on_a_buffer_that_grows_stay_on_the_device(problems, mix):
    assert problems[f"gathering {mix}"] is None


if __name__ == "__main__":
    main()
