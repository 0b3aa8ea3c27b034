"""Every algorithm, with each of its options, computes the figures that it computed when they were recorded.

They hold on any processor: data are uniform float64 numbers, whose bits no library of mathematics decides.
A change that means to move them records them anew: ``python tests/algorithms/test_algorithms_recorded.py``.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from algorithms import Batch, Hyperparameters, Member, Sizes, algorithm_class, algorithm_ids, generator
from harness.specs import Specs

RECORDED = Path(__file__).parent / "recorded.json"
SIZES, KEYS, STEPS = Sizes(3, 2), "ab", 41  # past the outer steps at 20 and 40


def cases():
    """Every algorithm as shipped, and with each other choice of each of its own options."""
    shared = {field.name for field in fields(Hyperparameters)}
    for algorithm in algorithm_ids():
        shipped = {name: each.value for name, each in Specs().algorithm(algorithm).hyperparameters.items()}
        declared = fields(algorithm_class(algorithm).Hyperparameters)
        small = {field.name: "8-8" for field in declared if "pattern" in field.metadata}
        values = shipped | small | {"batch_size": 5}
        yield algorithm, values
        for field in declared:
            choices = field.metadata.get("choices") or ((True, False) if field.type == "bool" else ())
            for choice in choices:
                if field.name not in shared and choice != shipped[field.name]:
                    yield f"{algorithm} {field.name}={choice}", values | {field.name: choice}


def uniform(stream, step, *shape):
    """One member's numbers each, uniform on [-1, 1)."""
    draws = [torch.rand(*shape, generator=generator(key, stream, step), dtype=torch.float64) for key in KEYS]
    return 2 * torch.stack(draws) - 1


def batch(step, size, columns):
    observation = uniform("observation", step, size, SIZES.observation)
    return Batch(
        observation=observation,
        action=uniform("action", step, size, SIZES.action),
        reward=uniform("reward", step, size) + 1,
        next_observation=observation + uniform("next_observation", step, size, SIZES.observation) / 10,
        terminal=(uniform("terminal", step, size) > 0.7).double(),
        next_action=uniform("next_action", step, size, SIZES.action),
        extra={name: (uniform(name, step, size) > -0.3).double() for name in columns},
    )


def without_next_action(batch):
    """The minibatch with what spoils whatever it is read into."""
    return batch._replace(next_action=torch.full_like(batch.next_action, float("nan")))


def figures(values, algorithm, change=lambda batch: batch):
    """Names and shapes of the training state, its size part by part, and the last metrics."""
    members = [Member(key, values, 0.1 * index) for index, key in enumerate(KEYS)]
    learner = algorithm_class(algorithm)(members, SIZES, dtype=torch.float64)
    state = learner.training_state()
    for index, (name, tensor) in enumerate(state.items()):
        if tensor.dim() > 2 and name in learner.state_dict():  # float32's first weights, by other libraries
            tensor.copy_(uniform("weights", index, *tensor.shape[1:]) / 2)
    metrics = {}
    for step in range(1, STEPS + 1):
        size = learner.hyper.batch_size
        noise = {name: uniform(name, step, *each.shape) for name, each in learner.noise.items()}
        learner.clock.fill_(step - 1)
        metrics |= learner.update(change(batch(step, size, learner.columns)), noise, learner.phase(step))
    parts = {}
    for name, tensor in state.items():
        parts.setdefault(name.split(".")[0].split("/")[0], []).append(tensor.double().flatten())
    found = {part: torch.cat(tensors) for part, tensors in parts.items()}
    found |= {f"metric {name}": values.double().flatten() for name, values in sorted(metrics.items())}
    weighted = {name: v * torch.linspace(1, 2, len(v), dtype=torch.float64) for name, v in found.items()}
    return {
        "state": {name: list(tensor.shape) for name, tensor in state.items()},
        "figures": {name: [float(f"{x:.13g}") for x in (v.sum(), v.norm())] for name, v in weighted.items()},
    }


@pytest.mark.parametrize(("name", "values"), [pytest.param(*case, id=case[0]) for case in cases()])
def test_an_algorithm_computes_what_it_did(name, values):
    """Without next actions, unless the algorithm says that it reads them."""
    algorithm, _, option = name.partition(" ")
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    reads = algorithm_class(algorithm).reads_next_action
    found = figures(values, algorithm) if reads else figures(values, algorithm, without_next_action)
    assert found["figures"] == {
        part: pytest.approx(each, rel=1e-10, abs=1e-12) for part, each in recorded[name]["figures"].items()
    }
    if not option:
        assert found["state"] == recorded[name]["state"]


@pytest.mark.parametrize("algorithm", [a for a in algorithm_ids() if algorithm_class(a).reads_next_action])
def test_an_algorithm_that_says_it_reads_next_actions_does(algorithm):
    values = next(values for name, values in cases() if name == algorithm)
    found = figures(values, algorithm, without_next_action)["figures"]
    assert any(math.isnan(number) for each in found.values() for number in each)


def record():
    everything = {name: figures(values, name.partition(" ")[0]) for name, values in cases()}
    for name, each in everything.items():
        if " " in name:
            del each["state"]
    lines = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in everything.items()]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    record()
