"""What a hyperparameter may be, and that specs and classes agree."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from algorithms import Hyperparameters, algorithm_class, algorithm_ids

every_algorithm = pytest.mark.parametrize("algorithm_id", algorithm_ids())


@every_algorithm
def test_the_shipped_spec_satisfies_the_class(lab, algorithm_id):
    declared = algorithm_class(algorithm_id).Hyperparameters
    spec = lab.specs.algorithm(algorithm_id)
    values = {name: h.value for name, h in spec.hyperparameters.items()}
    assert declared.problems(values) == {}
    assert values.keys() | declared.neutral().keys() == declared.__dataclass_fields__.keys()
    for dataset, overrides in spec.per_dataset.items():
        assert declared.problems(values | overrides.hyperparameters) == {}, dataset


@every_algorithm
def test_every_algorithm_has_a_spec_and_no_default_in_its_class(lab, algorithm_id):
    assert algorithm_id in lab.specs.ids("algorithms")
    with pytest.raises(TypeError, match="missing"):
        algorithm_class(algorithm_id).Hyperparameters()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("no_such_thing", 1, "is no hyperparameter"),
        ("alpha", None, "a number"),
        ("alpha", "2.5", "a number"),
        ("alpha", True, "a number"),
        ("alpha", -0.1, "at least 0"),
        ("alpha", float("nan"), "finite"),
        ("alpha", float("inf"), "finite"),
        ("alpha", 10**400, "is 1e\\+400, but its magnitude must be at most 3.402823466e\\+38"),
        ("alpha", 1e39, "is 1e\\+39, but its magnitude"),
        ("reward_shift", -1e39, "is -1e\\+39, but its magnitude"),
        ("reward_scale", 1e300, "its magnitude"),
        ("batch_size", 10**24, "is 1e\\+24, but its magnitude must be at most 2147483647"),
        ("batch_size", 1e24, "its magnitude must be at most 2147483647"),
        ("batch_size", 2**31, "is 2147483648, but its magnitude must be at most 2147483647"),
        ("normalize_observations", 10**400, "is 1e\\+400, but must be true or false"),
        ("actor_hidden_sizes", "99999999-99999999", "widths must be at most 65536"),
        ("actor_hidden_sizes", "256-65537", "widths must be at most 65536"),
        ("actor_hidden_sizes", "9" * 5000, "widths must be at most 65536"),
        ("discount", 1.01, "at most 1"),
        ("discount", -0.01, "at least 0"),
        ("observation_epsilon", 0.0, "above 0"),
        ("batch_size", 0, "at least 1"),
        ("batch_size", 2.5, "a whole number"),
        ("batch_size", True, "a whole number"),
        ("batch_size", float("nan"), "a whole number"),
        ("batch_size", float("inf"), "a whole number"),
        ("normalize_observations", 1, "true or false"),
        ("critic", "robustt", "one of vanilla, layer_norm, robust"),
        ("critic", 3, "a text"),
        ("actor_hidden_sizes", 256, "a text"),
        ("actor_hidden_sizes", "256x256", "'256-256'"),
        ("actor_hidden_sizes", "", "'256-256'"),
        ("actor_hidden_sizes", "0", "'256-256'"),
    ],
)
def test_a_wrong_hyperparameter_is_named(lab, name, value, problem):
    declared = algorithm_class("td3_bc").Hyperparameters
    values = lab.defaults("td3_bc", **{name: value})
    assert declared.problems(values).keys() == {name}
    with pytest.raises(ValueError, match=f"^{name} .*{problem}"):
        declared.of(values)
    with pytest.raises(ValueError, match=f"^{name} "):
        lab.population("td3_bc", "ab", **{name: value})


@given(
    st.one_of(
        st.integers(),
        st.integers(min_value=-(10**400), max_value=10**400),
        st.floats(),
        st.booleans(),
        st.from_regex(r"[0-9-]{0,12}", fullmatch=True),
    )
)
def test_what_passes_can_be_held_by_a_tensor_and_nothing_else_is_more_than_a_sentence(value):
    declared = algorithm_class("td3_bc").Hyperparameters
    for name, kind in declared.__annotations__.items() | Hyperparameters.__annotations__.items():
        problem = declared.problems({name: value}).get(name)
        if problem is not None:
            assert len(problem) < 300
        elif kind in ("int", "float"):
            dtype = torch.int32 if kind == "int" else torch.float32
            assert torch.isfinite(torch.tensor(value, dtype=dtype))
        elif kind == "str" and "sizes" in name:
            assert all(0 < int(width) <= 65536 for width in value.split("-"))


def test_a_number_of_more_digits_than_python_writes():
    declared = algorithm_class("td3_bc").Hyperparameters
    problems = declared.problems({"alpha": 16**5000, "critic": 16**5000})
    assert problems["alpha"].startswith("is 3.98028e+6020, but its magnitude")
    assert problems["critic"].endswith("must be a text")


def test_the_largest_values_pass():
    declared = algorithm_class("td3_bc").Hyperparameters
    largest = {"batch_size": 2**31 - 1, "alpha": 3.4e38, "actor_hidden_sizes": "65536-1"}
    assert not declared.problems(largest).keys() & largest.keys()


@every_algorithm
def test_a_missing_hyperparameter_is_named(lab, algorithm_id):
    declared = algorithm_class(algorithm_id).Hyperparameters
    values = lab.defaults(algorithm_id)
    for name in values.keys() - declared.neutral().keys():
        rest = {n: v for n, v in values.items() if n != name}
        with pytest.raises(ValueError, match=f"^{name} is missing$"):
            declared.of(rest)


def test_all_problems_are_named_at_once(lab):
    declared = algorithm_class("aspc").Hyperparameters
    values = lab.defaults("aspc", loss="L4", ema=2, initial_alpha=0, strange=1)
    assert declared.problems(values).keys() == {"loss", "ema", "initial_alpha", "strange"}


def test_whole_numbers_are_floats_where_a_float_is_asked_for_and_the_other_way_round(lab):
    made = algorithm_class("td3_bc").Hyperparameters.of(lab.defaults("td3_bc", alpha=2, batch_size=64.0))
    assert (made.alpha, type(made.alpha)) == (2.0, float)
    assert (made.batch_size, type(made.batch_size)) == (64, int)


@every_algorithm
def test_members_must_share_what_shapes_the_program(lab, algorithm_id):
    defaults = lab.defaults(algorithm_id)
    for name in algorithm_class(algorithm_id).Hyperparameters.static_names():
        value = defaults[name]
        choices = (
            algorithm_class(algorithm_id).Hyperparameters.__dataclass_fields__[name].metadata.get("choices")
        )
        if choices:
            other = next(choice for choice in choices if choice != value)
        elif isinstance(value, bool):
            other = not value
        else:
            other = (
                "8" if isinstance(value, str) else value * 2 if isinstance(value, int) else value / 2 + 0.1
            )
        with pytest.raises(ValueError, match=f"share {name},"):
            lab.population(algorithm_id, "ab", [{name: value}, {name: other}])


@every_algorithm
def test_what_members_may_differ_in_is_a_column(lab, algorithm_id):
    defaults = lab.defaults(algorithm_id)
    for name in lab.per_member(algorithm_id):
        each = [{name: defaults[name]}, {name: defaults[name] / 2}]
        held = getattr(lab.population(algorithm_id, "ab", each).algorithm.hyper, name)
        torch.testing.assert_close(held, torch.tensor([[defaults[name]], [defaults[name] / 2]]).double())
