"""Presets that take what a table has, and what is said where they ask for what it has not."""

from __future__ import annotations

import pytest

from harness.errors import HarnessError
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.restriction import fitting
from harness.specs import Specs
from harness.specs.validation import validate

TABLE = """
id: mine
version: 1
title: Mine
paper: {title: P, authors: A, year: 2026}
lineage: d4rl
protocol: mine
groups: [{id: g, label: G, datasets: [pen-human-v1, hopper-medium-v2, door-human-v1, maze2d-umaze-v1]}]
columns:
  - {id: printed, label: Printed, printed_only: true}
  - {id: nobody, label: Nobody, algorithm: nobody}
  - {id: later, label: Later, algorithm: td3_bc, hyperparameters: {alpha: {column: third, metric: alpha}}}
  - {id: second, label: Second, algorithm: td3_bc}
  - {id: third, label: Third, algorithm: aspc}
"""
PROTOCOL = "id: mine\ndescription: x\nepisodes: 1\nevaluate_every: 5000\nseeds: [0, 1, 2, 3]\n"


@pytest.fixture
def specs(tmp_path):
    for kind in ("tables", "protocols"):
        (tmp_path / kind).mkdir()
    (tmp_path / "tables/mine.yaml").write_text(TABLE.lstrip())
    (tmp_path / "protocols/mine.yaml").write_text(PROTOCOL + "steps: 1000000\n")
    return Specs([tmp_path])


def test_quick_takes_what_trains_without_a_download(specs):
    assert validate(specs, ["mine"], ["quick"]) == []
    found = resolve(specs, "mine", Choice(preset="quick"))
    assert found.table.datasets == ("hopper-medium-v2", "maze2d-umaze-v1")
    assert [column.id for column in found.table.columns] == ["second", "third"]
    assert found.lineage == "generated"
    [protocol] = found.protocols
    assert (protocol.steps, protocol.evaluate_every, protocol.seeds) == (2000, 1000, (0, 1))
    assert all(cell.unavailable is None for cell in found.cells)
    assert all("quick protocol" in cell.incomparable for cell in found.cells)


def test_quick_takes_what_is_there_of_what_the_user_chose(specs):
    choice = Choice(preset="quick", datasets=("pen*", "door*"), algorithms=("nobody", "later"))
    found = resolve(specs, "mine", choice)
    assert found.table.datasets == ("pen-human-v1", "door-human-v1")
    assert [column.id for column in found.table.columns] == ["nobody", "later"]


def test_quick_shortens_online_protocols_and_their_warmup(specs, tmp_path):
    gather = "gather: {warmup: 5000, keep: none}\n"
    (tmp_path / "protocols/mine.yaml").write_text(PROTOCOL + "interactions: 250000\n" + gather)
    [protocol] = resolve(Specs([tmp_path]), "mine", Choice(preset="quick")).protocols
    assert (protocol.interactions, protocol.gather.warmup, protocol.gather.keep) == (2000, 500, "none")
    with pytest.raises(
        HarnessError, match=r"of 2,000 interactions of protocol mine none is left after 5,000"
    ):
        resolve(Specs([tmp_path]), "mine", Choice(steps=2000))


def test_what_an_online_protocol_mixes_is_a_batch(specs, tmp_path):
    online = "interactions: 10000\ngather: {mix: [128, 127]}\n"
    (tmp_path / "protocols/mine.yaml").write_text(PROTOCOL + online)
    problems = validate(Specs([tmp_path]), ["mine"])
    assert [problem.rpartition("/")[2] for problem in problems] == [
        f"mine.yaml:7:15: gather.mix: 128 and 127 rows are no batch of 256, which {column} of mine has"
        for column in ("later", "second", "third")
    ]
    (tmp_path / "protocols/mine.yaml").write_text(PROTOCOL + online.replace("127", "128"))
    assert validate(Specs([tmp_path]), ["mine"]) == []


@pytest.mark.parametrize("table", Specs().ids("tables"))
def test_quick_fits_every_shipped_table(table):
    whole, found = (resolve(Specs(), table, choice).table for choice in (Choice(), Choice(preset="quick")))
    running = [column for column in whole.columns if any(map(column.runs_on, found.datasets))]
    for kept, there in ((found.datasets, whole.datasets), (found.columns, running)):
        assert len(kept) == min(2, len(there))
    cells = resolve(Specs(), table, Choice(preset="quick")).cells
    assert all(cell.unavailable is None for cell in cells)


def test_a_preset_that_does_not_fit_names_those_that_do(specs):
    assert fitting(specs, specs.table("mine")) == ["quick"]
    for preset in ("lite", "smoke", "reduced"):
        with pytest.raises(
            HarnessError, match=f"preset {preset} asks for it.*; presets that fit mine: quick$"
        ):
            resolve(specs, "mine", Choice(preset=preset))
