"""The audit of printed intervals: what is known of the SSAR paper's, no false alarms, and planted slips."""

from __future__ import annotations

import math
import random
from statistics import fmean, stdev

import pytest
from scipy.stats import t as student_t

from harness.analysis.audit import audit, examine
from harness.analysis.audit.sheet import Sheet
from harness.specs import PublishedCell, Specs, models

KINDS = ("interval off centre", "interval too wide", "interval of a mean", "interval not explained")
LOCOMOTION, ANTMAZE = "locomotion:sum", "antmaze:sum"
SA = ("td3_bc_sa", "cql_sa")
# table -> kind, rows, columns, and what the sentence says
KNOWN = {
    "ssar-offline": [
        ("interval off centre", (LOCOMOTION,), ("cql",), "40.0 down and 39.7 up"),
        ("interval off centre", (LOCOMOTION,), ("mean",), "78.1 down and 63.0 up"),
        (
            "interval too wide",
            (LOCOMOTION, ANTMAZE),
            ("td3_bc", "cql"),
            "82.9, 53.65, 39.85, 63.2 are Student's t of 5 seeds, 2.776",
        ),
        ("interval of a mean", (LOCOMOTION,), ("mean",), "70.55; those of the 2 columns give 46.0"),
        ("interval of a mean", (ANTMAZE,), ("mean",), "82.85 is the root of the summed squares"),
        ("interval of a mean", (ANTMAZE,), ("mean_sa",), "or 77.7 if that is not divided by 2"),
        ("interval of a mean", (LOCOMOTION,), ("mean_sa",), "34.8 is the root of the summed squares"),
        ("interval not explained", (LOCOMOTION, ANTMAZE), SA, "2.13, 1.66, 2.50, 3.00 times"),
    ],
    "ssar-online": [
        ("interval off centre", (LOCOMOTION,), ("spot",), "14.0 down and 14.3 up"),
        ("interval off centre", (ANTMAZE,), ("spot",), "74.1 down and 75.9 up"),
        ("interval off centre", (LOCOMOTION,), ("cql",), "9.5 down and 11.7 up"),
        ("interval off centre", (LOCOMOTION,), ("td3_bc_sa",), "53.2 down and 30.3 up"),
        ("interval off centre", (LOCOMOTION,), ("cql_sa",), "23.5 down and 25.1 up"),
        ("interval off centre", (ANTMAZE,), ("cql_sa",), "78.7 down and 79.1 up"),
        ("interval not explained", (LOCOMOTION, ANTMAZE), SA, "3.28, 1.63, 2.68, 3.42 times"),
    ],
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_ssar_papers_intervals(name):
    specs = Specs()
    found = [item for item in audit(specs.table(name), specs) if item.kind in KINDS]
    assert [(item.kind, item.rows, item.columns) for item in found] == [entry[:3] for entry in KNOWN[name]]
    for item, (*_, says) in zip(found, KNOWN[name], strict=True):
        assert says in item.sentence


ROWS, COLUMNS, SEEDS = ("a", "b", "c", "d"), ("x", "y", "z"), 4


def sheet(seed, *, divided=True, halved=True):
    """A table whose sums have t intervals from independent rows, and a column that is the mean of two."""
    rng = random.Random(seed)
    table = models.Table(
        id="t",
        version=1,
        title="T",
        paper=models.Paper(title="P", authors="A", year=2026),
        lineage="d4rl",
        protocol="p",
        groups=(models.Group(id="g", label="G", datasets=ROWS, sum="Sum"),),
        columns=(
            *(models.Column(id=name, label=name, algorithm=name) for name in COLUMNS),
            models.Column(id="m", label="m", mean_of=("x", "y")),
        ),
    )
    cells, halves, sums = {}, {}, {}

    def put(row, column, mean, std=None, half=None):
        ends = (None, None) if half is None else (round(mean - half, 1), round(mean + half, 1))
        rounded = std if std is None else round(std, 1)
        cells[row, column] = PublishedCell(
            row, column, round(mean, 1), rounded, SEEDS, 1, "own", "", low=ends[0], high=ends[1]
        )

    for column in COLUMNS:
        scores = {row: [rng.gauss(70, rng.uniform(3, 9)) for _ in range(SEEDS)] for row in ROWS}
        for row, some in scores.items():
            put(row, column, fmean(some), stdev(some))
        root = math.hypot(*(stdev(some) for some in scores.values()))
        halves[column] = student_t.ppf(0.975, SEEDS - 1) * root / (math.sqrt(SEEDS) if divided else 1)
        sums[column] = sum(map(fmean, scores.values()))
        put("g:sum", column, sums[column], half=halves[column])
    half = math.hypot(halves["x"], halves["y"]) / (2 if halved else 1)
    put("g:sum", "m", (sums["x"] + sums["y"]) / 2, half=half)
    return Sheet(table, cells)


@pytest.mark.parametrize("seed", range(40))
def test_consistent_intervals_have_no_findings(seed):
    assert [item for item in examine(sheet(seed)) if item.kind in KINDS] == []


@pytest.mark.parametrize("seed", range(10))
def test_intervals_without_the_root_of_n_are_found(seed):
    (found,) = [item for item in examine(sheet(seed, divided=False)) if item.kind in KINDS]
    assert (found.kind, found.severity, found.columns) == ("interval too wide", "warning", COLUMNS)
    assert "2.00 times too wide" in found.sentence


@pytest.mark.parametrize("seed", range(10))
def test_a_means_interval_that_is_not_halved_is_found(seed):
    (found,) = [item for item in examine(sheet(seed, halved=False)) if item.kind in KINDS]
    assert (found.kind, found.severity, found.columns) == ("interval of a mean", "warning", ("m",))


def test_a_slip_in_one_end_is_found_beside_centred_ones():
    slipped = sheet(1)
    cell = slipped.cells["g:sum", "z"]
    cells = {**slipped.cells, ("g:sum", "z"): PublishedCell(**{**vars(cell), "low": cell.low - 10})}
    kinds = {(item.kind, item.columns) for item in examine(Sheet(slipped.table, cells)) if item.kind in KINDS}
    assert ("interval off centre", ("z",)) in kinds


def test_a_table_of_bootstrap_intervals_has_no_findings():
    """Percentiles need not lie evenly around the mean."""
    leaning = sheet(1)
    cells = {
        key: PublishedCell(**{**vars(cell), "low": cell.low - 1 if cell.low else None})
        for key, cell in leaning.cells.items()
    }
    found = examine(Sheet(leaning.table, cells))
    assert "interval off centre" not in {item.kind for item in found}


def test_a_finding_is_about_its_cells_not_about_the_crossings_of_their_rows_and_columns():
    table, cells = Specs().table("ssar-offline"), dict(Specs().published(Specs().table("ssar-offline")))
    plain = cells[ANTMAZE, "td3_bc_sa"]
    cells[ANTMAZE, "td3_bc_sa"] = PublishedCell(**{**vars(plain), "low": None, "high": None})
    [found] = [item for item in examine(Sheet(table, cells)) if item.kind == "interval not explained"]
    assert (found.rows, set(found.columns)) == ((LOCOMOTION, ANTMAZE), set(SA))
    assert (ANTMAZE, "td3_bc_sa") not in found.cells
    assert len(found.cells) == 3
