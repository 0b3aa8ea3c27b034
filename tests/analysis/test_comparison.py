from __future__ import annotations

import statistics
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from harness.analysis.comparison import compare
from harness.analysis.intervals import IntervalSettings
from harness.analysis.measurements import unrounded
from harness.analysis.verdicts import VerdictKind
from harness.planning.cells import Cell, ResolvedTable, run_record
from harness.results.records import EvaluationRecord, RunRecord, imported_key
from harness.results.store import Store
from harness.specs import PublishedCell, models

PROTOCOL = models.Protocol(
    id="p", description="", steps=100, evaluate_every=50, episodes=10, seeds=(0, 1, 2, 3)
)
TABLE = models.Table(
    id="paper-table1",
    version=1,
    title="A table",
    paper=models.Paper(title="A paper", authors="A. Uthor", year=2026),
    lineage="d4rl",
    protocol="p",
    groups=(
        models.Group(id="easy", label="Easy", datasets=("d1", "d2"), average="Easy Avg"),
        models.Group(id="hard", label="Hard", datasets=("d3",)),
    ),
    total="Total Avg",
    columns=(
        models.Column(id="a", label="A", algorithm="a"),
        models.Column(id="b", label="B", algorithm="b"),
    ),
    published=models.Published(file="x.csv", seeds=4, ddof=0),
)


def dataset(identifier):
    return models.Dataset(
        id=identifier,
        domain="mujoco",
        environment=models.Environment(id=f"{identifier}-v4", max_episode_steps=1000),
        observation_size=3,
        action_size=1,
        reference=models.ReferenceScores(minimum=0, maximum=1000, source="test"),
    )


class World:
    """A table of fakes: every cell of column a has four finished runs, column b has no implementation."""

    def __init__(self):
        self.calls = []
        self.states, self.returns, self.known, self.printed = {}, {}, {}, {}
        self.incomparable = ()
        self.implemented = ("a",)
        self.preset = None
        self.rule = {}
        for row in TABLE.datasets:
            for seed in range(4):
                self.finish(row, seed, 700.0 + seed)

    def key(self, row, seed, column="a"):
        return f"{row}-{column}-{seed}"

    def finish(self, row, seed, value, status="finished", origin="trained", fingerprint_id=1, column="a"):
        trained = self.key(row, seed, column)
        key = imported_key(trained) if origin == "imported" else trained
        self.states.pop(trained, None)
        self.known.setdefault(fingerprint_id, {"torch": "2.13", "git_commit": "c" * 40})
        self.states[key] = SimpleNamespace(
            key=key, seed=seed, status=status, origin=origin, fingerprint_id=fingerprint_id
        )
        self.returns[key] = [
            SimpleNamespace(step=50, mean_return=1e6),
            SimpleNamespace(step=100, mean_return=value),
        ]

    def print(self, row, column, mean, std=None, source="own"):
        self.printed[row, column] = PublishedCell(row, column, mean, std, 4, 1, source, "")

    # what compare asks of the specs and the store

    def table(self, identifier):
        assert identifier == TABLE.id
        return TABLE

    def published(self, table):
        return self.printed

    listing = published

    def ids(self, kind):
        return []

    def dataset(self, identifier):
        return dataset(identifier)

    def protocol(self, identifier):
        return PROTOCOL

    def runs(self, keys):
        self.calls.append("runs")
        return {key: self.states[key] for key in keys if key in self.states}

    def evaluations(self, keys, since=0):
        self.calls.append("evaluations")
        assert all(self.states[key].status == "finished" for key in keys)
        return {key: [e for e in self.returns[key] if e.step >= since] for key in keys}

    def sources(self):
        return ("",)

    def fingerprints(self, identifiers):
        self.calls.append("fingerprints")
        return {identifier: self.known[identifier] for identifier in identifiers}

    def compare(self, **options):
        protocol = PROTOCOL.model_copy(update=self.rule)
        cells = tuple(
            Cell(
                dataset=dataset(row),
                column=column,
                protocol=protocol,
                runs=tuple(RunRecord(f"{row}-{column.id}-{seed}", "", {}, seed) for seed in range(4)),
                unavailable=None if column.id in self.implemented else "no implementation",
                incomparable=self.incomparable,
            )
            for row in TABLE.datasets
            for column in TABLE.columns
        )
        resolved = ResolvedTable(TABLE, "d4rl", self.preset, cells)
        return compare(resolved, self, self, **options)

    def cell(self, row="d1", column="a"):
        comparison = self.compare()
        return next(
            cell
            for cell in comparison.cells + comparison.summaries
            if (cell.row, cell.column) == (row, column)
        )


@pytest.fixture
def world():
    return World()


def test_a_cell(world):
    world.print("d1", "a", 70.0, 0.1)
    cell = world.cell()
    scores = [70.0, 70.1, 70.2, 70.3]
    assert [item.seed for item in cell.scores] == [0, 1, 2, 3]
    assert [item.score for item in cell.scores] == pytest.approx(scores)
    assert cell.mean == pytest.approx(70.15)
    assert cell.std == pytest.approx(statistics.pstdev(scores))  # the table's convention, ddof 0
    assert cell.difference == pytest.approx(0.15)
    assert cell.verdict.kind is VerdictKind.OK
    assert (cell.interval.method, cell.interval.n) == ("exact percentile bootstrap", 4)
    assert cell.notes == ()


def test_one_query_for_all_cells(world):
    world.compare()
    assert sorted(world.calls) == ["evaluations", "fingerprints", "runs"]


def test_missing_seeds(world):
    world.finish("d1", 2, 0.0, status="running")
    del world.states[world.key("d1", 3)]
    world.print("d1", "a", 70.0, 1.0)
    cell = world.cell()
    assert (cell.verdict.mark, cell.n, cell.mean) == ("MISSING 2/4", 2, pytest.approx(70.05))
    assert not cell.complete


def test_failed_runs_are_counted_not_averaged(world):
    world.finish("d1", 0, -1e9, status="failed")
    cell = world.cell()
    assert cell.n == 3
    assert cell.mean == pytest.approx(70.2)
    assert cell.notes == ("1 failed",)


def test_a_finished_run_without_its_last_evaluation(world):
    world.returns[world.key("d1", 0)].pop()
    assert world.cell().n == 3
    assert world.cell().notes == ("1 finished without the score that the protocol counts",)


def test_imported_only_where_nothing_was_trained(world):
    for seed in range(4):
        world.finish("d1", seed, 500.0, origin="imported")
    assert (world.cell().n, world.cell().notes) == (4, ("imported",))
    world.finish("d1", 0, 700.0)
    cell = world.cell()
    assert (cell.n, cell.mean, cell.notes) == (1, 70.0, ("also imported: 50.0 ± 0.0 (4 seeds)",))


def test_differing_environments_are_named(world):
    world.known[2] = {"torch": "2.6", "git_commit": "c" * 40, "cuda": "13"}
    world.finish("d1", 3, 700.0, fingerprint_id=2)
    assert world.cell().notes == ("environments differ: torch 2.13/2.6, cuda none/13",)
    assert world.cell("d2").notes == ()

    comparison = world.compare()
    assert (comparison.fingerprints, comparison.commits) == (2, ("c" * 40,))


@pytest.mark.parametrize(
    ("source", "notes"),
    [
        ("own", ()),
        ("copied", ("published number copied from another paper",)),
        ("unknown", ("published number measured or copied, which the paper does not say",)),
    ],
)
def test_a_published_number_that_is_not_the_authors_own_is_marked(world, source, notes):
    world.print("d1", "a", 70.0, 1.0, source)
    assert world.cell().notes == notes


def test_only_hashes_are_shortened_where_environments_differ(world):
    world.known[1] = {"cpu": "Intel(R) Xeon(R) 8259CL", "git_commit": "a" * 40}
    world.known[2] = {"cpu": "Intel(R) Xeon(R) 8275CL", "git_commit": "b" * 40}
    world.finish("d1", 3, 700.0, fingerprint_id=2)
    assert world.cell().notes == (
        "environments differ: cpu Intel(R) Xeon(R) 8259CL/Intel(R) Xeon(R) 8275CL, "
        f"git_commit {'a' * 12}/{'b' * 12}",
    )


def test_no_implementation_keeps_the_published_number(world):
    world.print("d1", "b", 50.0, 1.0)
    cell = world.cell(column="b")
    assert (cell.unavailable, cell.mean, cell.published.mean) == ("no implementation", None, 50.0)
    assert cell.verdict.kind is VerdictKind.MISSING


def test_averages(world):
    for seed in range(4):
        world.finish("d2", seed, 900.0 + seed)
    world.print("d1", "a", 70.0, 1.0)
    world.print("d2", "a", 90.0, 1.0)
    world.print("easy", "a", 80.0)
    found = world.cell("easy")
    assert (found.mean, found.n, found.wanted) == (pytest.approx(80.15), 2, 2)
    assert found.difference == pytest.approx(0.15)
    assert found.verdict.kind is VerdictKind.OK
    assert found.verdict.p is not None
    total = world.cell("total")
    # over all rows, not over the groups: 'hard' has only one
    assert total.mean == pytest.approx((70.15 + 90.15 + 70.15) / 3)
    assert total.verdict.kind is VerdictKind.UNPUBLISHED


@pytest.mark.parametrize("ddof", [0, 1])
def test_a_printed_average_is_known_as_well_as_the_cells_behind_it(world, ddof):
    """Welch's test of two averages of two cells each: variances add up, divided by the squared number."""
    for seed, score in enumerate((895.0, 902.0, 899.0, 906.0)):
        world.finish("d2", seed, score)
    theirs = {"d1": (68.0, 3.0), "d2": (91.0, 1.0)}
    for row, (mean, std) in theirs.items():
        world.printed[row, "a"] = PublishedCell(row, "a", mean, std, 4, ddof, "own", "")
    world.print("easy", "a", 79.5)
    found = world.cell("easy")
    ours = [[item.score for item in world.cell(row).scores] for row in theirs]
    # (variance of a cell's share of the average, degrees of freedom), each from four seeds
    parts = [(np.var(scores, ddof=1) / 4 / 2**2, 3) for scores in ours]
    parts += [(std**2 / (3 + ddof) / 2**2, 3) for _, std in theirs.values()]
    variance = sum(part for part, _ in parts)
    # Satterthwaite's, which are the same however the sum is grouped
    df = variance**2 / sum(part**2 / each for part, each in parts)
    nearest, farthest = np.mean(ours) - 79.6, np.mean(ours) - 79.45  # what 79.5 may stand for
    assert found.verdict.p == pytest.approx(2 * scipy.stats.t.sf(nearest / variance**0.5, df), rel=1e-9)
    equivalent = scipy.stats.t.cdf((farthest - 2) / variance**0.5, df)
    assert found.verdict.p_equivalence == pytest.approx(equivalent, rel=1e-9)


@pytest.mark.parametrize("printed", [True, False], ids=["without deviation", "nowhere"])
def test_a_cell_printed_without_its_deviation_leaves_that_of_the_average_unknown(world, printed):
    world.print("d1", "a", 68.0, 3.0)
    if printed:
        world.print("d2", "a", 70.0)
    world.print("easy", "a", 69.0)
    assert "published deviation unknown" in world.cell("easy").verdict.note


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"score": "last"}, 40.0),
        ({"score": "mean_last", "last_k": 2}, 30.0),
        ({"score": "mean_last", "last_k": 9}, 160 / 4),
        ({"score": "best"}, 90.0),
    ],
    ids=str,
)
def test_a_cells_score_is_what_the_protocols_rule_makes_of_its_evaluations(world, rule, expected):
    world.rule = {"evaluate_every": 25, **rule}
    returns = {0: 990.0, 25: 100.0, 50: 900.0, 75: 200.0, 100: 400.0}
    for seed in range(4):
        world.returns[world.key("d1", seed)] = [
            SimpleNamespace(step=step, mean_return=value) for step, value in returns.items()
        ]
    assert [item.score for item in world.cell().scores] == pytest.approx([expected] * 4)


def test_averages_lead_as_cells_do(world):
    world.implemented = ("a", "b")
    for row in TABLE.datasets:
        for seed in range(4):
            world.finish(row, seed, 500.0 + seed, column="b")
    comparison = world.compare()
    assert {cell.column for cell in comparison.summaries if cell.leading} == {"a"}
    assert {cell.row for cell in comparison.summaries if cell.leading} == {"easy", "total"}


def test_margins_of_cells_and_of_averages(world):
    world.print("d1", "a", 70.0, 0.1)
    world.print("easy", "a", 70.0)
    assert (world.cell().verdict.margin, world.cell("easy").verdict.margin) == (5, 2)


def test_printed_means_are_rounded_or_cut_off(world):
    """70.2 may stand for 70.15 to 70.3, and the mean here is 70.15; 70.3 stands for 70.25 and more."""
    for printed, same in [(70.2, True), (70.3, False)]:
        world.print("d1", "a", printed, 0.1)
        world.print("easy", "a", printed)
        for row in ("d1", "easy"):
            found = world.cell(row)
            assert (found.verdict.p > 0.999) == same
            assert found.difference == pytest.approx(70.15 - printed)
    for rounding, low, high in [("rounded", 70.15, 70.25), ("cut off", 70.2, 70.3), ("unknown", 70.15, 70.3)]:
        cell = PublishedCell("d1", "a", 70.2, 0.1, 4, 1, "own", "")
        assert unrounded(cell, rounding) == pytest.approx((low, high))


def test_a_partial_average_has_no_number(world):
    del world.states[world.key("d2", 1)]
    world.print("easy", "a", 80.0)
    found = world.cell("easy")
    assert (found.mean, found.unavailable, found.difference) == (None, "1 of 2", None)
    assert found.verdict.kind is VerdictKind.MISSING


def test_incomparable_everywhere(world):
    world.incomparable = ("generated data",)
    world.preset = models.Preset(id="smoke", description="", label="smoke protocol")
    world.print("d1", "a", 70.0, 1.0)
    world.print("easy", "a", 70.0)
    comparison = world.compare()
    assert {cell.verdict.kind for cell in comparison.cells + comparison.summaries} == {
        VerdictKind.INCOMPARABLE
    }
    assert all(cell.verdict.p is None for cell in comparison.cells + comparison.summaries)
    assert comparison.incomparable == ("generated data",)
    assert comparison.counts[VerdictKind.INCOMPARABLE] == len(comparison.cells) == 6
    assert comparison.cells[0].verdict.text == "N/C (smoke protocol)"


def test_nothing_measured(world):
    world.states.clear()
    assert world.cell().verdict.kind is VerdictKind.UNPUBLISHED
    world.print("d1", "a", 70.0, 1.0)
    assert world.cell().verdict.mark == "MISSING 0/4"
    assert world.compare().fingerprints == 0


def test_one_seed(world):
    for seed in (1, 2, 3):
        del world.states[world.key("d1", seed)]
    cell = world.cell()
    assert (cell.n, cell.std, cell.interval) == (1, None, None)


def test_interval_settings(world):
    comparison = world.compare(intervals=IntervalSettings(method="t"))
    assert comparison.cells[0].interval.method == "Student t"


def test_against_the_real_store(world, tmp_path):
    """The fakes above answer as the store does."""
    environment = {"torch": "2.13", "git_commit": "c" * 40}
    configuration = {
        "algorithm": "a",
        "hyperparameters": {},
        "dataset": {"id": "d1", "lineage": "d4rl"},
        "environment": None,
        "protocol": {"steps": 100, "evaluate_every": 50, "episodes": 2},
    }
    runs = tuple(run_record(configuration, seed) for seed in range(4))
    column = TABLE.columns[0]
    groups = (models.Group(id="easy", label="Easy", datasets=("d1",)),)
    table = TABLE.model_copy(update={"groups": groups, "columns": (column,), "total": None})
    cell = Cell(dataset("d1"), column, PROTOCOL, runs, None, ())
    keys = [run.key for run in runs]
    with Store.open(tmp_path / "results.db", create=True) as store:
        store.register(runs)
        store.claim(keys)
        store.record_fingerprint(keys, environment, "alone")
        store.record_evaluations(
            [EvaluationRecord(key, 100, [600.0 + i, 800.0 + i], [5, 5]) for i, key in enumerate(keys)]
        )
        store.fail(keys[3], 100, "diverged")
        store.finish(keys[:3], 1.0, 1.0)
        found = compare(ResolvedTable(table, "d4rl", None, (cell,)), world, store)
    assert [item.score for item in found.cells[0].scores] == pytest.approx([70.0, 70.1, 70.2])
    assert found.cells[0].notes == ("1 failed",)
    assert (found.fingerprints, found.commits) == (1, ("c" * 40,))


def test_answers_without_heavy_imports():
    code = (
        "import sys, harness.analysis.comparison, harness.reports.tables, harness.reports.data; "
        "print([m for m in ('torch', 'scipy', 'pandas', 'sqlalchemy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_paper_sized_table_is_fast():
    """39 datasets by 6 columns, 4 seeds: the arithmetic is a small part of answering `harness table`."""
    rng = np.random.default_rng(0)
    rows = [f"d{i}" for i in range(39)]
    columns = tuple(models.Column(id=f"c{i}", label=f"C{i}", algorithm="a") for i in range(6))
    groups = (models.Group(id="all", label="All", datasets=tuple(rows), average="Avg"),)
    table = TABLE.model_copy(update={"groups": groups, "columns": columns})
    cells = []
    printed, states, returns = {}, {}, {}
    for row in rows:
        for column in columns:
            printed[row, column.id] = PublishedCell(row, column.id, 70.0, 3.0, 4, 1, "own", "")
            runs = tuple(RunRecord(f"{row}-{column.id}-{seed}", "", {}, seed) for seed in range(4))
            for run in runs:
                states[run.key] = SimpleNamespace(status="finished", origin="trained", fingerprint_id=1)
                returns[run.key] = [SimpleNamespace(step=100, mean_return=rng.normal(700, 30))]
            cells.append(Cell(dataset(row), column, PROTOCOL, runs, None, ()))
    store = SimpleNamespace(
        runs=lambda keys: states,
        evaluations=lambda keys, since: returns,
        fingerprints=lambda ids: {1: {}},
        sources=tuple,
    )
    specs = SimpleNamespace(
        table=lambda _: table,
        published=lambda _: printed,
        listing=lambda _: printed,
        dataset=dataset,
        protocol=lambda _: PROTOCOL,
        ids=lambda _: [],
    )
    resolved = ResolvedTable(table, "d4rl", None, tuple(cells))
    start = time.process_time()
    comparison = compare(resolved, specs, store)
    assert time.process_time() - start < 5  # generous: a shared machine must not fail it
    assert len(comparison.cells) == 234


def test_imported_numbers_are_marked_everywhere(world):
    for seed in range(4):
        world.finish("d1", seed, 500.0, origin="imported")
    comparison = world.compare()
    marked = {(cell.row, cell.column) for cell in comparison.cells + comparison.summaries if cell.imported}
    assert ("d1", "a") in marked
    assert not any(row == "d2" for row, _ in marked)
    assert {row for row, _ in marked} & {cell.row for cell in comparison.summaries}


def test_a_run_that_changed_its_environment_says_so(world):
    world.known[1] = {
        "torch": "2.6 → 2.13",
        "git_commit": f"{'a' * 40} → {'b' * 40}",
        "git_dirty": "true",
    }
    assert any("environment changed while training: torch 2.6 → 2.13" in note for note in world.cell().notes)
    assert set(world.compare().commits) == {f"{'a' * 40} (changed)", f"{'b' * 40} (changed)"}
