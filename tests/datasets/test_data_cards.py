"""What a data card says of D4RL's own dataset of that name."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from harness import files
from harness.datasets import cards, generated
from harness.datasets.base import hash_arrays
from harness.errors import SpecError
from harness.results.records import canonical
from harness.specs import Specs
from harness.specs.loader import load
from harness.specs.models import D4RLSource, D4RLStatistics, Dataset, ReferenceScores

IDENTITY = {"id": "hopper-medium-v2", "lineage": "generated"}
KNOWN = D4RLStatistics(
    episodes=2187, return_mean=1422.0, return_std=379.0, return_max=3222.0, source="a page"
)
REFERENCE = ReferenceScores(minimum=-100, maximum=1900, source="a test")
LADDER = [
    f"{environment}-{level}-v2"
    for environment in ("halfcheetah", "hopper", "walker2d")
    for level in ("random", "medium", "medium-replay", "medium-expert", "expert", "full-replay")
]


def described(make_dataset, statistics, count=6000):
    spec = make_dataset(d4rl=D4RLSource(url="http://localhost/hopper.hdf5", statistics=statistics))
    rows = {
        "rewards": np.ones(count, np.float32),
        "terminals": np.arange(1, count + 1) % 1000 == 0,
        "timeouts": np.zeros(count, bool),
    }
    spec = spec.model_copy(update={"reference": REFERENCE})
    return cards.describe(rows, spec, IDENTITY, "0" * 64, {})


def lines_of(card):
    page = cards.markdown(card)
    return {line.split(" | ")[0].removeprefix("| "): line for line in page.splitlines()}, page


def test_d4rls_figures_stand_below_ours(make_dataset):
    card = described(make_dataset, KNOWN)
    assert card["d4rl"] == {
        "episodes": 2187,
        "returns": {"mean": 1422.0, "std": 379.0, "max": 3222.0},
        "normalised_returns": pytest.approx({"mean": 76.1, "std": 18.95, "max": 166.1}),
        "source": "a page",
    }
    lines, page = lines_of(json.loads(json.dumps(card)))
    assert lines["return in D4RL's own dataset"].endswith("| 1,422.0 | 379.0 |  |  |  |  |  |  | 3,222.0 |")
    assert lines["normalised return in D4RL's own dataset"].endswith(
        "| 76.1 | 18.9 |  |  |  |  |  |  | 166.1 |"
    )
    assert lines["in D4RL's own dataset, an open last one included"].endswith("| 2,187 |")
    table = [label for label in lines if "return" in label or label == "length"]
    assert table[:5] == [
        "return",
        "return in D4RL's own dataset",
        "normalised return",
        "normalised return in D4RL's own dataset",
        "length",
    ]
    assert "On D4RL's own dataset: a page." in page
    assert "No source is known" not in page


def test_without_a_source_the_card_says_so(make_dataset):
    card = described(make_dataset, None)
    lines, page = lines_of(card)
    assert card["d4rl"] is None
    assert not [
        label for label in lines if "in D4RL's own" in label and label.startswith(("ret", "norm", "in"))
    ]
    assert "No source is known for the returns in D4RL's own dataset of that name." in page
    assert cards.d4rl(make_dataset()) is None


def test_episodes_alone_may_be_known(make_dataset):
    card = described(make_dataset, D4RLStatistics(episodes=3515, source="a page"))
    lines, page = lines_of(card)
    assert "3,515" in lines["in D4RL's own dataset, an open last one included"]
    assert "return in D4RL's own dataset" not in lines
    assert "On D4RL's own dataset: a page." in page
    assert "No source is known for the returns" in page


def test_a_zero_is_a_figure(make_dataset):
    card = described(make_dataset, D4RLStatistics(return_min=0.0, return_std=0.0, source="a page"))
    assert card["d4rl"]["returns"] == {"std": 0.0, "min": 0.0}
    assert lines_of(card)[0]["return in D4RL's own dataset"].endswith("|  | 0.0 | 0.0 |  |  |  |  |  |  |")


def test_without_finished_episodes_ours_are_missing_alone(make_dataset):
    lines, _ = lines_of(described(make_dataset, KNOWN, count=10))
    assert "return" not in lines
    assert "return in D4RL's own dataset" in lines


def test_a_card_that_was_written_earlier_shows_the_present_figures(make_dataset, tmp_path, hdf5_rows):
    spec = make_dataset()
    place = generated.path(spec, tmp_path, IDENTITY)
    place.parent.mkdir(parents=True)
    content_hash = hash_arrays(hdf5_rows)
    generated._write(place, hdf5_rows, canonical(IDENTITY), content_hash, {})
    written = cards.describe(hdf5_rows, spec, IDENTITY, content_hash, {})
    del written["d4rl"]
    files.write_json(cards.path(place), written)
    present = spec.model_copy(update={"d4rl": D4RLSource(url="http://localhost/a.hdf5", statistics=KNOWN)})
    card = generated.card(present, tmp_path, IDENTITY)
    assert card["d4rl"]["returns"]["mean"] == 1422.0
    assert "1,422.0" in cards.markdown(card)


# -- the block in a spec -----------------------------------------------------------------------------------

SPEC = """id: toy
domain: mujoco
observation_size: 11
action_size: 3
reference: {minimum: 0, maximum: 1, source: made up}
d4rl:
  url: http://localhost/toy.hdf5
  statistics:
    episodes: 3
    return_mean: 2
    return_std: 1.5
    return_min: 1
    return_max: 4.0
    source: a page
"""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("episodes: 3", "episodes: 0", "9:15: d4rl.statistics.episodes: should be greater than 0, got 0"),
        (
            "return_std: 1.5",
            "return_std: -1",
            "11:17: d4rl.statistics.return_std: should be greater than or ",
        ),
        (
            "return_std: 1.5",
            "return_std: 3.5",
            "11:17: d4rl.statistics.return_std: return_std 3.5 is more than",
        ),
        ("return_min: 1", "return_min: 3", "12:17: d4rl.statistics.return_min: return_min 3.0 must not be "),
        (
            "return_max: 4.0",
            "return_max: 1.5",
            "10:18: d4rl.statistics.return_mean: return_mean 2.0 must not ",
        ),
        (
            "return_mean: 2",
            "return_mean: .nan",
            "10:18: d4rl.statistics.return_mean: should be a finite number",
        ),
        ("    source: a page\n", "", "d4rl.statistics.source: the key is missing"),
        ("source: a page", "source: ''", "14:13: d4rl.statistics.source: "),
        ("return_mean", "mean", "10:5: d4rl.statistics.mean: unknown key; allowed: episodes, return_mean"),
    ],
)
def test_a_bad_block_is_refused_with_its_place(tmp_path, monkeypatch, old, new, problem):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "toy.yaml"
    place.write_text(SPEC)
    assert load(place, Dataset).d4rl.statistics.return_mean == 2
    assert old in SPEC
    place.write_text(SPEC.replace(old, new))
    with pytest.raises(SpecError) as caught:
        load(place, Dataset)
    assert problem in str(caught.value)
    assert "toy.yaml:" in str(caught.value)


# -- what is shipped ---------------------------------------------------------------------------------------


def shipped(name):
    return Specs().dataset(name)


@pytest.mark.parametrize("name", LADDER)
def test_shipped_figures_are_possible_and_have_a_source(name):
    known = shipped(name).d4rl.statistics
    assert known.episodes > 0
    assert "@ " in known.source
    figures = (known.return_min, known.return_mean, known.return_max)
    if known.return_mean is None:
        assert (*figures, known.return_std) == (None,) * 4
    else:
        assert sorted(figures) == list(figures)
        assert 0 < known.return_std <= (known.return_max - known.return_min) / 2


@pytest.mark.parametrize("environment", ["halfcheetah", "hopper", "walker2d"])
def test_shipped_medium_expert_is_medium_and_expert_together(environment):
    both, medium, expert = (
        shipped(f"{environment}-{level}-v2").d4rl.statistics
        for level in ("medium-expert", "medium", "expert")
    )
    first = both.episodes - expert.episodes  # D4RL drops an episode of the first file that is left open
    assert medium.episodes - first in (0, 1)
    # HalfCheetah has no open episode; elsewhere the last of the expert file may be one
    for second in {expert.episodes, expert.episodes - (environment != "halfcheetah")}:
        weights = np.array([first, second]) / (first + second)
        means, stds = (
            np.array([getattr(part, field) for part in (medium, expert)])
            for field in ("return_mean", "return_std")
        )
        mean = float(weights @ means)
        assert round(mean) == both.return_mean
        assert round(math.sqrt(weights @ (stds**2 + means**2) - mean**2)) == both.return_std
    assert both.return_min == min(medium.return_min, expert.return_min)
    assert both.return_max == max(medium.return_max, expert.return_max)


def test_figures_are_no_part_of_what_a_dataset_is():
    spec = shipped("hopper-random-v2")
    bare = spec.model_copy(update={"d4rl": spec.d4rl.model_copy(update={"statistics": None})})
    for lineage in ("d4rl", "generated"):
        assert spec.identity(lineage) == bare.identity(lineage)
        assert not {"statistics", "episodes", "source"} & set(spec.identity(lineage))
