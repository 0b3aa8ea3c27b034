"""Reading the CSV files of printed numbers."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cli.listing import _printed
from harness.errors import SpecError
from harness.reports.wording import published
from harness.specs.published import LoneChange, PublishedCell, read_listing

HEADER = "row,column,mean,std,n,ddof,source,note\n"
GOOD = "a,x,10.6,0.7,,,own,\n"


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(content):
    path = Path("t.csv")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def message(content):
    with pytest.raises(SpecError) as caught:
        read_listing(write(content), 4, 1, rows=["a", "b", "total"], columns=["x", "y"])
    return str(caught.value)


def test_defaults_and_overrides():
    cells = read_listing(
        write(HEADER + GOOD + 'b,y,-8.9,6.1,10,0,copied,"a note, with ""quotes"""\ntotal,x,1,,,,unknown,\n'),
        4,
        1,
    )
    assert cells == {
        ("a", "x"): PublishedCell("a", "x", 10.6, 0.7, 4, 1, "own", ""),
        ("b", "y"): PublishedCell("b", "y", -8.9, 6.1, 10, 0, "copied", 'a note, with "quotes"'),
        ("total", "x"): PublishedCell("total", "x", 1.0, None, 4, 1, "unknown", ""),
    }


def test_n_and_ddof_may_be_left_out_and_columns_stand_in_any_order():
    cells = read_listing(write("note,source,std,mean,column,row\r\n\r\n,own,1,2,x,a\r\n"), 3, 0)
    assert cells == {("a", "x"): PublishedCell("a", "x", 2.0, 1.0, 3, 0, "own", "")}


def test_a_cell_that_the_paper_leaves_empty():
    path = write(HEADER + "a,x,,,,,own,not printed\n")
    assert read_listing(path, 4, 1) == {("a", "x"): None}


def test_a_change_that_is_printed_alone():
    path = write("row,column,mean,std,change,source,note\na,x,,,-5.0,own,\na,y,,,,own,\n")
    assert read_listing(path, 4, 1) == {("a", "x"): LoneChange("-5.0"), ("a", "y"): None}


def test_digits_and_changes_are_kept_as_printed():
    text = "row,column,mean,std,change,source,note\n"
    lines = "a,x,62.0,3,-0.2,own,\na,y,57,,16.80,own,\nb,x,1.5e1,0.25,,own,\n"
    cells = read_listing(write(text + lines), 4, 1).values()
    assert [(cell.decimals, cell.std_decimals, cell.change) for cell in cells] == [
        (1, 0, "-0.2"),
        (0, 1, "16.80"),
        (0, 2, ""),
    ]


def test_ends_and_scores_before_keep_their_own_digits():
    text = "row,column,mean,std,low,high,before_mean,before_std,source,note\n"
    [cell] = read_listing(write(text + "a,x,1150.0,2,1111,1188.25,3,0.50,own,\n"), 4, 1).values()
    assert _printed(cell) == "3 ± 0.50 → 1150.0 ± 2 (1111 to 1188.25)"
    shown = SimpleNamespace(published=cell)
    assert published(shown) == "3 ± 0.50 → 1150.0 ± 2 (1111 to 1188.25)"


def test_a_byte_order_mark_is_no_part_of_the_first_column():
    assert ("a", "x") in read_listing(write(("\ufeff" + HEADER + GOOD).encode()), 4, 1)


BAD = [
    ("", "t.csv:1:1: the file is empty"),
    ("\n\n", "t.csv:1:1: the file is empty"),
    (b"row,column\n\xff", "t.csv:2:1: byte 0xff is not UTF-8"),
    ("row,column,mean,std,source\n", "t.csv:1: column 'note' is missing"),
    ('""\n', "t.csv:1:1: the file is empty"),
    (',""\n', "t.csv:1: column '' stands twice"),
    (HEADER.replace("ddof", "dof"), "t.csv:1: unknown column 'dof'; allowed: row,"),
    (HEADER.replace("ddof", "mean"), "t.csv:1: column 'mean' stands twice"),
    (HEADER + "a,x,10,6,0.7,,,own,\n", "t.csv:2: 9 values for 8 columns; write a decimal point as '.'"),
    (HEADER + "a,x,1\n", "t.csv:2: 3 values for 8 columns"),
    (
        HEADER + 'a,x,"10,6",0.7,,,own,\n',
        "t.csv:2: mean: '10,6' is no number; write the decimal point as '.'",
    ),
    (HEADER + 'a,x,1,"0,7",,,own,\n', "t.csv:2: std: '0,7' is no number; write the decimal point as '.'"),
    (HEADER + "a,x,ten,0.7,,,own,\n", "t.csv:2: mean: 'ten' is no number"),
    (HEADER + "a,x,nan,0.7,,,own,\n", "t.csv:2: mean: 'nan' is no number"),
    (HEADER + "a,x,1_0,0.7,,,own,\n", "t.csv:2: mean: '1_0' is no number"),
    (HEADER + "a,x,1,-0.7,,,own,\n", "t.csv:2: std: a standard deviation is not negative"),
    (HEADER + "a,x,,0.7,,,own,\n", "t.csv:2: mean: a standard deviation without a mean"),
    (HEADER + "a,x,1,0.7,0,,own,\n", "t.csv:2: n: should be a whole number above 0, got '0'"),
    (HEADER + "a,x,1,0.7,4,2,own,\n", "t.csv:2: ddof: should be 0 or 1, got '2'"),
    (
        HEADER + "a,x,1,0.7,,,mine,\n",
        "t.csv:2: source: should be 'own', 'copied' or 'unknown', got 'mine'",
    ),
    (HEADER + "a,x,1,0.7,,,,\n", "t.csv:2: source: should be 'own', 'copied' or 'unknown', got ''"),
    (HEADER + GOOD + GOOD, "t.csv:3: cell a, x stands twice, first in line 2"),
    (HEADER + 'a,x,1,0.7,,,own,"two\nlines"\na,y,ten,,,,own,\n', "t.csv:4: mean: 'ten' is no number"),
    (HEADER + 'a,x,1,0.7,,,own,"two\nlines",\n', "t.csv:2: 9 values for 8 columns"),
    (HEADER + "c,x,1,0.7,,,own,\n", "t.csv:2: row: the table has no row 'c'"),
    (HEADER + "totl,x,1,0.7,,,own,\n", "t.csv:2: row: the table has no row 'totl'; did you mean 'total'?"),
    (HEADER + "a,z,1,0.7,,,own,\n", "t.csv:2: column: the table has no column 'z'; it has x, y"),
    (HEADER + ",x,1,0.7,,,own,\n", "t.csv:2: row: is missing"),
    (HEADER + 'a,x,1,0.7,,,own,"open\n', "t.csv:2: no valid CSV: unexpected end of data"),
    (HEADER + 'a,x,1,0.7,,,own,"5" tall\n', "t.csv:2: no valid CSV: ',' expected after '\"'"),
    (
        "row,column,mean,std,change,source,note\na,x,1,1,12.8 %,own,\n",
        "t.csv:2: change: should be per cent without the % sign, as 12.8, got '12.8 %'",
    ),
    (
        'row,column,mean,std,change,source,note\na,x,1,1,"12,8",own,\n',
        "t.csv:2: change: should be per cent without the % sign, as 12.8, got '12,8'",
    ),
    ("row,column,std,source,note\na,x,1,own,\n", "t.csv:1: column 'mean' is missing"),
    (HEADER + 'a,x,1,1,,,own,"two\nlines"\nb,x,ten,1,,,own,\n', "t.csv:4: mean: 'ten' is no number"),
]


@pytest.mark.parametrize(("content", "start"), BAD)
def test_bad_files(content, start):
    assert message(content).splitlines()[0].startswith(start)


def test_all_errors_at_once():
    text = message(HEADER + "a,x,ten,-1,,,own,\nc,y,1,1,,,own,\n")
    assert [line.split(" ")[0] for line in text.splitlines()] == ["t.csv:2:", "t.csv:2:", "t.csv:3:"]


def test_a_missing_file():
    with pytest.raises(SpecError, match=r"^none\.csv:1:1: cannot read none\.csv: No such file"):
        read_listing(Path("none.csv"), 4, 1)


@settings(max_examples=50)
@given(
    notes=st.lists(st.text(alphabet='aé",\n ', max_size=12), max_size=6),
    mean=st.decimals(-999, 999, places=1),
)
def test_notes_of_any_text_come_back_and_move_no_position(notes, mean):
    rows = [f'r{i},x,{mean},,,,own,"{note.replace(chr(34), chr(34) * 2)}"\n' for i, note in enumerate(notes)]
    cells = read_listing(write(HEADER + "".join(rows)), 4, 1)
    assert [cell.note for cell in cells.values()] == notes
    assert all(cell.mean == float(mean) for cell in cells.values())
    text = HEADER + "".join(rows)
    with pytest.raises(SpecError) as caught:
        read_listing(write(text + "last,x,WRONG,,,,own,\n"), 4, 1)
    assert str(caught.value).startswith(f"t.csv:{text.count(chr(10)) + 1}: mean: 'WRONG'")
