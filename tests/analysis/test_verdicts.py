from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.verdicts import (
    LEGEND,
    Case,
    VerdictKind,
    adjust,
    average,
    estimate,
    verdicts,
)
from harness.specs.models import Verdict

SETTINGS = Verdict(alpha=0.05, margin=5.0)


def case(ours, published, *, have=None, wanted=None, incomparable=()):
    """Sides as (mean, std, n, ddof) or None."""
    ours_estimate = estimate(*ours) if ours else None
    have = (ours[2] if ours else 0) if have is None else have
    return Case(
        ours_estimate,
        estimate(*published) if published else None,
        have,
        have if wanted is None else wanted,
        incomparable,
    )


def one(*args, **kwargs):
    return verdicts([case(*args, **kwargs)], SETTINGS)[0]


def test_welch_is_scipys():
    found = one((70.0, 3.0, 4, 1), (64.0, 8.0, 6, 1))
    oracle = scipy.stats.ttest_ind_from_stats(70.0, 3.0, 4, 64.0, 8.0, 6, equal_var=False)
    assert found.p == pytest.approx(oracle.pvalue)
    assert found.difference == 6.0


def test_ddof_0_is_converted():
    ours, theirs = [1.0, 2.0, 4.0, 9.0], [3.0, 5.0, 6.0, 9.0, 14.0]
    oracle = scipy.stats.ttest_ind(ours, theirs, equal_var=False).pvalue
    for ddof in (0, 1):
        sides = [(np.mean(x), np.std(x, ddof=ddof), len(x), ddof) for x in (ours, theirs)]
        assert one(*sides).p == pytest.approx(oracle)


def test_equivalence_is_two_one_sided_tests():
    ours, theirs = [70.0, 71.5, 69.0, 70.2], [71.0, 72.0, 70.5, 73.0]
    sides = [(np.mean(x), np.std(x, ddof=1), 4, 1) for x in (ours, theirs)]
    below = scipy.stats.ttest_ind(np.add(ours, 5), theirs, equal_var=False, alternative="greater")
    above = scipy.stats.ttest_ind(np.subtract(ours, 5), theirs, equal_var=False, alternative="less")
    found = one(*sides)
    assert found.p_equivalence == pytest.approx(max(below.pvalue, above.pvalue))
    assert found.kind is VerdictKind.OK
    assert one(*reversed(sides)).p_equivalence == pytest.approx(found.p_equivalence)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_adjustment_is_scipys(p):
    assert adjust(p) == pytest.approx(scipy.stats.false_discovery_control(p))


def test_nothing_to_adjust():
    assert adjust([]).shape == (0,)
    assert verdicts([], SETTINGS) == []


@pytest.mark.parametrize(
    ("arguments", "kind", "mark"),
    [
        (((70, 1, 4, 1), (70.5, 1, 4, 1)), VerdictKind.OK, "OK"),
        (((70, 9, 4, 1), (74, 9, 4, 1)), VerdictKind.CLOSE, "OK*"),
        (((70, 9, 4, 1), (76, 9, 4, 1)), VerdictKind.UNDECIDED, "UNDECIDED"),
        (((30, 45, 4, 1), (97, 3, 4, 1)), VerdictKind.UNDECIDED, "UNDECIDED"),
        (((90, 1, 4, 1), (70, 1, 4, 1)), VerdictKind.BETTER, "BETTER"),
        (((50, 1, 4, 1), (70, 1, 4, 1)), VerdictKind.WORSE, "WORSE"),
        (((70, 1, 4, 1), None), VerdictKind.UNPUBLISHED, "–"),
        ((None, (70, 1, 4, 1)), VerdictKind.MISSING, "MISSING 0/4"),
        (((50, 1, 2, 1), (70, 1, 4, 1)), VerdictKind.MISSING, "MISSING 2/4"),
    ],
)
def test_kinds(arguments, kind, mark):
    found = one(*arguments, wanted=4)
    assert (found.kind, found.mark) == (kind, mark)


def test_incomparable_wins_and_is_not_tested():
    found = one((50, 1, 4, 1), (70, 1, 4, 1), incomparable=("other data",))
    assert (found.mark, found.reasons, found.difference, found.p) == ("N/C", ("other data",), -20, None)
    assert one(None, None, wanted=4, incomparable=("other data",)).mark == "N/C 0/4"


def test_the_same_scores_on_both_sides_are_not_tested():
    for mean, kind in [(70.0, "OK"), (74.0, "OK"), (76.0, "BETTER")]:
        [found] = verdicts([replace(case((mean, 9.0, 4, 1), (70.0, 9.0, 4, 1)), same_sample=True)], SETTINGS)
        assert (found.kind, found.p, found.p_equivalence) == (kind, None, None)
        assert "from the same scores: not tested" in found.note


def test_undecided_begins_beyond_the_margin_of_all_that_is_printed_so():
    for mean, kind in [(75.04, "OK*"), (75.06, "UNDECIDED")]:
        assert one((mean, 9.0, 4, 1), (70.0, 9.0, 4, 1, (69.95, 70.05))).kind == kind


def test_significant_but_within_the_margin_is_ok_and_said():
    found = one((71.0, 0.05, 4, 1), (70.0, 0.05, 4, 1))
    assert found.p_adjusted < 0.05
    assert (found.kind, found.note) == (VerdictKind.OK, "differs significantly, but by less than the margin")
    assert one((70.01, 0.05, 4, 1), (70.0, 0.05, 4, 1)).note == ""
    # clearly different, and not shown to be within five points
    assert one((74.9, 0.5, 4, 1), (70.0, 0.5, 4, 1)).kind is VerdictKind.BETTER


def test_a_printed_mean_stands_for_all_that_is_printed_so():
    """70.0 may be 70.04, from which 70.05 ± 0.01 does not differ; 69.9 is farther than 0.1 from 70.04."""
    ours, published = (70.05, 0.01, 4, 1), (70.0, 0.01, 4, 1)
    assert one(ours, published).p < 0.001
    assert one(ours, (*published, (69.95, 70.05))).p == 1
    far = one((69.9, 0.01, 4, 1), (*published, (69.95, 70.05)))
    assert far.p == pytest.approx(one((69.9, 0.01, 4, 1), (69.95, 0.01, 4, 1)).p)
    assert far.p_equivalence == pytest.approx(one((69.9, 0.01, 4, 1), (70.05, 0.01, 4, 1)).p_equivalence)
    assert far.difference == pytest.approx(-0.1)


def test_rounding_decides_at_the_edge_of_the_margin():
    for mean, kind in [(74.9, "OK"), (75.0, "OK*"), (75.1, "BETTER")]:
        assert one((mean, 0.0, 4, 1), (70.0, 0.0, 4, 1, (69.95, 70.05))).kind == kind


def test_ragged_seeds():
    found = one((70.0, 3.0, 10, 1), (64.0, 8.0, 3, 0))
    oracle = scipy.stats.ttest_ind_from_stats(70, 3, 10, 64, 8 * np.sqrt(1.5), 3, equal_var=False)
    assert found.p == pytest.approx(oracle.pvalue)


@pytest.mark.parametrize("published", [(70.0, 2.0, 4, 1), (70.0, 0.0, 4, 1)])
def test_one_constant_side(published):
    ours = (75.0, 2.0, 4, 1) if published[1] == 0 else (75.0, 0.0, 4, 1)
    # with one variance zero Welch's is the one-sample test of the other side
    assert one(ours, published).p == pytest.approx(2 * scipy.stats.t.sf(5.0, 3))


def test_both_constant():
    for mean, kind in [(70.0, "OK"), (74.9, "OK"), (75.1, "BETTER"), (64.9, "WORSE")]:
        found = one((mean, 0.0, 4, 1), (70.0, 0.0, 4, 1))
        assert found.kind == kind
        assert found.p is None
        assert "zero" in found.note


def test_rounding_is_no_deviation():
    assert one((0.1 + 0.2, 1e-16, 4, 1), (0.3, 0.0, 4, 1)).kind is VerdictKind.OK


def test_one_seed_borrows_the_published_deviation():
    found = one((78.0, None, 1, 1), (70.0, 2.0, 4, 1))
    # one new observation against a sample, equal deviations assumed (Crawford and Howell, 1998)
    assert found.p == pytest.approx(2 * scipy.stats.t.sf(8 / (2 * np.sqrt(1 + 1 / 4)), 3))
    assert found.note.startswith("reproduced deviation unknown")


def test_published_without_deviation():
    found = one((70.0, 2.0, 4, 1), (71.0, None, 4, 1))
    assert found.p == pytest.approx(2 * scipy.stats.t.sf(1 / (2 * np.sqrt(1 / 4 + 1 / 4)), 3))
    assert found.note.startswith("published deviation unknown")


def test_no_deviation_anywhere():
    found = one((90.0, None, 1, 1), (70.0, None, 4, 1))
    assert (found.kind, found.p) == (VerdictKind.UNDECIDED, None)
    assert "not testable" in found.note


def test_adjusted_over_tested_cells_only():
    tested = case((72.0, 1.0, 4, 1), (70.0, 1.0, 4, 1))
    others = [
        case(None, (70, 1, 4, 1), wanted=4),
        case((50, 1, 4, 1), None),
        case((50, 1, 4, 1), (70, 1, 4, 1), incomparable=("x",)),
    ]
    alone = verdicts([tested], SETTINGS)[0]
    beside = verdicts([*others, tested], SETTINGS)[-1]
    assert alone.p_adjusted == beside.p_adjusted == alone.p
    two = verdicts([tested, case((70.0, 1.0, 4, 1), (70.0, 1.0, 4, 1))], SETTINGS)
    assert two[0].p_adjusted == pytest.approx(2 * alone.p)


def test_the_label_is_in_every_verdict():
    cells = [case((70, 1, 4, 1), (70, 1, 4, 1)), case(None, (70, 1, 4, 1), wanted=4)]
    texts = [found.text for found in verdicts(cells, SETTINGS, "smoke protocol")]
    assert texts == ["OK (smoke protocol)", "MISSING 0/4 (smoke protocol)"]


def test_the_legend_is_complete():
    assert set(LEGEND) == set(VerdictKind)


def test_average_of_equal_cells():
    cells = [estimate(60.0, 3.0, 4, 1), estimate(80.0, 3.0, 4, 1)]
    found = average(cells)
    # half the sum of two means, each of variance 9 / 4; the degrees of freedom add up
    assert (found.mean, found.variance, found.df, found.n) == (70.0, pytest.approx(9 / 8), 6.0, 4)
    assert average([*cells, estimate(80.0, None, 1, 1)]).variance is None


def test_perfect_reproductions_seldom_alarm():
    """39 datasets by 6 columns, 4 seeds against 4: the table is drawn twice from the same distributions."""
    rng = np.random.default_rng(0)
    tables, cells, seeds = 20, 234, 4
    alarms = 0
    for _ in range(tables):
        mean, deviation = rng.uniform(0, 110, cells), rng.lognormal(1, 1, cells)
        draws = rng.normal(mean, deviation, (2, seeds, cells))
        sides = np.stack([draws.mean(1), draws.std(1, ddof=1)], axis=1)  # (side, statistic, cell)
        found = verdicts(
            [case((*sides[0, :, i], seeds, 1), (*sides[1, :, i], seeds, 1)) for i in range(cells)], SETTINGS
        )
        alarms += sum(item.kind in (VerdictKind.BETTER, VerdictKind.WORSE) for item in found)
    assert alarms <= 0.01 * tables * cells


def test_a_lost_algorithm_is_seen():
    """One column of 39 drops by five deviations; most of it is found among 195 that did not change."""
    rng = np.random.default_rng(1)
    found = []
    shifts = [-15.0] * 39 + [0.0] * 195
    cells = []
    for shift in shifts:
        ours, theirs = rng.normal(70 + shift, 3, 4), rng.normal(70, 3, 4)
        cells.append(
            case((ours.mean(), ours.std(ddof=1), 4, 1), (theirs.mean(), theirs.std(ddof=0), 4, 0)),
        )
    found = verdicts(cells, SETTINGS)
    assert sum(item.kind is VerdictKind.WORSE for item in found[:39]) > 25
    assert sum(item.kind in (VerdictKind.WORSE, VerdictKind.BETTER) for item in found[39:]) <= 4
