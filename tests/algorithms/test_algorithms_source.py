"""The hash of an algorithm's source: what it follows, and what makes no difference to it."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import algorithms
from algorithms import algorithm_ids, registry, source_hash
from algorithms.base import REGISTERED


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{text.count(old)} of {old!r} in {path.name}"
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A copy of the shipped files, to be changed."""
    folder = shutil.copytree(Path(algorithms.__file__).parent, tmp_path / "algorithms")
    monkeypatch.setattr(algorithms, "__path__", [str(folder)])
    return folder


def test_algorithms_are_told_apart_and_always_the_same(shipped):
    hashes = {source_hash(name) for name in algorithm_ids()}
    assert len(hashes) == len(algorithm_ids())
    assert source_hash("bc") == source_hash("bc")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("td3_bc", "# α, at the start if it moves", "# another comment"),
        (
            "td3_bc",
            '"""TD3+BC: TD3 whose policy is held near',
            '"""Says more. TD3+BC: TD3 whose policy is held near',
        ),
        ("networks", '"""The values of all members."""', '"""Every member\'s actions."""'),
        (
            "networks",
            "class DeterministicActor(",
            "class Unrelated(nn.Linear):\n    pass\n\n\nclass DeterministicActor(",
        ),
        ("base", "class Batch(", "@dataclass\nclass Unrelated:\n    size: int = 3\n\n\nclass Batch("),
        ("base", "from typing import Any, ClassVar", "import json\nfrom typing import Any, ClassVar"),
        (
            "networks",
            "return torch.tanh(self.network(observation, dropout=dropout))",
            "return torch.tanh(\n            self.network(observation, dropout=dropout)\n        )",
        ),
        ("optimisers", "math.pi * count", "3 * count"),  # a schedule of others
        ("iql", "advantage**2)", "advantage**4)"),
    ],
)
def test_what_does_not_run_makes_no_difference(shipped, file, old, new):
    before = source_hash("td3_bc")
    edit(shipped / f"{file}.py", old, new)
    assert source_hash("td3_bc") == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (
            "td3_bc",
            "self.actor_optimiser.descend(loss.whole)",
            "self.actor_optimiser.descend(2 * loss.whole)",
        ),
        (
            "td3_bc",
            "next_value = critic(batch.next_observation, next_action).amin(1)",
            "next_value = critic(batch.next_observation, next_action).amax(1)",
        ),  # a method of a base class
        ("td3_bc", "return batch_mean(q.abs()).detach()", "return batch_mean(q.abs())"),  # a function
        ("networks", 'norm="after", hidden_bias=0.1', 'norm="after", hidden_bias=0.2'),  # a constant
        (
            "networks",
            "heads: tuple[int, ...] = (), epsilon: float = 1e-5",
            "heads: tuple[int, ...] = (), epsilon: float = 1e-6",
        ),  # a default
        ("optimisers", "@torch.no_grad()\ndef soft_update", "def soft_update"),  # a decorator
        ("optimisers", "beta1, beta2, eps = 0.9, 0.999, 1e-8", "beta1, beta2, eps = 0.9, 0.99, 1e-8"),
        ("networks", "import torch.nn.functional as F", "import torch.nn.init as F"),
        (
            "td3_bc",
            "import CRITICS, Critics, DeterministicActor,",
            "import CRITICS, Critics, GaussianActor as DeterministicActor,",
        ),
        ("randomness", "digest[:8]", "digest[8:16]"),
        ("hyperparameters", "int: 2**31 - 1", "int: 2**30"),
        ("base", "values.flatten(1).mean(1, keepdim=True)", "values.flatten(1).sum(1, keepdim=True)"),
        (
            "networks",
            "class DeterministicActor(",
            "Linear.forward = LayerNorm.forward\n\n\nclass DeterministicActor(",
        ),
    ],
)
def test_what_runs_makes_a_difference(shipped, file, old, new):
    before = {name: source_hash(name) for name in ("td3_bc", "aspc")}
    edit(shipped / f"{file}.py", old, new)
    assert source_hash("td3_bc") != before["td3_bc"]
    if "loss.whole" in old:  # ASPC has its own
        assert source_hash("aspc") == before["aspc"]


HEAD = """\
from algorithms.base import register
from algorithms.td3_bc import TD3BC
"""
TAIL = """

@register("mine")
class Mine(TD3BC):
    def act(self, observation):
        return {act}
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes ``mine.py`` with some imports and an `act`, beside other files, and gives its hash."""
    folder = tmp_path / "specs" / "algorithms"
    (tmp_path / "specs" / "code").mkdir(parents=True)
    folder.mkdir()
    monkeypatch.setattr(algorithms, "__path__", [*algorithms.__path__, str(folder)])
    monkeypatch.syspath_prepend(tmp_path / "specs" / "code")

    def write(imports, act, **files):
        (folder / "mine.py").write_text(HEAD + imports + TAIL.format(act=act), encoding="utf-8")
        for name, text in files.items():
            place = folder.parent / "code" if name.startswith("my_") else folder
            (place / f"{name}.py").write_text(text, encoding="utf-8")
        registry._places.cache_clear()
        return source_hash("mine")

    yield write
    registry._places.cache_clear()
    REGISTERED.pop("mine", None)
    for name in [
        n for n in sys.modules if n.startswith("my_") or n in ("algorithms.mine", "algorithms.shared")
    ]:
        del sys.modules[name]
        vars(algorithms).pop(name.rpartition(".")[2], None)


WAYS = {
    "from import": ("from algorithms.shared import scale", "scale(observation)"),
    "under another name": ("from algorithms.shared import scale as other", "other(observation)"),
    "relative": ("from .shared import scale", "scale(observation)"),
    "a module": ("from algorithms import shared", "shared.scale(observation)"),
    "a module beside": ("from . import shared as beside", "beside.scale(observation)"),
    "a full name": ("import algorithms.shared", "algorithms.shared.scale(observation)"),
    "everything": ("from algorithms.shared import *", "scale(observation)"),
    "by name": ("from algorithms import shared", "getattr(shared, 'sc' + 'ale')(observation)"),
    "in a table": ("from algorithms.shared import TABLE", "TABLE['x'](observation)"),
    "in a table filled later": ("from algorithms.shared import LATER", "LATER['x'](observation)"),
    "in a table filled by a decorator": (
        "from algorithms.shared import NOTED",
        "NOTED['noted'](observation)",
    ),
    "within a function": ("", "__import__('algorithms.shared').shared.scale(observation)"),
    "imported where it is used": (
        "def helper(x):\n    from algorithms.shared import scale\n    return scale(x)",
        "helper(observation)",
    ),
    "in code": ("from my_code import scale", "scale(observation)"),
    "a class of another": ("from algorithms.shared import Child", "Child.scaled(observation)"),
    "for its effect": ("import algorithms.shared", "observation"),
}
SHARED = """\
TABLE, LATER, NOTED = {}, {}, {}
def note(f):
    NOTED[f.__name__] = f
    return f
def scale(x, by=FACTOR):
    return by * x
@note
def noted(x):
    return scale(x)
class Parent:
    scaled = staticmethod(scale)
class Child(Parent):
    pass
LATER["x"] = scale
TABLE = {"x": scale}
"""


@pytest.mark.parametrize("way", WAYS)
def test_a_name_is_followed_however_it_is_got(mine, way):
    imports, act = WAYS[way]
    first, other = SHARED.replace("FACTOR", "2"), SHARED.replace("FACTOR", "3")
    before = mine(imports, act, shared=first, my_code=first)
    assert mine(imports, act, shared=other, my_code=other) != before
    assert mine(imports, act, shared=f"# a comment\n{first}", my_code=first) == before


def test_what_two_names_mean_is_not_exchanged_unseen(mine):
    shared = "def one(x):\n    return x\ndef two(x):\n    return 2 * x\n"
    before = mine("from .shared import one as a, two as b", "a(b(observation))", shared=shared)
    assert mine("from .shared import one as b, two as a", "a(b(observation))", shared=shared) != before


def test_a_helper_that_is_not_used_makes_no_difference(mine):
    before = mine("from .shared import scale", "scale(observation)", shared="def scale(x):\n    return x\n")
    more = "def scale(x):\n    return x\ndef other(x):\n    return 3 * x\n"
    assert mine("from .shared import scale", "scale(observation)", shared=more) == before


@pytest.mark.parametrize("layout", ["a package", "one file"])
def test_the_package_that_an_algorithm_comes_from_is_followed(tmp_path, monkeypatch, layout):
    helper = tmp_path / "my_package" / "helper.py" if layout == "a package" else tmp_path / "my_learner.py"
    helper.parent.mkdir(exist_ok=True)
    module = "my_package.learner" if layout == "a package" else "my_learner"
    imports = "from .helper import scale" if layout == "a package" else "def scale(x):\n    return 2 * x"
    (tmp_path / f"{module.replace('.', '/')}.py").write_text(
        HEAD + imports + TAIL.format(act="scale(observation)"), encoding="utf-8"
    )
    if layout == "a package":
        helper.write_text("def scale(x):\n    return 2 * x\n", encoding="utf-8")
        (helper.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("packed", f"{module}:Mine", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    registry._places.cache_clear()
    try:
        before = source_hash("packed")
        edit(helper, "return 2 * x", "return 3 * x")
        assert source_hash("packed") != before
    finally:
        registry._places.cache_clear()
        REGISTERED.pop("mine", None)
        for name in [name for name in sys.modules if name.startswith(("my_package", "my_learner"))]:
            del sys.modules[name]
