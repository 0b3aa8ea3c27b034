from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.analysis.comparison import compare
from harness.planning.cells import Cell, ResolvedTable
from harness.results.records import RunRecord
from harness.specs import PublishedCell, models

SCORES = {
    # (row, column): our scores by seed
    ("hopper-medium-v2", "aspc"): (92.7, 95.0, 90.1, 93.3),
    ("hopper-medium-v2", "td3_bc"): (61.0, 63.5, 60.2, 62.9),
    ("hopper-expert-v2", "aspc"): (50.0, 51.0, 49.5, 50.5),
    ("hopper-expert-v2", "td3_bc"): (108.0, 112.0),
    ("pen-human-v1", "td3_bc"): (-0.02,),
}
PUBLISHED = {
    ("hopper-medium-v2", "aspc"): (92.7, 2.2),
    ("hopper-medium-v2", "td3_bc"): (62.0, 9.0),
    ("hopper-medium-v2", "iql"): (65.2, 4.2),
    ("hopper-expert-v2", "aspc"): (112.3, 0.4),
    ("hopper-expert-v2", "td3_bc"): (108.2, 4.2),
    ("pen-human-v1", "aspc"): (66.5, 7.0),
    ("hopper", "aspc"): (102.5, None),
}
FAILED = ("hopper-expert-v2", "td3_bc", 2)  # row, column and seed
NOTED = ("hopper-expert-v2", "aspc")
ROWS = ("hopper-medium-v2", "hopper-expert-v2", "pen-human-v1")


def example(*, incomparable=(), label=None, text=""):
    """Two groups, three columns, compared as the product does; ``text`` is planted wherever a spec or a
    paper may say something.
    """
    columns = (
        models.Column(id="aspc", label=f"ASPC{text}", algorithm="aspc"),
        models.Column(id="td3_bc", label="TD3+BC", algorithm="td3_bc", note=f"robust critic{text}"),
        models.Column(id="iql", label="IQL", algorithm="iql"),
    )
    table = models.Table(
        id="paper-table1",
        version=2,
        title=f"Scores of R&D{text}",
        paper=models.Paper(title=f"A paper{text}", authors="A. Uthor", year=2026, table="Table 1"),
        lineage="d4rl",
        protocol="p",
        groups=(
            models.Group(id="hopper", label=f"Hopper{text}", datasets=ROWS[:2], average=f"Hopper Avg{text}"),
            models.Group(id="adroit", label="Adroit", datasets=ROWS[2:]),
        ),
        total=f"Total Avg{text}",
        columns=columns,
        published=models.Published(file="x.csv", seeds=4, ddof=1),
        footnotes=(f"A footnote with 50% of_it{text}",),
    )
    protocol = models.Protocol(
        id="p", description="", steps=1000, evaluate_every=500, episodes=10, seeds=(0, 1, 2, 3)
    )

    def dataset(row):
        note = f"v4 in place of v2{text}" if row == ROWS[0] else None
        return models.Dataset(
            id=row,
            domain="mujoco",
            environment=models.Environment(id="Hopper-v4", max_episode_steps=1000, note=note),
            observation_size=11,
            action_size=3,
            reference=models.ReferenceScores(minimum=0, maximum=100, source="made up"),
        )

    def key(row, column, seed):
        return f"{row}/{column}/{seed}"

    cells = tuple(
        Cell(
            dataset=dataset(row),
            column=column,
            protocol=protocol,
            runs=tuple(RunRecord(key(row, column.id, seed), "", {}, seed) for seed in protocol.seeds),
            unavailable=f"no implementation{text}" if column.id == "iql" else None,
            incomparable=incomparable,
        )
        for row in ROWS
        for column in columns
    )
    scores = {key(*cell, seed): score for cell, each in SCORES.items() for seed, score in enumerate(each)}
    states = {
        run: SimpleNamespace(status=status, origin="trained", fingerprint_id=1)
        for run, status in {**dict.fromkeys(scores, "finished"), key(*FAILED): "failed"}.items()
    }
    store = SimpleNamespace(
        runs=lambda keys: {run: states[run] for run in keys if run in states},
        evaluations=lambda keys, since: {
            run: [SimpleNamespace(step=1000, mean_return=scores[run])] for run in keys
        },
        sources=tuple,
        fingerprints=lambda identifiers: {1: {"git_commit": "0123456789abcdef"}},
    )
    printed = {
        cell: PublishedCell(*cell, mean, std, 4, 1, "own", f"misprinted{text}" if cell == NOTED else "")
        for cell, (mean, std) in PUBLISHED.items()
    }
    specs = SimpleNamespace(
        table=lambda _: table,
        published=lambda _: printed,
        listing=lambda _: printed,
        dataset=dataset,
        protocol=lambda _: protocol,
        ids=lambda _: [],
    )
    preset = models.Preset(id="smoke", description="", label=label) if label else None
    lineage = "generated" if incomparable else "d4rl"
    return compare(ResolvedTable(table, lineage, preset, cells), specs, store)


@pytest.fixture(name="example", scope="session")
def example_fixture():
    """The builder of the example; see its arguments."""
    return example
