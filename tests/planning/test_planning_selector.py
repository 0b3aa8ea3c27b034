"""Trust that is refused before training, inputs of some datasets, and protocols without evaluations."""

from __future__ import annotations

from typing import ClassVar

import pytest

import algorithms.bc
from harness.errors import SpecError
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.planning.validation import check, validate_algorithms
from harness.specs import Specs
from harness.specs.validation import validate

TABLE = """
id: toy
version: 1
title: Toy
paper: {{title: T, authors: A, year: 2026}}
lineage: d4rl
protocol: d4rl-1m
groups:
  - {{id: rows, label: Rows, datasets: [hopper-medium-v2, halfcheetah-medium-v2]}}
columns:
  - label: Judge
    id: judge
    algorithm: {judge}
    protocol: unevaluated
    per_dataset: {{hopper-*: {{{changes}}}}}
  - label: Reader
    id: reader
    algorithm: bc
    {reader}
"""
PROTOCOL = "id: unevaluated\ndescription: D\nsteps: 100\nseeds: [0, 1]\n"
BY_SELECTOR = "data: [{trust: {by: selector}}]"
INPUT = "inputs: {selector: {column: judge, state: [critic, value]}}"


@pytest.fixture(autouse=True)
def trusting(monkeypatch):
    columns: ClassVar[tuple[str, ...]] = ("trust",)
    monkeypatch.setattr(algorithms.bc.BC, "columns", columns)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Specs with a table whose column `reader` is this."""
    monkeypatch.chdir(tmp_path)

    def write(reader, judge="iql_selector", changes="", protocol=PROTOCOL):
        for name, text in {
            "tables/toy.yaml": TABLE.format(
                reader=reader.replace("\n", "\n    "), judge=judge, changes=changes
            ),
            "protocols/unevaluated.yaml": protocol,
        }.items():
            path = tmp_path / "own" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Specs([tmp_path / "own"])

    return write


def cell(resolved, column, dataset="hopper-medium-v2"):
    [found] = [c for c in resolved.cells if (c.column.id, c.dataset.id) == (column, dataset)]
    return found


@pytest.mark.parametrize(
    ("trust", "problem"),
    [
        ("{by: selector, above: 1}", "trust.above: by selector there is no threshold"),
        ("{by: success, top: 0.1}", "trust.top: by success there is no threshold"),
        ("{by: return}", "trust.by: by return, one of 'above' and 'top' says which returns are trusted"),
        ("{by: return, above: 1, top: 0.1}", "trust.top: either 'above' or 'top'"),
        ("{by: return, top: 0.1, allow_empty: true}", "trust.allow_empty: only a threshold 'above'"),
        ("{by: return, top: 0}", "trust.top: should be greater than 0"),
        ("{by: luck}", "trust.by: should be 'return', 'success' or 'selector', got 'luck'"),
    ],
)
def test_what_trust_cannot_be(write, trust, problem):
    [line, *_] = validate(write(f"data: [{{trust: {trust}}}]"), ["toy"])
    assert line.startswith("own/tables/toy.yaml:19:")
    assert problem in line


def test_the_key_of_a_threshold_is_as_it_was_before_there_was_more(write):
    specs = write("data: [{trust: {by: return, above: 1800}}]")
    [step] = cell(resolve(specs, "toy"), "reader").runs[0].configuration["data"]
    assert step == {"trust": {"by": "return", "above": 1800}}


def test_a_reader_of_a_selector_names_its_run_and_the_parts(write):
    specs = write(f"{BY_SELECTOR}\n{INPUT}")
    assert validate(specs, ["toy"]) == validate_algorithms(specs, ["toy"]) == []
    resolved = resolve(specs, "toy")
    reader, judge = cell(resolved, "reader"), cell(resolved, "judge")
    assert reader.runs[0].configuration["inputs"]["selector"] == {
        "configuration": judge.runs[0].configuration_key,
        "state": ["critic", "value"],
    }
    assert reader.states["selector"].of(1).key == judge.runs[1].key


@pytest.mark.parametrize(
    ("reader", "how", "problem"),
    [
        (BY_SELECTOR, {}, "data.0.trust.by: it asks the run of an input called 'selector': name that in"),
        (f"{BY_SELECTOR}\n{INPUT}", {"judge": "iql"}, "inputs.selector: iql does not say which transitions"),
        (
            f"{BY_SELECTOR}\n{INPUT.replace('critic, ', '')}",
            {},
            "selector.state: iql_selector trusts by its critic and value; add critic",
        ),
        (
            f"{BY_SELECTOR}\n{INPUT}",
            {"changes": "normalize_observations: false"},
            "inputs.selector: on hopper-medium-v2, judge is trained on other observations than reader",
        ),
        (
            f"data: [{{trust: {{by: selector}}}}, {{drop: 0.1}}]\n{INPUT}",
            {},
            "inputs.selector: on hopper-medium-v2, judge is trained on other observations than reader",
        ),
        (
            "data: [{trust: {by: return, top: 0.1}}]\n" + INPUT,
            {},
            "inputs.selector: no input of bc: it reads none",
        ),
    ],
)
def test_selectors_that_cannot_judge_are_refused(write, reader, how, problem):
    specs = write(reader, **how)
    problems = validate_algorithms(specs, ["toy"])
    assert problem in problems[0]
    assert problems[0].startswith("own/tables/toy.yaml:")


def test_inputs_and_data_hold_on_some_datasets_only(write):
    own = f"per_dataset:\n  halfcheetah-*: {{{BY_SELECTOR}, {INPUT}}}"
    specs = write(f"data: [{{trust: {{by: return, above: 1800}}}}]\n{own}")
    assert validate(specs, ["toy"]) == validate_algorithms(specs, ["toy"]) == []
    resolved = resolve(specs, "toy")
    assert not cell(resolved, "reader").states
    assert "inputs" not in cell(resolved, "reader").runs[0].configuration
    assert list(cell(resolved, "reader", "halfcheetah-medium-v2").states) == ["selector"]
    described = {c.runs[0].described for c in resolved.cells}
    assert sum("selector" in text and "inputs" in text for text in described) == 1
    none = "per_dataset:\n  hopper-*: {data: [{trust: {by: success}}], inputs: {}}"
    specs = write(f"{BY_SELECTOR}\n{INPUT}\n{none}")
    assert validate_algorithms(specs, ["toy"]) == []
    assert not cell(resolve(specs, "toy"), "reader").states


def test_a_start_holds_on_some_datasets_only(write):
    own = "per_dataset:\n  hopper-*: {start: {column: judge, state: [value]}}"
    resolved = resolve(write(f"data: [{{trust: {{by: success}}}}]\nstart: {{column: judge}}\n{own}"), "toy")
    assert cell(resolved, "reader").states["start"].state == ("value",)
    assert cell(resolved, "reader", "halfcheetah-medium-v2").states["start"].state == "all"


def test_a_threshold_above_all_known_returns_is_refused_before_there_are_data(write):
    specs = write(
        "data: [{trust: {by: return, above: 1800}}]\n"
        "per_dataset:\n  halfcheetah-*: {data: [{trust: {by: return, above: 6000}}]}"
    )
    with pytest.raises(SpecError) as caught:
        check(resolve(specs, "toy"), specs)
    [line] = str(caught.value).splitlines()
    assert line.startswith("own/tables/toy.yaml:21:")
    assert line.endswith(
        "no trajectory of halfcheetah-medium-v2 has a return above 6000, so none would be trusted; the "
        "largest is 5309.38"
    )
    table = specs.document("tables", "toy").path
    table.write_text(table.read_text().replace("above: 6000", "above: 6000, allow_empty: true"))
    specs = Specs(specs.folders[-1:])
    check(resolve(specs, "toy"), specs)


def test_a_protocol_has_evaluations_or_none(write):
    reader = "data: [{trust: {by: success}}]"
    protocol = resolve(write(reader), "toy", Choice(preset="quick")).cells[0].protocol
    assert (protocol.evaluate_every, protocol.episodes, protocol.evaluations()) == (None, None, ())
    assert protocol.configuration == {"steps": 2000}
    assert resolve(write(reader), "toy", Choice(steps=7)).cells[0].protocol.interval == 7
    for half, other in (("evaluate_every: 5", "episodes"), ("episodes: 5", "evaluate_every")):
        specs = write(reader, protocol=f"{PROTOCOL}{half}\n")
        [line, *_] = validate(specs, ["toy"])
        assert f"own/protocols/unevaluated.yaml:5:1: {half.partition(':')[0]}: " in line
        assert f"without '{other}'" in line
