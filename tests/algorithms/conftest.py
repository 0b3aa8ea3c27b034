"""Small populations on invented data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from operator import itemgetter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from algorithms import Algorithm, Batch, Member, Noise, Sizes, algorithm_class, generator
from harness.specs import Column, Specs
from harness.specs.columns import Written, hyperparameters
from reference import Program, program

SIZES = Sizes(observation=3, action=2)
BATCH = 6


def _member_data(key: str, step: int, size: int, dtype: torch.dtype) -> dict[str, Tensor]:
    source = generator(key, "data", step)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source, dtype=torch.float64).to(dtype)

    observation = normal(size, SIZES.observation)
    return {
        "observation": observation,
        "action": normal(size, SIZES.action).tanh(),
        "reward": normal(size) + 1,
        "next_observation": observation + 0.1 * normal(size, SIZES.observation),
        "terminal": (normal(size) > 1).to(dtype),
        "next_action": normal(size, SIZES.action).tanh(),
    }


def _noise(noise: Noise, source: torch.Generator) -> Tensor:
    draw = torch.randn if noise.distribution == "normal" else torch.rand
    return draw(*noise.shape, generator=source, dtype=torch.float64)


class Population:
    """An algorithm whose members each draw data and noise from their own key, whoever is beside them."""

    def __init__(self, algorithm_id: str, members: Sequence[Member], **options: Any) -> None:
        self.algorithm: Algorithm = algorithm_class(algorithm_id)(members, SIZES, **options)
        self.step = 0

    def inputs(self, step: int) -> tuple[Batch, dict[str, Tensor]]:
        algorithm = self.algorithm
        keys, dtype = [m.key for m in algorithm.members], algorithm.dtype
        data = [_member_data(key, step, algorithm.hyper.batch_size, dtype) for key in keys]
        noise = {
            name: torch.stack([_noise(each, generator(key, name, step)) for key in keys]).to(dtype)
            for name, each in algorithm.noise.items()
        }
        batch = Batch(
            *(torch.stack([d[name] for d in data]) for name in Batch._fields[:-1]),
            {name: self._flags(name, step) for name in algorithm.columns},
        )
        algorithm.clock.fill_(step - 1)
        return batch, noise

    def _flags(self, column: str, step: int) -> Tensor:
        """An extra column, 1 for about two rows of three and else 0."""
        algorithm = self.algorithm
        size = algorithm.hyper.batch_size
        draws = [torch.rand(size, generator=generator(m.key, column, step)) for m in algorithm.members]
        return (torch.stack(draws) > 1 / 3).to(algorithm.dtype)

    def act(self, observation: Tensor) -> Tensor:
        """Evaluation actions; a policy that samples gets the same numbers every time."""
        algorithm = self.algorithm
        if algorithm.acting_noise is None:
            return algorithm.act(observation)
        count, wanted = observation.shape[1], algorithm.acting_noise
        noise = [
            torch.stack([_noise(wanted, generator(m.key, "acting", row)) for row in range(count)])
            for m in algorithm.members
        ]
        return algorithm.act(observation, torch.stack(noise).to(observation.dtype))

    def train(self, steps: int) -> dict[str, Tensor]:
        metrics: dict[str, Tensor] = {}
        for step in range(self.step + 1, self.step + steps + 1):
            metrics |= self.algorithm.update(*self.inputs(step), self.algorithm.phase(step))
        self.step += steps
        return metrics

    def state(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.algorithm.training_state().items()}


def _assert_equal(name: str, one: nn.Module | Tensor, other: Any) -> None:
    values = {"": (one, other)}
    if isinstance(one, nn.Module):
        pairs = zip(one.named_parameters(), other.parameters(), strict=True)
        values = {parameter: (p, q) for (parameter, p), q in pairs}
    for parameter, (p, q) in values.items():
        torch.testing.assert_close(
            p,
            q,
            rtol=0,
            atol=1e-10,
            check_dtype=False,
            msg=lambda m, n=f"{name} {parameter}": f"{n} {m}",
        )


class Lab:
    """Makes members and populations with the shipped defaults, small batches, and narrow policies."""

    specs = Specs()

    def defaults(self, algorithm_id: str, **changes: object) -> dict[str, Any]:
        shipped = {name: h.value for name, h in self.specs.algorithm(algorithm_id).hyperparameters.items()}
        neutral = algorithm_class(algorithm_id).Hyperparameters.neutral()
        narrow = dict.fromkeys(self.widths(algorithm_id), "16-16")
        return neutral | shipped | narrow | {"batch_size": BATCH} | changes

    def widths(self, algorithm_id: str) -> list[str]:
        """Names of the hyperparameters that are widths of layers."""
        declared = algorithm_class(algorithm_id).Hyperparameters
        return [f.name for f in fields(declared) if "pattern" in f.metadata]

    def shipped(self, algorithm_id: str, dataset: str) -> dict[str, Any]:
        """The shipped hyperparameters on a dataset, of a column that sets none of its own."""
        column = Column(id=algorithm_id, label="", algorithm=algorithm_id)
        entries = hyperparameters(self.specs, Written(column, "tables", "aspc-table1", ()), dataset)
        return {name: entry.value for name, entry in entries.items()}

    def per_member(self, algorithm_id: str) -> list[str]:
        """Names of the hyperparameters that may differ between members."""
        cls = algorithm_class(algorithm_id).Hyperparameters
        return sorted(cls.__dataclass_fields__.keys() - cls.static_names())

    def members(
        self, algorithm_id: str, keys: str = "a", each: Sequence[Mapping[str, object]] = (), **changes: object
    ) -> list[Member]:
        """One member per letter of `keys`; `each` holds what is one member's own."""
        own = [*each, *[{}] * (len(keys) - len(each))]
        return [
            Member(key, self.defaults(algorithm_id, **changes, **o), reward_mean=0.3 * ord(key))
            for key, o in zip(keys, own, strict=True)
        ]

    def population(
        self,
        algorithm_id: str,
        keys: str = "a",
        each: Sequence[Mapping[str, object]] = (),
        dtype: torch.dtype = torch.float64,
        **changes: object,
    ) -> Population:
        return Population(algorithm_id, self.members(algorithm_id, keys, each, **changes), dtype=dtype)

    def compare(
        self, algorithm_id: str, steps: int = 46, **changes: object
    ) -> tuple[Algorithm, list[Program]]:
        """Train members with keys a and b and their plain programs; everything must agree to 1e-10."""
        population = self.population(algorithm_id, "ab", **changes)
        algorithm = population.algorithm
        programs = [
            program(algorithm_id)(algorithm, member.hyperparameters, index, member.reward_mean)
            for index, member in enumerate(algorithm.members)
        ]
        for step in range(1, steps + 1):
            batch, noise = population.inputs(step)
            for index, plain in enumerate(programs):
                plain.update(step, batch.map(itemgetter(index)), {k: v[index] for k, v in noise.items()})
        population.train(steps)
        for index, plain in enumerate(programs):
            for name, ours, theirs in plain.pairs(algorithm, index):
                _assert_equal(name, ours, theirs)
        return algorithm, programs

    def of(self, algorithm_id: str, members: Sequence[Member], **options: Any) -> Population:
        return Population(algorithm_id, members, **({"dtype": torch.float64} | options))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """These products are so small that a second thread only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()
