from __future__ import annotations

import json

import pytest

from harness.specs import Specs

KINDS = ("tables", "datasets", "algorithms", "presets", "protocols", "sources")


@pytest.mark.parametrize("kind", KINDS)
def test_ls_lists_all_ids_one_a_line(cli, kind):
    result = cli("ls", kind)
    assert (result.code, result.out.split()) == (0, Specs().ids(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_ls_as_json(cli, kind):
    entries = json.loads(cli("ls", kind, "--long", "--json").out)
    assert [entry["id"] for entry in entries] == Specs().ids(kind)
    assert all(len(entry) > 1 for entry in entries)


def test_ls_takes_a_glob(cli):
    assert cli("ls", "datasets", "pen-*").out.split() == ["pen-cloned-v1", "pen-expert-v1", "pen-human-v1"]


def test_ls_of_an_unknown_kind_says_which_there_are(cli):
    result = cli("ls", "tabels")
    assert result.code == 2
    assert all(kind in result.err for kind in KINDS)


def test_further_specs_are_listed(cli, tiny):
    assert "tiny" in cli("--specs", tiny, "ls", "presets").out.split()


def test_a_folder_of_specs_that_is_not_there(cli):
    result = cli("--specs", "nowhere", "ls")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: nowhere:1:1:")


def test_show_names_columns_and_what_they_set(cli):
    result = cli("show", "aspc-table1")
    assert result.code == 0
    assert "  td3_bc: TD3+BC* (td3_bc, critic = robust)\n" in result.out
    assert "  aspc: ASPC (aspc)\n" in result.out


def test_show_says_which_columns_have_no_code(cli, unimplemented):
    shown = cli("--specs", unimplemented, "show", "own").out
    assert "  theirs: Theirs (nobody_wrote_it, no implementation)\n" in shown


def test_show_says_what_columns_set_and_read(cli, elsewhere):
    shown = cli("show", "aspc-table2").out
    assert "  naive: Naive (td3_bc, critic = robust)\n" in shown
    assert "  converged: Converged (td3_bc, critic = robust, alpha from aspc)\n" in shown
    assert "alpha_schedule = linear, final_alpha from aspc's alpha)\n" in shown
    (elsewhere / "own/tables").mkdir(parents=True)
    (elsewhere / "own/tables/own.yaml").write_text(
        "id: own\nversion: 1\ntitle: Own\npaper: {title: T, authors: A, year: 2020}\nlineage: generated\n"
        "protocol: d4rl-1m\ngroups:\n  - {id: g, label: G, datasets: [hopper-random-v2]}\n"
        "columns:\n  - id: mine\n    label: Mine\n    algorithm: bc\n"
        "    data: [{drop: 0.5}, {reward: {shift: -1}}]\n"
        "    per_dataset:\n      hopper-*: {batch_size: 64, normalize_rewards: true, data: []}\n"
    )
    assert (
        "  mine: Mine (bc, data: drop 0.5 then reward shift -1.0, "
        "on hopper-*: batch_size = 64 and normalize_rewards = true and data: as they are)\n"
        in cli("--specs", "own", "show", "own").out
    )


def test_show_published(cli):
    table = Specs().table("aspc-table1")
    lines = cli("show", "aspc-table1", "--published").out.splitlines()
    assert len(lines) == 1 + len(table.datasets) + len(table.groups) + 1
    assert "10.6 ± 0.7" in lines[1]
    document = json.loads(cli("show", "aspc-table1", "--published", "--json").out)
    assert {"row", "column", "mean"} <= set(document["published_cells"][0])
    assert "published_cells" not in json.loads(cli("show", "aspc-table1", "--json").out)


def test_show_published_has_changes_that_stand_alone(cli):
    lines = cli("show", "aspc-table4", "--published").out.splitlines()
    assert "80 ± 8" in lines[1]
    assert lines[1].endswith("(5.0 %)")
    document = json.loads(cli("show", "aspc-table4", "--published", "--json").out)
    assert len(document["lone_changes"]) == 11
    assert document["lone_changes"][-1] == {"row": "total", "column": "fql_aspc", "change": "13.5"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "aspc-tabel1"],
        ["plan", "aspc-tabel1"],
        ["table", "aspc-tabel1"],
        ["reproduce", "aspc-tabel1"],
        ["validate", "aspc-tabel1"],
    ],
    ids=" ".join,
)
def test_an_unknown_table_names_the_nearest(cli, arguments):
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "aspc-tabel1" in result.err
    assert "aspc-table1" in result.err


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("--preset", "smok", "smoke"),
        ("--datasets", "hoper-medium-v2", "hopper-medium-v2"),
        ("--algorithms", "asp", "aspc"),
    ],
)
def test_other_unknown_names_too(cli, option, value, hint):
    result = cli("plan", "aspc-table1", option, value)
    assert result.code == 2
    assert hint in result.err


def test_validate_is_happy_with_the_shipped_specs(cli):
    result = cli("validate")
    assert (result.code, result.out) == (0, "")
    assert "0 problems" in result.err


def test_validate_points_at_what_the_code_refuses(cli, elsewhere):
    folder = elsewhere / "mine"
    (folder / "tables").mkdir(parents=True)
    text = (
        "id: mine-table1\nversion: 1\ntitle: Mine\npaper: {title: P, authors: A, year: 2026}\nlineage: d4rl\n"
        "protocol: d4rl-1m\ngroups:\n  - {id: g, label: G, datasets: [hopper-medium-v2]}\ncolumns:\n"
        "  - id: a\n    label: A\n    algorithm: td3_bc\n    hyperparameters:\n      alpha: 2.5\n"
        "      batch_size: 0\n"
    )
    (folder / "tables" / "mine-table1.yaml").write_text(text)
    result = cli("--specs", folder, "validate", "mine-table1")
    assert result.code == 2
    line = text.splitlines().index("      batch_size: 0") + 1
    assert result.out.startswith(f"mine/tables/mine-table1.yaml:{line}:19: ")
    assert "batch_size" in result.out
    assert len(result.out.splitlines()) == 1
