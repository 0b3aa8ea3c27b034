"""Options that choose: repeatable, with commas, and nothing given is dropped silently."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import typer

import harness.api
from harness.cli import app
from harness.errors import HarnessError
from harness.planning.choice import Choice
from harness.planning.commands import TAKEN
from harness.results.store import Store
from harness.specs import Specs

TABLE = ("plan", "aspc-table1", "--json")
BOTH = {(row, column) for row in ("hopper-medium-v2", "pen-human-v1") for column in ("td3_bc", "aspc")}


def chosen(cli, *options):
    return {(cell["dataset"], cell["column"]) for cell in json.loads(cli(*TABLE, *options).out)["cells"]}


def test_rows_and_columns_are_chosen_with_commas_and_again(cli):
    commas = chosen(cli, "--datasets", "hopper-medium-v2,pen-h*", "--algorithms", "aspc, td3_bc")
    again = chosen(
        cli,
        *("--datasets", "hopper-medium-v2", "--datasets", "pen-human"),
        *("--algorithms", "td3_bc", "--algorithms", "aspc"),
    )
    assert commas == again == BOTH


def test_seeds_are_chosen_with_commas_and_again(cli):
    plan = json.loads(cli(*TABLE, "--seeds", "0-3", "--seeds", "7,1").out)
    assert {cell["wanted"] for cell in plan["cells"]} == {5}
    assert plan["extra_seeds"] == [7]


def test_lineages_are_chosen_with_commas_and_again(cli):
    def lineages(*options):
        listed = json.loads(cli("data", "ls", "hopper-medium", "--json", *options).out)
        return sorted(item["lineage"] for item in listed)

    assert lineages() == ["d4rl", "generated", "minari"]
    assert lineages("--lineage", "d4rl,minari") == lineages("--data", "minari", "--data", "d4rl")
    assert lineages("--lineage", "d4rl,minari") == ["d4rl", "minari"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "aspc-table1", "--datasets", "pen-*,hoper-*"),
        ("plan", "aspc-table1", "--datasets", "pen-*", "--datasets", "hoper-*"),
        ("table", "aspc-table1", "--algorithms", "hoper-*,aspc"),
        ("plan", "aspc-table1", "--algorithms", "aspc", "--algorithms", "hoper-*"),
        ("data", "ls", "pen-*,hoper-*"),
        ("data", "path", "pen-*", "hoper-*"),
        ("data", "ls", "--lineage", "d4rl,hoper-*"),
        ("ls", "datasets", "pen-*,hoper-*"),
        ("ls", "tables", "hoper-*"),
        ("stats", "aspc-table1", "--metrics", "iqm", "--metrics", "hoper-*"),
        ("validate", "aspc-table1,hoper-*"),
        ("plan", "aspc-table1", "--seeds", "0,hoper-*"),
    ],
    ids=" ".join,
)
def test_each_pattern_must_match_something_by_itself(cli, arguments):
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "'hoper-*'" in result.err


def commands():
    root = typer.main.get_command(app)
    yield (), root
    for name, command in root.commands.items():
        yield (name,), command
        yield from (((name, below), each) for below, each in getattr(command, "commands", {}).items())


@pytest.mark.parametrize(
    ("verb", "command"),
    list(commands()),
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_of_one_value_is_not_given_twice(cli, verb, command):
    for option in command.params:
        if (
            option.param_type_name != "option"
            or option.multiple
            or (option.is_flag and not option.secondary_opts)
        ):
            continue
        name, again = option.opts[0], (option.secondary_opts or option.opts)[-1]
        value = [] if option.is_flag else ["1"]
        result = cli(*verb, name, *value, again, *value)
        assert (result.code, result.out) == (2, "")
        assert f"'{option.opts[0]}" in result.err
        assert "given more than once" in result.err


def test_every_field_of_a_choice_has_an_option():
    taken = {option.name for _, command in commands() for option in command.params}
    assert set(Choice.__dataclass_fields__) <= taken


def test_suggested_commands_repeat_repeated_options(cli):
    options = ("--datasets", "pen-*,hopper-medium-v2", "--datasets", "ant*", "--algorithms", "aspc")
    [line] = re.findall("`(harness [^`]*)`", cli("metrics", "aspc-table1", *options).err)
    expected = ("--datasets", "pen-*,hopper-medium-v2,ant*", "--algorithms", "aspc")
    assert line == shlex.join(["harness", "reproduce", "aspc-table1", *expected])


def test_every_verb_takes_what_suggestions_give_it():
    options = {name: {option.name for option in command.params} for name, command in commands()}
    for verb, names in TAKEN.items():
        assert options[verb,] >= set(names), verb


MINE = """
id: mine
version: 1
title: My own
paper: {title: Mine, authors: A Nother, year: 2026}
lineage: d4rl
protocol: d4rl-1m
groups: [{id: mujoco, label: MuJoCo, datasets: [hopper-medium-v2]}]
columns: [{id: td3_bc, label: TD3+BC, algorithm: td3_bc}]
"""


def test_python_and_the_command_line_suggest_the_same(cli, tmp_path):
    """Of a table in a folder of one's own, which no command finds without being told of the folder."""
    tables = tmp_path / "my specs" / "tables"
    tables.mkdir(parents=True)
    (tables / "mine.yaml").write_text(MINE)
    Store.open(tmp_path / "my.db", create=True).close()
    with pytest.raises(HarnessError) as raised:
        harness.drift(
            "mine", specs=tmp_path / "my specs", db=tmp_path / "my.db", datasets="hopper-*", steps=7
        )
    [line] = re.findall("`(harness [^`]*)`", str(raised.value))
    options = ("--datasets", "hopper-*", "--steps", "7", "--db", str(tmp_path / "my.db"))
    specs = ("--specs", str(tmp_path / "my specs"))
    [same] = re.findall("`(harness [^`]*)`", cli(*specs, "drift", "mine", *options).err)
    assert line == same == shlex.join(["harness", *specs, "accept", "mine", *options, "--reason", "TEXT"])
    view = harness.api.View.of(Specs([tmp_path / "my specs"]), "mine", Choice(seeds=(0, 2)), "x.db")
    assert view.command("reproduce").endswith(" reproduce mine --seeds 0,2 --db x.db")
    assert view.command("table").endswith(" table mine --db x.db")  # which takes no single seeds
