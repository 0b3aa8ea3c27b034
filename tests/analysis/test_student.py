from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import student


@pytest.mark.parametrize("df", [0.5, 1, 1.7, 2, 3, 3.99, 6, 10, 30, 99.5, 1e3, 1e5])
def test_is_scipys(df):
    for t in [*np.linspace(-9, 9, 61), -1e-12, 1e-9, -60.0, 60.0, -1e6]:
        expected = scipy.stats.t.cdf(t, df)
        assert student.cdf(t, df) == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_at_the_ends():
    assert student.cdf(0.0, 4) == 0.5
    assert student.cdf(-1e200, 4) == pytest.approx(0, abs=1e-300)
    assert student.cdf(1e200, 4) == 1.0


@given(st.floats(-50, 50), st.floats(0.5, 1e4))
def test_is_a_symmetric_distribution(t, df):
    assert 0 <= student.cdf(t, df) <= 1
    assert student.cdf(t, df) + student.cdf(-t, df) == pytest.approx(1)


@given(st.floats(0.5, 0.9999), st.floats(0.5, 1e4))
def test_the_quantile_is_scipys(p, df):
    assert student.quantile(p, df) == pytest.approx(scipy.stats.t.ppf(p, df), rel=1e-7, abs=1e-9)
