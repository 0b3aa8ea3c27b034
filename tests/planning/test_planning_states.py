"""Columns that start from, or read, the states of others: keys, other tables, rows, mistakes."""

from __future__ import annotations

import re

import pytest

from harness.errors import SpecError, UnknownNameError
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.dependencies import needed
from harness.planning.states import configurations_read, parts
from harness.specs import Specs
from harness.specs.validation import validate

TABLE = """id: {id}
version: 1
title: Own
paper: {{title: T, authors: A, year: 2020}}
lineage: {lineage}
protocol: {protocol}
groups:
  - {{id: mazes, label: Mazes, datasets: [{datasets}]}}
columns:
{columns}"""
OFFLINE = """  - {id: base, label: Base, algorithm: td3_bc}
  - {id: judge, label: Judge, algorithm: iql}
"""
ONLINE = """  - id: on
    label: On
    algorithm: td3_bc
    start: {table: offline, column: base}
    inputs: {judge: {table: offline, column: judge, state: [value, critic]}}
  - {id: own, label: Own, algorithm: td3_bc, start: {column: plain}}
  - {id: plain, label: Plain, algorithm: td3_bc}
"""
PROTOCOL = "id: {id}\ndescription: D\nsteps: {steps}\nevaluate_every: 50\nepisodes: 1\nseeds: {seeds}\n"


@pytest.fixture
def own(tmp_path, monkeypatch, write_files):
    """Writes a folder of specs, perhaps with something else in the second table; gives the specs."""
    monkeypatch.chdir(tmp_path)

    def write(old="", new="", offline=OFFLINE, rows="maze2d-umaze-v1"):
        online = TABLE.format(
            id="online",
            lineage="generated",
            protocol="short",
            datasets="maze2d-umaze-v1, maze2d-medium-v1",
            columns=ONLINE,
        )
        assert old in online
        files = {
            "tables/offline.yaml": TABLE.format(
                id="offline", lineage="generated", protocol="long", datasets=rows, columns=offline
            ),
            "tables/online.yaml": online.replace(old, new) if old else online,
            "protocols/short.yaml": PROTOCOL.format(id="short", steps=100, seeds="[0, 1]"),
            "protocols/long.yaml": PROTOCOL.format(id="long", steps=1000, seeds="[0, 1, 2]"),
            "presets/less.yaml": "id: less\ndescription: D\nlabel: less\nsteps: 60\ncolumns: ['on']\n",
        }
        return Specs([write_files(tmp_path / "specs", files)])

    return write


def cell(resolved, column, dataset="maze2d-umaze-v1"):
    [found] = [c for c in resolved.cells if (c.column.id, c.dataset.id) == (column, dataset)]
    return found


def test_the_key_names_the_source_and_its_parts_in_any_order(own):
    on = cell(resolve(own(), "online"), "on")
    base = cell(resolve(own(), "offline"), "base")
    configuration = on.runs[0].configuration
    assert configuration["start"] == {"configuration": base.runs[0].configuration_key, "state": "all"}
    assert configuration["inputs"]["judge"]["state"] == ["critic", "value"]
    plain = cell(resolve(own(), "online"), "plain").runs[0].configuration
    assert not plain.keys() & {"start", "inputs"}
    assert (on.rank, base.rank) == (1, 0)
    turned = cell(resolve(own("[value, critic]", "[critic, value]"), "online"), "on")
    assert [run.key for run in turned.runs] == [run.key for run in on.runs]
    other = cell(resolve(own("column: base", "column: base, state: [critic]"), "online"), "on")
    assert other.runs[0].key != on.runs[0].key


def test_another_tables_column_is_as_that_table_has_it_for_the_readers_seeds(own):
    specs = own()
    start = cell(resolve(specs, "online"), "on").states["start"].cell
    there = cell(resolve(specs, "offline"), "base")
    assert (start.table, start.protocol.steps) == ("offline", 1000)
    assert [run.key for run in start.runs] == [run.key for run in there.runs][:2]
    short = cell(resolve(specs, "online", Choice(steps=50)), "on")
    assert short.protocol.steps == 50
    assert short.states["start"].cell.protocol.steps == 1000
    less = cell(resolve(specs, "online", Choice(preset="less")), "on")
    assert less.states["start"].cell.protocol.steps == 60


def test_a_run_needs_its_own_seed_and_no_other(own):
    resolved = resolve(own(), "online", Choice(seeds=(1,), algorithms=("on",), datasets=("*-umaze-*",)))
    assert [(c.table, c.column.id, run.seed) for run, c in needed(resolved, {}).values()] == [
        ("offline", "base", 1),
        ("offline", "judge", 1),
        ("online", "on", 1),
    ]


def test_a_row_that_the_other_table_has_not_cannot_be_trained(own):
    resolved = resolve(own(), "online")
    assert cell(resolved, "on").unavailable is None
    assert cell(resolved, "on", "maze2d-medium-v1").unavailable == (
        "offline has no row maze2d-medium-v1, and it reads base of offline"
    )
    unknown = own(offline=OFFLINE.replace("algorithm: td3_bc", "algorithm: nobody_wrote_it"))
    assert cell(resolve(unknown, "online"), "on").unavailable == (
        "no implementation of base of offline, on which it depends"
    )


def test_whole_states_are_kept_where_any_table_reads_them(own):
    specs = own()
    offline = resolve(specs, "offline")
    read = {cell(offline, name).runs[0].configuration_key for name in ("base", "judge")}
    assert configurations_read(specs, offline) >= read
    assert cell(resolve(specs, "online"), "plain").runs[0].configuration_key in configurations_read(
        specs, offline
    )
    nobody = own(ONLINE, ONLINE[ONLINE.index("  - {id: plain") :])
    assert configurations_read(nobody, resolve(nobody, "offline")).isdisjoint(read)


def test_parts_of_a_state():
    state = dict.fromkeys(
        ("critic.layers.0.weight", "critic_optimiser/0/step", "log_alpha", "critic.last"), 1
    )
    assert parts(state, "all") == state
    assert set(parts(state, ("critic",))) == {"critic.layers.0.weight", "critic.last"}
    assert set(parts(state, ("critic.layers", "log_alpha"))) == {"critic.layers.0.weight", "log_alpha"}
    assert set(parts(state, ("critic_optimiser",))) == {"critic_optimiser/0/step"}
    with pytest.raises(
        UnknownNameError, match="no part of the state named 'x'; known: critic, critic_optimiser, log_alpha"
    ):
        parts(state, ("x",))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "table: offline, column: base",
            "table: offlin, column: base",
            "start.table: no table named 'offlin'",
        ),
        ("column: base", "column: bas", "start.column: no column of offline named 'bas'; did you mean base"),
        ("column: plain}", "column: plane}", "start.column: no column named 'plane'; did you mean plain"),
        ("column: plain}", "column: own}", "start: columns depend on each other: own -> own"),
        ("state: [value, critic]", "state: []", "inputs.judge.state: should be 'all', or a list of names"),
        ("inputs: {judge:", "inputs: {start:", "inputs.start: an input cannot be named 'start'"),
        ("column: plain}", "column: plain, seed: 3}", "start.seed: unknown key; "),
    ],
)
def test_mistakes_are_said_with_their_place(own, old, new, message):
    lines = validate(own(old, new), ["online"])
    assert any(
        re.match(r"specs/tables/online.yaml:\d+:\d+: columns\.\d\." + re.escape(message), line)
        for line in lines
    ), lines


def test_tables_that_start_from_each_other_are_refused(own):
    around = OFFLINE.replace("algorithm: td3_bc}", "algorithm: td3_bc, start: {table: online, column: 'on'}}")
    specs = own(offline=around)
    [line] = {line for line in validate(specs, ["online"]) if "columns.0.start: " in line}
    assert line.startswith("specs/tables/offline.yaml:")
    assert line.endswith("columns depend on each other: online: on -> offline: base -> online: on")
    with pytest.raises(SpecError, match="depend on each other"):
        resolve(specs, "online")
