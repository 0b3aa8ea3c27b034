"""The results that ship with the project: sound, measured, and shown by the reports as they are."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from harness.analysis.comparison import compare
from harness.analysis.metrics import reported
from harness.planning.cells import resolve
from harness.reports import metrics, render
from harness.reports.folder import write_report
from harness.results.store import Store
from harness.specs import Specs

ROOT = Path(__file__).parents[2]
REPORTS = {("aspc-table1", "lite"): ROOT / "reports" / "aspc-table1" / "lite"}
PAGE = ROOT / "reports" / "aspc-table1" / "README.md"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A copy, so that no test touches the checkout."""
    path = tmp_path_factory.mktemp("shipped") / "results.db"
    shutil.copy(ROOT / "results.db", path)
    with Store.open(path) as opened:
        yield opened


def test_every_run_was_measured_here_and_says_how(store):
    assert store.check() == []
    runs = store.runs()
    assert runs
    assert {run.status for run in runs.values()} == {"finished"}
    assert {run.origin for run in runs.values()} == {"trained"}
    evaluations = store.evaluations(runs)
    environments = store.environments(run.environment_id for run in runs.values())
    for key, run in runs.items():
        assert evaluations[key][-1].step == run.step
        how = environments[run.environment_id]
        assert re.fullmatch(r"[0-9a-f]{40}", how["git_commit"])
        assert how["git_dirty"] == "false"
        assert all(how[name] != "none" for name in ("torch", "numpy", "gymnasium", "mujoco", "cpu", "device"))


def test_every_run_is_asked_for_by_a_shipped_report(store):
    wanted = {
        run.key
        for table, preset in REPORTS
        for cell in resolve(Specs(), table, preset=preset).cells
        for run in cell.runs
    }
    assert set(store.runs()) <= wanted


@pytest.mark.parametrize("which", REPORTS, ids="/".join)
def test_a_report_shows_what_the_database_holds(which, store, tmp_path):
    """To renew it: ``harness report TABLE --preset PRESET -o reports/TABLE/PRESET``."""
    table, preset = which
    specs = Specs()
    resolved = resolve(specs, table, preset=preset)
    made = tmp_path / "report"
    write_report(compare(resolved, specs, store), resolved, specs, store, made)
    names = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    assert {path.relative_to(REPORTS[which]) for path in REPORTS[which].rglob("*") if path.is_file()} == names
    for name in names:
        assert (REPORTS[which] / name).read_bytes() == (made / name).read_bytes(), name


def test_the_page_shows_where_alpha_ended(store):
    resolved = resolve(Specs(), "aspc-table1", preset="lite", columns="aspc")
    assert metrics.markdown(resolved, reported(resolved, store, "alpha")) in PAGE.read_text(encoding="utf-8")


def test_the_page_shows_every_score_beside_the_papers(store):
    """To renew it: ``harness table aspc-table1 --preset lite -f markdown --with-published``."""
    specs = Specs()
    comparison = compare(resolve(specs, "aspc-table1", preset="lite"), specs, store)
    lines = render(comparison, "markdown", with_published=True).splitlines()
    rows = [line for line in lines if re.match(r"\| [a-z0-9]+-", line)]
    assert len(rows) == 7
    assert "\n".join(rows) in PAGE.read_text(encoding="utf-8")
