from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.errors import DataError
from harness.reports.folder import default_folder, refuse_foreign
from harness.specs import Specs

ROOT = Path(harness.__file__).parents[1]


def test_report_writes_a_folder_and_says_where(cli, scores, elsewhere):
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    done = cli("report", "aspc-table1", "--datasets", "hopper-medium-*")
    assert (done.code, done.out) == (0, "reports/aspc-table1/full/index.html\n")
    assert "hopper-medium-v2" in (elsewhere / "reports/aspc-table1/full/table.md").read_text(encoding="utf-8")


def test_a_preset_has_a_folder_of_its_own(cli, scores, elsewhere):
    """Numbers of a preset never take the place of the table's own."""
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    done = cli("report", "aspc-table1", "--preset", "smoke", "--db", "results.db")
    assert (done.code, done.out) == (0, "reports/aspc-table1/smoke/index.html\n")
    assert "nothing of this is measured yet" in done.err
    page = (elsewhere / "reports/aspc-table1/smoke/index.html").read_text(encoding="utf-8")
    assert "smoke protocol" in page


@pytest.mark.parametrize("preset", [None, *Specs().ids("presets")])
def test_default_folders_are_free_in_a_checkout(preset):
    """Or have a report, which a new one replaces."""
    for table in Specs().ids("tables"):
        folder = ROOT / default_folder(table, preset)
        assert not folder.exists() or (folder / "index.html").exists()
        refuse_foreign(folder)


def test_what_lies_beside_a_report_is_left_alone(cli, scores, elsewhere):
    page = elsewhere / "reports" / "aspc-table1" / "README.md"
    page.parent.mkdir(parents=True)
    page.write_text("by hand")
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    assert cli("report", "aspc-table1").code == 0
    assert page.read_text() == "by hand"


def test_the_working_folder_is_not_replaced(cli, scores, elsewhere):
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    done = cli("report", "aspc-table1", "-o", ".")
    assert done.code == DataError.exit_code
    assert (elsewhere / "results.db").exists()


def test_table_as_html(cli, scores, elsewhere):
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    page = cli("table", "aspc-table1", "-f", "html").out
    assert page.startswith("<!doctype html>")
    assert "hopper-medium-v2" in page


def test_figures_are_drawn_each_with_its_data(cli, elsewhere, trained):
    trained("some.db")
    choice = ("--preset", "smoke", "--db", "some.db", "-o", "pictures")
    drawn = cli("figure", "aspc-table1", "aggregates,curves", "efficiency", "--format", "svg", *choice)
    assert drawn.code == 0
    assert drawn.out.split() == [f"pictures/{name}.svg" for name in ("aggregates", "curves", "efficiency")]
    assert {path.suffix for path in (elsewhere / "pictures").iterdir()} == {".svg", ".csv"}


def test_figures_that_need_curves_where_there_are_only_finals(cli, elsewhere, scores):
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    result = cli("figure", "aspc-table1", "curves", "scatter", "-o", "pictures")
    assert result.code == 3
    assert result.out.split() == ["pictures/scatter.pdf"]
    assert "error: curves needs a scored run with two evaluations" in result.err


@pytest.mark.parametrize("wrong", [("--width", "0"), ("--palette", "no"), ("--level", "2")])
def test_figures_refuse_what_makes_no_sense(cli, wrong):
    result = cli("figure", "aspc-table1", "curves", "-o", "x", *wrong)
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 1 or "No such option" in result.err


def test_all_tables_have_a_page_and_an_index(cli, trained, elsewhere, monkeypatch):
    monkeypatch.setattr("harness.reports.folder.illustrations", lambda *_: ())  # slow, and tested elsewhere
    trained(elsewhere / "some.db")
    done = cli("report", "--all", "--db", "some.db")
    assert (done.code, done.out) == (0, "reports/index.html\n")
    assert (elsewhere / "reports/aspc-table1/smoke/index.html").exists()
    assert "aspc-table1/smoke/index.html" in (elsewhere / "reports/index.html").read_text(encoding="utf-8")


def test_a_report_is_of_one_table_or_of_all(cli, elsewhere):
    assert cli("report").code == cli("report", "aspc-table1", "--all").code == 2


def test_all_tables_are_not_narrowed_in_silence(cli, elsewhere):
    done = cli("report", "--all", "--datasets", "hopper-*")
    assert done.code == 2
    assert "reports tables and presets whole" in done.err
