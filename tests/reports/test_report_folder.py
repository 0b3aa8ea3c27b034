from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from harness.analysis.comparison import compare
from harness.analysis.history import histories
from harness.errors import DataError
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.commands import Commands
from harness.reports import folder as report
from harness.results.records import EvaluationRecord
from harness.results.store import Store
from harness.specs import Specs

NAMES = ["figures", "index.html", "table.csv", "table.md", "table.tex"]
RETURNS = {500: 1000.0, 1000: 2000.0}


@pytest.fixture(scope="module")
def specs():
    return Specs()


@pytest.fixture(scope="module")
def resolved(specs):
    return resolve(
        specs, "aspc-table1", Choice(datasets=("hopper-medium-v2",), algorithms=("[ta]*",), steps=1000)
    )


@pytest.fixture(scope="module")
def store(resolved, tmp_path_factory):
    """ASPC has two of four seeds, a third has failed; the others were never begun."""
    with Store.open(tmp_path_factory.mktemp("db") / "results.db", create=True) as opened:
        (runs,) = [cell.runs for cell in resolved.cells if cell.column.id == "aspc"]
        opened.register(runs)
        first, second, third = opened.claim([run.key for run in runs[:3]])
        opened.record_fingerprint([first, second], {"device": "cpu", "git_commit": "c" * 40}, "p")
        opened.record_evaluations(
            [
                EvaluationRecord(key, step, [value], [9])
                for key in (first, second)
                for step, value in RETURNS.items()
            ]
        )
        opened.record_metrics(1000, {first: {"alpha": 2.5, "broken": float("nan")}})
        opened.finish([first, second], 60.0, 30.0)
        opened.fail(third, 500, "Traceback (most recent call last):\n  ...\nDivergedError: loss is NaN\n")
        yield opened


@pytest.fixture
def write(specs, resolved, store):
    def run(folder, table=resolved):
        command = Commands("aspc-table1", Choice(steps=1000))
        report.write_report(compare(table, specs, store), table, command, store, folder)
        return folder

    return run


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cells(folder):
    page = (folder / "index.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    return {cell["id"]: cell for cell in data["cells"]}


def test_a_report_is_whole_and_the_same_whenever_it_is_written(write, tmp_path):
    one, other = write(tmp_path / "deep" / "one"), write(tmp_path / "other")
    assert sorted(path.name for path in one.iterdir()) == NAMES
    assert contents(one) == contents(other)
    assert {Path(name).suffix for name in contents(one / "figures")} == {".svg", ".pdf"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "other"]
    assert str(tmp_path) not in (one / "index.html").read_text(encoding="utf-8")


def test_a_cell_shows_its_runs(write, tmp_path, resolved):
    cell = cells(write(tmp_path / "r"))["hopper-medium-v2/aspc"]
    done, _, failed = cell["seeds"]
    reference = resolved.cells[0].dataset.reference
    scores = [
        100 * (value - reference.minimum) / (reference.maximum - reference.minimum)
        for value in RETURNS.values()
    ]
    assert done["scores"] == pytest.approx(scores, abs=0.05)
    assert done["score"] == f"{scores[-1]:.1f}"
    assert (done["status"], done["wall"], done["environment"]) == ("finished", "60 s", "E1")
    assert (failed["status"], failed["score"]) == ("failed; at step 500: DivergedError: loss is NaN", "–")


def test_the_command_asks_for_the_same_cell(write, tmp_path, resolved, specs):
    """What the page says to type resolves to the very runs of the cell."""
    found = cells(write(tmp_path / "r"))["hopper-medium-v2/aspc"]["command"]
    _, verb, table, *options = shlex.split(found)
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert verb == "reproduce"
    again = resolve(
        specs,
        table,
        Choice(
            datasets=(given["--datasets"],), algorithms=(given["--algorithms"],), steps=int(given["--steps"])
        ),
    )
    assert [cell.runs for cell in again.cells] == [
        cell.runs for cell in resolved.cells if cell.column.id == "aspc"
    ]


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({}, []),
        ({"preset": "smoke"}, ["--preset", "smoke"]),
        ({"preset": "smoke", "steps": 7}, ["--preset", "smoke", "--steps", "7"]),
        ({"lineage": "minari"}, ["--data", "minari"]),
    ],
)
def test_the_command_repeats_the_options(options, more):
    command = Commands("aspc-table1", Choice(**options), (Path("my specs"),)).of("d", "a")
    expected = {*zip(more[::2], more[1::2], strict=True), ("--datasets", "d"), ("--algorithms", "a")}
    harness, option, folder, verb, table, *rest = shlex.split(command("reproduce"))
    assert (harness, option, folder, verb, table) == (
        "harness",
        "--specs",
        "my specs",
        "reproduce",
        "aspc-table1",
    )
    assert set(zip(rest[::2], rest[1::2], strict=True)) == expected


def test_an_earlier_report_is_replaced(write, tmp_path, specs):
    folder = write(tmp_path / "r")
    (folder / "figures" / "old.svg").write_text("old")
    write(
        folder,
        resolve(
            specs, "aspc-table1", Choice(datasets=("hopper-medium-v2",), algorithms=("aspc",), steps=1000)
        ),
    )
    assert "figures/old.svg" not in contents(folder)
    with (folder / "table.csv").open(encoding="utf-8") as file:
        assert {row["column"] for row in csv.DictReader(file)} == {"aspc"}
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("foreign", ["thesis.tex", "figures/photo.png"])
def test_other_peoples_files_stay(write, tmp_path, foreign):
    path = tmp_path / "r" / foreign
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(DataError, match=path.name):
        write(tmp_path / "r")
    assert contents(tmp_path) == {f"r/{foreign}": b"mine"}


def test_a_file_in_the_way_stays(write, tmp_path):
    (tmp_path / "r").write_text("mine")
    with pytest.raises(DataError, match="a file"):
        write(tmp_path / "r")
    assert (tmp_path / "r").read_text() == "mine"


def test_a_report_that_fails_half_way_leaves_the_old_one(write, tmp_path, monkeypatch):
    before = contents(write(tmp_path / "r"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "html_report", full)
    with pytest.raises(DataError, match="No space left"):
        write(tmp_path / "r")
    assert contents(tmp_path / "r") == before
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_pictures_beyond_the_budget_are_linked(write, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_EMBEDDED", 10)
    page = (write(tmp_path / "r") / "index.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert 'href="figures/curves.svg"' in page


def test_histories_hold_what_was_recorded_and_no_run_that_was_not_begun(specs, resolved, store):
    comparison = compare(resolved, specs, store)
    found = histories(resolved, comparison, store)
    first, second, failed = found["hopper-medium-v2", "aspc"]
    assert found["hopper-medium-v2", "td3_bc"] == ()
    assert dict(first.metrics) == {"alpha": ((1000, 2.5),)}
    assert (second.metrics, failed.curve, failed.score) == ({}, (), None)
    assert [step for step, _ in first.curve] == [500, 1000]
    assert first.curve[-1][1] == first.score
