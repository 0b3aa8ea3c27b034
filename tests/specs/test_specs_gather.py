"""Protocols of online runs: when they are evaluated, and what of them a key names."""

from __future__ import annotations

import pytest

from harness.reports.protocols import protocol_text
from harness.specs import Protocol

SSAR = {"warmup": 5000, "overlap": False, "reproduce_defects": True}


def protocol(gather, evaluate_every=5000, interactions=250_000):
    return Protocol(
        id="p",
        description="",
        interactions=interactions,
        gather=gather,
        evaluate_every=evaluate_every,
        episodes=10,
        seeds=(0,),
    )


@pytest.mark.parametrize(("every", "count", "first"), [(5000, 49, 10_000), (50_000, 5, 50_000)])
def test_ssars_code_evaluates_neither_at_the_switch_nor_before_the_first_update(every, count, first):
    clean, defects = (list(protocol(how, every).evaluations()) for how in ({"warmup": 5000}, SSAR))
    assert (len(defects), defects[0], defects[-1]) == (count, first, 250_000)
    assert (clean[0], clean[-1]) == (0, 250_000)


def test_the_end_is_evaluated_in_any_case():
    assert list(protocol(SSAR, 5000, 7000).evaluations()) == [7000]
    assert list(protocol(SSAR, 3000, 7000).evaluations()) == [6000, 7000]


def test_options_that_change_nothing_are_no_part_of_a_key():
    usual = {"every": 1, "warmup": 5000, "keep": "all", "explore": {"noise": 0.1}}
    said = {"warmup": 5000, "explore": {"noise": 0.1, "clip": None}, "overlap": True, "capacity": None}
    assert protocol(said).configuration["gather"] == usual
    assert protocol({"warmup": 5000, "explore": {"noise": 0.1}}).configuration["gather"] == usual
    assert protocol(SSAR | {"capacity": 10**6}).configuration["gather"] == {
        "every": 1,
        "warmup": 5000,
        "keep": "all",
        "capacity": 10**6,
        "explore": "sample",
        "overlap": False,
        "reproduce_defects": True,
    }


def test_options_are_told_in_words():
    text = protocol_text(protocol(SSAR | {"capacity": 10**6, "explore": {"noise": 0.1, "clip": 0.5}}))
    assert "a buffer of 1,000,000 rows, exploration: noise 0.1 within ±0.5, each action after" in text
    assert "the defects of SSAR's code reproduced" in text
    assert "buffer" not in protocol_text(protocol({}))
