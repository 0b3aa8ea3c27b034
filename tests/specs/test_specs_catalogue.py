"""Finding specs by name, and the checks across files."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import SpecError, UnknownNameError
from harness.specs import Specs
from harness.specs.catalogue import shipped_folder
from harness.specs.validation import validate


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of the user's with one table, all right."""
    monkeypatch.chdir(tmp_path)
    files = {
        "datasets/_toy.yaml": "domain: maze2d\nobservation_size: 4\naction_size: 2\n"
        "reference: {minimum: 0, maximum: 1, source: made up}\n",
        "datasets/toy-a.yaml": "id: toy-a\ninclude: _toy.yaml\n",
        "datasets/toy-b.yaml": "id: toy-b\ninclude: _toy.yaml\n",
        "tables/toy.yaml": """id: toy
version: 1
title: Toy
paper: {title: T, authors: A, year: 2020}
lineage: generated
protocol: d4rl-1m
groups:
  - {id: toys, label: Toys, datasets: [toy-a, toy-b]}
columns:
  - id: mine
    label: Mine
    algorithm: bc
    hyperparameters: {learning_rate: 1.0e-3}
    per_dataset:
      toy-*: {batch_size: 64}
published: {file: ../published/toy.csv, seeds: 3, ddof: 1}
""",
        "published/toy.csv": "row,column,mean,std,source,note\ntoy-a,mine,1,1,own,\n"
        "toy-b,mine,,,own,left empty\n",
        "presets/fast.yaml": "id: fast\ndescription: D\nlabel: fast\ncolumns: [mine]\ndatasets: [toy-b]\n"
        "tables:\n  to*: {columns: [mine], datasets: [toy-a]}\n",
    }
    folder = tmp_path / "own"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# -- names -------------------------------------------------------------------------------------------------


def test_ids_are_the_names_of_the_files(own):
    specs = Specs([own])
    assert specs.ids("tables") == [*Specs().ids("tables"), "toy"]
    assert {"toy-a", "hopper-medium-v2"} < set(specs.ids("datasets"))
    assert not [name for name in specs.ids("datasets") if name.startswith("_")]
    assert specs.dataset("toy-a").observation_size == 4
    assert specs.dataset("toy-a") is specs.dataset("toy-a")


@pytest.mark.parametrize(
    "name",
    ["../datasets/hopper-medium-v2", "hopper-medium-v2.yaml", "_hopper", "", "*", "/etc/passwd", "\x00"],
)
def test_names_are_never_paths(name):
    with pytest.raises(UnknownNameError, match=r"^no dataset named "):
        Specs().dataset(name)


def test_unknown_names_give_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean hopper-medium-v2"):
        Specs().dataset("hoper-medium-v2")
    for get in (Specs().table, Specs().algorithm, Specs().protocol, Specs().preset):
        with pytest.raises(UnknownNameError):
            get("nothing-like-it")


def test_has_algorithm():
    assert Specs().has_algorithm("aspc")
    assert not Specs().has_algorithm("unheard-of")
    assert not Specs().has_algorithm("../algorithms/aspc")


def test_folders_that_are_none(own):
    with pytest.raises(SpecError, match=r"^none:1:1: no such folder"):
        Specs([Path("none")])
    with pytest.raises(SpecError, match=r"^own/tables:1:1: no folder of specs: holds none of tables, "):
        Specs([own / "tables"])


def test_one_id_in_two_folders(own, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(own, other)
    with pytest.raises(SpecError) as caught:
        Specs([own, other]).ids("tables")
    assert "other/tables/toy.yaml:1:1: table 'toy' is defined twice" in str(caught.value)
    assert "own/tables/toy.yaml" in str(caught.value)


def test_a_folder_given_twice_is_one_folder(own):
    assert Specs([own, own / ".." / "own", shipped_folder()]).ids("tables") == [*Specs().ids("tables"), "toy"]


def test_the_id_is_the_name_of_the_file(own):
    edit(own / "datasets/toy-a.yaml", "id: toy-a", "id: toy-c")
    with pytest.raises(SpecError, match=r"^own/datasets/toy-a\.yaml:1:5: id: should be 'toy-a'"):
        Specs([own]).dataset("toy-a")


def test_listing_names_parses_nothing(own):
    (own / "tables/broken.yaml").write_text("[")
    code = (
        "import sys, pathlib; from harness.specs import Specs; "
        "print(Specs([pathlib.Path(sys.argv[1])]).ids('tables')); "
        "sys.exit(bool({'pydantic', 'yaml', 'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(own)], capture_output=True, text=True, check=False)
    assert done.stdout == f"{sorted([*Specs().ids('tables'), 'broken', 'toy'])}\n", done.stderr
    assert done.returncode == 0


def test_every_exported_name_is_there():
    from harness import specs

    assert all(getattr(specs, name) is not None for name in specs.__all__)
    with pytest.raises(AttributeError):
        _ = specs.nothing


def test_published_numbers(own):
    specs = Specs([own])
    numbers = specs.published(specs.table("toy"))
    assert [(cell.row, cell.n, cell.ddof) for cell in numbers.values()] == [("toy-a", 3, 1)]
    assert specs.published(specs.table("toy").model_copy(update={"published": None})) is None


# -- validation --------------------------------------------------------------------------------------------


def test_what_is_right_has_no_problems(own):
    assert validate(Specs([own])) == []
    assert validate(Specs([own]), ["toy"]) == []


PROBLEMS = [
    (
        "tables/toy.yaml",
        "protocol: d4rl-1m",
        "protocol: d4rl-2m",
        "6:11: protocol: no protocol named 'd4rl-2m'",
    ),
    (
        "tables/toy.yaml",
        "[toy-a, toy-b]",
        "[toy-a, toy-c]",
        "8:47: groups.0.datasets.1: no dataset named 'toy-c'",
    ),
    (
        "tables/toy.yaml",
        "learning_rate:",
        "learn_rate:",
        "13:23: columns.0.hyperparameters.learn_rate: no hyper",
    ),
    (
        "tables/toy.yaml",
        "batch_size:",
        "batchsize:",
        "15:15: columns.0.per_dataset.toy-*.batchsize: no hyper",
    ),
    (
        "tables/toy.yaml",
        "toy-*:",
        "toi-*:",
        "15:7: columns.0.per_dataset.toi-*: 'toi-*' matches no dataset here",
    ),
    ("tables/toy.yaml", "toy.csv", "no.csv", "16:19: cannot read own/published/no.csv: No such file"),
    ("published/toy.csv", "toy-b,", "toy-c,", "3: row: the table has no row 'toy-c'"),
    ("published/toy.csv", "-a,mine", "-a,yours", "2: column: the table has no column 'yours'"),
    ("presets/fast.yaml", "[mine]", "[yours]", "4:11: columns.0: no column of any table named 'yours'"),
    ("presets/fast.yaml", "[toy-b]", "[toy-c]", "5:12: datasets.0: no dataset named 'toy-c'"),
    ("presets/fast.yaml", "  to*:", "  ta*:", "7:3: tables.ta*: 'ta*' matches no table here"),
    ("presets/fast.yaml", "[toy-a]", "[toy-c]", "7:37: tables.to*.datasets.0: no dataset named 'toy-c'"),
    (
        "presets/fast.yaml",
        "to*: {columns: [mine]",
        "to*: {columns: [yours]",
        "7:19: tables.to*.columns.0: no column of any table named 'yours'",
    ),
    (
        "datasets/_toy.yaml",
        "minimum: 0",
        "minimum: 2",
        "4:12: reference: minimum 2.0 must be below maximum 1.0",
    ),
]


@pytest.mark.parametrize(("file", "old", "new", "problem"), PROBLEMS)
def test_problems_point_at_their_place(own, file, old, new, problem):
    edit(own / file, old, new)
    problems = validate(Specs([own]))
    assert any(line.startswith(f"own/{file}:{problem}") for line in problems), problems
    assert len(problems) == len(set(problems))


def test_a_cell_that_the_file_does_not_list(own):
    edit(own / "published/toy.csv", "toy-b,mine,,,own,left empty\n", "")
    assert validate(Specs([own])) == [
        "own/tables/toy.yaml:16:19: published.file: the file has no line for row 'toy-b', column mine; "
        "list a cell that the paper leaves empty with an empty mean"
    ]


def test_an_unknown_algorithm_is_a_column_without_implementation(own):
    edit(own / "tables/toy.yaml", "algorithm: bc", "algorithm: unheard-of")
    assert validate(Specs([own])) == []


def test_globs_of_an_algorithm_match_some_dataset(own):
    (own / "algorithms").mkdir()
    (own / "algorithms/new.yaml").write_text(
        "id: new\ntitle: New\npaper: {title: T, authors: A, year: 2020}\n"
        "hyperparameters: {a: {value: 1, source: s}}\nper_dataset: {nothing-*: {a: 2}}\n"
    )
    assert validate(Specs([own])) == [
        "own/algorithms/new.yaml:5:15: per_dataset.nothing-*: 'nothing-*' matches no dataset here"
    ]


def test_files_with_another_ending_are_reported(own):
    (own / "tables/other.yml").write_text("")
    assert validate(Specs([own])) == ["own/tables/other.yml:1:1: is not read; files of specs end in .yaml"]


def test_only_the_tables_asked_for(own):
    edit(own / "tables/toy.yaml", "d4rl-1m", "none")
    (own / "presets/fast.yaml").write_text("[")
    assert validate(Specs([own]), ["aspc-table1"]) == []
    assert len(validate(Specs([own]), ["toy"])) == 1
    with pytest.raises(UnknownNameError):
        validate(Specs([own]), ["toi"])


def test_what_refers_to_rows_and_columns_is_checked(own):
    table = own / "tables" / "toy.yaml"
    edit(table, "    algorithm: bc\n", "    algorithm: bc\n    change_from: mein\n")
    with table.open("a") as file:
        file.write("footnotes:\n  - plain\n  - {text: T, rows: [toy-c], columns: [mine]}\n")
    edit(own / "published" / "toy.csv", "source,note\n", "change,source,note\n")
    edit(own / "published" / "toy.csv", "toy-a,mine,1,1,own,", "toy-a,mine,1,1,2.5,own,")
    edit(own / "published" / "toy.csv", "toy-b,mine,,,own,", "toy-b,mine,,,,own,")
    problems = validate(Specs([own]), ["toy"])
    assert len(problems) == 2
    assert "columns.0.change_from" in problems[0]
    assert "'mein'" in problems[0]
    assert "footnotes.1.rows.0" in problems[1]
    assert "'toy-c'" in problems[1]
    assert [note.text for note in Specs([own]).table("toy").footnotes] == ["plain", "T"]


def test_a_change_needs_what_it_is_from(own):
    edit(own / "published" / "toy.csv", "source,note\n", "change,source,note\n")
    edit(own / "published" / "toy.csv", "toy-a,mine,1,1,own,", "toy-a,mine,1,1,2.5,own,")
    edit(own / "published" / "toy.csv", "toy-b,mine,,,own,", "toy-b,mine,,,,own,")
    [problem] = validate(Specs([own]), ["toy"])
    assert "row 'toy-a'" in problem
    assert "'change_from'" in problem


def test_where_only_averages_were_printed_only_these_are_asked_for(own):
    table = own / "tables" / "toy.yaml"
    edit(table, "datasets: [toy-a, toy-b]}", "datasets: [toy-a, toy-b], average: Avg}")
    edit(table, "ddof: 1}", "ddof: 1, rows: averages}")
    (own / "published" / "toy.csv").write_text("row,column,mean,std,source,note\ntoys,mine,1,,own,\n")
    assert validate(Specs([own]), ["toy"]) == []
    (own / "published" / "toy.csv").write_text("row,column,mean,std,source,note\n")
    [problem] = validate(Specs([own]), ["toy"])
    assert "no line for row 'toys', column mine" in problem
