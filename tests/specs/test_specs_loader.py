"""Positions and wording of the errors in YAML files."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.specs.loader import load, read
from harness.specs.models import Algorithm, Dataset, Protocol, Table

PROTOCOL = """id: short
description: A short run
steps: 100
evaluate_every: 10
episodes: 1
seeds: [0, 1]
"""


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, text):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def message(path, model=Protocol):
    with pytest.raises(SpecError) as caught:
        load(Path(path).absolute(), model)
    return str(caught.value)


def test_loads_a_file():
    protocol = load(write("p.yaml", PROTOCOL), Protocol)
    assert (protocol.steps, protocol.seeds, protocol.score) == (100, (0, 1), "last")


BAD_VALUES = [
    ("steps: 100", "steps: many", "p.yaml:3:8: steps: should be a whole number", "got 'many'"),
    ("steps: 100", "steps: 1e6", "p.yaml:3:8: steps: should be a whole number", "without point or exponent"),
    ("steps: 100", "steps: true", "p.yaml:3:8: steps: should be a whole number", "got true"),
    ("steps: 100", "steps: '100'", "p.yaml:3:8: steps: should be a whole number", "got '100'"),
    ("steps: 100", "steps:   0", "p.yaml:3:10: steps: should be greater than 0", "got 0"),
    (
        "episodes: 1",
        "episodes:",
        "p.yaml:4:1: evaluate_every: 'evaluate_every' without 'episodes'",
        "or neither",
    ),
    ("steps: 100", "steps:", "p.yaml:3:1: steps: one of 'steps' (offline) and 'interactions' (online)", ""),
    (
        "id: short",
        "id: short\nscor: last",
        "p.yaml:2:1: scor: unknown key; did you mean 'score'?",
        "last_k, ",
    ),
    ("episodes: 1\n", "", "p.yaml:4:1: evaluate_every: 'evaluate_every' without 'episodes'", "or neither"),
    ("steps: 100\n", "", "p.yaml:1:1: one of 'steps' (offline) and 'interactions' (online)", ""),
    ("id: short", "id: Short!", "p.yaml:1:5: id: an id is lower-case letters", ""),
    ("seeds: [0, 1]", "seeds: [0, x]", "p.yaml:6:12: seeds.1: should be a whole number", ""),
    ("seeds: [0, 1]", "seeds:\n  - 0\n  - x", "p.yaml:8:5: seeds.1: should be a whole number", ""),
    ("seeds: [0, 1]", "seeds: [0, 0]", "p.yaml:6:8: seeds: seeds are distinct", ""),
    ("seeds: [0, 1]", "seeds: []", "p.yaml:6:8: seeds: ", "at least 1 item"),
    ("seeds: [0, 1]", "seeds: 3", "p.yaml:6:8: seeds: should be a list, got 3", ""),
    ("seeds: [0, 1]", "seeds: {a: 1}", "p.yaml:6:8: seeds: should be a list, got a mapping", ""),
    (
        "episodes: 1",
        "episodes: 1\nscore: worst",
        "p.yaml:6:8: score: should be 'last', 'mean_last' or 'best'",
        "",
    ),
    ("steps: 100", "steps: 5", "p.yaml:4:17: evaluate_every: evaluate_every 10 is beyond 5 steps", ""),
    ("steps: 100", "steps: 100\ngather: {}", "p.yaml:4:1: gather: only an online run", ""),
    ("steps: 100", "steps: 1\ninteractions: 2", "p.yaml:4:1: interactions: either 'steps'", "not both"),
    ("steps: 100", "interactions: 100", "p.yaml:3:1: interactions: an online run says how it gathers", ""),
    *(
        ("steps: 100", f"interactions: 100\ngather: {{{gather}}}", f"p.yaml:4:{place}: gather.{start}", part)
        for gather, place, start, part in (
            ("warmup: 100", 18, "warmup: warmup 100 must be below 100 interactions", ""),
            ("every: 0", 17, "every: should be greater than 0", "got 0"),
            ("keep: some", 16, "keep: should be all, none or {best_trajectories: NUMBER}", "got 'some'"),
            ("keep: {best: 1}", 16, "keep: should be all, none or {best_trajectories: NUMBER}", "mapping"),
            ("explore: {noise: -1}", 19, "explore: should be deterministic, sample or", "mapping"),
            ("mix: [128]", 15, "mix.1: the key is missing here", ""),
            ("mix: 3", 15, "mix: should be a list, got 3", ""),
            ("mix: [1, 1], capacity: 9", 23, "capacity: a capacity is of the one buffer", "'mix'"),
            ("reproduce_defects: true", 10, "reproduce_defects: evaluations disturb only", "overlap: false"),
        )
    ),
]

BAD_FILES = [
    ("", "p.yaml:1:1: the file is empty"),
    (" \n\n", "p.yaml:1:1: the file is empty"),
    ("# nothing\n", "p.yaml:1:1: the file should be a mapping"),
    ("- a\n- b\n", "p.yaml:1:1: the file should be a mapping"),
    ("\n  text\n", "p.yaml:2:3: the file should be a mapping"),
    ("id: a\nid: b\n", "p.yaml:2:1: id: the key stands twice, first at p.yaml:1:1"),
    ("a:\n  b: 1\n  c: 2\n  b: 3\n", "p.yaml:4:3: a.b: the key stands twice, first at p.yaml:2:3"),
    ("id: a\n\tsteps: 1\n", "p.yaml:2:1: no valid YAML"),
    ("id: [a, b\nsteps: 1\n", "p.yaml:2:6: no valid YAML"),
    ("id: 'a\n", "p.yaml:2:1: no valid YAML"),
    ("id: a\n---\nid: b\n", "p.yaml:2:1: no valid YAML"),
    ("id: *nowhere\n", "p.yaml:1:5: no valid YAML"),
    ("id: &a [*a]\n", "p.yaml:1:5: id.0: the value contains itself"),
    ("id: !thing x\n", "p.yaml:1:5: id: 'x' is no value of type"),
    ("? [a]\n: 1\n", "p.yaml:1:3: a key should be text"),
    ("id: a\nsteps: \x07\n", "p.yaml:2:8: no valid YAML: character U+0007"),
    (b"id: a\nsteps: \xff\n", "p.yaml:2:8: byte 0xff is not UTF-8"),
    ("é: é".encode("latin-1"), "p.yaml:1:1: byte 0xe9 is not UTF-8"),
    ("id: a".encode("utf-16"), "p.yaml:1:1: byte 0xff is not UTF-8"),
    ("id: " + "[" * 5000, "p.yaml:1:104: lists and mappings are nested too deeply"),
]


@pytest.mark.parametrize(("old", "new", "start", "part"), BAD_VALUES)
def test_bad_values(old, new, start, part):
    assert old in PROTOCOL
    text = message(write("p.yaml", PROTOCOL.replace(old, new)))
    assert text.startswith(start)
    assert part in text
    assert "\n" not in text


@pytest.mark.parametrize(("content", "start"), BAD_FILES)
def test_bad_files(content, start):
    text = message(write("p.yaml", content))
    assert text.startswith(start)
    assert "\n" not in text


def test_a_tab_says_to_use_spaces():
    assert "spaces, not tabs" in message(write("p.yaml", "id: a\n\tsteps: 1\n"))


def test_a_byte_order_mark_moves_nothing():
    assert load(write("p.yaml", "\ufeff" + PROTOCOL), Protocol).id == "short"
    assert message(write("p.yaml", "\ufeffid: A!\n")).startswith(
        "p.yaml:1:1: description: the key is missing"
    )
    assert "\np.yaml:1:5: id: an id is" in message("p.yaml")


def test_a_file_that_is_not_there_or_no_file():
    assert message("none.yaml") == "none.yaml:1:1: cannot read none.yaml: No such file or directory"
    Path("folder.yaml").mkdir()
    assert message("folder.yaml") == "folder.yaml:1:1: cannot read folder.yaml: Is a directory"


def test_only_regular_files_of_some_size_are_read():
    os.mkfifo("pipe.yaml")
    Path("zero.yaml").symlink_to("/dev/zero")
    write("large.yaml", PROTOCOL + "#" * 1_000_000)
    assert message("pipe.yaml") == "pipe.yaml:1:1: cannot read pipe.yaml: no regular file"
    assert message("zero.yaml") == "zero.yaml:1:1: cannot read zero.yaml: no regular file"
    assert message("large.yaml").endswith("cannot read large.yaml: it has more than 1,000,000 bytes")
    assert message(write("p.yaml", "include: [/dev/zero]")).endswith("cannot read /dev/zero: no regular file")


def test_all_errors_of_a_file_in_the_order_of_their_lines():
    text = message(write("p.yaml", "colour: red\n" + PROTOCOL.replace("100", "x").replace("id: short\n", "")))
    assert [line.split(" ", 2)[:2] for line in text.splitlines()] == [
        ["p.yaml:1:1:", "colour:"],
        ["p.yaml:1:1:", "id:"],
        ["p.yaml:3:8:", "steps:"],
    ]


def test_paths_outside_the_working_folder_are_absolute(tmp_path, monkeypatch):
    path = write("p.yaml", "")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    with pytest.raises(SpecError, match="^" + str(tmp_path / "p.yaml") + ":1:1: "):
        read(tmp_path / path)


ALGORITHM = """id: one
title: One
paper: {title: T, authors: A, year: 2020}
hyperparameters:
  alpha:
    value: 2.5
    source: paper
"""


def test_a_wrong_scalar_of_many_types_is_one_line():
    path = write("a.yaml", ALGORITHM.replace("value: 2.5", "value: [1]"))
    assert message(path, Algorithm) == (
        "a.yaml:6:12: hyperparameters.alpha.value: should be text, a number, true or false, got a list"
    )


def test_unknown_keys_below_a_dict_name_the_inner_model():
    path = write("a.yaml", ALGORITHM.replace("source: paper", "source: paper\n    note_: x"))
    assert message(path, Algorithm) == (
        "a.yaml:8:5: hyperparameters.alpha.note_: unknown key; did you mean 'note'? "
        "allowed: value, source, note, neutral"
    )


def test_scalars_keep_their_types():
    path = write("a.yaml", ALGORITHM + "per_dataset: {x-*: {alpha: 1}, y: {alpha: off}, z: {alpha: 3e-4}}\n")
    per_dataset = load(path, Algorithm).per_dataset
    values = [overrides.hyperparameters["alpha"] for overrides in per_dataset.values()]
    assert values == [1, "off", 3e-4]
    assert [type(value) for value in values] == [int, str, float]


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_numbers_are_finite(number):
    assert message(write("a.yaml", ALGORITHM.replace("2.5", number)), Algorithm).startswith("a.yaml:6:12: ")


# -- includes ----------------------------------------------------------------------------------------------


def test_includes_merge_mappings_and_replace_the_rest():
    write("base.yaml", "a: {x: 1, y: 2}\nlist: [1, 2, 3]\nkept: base\n")
    write("more/other.yaml", "a: {y: 3, z: 3}\n")
    write("p.yaml", "include: [base.yaml, more/other.yaml]\na: {x: 9}\nlist: [4]\n")
    assert read(Path("p.yaml")).data == {"a": {"x": 9, "y": 3, "z": 3}, "list": (4,), "kept": "base"}


def test_a_scalar_above_replaces_a_mapping_below():
    write("base.yaml", "a: {x: {y: 1}}\n")
    document = read(write("p.yaml", "include: base.yaml\na: 1\n"))
    assert document.data == {"a": 1}
    assert document.problem(("a",), "no") == "p.yaml:2:4: a: no"


def test_errors_point_into_the_included_file():
    write("parts/base.yaml", "description: d\nsteps: x\nepisodes: 1\n")
    text = message(write("p.yaml", "include: parts/base.yaml\nid: a\nseeds: [0]\nevaluate_every: y\n"))
    assert text.splitlines() == [
        "p.yaml:4:17: evaluate_every: should be a whole number, written without point or exponent, got 'y'",
        "parts/base.yaml:2:8: steps: should be a whole number, written without point or exponent, got 'x'",
    ]


@pytest.mark.parametrize(
    ("include", "start"),
    [
        ("none.yaml", "p.yaml:1:10: cannot read none.yaml: No such file or directory"),
        ("[b.yaml, none.yaml]", "p.yaml:1:19: cannot read none.yaml: No such file or directory"),
        ("3", "p.yaml:1:10: include: should be a path or a list of paths, got 3"),
        ("[b.yaml, 3]", "p.yaml:1:19: include: should be a path or a list of paths, got 3"),
        ("{a: b}", "p.yaml:1:10: include: should be a path or a list of paths"),
        ("", "p.yaml:1:1: include: should be a path or a list of paths"),
        ("p.yaml", "p.yaml:1:10: include: files include each other: p.yaml -> p.yaml"),
        ("c.yaml", "c.yaml:1:10: include: files include each other: p.yaml -> c.yaml -> p.yaml"),
        ("empty.yaml", "empty.yaml:1:1: the file is empty"),
    ],
)
def test_bad_includes(include, start):
    write("b.yaml", "id: b\n")
    write("c.yaml", "include: ./p.yaml\n")
    write("empty.yaml", "")
    assert message(write("p.yaml", f"include: {include}\n")).startswith(start)


def test_one_file_may_be_included_twice():
    write("base.yaml", "steps: 1\n")
    write("b.yaml", "include: base.yaml\n")
    assert read(write("p.yaml", "include: [b.yaml, base.yaml]\n")).data == {"steps": 1}


def test_includes_that_multiply_are_refused():
    for level in range(40):
        write(f"{level}.yaml", f"include: [{level + 1}.yaml, {level + 1}.yaml]")
    write("40.yaml", "a: 1")
    assert message("0.yaml") == (
        "38.yaml:1:20: include: with this more than 64 files or 50,000 values are included"
    )
    write("p.yaml", f"include: [{', '.join(['b.yaml'] * 20)}]")
    write("b.yaml", f"a: [{'1, ' * 5000}]")
    assert message("p.yaml").startswith("p.yaml:1:83: include: with this more than 64 files or 50,000 values")


# -- properties --------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(before=st.integers(0, 30), indent=st.integers(1, 12), spaces=st.integers(1, 12), flow=st.booleans())
def test_the_position_of_a_value_is_where_its_text_stands(before, indent, spaces, flow):
    lines = [f"# {'é' * index}" for index in range(before)]
    pad = " " * indent
    if flow:
        lines += [f"outer: {{{pad}key:{' ' * spaces}WRONG}}"]
    else:
        lines += ["outer:", f"{pad}key:{' ' * spaces}WRONG"]
    document = read(write("p.yaml", "\n".join(lines)))
    line = next(index for index, text in enumerate(lines) if "WRONG" in text)
    expected = f"p.yaml:{line + 1}:{lines[line].index('WRONG') + 1}: outer.key: no"
    assert document.problem(("outer", "key"), "no") == expected


@settings(max_examples=200)
@example("a: \t1")
@example("%YAML 9.9\n---\na: 1")
@example("a: 2020-99-99")
@example("a: !!int x")
@example("a: 0o9")
@example("<<: {a: 1}")
@example("0\u20280:")
@given(st.text(alphabet="ab:[]{}&*!|>'\"%@`#-?, \n\t01.é\x00\u2028", max_size=40))
def test_any_text_is_read_or_refused_with_a_position(text):
    path = write("p.yaml", text)
    try:
        load(path, Dataset)
    except SpecError as error:
        for line in str(error).splitlines():
            name, row, column, _ = line.split(":", 3)
            assert name == "p.yaml"
            assert int(row) >= 1
            assert int(column) >= 1


def test_a_table_with_two_equal_columns_is_refused():
    column = "{id: x, label: X, algorithm: x}"
    text = f"""id: t
version: 1
title: T
paper: {{title: T, authors: A, year: 2020}}
lineage: d4rl
protocol: p
groups: [{{id: g, label: G, datasets: [d]}}]
columns: [{column}, {column}]
"""
    assert message(write("t.yaml", text), Table) == "t.yaml:1:1: column 'x' appears twice"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"steps": 10**18}, "steps: should be less than or equal to 1000000000000, got"),
        ({"steps": 10**12}, "evaluate_every: 1,000,000,000,000 steps have more than 1,000,000 evaluations"),
        ({"episodes": 10**9}, "episodes: should be less than or equal to 100000, got"),
    ],
)
def test_no_protocol_is_longer_than_any_run_could_be(tmp_path, change, problem):
    protocol = {
        "id": "p",
        "description": "x",
        "steps": 100,
        "evaluate_every": 50,
        "episodes": 1,
        "seeds": [0],
    }
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(protocol | change))
    with pytest.raises(SpecError, match=problem):
        load(path, Protocol)
