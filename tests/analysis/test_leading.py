from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.leading import leading
from harness.analysis.verdicts import estimate
from harness.specs import models

TESTS = models.Verdict(alpha=0.05, margin=5.0)


def row(*cells):
    """Estimates from lists of scores; None stays None."""
    return [
        None if scores is None else estimate(np.mean(scores), sample_std(scores), len(scores), 1)
        for scores in cells
    ]


def sample_std(scores):
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else None


def test_the_best_and_what_is_as_good():
    assert leading(row([90, 92, 91, 93], [90, 92, 91, 91], [50, 51, 52, 50]), TESTS) == [True, True, False]


def test_a_cell_of_which_nothing_is_known_does_not_lead_beside_one_that_is_as_good():
    best, spread, near = [112.0, 112.1, 111.9, 112.0], [111, 90, 60, 66], [111.6, 111.8, 111.4, 111.6]
    assert leading(row(best, spread, near), TESTS) == [True, False, True]


def test_the_margin_is_the_verdicts_own():
    best, near = [92.0, 92.1, 91.9, 92.0], [89.0, 89.1, 88.9, 89.0]
    assert leading(row(best, near), TESTS) == [True, True]
    assert leading(row(best, near), TESTS.of_averages) == [True, False]


def test_a_single_seed_leads_only_where_it_is_the_best():
    assert leading(row([90.0], [89.9], [90.0]), TESTS) == [True, False, True]
    assert leading(row([90.0, 95, 85, 92], [90.6]), TESTS) == [False, True]


@pytest.mark.parametrize("cells", [(), (None, None), ([1.0, 2], None)])
def test_one_column_alone_leads_nothing(cells):
    assert leading(row(*cells), TESTS) == [False] * len(cells)


scores = st.lists(st.floats(-20, 140).map(lambda x: round(x, 1)), min_size=2, max_size=6)


@given(st.lists(st.none() | scores, min_size=2, max_size=6))
def test_agrees_with_scipy(cells):
    known = {i: c for i, c in enumerate(cells) if c is not None}
    if len(known) < 2:
        return
    best = max(known, key=lambda i: estimate(np.mean(known[i]), None, 2, 1).mean)
    for i, led in enumerate(leading(row(*cells), TESTS)):
        if i == best or i not in known:
            assert led == (i in known)
        elif np.std(known[i]) + np.std(known[best]) > 1e-6:
            below = np.array(known[i]) + TESTS.margin
            p = scipy.stats.ttest_ind(below, known[best], equal_var=False, alternative="greater").pvalue
            if abs(p - TESTS.alpha) > 1e-9:
                assert led == bool(p <= TESTS.alpha or np.mean(known[i]) == np.mean(known[best]))
