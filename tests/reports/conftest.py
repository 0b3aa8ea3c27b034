from __future__ import annotations

import pytest

from harness.analysis.comparison import ComparedCell, ComparedGroup, ComparedRow, Comparison, SeedScore
from harness.analysis.intervals import interval
from harness.analysis.leading import leading
from harness.analysis.verdicts import Case, average, estimate, verdicts
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
ROWS = ("hopper-medium-v2", "hopper-expert-v2", "pen-human-v1")


def example(*, incomparable=(), label=None, text=""):
    """Two groups, three columns; ``text`` is planted wherever a spec may say something."""
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

    def printed(row, column):
        if (row, column) not in PUBLISHED:
            return None
        mean, std = PUBLISHED[row, column]
        return PublishedCell(row, column, mean, std, 4, 1, "own", text)

    def estimated(row, column):
        scores = SCORES.get((row, column))
        if not scores:
            return None
        mean = sum(scores) / len(scores)
        return estimate(mean, deviation(scores), len(scores), 1)

    def deviation(scores):
        mean = sum(scores) / len(scores)
        if len(scores) < 2:
            return None
        return (sum((score - mean) ** 2 for score in scores) / (len(scores) - 1)) ** 0.5

    def theirs(found):
        return found and estimate(found.mean, found.std, found.n, found.ddof)

    keys = [(row, column.id) for row in ROWS for column in columns]
    cases = [
        Case(estimated(*key), theirs(printed(*key)), len(SCORES.get(key, ())), 4, incomparable)
        for key in keys
    ]
    leaders = [
        flag
        for start in range(0, len(cases), len(columns))
        for flag in leading(
            [case.reproduced if case.have == 4 else None for case in cases[start : start + len(columns)]],
            0.05,
        )
    ]
    cells = {}
    for leads, (row, column), case, verdict in zip(
        leaders, keys, cases, verdicts(cases, table.verdict, label), strict=True
    ):
        scores = SCORES.get((row, column), ())
        cells[row, column] = ComparedCell(
            row=row,
            column=column,
            mean=case.reproduced.mean if case.reproduced else None,
            std=deviation(scores) if scores else None,
            n=len(scores),
            wanted=4,
            scores=tuple(SeedScore(seed, score, f"{seed}" * 8) for seed, score in enumerate(scores)),
            interval=interval(scores),
            published=printed(row, column),
            unavailable=f"no implementation{text}" if column == "iql" else None,
            verdict=verdict,
            notes=("1 failed",) if (row, column) == ("hopper-expert-v2", "td3_bc") else (),
            leading=leads,
        )

    def averages(row, label_text, members):
        out = []
        for column in columns:
            whole = all(cells[member, column.id].complete for member in members)
            ours = average([estimated(member, column.id) for member in members]) if whole else None
            have = sum(cells[member, column.id].complete for member in members)
            case = Case(ours, theirs(printed(row, column.id)), have, len(members), incomparable)
            out.append(
                ComparedCell(
                    row=row,
                    column=column.id,
                    mean=ours.mean if ours else None,
                    std=None,
                    n=have,
                    wanted=len(members),
                    scores=(),
                    interval=None,
                    published=printed(row, column.id),
                    unavailable=None if ours or incomparable else f"{have} of {len(members)}",
                    verdict=verdicts([case], table.verdict, label)[0],
                    notes=(),
                )
            )
        return ComparedRow(row, label_text, tuple(out))

    def rows(members):
        return tuple(
            ComparedRow(row, row, tuple(cells[row, column.id] for column in columns)) for row in members
        )

    return Comparison(
        table=table,
        protocol=models.Protocol(
            id="p", description="", steps=1000, evaluate_every=500, episodes=10, seeds=(0, 1, 2, 3)
        ),
        lineage="generated" if incomparable else "d4rl",
        preset="smoke" if label else None,
        label=label,
        columns=columns,
        groups=(
            ComparedGroup(
                "hopper", f"Hopper{text}", rows(ROWS[:2]), averages("hopper", f"Hopper Avg{text}", ROWS[:2])
            ),
            ComparedGroup("adroit", "Adroit", rows(ROWS[2:]), None),
        ),
        total=averages("total", f"Total Avg{text}", ROWS),
        ddof=1,
        environments=1,
        commits=("0123456789abcdef",),
        environment_notes=(f"hopper-medium-v2: v4 in place of v2{text}",),
    )


@pytest.fixture(name="example", scope="session")
def example_fixture():
    """The builder of the example; see its arguments."""
    return example
