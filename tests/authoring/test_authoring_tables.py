"""Whole files: several tables, what is left out, hostile input, and what this program printed itself."""

import contextlib
import csv
import io
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.authoring.transcription import transcribe
from harness.authoring.writing import write
from harness.errors import HarnessError, SpecError
from harness.specs import Specs
from harness.specs.validation import validate

ROOT = Path(__file__).parents[2]
HEAD = "\\begin{tabular}{lcc}\nDataset & BC & IQL \\\\\n"
ROW = "hopper-medium-v2 & 52.9 & 66.3 \\\\\n"
END = "\\end{tabular}\n"


SPECS = Specs()


@pytest.fixture
def specs():
    return SPECS


@pytest.fixture
def read(specs, tmp_path):
    def from_text(text, name="table.tex", **options):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return transcribe(path, "case", specs, **options)

    return from_text


def cells(transcript):
    lines = csv.DictReader(io.StringIO(transcript.csv))
    return {(line["row"], line["column"]): (line["mean"], line["std"]) for line in lines}


def test_a_table_is_chosen_where_a_file_has_several_with_scores(read):
    other = "\\begin{tabular}{lc}Option & Value \\\\ batch & 256 \\\\\\end{tabular}\n"
    text = other + HEAD + ROW + END + HEAD + ROW.replace("52.9", "1.5") + END
    with pytest.raises(
        HarnessError, match="2 tables of scores; choose one:\n  --table 2: line 2, 2 cells\n  --table 3"
    ):
        read(text)
    assert cells(read(text, number=3))["hopper-medium-v2", "bc"] == ("1.5", "")
    with pytest.raises(HarnessError, match="has 3 tables, and no table 4"):
        read(text, number=4)


def test_what_is_left_out_has_its_line_and_its_reason(read):
    text = (
        "\\begin{tabular}{lcccc}\nDataset & BC & IQL* & Time (h) & $\\Delta$ \\\\\n"
        "hopper-medium & 52.9 & 66.3 & 3.0 & 1.0 \\\\\nkitchen-partial & 1.0 & 2.0 & 3.0 & 1.0 \\\\\n"
        "walker2d-medium & 70.0 & 80.0 / 3 & 3.0 & 1.0 \\\\\n\\midrule\n"
        "Average & 41.3 & 49.4 & 3.0 & 1.0 \\\\\n"
        "\\end{tabular}"
    )
    found = read(text)
    said = {(cell.line, cell.column, cell.text): cell.why for cell in found.reading.unread}
    assert said[4, "BC", "1.0"] == "no such dataset is known"
    assert said[5, "IQL*", "80.0 / 3"] == "it is not certain which numbers these are"
    assert said[3, "", "3.0"] == "the column is no algorithm's"
    assert said[7, "BC", "41.3"] == "rows that it sums up are left out"
    assert cells(found) == {
        ("hopper-medium-v2", "bc"): ("52.9", ""),
        ("hopper-medium-v2", "iql"): ("66.3", ""),
        ("walker2d-medium-v2", "bc"): ("70.0", ""),
        ("walker2d-medium-v2", "iql"): ("", ""),
    }
    assert "NOT READ, line 5: 80.0 / 3" in found.csv
    assert found.outcome == "read 3 of 16 cells; 13 not"
    assert any("the mark * may say that it was run otherwise" in note for note in found.reading.notes)


def test_names_that_only_look_like_known_ones_are_not_taken_for_them(read):
    text = HEAD.replace("BC", "\\%BC").replace("IQL", "IQL-X") + ROW + ROW.replace("-v2", "-v0") + END
    found = read(text)
    assert [(column.id, column.known) for column in found.reading.columns] == [
        ("percent-bc", False),
        ("iql-x", False),
    ]
    assert [cell.row for cell in found.reading.unread] == ["hopper-medium-v0"] * 2


def test_a_label_on_top_of_a_group_is_part_of_the_names_below_it(read):
    text = "| Task | BC |\n|---|---|\n| **AntMaze** | |\n| umaze | 54.6 |\n| umaze-diverse | 45.6 |\n"
    text += "| **Maze2d** | |\n| umaze | 0.4 |\n"
    rows = [row for row, _ in cells(read(text, "table.md"))]
    assert rows == ["antmaze-umaze-v2", "antmaze-umaze-diverse-v2", "maze2d-umaze-v1"]


def test_seeds_are_those_of_the_caption_or_the_option_or_said_to_be_assumed(read):
    table = "\\begin{table}\\caption{Mean of five random seeds}" + HEAD + ROW + END + "\\end{table}"
    assert "seeds: 5\n" in read(table).yaml
    assert "seeds: 7\n" in read(table, seeds=7).yaml
    unsaid = read(HEAD + ROW + END)
    assert "seeds: 4  # assumed" in unsaid.yaml
    assert any("4 seeds" in guess for guess in unsaid.assumed)


def test_what_latex_does_not_print_is_not_read(read):
    text = "\\begin{comment}" + HEAD + ROW.replace("52.9", "1.0") + END + "\\end{comment}\n"
    text += (
        "% "
        + HEAD.replace("\n", " ")
        + "\n"
        + HEAD
        + "\\iffalse\n"
        + ROW.replace("medium", "expert")
        + "\\fi\n"
    )
    text += "% " + ROW.replace("medium", "random") + ROW + END + "\\end{document}" + HEAD + ROW + END
    assert cells(read(text)) == {
        ("hopper-medium-v2", "bc"): ("52.9", ""),
        ("hopper-medium-v2", "iql"): ("66.3", ""),
    }


def test_a_number_that_stands_for_several_rows_or_columns_is_not_read(read):
    text = HEAD + "hopper-medium-v2 & \\multirow{2}{*}{52.9} & 66.3 \\\\\nhopper-expert-v2 & & 91.0 \\\\\n"
    found = read(text + "hopper-random-v2 & \\multicolumn{2}{c}{7.0} \\\\" + END)
    assert [(cell.text, cell.why) for cell in found.reading.unread] == [
        (text, "it stands for several rows or columns") for text in ("52.9", "52.9", "7.0", "7.0")
    ]


@pytest.mark.parametrize(
    ("label", "algorithm"),
    [
        ("CQL", "cql"),
        ("TD3-BC", "td3_bc"),
        ("\\makecell{TD3\\\\+BC}", "td3_bc"),
        ("TD3+BC$^{\\dagger}$", "td3_bc"),
        ("CQL \\cite{kumar} [3] (Kumar et al., 2020)", "cql"),
        ("CQL+", None),
        ("CQL$^+$", None),
        ("CQL'", None),
        ("10\\%BC", None),
        ("TD3+BC (k = 5)", None),
        ("$\\alpha$-CQL", None),
    ],
)
def test_an_algorithm_is_known_only_by_its_whole_name(read, label, algorithm):
    found = read(HEAD.replace("IQL", label) + ROW + END).reading.columns[1]
    assert (found.algorithm if found.known else None) == algorithm
    assert bool(found.mark) == ("dagger" in label)


def test_a_caption_s_domain_is_part_of_names_that_lack_one(read):
    rows = "umaze-diverse & 45.6 & 62.2 \\\\\n"
    table = "\\begin{table}\\caption{Results on AntMaze.}" + HEAD + rows + END + "\\end{table}"
    assert next(iter(cells(read(table)))) == ("antmaze-umaze-diverse-v2", "bc")
    with pytest.raises(SpecError, match="no row or column"):
        read(table.replace("AntMaze", "AntMaze and Maze2d"))


def test_a_caption_s_version_is_that_of_all_names(read):
    table = "\\begin{table}\\caption{D4RL %s}" + HEAD + ROW.replace("-v2", "") + END + "\\end{table}"
    assert "hopper-medium-v2,bc,52.9" in read(table % "v2").csv
    with pytest.raises(SpecError, match="no row or column"):
        read(table % "v0")


def test_what_is_no_standard_deviation_is_not_read_as_one(read):
    row = "hopper-medium-v2 & 52.9 $\\pm$ 1.0 & 66.3 $\\pm$ 2.0 \\\\\n"
    table = "\\begin{table}\\caption{Mean and %s.}" + HEAD + row + END + "\\end{table}"
    assert cells(read(table % "standard deviation"))["hopper-medium-v2", "bc"] == ("52.9", "1.0")
    for other in (
        "standard error",
        "95\\% confidence interval",
        "95\\% CI",
        "two standard deviations",
        "SEM",
    ):
        found = read(table % other)
        assert cells(found)["hopper-medium-v2", "bc"] == ("52.9", "")
        assert "± 1.0 printed, by the caption" in found.csv
    both = read(table % "standard error; standard deviations stand in the appendix")
    assert any("the caption says 'standard error', too" in note for note in both.reading.notes)


def test_labels_that_span_upwards_and_struck_or_hidden_text(read):
    text = (
        "\\begin{tabular}{llc}& & BC \\\\\n& medium & 1.0 \\\\\n\\multirow{-2}{*}{Hopper} & expert & 2.0 \\\\"
        + END
    )
    assert [row for row, _ in cells(read(text))] == ["hopper-medium-v2", "hopper-expert-v2"]
    page = "<table><tr><td>Task<td>BC<td>IQL<tr><td>hopper-medium-v2<td><del>1.0</del><td>"
    page += "<i style='display: none'>9</i>2.0</table>"
    assert cells(read(page, "table.html")) == {
        ("hopper-medium-v2", "bc"): ("", ""),
        ("hopper-medium-v2", "iql"): ("2.0", ""),
    }


def test_rows_of_changed_data_are_remarked(read):
    text = "|Task|BC|\n|---|---|\n|10% of the data| |\n|hopper-medium-v2|1.0|\n|hopper-expert-v2|2.0|\n"
    for label in ("10% of the data", "Noisy"):
        found = read(text.replace("10% of the data", label), "table.md")
        assert len([note for note in found.reading.notes if label in note]) == 1
    found = read(text.replace("10% of the data", "Hopper"), "table.md")
    assert not any("Hopper" in note for note in found.reading.notes)


def test_a_column_without_a_heading_is_nobody_s(read):
    found = read(HEAD.replace("IQL", "") + ROW + END)
    assert [column.label for column in found.reading.columns] == ["BC"]
    assert [(cell.text, cell.why) for cell in found.reading.unread] == [
        ("66.3", "the column is no algorithm's")
    ]


def test_a_heading_may_say_mean_and_deviation_apart(read):
    text = "|Task|TD3+BC|TD3+BC|BC|\n|---|---|---|---|\n|hopper-medium-v2|1.0|2.0|3.0|\n"
    assert set(cells(read(text, "twice.md")).values()) == {
        ("1.0", ""),
        ("2.0", ""),
        ("3.0", ""),
    }
    text = (
        "\\begin{tabular}{lcccc} & \\multicolumn{2}{c}{IQL} & \\multicolumn{2}{c}{BC} \\\\"
        "Task & Mean & Std. & Mean & Std. \\\\"
        "hopper-medium-v2 & 66.3 & 5.8 & - & - \\\\" + END
    )
    assert list(cells(read(text)).values()) == [("66.3", "5.8"), ("", "")]


def test_columns_beside_scores_are_told_from_algorithms(read):
    found = read(HEAD.replace("BC", "SAC-N").replace("IQL", "Gain (\\%)") + ROW + END)
    assert [column.label for column in found.reading.columns] == ["SAC-N"]
    assert [cell.why for cell in found.reading.unread] == ["the column is no algorithm's"]


@pytest.mark.parametrize(
    "text",
    [
        "\\begin{comment}" * 100_000,
        "\\iffalse" * 100_000,
        "\\newcommand{\\x}{" * 4000 + HEAD + ROW + END,
        HEAD + "hopper-medium-v2 & " + "*" * 100_000 + "x & " + "[" * 100_000 + "\\\\" + END,
        HEAD + ROW * 1000 + END,
        HEAD + "\\multicolumn{99}{c}{1} & " * 3000 + END,
        "\\begin{tabular}{*{999}{*{999}{*{999}{c}}}}" + ROW + END,
    ],
    ids=["comments", "conditionals", "macros", "long cells", "rows", "spans", "columns"],
)
def test_large_hostile_files_end_soon(read, text):
    started = time.process_time()
    with contextlib.suppress(HarnessError):
        read(text)
    assert time.process_time() - started < 10


@given(st.lists(st.text(max_size=12), min_size=3, max_size=3))
@settings(max_examples=15)
def test_whatever_labels_say_the_specs_are_valid(tmp_path, labels):
    path = tmp_path / "table.csv"
    with path.open("w", newline="", encoding="utf-8", errors="ignore") as file:
        csv.writer(file).writerows([["x", *labels[:2]], ["hopper-medium", 1.5, 2.5], [labels[2], 3.5, 4.5]])
    try:
        found = transcribe(path, "case", SPECS)
    except HarnessError:
        return
    folder = tmp_path / "specs"
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, {"published/case.csv": found.csv, "tables/case.yaml": found.yaml})
    assert validate(Specs([folder]), ["case"], []) == []


def test_an_improvement_is_no_average_and_units_are_looked_at(read):
    row = "Average improvement & 1.0 & 2.0 \\\\\n"
    found = read(HEAD + ROW + row + END)
    assert {cell.why for cell in found.reading.unread} == {"no such dataset is known"}
    assert any(
        "are above 300" in note for note in read(HEAD + ROW.replace("52.9", "1529.0") + END).reading.notes
    )
    text = HEAD + ROW.replace("52.9", "0.5").replace("66.3", "0.6") + END
    assert any("no number is above 1" in note for note in read(text).reading.notes)


def test_macros_of_another_file_are_known_if_it_is_given(read, tmp_path):
    more = tmp_path / "macros.tex"
    more.write_text("\\newcommand{\\res}[2]{#1 $\\pm$ #2}")
    table = HEAD + "hopper-medium-v2 & \\res{52.9}{0.4} & 66.3 \\\\" + END
    without = read(table)
    assert cells(without)["hopper-medium-v2", "bc"] == ("", "")
    assert "--macros FILE names the file that defines it" in without.reading.unread[0].why
    assert cells(read(table, macros=[more]))["hopper-medium-v2", "bc"] == ("52.9", "0.4")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "\\newcommand{\\a}{\\b}\\newcommand{\\b}{\\a}" + HEAD + "hopper-medium-v2 & \\a & 1.0 \\\\" + END,
            "holds itself",
        ),
        ("\\newcommand{\\a}{\\a\\a}" + HEAD + "hopper-medium-v2 & \\a & 1.0 \\\\" + END, "holds itself"),
        (
            HEAD + "hopper-medium-v2 & " + "{" * 3000 + "1" + "}" * 3000 + " & 2 \\\\" + END,
            "nested too deeply",
        ),
        ("no table at all", "there is no table in the file"),
        (
            HEAD + "kitchen-partial & 1.0 & 2.0 \\\\" + END,
            "no row or column here is named like a known dataset",
        ),
        ("", "the file is empty"),
        ("caf\xe9".encode("latin-1"), "is not UTF-8"),
        ((HEAD + ROW + END).encode("utf-16"), "is not UTF-8"),
    ],
    ids=["two macros", "doubling macro", "braces", "no table", "no dataset", "empty", "latin-1", "utf-16"],
)
def test_what_cannot_be_read_is_said_in_a_sentence_with_its_place(read, text, said):
    with pytest.raises(SpecError, match=said) as raised:
        read(text)
    assert "table.tex:" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        HEAD + ROW,  # no end
        HEAD + "hopper-medium-v2 & {52.9 & 66.3 \\\\" + END,
        HEAD + "hopper-medium-v2 & 52.9} & 66.3 \\\\" + END,
        HEAD + "hopper-medium-v2 & \\textbf{52.9 & 66.3 \\\\" + END,
        HEAD + ROW + "walker2d-medium-v2 & \\multirow{99}{*}{1} & \\multicolumn{99}{c}{2} \\\\" + END,
        HEAD + ROW + "& & & & & \\\\" + END,
        HEAD + "\\begin{tabular}" + ROW + END,
    ],
)
def test_broken_tables_give_no_number_that_is_not_there(read, text):
    try:
        found = cells(read(text))
    except SpecError:
        return
    assert {mean for mean, _ in found.values()} <= {"", "52.9", "66.3", "1", "2"}


def test_unbalanced_markup_elsewhere_changes_nothing(read):
    table = HEAD + ROW + END
    assert cells(read("}}{ \\begin{document} $ " + table + "{{ $ \\end")) == cells(read(table))
    page = "<table><tr><td>Dataset<td>BC<tr><td>hopper-medium-v2<td>52.9</div></b></table></table>"
    assert cells(read(page, "table.html")) == {("hopper-medium-v2", "bc"): ("52.9", "")}


def test_pipes_devices_folders_and_large_files_are_not_opened(specs, tmp_path):
    os.mkfifo(tmp_path / "pipe.tex")
    (tmp_path / "folder.tex").mkdir()
    large = tmp_path / "large.md"
    large.write_text("x" * 10_000_001)
    for name, said in (
        ("pipe.tex", "no regular file"),
        ("folder.tex", "Is a directory"),
        ("large.md", "more than"),
    ):
        with pytest.raises(SpecError, match=said):
            transcribe(tmp_path / name, "case", specs)
    with pytest.raises(SpecError, match="No such file"):
        transcribe(tmp_path / "absent.csv", "case", specs)
    with pytest.raises(HarnessError, match=r"does not end in \.tex"):
        transcribe(tmp_path / "table.docx", "case", specs)


@pytest.mark.parametrize(
    "form",
    [("latex", "tex", "--style", "audit"), ("markdown", "md"), ("csv", "csv"), ("html", "html")],
    ids=lambda f: f[0],
)
def test_what_this_program_prints_is_read_again(specs, tmp_path, monkeypatch, form):
    from typer.testing import CliRunner

    from harness.cli import app

    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "results.db", "r.db")
    name, suffix, *more = form
    path = tmp_path / f"table.{suffix}"
    done = CliRunner().invoke(
        app, ["table", "aspc-table1", "--db", "r.db", "-f", name, *more, "-o", str(path)]
    )
    assert done.exit_code == 0, done.output
    found = transcribe(path, "case", specs)
    assert found.reading.unread == []
    printed = specs.published(specs.table("aspc-table1"))
    assert {
        key: tuple(float(part) if part else None for part in value) for key, value in cells(found).items()
    } == {key: (cell.mean, cell.std) for key, cell in printed.items()}


@pytest.mark.parametrize(
    ("text", "mean"),
    [
        ("81.7<sup>1</sup>", "81.7"),
        ("81.7[^1]", "81.7"),
        ("81.7![1](up.png)", "81.7"),
        ("<span hidden>9</span>81.7", "81.7"),
        ("<span style='visibility: hidden'>-</span>81.7", "81.7"),
        ("81.7<a href='#1'>1</a>", ""),
        ("81.7[1](#1)", ""),
        ("81.7<small>1</small>", ""),
        ("81.7`1`", ""),
        ("81.7$1$", ""),
        ("$81$ $7$", ""),
        ("<math><msup><mn>81.7</mn><mn>1</mn></msup></math>", ""),
        ("\uf02d81.7", ""),  # a minus of the font Symbol
        ("81\uf0b17", ""),  # its ±
    ],
)
def test_what_stands_beside_a_number_is_no_part_of_it(read, text, mean):
    table = "|Task|BC|IQL|\n|---|---|---|\n|hopper-medium-v2|%s|1.5|\n"
    page = "<table><tr><td>Task<td>BC<td>IQL<tr><td>hopper-medium-v2<td>%s<td>1.5</table>"
    assert cells(read(table % text, "table.md"))["hopper-medium-v2", "bc"] == (mean, "")
    if not set("`[$") & set(text):
        assert cells(read(page % text, "table.html"))["hopper-medium-v2", "bc"] == (mean, "")


def test_tables_beside_each_other_are_read_apart(read):
    head = "|Task|BC|IQL|Task|BC|IQL|\n|---|---|---|---|---|---|\n"
    rows = "|hopper-medium-v2|1.5|OOM|walker2d-medium-v2|3.5|4.5|\n|hopper-expert-v2|5.5|OOM||||\n"
    assert cells(read(head + rows, "table.md")) == {
        ("hopper-medium-v2", "bc"): ("1.5", ""),
        ("hopper-medium-v2", "iql"): ("", ""),
        ("hopper-expert-v2", "bc"): ("5.5", ""),
        ("hopper-expert-v2", "iql"): ("", ""),
        ("walker2d-medium-v2", "bc"): ("3.5", ""),
        ("walker2d-medium-v2", "iql"): ("4.5", ""),
    }
    head = "|Method|hopper-medium-v2|Method|walker2d-medium-v2|\n|---|---|---|---|\n"
    found = cells(read(head + "|BC|1.5|IQL|2.5|\n|CQL|3.5|TD3+BC|4.5|\n", "table.md"))
    assert {key: mean for key, (mean, _) in found.items() if mean} == {
        ("hopper-medium-v2", "bc"): "1.5",
        ("hopper-medium-v2", "cql"): "3.5",
        ("walker2d-medium-v2", "iql"): "2.5",
        ("walker2d-medium-v2", "td3_bc"): "4.5",
    }


def test_a_row_that_may_stand_a_column_too_far_is_not_read(read):
    found = read(HEAD + ROW + "walker2d-medium-v2 & & 3.5 & 4.5 \\\\\n" + END)
    assert cells(found)["walker2d-medium-v2", "iql"] == ("", "")
    assert "more cells than there are headings" in found.reading.unread[-2].why
    with pytest.raises(SpecError, match=r"table.csv:2:1: 5 values below 3 headings; .* ',' in quotes"):
        read("Task,BC,IQL\nhopper-medium-v2,81,7,66,3\n", "table.csv")


def test_one_of_the_two_numbers_under_a_heading_is_not_taken_for_the_other(read):
    head = "\\begin{tabular}{lcccc} & \\multicolumn{2}{c}{BC} & \\multicolumn{2}{c}{IQL} \\\\\n"
    roles = "Task & Offline & Online & Offline & Online \\\\\n"
    rows = "hopper-medium-v2 & 1.5 & & 3.5 & 4.5 \\\\ hopper-expert-v2 & 5.5 & 6.5 & & 8.5 \\\\"
    expected = {
        ("hopper-medium-v2", "bc"): "",
        ("hopper-medium-v2", "iql"): "4.5",
        ("hopper-expert-v2", "bc"): "6.5",
        ("hopper-expert-v2", "iql"): "8.5",
    }
    assert {key: mean for key, (mean, _) in cells(read(head + roles + rows + END)).items()} == expected
    with pytest.raises(SpecError, match="no number of this table can be read; the first, '1"):
        read(head + rows + END)


def test_rows_whose_numbers_are_all_uncertain_are_listed(read):
    row = "%s & 8$^1$ & 9/3 \\\\\n"
    found = read(HEAD + row % "hopper-expert-v2" + ROW + row % "walker2d-medium-v2" + END)
    assert [(cell.line, cell.text) for cell in found.reading.unread] == [
        (3, "8^{1}"),
        (3, "9/3"),
        (5, "8^{1}"),
        (5, "9/3"),
    ]


def test_numbers_that_are_no_scores_are_left_out_with_their_group(read):
    group = "\\multicolumn{3}{c}{%s} \\\\\n"
    found = read(HEAD + group % "Training time" + ROW.replace("52.9", "3.0") + group % "Return" + ROW + END)
    assert cells(found)["hopper-medium-v2", "bc"] == ("52.9", "")
    assert found.reading.unread[0].why == "rows under 'Training time' are no scores"
    head = "\\begin{tabular}{lcc} & %s & Score \\\\ Task & BC & IQL \\\\"
    columns = read(head % "Time (h)" + ROW + END).reading.columns
    assert [column.label for column in columns] == ["IQL"]
    columns = read(head % "Noisy" + ROW + END).reading.columns
    assert [(column.label, column.known) for column in columns] == [("Noisy BC", False), ("IQL", True)]


def test_of_a_list_with_two_scores_none_is_taken(read):
    with pytest.raises(SpecError):
        read("env,algo,normalized_score,score\nhopper-medium-v2,bc,52.9,1729.0\n", "table.csv")


def test_text_in_a_column_of_siunitx_is_read_as_text(read):
    table = "\\begin{tabular}{lSS}Task & {BC} & {IQL} \\\\ hopper-medium-v2 & {81.7 (3)} & 66.3(3) \\\\" + END
    assert list(cells(read(table)).values()) == [("", ""), ("66.3", "0.3")]


def test_an_average_further_down_does_not_replace_the_one_above(read):
    rows = "hopper-medium-v2 & 1.5 & 2.5 \\\\ walker2d-medium-v2 & 3.5 & 4.5 \\\\ Average & 2.5 & 3.5 \\\\\n"
    again = rows.replace(".5", "0.5")
    group = "\\multicolumn{3}{c}{%s} \\\\\n"
    for label in ("Success", "Training time"):
        found = read(HEAD + group % "Return" + rows + group % label + again + END)
        assert cells(found)["return", "bc"] == ("2.5", "")
        assert found.reading.unread[-1].why == "another average of these rows stands above"
    further = read(
        HEAD + rows + HEAD.partition("\n")[2].replace("BC", "CQL").replace("IQL", "TD3+BC") + again + END
    )
    assert [cells(further)["mujoco", column] for column in ("bc", "cql")] == [("2.5", ""), ("20.5", "")]


def test_an_average_of_which_nothing_tells_what_it_is_over_is_left_out(read):
    rows = "Hopper & & \\\\ medium-v2 & 1.5 & 2.5 \\\\ Walker2d & & \\\\ medium-v2 & 1/2 & 1/2 \\\\\n"
    found = read(HEAD + rows + "Average & 41.3 & 49.4 \\\\" + END)
    assert [cell.why for cell in found.reading.unread[-2:]] == [
        "it is neither the sum nor the average of rows above it"
    ] * 2
    less = read(HEAD + ROW + "Average (w/o hopper) & 41.3 & 49.4 \\\\" + END)
    assert [cell.why for cell in less.reading.unread] == ["it leaves rows out"] * 2


def test_measures_of_a_known_algorithm_are_columns_of_that_name(read):
    text = "| | CQL | CQL |\n|--|--|--|\n| | Return | Score |\n| hopper-medium-v2 | 1872 | 58.5 |\n"
    assert [column.label for column in read(text, "t.md").reading.columns] == ["CQL Return", "CQL Score"]
