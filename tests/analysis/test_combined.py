"""Tables with several protocols, sums, means of columns, printed columns and online runs, in every format."""

from __future__ import annotations

import json
import math
import statistics

import pytest

from harness.analysis.audit import audit
from harness.analysis.comparison import compare
from harness.analysis.history import histories
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.reports import render, render_diff
from harness.reports.figures import illustrations
from harness.reports.page import html_table
from harness.reports.wording import notes as render_notes
from harness.results.records import EvaluationRecord
from harness.results.store import Store
from harness.specs import Specs
from harness.specs.validation import validate

ROWS = {"locomotion": ("hopper-medium-v2", "walker2d-medium-v2"), "mazes": ("maze2d-umaze-v1",)}
TABLE = """
id: both
version: 1
title: Both
paper: {title: P, authors: A, year: 2026}
lineage: d4rl
protocol: short
groups:
  - id: locomotion
    label: Locomotion
    datasets: [hopper-medium-v2, walker2d-medium-v2]
    average: Avg
    sum: Sum
  - {id: mazes, label: Mazes, datasets: [maze2d-umaze-v1], protocol: long}
columns:
  - {id: bcq, label: BCQ, printed_only: true}
  - {id: td3_bc, label: TD3+BC, algorithm: td3_bc}
  - {id: aspc, label: ASPC, algorithm: aspc, protocol: {maze2d-*: longest}}
  - {id: two, label: Two, mean_of: [td3_bc, aspc]}
  - {id: online, label: Online, algorithm: td3_bc, protocol: online}
published: {file: ../published/both.csv, seeds: 2, ddof: 1}
"""
PRINTED = """row,column,mean,std,low,high,before_mean,before_std,source,note
hopper-medium-v2,bcq,50.0,,,,,,copied,
walker2d-medium-v2,bcq,52.0,,,,,,copied,
maze2d-umaze-v1,bcq,12.5,,,,,,copied,
locomotion:sum,bcq,102.0,,,,,,copied,
hopper-medium-v2,td3_bc,40.0,1.0,,,,,own,
walker2d-medium-v2,td3_bc,60.0,1.0,,,,,own,
maze2d-umaze-v1,td3_bc,30.0,1.0,,,,,own,
locomotion:sum,td3_bc,103.0,,95.0,111.0,,,own,
hopper-medium-v2,aspc,50.0,1.0,,,,,own,
walker2d-medium-v2,aspc,70.0,1.0,,,,,own,
maze2d-umaze-v1,aspc,31.0,1.0,,,,,own,
locomotion:sum,aspc,120.0,,,,,,own,
hopper-medium-v2,two,45.0,,,,,,own,
walker2d-medium-v2,two,66.0,,,,,,own,
maze2d-umaze-v1,two,30.5,,,,,,own,
hopper-medium-v2,online,90.0,2.0,,,40.0,1.5,own,
walker2d-medium-v2,online,,,,,,,own,
maze2d-umaze-v1,online,,,,,,,own,
"""
PROTOCOLS = {
    "short": "steps: 100\nevaluate_every: 50\nseeds: [0, 1, 2]",
    "long": "steps: 200\nevaluate_every: 100\nseeds: [0, 1]\nscore: mean_last\nlast_k: 2",
    "longest": "steps: 300\nevaluate_every: 100\nseeds: [0, 1]",
    "online": "interactions: 80\ngather: {warmup: 10}\nevaluate_every: 40\nseeds: [0, 1, 2]",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("specs")
    for kind in ("tables", "protocols", "published"):
        (root / kind).mkdir()
    (root / "tables" / "both.yaml").write_text(TABLE.lstrip())
    (root / "published" / "both.csv").write_text(PRINTED)
    for name, text in PROTOCOLS.items():
        (root / "protocols" / f"{name}.yaml").write_text(f"id: {name}\ndescription: x\nepisodes: 1\n{text}\n")
    return root


@pytest.fixture(scope="module")
def specs(folder):
    return Specs([folder])


def score(cell, seed, step):
    """Made up; different in every cell."""
    base = {"hopper-medium-v2": 40, "walker2d-medium-v2": 60, "maze2d-umaze-v1": 30}[cell.dataset.id]
    more = {"td3_bc": 0, "aspc": 10, "online": 50 if step else 0}[cell.column.id]
    return base + more + seed / 2 + step / 1000


@pytest.fixture(scope="module")
def world(specs, tmp_path_factory):
    resolved = resolve(specs, "both")
    with Store.open(tmp_path_factory.mktemp("db") / "results.db", create=True) as store:
        store.register(run for cell in resolved.cells for run in cell.runs)
        for cell in resolved.cells:
            keys = [run.key for run in cell.runs]
            store.claim(keys)
            store.record_fingerprint(keys, {"torch": "2"}, "alone")
            store.record_evaluations(
                [
                    EvaluationRecord(
                        run.key, step, [cell.dataset.reference.raw(score(cell, run.seed, step))], [1]
                    )
                    for run in cell.runs
                    for step in cell.protocol.evaluations()
                ]
            )
            store.finish(keys, 1.0, 1.0)
        yield resolved, store, compare(resolved, specs, store)


@pytest.fixture(scope="module")
def comparison(world):
    return world[2]


def cells(comparison):
    return {(cell.row, cell.column): cell for row in comparison.rows for cell in row.cells}


def test_the_specs_are_right(specs):
    assert validate(specs, ["both"]) == []


def test_the_narrowest_protocol_wins(specs):
    found = {(c.dataset.id, c.column.id): c.protocol for c in resolve(specs, "both").cells}
    assert {key: protocol.id for key, protocol in found.items()} == {
        **{(row, "online"): "online" for rows in ROWS.values() for row in rows},
        **{(row, column): "short" for row in ROWS["locomotion"] for column in ("td3_bc", "aspc")},
        ("maze2d-umaze-v1", "td3_bc"): "long",
        ("maze2d-umaze-v1", "aspc"): "longest",
    }
    assert list(found["hopper-medium-v2", "online"].evaluations()) == [0, 40, 80]
    assert list(found["hopper-medium-v2", "aspc"].evaluations()) == [50, 100]


def test_a_key_holds_what_its_protocol_says(specs):
    found = {
        (c.dataset.id, c.column.id): c.runs[0].configuration["protocol"] for c in resolve(specs, "both").cells
    }
    assert found["hopper-medium-v2", "aspc"] == {"steps": 100, "evaluate_every": 50, "episodes": 1}
    assert found["hopper-medium-v2", "online"] == {
        "interactions": 80,
        "gather": {"every": 1, "warmup": 10, "keep": "all", "explore": "sample"},
        "evaluate_every": 40,
        "episodes": 1,
    }


def test_each_protocol_counts_for_its_own_cells(comparison):
    found = cells(comparison)
    assert found["hopper-medium-v2", "td3_bc"].mean == pytest.approx(40 + 0.5 + 0.1)
    assert found["maze2d-umaze-v1", "td3_bc"].mean == pytest.approx(30 + 0.25 + 0.15)  # of 100 and 200
    assert found["maze2d-umaze-v1", "aspc"].mean == pytest.approx(40 + 0.25 + 0.3)
    assert found["maze2d-umaze-v1", "aspc"].wanted == 2
    notes = [note.text for note in render_notes(comparison) if note.title == "Protocol"]
    assert [note.partition(":")[0] for note in notes] == [
        "short (Locomotion under TD3+BC, ASPC)",
        "online (Online)",
        "long (Mazes under TD3+BC)",
        "longest (Mazes under ASPC)",
    ]


def test_a_sum_is_taken_seed_by_seed_and_judged_as_a_mean(comparison):
    found = cells(comparison)["locomotion:sum", "td3_bc"]
    sums = [100.2 + seed for seed in range(3)]
    assert [item.score for item in found.scores] == pytest.approx(sums)
    assert (found.mean, found.std) == pytest.approx((statistics.fmean(sums), 1.0))
    half = 4.302653 * 1.0 / math.sqrt(3)  # Student's t of three seeds, for the mean over seeds
    assert (found.interval.low, found.interval.high) == pytest.approx((101.2 - half, 101.2 + half))
    assert found.difference == pytest.approx(101.2 - 103)
    assert found.verdict.margin == 4.0  # two points for each of the two numbers
    average = cells(comparison)["locomotion", "td3_bc"]
    assert found.mean == pytest.approx(2 * average.mean)


def test_a_mean_of_columns_and_printed_numbers(comparison):
    found = cells(comparison)
    two = found["walker2d-medium-v2", "two"]
    assert [item.score for item in two.scores] == pytest.approx([65.1, 65.6, 66.1])
    assert (two.n, two.wanted, two.unavailable, two.verdict.mark) == (3, 3, None, "OK")
    alone = found["walker2d-medium-v2", "bcq"]
    assert (alone.mean, alone.wanted, alone.unavailable, alone.verdict.mark) == (None, 0, None, "PRINTED")
    assert comparison.counts[alone.verdict.kind] == 3


def test_what_online_runs_were_before(comparison):
    found = cells(comparison)["hopper-medium-v2", "online"]
    assert (found.before.mean, found.before.std) == (pytest.approx(40.5), pytest.approx(0.5))
    assert found.mean == pytest.approx(90.58)
    assert cells(comparison)["hopper-medium-v2", "td3_bc"].before is None


def test_every_format_shows_all_that(comparison):
    markdown = render(comparison, "markdown", with_published=True)
    assert r"40.5 ± 0.5 → 90.6 ± 0.5** OK\* \[40.0 ± 1.5 → 90.0 ± 2.0\]" in markdown
    assert r"101.2 ± 1.0 (98.7 to 103.7) OK\* \[103.0 (95.0 to 111.0)\]" in markdown
    assert r"| hopper-medium-v2 | \[50.0\] |" in markdown
    latex = render(comparison, "latex")
    assert r"40.5 ± 0.5 $\to$ \textbf{90.6} & $\pm$\,\textbf{0.5}" in latex.replace(r"\ensuremath{\pm}", "±")
    row, below = [line for line in latex.splitlines() if "101.2" in line or "(98.7 to 103.7)" in line]
    assert r"101.2 & $\pm$\,1.0" in row
    assert "(98.7 to 103.7)" in below
    assert "40.5 ± 0.5 → 90.6 ± 0.5 (3)" in render_diff(comparison, "markdown")
    document = json.loads(render(comparison, "json"))
    [group, _] = document["groups"]
    assert [row["kind"] for row in group["summaries"]] == ["average", "sum"]
    assert {protocol["id"] for protocol in document["protocols"]} == set(PROTOCOLS)
    lines = render(comparison, "csv").splitlines()
    [line] = [line for line in lines if ",locomotion:sum,td3_bc," in line]
    assert ",95.0,111.0," in line
    html = html_table(comparison)
    assert "40.5 ± 0.5 → 90.6 ± 0.5" in html
    assert "no implementation" not in markdown + html


def test_printed_sums_and_means_of_columns_are_added_up_again(specs):
    sentences = [finding.sentence for finding in audit(specs.table("both"), specs)]
    assert "TD3+BC, Sum: 103.0 is printed, the printed cells add up to 100." in sentences
    assert not any(sentence.startswith(("BCQ, Sum", "ASPC, Sum")) for sentence in sentences)
    [two] = [sentence for sentence in sentences if sentence.startswith("Two")]
    assert two == (
        "Two, walker2d-medium-v2: 66.0 is printed, the printed numbers of TD3+BC and ASPC give 65."
    )


def test_asking_for_a_mean_alone_trains_what_it_is_a_mean_of(specs):
    resolved = resolve(specs, "both", Choice(algorithms=("two",)))
    assert [column.id for column in resolved.table.columns] == ["two"]
    assert {cell.column.id for cell in resolved.cells} == {"td3_bc", "aspc"}


def test_steps_shorten_both_kinds(specs):
    resolved = resolve(specs, "both", Choice(steps=40))
    assert {protocol.length for protocol in resolved.protocols} == {40}
    reasons = {cell.incomparable for cell in resolved.cells}
    assert ("40 of 80 interactions",) in reasons
    assert ("40 of 100 steps",) in reasons


def test_curves_of_steps_and_of_interactions_have_panels_of_their_own(world):
    resolved, store, comparison = world
    [item] = illustrations(comparison, lambda: histories(resolved, comparison, store), ["curves"])
    panels = {(place.dataset, place.over) for place in item.data.itertuples()}
    assert len(item.figure.axes) == len(panels)
    assert {over for _, over in panels} == {"training steps", "environment interactions"}
    assert {axes.get_xlabel() for axes in item.figure.axes} == {"training steps", "environment interactions"}
