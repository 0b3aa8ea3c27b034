"""Printed cells that follow from scores are found, with their rule; what only seems to is not."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.derivation import LIMIT, Cell, Known, Search
from harness.analysis.printed import Printed
from harness.sources.scores import Curves, Incomparable, Scores, Summary
from harness.specs.published import Check

ROWS = [f"row-{number}-v2" for number in range(24)]


def made(generator, algorithm="iql", seeds=5, evaluations=25, source="seen"):
    """Scores of an algorithm on all rows, of which each seed keeps its own level."""
    curves = []
    for row in ROWS:
        level, spread = generator.uniform(5, 110), generator.uniform(1, 15)
        scores = level + spread * generator.standard_normal((seeds, 1))
        scores = scores + spread * generator.standard_normal((seeds, evaluations))
        curves.append(
            Curves(
                source, row, algorithm, algorithm, "", "", tuple(range(seeds)), scores, np.arange(1), Path()
            )
        )
    return curves


def digits(value, rounding):
    return Printed.of(math.trunc(value * 10) / 10 if rounding == "cut off" else value, 1)


def cells(values, rounding="rounded", ddof=1, std=True):
    """Printed cells of the rows' seeds."""
    return [
        Cell(
            row,
            f"group-{index // 8}",
            digits(of.mean(), rounding),
            digits(of.std(ddof=ddof), rounding) if std else None,
        )
        for index, (row, of) in enumerate(zip(ROWS, values, strict=True))
    ]


def judged(curves, printed, algorithm="iql", **more):
    return Search(Known(Scores(tuple(curves), **more)), algorithm, ROWS).judge(printed)


@pytest.mark.parametrize(
    ("counted", "score", "picked", "pick", "seeds"),
    [
        (lambda scores: scores[:, -1], "last", lambda of: of, "all", 0),
        (lambda scores: scores.max(axis=1), "best", lambda of: of, "all", 0),
        (lambda scores: scores[:, -5:].mean(axis=1), "mean of the last 5", lambda of: of[:4], "first", 4),
        (lambda scores: scores[:, 9], "at 4/10 of the run", lambda of: np.sort(of)[-3:], "best", 3),
    ],
)
def test_the_rule_is_found(counted, score, picked, pick, seeds):
    curves = made(np.random.default_rng(1), seeds=5)
    for rounding, ddof in (("cut off", 1), ("rounded", 0)):
        found = judged(curves, cells([picked(counted(each.scores)) for each in curves], rounding, ddof))
        [believed] = found.believed
        rule = believed.rule
        assert (rule.score, rule.pick, rule.seeds) == (score, pick, seeds)
        assert (rule.ddof, rule.rounding, rule.source) == (ddof, rounding, "seen")
        assert [each.check for each in found.cells] == [Check.DERIVED] * len(ROWS)
        assert believed.chance <= LIMIT


def test_means_alone():
    curves = made(np.random.default_rng(2))
    found = judged(curves, cells([each.scores[:, -1] for each in curves], "cut off", std=False))
    assert [each.check for each in found.cells] == [Check.DERIVED] * len(ROWS)
    assert "ddof" not in found.cells[0].text


def test_two_sources_behind_one_column():
    generator = np.random.default_rng(3)
    first, second = made(generator)[:16], made(generator, seeds=4, source="printed")[16:]
    values = [each.scores[:, -1] for each in (*first, *second)]
    summaries = [
        Summary("printed", of.dataset, "iql", "IQL", "last", round(x.mean(), 2), round(x.std(), 2), 4, 0)
        for of, x in zip(second, values[16:], strict=True)
    ]
    printed = cells(values[:16] + values[16:], "cut off")
    for index, x in enumerate(values[16:], start=16):
        printed[index] = replace(printed[index], std=digits(x.std(), "cut off"))
    found = judged(first, printed, summaries=tuple(summaries))
    assert [(each.rule.source, len(each.rows)) for each in found.believed] == [("seen", 16), ("printed", 8)]


def test_a_wrong_deviation_and_a_foreign_cell():
    generator = np.random.default_rng(4)
    own, other = (made(generator, name, 10, 1) for name in ("iql", "cql"))
    printed = cells([each.scores[:, -1] for each in own], "cut off")
    printed[3] = replace(printed[3], std=Printed.parse("71.5"))
    printed[5] = replace(cells([each.scores[:, -1] for each in other], "cut off")[5])
    printed[7] = replace(printed[7], mean=Printed.parse("999.9"))
    found = judged((*own, *other), printed)
    assert [found.cells[index].check for index in (3, 5, 7)] == [Check.MEAN, Check.OTHER, Check.DIFFERENT]
    assert "the deviation would be printed" in found.cells[3].text
    assert found.cells[5].text.startswith("it is seen's cql: last, all 10 seeds")
    assert [each.check for each in found.cells].count(Check.DERIVED) == len(ROWS) - 3


def test_digits_that_tell_nothing_are_no_find():
    """Whatever fails is printed as 0.0 0.0; that some source's failing runs give that, too, is luck."""
    curves = [replace(each, scores=np.zeros((5, 1))) for each in made(np.random.default_rng(5))]
    printed = cells(np.random.default_rng(6).uniform(0, 100, (24, 4)))
    printed[0] = replace(printed[0], mean=Printed.parse("0.0"), std=Printed.parse("0.0"))
    found = judged(curves, printed)
    assert not found.believed
    assert found.cells[0].check == Check.NO_SOURCE
    assert found.cells[0].text.endswith("fits, but so it would by luck")


def test_versions_and_nothing():
    others = (Incomparable("row-0-v0", "iql", "old", "another D4RL version"),)
    found = judged((), cells(np.ones((24, 4))), incomparable=others)
    assert [each.check for each in found.cells[:2]] == [Check.INCOMPARABLE, Check.NO_SOURCE]
    assert found.cells[0].text == "old has row-0-v0: another D4RL version"


def test_repetitions_and_random_cells_are_not_derived():
    """Of 40 columns that only resemble the source one may be found by luck; `LIMIT` is one in 100."""
    generator = np.random.default_rng(7)
    curves = made(generator, evaluations=1)
    search = Search(Known(Scores(tuple(curves))), "iql", ROWS)
    wrong = 0
    for number in range(40):
        if number % 2:
            values = generator.uniform(0, 110, (24, 4))
        else:  # other seeds of the same experiments
            values = [generator.normal(c.scores.mean(), c.scores.std(ddof=1), 5) for c in curves]
        found = search.judge(cells(values, ("rounded", "cut off")[number % 3 == 0]))
        wrong += any(each.check == Check.DERIVED for each in found.cells)
    assert wrong <= 1
