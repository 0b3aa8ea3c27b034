"""The results that ship with the project: sound, measured, and shown by the reports as they are.

What ships is what is committed or staged: whoever trains in a checkout adds to the files there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.comparison import compare
from harness.analysis.metrics import reported
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.commands import Commands
from harness.reports import metrics, render
from harness.reports.folder import write_report
from harness.results import artefacts
from harness.results.store import Store
from harness.specs import Specs

ROOT = Path(__file__).parents[2]
REPORTS = {("aspc-table1", "lite"): Path("reports", "aspc-table1", "lite")}
PAGE = Path("reports", "aspc-table1", "README.md")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A folder with the database and the reports as they ship."""
    folder = tmp_path_factory.mktemp("shipped")
    listing = ["git", "ls-files", "-z", "results.db", "reports", "baselines"]
    staged = subprocess.run(listing, cwd=ROOT, capture_output=True)
    if staged.returncode == 0 and staged.stdout:
        command = ["git", "checkout-index", "-z", "--stdin", f"--prefix={folder}/"]
        subprocess.run(command, cwd=ROOT, input=staged.stdout, check=True)
    else:  # no checkout of git's
        shutil.copy(ROOT / "results.db", folder)
        shutil.copytree(ROOT / "reports", folder / "reports")
        shutil.copytree(ROOT / "baselines", folder / "baselines")
    return folder


@pytest.fixture(scope="module")
def store(shipped):
    with Store.open(shipped / "results.db") as opened:
        yield opened


def test_nothing_is_wrong_with_a_database_that_ships(shipped):
    databases = [shipped / "results.db", *(shipped / "baselines").glob("*.db")]
    assert len(databases) > 1
    for database in databases:
        with Store.open(database) as opened:
            assert opened.check() == []
            assert list(artefacts.problems(opened, opened.location.folder("artefacts"))) == []


def test_every_run_was_measured_here_and_says_how(store):
    assert store.check() == []
    runs = store.runs()
    assert runs
    assert {run.status for run in runs.values()} == {"finished"}
    assert {run.origin for run in runs.values()} == {"trained"}
    evaluations = store.evaluations(runs)
    environments = store.fingerprints(run.fingerprint_id for run in runs.values())
    for key, run in runs.items():
        assert evaluations[key][-1].step == run.step
        how = environments[run.fingerprint_id]
        assert re.fullmatch(r"[0-9a-f]{40}", how["git_commit"])
        assert how["git_dirty"] == "false"
        assert all(how[name] != "none" for name in ("torch", "numpy", "gymnasium", "mujoco", "cpu", "device"))


def test_every_run_is_asked_for_by_a_shipped_report(store):
    wanted = {
        run.key
        for table, preset in REPORTS
        for cell in resolve(Specs(), table, Choice(preset=preset)).cells
        for run in cell.runs
    }
    assert set(store.runs()) <= wanted


@pytest.mark.parametrize("which", REPORTS, ids="/".join)
def test_a_report_shows_what_the_database_holds(which, store, shipped, tmp_path):
    """To renew it: ``harness report TABLE --preset PRESET``."""
    table, preset = which
    specs = Specs()
    choice = Choice(preset=preset)
    resolved = resolve(specs, table, choice)
    made = tmp_path / "report"
    write_report(compare(resolved, specs, store), resolved, Commands(table, choice), store, made)
    there = shipped / REPORTS[which]
    names = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    assert {path.relative_to(there) for path in there.rglob("*") if path.is_file()} == names
    for name in names:
        assert content(there / name) == content(made / name), name


def content(path):
    """Of a file, byte by byte; of a PDF without what only the zlib of a machine decides."""
    if path.suffix != ".pdf":
        return path.read_bytes()
    parts = re.split(rb"stream\n(.*?)\nendstream", path.read_bytes(), flags=re.DOTALL)
    # numbers that say how long streams are and where objects lie
    counted = rb"/Length \d+|(?<=obj\n)\d+(?=\nendobj)|\d{10}(?= \d{5} [nf])|(?<=startxref\n)\d+"
    parts[::2] = [re.sub(counted, b"", part) for part in parts[::2]]
    parts[1::2] = map(zlib.decompress, parts[1::2])
    return parts


def test_a_data_card_ships_for_every_dataset_trained_on(shipped):
    """As `harness data show` prints it; it says how the very data were made that the runs' keys name."""
    cells = resolve(Specs(), "aspc-table1", Choice(preset="lite")).cells
    trained = {cell.dataset.id: cell.runs[0] for cell in cells}
    page = (shipped / PAGE).read_text(encoding="utf-8")
    cards = shipped / "reports" / "aspc-table1" / "data"
    assert {path.stem for path in cards.iterdir()} == set(trained)
    for dataset, run in trained.items():
        card = (cards / f"{dataset}.md").read_text(encoding="utf-8")
        for name, value in run.configuration["dataset"].items():
            assert f"| {name} | {value} |" in card
        assert f"[{dataset.rpartition('-')[0]}](data/{dataset}.md)" in page


def test_the_page_shows_where_alpha_ended(store, shipped):
    resolved = resolve(Specs(), "aspc-table1", Choice(preset="lite", algorithms=("aspc",)))
    lines = metrics.markdown(resolved, reported(resolved, store, "alpha"), "alpha").splitlines(keepends=True)
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) > 2
    assert "".join(rows) in (shipped / PAGE).read_text(encoding="utf-8")


def test_the_page_says_which_algorithm_was_ahead(store, shipped):
    specs = Specs()
    resolved = resolve(specs, "aspc-table1", Choice(preset="lite"))
    printed = {(cell.row, cell.column): cell.published.mean for cell in compare(resolved, specs, store).cells}
    scores = {(cell.dataset.id, cell.column.id): _scores(store, cell) for cell in resolved.cells}
    rows = []
    for dataset in dict.fromkeys(dataset for dataset, _ in scores):
        td3_bc, aspc = scores[dataset, "td3_bc"], scores[dataset, "aspc"]
        difference = (aspc - td3_bc).mean(0)
        paper = printed[dataset, "aspc"] - printed[dataset, "td3_bc"]
        lasts = [", ".join(f"{last:.1f}" for last in each[:, -1]) for each in (td3_bc, aspc)]
        ahead = f"{(difference > 0).sum()} of {len(difference)}"
        rows.append(f"| {dataset} | {difference[-1]:+.1f} | {paper:+.1f} | {ahead} | {' | '.join(lasts)} |")
    assert len(rows) == 7
    assert "\n".join(rows) + "\n\n" in (shipped / PAGE).read_text(encoding="utf-8")


def _scores(store, cell):
    """Normalised, (seeds, evaluations)."""
    found = store.evaluations(run.key for run in cell.runs).values()
    return np.array([[cell.dataset.reference.normalise(each.mean_return) for each in run] for run in found])


def test_the_page_shows_every_score_beside_the_papers(store, shipped):
    """To renew it: ``harness table aspc-table1 --preset lite -f markdown --with-published``."""
    specs = Specs()
    comparison = compare(resolve(specs, "aspc-table1", Choice(preset="lite")), specs, store)
    lines = render(comparison, "markdown", with_published=True).splitlines()
    rows = [line for line in lines if re.match(r"\| [a-z0-9]+-", line)]
    assert len(rows) == 7
    assert "\n".join(rows) in (shipped / PAGE).read_text(encoding="utf-8")
