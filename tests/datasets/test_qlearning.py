"""Transitions against D4RL's loop over rows, written here once more as D4RL describes it."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.datasets.qlearning import qlearning


def loop(rows: dict[str, np.ndarray], limit: int | None) -> dict[str, list]:
    out: dict[str, list] = {
        name: []
        for name in ("observations", "actions", "rewards", "next_observations", "terminals", "next_actions")
    }
    counter = 0
    for i in range(len(rows["rewards"]) - 1):
        done = bool(rows["terminals"][i])
        final = bool(rows["timeouts"][i]) if "timeouts" in rows else counter == limit - 1
        if final:
            counter = 0
            continue
        if done:
            counter = 0
        out["observations"].append(rows["observations"][i])
        out["next_observations"].append(rows["observations"][i + 1])
        out["actions"].append(rows["actions"][i])
        out["rewards"].append(rows["rewards"][i])
        out["terminals"].append(done)
        out["next_actions"].append(rows["actions"][i + 1])
        counter += 1
    return out


def make_rows(terminals: np.ndarray, timeouts: np.ndarray | None) -> dict[str, np.ndarray]:
    count = len(terminals)
    rows = {
        # float64 values that float32 cannot hold, so that a forgotten cast shows
        "observations": np.arange(3 * count, dtype=np.float64).reshape(count, 3) + 0.1,
        "actions": -np.arange(2 * count, dtype=np.float64).reshape(count, 2) - 0.1,
        "rewards": np.arange(count, dtype=np.float64) / 3,
        "terminals": terminals,
    }
    return rows if timeouts is None else {**rows, "timeouts": timeouts}


def check(rows: dict[str, np.ndarray], limit: int | None) -> None:
    expected = loop(rows, limit)
    got = qlearning(rows, limit)
    assert got.keys() == expected.keys()
    for name, array in got.items():
        assert array.dtype == (bool if name == "terminals" else np.float32)
        width = {"observations": (3,), "next_observations": (3,), "actions": (2,), "next_actions": (2,)}.get(
            name, ()
        )
        wanted = np.array(expected[name]).reshape(-1, *width).astype(array.dtype)
        np.testing.assert_array_equal(array, wanted, err_msg=name)


flags = st.integers(1, 60).flatmap(lambda n: st.tuples(*[arrays.arrays(bool, n)] * 2))


@given(flags)
def test_rows_with_timeouts(pair):
    check(make_rows(*pair), None)


@settings(max_examples=300)
@given(flags, st.integers(1, 12))
@example((np.array([False, False, True, False, False, False, False, True]), np.zeros(8, bool)), 3)
@example((np.array([True, False, False, True, True, False, False]), np.zeros(7, bool)), 2)
def test_rows_without_timeouts_are_counted(pair, limit):
    check(make_rows(pair[0], None), limit)


def test_an_episode_after_a_terminal_is_cut_one_row_early_as_in_d4rl():
    terminals = np.zeros(12, bool)
    terminals[1] = True
    kept = qlearning(make_rows(terminals, None), 4)["rewards"] * 3
    # rows 0 1 | 2 3 (4 cut) | 5 6 7 (8 cut) | 9 10, and 11 is last
    assert kept.round().astype(int).tolist() == [0, 1, 2, 3, 5, 6, 7, 9, 10]


def test_flags_may_be_numbers():
    rows = make_rows(np.array([0.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0, 0.0]))
    assert qlearning(rows, None)["terminals"].tolist() == [False, True]


def test_rows_without_timeouts_need_a_limit():
    with pytest.raises(ValueError, match="max_episode_steps"):
        qlearning(make_rows(np.zeros(3, bool), None), None)
