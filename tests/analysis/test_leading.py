from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.leading import leading
from harness.analysis.verdicts import estimate


def row(*cells):
    """Estimates from lists of scores; None stays None."""
    return [
        None if scores is None else estimate(np.mean(scores), sample_std(scores), len(scores), 1)
        for scores in cells
    ]


def sample_std(scores):
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else None


def test_the_best_and_what_cannot_be_told_from_it():
    assert leading(row([90, 92, 91, 93], [89, 95, 90, 91], [50, 51, 52, 50]), 0.05) == [True, True, False]


def test_holm_over_the_row_spares_a_cell_that_a_single_test_would_not():
    best, near = [92.0, 93, 91, 92], [90.5, 90, 91.5, 89.5]
    assert leading(row(best, near), 0.05) == [True, False]
    crowd = [[92.0, 93, 91, 91.9]] * 5
    assert leading(row(best, near, *crowd), 0.05) == [True] * 7


def test_a_single_seed_is_not_tested():
    assert leading(row([90.0], [89.9], [90.0]), 0.05) == [True, False, True]
    assert leading(row([90.0, 95, 85, 92], [89.9]), 0.05) == [True, False]
    assert leading(row([90.0, 95, 85, 92], [90.6]), 0.05) == [False, True]


def test_means_without_any_deviation_are_equal_or_not():
    assert leading(row([100.0] * 4, [100.0 + 1e-12] * 4, [99.9] * 4), 0.05) == [True, True, False]


@pytest.mark.parametrize("cells", [(), (None, None), ([1.0, 2], None)])
def test_one_column_alone_leads_nothing(cells):
    assert leading(row(*cells), 0.05) == [False] * len(cells)


scores = st.lists(st.floats(-20, 140).map(lambda x: round(x, 1)), min_size=2, max_size=6)


@given(st.lists(st.none() | scores, min_size=2, max_size=6))
def test_agrees_with_scipy(cells):
    known = {i: c for i, c in enumerate(cells) if c is not None}
    if len(known) < 2:
        return
    best = max(known, key=lambda i: estimate(np.mean(known[i]), None, 2, 1).mean)
    others = [i for i in known if i != best]
    with np.errstate(all="ignore"):
        p = []
        for i in others:
            if np.isclose(np.mean(known[i]), np.mean(known[best]), rtol=1e-9, atol=1e-9):
                p.append(1.0)
            elif max(np.std(known[i]), np.std(known[best])) < 1e-9:
                p.append(0.0)
            else:
                p.append(
                    scipy.stats.ttest_ind(known[i], known[best], equal_var=False, alternative="less").pvalue
                )
    order = np.argsort(p)
    rejected = set()
    for rank, k in enumerate(order):
        if p[k] > 0.05 / (len(p) - rank):
            break
        rejected.add(others[k])
    assert leading(row(*cells), 0.05) == [i in known and i not in rejected for i in range(len(cells))]
