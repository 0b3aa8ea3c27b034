"""The page over all tables of a database."""

import pytest

from harness.analysis.compared import compared_tables
from harness.errors import DataError
from harness.reports.overview import entry, write_overview
from harness.results.store import Store
from harness.specs import Specs


def test_verdicts_and_scores_by_commit(tmp_path, trained):
    path = trained(tmp_path / "now.db")
    with Store.open(path) as store:
        [found] = [
            entry(comparison, store, "page.html")
            for _, comparison in compared_tables(Specs(), store)
            if (comparison.table.id, comparison.preset) == ("aspc-table1", "smoke")
        ]
    [commit] = found.commits
    assert [scored.n for scored in commit.columns if scored] == [4, 4, 4], "two datasets, two seeds each"
    page = write_overview([found], "now.db", tmp_path).read_text(encoding="utf-8")
    assert '<a href="page.html">ASPC, Table 1</a>' in page
    assert "<b>6</b>" in page
    assert f'<th scope="row">{commit.name}</th>' in page


def test_names_are_text(tmp_path):
    assert "Tables in <bdi>&lt;b&gt;</bdi>" in write_overview([], "<b>", tmp_path).read_text(encoding="utf-8")


def test_it_replaces_its_own_page_and_no_other(tmp_path):
    write_overview([], "old.db", tmp_path)
    page = write_overview([], "new.db", tmp_path)
    assert "new.db" in page.read_text(encoding="utf-8")
    page.write_text("by hand", encoding="utf-8")
    with pytest.raises(DataError, match="is of no report"):
        write_overview([], "new.db", tmp_path)
    assert page.read_text(encoding="utf-8") == "by hand"
