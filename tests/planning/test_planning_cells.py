from __future__ import annotations

import pytest

from harness.errors import HarnessError, SpecError, UnknownNameError
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.restriction import fitting
from harness.specs import Specs
from harness.specs.validation import validate

PRESET = "id: {id}\ndescription: x\nlabel: x\nsteps: 100\n"


@pytest.fixture
def with_preset(tmp_path):
    """The shipped specs and one preset more."""

    def make(text):
        (tmp_path / "presets").mkdir()
        (tmp_path / "presets/own.yaml").write_text(PRESET.format(id="own") + text)
        return Specs([tmp_path])

    return make


def test_a_preset_may_not_add_a_column_that_the_table_has(with_preset):
    """Cells are found by column id: one of the two would show the other's numbers."""
    specs = with_preset("extra_columns: [{id: td3_bc, label: Other, algorithm: bc}]\n")
    with pytest.raises(SpecError, match="'td3_bc', which aspc-table1 has already"):
        resolve(specs, "aspc-table1", Choice(preset="own"))


def test_a_preset_may_replace_a_column_that_it_leaves_out(with_preset):
    specs = with_preset("columns: [aspc]\nextra_columns: [{id: td3_bc, label: Other, algorithm: bc}]\n")
    table = resolve(specs, "aspc-table1", Choice(preset="own")).table
    assert [column.label for column in table.columns] == ["Other", "ASPC"]


def test_a_preset_for_another_table_says_so(with_preset):
    specs = with_preset("datasets: [hopper-rondom-v2]\n")
    with pytest.raises(HarnessError, match=r"aspc-table1 .preset own asks for it.*hopper-random-v2"):
        resolve(specs, "aspc-table1", Choice(preset="own"))


def test_a_preset_may_be_another_for_some_tables(with_preset):
    specs = with_preset(
        "datasets: [hopper-random-v2]\ncolumns: [aspc]\nextra_columns: [{id: bc, label: BC, algorithm: bc}]\n"
        "seeds: [0]\ngather: {warmup: 50}\n"
        "tables:\n  ssar-*: {datasets: [hopper-medium-v2], steps: 200, interactions: 300}\n"
    )
    assert validate(specs, [], ["own"]) == []
    of_aspc = resolve(specs, "aspc-table1", Choice(preset="own"))
    assert [column.id for column in of_aspc.table.columns] == ["bc", "aspc"]
    online = resolve(specs, "ssar-online", Choice(preset="own"))
    assert online.table.datasets == ("hopper-medium-v2",)
    assert online.table.columns == specs.table("ssar-online").columns
    assert {len(cell.runs) for cell in online.with_below} == {1}
    lengths = {cell.protocol.length for cell in online.with_below}
    assert lengths == {200, 300}  # also of the runs of other tables that it begins with
    warmups = {cell.column.id: cell.protocol.gather.warmup for cell in online.cells}
    assert warmups["td3_bc_sa"] == 50
    assert warmups["td3_bc"] == 0  # which has none is not given one
    assert "own" in fitting(specs, specs.table("ssar-online"))


def test_a_glob_of_what_a_preset_leaves_out_says_so(with_preset):
    specs = with_preset("datasets: [hopper-random-v2]\ncolumns: [aspc]\n")
    for choice, kind in (({"datasets": ("antmaze*",)}, "dataset"), ({"algorithms": ("td3*",)}, "column")):
        with pytest.raises(UnknownNameError, match=rf"no {kind} of this table .preset own leaves out those"):
            resolve(specs, "aspc-table1", Choice(preset="own", **choice))
        with pytest.raises(UnknownNameError, match=rf"no {kind} of this table named 'x\*'"):
            resolve(specs, "aspc-table1", Choice(preset="own", **dict.fromkeys(choice, ("x*",))))


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"steps": 500}, "500 of 1,000,000 steps"),
        ({"lineage": "generated"}, "generated data"),
        ({"preset": "smoke"}, "smoke protocol"),
    ],
)
def test_what_was_done_otherwise_than_in_the_paper_is_never_comparable(choices, reason):
    cells = resolve(Specs(), "aspc-table1", Choice(datasets=("hopper-random-v2",), **choices)).cells
    assert all(reason in cell.incomparable for cell in cells)


def test_choosing_seeds_and_rows_changes_no_number_and_no_key():
    whole = {run.key for cell in resolve(Specs(), "aspc-table1").cells for run in cell.runs}
    part = resolve(
        Specs(), "aspc-table1", Choice(datasets=("hopper-*",), algorithms=("td3_bc",), seeds=(1, 2))
    ).cells
    assert {run.key for cell in part for run in cell.runs} < whole
    assert all(not cell.incomparable for cell in part)
