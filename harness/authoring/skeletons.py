"""Files to begin with: small, commented, and right as they stand."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from harness.authoring.writing import text
from harness.errors import HarnessError, SpecError
from harness.specs import Dataset, Specs

_LIKE = "hopper-random-v2"  # the dataset that a skeleton repeats until it is changed

_TABLE = """\
id: {id}
version: 1  # raise it with any change that moves numbers
title: {id}
paper:  # fill in; `arxiv`, `venue`, `table` and `code` may be there, too
  title: fill in
  authors: fill in
  year: {year}
lineage: {lineage}  # where the data come from: d4rl, minari, ogbench, generated or file
protocol: d4rl-1m  # how long to train, when to evaluate, which score counts; `harness ls protocols`
groups:  # consecutive rows; `harness ls datasets`
  - id: rows
    label: Rows
    datasets: [{datasets}]
    average: Average
columns:  # `harness ls algorithms`; `hyperparameters` override what an algorithm's file says
{columns}
# The numbers that a paper printed; `harness new table NAME --from table.tex` reads them.
# published:
#   file: ../published/{name}.csv
#   seeds: 5
#   ddof: 0
"""

_COLUMN = """\
  - id: {id}
    label: {label}
    algorithm: {id}
"""

_DATASET = """\
id: {id}
domain: {domain}  # of datasets that are alike
environment:  # where policies are evaluated; a module of the folder's code/ that registers it is an `import`
  id: {environment}
  max_episode_steps: {limit}
observation_size: {observations}
action_size: {actions}
reference:  # raw returns that count as 0 and 100, for example a random policy's and an expert's
  minimum: {minimum}
  maximum: {maximum}
  source: {source}
# What a random policy does there. Data of your own are `file: {{path: ../files/{name}.npz}}` in its place;
# `harness data import FILE --id ID --to {folder}` looks into a file and writes all of this from it.
generated:
  recipe: random-policy
  version: 1
  seed: 0
  transitions: 20000
"""

_CODE = '''\
"""{name}: what it does, and the paper and equations that it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from algorithms.base import Batch, per_member, register
from algorithms.bc import BC, BCHyperparameters


@dataclass(frozen=True, kw_only=True)
class {title}Hyperparameters(BCHyperparameters):
    """Hyperparameters of {name}: those of behaviour cloning and its own."""

    # The members of a population may differ in a `per_member` number; they share a `static` one.
    loss_weight: float = per_member(above=0)


@register("{name}")
class {title}(BC):
    """Behaviour cloning whose loss has a weight: a place to begin."""

    Hyperparameters = {title}Hyperparameters

    def actor_loss(self, batch: Batch) -> Tensor:
        """loss_weight · E[(π(s) - a)²]: ``(M, 1)``."""
        # M runs train at once: data are (M, B, size), and a loss has one number for each member, (M, 1).
        return self.hyper.loss_weight * super().actor_loss(batch)
'''

_ALGORITHM = """\
id: {id}
title: {id}
paper:  # fill in
  title: fill in
  authors: fill in
  year: {year}
hyperparameters:  # every one that the code declares: its value, and where that comes from
{inherited}  loss_weight:
    value: 1.0
    source: chosen; with 1 it is behaviour cloning
# Overrides for some datasets, by id or glob:
# per_dataset:
#   antmaze-*: {{learning_rate: 1.0e-3}}
"""


def table(name: str, specs: Specs, shipped: Specs) -> dict[str, str]:
    """A table of all datasets and algorithms of one's own, else of two that ship, beside behaviour cloning.

    Args:
        name: its id.
        specs: all there are.
        shipped: those that ship.
    """
    datasets = [specs.dataset(each) for each in specs.ids("datasets") if each not in shipped.ids("datasets")]
    lineage = next((lineage for dataset in datasets for lineage in dataset.sources), "generated")
    rows = [dataset.id for dataset in datasets if dataset.source(lineage)] or ["maze2d-umaze-v1", _LIKE]
    mine = [each for each in specs.ids("algorithms") if each not in shipped.ids("algorithms")]
    columns = [(each, specs.algorithm(each).title) for each in mine] + [("bc", "BC"), ("td3_bc", "TD3+BC")]
    content = _TABLE.format(
        id=text(name),
        name=name,
        year=datetime.date.today().year,
        lineage=lineage,
        datasets=", ".join(map(text, rows)),
        columns="".join(_COLUMN.format(id=text(each), label=text(label)) for each, label in columns).rstrip(),
    )
    return {f"tables/{name}.yaml": content}


def dataset(name: str, specs: Specs, folder: str) -> dict[str, str]:
    """A dataset that a random policy makes, in an environment that ships.

    Args:
        name: its id.
        specs: all there are.
        folder: of the specs, as commands name it.

    Raises:
        SpecError: the environment's spec is wrong.
    """
    like: Dataset = specs.dataset(_LIKE)
    if like.environment is None:
        raise SpecError(f"dataset {_LIKE} has no environment")
    content = _DATASET.format(
        id=text(name),
        name=name,
        folder=folder,
        domain=like.domain,
        environment=like.environment.id,
        limit=like.environment.max_episode_steps,
        observations=like.observation_size,
        actions=like.action_size,
        minimum=like.reference.minimum,
        maximum=like.reference.maximum,
        source=text(like.reference.source),
    )
    return {f"datasets/{name}.yaml": content}


def algorithm(name: str, specs: Specs) -> dict[str, str]:
    """An algorithm that extends behaviour cloning: its code, and the file of its hyperparameters.

    Args:
        name: its id.
        specs: all there are.

    Raises:
        HarnessError: the shipped algorithms have a module of that name.
    """
    package = find_spec("algorithms")  # which is not imported
    if package and any(
        (Path(place) / f"{name}.py").exists() for place in package.submodule_search_locations or ()
    ):
        raise HarnessError(f"{name!r} is a module of the shipped algorithms; choose another name")
    inherited = "".join(
        f"  {each}:\n    value: {_value(entry.value)}\n    source: as BC, to begin with\n"
        for each, entry in specs.algorithm("bc").hyperparameters.items()
    )
    title = "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_.+]", name))
    title = title if title[0].isalpha() else f"Algorithm{title}"
    values: Mapping[str, object] = {
        "id": text(name),
        "name": name,
        "title": title,
        "year": datetime.date.today().year,
    }
    return {
        f"algorithms/{name}.py": _CODE.format(**values),
        f"algorithms/{name}.yaml": _ALGORITHM.format(inherited=inherited, **values),
    }


def _value(value: object) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else text(value)
        if isinstance(value, str)
        else repr(value)
    )
