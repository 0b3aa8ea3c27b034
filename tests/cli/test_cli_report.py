from __future__ import annotations

from harness.errors import DataError


def test_report_writes_a_folder_and_says_where(cli, scores, elsewhere):
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    done = cli("report", "aspc-table1", "--datasets", "hopper-medium-*")
    assert (done.code, done.out) == (0, "reports/aspc-table1/index.html\n")
    assert "hopper-medium-v2" in (elsewhere / "reports/aspc-table1/table.md").read_text(encoding="utf-8")


def test_a_preset_has_a_folder_of_its_own(cli, scores, elsewhere):
    """Numbers of a preset never take the place of the table's own."""
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    done = cli("report", "aspc-table1", "--preset", "smoke", "--db", "results.db")
    assert (done.code, done.out) == (0, "reports/aspc-table1-smoke/index.html\n")
    assert "nothing of this is measured yet" in done.err
    assert "smoke protocol" in (elsewhere / "reports/aspc-table1-smoke/index.html").read_text(
        encoding="utf-8"
    )


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
