from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from harness.analysis.scores import normalise, run_return, run_score
from harness.specs.models import Protocol, ReferenceScores


def protocol(**changes):
    base = {
        "id": "p",
        "description": "",
        "steps": 100,
        "evaluate_every": 25,
        "episodes": 10,
        "seeds": (0,),
    }
    return Protocol(**(base | changes))


def evaluations(*pairs):
    return [SimpleNamespace(step=step, mean_return=value) for step, value in pairs]


FULL = evaluations((0, 99.0), (25, 1.0), (50, 9.0), (75, 2.0), (100, 4.0))


def test_normalised_scale():
    # D4RL's reference scores of Hopper
    reference = ReferenceScores(minimum=-20.272305, maximum=3234.3, source="D4RL")
    assert normalise(-20.272305, reference) == 0
    assert normalise(3234.3, reference) == 100
    assert run_score(evaluations((100, 3234.3)), protocol(), reference) == pytest.approx(100)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"score": "last"}, 4.0),
        ({"score": "best"}, 9.0),
        ({"score": "mean_last", "last_k": 2}, 3.0),
        # the step-0 evaluation is no part of any score
        ({"score": "mean_last", "last_k": 10}, 4.0),
    ],
)
def test_rules(rule, expected):
    assert run_return(FULL, protocol(**rule)) == expected


@pytest.mark.parametrize("score", ["last", "best", "mean_last"])
def test_unfinished_runs_have_no_score(score):
    assert run_return(FULL[:-1], protocol(score=score)) is None
    assert run_return([], protocol(score=score)) is None


def test_mean_last_needs_all_its_evaluations():
    assert run_return(evaluations((100, 4.0)), protocol(score="mean_last", last_k=2)) is None


def test_last_step_off_the_grid():
    odd = protocol(steps=110, score="mean_last", last_k=10)
    assert run_return([*FULL, *evaluations((110, 9.0))], odd) == 5.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_diverged_return_is_no_score(bad):
    assert run_return(evaluations((100, bad)), protocol()) is None
